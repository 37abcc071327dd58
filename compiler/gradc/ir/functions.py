"""The inventory of scalar functions: names, arity, dtype rules and spellings.  No SymPy here.

A spelling is a Python expression over ``{0}``, ``{1}``, ...  In the NumPy column ``np`` is NumPy and ``sp``
is `scipy.special`; in the mpmath column ``mp`` is mpmath; bare names of both are in
`gradc.ir.index.special_functions`.  In the kernel column names are imported by the generated module, as
`imports_of` says.  The SymPy side is in `gradc.ir.index.templates`, derivatives in `gradc.autodiff.rules`.
"""

from __future__ import annotations

import builtins
import keyword
import re
from dataclasses import dataclass
from enum import Enum

from gradc.ir.types import DType, float_result, promote


class Result(Enum):
    """How the dtype of a result follows from the dtype that the operands share."""

    SAME = "same"
    FLOAT = "float"
    WIDE = "wide"  # as FLOAT, but every integer becomes float64: division, most of SciPy
    BOOL = "bool"
    LOGICAL = "logical"
    INTEGER = "integer"  # int64 operands, int64 result


@dataclass(frozen=True, slots=True)
class Function:
    """One scalar function.

    `arity` is the number of arguments, `result` the dtype rule; `numpy`, `mpmath` and `kernel` are spellings.
    `kernel` serves Numba on CPU and CUDA alike: both resolve the imported names for their target.
    """

    name: str
    arity: int
    result: Result
    numpy: str
    mpmath: str
    kernel: str


