"""Elementwise NumPy functions: ufuncs, `where` and its relatives, casts."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np

from gradc.errors import DTypeError
from gradc.ir.types import DType, dtype_of
from gradc.lang.emit import Arg, Emitter, Value
from gradc.lang.operations import lift
from gradc.lang.operations.lift import ArrayLike, Handler, Table
from gradc.lang.operations.promotion import ufunc_dtype

# A body computes in the dtype that NumPy's loop would have.
Body: TypeAlias = Callable[..., object]


def handler_of(ufunc: np.ufunc, body: Body) -> Handler:
    """Return the handler of a ufunc: NumPy's promotion, then `body(emit, dtype, *operands)`."""

    def handler(
        emit: Emitter,
        *arguments: ArrayLike,
        out: object = None,
        where: object = True,
        dtype: object = None,
        casting: str = "same_kind",
        order: str = "K",
        subok: bool = True,
    ) -> object:
        lift.only_default(f"np.{ufunc.__name__}", out=out, where=where)
        operands = tuple(lift.argument(emit, argument) for argument in arguments)
        shared = ufunc_dtype(ufunc, operands)
        return body(emit, lift.dtype(dtype) or shared, *operands)

    handler.__name__ = ufunc.__name__
    return handler


def inventory(name: str) -> Body:
    """Return the body that applies one function of the inventory."""

    def body(emit: Emitter, dtype: DType, *operands: Arg) -> Value:
        return emit.elementwise(name, *operands, dtype=dtype)

    return body


def full(emit: Emitter, operand: Arg, dtype: DType, number: float) -> Value:
    """Emit a tensor of `number` in the shape of an operand."""
    return emit.constant(number, dtype, emit.shape(operand) if isinstance(operand, Value) else ())


# --- bodies -------------------------------------------------------------------------------------------------


def _boolean_as(name: str, logical: str) -> Body:
    """Booleans have their own loops: ``+`` and `maximum` are *or*, ``*`` and `minimum` are *and*."""

    def body(emit: Emitter, dtype: DType, a: Arg, b: Arg) -> Value:
        return emit.elementwise(logical if dtype.is_bool else name, a, b, dtype=dtype)

    return body


def _bitwise(name: str, logical: str) -> Body:
    def body(emit: Emitter, dtype: DType, *operands: Arg) -> Value:
        if not dtype.is_bool:
            raise lift.refused(
                f"{name} of integers",
                why="bit patterns have no derivative",
                do=f"use np.{logical} on conditions",
            )
        return emit.elementwise(logical, *operands, dtype=dtype)

    return body


def _logical(name: str) -> Body:
    def body(emit: Emitter, dtype: DType, *operands: Arg) -> Value:
        return emit.elementwise(name, *operands, dtype=DType.BOOL)

    return body


def _identity(emit: Emitter, dtype: DType, x: Arg) -> Value:
    return lift.array(emit, x, dtype)


def _unless_integer(name: str) -> Body:
    """`floor` and its relatives return integers as they are."""

    def body(emit: Emitter, dtype: DType, x: Arg) -> Value:
        return emit.elementwise(name, x, dtype=dtype) if dtype.is_float else _identity(emit, dtype, x)

    return body


def _absolute(emit: Emitter, dtype: DType, x: Arg) -> Value:
    return _identity(emit, dtype, x) if dtype.is_bool else emit.elementwise("abs", x, dtype=dtype)


def _predicate(name: str, for_integers: bool) -> Body:
    def body(emit: Emitter, dtype: DType, x: Arg) -> Value:
        if dtype.is_float:
            return emit.elementwise(name, x, dtype=dtype)
        return full(emit, x, DType.BOOL, for_integers)

    return body


def _infinite(sign: float) -> Body:
    def body(emit: Emitter, dtype: DType, x: Arg) -> Value:
        if not dtype.is_float:
            return full(emit, x, DType.BOOL, False)
        return emit.elementwise("eq", x, math.copysign(math.inf, sign), dtype=dtype)

    return body


