"""Which NumPy functions return views, and how writing to such a view writes to its base."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.ir.extents import Polynomial, Size
from gradc.lang.sizes import Extent

Arguments = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class WriteBack:
    """How to undo a view function: call `function` on the view's content with `arguments`."""

    function: Callable[..., Any]
    arguments: Arguments


def _to_base_shape(shape: tuple[Size, ...], args: Arguments, kwargs: Mapping[str, object]) -> WriteBack:
    return WriteBack(np.reshape, (shape,))


def _same_again(function: Callable[..., Any]) -> Callable[..., WriteBack]:
    def undo(shape: tuple[Size, ...], args: Arguments, kwargs: Mapping[str, object]) -> WriteBack:
        return WriteBack(function, (*args, *kwargs.values()))

    return undo


def _transposed_back(shape: tuple[Size, ...], args: Arguments, kwargs: Mapping[str, object]) -> WriteBack:
    axes: Any = kwargs.get("axes", args[0] if len(args) == 1 else args or None)
    if axes is None:
        return WriteBack(np.transpose, ())
    rank = len(shape)
    inverse = [0] * rank
    for at, axis in enumerate((axes,) if isinstance(axes, int) else axes):
        inverse[axis % rank] = at
    return WriteBack(np.transpose, (tuple(inverse),))


def _moved_back(shape: tuple[Size, ...], args: Arguments, kwargs: Mapping[str, object]) -> WriteBack:
    source, destination = (*args, *kwargs.values())[:2]
    return WriteBack(np.moveaxis, (destination, source))


Undo = Callable[[tuple[Size, ...], Arguments, Mapping[str, object]], WriteBack]

# None: a view that cannot be written through here.  Every function that may return a view must stand here.
VIEW_FUNCTIONS: dict[Callable[..., Any], Undo | None] = {
    np.reshape: _to_base_shape,
    np.ravel: _to_base_shape,
    np.squeeze: _to_base_shape,
    np.expand_dims: _to_base_shape,
    np.atleast_1d: _to_base_shape,
    np.atleast_2d: _to_base_shape,
    np.atleast_3d: _to_base_shape,
    np.transpose: _transposed_back,
    np.permute_dims: _transposed_back,
    np.matrix_transpose: _same_again(np.matrix_transpose),
    np.swapaxes: _same_again(np.swapaxes),
    np.moveaxis: _moved_back,
    np.flip: _same_again(np.flip),
    np.flipud: _same_again(np.flipud),
    np.fliplr: _same_again(np.fliplr),
    np.rollaxis: None,
    np.rot90: None,
    np.diagonal: None,
    np.diag: None,
    np.broadcast_to: None,
    np.linalg.diagonal: None,
    np.linalg.matrix_transpose: _same_again(np.matrix_transpose),
}
VIEW_METHODS: dict[str, Undo | None] = {
    "reshape": _to_base_shape,
    "ravel": _to_base_shape,
    "squeeze": _to_base_shape,
    "transpose": _transposed_back,
    "swapaxes": _same_again(np.swapaxes),
    "diagonal": None,
}
# Functions that give their argument itself.
SAME = frozenset((np.asarray, np.asanyarray, np.ascontiguousarray, np.real))
# Functions that give several views.
SPLITS = frozenset(
    (np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit, np.unstack, np.broadcast_arrays)
)


def index_key(index: object) -> Hashable:
    """Return a comparable form of a basic index (integers, slices, None, ellipsis), else None."""
    parts = index if isinstance(index, tuple) else (index,)
    keys = [_part_key(part) for part in parts]
    return None if None in keys else tuple(keys)


def _part_key(part: object) -> Hashable:
    if isinstance(part, slice):
        bounds = [_bound_key(bound) for bound in (part.start, part.stop, part.step)]
        return None if "?" in bounds else ("slice", *bounds)
    if part is None or part is Ellipsis:
        return str(part)
    bound = _bound_key(part)
    return None if bound == "?" or bound is None else ("at", bound)


def _bound_key(bound: object) -> int | Polynomial | str | None:
    if type(bound) is Extent:
        return bound._size
    if bound is None or type(bound) is int:
        return bound
    # By type: a traced integer says that it is an instance of NumPy's.
    return int(bound) if issubclass(type(bound), np.integer) else "?"  # pyright: ignore[reportArgumentType]


def as_sequence(x: object) -> Sequence[object]:
    """`x` as a sequence."""
    return x if isinstance(x, list | tuple) else (x,)
