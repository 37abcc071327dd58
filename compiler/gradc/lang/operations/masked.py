"""``x[mask]`` with a traced mask: how many elements it has is not known, so it must be reduced at once.

``v[m].sum()`` becomes the sum of ``where(m, v, 0)``.  Elementwise functions may come in between; elements
that the mask leaves out are replaced by 1 first, so that no function meets a value outside its domain there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradc.errors import ShapeError, TraceError
from gradc.ir.extents import Size
from gradc.ir.index.build import IDENTITY
from gradc.ir.types import DType, float_result
from gradc.lang.emit import Emitter, SizeValue, Value
from gradc.lang.operations import lift
from gradc.lang.operations.lift import Axes, Handler
from gradc.lang.operations.triangles import summed_dtype


@dataclass(frozen=True, slots=True)
class MaskedValue:
    """The elements of `value` where `mask` holds; the mask covers the leading axes."""

    value: Value
    mask: Value

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.value.dtype


def mask_of(emit: Emitter, index: object) -> Value | None:
    """Boolean tensor that is the whole of an index, if there is one."""
    if isinstance(index, tuple) and len(index) == 1:
        index = index[0]
    if isinstance(index, list) and index and isinstance(index[0], list | bool | np.bool_):
        index = lift.array(emit, index)
    return index if isinstance(index, Value) and index.dtype.is_bool else None


def masked(emit: Emitter, value: Value, mask: Value) -> MaskedValue:
    """Elements of `value` where `mask` holds."""
    safe = emit.elementwise("select", spread(emit, value, mask), value, _constant(emit, 1, value.dtype))
    return MaskedValue(safe, mask)


def spread(emit: Emitter, value: Value, mask: Value) -> Value:
    """Mask with an axis of extent 1 for each axis of `value` that it does not cover."""
    shape, covered = emit.shape(value), emit.shape(mask)
    if len(covered) > len(shape) or not covered:
        raise ShapeError(f"a mask with {len(covered)} axes for an array with {len(shape)}", do="use np.where")
    for own, other in zip(covered, shape, strict=False):
        emit.solver.unify(own, other, "a mask has the extents of the axes that it covers")
    return emit.reshape(mask, (*emit.shape(mask), *(1,) * (len(shape) - len(covered))))


def count(emit: Emitter, selected: MaskedValue, dtype: DType = DType.INT64) -> Value:
    """How many positions the mask selects."""
    return emit.reduce("sum", emit.cast(selected.mask, dtype), IDENTITY[len(emit.shape(selected.mask))])


# --- elementwise --------------------------------------------------------------------------------------------


def elementwise(emit: Emitter, handler: Handler, *arguments: object) -> MaskedValue:
    """Apply the handler of a ufunc to masked operands of one mask and to scalars."""
    operands = [argument for argument in arguments if isinstance(argument, MaskedValue)]
    first = operands[0]
    for other in operands[1:]:
        if other.mask != first.mask or emit.shape(other.value) != emit.shape(first.value):
            raise refused_masked("operands selected by different masks")
    plain: list[object] = []
    for argument in arguments:
        if isinstance(argument, Value) and emit.shape(argument):
            raise refused_masked("an operation with an array that is not selected by the same mask")
        plain.append(argument.value if isinstance(argument, MaskedValue) else argument)
    result = handler(emit, *plain)
    if not isinstance(result, Value):
        raise refused_masked("this function")
    return MaskedValue(result, first.mask)


def refused_masked(what: str) -> TraceError:
    """Error for what cannot be done with a selection of unknown length."""
    return TraceError(
        f"{what} cannot be traced on x[mask]",
        why="how many elements a mask selects is known only when the function runs",
        do="reduce x[mask] at once (sum, mean, max, min, prod, any, all), or use np.where(mask, x, other)",
    )


# --- reductions ---------------------------------------------------------------------------------------------


def _constant(emit: Emitter, number: float, dtype: DType) -> Value:
    return emit.constant(number, dtype)


def _reduction(op: str, fill: Callable[[DType], float], to: Callable[[DType], DType]) -> Handler:
    def handler(
        emit: Emitter, a: MaskedValue, axis: Axes = None, dtype: object = None, *, keepdims: bool = False
    ) -> Value:
        wanted = lift.dtype(dtype) or to(a.dtype)
        value = emit.cast(a.value, wanted)
        rank, covered = len(emit.shape(value)), len(emit.shape(a.mask))
        if keepdims or not (axis is None or (axis in (0, (0,)))):
            raise refused_masked(f"{op} along axis {axis}{' with keepdims' if keepdims else ''}")
        filled = emit.elementwise(
            "select", spread(emit, value, a.mask), value, _constant(emit, fill(wanted), wanted)
        )
        return emit.reduce(op, filled, IDENTITY[rank if axis is None else covered])

    return handler


def _same(dtype: DType) -> DType:
    return dtype


def _lowest(dtype: DType) -> float:
    return -np.inf if dtype.is_float else False if dtype.is_bool else int(np.iinfo(dtype.numpy).min)


def _highest(dtype: DType) -> float:
    return np.inf if dtype.is_float else True if dtype.is_bool else int(np.iinfo(dtype.numpy).max)


_sum = _reduction("sum", lambda dtype: 0, summed_dtype)


def _mean(
    emit: Emitter, a: MaskedValue, axis: Axes = None, dtype: object = None, *, keepdims: bool = False
) -> Value:
    wanted = lift.dtype(dtype) or (a.dtype if a.dtype.is_float else DType.F64)
    total = _sum(emit, a, axis, wanted, keepdims=keepdims)
    number: Value | SizeValue = count(emit, a, float_result(wanted))
    rest: tuple[Size, ...] = emit.shape(a.value)[len(emit.shape(a.mask)) :]
    for size in rest if axis is None else ():
        number = emit.elementwise("mul", number, SizeValue(size))
    return emit.elementwise("div", total, number)  # pyright: ignore[reportArgumentType]


REDUCTIONS: dict[str, Handler] = {
    "sum": _sum,
    "prod": _reduction("prod", lambda dtype: 1, summed_dtype),
    "mean": _mean,
    "max": _reduction("max", _lowest, _same),
    "min": _reduction("min", _highest, _same),
    "any": _reduction("any", lambda dtype: False, lambda dtype: DType.BOOL),
    "all": _reduction("all", lambda dtype: True, lambda dtype: DType.BOOL),
}

_NAMES: dict[Hashable, str] = {
    **{name: name for name in REDUCTIONS},
    **{getattr(np, name): name for name in REDUCTIONS},
    np.amax: "max",
    np.amin: "min",
}


def call(
    emit: Emitter,
    key: Hashable,
    handler: Handler | None,
    arguments: Sequence[object],
    options: Mapping[str, object] | None = None,
) -> Value | MaskedValue:
    """NumPy function, a method (by name) or a ufunc with its `handler`, called with a masked operand."""
    if key in _NAMES and isinstance(arguments[0], MaskedValue):
        return REDUCTIONS[_NAMES[key]](emit, *arguments, **(options or {}))  # pyright: ignore[reportReturnType]
    if isinstance(key, np.ufunc) and handler is not None and not options:
        return elementwise(emit, handler, *arguments)
    raise refused_masked(getattr(key, "__name__", str(key)))


__all__ = ["REDUCTIONS", "MaskedValue", "call", "count", "elementwise", "mask_of", "masked", "spread"]