def _table() -> dict[str, Function]:
    same, real, predicate, logical = Result.SAME, Result.FLOAT, Result.BOOL, Result.LOGICAL
    wide = Result.WIDE
    rows = (
        ("copy", 1, same, "np.copy({0})", "+{0}", "{0}"),
        ("stop_gradient", 1, same, "np.copy({0})", "+{0}", "{0}"),
        # the operand; derivatives do not pass here, but what is derived reads the operand itself
        ("passive", 1, same, "np.copy({0})", "+{0}", "{0}"),
        # the first operand, with the derivative of the sum of both (see `gradc.lang.expressions`, point arms)
        ("attach_gradient", 2, same, "np.copy({0})", "+{0}", "{0}"),
        # arithmetic
        ("neg", 1, same, "np.negative({0})", "-{0}", "-{0}"),
        ("add", 2, same, "np.add({0}, {1})", "{0} + {1}", "{0} + {1}"),
        ("sub", 2, same, "np.subtract({0}, {1})", "{0} - {1}", "{0} - {1}"),
        ("mul", 2, same, "np.multiply({0}, {1})", "{0} * {1}", "{0} * {1}"),
        ("div", 2, wide, "np.divide({0}, {1})", "mp_div({0}, {1})", "{0} / {1}"),
        (
            "floor_divide",
            2,
            same,
            "np.floor_divide({0}, {1})",
            "mp_floor_divide({0}, {1})",
            "floor_divide({0}, {1})",
        ),
        ("mod", 2, same, "np.mod({0}, {1})", "mp_mod({0}, {1})", "modulo({0}, {1})"),
        ("fmod", 2, same, "np.fmod({0}, {1})", "mp_fmod({0}, {1})", "fmod({0}, {1})"),
        ("pow", 2, same, "np.power({0}, {1})", "mp_pow({0}, {1})", "power({0}, {1})"),
        ("square", 1, same, "np.square({0})", "{0} * {0}", "square({0})"),
        ("reciprocal", 1, real, "np.reciprocal({0})", "mp_div(1, {0})", "reciprocal({0})"),
        ("abs", 1, same, "np.abs({0})", "mp.fabs({0})", "abs({0})"),
        ("sign", 1, same, "np.sign({0})", "mp.sign({0})", "sign({0})"),
        ("heaviside", 2, real, "np.heaviside({0}, {1})", "mp_heaviside({0}, {1})", "heaviside({0}, {1})"),
        ("maximum", 2, same, "np.maximum({0}, {1})", "mp_max({0}, {1})", "maximum({0}, {1})"),
        ("minimum", 2, same, "np.minimum({0}, {1})", "mp_min({0}, {1})", "minimum({0}, {1})"),
        ("fmax", 2, same, "np.fmax({0}, {1})", "mp_fmax({0}, {1})", "fmax({0}, {1})"),
        ("fmin", 2, same, "np.fmin({0}, {1})", "mp_fmin({0}, {1})", "fmin({0}, {1})"),
        ("floor", 1, real, "np.floor({0})", "mp.floor({0})", "floor({0})"),
        ("ceil", 1, real, "np.ceil({0})", "mp.ceil({0})", "ceil({0})"),
        ("rint", 1, real, "np.rint({0})", "mp.nint({0})", "rint({0})"),
        ("trunc", 1, real, "np.trunc({0})", "mp_trunc({0})", "trunc({0})"),
        ("copysign", 2, real, "np.copysign({0}, {1})", "mp_copysign({0}, {1})", "math.copysign({0}, {1})"),
        # powers and roots
        ("sqrt", 1, real, "np.sqrt({0})", "mp_real(mp.sqrt, {0})", "sqrt({0})"),
        ("cbrt", 1, real, "np.cbrt({0})", "mp_cbrt({0})", "cbrt({0})"),
        ("hypot", 2, real, "np.hypot({0}, {1})", "mp_hypot({0}, {1})", "math.hypot({0}, {1})"),
        # exponentials and logarithms
        ("exp", 1, real, "np.exp({0})", "mp.exp({0})", "exp({0})"),
        ("exp2", 1, real, "np.exp2({0})", "mp.power(2, {0})", "exp2({0})"),
        ("expm1", 1, real, "np.expm1({0})", "mp.expm1({0})", "expm1({0})"),
        ("log", 1, real, "np.log({0})", "mp_log({0})", "log({0})"),
        ("log2", 1, real, "np.log2({0})", "mp_log({0}) / mp.ln2", "log2({0})"),
        ("log10", 1, real, "np.log10({0})", "mp_log({0}) / mp.ln10", "log10({0})"),
        ("log1p", 1, real, "np.log1p({0})", "mp_log1p({0})", "log1p({0})"),
        ("logaddexp", 2, real, "np.logaddexp({0}, {1})", "mp_logaddexp({0}, {1})", "logaddexp({0}, {1})"),
        ("logaddexp2", 2, real, "np.logaddexp2({0}, {1})", "mp_logaddexp2({0}, {1})", "logaddexp2({0}, {1})"),
        ("xlogy", 2, wide, "sp.xlogy({0}, {1})", "mp_xlogy({0}, {1})", "xlogy({0}, {1})"),
        ("xlog1py", 2, wide, "sp.xlog1py({0}, {1})", "mp_xlog1py({0}, {1})", "xlog1py({0}, {1})"),
        # trigonometric and hyperbolic
        ("sin", 1, real, "np.sin({0})", "mp.sin({0})", "sin({0})"),
        ("cos", 1, real, "np.cos({0})", "mp.cos({0})", "cos({0})"),
        ("tan", 1, real, "np.tan({0})", "mp.tan({0})", "tan({0})"),
        ("arcsin", 1, real, "np.arcsin({0})", "mp_real(mp.asin, {0})", "arcsin({0})"),
        ("arccos", 1, real, "np.arccos({0})", "mp_real(mp.acos, {0})", "arccos({0})"),
        ("arctan", 1, real, "np.arctan({0})", "mp.atan({0})", "arctan({0})"),
        ("arctan2", 2, real, "np.arctan2({0}, {1})", "mp_atan2({0}, {1})", "arctan2({0}, {1})"),
        ("sinh", 1, real, "np.sinh({0})", "mp.sinh({0})", "sinh({0})"),
        ("cosh", 1, real, "np.cosh({0})", "mp.cosh({0})", "cosh({0})"),
        ("tanh", 1, real, "np.tanh({0})", "mp.tanh({0})", "tanh({0})"),
        ("arcsinh", 1, real, "np.arcsinh({0})", "mp.asinh({0})", "math.asinh({0})"),
        ("arccosh", 1, real, "np.arccosh({0})", "mp_real(mp.acosh, {0})", "arccosh({0})"),
        ("arctanh", 1, real, "np.arctanh({0})", "mp_real(mp.atanh, {0})", "arctanh({0})"),
        ("sinc", 1, real, "np.sinc({0})", "mp_dsinc(0, {0})", "sinc({0})"),
        ("dsinc", 1, real, "sinc_derivative(1, {0})", "mp_dsinc(1, {0})", "dsinc({0})"),
        (
            "sinc_derivative",
            2,
            real,
            "sinc_derivative({0}, {1})",
            "mp_dsinc(int({0}), {1})",
            "sinc_derivative({0}, {1})",
        ),
        # special functions
        ("erf", 1, wide, "sp.erf({0})", "mp.erf({0})", "erf({0})"),
        ("erfc", 1, wide, "sp.erfc({0})", "mp.erfc({0})", "erfc({0})"),
        ("erfinv", 1, real, "sp.erfinv({0})", "mp_erfinv({0})", "erfinv({0})"),
        ("ndtr", 1, wide, "ndtr({0})", "mp.ncdf({0})", "ndtr({0})"),
        ("log_ndtr", 1, wide, "sp.log_ndtr({0})", "mp_log_ndtr({0})", "log_ndtr({0})"),
        ("inverse_mills", 1, real, "inverse_mills({0})", "mp_inverse_mills({0})", "inverse_mills({0})"),
        ("ndtri", 1, real, "sp.ndtri({0})", "mp_ndtri({0})", "ndtri({0})"),
        ("expit", 1, wide, "sp.expit({0})", "1 / (1 + mp.exp(-{0}))", "expit({0})"),
        ("log_expit", 1, wide, "sp.log_expit({0})", "-mp.log1p(mp.exp(-{0}))", "log_expit({0})"),
        ("logit", 1, wide, "sp.logit({0})", "mp_logit({0})", "logit({0})"),
        (
            "softplus",
            1,
            real,
            "np.logaddexp({0}, {0}.dtype.type(0))",
            "mp.log1p(mp.exp({0}))",
            "softplus({0})",
        ),
        ("gamma", 1, wide, "sp.gamma({0})", "mp_gamma({0})", "gamma({0})"),
        ("gammaln", 1, wide, "sp.gammaln({0})", "mp_gammaln({0})", "gammaln({0})"),
        ("digamma", 1, wide, "sp.digamma({0})", "mp_digamma({0})", "digamma({0})"),
        ("polygamma", 2, real, "polygamma({0}, {1})", "mp_polygamma({0}, {1})", "polygamma({0}, {1})"),
        # the highest bits of an element of a random stream: key, element, how many
        (
            "random_bits",
            3,
            Result.INTEGER,
            "random_bits({0}, {1}, {2})",
            "random_bits(int({0}), int({1}), int({2}))",
            "random_bits({0}, {1}, {2})",
        ),
        # predicates and choice
        ("lt", 2, predicate, "np.less({0}, {1})", "{0} < {1}", "{0} < {1}"),
        ("le", 2, predicate, "np.less_equal({0}, {1})", "{0} <= {1}", "{0} <= {1}"),
        ("gt", 2, predicate, "np.greater({0}, {1})", "{0} > {1}", "{0} > {1}"),
        ("ge", 2, predicate, "np.greater_equal({0}, {1})", "{0} >= {1}", "{0} >= {1}"),
        ("eq", 2, predicate, "np.equal({0}, {1})", "{0} == {1}", "{0} == {1}"),
        ("ne", 2, predicate, "np.not_equal({0}, {1})", "{0} != {1}", "{0} != {1}"),
        ("isnan", 1, predicate, "np.isnan({0})", "mp.isnan({0})", "math.isnan({0})"),
        ("isinf", 1, predicate, "np.isinf({0})", "mp.isinf({0})", "math.isinf({0})"),
        ("isfinite", 1, predicate, "np.isfinite({0})", "mp.isfinite({0})", "math.isfinite({0})"),
        ("logical_and", 2, logical, "np.logical_and({0}, {1})", "bool({0} and {1})", "{0} and {1}"),
        ("logical_or", 2, logical, "np.logical_or({0}, {1})", "bool({0} or {1})", "{0} or {1}"),
        ("logical_xor", 2, logical, "np.logical_xor({0}, {1})", "bool({0}) != bool({1})", "{0} != {1}"),
        ("logical_not", 1, logical, "np.logical_not({0})", "not {0}", "not {0}"),
        ("select", 3, same, "np.where({0}, {1}, {2})", "({1} if {0} else {2})", "{1} if {0} else {2}"),
    )
    return {row[0]: Function(*row) for row in rows}