def _signbit(emit: Emitter, dtype: DType, x: Arg) -> Value:
    if not dtype.is_float:
        return emit.elementwise("lt", x, 0, dtype=dtype)
    return emit.elementwise("lt", emit.elementwise("copysign", 1.0, x, dtype=dtype), 0.0)


def _scaled(factor: float) -> Body:
    def body(emit: Emitter, dtype: DType, x: Arg) -> Value:
        return emit.elementwise("mul", x, factor, dtype=dtype)

    return body


def _reciprocal(emit: Emitter, dtype: DType, x: Arg) -> Value:
    if not dtype.is_float:
        raise DTypeError("the reciprocal of an integer is nearly always 0", do="write 1 / x")
    return emit.elementwise("reciprocal", x, dtype=dtype)


def power(emit: Emitter, dtype: DType, base: Arg, exponent: Arg) -> Value:
    """Emit ``base ** exponent`` in `dtype`."""
    if not dtype.is_float and isinstance(exponent, int) and exponent < 0:
        raise DTypeError("integers to negative integer powers are not allowed", do="make the base a float")
    if isinstance(base, Value):
        base = emit.cast(base, dtype)
    if isinstance(exponent, Value):
        exponent = emit.cast(exponent, dtype)
    if not isinstance(base, Value) and not isinstance(exponent, Value):
        return emit.elementwise("pow", base, exponent, dtype=dtype)
    return emit.power(base, exponent)


def _float_power(emit: Emitter, dtype: DType, base: Arg, exponent: Arg) -> Value:
    return power(emit, DType.F64, lift.array(emit, base, DType.F64), exponent)


def _fmod(emit: Emitter, dtype: DType, a: Arg, b: Arg) -> Value:
    """Emit the remainder with the sign of `a`, that of a zero included."""
    return emit.elementwise("fmod", a, b, dtype=dtype)


def _divmod(emit: Emitter, dtype: DType, a: Arg, b: Arg) -> tuple[Value, Value]:
    return emit.elementwise("floor_divide", a, b, dtype=dtype), emit.elementwise("mod", a, b, dtype=dtype)


def _modf(emit: Emitter, dtype: DType, x: Arg) -> tuple[Value, Value]:
    whole = emit.elementwise("trunc", x, dtype=dtype)
    rest = emit.elementwise("sub", x, whole, dtype=dtype)
    fraction = emit.elementwise("select", emit.elementwise("isinf", whole), 0.0, rest, dtype=dtype)
    return fraction, whole


def _heaviside(emit: Emitter, dtype: DType, x: Arg, at_zero: Arg) -> Value:
    x = lift.array(emit, x, dtype)
    step = emit.elementwise("select", emit.elementwise("lt", x, 0.0), 0.0, 1.0, dtype=dtype)
    step = emit.elementwise("select", emit.elementwise("eq", x, 0.0), at_zero, step, dtype=dtype)
    return emit.elementwise("select", emit.elementwise("isnan", x), x, step, dtype=dtype)


def _logaddexp2(emit: Emitter, dtype: DType, a: Arg, b: Arg) -> Value:
    scaled = [emit.elementwise("mul", x, math.log(2.0), dtype=dtype) for x in (a, b)]
    return emit.elementwise("div", emit.elementwise("logaddexp", *scaled), math.log(2.0))


