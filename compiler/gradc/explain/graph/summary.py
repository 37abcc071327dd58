"""A value in a few characters: a number as it is; an array by shape, range, mean and a strip of colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

CELLS = 24  # of a strip


@dataclass(frozen=True, slots=True)
class Summary:
    """Lines of text and, of an array, the levels of a strip: averages of neighbours over the largest of them."""

    lines: tuple[str, ...]
    levels: tuple[float | None, ...] = ()


def summary(value: Any) -> Summary:
    """Return what a picture shows of a number or an array.

    Examples
    --------
    >>> summary(0.125).lines
    ('0.125',)
    >>> summary(np.arange(6.0).reshape(2, 3)).lines
    ('0 .. 5', '2×3  mean 2.5')
    """
    array = np.asarray(value)
    if array.ndim == 0:
        return Summary((figure(array.item()),))
    shape = "×".join(map(str, array.shape)) if array.ndim > 1 else f"{array.shape[0]} numbers"
    if not array.size:
        return Summary(("empty", shape))
    if array.dtype.kind == "b":
        return Summary((f"true {array.mean():.0%}", shape), _levels(array.astype(float)))
    numbers = array.astype(float)
    with np.errstate(all="ignore"):
        low, high, mean = numbers.min(), numbers.max(), numbers.mean()
    text = f"{figure(low, 3)} .. {figure(high, 3)}", f"{shape}  mean {figure(mean, 3)}"
    return Summary(text, _levels(numbers))


def figure(number: Any, digits: int = 4) -> str:
    """Return a number with a few digits.

    Examples
    --------
    >>> figure(-0.0), figure(1e-20), figure(True), figure(12)
    ('0', '1e-20', 'True', '12')
    """
    if isinstance(number, bool | int):
        return str(number)
    text = f"{float(number):.{digits}g}"
    return "0" if text == "-0" else text


def _levels(numbers: np.ndarray) -> tuple[float | None, ...]:
    cells = np.array_split(numbers.ravel(), min(CELLS, numbers.size))
    with np.errstate(all="ignore"):
        means = np.array([cell.mean() for cell in cells])
        finite = np.abs(means[np.isfinite(means)])
        largest = finite.max(initial=0.0)
    return tuple(
        None if not np.isfinite(mean) else float(mean / largest) if largest else 0.0 for mean in means
    )
