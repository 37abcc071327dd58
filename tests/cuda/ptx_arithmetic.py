"""PTX instructions on values, as LLVM instructions: the arithmetic of `tests.cuda.ptx_machine`.

Approximations of the hardware (ex2, lg2, rcp, rsqrt, division) are the exact values, rounded; of float64 ones
with ``ftz`` the upper half is kept, which is what the hardware computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

Value = Any  # of llvmlite

BIT, BYTE, WORD, LONG = (ir.IntType(bits) for bits in (1, 8, 32, 64))
SINGLE, DOUBLE = ir.FloatType(), ir.DoubleType()
TYPES: dict[str, Any] = {"pred": BIT, "f32": SINGLE, "f64": DOUBLE}
TYPES |= {f"{letter}{bits}": ir.IntType(bits) for letter in "bsu" for bits in (8, 16, 32, 64)}
REAL = (SINGLE, DOUBLE)
ORDERS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
ROUNDINGS = {"rni": "rint", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}
INTRINSIC = {
    "abs": "fabs",
    "ex2": "exp2",
    "fma": "fma",
    "lg2": "log2",
    "max": "maxnum",
    "min": "minnum",
    "sqrt": "sqrt",
}
OF_REALS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "neg": "fneg"}
OF_INTEGERS = {"add": "add", "sub": "sub", "mul": "mul", "and": "and_", "or": "or_", "xor": "xor"}
OF_INTEGERS |= {"not": "not_", "neg": "neg"}


def bits_of(kind: Any) -> int:
    return 32 if kind is SINGLE else 64 if kind is DOUBLE else kind.width


class Arithmetic:
    """Emits instructions at the end of the current block."""

    def __init__(self, module: ir.Module) -> None:
        self.module, self.builder = module, ir.IRBuilder()

    # --- bits -----------------------------------------------------------------------------------------------

    def as_bits(self, value: Value, kind: Any) -> Value:
        """The same bits in another type, cut or filled up with zeros."""
        if value.type == kind:
            return value
        if value.type in REAL:
            value = self.builder.bitcast(value, ir.IntType(bits_of(value.type)))
        whole = ir.IntType(bits_of(kind))
        if value.type.width > whole.width:
            value = self.builder.trunc(value, whole)
        elif value.type.width < whole.width:
            value = self.builder.zext(value, whole)
        return value if kind == whole else self.builder.bitcast(value, kind)

    def joined(self, parts: Sequence[Value], kind: Any) -> Value:
        """Parts of equal size in one word, the lowest first."""
        total = ir.Constant(kind, 0)
        for position, part in enumerate(parts):
            at = ir.Constant(kind, position * kind.width // len(parts))
            total = self.builder.or_(total, self.builder.shl(self.builder.zext(part, kind), at))
        return total

    def divided(self, value: Value, count: int) -> list[Value]:
        """`joined`, undone."""
        part = ir.IntType(value.type.width // count)
        places = [ir.Constant(value.type, position * part.width) for position in range(count)]
        return [self.builder.trunc(self.builder.lshr(value, place), part) for place in places]

    def inserted(self, value: Value, into: Value, at: int, count: int) -> Value:
        kind = value.type
        mask = ((1 << count) - 1) << at
        put = self.builder.and_(self.builder.shl(value, ir.Constant(kind, at)), ir.Constant(kind, mask))
        kept = self.builder.and_(into, ir.Constant(kind, ~mask & ((1 << kind.width) - 1)))
        return self.builder.or_(put, kept)

    def leading_zeros(self, value: Value) -> Value:
        return self._call(f"llvm.ctlz.i{value.type.width}", value.type, value, ir.Constant(BIT, 0))

    # --- choice and conversion ------------------------------------------------------------------------------

    def compared(self, how: str, letter: str, a: Value, b: Value) -> Value:
        if a.type not in REAL:
            return (self.builder.icmp_signed if letter == "s" else self.builder.icmp_unsigned)(
                ORDERS[how], a, b
            )
        if how == "num":
            return self.builder.fcmp_ordered("ord", a, b)
        if how == "nan":
            return self.builder.fcmp_unordered("uno", a, b)
        if how.endswith("u"):
            return self.builder.fcmp_unordered(ORDERS[how[:-1]], a, b)
        return self.builder.fcmp_ordered(ORDERS[how], a, b)

    def converted(self, value: Value, flags: Sequence[str], to: str, source: str) -> Value:
        kind, signed = TYPES[to], source[0] == "s"
        rounding = next((ROUNDINGS[flag] for flag in flags if flag in ROUNDINGS), None)
        if rounding:
            value = self._intrinsic(rounding, value)
        if value.type in REAL and kind in REAL:
            return self._real_to_real(value, kind, "sat" in flags)
        if value.type in REAL:
            name = f"llvm.fpto{'s' if to[0] == 's' else 'u'}i.sat.i{kind.width}.f{bits_of(value.type)}"
            return self._call(name, kind, value)
        if kind in REAL:
            return (self.builder.sitofp if signed else self.builder.uitofp)(value, kind)
        if kind.width > value.type.width:
            return (self.builder.sext if signed else self.builder.zext)(value, kind)
        return self.as_bits(value, kind)

    def _real_to_real(self, value: Value, kind: Any, saturated: bool) -> Value:
        if bits_of(value.type) > bits_of(kind):
            value = self.builder.fptrunc(value, kind)
        elif bits_of(value.type) < bits_of(kind):
            value = self.builder.fpext(value, kind)
        if saturated:  # to between 0 and 1, NaN to 0
            for order, bound in ((">", 0.0), ("<", 1.0)):
                limit = ir.Constant(kind, bound)
                value = self.builder.select(self.builder.fcmp_ordered(order, value, limit), value, limit)
        return value

    # --- real numbers ---------------------------------------------------------------------------------------

    def of_reals(self, name: str, flags: Sequence[str], values: Sequence[Value]) -> Value:
        directed = next((flag for flag in flags if flag in ("rz", "rm")), None)
        if directed:  # exact in float64, but for sums of terms that are far apart
            assert values[0].type is SINGLE
            wide = [self.builder.fpext(value, DOUBLE) for value in values]
            return self._rounded(self.of_reals(name, (), wide), directed)
        if name in OF_REALS:
            return getattr(self.builder, OF_REALS[name])(*values)
        if name == "copysign":  # the sign comes first
            return self._intrinsic("copysign", values[1], values[0])
        if name in ("rcp", "rsqrt"):
            below = values[0] if name == "rcp" else self._intrinsic("sqrt", values[0])
            inverse = self.builder.fdiv(ir.Constant(below.type, 1.0), below)
            return self._upper_half(inverse) if "ftz" in flags and below.type is DOUBLE else inverse
        return self._intrinsic(INTRINSIC[name], *values)

    def _upper_half(self, value: Value) -> Value:
        kept = self.builder.and_(self.builder.bitcast(value, LONG), ir.Constant(LONG, 0xFFFFFFFF00000000))
        return self.builder.bitcast(kept, DOUBLE)

    def _rounded(self, exact: Value, directed: str) -> Value:
        """A float64 as a float32 towards zero or below."""
        near = self.builder.fptrunc(exact, SINGLE)
        back, bits = self.builder.fpext(near, DOUBLE), self.builder.bitcast(near, WORD)
        one, zero = ir.Constant(WORD, 1), ir.Constant(SINGLE, 0.0)
        inwards, outwards = self.builder.sub(bits, one), self.builder.add(bits, one)
        positive = self.builder.fcmp_ordered(">", near, zero)
        above = self.builder.fcmp_ordered(">", back, exact)
        if directed == "rz":
            below = self.builder.fcmp_ordered("<", back, exact)
            bits = self.builder.select(self.builder.select(positive, above, below), inwards, bits)
        else:
            bits = self.builder.select(above, self.builder.select(positive, inwards, outwards), bits)
        return self.builder.bitcast(bits, SINGLE)

    # --- integers -------------------------------------------------------------------------------------------

    def of_integers(self, name: str, flags: Sequence[str], signed: bool, values: Sequence[Value]) -> Value:
        kind = values[0].type
        if name in ("mul", "mad"):
            return self._product(flags, signed, values)
        if name in OF_INTEGERS:
            return getattr(self.builder, OF_INTEGERS[name])(*values)
        if name in ("div", "rem"):
            return getattr(self.builder, f"{'s' if signed else 'u'}{name}")(*values)
        if name in ("min", "max"):
            compare = self.builder.icmp_signed if signed else self.builder.icmp_unsigned
            return self.builder.select(compare("<" if name == "min" else ">", *values), *values)
        assert name == "abs", name
        negative = self.builder.icmp_signed("<", values[0], ir.Constant(kind, 0))
        return self.builder.select(negative, self.builder.neg(values[0]), values[0])

    def _product(self, flags: Sequence[str], signed: bool, values: Sequence[Value]) -> Value:
        kind = values[0].type
        wide = ir.IntType(2 * kind.width)
        extend = self.builder.sext if signed else self.builder.zext
        product = self.builder.mul(extend(values[0], wide), extend(values[1], wide))
        if "wide" not in flags:
            product = self.divided(product, 2)["hi" in flags]
        return self.builder.add(product, values[2]) if len(values) > 2 else product

    def shifted(self, name: str, signed: bool, value: Value, count: Value) -> Value:
        """Shift by any 32-bit count; one beyond the width shifts everything out."""
        kind = value.type
        beyond = self.builder.icmp_unsigned(">=", count, ir.Constant(WORD, kind.width))
        last = ir.Constant(WORD, kind.width - 1)
        at = self.as_bits(self.builder.select(beyond, last, count), kind)
        if name == "shr" and signed:
            return self.builder.ashr(value, at)
        moved = (self.builder.shl if name == "shl" else self.builder.lshr)(value, at)
        return self.builder.select(beyond, ir.Constant(kind, 0), moved)

    def with_carry(
        self, name: str, flags: Sequence[str], values: Sequence[Value], carry: Value
    ) -> tuple[Value, Value]:
        """The result, and the carry of it in 32 bits; `name` ends in c where `carry` goes in."""
        kind = values[0].type
        wide = ir.IntType(2 * kind.width)
        terms = [self.builder.zext(value, wide) for value in values]
        if name.startswith("mad"):
            product = self.divided(self.builder.mul(terms[0], terms[1]), 2)["hi" in flags]
            terms = [self.builder.zext(product, wide), terms[2]]
        combine = self.builder.sub if name.startswith("sub") else self.builder.add
        total = combine(terms[0], terms[1])
        if name.endswith("c"):
            total = combine(total, self.builder.zext(carry, wide))
        result, above = self.divided(total, 2)
        return result, self.as_bits(self.builder.and_(above, ir.Constant(kind, 1)), WORD)

    # --- functions of LLVM ----------------------------------------------------------------------------------

    def _intrinsic(self, name: str, *values: Value) -> Value:
        kind = values[0].type
        return self._call(f"llvm.{name}.f{bits_of(kind)}", kind, *values)

    def _call(self, name: str, result: Any, *values: Value) -> Value:
        function = self.module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(result, [value.type for value in values])
            function = ir.Function(self.module, kind, name)
        return self.builder.call(function, values)