_BODIES: dict[np.ufunc, Body] = {
    np.positive: _identity,
    np.conjugate: _identity,
    np.absolute: _absolute,
    np.fabs: inventory("abs"),
    np.reciprocal: _reciprocal,
    np.power: power,
    np.float_power: _float_power,
    np.fmod: _fmod,
    np.divmod: _divmod,
    np.modf: _modf,
    np.heaviside: _heaviside,
    np.logaddexp2: _logaddexp2,
    np.deg2rad: _scaled(math.pi / 180),
    np.radians: _scaled(math.pi / 180),
    np.rad2deg: _scaled(180 / math.pi),
    np.degrees: _scaled(180 / math.pi),
    np.isnan: _predicate("isnan", False),
    np.isinf: _predicate("isinf", False),
    np.isfinite: _predicate("isfinite", True),
    np.signbit: _signbit,
    np.bitwise_and: _bitwise("bitwise_and", "logical_and"),
    np.bitwise_or: _bitwise("bitwise_or", "logical_or"),
    np.bitwise_xor: _bitwise("bitwise_xor", "logical_xor"),
    np.invert: _bitwise("invert", "logical_not"),
    **{
        ufunc: _boolean_as(name, logical)
        for ufunc, name, logical in (
            (np.add, "add", "logical_or"),
            (np.multiply, "mul", "logical_and"),
            (np.maximum, "maximum", "logical_or"),
            (np.minimum, "minimum", "logical_and"),
            (np.fmax, "fmax", "logical_or"),
            (np.fmin, "fmin", "logical_and"),
        )
    },
    **{ufunc: _unless_integer(ufunc.__name__) for ufunc in (np.floor, np.ceil, np.trunc)},
    **{
        ufunc: _logical(ufunc.__name__)
        for ufunc in (np.logical_and, np.logical_or, np.logical_xor, np.logical_not)
    },
    **{
        ufunc: inventory(name)
        for ufunc, name in (
            (np.negative, "neg"),
            (np.subtract, "sub"),
            (np.divide, "div"),
            (np.floor_divide, "floor_divide"),
            (np.remainder, "mod"),
            (np.less, "lt"),
            (np.less_equal, "le"),
            (np.greater, "gt"),
            (np.greater_equal, "ge"),
            (np.equal, "eq"),
            (np.not_equal, "ne"),
        )
    },
    **{
        ufunc: inventory(ufunc.__name__)
        for ufunc in (
            *(np.square, np.sign, np.rint, np.copysign, np.sqrt, np.cbrt, np.hypot),
            *(np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.logaddexp),
            *(np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan, np.arctan2),
            *(np.sinh, np.cosh, np.tanh, np.arcsinh, np.arccosh, np.arctanh),
        )
    },
}


def _power(emit: Emitter, base: ArrayLike, exponent: ArrayLike, **options: object) -> object:
    """`power` with a NumPy scalar as exponent is still an integer power."""
    if not isinstance(exponent, np.generic):
        return handler_of(np.power, power)(emit, base, exponent, **options)
    operands = (lift.argument(emit, base), emit.constant(exponent.item(), dtype_of(exponent.dtype)))
    return power(emit, ufunc_dtype(np.power, operands), operands[0], exponent.item())


# --- rounding and casts -------------------------------------------------------------------------------------


def round_(emit: Emitter, a: ArrayLike, decimals: int = 0, out: object = None) -> Value:
    """`np.round`, half to even."""
    lift.only_default("np.round", out=out)
    value = lift.array(emit, a)
    if not value.dtype.is_float:
        if decimals >= 0 and not value.dtype.is_bool:
            return value
        rounded = round_(emit, emit.cast(value, DType.F32 if value.dtype.is_bool else DType.F64), decimals)
        return rounded if value.dtype.is_bool else emit.cast(rounded, value.dtype)
    if decimals == 0:
        return emit.elementwise("rint", value)
    there, back = ("mul", "div") if decimals > 0 else ("div", "mul")
    factor = 10.0 ** abs(decimals)
    return emit.elementwise(back, emit.elementwise("rint", emit.elementwise(there, value, factor)), factor)


def fix(emit: Emitter, x: ArrayLike, out: object = None) -> Value:
    """`np.fix`: towards zero."""
    lift.only_default("np.fix", out=out)
    value = lift.array(emit, x)
    return emit.elementwise("trunc", value) if value.dtype.is_float else value


