"""The layouts in which an array may come: the same values, or the values that the layout allows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Change = Callable[[np.ndarray], np.ndarray]


def _strided(a: np.ndarray) -> np.ndarray:
    """Every second element of a larger array; what lies between would spoil any result."""
    wide = np.full(tuple(2 * n for n in a.shape), _poison(a.dtype), a.dtype)
    view = wide[(slice(None, None, 2),) * a.ndim]
    view[...] = a
    return view


def _negative(a: np.ndarray) -> np.ndarray:
    backwards = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[backwards])[backwards]


def _repeated(a: np.ndarray) -> np.ndarray:
    return np.broadcast_to(a[:1].copy(), a.shape)


def _read_only(a: np.ndarray) -> np.ndarray:
    result = a.copy()
    result.flags.writeable = False
    return result


def _unaligned(a: np.ndarray) -> np.ndarray:
    result = np.ndarray(a.shape, a.dtype, bytearray(a.nbytes + 1), 1)
    result[...] = a
    return result


def _poison(dtype: np.dtype) -> float | int | bool:
    return np.nan if dtype.kind == "f" else True if dtype.kind == "b" else np.iinfo(dtype).max


# Same values, other layout.
SAME: dict[str, Change] = {
    "C": lambda a: np.array(a, order="C"),
    "F": lambda a: np.array(a, order="F"),
    "strided": _strided,
    "negative": _negative,
    "read-only": _read_only,
    "unaligned": _unaligned,
}
# Other values: an axis of stride 0, one element, no element; one array for several arguments.
OTHER = ("0-stride", "0-d", "empty", "twice")
LAYOUTS = (*SAME, *OTHER)


def same(layout: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Return the arrays in a layout of `SAME`; arrays without axes stay as they are."""
    return [SAME[layout](a) if a.ndim else a.copy() for a in arrays]


def repeated(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Stride 0 along the first axis of every array."""
    return [_repeated(a) if a.ndim and a.size else a for a in arrays]


def single(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """One element of each array, without axes."""
    return [np.array(a.reshape(-1)[0] if a.size else 1, a.dtype) for a in arrays]


def empty(arrays: list[np.ndarray], axis: int) -> list[np.ndarray]:
    """All axes as long as `axis` of the first array that has it, made empty."""
    found = [a.shape[axis] for a in arrays if a.ndim and -a.ndim <= axis < a.ndim]
    if not found or found[0] in (0, 1):
        return arrays
    return [
        np.array(a[(..., *(slice(0) if n == found[0] else slice(None) for n in a.shape))]) for a in arrays
    ]


def twice(arrays: list[np.ndarray]) -> list[np.ndarray] | None:
    """The first floating-point array for every one of its shape and dtype; None where there is no second."""
    known: dict[tuple[object, ...], np.ndarray] = {}
    result = [known.setdefault((a.dtype, a.shape), a) if a.dtype.kind == "f" else a for a in arrays]
    return None if all(one is other for one, other in zip(result, arrays, strict=True)) else result
