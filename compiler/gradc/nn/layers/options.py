"""Checks of the fields of layers: a layer that cannot be is refused where it is written."""

from __future__ import annotations

from typing import Any

from gradc.errors import ArgumentError
from gradc.nn.layer import Initialiser, Layer, Shape


def refused(layer: Layer, what: str, *, why: str, do: str) -> ArgumentError:
    """Return (not raise) the error for a field of a layer."""
    kind = type(layer).__name__
    return ArgumentError(what, where=f"{kind} layer {layer.name}" if layer.name else kind, why=why, do=do)


def is_whole(value: object) -> bool:
    """Whether it is an integer, which a truth value is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def whole(layer: Layer, *fields: str, least: int = 1) -> None:
    """Refuse fields that are not whole numbers of at least `least`."""
    for field in fields:
        value: Any = getattr(layer, field)
        if not is_whole(value) or value < least:
            raise refused(
                layer,
                f"{field} is not a whole number of at least {least}",
                why=f"{field} = {value!r}",
                do=f"write {field}={max(least, 1)} or more",
            )


def between(layer: Layer, field: str, low: float, high: float, *, includes_low: bool = True) -> None:
    """Refuse a field that is not a number from `low` to below `high`."""
    value: Any = getattr(layer, field)
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if not numeric or not (low <= value < high if includes_low else low < value < high):
        first = "at least" if includes_low else "above"
        raise refused(
            layer,
            f"{field} is outside its range",
            why=f"{field} = {value!r}",
            do=f"write a number {first} {low:g} and below {high:g}",
        )


def axis_of(layer: Layer, axis: int, *shapes: Shape) -> int:
    """Return an axis, counted without the batch and perhaps from the end, as a number from 0 on."""
    rank = len(shapes[0])
    if not -rank <= axis < rank:
        raise layer.refuse(
            f"the input has no axis {axis}", *shapes, do=f"axis is {-rank} to {rank - 1}, without the batch"
        )
    return axis % rank


def glorot() -> Initialiser:
    """Uniform numbers whose variance keeps that of activations and gradients (Glorot and Bengio, 2010)."""
    from gradc.nn.initialisers import Glorot  # noqa: PLC0415  (loaded when a network is built)

    return Glorot()


def he() -> Initialiser:
    """Normal numbers whose variance keeps that of activations through ReLU (He et al., 2015)."""
    from gradc.nn.initialisers import He  # noqa: PLC0415

    return He()


def zeros() -> Initialiser:
    """Zeros."""
    from gradc.nn.initialisers import Zeros  # noqa: PLC0415

    return Zeros()


def constant(value: float) -> Initialiser:
    """One number everywhere."""
    from gradc.nn.initialisers import Constant  # noqa: PLC0415

    return Constant(value)
