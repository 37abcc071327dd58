"""The `math` module: functions of single numbers in float64, NaN outside their domain."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gradc.errors import ArgumentError
from gradc.ir import extents
from gradc.ir.types import DType
from gradc.lang.emit import Arg, Emitter, SizeValue, Value, weak_kind
from gradc.lang.operations import lift, reductions
from gradc.lang.operations.elementwise import UFUNCS as ELEMENTWISE
from gradc.lang.operations.elementwise import power
from gradc.lang.operations.lift import ArrayLike, Handler, Table


def number(emit: Emitter, name: str, x: ArrayLike) -> Arg:
    """Return a single number in float64; arrays are refused, as `math` refuses them."""
    operand = lift.argument(emit, x)
    if not isinstance(operand, Value):
        return operand
    if emit.shape(operand):
        raise lift.refused(
            f"math.{name} of an array", why="math works on single numbers", do="use the NumPy function"
        )
    return emit.cast(operand, DType.F64)


def _python(value: Value) -> Value:
    """Return a result as the Python number that `math` returns: weak in promotion."""
    kind = float if value.dtype.is_float else bool if value.dtype.is_bool else int
    return Value(value.name, value.dtype, value.shape, kind)


def _named(name: str, function: str) -> Handler:
    """Return a handler that applies one function of the inventory."""

    def handler(emit: Emitter, *xs: ArrayLike) -> Value:
        return _python(emit.elementwise(function, *(number(emit, name, x) for x in xs), dtype=DType.F64))

    return handler


def _as_numpy(name: str, ufunc: np.ufunc) -> Handler:
    """Return a handler that does what a NumPy function does."""

    def handler(emit: Emitter, *xs: ArrayLike) -> object:
        found = ELEMENTWISE[ufunc](emit, *(number(emit, name, x) for x in xs), dtype=np.float64)
        return tuple(map(_python, found)) if isinstance(found, tuple) else _python(found)  # pyright: ignore[reportArgumentType]

    return handler


def _integral(name: str, function: str) -> Handler:
    """Return a handler for `floor` and its relatives: they return integers."""

    def handler(emit: Emitter, x: ArrayLike) -> Value:
        whole = emit.elementwise(function, number(emit, name, x), dtype=DType.F64)
        return _python(emit.cast(whole, DType.INT64))

    return handler


def log(emit: Emitter, x: ArrayLike, base: ArrayLike | None = None) -> Value:
    """`math.log` with an optional base."""
    value = emit.elementwise("log", number(emit, "log", x), dtype=DType.F64)
    if base is None:
        return _python(value)
    below = emit.elementwise("log", number(emit, "log", base), dtype=DType.F64)
    return _python(emit.elementwise("div", value, below))


def pow_(emit: Emitter, x: ArrayLike, y: ArrayLike) -> Value:
    """`math.pow`."""
    base = lift.array(emit, number(emit, "pow", x), DType.F64)
    return _python(power(emit, DType.F64, base, number(emit, "pow", y)))


def hypot(emit: Emitter, *coordinates: ArrayLike) -> Value:
    """`math.hypot` of any number of coordinates; the derivative at the origin is 0."""
    numbers = [number(emit, "hypot", x) for x in coordinates]
    if not numbers:
        return _python(emit.constant(0.0, DType.F64))
    if len(numbers) == 1:
        return _python(emit.elementwise("abs", numbers[0], dtype=DType.F64))
    result = numbers[0]
    for other in numbers[1:]:
        result = emit.elementwise("hypot", result, other, dtype=DType.F64)
    return _python(lift.array(emit, result))


def dist(emit: Emitter, p: ArrayLike, q: ArrayLike) -> Value:
    """`math.dist`: the distance of two points."""
    first, second = lift.arrays(emit, p), lift.arrays(emit, q)
    if len(first) != len(second):
        raise ArgumentError("both points of math.dist must have the same number of dimensions")
    return hypot(
        emit, *(emit.elementwise("sub", a, b, dtype=DType.F64) for a, b in zip(first, second, strict=True))
    )


def fsum(emit: Emitter, seq: ArrayLike) -> Value:
    """`math.fsum`, added in order: the compensation for rounding is not kept."""
    return _python(reductions.sum_(emit, lift.array(emit, seq, DType.F64)))


def prod(emit: Emitter, iterable: ArrayLike, *, start: ArrayLike = 1) -> Value | SizeValue | int:
    """`math.prod`: of extents an extent, of numbers a number, in the order of Python's multiplication."""
    items = (
        iterable
        if isinstance(iterable, list | tuple)
        else [reductions.prod(emit, lift.array(emit, iterable))]
    )
    operands = [lift.argument(emit, factor) for factor in (start, *items)]
    if all(isinstance(x, SizeValue | int) for x in operands):
        size = extents.product(tuple(x if isinstance(x, int) else x.size for x in operands))  # pyright: ignore
        return size if isinstance(size, int) else SizeValue(size)
    if isinstance(operands[0], int) and operands[0] == 1:
        operands = operands[1:]
    result = operands[0]
    for factor in operands[1:]:
        result = emit.elementwise("mul", result, factor)
    value = lift.array(emit, result)
    return _python(value) if all(weak_kind(x) is not None for x in operands) else value


def _refused(name: str, why: str, do: str) -> Handler:
    return lift.refusing(f"math.{name}", why=why, do=do)


_INTEGERS = "it needs integers that are known while tracing"
_BITS = "it works on bit patterns"
_REFUSED: dict[Callable[..., object], Handler] = {
    getattr(math, name): _refused(name, why, do)
    for name, why, do in (
        ("comb", _INTEGERS, "compute it outside, or use math.lgamma"),
        ("perm", _INTEGERS, "compute it outside, or use math.lgamma"),
        ("factorial", _INTEGERS, "use math.gamma(x + 1)"),
        ("gcd", _INTEGERS, "compute it outside the function"),
        ("lcm", _INTEGERS, "compute it outside the function"),
        ("isqrt", _INTEGERS, "use math.sqrt"),
        ("ldexp", _BITS, "write x * 2.0**n"),
        ("frexp", _BITS, "use math.log2 and math.floor"),
        ("nextafter", _BITS, "compute it outside the function"),
        ("ulp", _BITS, "compute it outside the function"),
        ("isclose", "it returns a Python bool, which a trace cannot know", "use np.isclose inside np.where"),
        ("remainder", "the derivative of its rounding is not covered", "use math.fmod or %"),
    )
}

FUNCTIONS: Table = {
    math.log: log,
    math.pow: pow_,
    math.hypot: hypot,
    math.dist: dist,
    math.fsum: fsum,
    math.prod: prod,
    math.floor: _integral("floor", "floor"),
    math.ceil: _integral("ceil", "ceil"),
    math.trunc: _integral("trunc", "trunc"),
    math.modf: _as_numpy("modf", np.modf),
    math.fmod: _as_numpy("fmod", np.fmod),
    math.degrees: _as_numpy("degrees", np.degrees),
    math.radians: _as_numpy("radians", np.radians),
    **{
        getattr(math, name): _named(name, function)
        for name, function in (
            *((same, same) for same in ("exp", "exp2", "expm1", "log1p", "log2", "log10", "sqrt", "cbrt")),
            *((same, same) for same in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "copysign")),
            *((same, same) for same in ("erf", "erfc", "gamma", "isnan", "isinf", "isfinite")),
            *((f"a{name}", f"arc{name}") for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")),
            ("fabs", "abs"),
            ("lgamma", "gammaln"),
        )
    },
    **_REFUSED,
}