def sinc(emit: Emitter, x: ArrayLike) -> Value:
    """`np.sinc`: ``sin(pi x) / (pi x)``, with its derivative at 0."""
    value = lift.array(emit, x)
    return emit.elementwise("sinc", value if value.dtype.is_float else emit.cast(value, DType.F64))


def astype(emit: Emitter, x: ArrayLike, dtype: object, /, *ignored: object, **options: object) -> Value:
    """`np.astype` and the method; between floating-point types the derivative passes through."""
    return lift.array(emit, x, lift.dtype(dtype))


def copy(emit: Emitter, a: ArrayLike, order: str = "K", subok: bool = False) -> Value:
    """`np.copy`: tensors are values, so a copy is the tensor itself."""
    return lift.array(emit, a)


def _cast_to(scalar_type: type) -> Handler:
    def handler(emit: Emitter, x: ArrayLike = 0) -> Value:
        return lift.array(emit, x, dtype_of(scalar_type))

    return handler


def _outer(ufunc: np.ufunc, emit: Emitter, a: ArrayLike, b: ArrayLike, **options: object) -> object:
    """`ufunc.outer`: every element of `a` with every element of `b`."""
    left, right = lift.array(emit, a), lift.array(emit, b)
    shape = emit.shape(left) + (1,) * len(emit.shape(right))
    return UFUNCS[ufunc](emit, emit.reshape(left, shape), right, **options)


UFUNCS: Table = {ufunc: handler_of(ufunc, body) for ufunc, body in _BODIES.items()}
UFUNCS[np.power] = _power

_BIT_PATTERNS = "it works on bit patterns, which have no derivative"
_REFUSED = {
    np.left_shift: (_BIT_PATTERNS, "multiply by a power of two"),
    np.right_shift: (_BIT_PATTERNS, "use // with a power of two"),
    np.gcd: (_BIT_PATTERNS, "compute it outside the function"),
    np.lcm: (_BIT_PATTERNS, "compute it outside the function"),
    np.nextafter: (_BIT_PATTERNS, "compute it outside the function"),
    np.spacing: (_BIT_PATTERNS, "compute it outside the function"),
    np.frexp: (_BIT_PATTERNS, "use np.log2 and np.floor"),
    np.ldexp: (_BIT_PATTERNS, "write x * 2.0**n"),
}
for _ufunc, (_why, _do) in _REFUSED.items():
    UFUNCS[_ufunc] = lift.refusing(f"np.{_ufunc.__name__}", why=_why, do=_do)

_BINARY = tuple(ufunc for ufunc in _BODIES if ufunc.nin == 2)

_ONE_VALUE = "it returns one Python bool, which a trace cannot know"
FUNCTIONS: Table = {
    np.round: round_,
    np.around: round_,
    np.fix: fix,
    np.sinc: sinc,
    np.isposinf: handler_of(np.isinf, _infinite(1.0)),
    np.isneginf: handler_of(np.isinf, _infinite(-1.0)),
    np.real: copy,
    np.copy: copy,
    np.astype: astype,
    **{_type: _cast_to(_type) for _type in (np.bool_, np.float32, np.float64)},
    **{_type: _cast_to(_type) for _type in (np.int8, np.int16, np.int32, np.int64)},
    **{_type: _cast_to(_type) for _type in (np.uint8, np.uint16, np.uint32, np.uint64)},
    **{ufunc.outer: partial(_outer, ufunc) for ufunc in _BINARY},
    np.allclose: lift.refusing("np.allclose", why=_ONE_VALUE, do="np.isclose(a, b) inside np.where"),
    np.array_equal: lift.refusing("np.array_equal", why=_ONE_VALUE, do="np.all(a == b)"),
    np.array_equiv: lift.refusing("np.array_equiv", why=_ONE_VALUE, do="np.all(a == b)"),
}

METHODS: dict[str, Handler] = {
    "round": round_,
    "astype": astype,
    "copy": copy,
    "conj": UFUNCS[np.conjugate],
    "conjugate": UFUNCS[np.conjugate],
}
