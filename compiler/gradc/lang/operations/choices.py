"""Choice between values: `where`, `select`, `piecewise`, `clip`, `nan_to_num`, `isclose`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from gradc.errors import ArgumentError, DTypeError
from gradc.ir.types import DType
from gradc.lang.emit import Emitter, Value
from gradc.lang.operations import lift
from gradc.lang.operations.elementwise import UFUNCS as ELEMENTWISE
from gradc.lang.operations.elementwise import full
from gradc.lang.operations.lift import ArrayLike, Handler, Table
from gradc.lang.operations.promotion import kind_of, result_dtype


def where(emit: Emitter, condition: ArrayLike, x: ArrayLike = None, y: ArrayLike = None) -> Value:  # pyright: ignore[reportArgumentType]
    """`np.where` with three arguments."""
    if x is None or y is None:
        raise lift.refused(
            "np.where with one argument", why="its shape depends on the data", do="np.where(condition, x, y)"
        )
    first, second = lift.argument(emit, x), lift.argument(emit, y)
    return emit.elementwise(
        "select", lift.argument(emit, condition), first, second, dtype=result_dtype(first, second)
    )


def select(
    emit: Emitter, condlist: Sequence[ArrayLike], choicelist: Sequence[ArrayLike], default: ArrayLike = 0
) -> Value:
    """`np.select`: the first condition that holds decides."""
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ArgumentError("np.select needs as many choices as conditions, and at least one")
    choices = [lift.argument(emit, choice) for choice in choicelist]
    result = lift.argument(emit, default)
    dtype = result_dtype(*choices, result)
    for condition, choice in reversed(list(zip(condlist, choices, strict=True))):
        decided = lift.argument(emit, condition)
        if kind_of(decided) is not DType.BOOL:
            raise DTypeError("the conditions of np.select must be boolean", do="compare, for example x > 0")
        result = emit.elementwise("select", decided, choice, result, dtype=dtype)
    return lift.array(emit, result)


def piecewise(
    emit: Emitter,
    x: ArrayLike,
    condlist: ArrayLike,
    funclist: Sequence[ArrayLike | Callable[..., ArrayLike]],
    *args: object,
    **kw: object,
) -> Value:
    """`np.piecewise`; functions are applied to the whole of `x`, so they must be elementwise."""
    value = lift.array(emit, x)
    conditions = _conditions(emit, condlist, scalar=not emit.shape(value))
    pieces = list(funclist)
    if len(pieces) not in (len(conditions), len(conditions) + 1):
        raise ArgumentError(
            "np.piecewise needs one function per condition, and may have one more for the rest"
        )

    def piece(entry: ArrayLike | Callable[..., ArrayLike]) -> Value:
        found = entry(value, *args, **kw) if callable(entry) else entry
        return lift.array(emit, found, value.dtype)

    result = piece(pieces[-1]) if len(pieces) > len(conditions) else full(emit, value, value.dtype, 0)
    for condition, entry in zip(conditions, pieces, strict=False):
        result = emit.elementwise("select", condition, piece(entry), result, dtype=value.dtype)
    return emit.broadcast_to(result, emit.shape(value))


def _conditions(emit: Emitter, condlist: ArrayLike, *, scalar: bool) -> list[Value]:
    """Return the conditions of `np.piecewise`, which takes one condition for a list of one."""
    if isinstance(condlist, list | tuple):
        one = not isinstance(condlist[0], Value | list | tuple) and not scalar
    else:
        rank = len(emit.shape(lift.array(emit, condlist)))
        one = rank == 0 or (rank == 1 and not scalar)
    return [lift.array(emit, condlist)] if one else lift.arrays(emit, condlist)


def clip(
    emit: Emitter,
    a: ArrayLike,
    a_min: ArrayLike | None = None,
    a_max: ArrayLike | None = None,
    out: object = None,
    *,
    min: ArrayLike | None = None,
    max: ArrayLike | None = None,
    **options: object,
) -> Value:
    """`np.clip`: at a bound that does not vary the derivative is 0."""
    lift.only_default("np.clip", out=out, **options)
    low, high = (bound for bound in (a_min if min is None else min, a_max if max is None else max))
    low, high = (None if bound is None or bound is np._NoValue else bound for bound in (low, high))
    operands = [lift.argument(emit, x) for x in (a, low, high) if x is not None]
    dtype = result_dtype(*operands)
    value = lift.array(emit, operands[0], dtype)
    if low is not None:
        value = emit.elementwise("maximum", value, operands[1], dtype=dtype)
    return value if high is None else emit.elementwise("minimum", value, operands[-1], dtype=dtype)


def nan_to_num(
    emit: Emitter,
    x: ArrayLike,
    copy: bool = True,
    nan: ArrayLike = 0.0,
    posinf: ArrayLike | None = None,
    neginf: ArrayLike | None = None,
) -> Value:
    """`np.nan_to_num`; the derivative is 0 where a value is replaced."""
    if not copy:
        raise lift.refused("np.nan_to_num(copy=False)", do="x = np.nan_to_num(x)")
    value = lift.array(emit, x)
    if not value.dtype.is_float:
        return value
    limits = np.finfo(value.dtype.numpy)
    replacements = (
        (emit.elementwise("isnan", value), nan),
        (emit.elementwise("eq", value, math.inf), float(limits.max) if posinf is None else posinf),
        (emit.elementwise("eq", value, -math.inf), float(limits.min) if neginf is None else neginf),
    )
    for condition, replacement in replacements:
        value = emit.elementwise(
            "select", condition, lift.argument(emit, replacement), value, dtype=value.dtype
        )
    return value


def isclose(
    emit: Emitter,
    a: ArrayLike,
    b: ArrayLike,
    rtol: ArrayLike = 1e-5,
    atol: ArrayLike = 1e-8,
    equal_nan: bool = False,
) -> Value:
    """`np.isclose`, elementwise."""
    x, y = lift.array(emit, a), lift.array(emit, b)
    bound = emit.elementwise("mul", lift.argument(emit, rtol), emit.elementwise("abs", y))
    bound = emit.elementwise("add", lift.argument(emit, atol), bound)
    near = emit.elementwise("le", emit.elementwise("abs", emit.elementwise("sub", x, y)), bound)
    finite = ELEMENTWISE[np.isfinite](emit, y)
    assert isinstance(finite, Value)
    result = emit.elementwise(
        "logical_or", emit.elementwise("logical_and", near, finite), emit.elementwise("eq", x, y)
    )
    if not equal_nan:
        return result
    both = emit.elementwise("logical_and", emit.elementwise("isnan", x), emit.elementwise("isnan", y))
    return emit.elementwise("logical_or", result, both)


FUNCTIONS: Table = {
    np.where: where,
    np.select: select,
    np.piecewise: piecewise,
    np.clip: clip,
    np.nan_to_num: nan_to_num,
    np.isclose: isclose,
}
METHODS: dict[str, Handler] = {"clip": clip}
