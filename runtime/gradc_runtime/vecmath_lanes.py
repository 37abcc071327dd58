"""Writing branch-free arithmetic once and emitting it as LLVM code, for either precision, of numbers or of vectors.

An algorithm is a Python function of `Real` values; running it emits its instructions.  They contain no branches and no
calls but fused multiply-adds, square roots and the like, so that LLVM's loop vectoriser runs them in all lanes of a
vector; of operands that are vectors they are vector instructions themselves.  They mean the same whatever the flags of
the surrounding kernel: a fused multiply-add is fused on every processor (slowly on one that has none), nothing else
is, and bits do not depend on the width of the vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.core.typing.templates import signature
from numba.extending import lower_builtin, type_callable

# In kernels that ask for it, Numba relaxes the instructions that have no flags.  This list has a member that
# prints as nothing: instructions that carry it stay as they are.
_STRICT = ("",)


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    `fraction` is the number of stored fraction bits, `bias` that of the exponent.
    """

    name: str
    bits: int
    fraction: int
    bias: int
    real: Any
    numba: Any

    @property
    def lanes(self) -> tuple[int, ...]:
        """Numbers in the vectors that there are: 16, 32 and 64 bytes."""
        return tuple(size * 8 // self.bits for size in (16, 32, 64))

    @property
    def integer(self) -> Any:
        """LLVM's integer of the same width."""
        return ir.IntType(self.bits)

    @cached_property
    def numpy(self) -> Any:
        """The NumPy scalar type."""
        return np.float64 if self.bits == 64 else np.float32

    @property
    def epsilon(self) -> float:
        """The distance from 1 to the next number."""
        return 2.0**-self.fraction

    @property
    def shifter(self) -> float:
        """Adding and subtracting it rounds to an integer, which the low bits of the sum hold."""
        return 1.5 * 2.0**self.fraction

    def pattern(self, value: float) -> int:
        """Bits of a number, as an unsigned integer."""
        return int(self.numpy(value).view(f"u{self.bits // 8}"))

    def split(self, parts: Sequence[float]) -> tuple[float, ...]:
        """Round each part to the format."""
        return tuple(float(self.numpy(part)) for part in parts)


F64 = Format("f64", 64, 52, 1023, ir.DoubleType(), types.float64)
F32 = Format("f32", 32, 23, 127, ir.FloatType(), types.float32)
FORMATS = (F64, F32)


def _like(value: Any, kind: Any) -> Any:
    """A type of number, or that of vectors of as many as `value` has."""
    return ir.VectorType(kind, value.type.count) if isinstance(value.type, ir.VectorType) else kind


def _constant(value: Any, kind: Any, number: float) -> Any:
    """A number of this type, in every lane that `value` has."""
    whole = _like(value, kind)
    return ir.Constant(whole, number if whole is kind else [number] * whole.count)


@dataclass(frozen=True, slots=True)
class Truth:
    """Outcome of a comparison, lane by lane."""

    builder: ir.IRBuilder
    value: Any

    def __and__(self, other: Truth) -> Truth:
        return Truth(self.builder, self.builder.and_(self.value, other.value))

    def __or__(self, other: Truth) -> Truth:
        return Truth(self.builder, self.builder.or_(self.value, other.value))


@dataclass(frozen=True, slots=True)
class Word:
    """An integer as wide as the format; shifts to the right are logical."""

    builder: ir.IRBuilder
    format: Format
    value: Any

    def _with(self, operation: str, other: Word | int) -> Word:
        whole = isinstance(other, Word)
        second = other.value if whole else _constant(self.value, self.format.integer, other)
        return Word(self.builder, self.format, getattr(self.builder, operation)(self.value, second))

    def __add__(self, other: Word | int) -> Word:
        return self._with("add", other)

    def __sub__(self, other: Word | int) -> Word:
        return self._with("sub", other)

    def __and__(self, other: Word | int) -> Word:
        return self._with("and_", other)

    def __or__(self, other: Word | int) -> Word:
        return self._with("or_", other)

    def __xor__(self, other: Word | int) -> Word:
        return self._with("xor", other)

    def __lshift__(self, places: int) -> Word:
        return self._with("shl", places)

    def __rshift__(self, places: int) -> Word:
        return self._with("lshr", places)

    def third(self) -> Word:
        """Third, rounded down, for integers below 2**15."""
        return self._with("mul", 43691) >> 17

    def equals(self, other: int) -> Truth:
        """Whether this is the integer `other`."""
        constant = _constant(self.value, self.format.integer, other)
        return Truth(self.builder, self.builder.icmp_unsigned("==", self.value, constant))

    def real(self) -> Real:
        """Reinterpret as the number that has these bits."""
        return Real(
            self.builder, self.format, self.builder.bitcast(self.value, _like(self.value, self.format.real))
        )


@dataclass(frozen=True, slots=True)
class Real:
    """A floating-point number, or one in every lane.  Comparisons with NaN are false, but for `differs`."""

    builder: ir.IRBuilder
    format: Format
    value: Any

    def of(self, other: Real | float) -> Real:
        """`other` as a number of this format."""
        if isinstance(other, Real):
            return other
        number = float(self.format.numpy(other))
        return Real(self.builder, self.format, _constant(self.value, self.format.real, number))

    def _made(self, value: Any) -> Real:
        return Real(self.builder, self.format, value)

    def __add__(self, other: Real | float) -> Real:
        return self._made(self.builder.fadd(self.value, self.of(other).value, flags=_STRICT))

    def __radd__(self, other: float) -> Real:
        return self.of(other) + self

    def __sub__(self, other: Real | float) -> Real:
        return self._made(self.builder.fsub(self.value, self.of(other).value, flags=_STRICT))

    def __rsub__(self, other: float) -> Real:
        return self.of(other) - self

    def __mul__(self, other: Real | float) -> Real:
        return self._made(self.builder.fmul(self.value, self.of(other).value, flags=_STRICT))

    def __rmul__(self, other: float) -> Real:
        return self.of(other) * self

    def __truediv__(self, other: Real | float) -> Real:
        return self._made(self.builder.fdiv(self.value, self.of(other).value, flags=_STRICT))

    def __rtruediv__(self, other: float) -> Real:
        return self.of(other) / self

    def __neg__(self) -> Real:
        return self._made(self.builder.fneg(self.value))

    def __abs__(self) -> Real:
        return self._intrinsic("fabs")

    def sqrt(self) -> Real:
        """Square root, correctly rounded."""
        return self._intrinsic("sqrt")

    def truncated(self) -> Real:
        """Drop the fraction."""
        return self._intrinsic("trunc")

    def copysign(self, sign: Real) -> Real:
        """Magnitude of this number, with the sign of `sign`."""
        return self._intrinsic("copysign", sign)

    def fma(self, factor: Real | float, term: Real | float) -> Real:
        """``self * factor + term``, rounded once."""
        return self._intrinsic("fma", self.of(factor), self.of(term))

    def _intrinsic(self, name: str, *others: Real) -> Real:
        operands = [self.value, *(other.value for other in others)]
        function = intrinsic(self.builder.module, name, self.format, operands)
        return self._made(self.builder.call(function, operands))

    def _compared(self, operator: str, other: Real | float, ordered: bool = True) -> Truth:
        compare = self.builder.fcmp_ordered if ordered else self.builder.fcmp_unordered
        outcome = compare(operator, self.value, self.of(other).value)
        outcome.flags.extend(_STRICT)
        return Truth(self.builder, outcome)

    def __lt__(self, other: Real | float) -> Truth:
        return self._compared("<", other)

    def __le__(self, other: Real | float) -> Truth:
        return self._compared("<=", other)

    def __gt__(self, other: Real | float) -> Truth:
        return self._compared(">", other)

    def __ge__(self, other: Real | float) -> Truth:
        return self._compared(">=", other)

    def equals(self, other: Real | float) -> Truth:
        """Whether the numbers are equal."""
        return self._compared("==", other)

    def differs(self, other: Real | float) -> Truth:
        """Whether the numbers differ or one is NaN."""
        return self._compared("!=", other, ordered=False)

    def pattern(self) -> Word:
        """Bits, as an integer."""
        kind = _like(self.value, self.format.integer)
        return Word(self.builder, self.format, self.builder.bitcast(self.value, kind))

    def to(self, target: Format) -> Real:
        """Convert to another format."""
        if target is self.format:
            return self
        convert = self.builder.fpext if target.bits > self.format.bits else self.builder.fptrunc
        return Real(self.builder, target, convert(self.value, _like(self.value, target.real)))


def intrinsic(module: ir.Module, name: str, form: Format, operands: Sequence[Any]) -> Any:
    """LLVM's function for operands of a format, or of vectors."""
    kind = operands[0].type
    count = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
    declared = ir.FunctionType(kind, [kind] * len(operands))
    return get_or_insert_function(module, declared, f"llvm.{name}.{count}{form.name}")


def where(condition: Truth, then: Real, otherwise: Real | float) -> Real:
    """`then` if the condition holds, else `otherwise`; both have been computed."""
    builder = then.builder
    return Real(builder, then.format, builder.select(condition.value, then.value, then.of(otherwise).value))


def clamp(x: Real, low: float, high: float) -> Real:
    """Return the number of [low, high] nearest to x; NaN for NaN."""
    above = where(x < low, x.of(low), x)
    return where(above > high, x.of(high), above)


def polynomial(x: Real, coefficients: Sequence[float]) -> Real:
    """Sum of ``coefficients[k] * x**k``, in pairs (Estrin's scheme): short chains of dependent operations."""
    terms = [x.of(coefficient) for coefficient in coefficients]
    power = x
    while len(terms) > 1:
        pairs = [high.fma(power, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
        terms = [*pairs, terms[-1]] if len(terms) % 2 else pairs
        power = power * power if len(terms) > 1 else power
    return terms[0]


def two_sum(a: Real, b: Real) -> tuple[Real, Real]:
    """Sum and its rounding error, exact for all operands (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def fast_two_sum(a: Real, b: Real) -> tuple[Real, Real]:
    """Sum and its rounding error, exact where ``|a| >= |b|`` or a is 0 (Dekker)."""
    total = a + b
    return total, b - (total - a)


def quotient(top: Real, top_error: Real, bottom: Real, bottom_error: Real) -> Real:
    """``(top + top_error) / (bottom + bottom_error)``, its last bits by one step of Newton's method."""
    inverse = 1.0 / bottom
    first = top * inverse
    remainder = (-first).fma(bottom, top) + (-first).fma(bottom_error, top_error)
    return inverse.fma(remainder, first)


Algorithm = Callable[..., Real]

_algorithms: dict[str, Algorithm] = {}  # by the name of the function


def define(function: Callable[..., Any], algorithm: Algorithm, arity: int = 1) -> None:
    """Let compiled code that calls `function` on floats run `algorithm`; integers count as float64.

    The code goes into each module once, as a function that is always inlined.
    """
    _algorithms[function.__name__] = algorithm

    def result(arguments: tuple[Any, ...]) -> Any:
        if not all(isinstance(argument, types.Number | types.Boolean) for argument in arguments):
            return None
        single = all(argument == types.float32 for argument in arguments)
        kind = types.float32 if single else types.float64
        return signature(kind, *[kind] * arity)

    if arity == 1:
        type_callable(function)(lambda context: lambda a: result((a,)))
    else:
        type_callable(function)(lambda context: lambda a, b: result((a, b)))
    for form in FORMATS:
        lower_builtin(function, *[form.numba] * arity)(_lowering(function.__name__, algorithm, form))


def _lowering(name: str, algorithm: Algorithm, form: Format) -> Callable[..., Any]:
    def lower(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(form.real, [form.real] * len(arguments))
        function = get_or_insert_function(builder.module, kind, f"gradc_{name}_{form.name}")
        if function.is_declaration:
            function.attributes.add("alwaysinline")
            _write(function, algorithm, form)
        return builder.call(function, arguments)

    return lower


def call_defined(builder: ir.IRBuilder, name: str, operands: Sequence[Any]) -> Any:
    """The function that `define` gave this name, of float64 or vectors of it; LLVM inlines what is called once."""
    kind = operands[0].type
    lanes = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
    declared = ir.FunctionType(kind, [kind] * len(operands))
    function = get_or_insert_function(builder.module, declared, f"gradc_{name}_{lanes}{F64.name}")
    if function.is_declaration:
        _write(function, _algorithms[name], F64)
    return builder.call(function, operands)


def _write(function: Any, algorithm: Algorithm, form: Format) -> None:
    function.linkage = "internal"
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    builder.ret(algorithm(*(Real(builder, form, argument) for argument in function.args)).value)