FUNCTIONS: dict[str, Function] = _table()

# Names of kernel spellings that live in `gradc_runtime.special`, which loads SciPy.
SPECIAL = frozenset(
    (
        "digamma",
        "erfinv",
        "gamma",
        "gammaln",
        "inverse_mills",
        "log_ndtr",
        "ndtri",
        "polygamma",
    )
)

_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9.]*")


def imports_of(spelling: str) -> tuple[tuple[str, str | None], ...]:
    """List what a kernel spelling imports: ``(module, name)``, or ``(module, None)`` for the module itself.

    >>> imports_of("math.hypot({0}, {1})"), imports_of("floor({0})"), imports_of("{0} and {1}")
    ((('math', None),), (('gradc_runtime.scalars', 'floor'),), ())
    """
    found: dict[tuple[str, str | None], None] = {}
    for word in _WORD.findall(spelling):
        module, dot, _ = word.partition(".")
        if dot:
            found[module, None] = None
        elif not keyword.iskeyword(word) and not hasattr(builtins, word):
            found["gradc_runtime.special" if word in SPECIAL else "gradc_runtime.scalars", word] = None
    return tuple(found)


# Functions that return their first operand, and differ from `copy` in their derivatives alone.
MARKERS = frozenset(("stop_gradient", "passive", "attach_gradient"))

COMMUTATIVE = frozenset(
    (
        "add",
        "mul",
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "hypot",
        "logaddexp",
        "logaddexp2",
        "eq",
        "ne",
        "logical_and",
        "logical_or",
        "logical_xor",
    )
)


def operand_dtype(function: Function, dtypes: tuple[DType, ...]) -> DType:
    """Find the dtype that all operands of `function` are cast to, a select's condition apart."""
    considered = dtypes[1:] if function.name == "select" else dtypes
    shared = considered[0]
    for dtype in considered[1:]:
        shared = promote(shared, dtype)
    match function.result:
        case Result.FLOAT:
            return float_result(shared)
        case Result.WIDE:
            return shared if shared.is_float else DType.F64
        case Result.LOGICAL:
            return DType.BOOL
        case Result.INTEGER:
            return DType.INT64
        case _:
            return shared


def result_dtype(function: Function, shared: DType) -> DType:
    """Find the dtype of the result, given the dtype that the operands share."""
    return DType.BOOL if function.result in (Result.BOOL, Result.LOGICAL) else shared
