"""`scipy.special`: error functions, gamma functions, entropies, soft maxima."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from scipy import special

from gradc.errors import DTypeError
from gradc.ir.types import DType
from gradc.lang.emit import Arg, Emitter, Value
from gradc.lang.operations import lift
from gradc.lang.operations.elementwise import UFUNCS as ELEMENTWISE
from gradc.lang.operations.elementwise import Body, handler_of, inventory
from gradc.lang.operations.lift import ArrayLike, Axes, Table
from gradc.lang.operations.promotion import common_float, result_dtype
from gradc.lang.operations.reductions import kept

# --- entropies ----------------------------------------------------------------------------------------------


def _choose(emit: Emitter, condition: Value, first: Arg, second: Arg, dtype: DType) -> Value:
    return emit.elementwise("select", condition, first, second, dtype=dtype)


def _entr(emit: Emitter, dtype: DType, x: Arg) -> Value:
    """Emit ``-x log x``: 0 at 0, -inf below."""
    inside = emit.elementwise("neg", emit.elementwise("xlogy", x, x, dtype=dtype))
    return _choose(emit, emit.elementwise("lt", x, 0, dtype=dtype), -math.inf, inside, dtype)


def _relative(emit: Emitter, dtype: DType, x: Arg, y: Arg, *, divergence: bool) -> Value:
    """Emit ``x log(x / y)``, for a divergence ``- x + y``: 0 at the origin, infinite outside the domain."""
    inside = _both(emit, emit.elementwise("ge", x, 0, dtype=dtype), emit.elementwise("gt", y, 0, dtype=dtype))
    denominator = _choose(emit, inside, y, 1, dtype)
    value = emit.elementwise("xlogy", x, emit.elementwise("div", x, denominator), dtype=dtype)
    if divergence:
        value = emit.elementwise("add", emit.elementwise("sub", value, x, dtype=dtype), y, dtype=dtype)
    origin = _both(emit, emit.elementwise("eq", x, 0, dtype=dtype), emit.elementwise("eq", y, 0, dtype=dtype))
    unknown = emit.elementwise(
        "logical_or", *(emit.elementwise("isnan", operand, dtype=dtype) for operand in (x, y))
    )
    outside = _choose(emit, unknown, math.nan, math.inf, dtype)
    return _choose(emit, inside, value, _choose(emit, origin, 0, outside, dtype), dtype)


def _both(emit: Emitter, first: Value, second: Value) -> Value:
    return emit.elementwise("logical_and", first, second)


# --- gamma functions ----------------------------------------------------------------------------------------


def _betaln(emit: Emitter, dtype: DType, a: Arg, b: Arg) -> Value:
    """Emit ``log |Beta(a, b)|``; it loses digits where one argument is many orders larger than the other."""
    first, second = (emit.elementwise("gammaln", x, dtype=dtype) for x in (a, b))
    total = emit.elementwise("gammaln", emit.elementwise("add", a, b, dtype=dtype))
    return emit.elementwise("sub", emit.elementwise("add", first, second), total)


def _gamma_sign(emit: Emitter, dtype: DType, x: Arg) -> Value:
    """Emit the sign of ``gamma(x)``: it alternates between the poles."""
    parity = emit.elementwise("mod", emit.elementwise("floor", x, dtype=dtype), 2)
    below = emit.elementwise("sub", 1, emit.elementwise("mul", parity, 2))
    return _choose(emit, emit.elementwise("lt", x, 0, dtype=dtype), below, 1, dtype)


def _beta(emit: Emitter, dtype: DType, a: Arg, b: Arg) -> Value:
    total = emit.elementwise("add", a, b, dtype=dtype)
    first, second, third = (_gamma_sign(emit, dtype, x) for x in (a, b, total))
    sign = emit.elementwise("mul", emit.elementwise("mul", first, second), third)
    return emit.elementwise("mul", sign, emit.elementwise("exp", _betaln(emit, dtype, a, b)))


def polygamma(emit: Emitter, n: ArrayLike, x: ArrayLike) -> Value:
    """`scipy.special.polygamma` for integer orders, in float64 as SciPy."""
    value = lift.array(emit, x, DType.F64)
    order = lift.argument(emit, n)
    if isinstance(order, float) or (isinstance(order, Value) and order.dtype.is_float):
        raise DTypeError("the order of polygamma must be an integer", do="pass a Python int")
    if order == 0:
        return emit.elementwise("digamma", value)
    if isinstance(order, int):
        return emit.elementwise("polygamma", order, value)
    is_zero = emit.elementwise("eq", order, 0)
    above = emit.elementwise("polygamma", emit.elementwise("maximum", order, 1), value, dtype=DType.F64)
    return _choose(emit, is_zero, emit.elementwise("digamma", value), above, DType.F64)


# --- soft maxima --------------------------------------------------------------------------------------------


def _shift(emit: Emitter, value: Value, axes: tuple[int, ...]) -> Value:
    """Emit the maximum, as a constant: the result does not depend on it, so it carries no derivative."""
    return emit.elementwise("stop_gradient", emit.reduce("max", value, axes, keepdims=True))


def softmax(emit: Emitter, x: ArrayLike, axis: Axes = None) -> Value:
    """`scipy.special.softmax`, shifted by the maximum."""
    (value,) = common_float(emit, x)
    axes = lift.axes(axis, len(emit.shape(value)))
    powers = emit.elementwise("exp", emit.elementwise("sub", value, _shift(emit, value, axes)))
    return emit.elementwise("div", powers, emit.reduce("sum", powers, axes, keepdims=True))


def log_softmax(emit: Emitter, x: ArrayLike, axis: Axes = None) -> Value:
    """`scipy.special.log_softmax`, shifted by the maximum where that is finite."""
    (value,) = common_float(emit, x)
    axes = lift.axes(axis, len(emit.shape(value)))
    top = _shift(emit, value, axes)
    shift = _choose(emit, emit.elementwise("isfinite", top), top, 0, top.dtype)
    centred = emit.elementwise("sub", value, shift)
    total = emit.reduce("sum", emit.elementwise("exp", centred), axes, keepdims=True)
    return emit.elementwise("sub", centred, emit.elementwise("log", total))


def logsumexp(
    emit: Emitter,
    a: ArrayLike,
    axis: Axes = None,
    b: ArrayLike | None = None,
    keepdims: object = False,
    return_sign: bool = False,
) -> Value | tuple[Value, Value]:
    """`scipy.special.logsumexp`; where the maximum is infinite the derivative is 0, not NaN."""
    if b is None:
        (value,) = common_float(emit, a)
        weights = None
    else:
        value, weights = common_float(emit, a, b)
        shape = emit.broadcast_shape([emit.shape(value), emit.shape(weights)])
        value = emit.broadcast_to(value, shape)
        value = _choose(emit, emit.elementwise("eq", weights, 0), -math.inf, value, value.dtype)
    axes = lift.axes(axis, len(emit.shape(value)))
    top = _shift(emit, value, axes)
    is_top = emit.elementwise("eq", value, top)
    beside_infinity = _choose(emit, is_top, 0, -math.inf, value.dtype)  # inf - inf would be NaN
    centred = _choose(
        emit,
        emit.elementwise("isinf", top),
        beside_infinity,
        emit.elementwise("sub", value, top),
        value.dtype,
    )
    terms = emit.elementwise("exp", centred)
    terms = terms if weights is None else emit.elementwise("mul", terms, weights)
    total = emit.reduce("sum", terms, axes, keepdims=kept(keepdims))
    top = top if kept(keepdims) else emit.reshape(top, emit.shape(total))
    size = emit.elementwise("abs", total) if return_sign else total
    result = emit.elementwise("add", emit.elementwise("log", size), top)
    return (result, emit.elementwise("sign", total)) if return_sign else result


def _reduced_logaddexp(
    emit: Emitter,
    array: ArrayLike,
    axis: Axes = 0,
    dtype: object = None,
    out: object = None,
    **options: object,
) -> object:
    """`np.logaddexp.reduce`."""
    lift.only_default(
        "np.logaddexp.reduce", out=out, where=options.get("where"), initial=options.get("initial")
    )
    return logsumexp(emit, lift.array(emit, array, lift.dtype(dtype)), axis, keepdims=options.get("keepdims"))


def softplus(emit: Emitter, x: ArrayLike, **options: object) -> Value:
    """`scipy.special.softplus`: ``log(1 + exp(x))``."""
    lift.only_default("scipy.special.softplus", **options)
    operand = lift.argument(emit, x)
    dtype = result_dtype(operand)
    return emit.elementwise("softplus", operand, dtype=dtype if dtype.is_float else DType.F64)


# --- tables -------------------------------------------------------------------------------------------------


def _exp10(emit: Emitter, dtype: DType, x: Arg) -> Value:
    return emit.elementwise("pow", 10.0, x, dtype=dtype)


_BODIES: dict[object, Body] = {
    special.entr: _entr,
    special.rel_entr: partial(_relative, divergence=False),
    special.kl_div: partial(_relative, divergence=True),
    special.beta: _beta,
    special.betaln: _betaln,
    special.exp10: _exp10,
    special.psi: inventory("digamma"),
    **{
        getattr(special, name): inventory(name)
        for name in (
            *("erf", "erfc", "erfinv", "ndtr", "log_ndtr", "ndtri"),
            *("expit", "log_expit", "logit", "xlogy", "xlog1py"),
            *("log1p", "expm1", "exp2", "cbrt", "gamma", "gammaln"),
        )
    },
}

UFUNCS: Table = {
    ufunc: handler_of(ufunc, body)  # pyright: ignore[reportArgumentType]
    for ufunc, body in _BODIES.items()
    if ufunc not in ELEMENTWISE
}

FUNCTIONS: Table = {
    special.polygamma: polygamma,
    special.softmax: softmax,
    special.log_softmax: log_softmax,
    special.logsumexp: logsumexp,
    special.softplus: softplus,
    np.logaddexp.reduce: _reduced_logaddexp,
}
