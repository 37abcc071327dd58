"""Scalar expressions over named loop indices, and the equations they become.

Index equations (``y[i] = sum[j] w[i, j] * x[j]``) and SymPy's ``Sum`` over ``Indexed`` share this layer. A
`Term` says which indices it uses; applying a function to terms emits one equation over exactly the indices
they use. Products are kept back until something else than a factor or a sum wants them, so a sum of
products becomes one contraction instead of a sum over a product that was written to memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gradc.ir.extents import Polynomial, Size
from gradc.ir.functions import FUNCTIONS, operand_dtype, result_dtype
from gradc.ir.index.nodes import Access, Affine, Const, IndexValue, Operand, Reduce, affine
from gradc.ir.index.templates import Template, composite, integer_power, placeholder, template
from gradc.ir.types import DType, float_result, promote, promote_weak
from gradc.lang.emit import Emitter, SizeValue, Value

Scalar: TypeAlias = float | int | bool

_BY_MULTIPLICATION = 64


@dataclass(frozen=True, slots=True, eq=False)
class LoopIndex:
    """One binding of an index name; `order` (outermost first) decides the order of axes of results."""

    name: str
    order: int

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Form:
    """``sum of coefficient * index + offset``, each index at most once."""

    terms: tuple[tuple[int, LoopIndex], ...]
    offset: Size = 0

    @property
    def bare(self) -> LoopIndex | None:
        """The index, where the form is nothing but one index."""
        single = len(self.terms) == 1 and self.terms[0][0] == 1 and self.offset == 0
        return self.terms[0][1] if single else None


@dataclass(frozen=True, slots=True)
class Read:
    """One element of a tensor."""

    value: Value
    subscripts: tuple[Form, ...] = ()


@dataclass(frozen=True, slots=True)
class Position:
    """The value of an index, or of a combination of indices, as a number."""

    form: Form


@dataclass(frozen=True, slots=True)
class Product:
    """Factors multiplied from left to right, not yet emitted; at least two."""

    factors: tuple[Read | Position | SizeValue | Scalar, ...]


Factor: TypeAlias = Read | Position | SizeValue | Scalar
Term: TypeAlias = Factor | Product


def indices_of(terms: Iterable[Term]) -> tuple[LoopIndex, ...]:
    """Return the indices that terms use, outermost first."""
    found: dict[LoopIndex, None] = {}
    for term in terms:
        for factor in term.factors if isinstance(term, Product) else (term,):
            for form in _forms(factor):
                found.update((index, None) for _, index in form.terms)
    return tuple(sorted(found, key=lambda index: index.order))


def _forms(factor: Factor) -> tuple[Form, ...]:
    if isinstance(factor, Read):
        return factor.subscripts
    return (factor.form,) if isinstance(factor, Position) else ()


class Nest:
    """Emits terms; `extents` holds the range of every index in use.

    `default` is the dtype of what consists of literals alone; literals are weak beside tensors.
    """

    def __init__(self, emit: Emitter, default: DType = DType.F64) -> None:
        self.emit = emit
        self.default = default
        self.extents: dict[LoopIndex, Size] = {}

    # --- functions --------------------------------------------------------------------------------------

    def apply(self, function: str, *terms: Term, name: str = "") -> Read:
        """Apply an inventory function, over exactly the indices that the terms use."""
        factors = tuple(self.factor(term) for term in terms)
        return self._function(template(function), factors, name)

    def multiply(self, left: Term, right: Term) -> Product:
        """Return the product, kept back."""
        factors = left.factors if isinstance(left, Product) else (left,)
        return Product((*factors, self.factor(right)))

    def power(self, base: Term, exponent: Term, name: str = "") -> Read:
        """Raise to a power: by multiplication for whole constants up to 64, ``sqrt`` for one half."""
        base, exponent = self.factor(base), self.factor(exponent)
        if not isinstance(exponent, int | float) or isinstance(base, int | float):
            return self._function(template("pow"), (base, exponent), name)
        if exponent == 0.5:
            return self._function(template("sqrt"), (base,), name)
        if not float(exponent).is_integer() or not 0 < abs(exponent) <= _BY_MULTIPLICATION:
            return self._function(template("pow"), (base, exponent), name)
        if exponent > 0:
            return self._function(_power_template(int(exponent)), (base,), name)
        positive = base if exponent == -1 else self._function(_power_template(-int(exponent)), (base,), "")
        return self._function(template("reciprocal"), (positive,), name)

    def factor(self, term: Term) -> Factor:
        """Return the term with a product written out as multiplications from left to right."""
        if not isinstance(term, Product):
            return term
        result = term.factors[0]
        for factor in term.factors[1:]:
            result = self._function(template("mul"), (result, factor), "")
        return result

    def _function(self, body: Template, factors: Sequence[Factor], name: str) -> Read:
        shared = self._shared_dtype(body, factors)
        entry = FUNCTIONS.get(body.name)
        result = result_dtype(entry, shared) if entry else shared
        return self._assign(body, factors, shared, result, indices_of(factors), name=name)

    def _shared_dtype(self, body: Template, factors: Sequence[Factor]) -> DType:
        """Return the dtype in which NumPy would compute: literals, positions and extents are weak."""
        considered = factors[1:] if body.name == "select" else factors
        tensors = [factor.value.dtype for factor in considered if isinstance(factor, Read)]
        weak = [_weak_kind(factor) for factor in considered if not isinstance(factor, Read)]
        if tensors:
            shared = tensors[0]
            for dtype in tensors[1:]:
                shared = promote(shared, dtype)
            for kind in weak:
                shared = promote_weak(shared, kind)
        else:
            counted = any(isinstance(factor, Position | SizeValue) for factor in considered)
            shared = DType.INT64 if counted and float not in weak else self.default
        entry = FUNCTIONS.get(body.name)
        return operand_dtype(entry, (shared,) * entry.arity) if entry else float_result(shared)

    # --- reductions and results -------------------------------------------------------------------------

    def reduce(self, op: str, indices: Sequence[LoopIndex], term: Term, name: str = "") -> Read:
        """Reduce over `indices`; a product under a sum becomes one contraction."""
        fused = isinstance(term, Product) and op == "sum"
        factors = term.factors if isinstance(term, Product) and fused else (self.factor(term),)
        dtype = self._shared_dtype(template("mul" if fused else "copy"), factors)
        if not dtype.is_float and op in ("sum", "prod"):
            dtype = DType.INT64 if dtype.is_bool else promote(dtype, DType.INT64)
        if op in ("max", "min"):
            for index in indices:
                reason = f"{op} over {index.name} needs at least one element"
                self.emit.solver.require(self.extents[index], ">=", 1, reason)
        kept = tuple(index for index in indices_of([term]) if index not in indices)
        body = product_template(len(factors))
        return self._assign(body, factors, dtype, dtype, kept, tuple(indices), op, name=name)

    def close(self, term: Term, indices: tuple[LoopIndex, ...], name: str = "") -> Value:
        """Return the tensor whose axes are `indices`, in this order."""
        if isinstance(term, Product):
            *inner, last = term.factors
            left = self.factor(Product(tuple(inner))) if len(inner) > 1 else inner[0]
            term = self.apply("mul", left, last, name=name)
        taken = self.emit.builder.inputs  # a result is a new tensor, even where it equals an input
        if (
            isinstance(term, Read)
            and term.value.name not in taken
            and [form.bare for form in term.subscripts] == list(indices)
        ):
            return term.value
        dtype = self._shared_dtype(template("copy"), (term,))
        return self._assign(template("copy"), (term,), dtype, dtype, indices, name=name).value

    # --- equations --------------------------------------------------------------------------------------

    def _assign(
        self,
        body: Template,
        factors: Sequence[Factor],
        dtype: DType,
        result: DType,
        kept: tuple[LoopIndex, ...],
        reduced: tuple[LoopIndex, ...] = (),
        op: str = "",
        *,
        name: str = "",
    ) -> Read:
        loops = (*kept, *reduced)
        position = {index: at for at, index in enumerate(loops)}
        space = tuple(self.emit.solver.resolve(self.extents[index]) for index in loops)
        condition = body.name == "select"
        operands = tuple(
            self._operand(factor, DType.BOOL if condition and at == 0 else dtype, position)
            for at, factor in enumerate(factors)
        )
        origin, hint = self.emit.place()
        out = self.emit.builder.assign(
            body,
            operands,
            space,
            result,
            rank=len(kept),
            reduce=Reduce(op, result) if op else None,
            name=name or hint,
            origin=origin,
        )
        value = Value(out, result, space[: len(kept)])
        return Read(value, tuple(Form(((1, index),)) for index in kept))

    def _operand(self, factor: Factor, dtype: DType, position: dict[LoopIndex, int]) -> Operand:
        if isinstance(factor, Position):
            if dtype is DType.INT64:
                return IndexValue(_placed(factor.form, position))
            factor = self._counted(factor)
        if isinstance(factor, SizeValue):
            return Access(self.emit.size_value(factor.size, dtype).name, ())
        if isinstance(factor, Read):
            value = self.emit.cast(factor.value, dtype)
            return Access(value.name, tuple(_placed(form, position) for form in factor.subscripts))
        return Const(dtype.numpy.type(factor).item(), dtype)

    def _counted(self, position: Position) -> Read:
        return self._assign(template("copy"), (position,), DType.INT64, DType.INT64, indices_of((position,)))

    # --- ranges -----------------------------------------------------------------------------------------

    def bounds(self, form: Form) -> tuple[Size, Size]:
        """Return the least and the greatest value that a form takes."""
        least: Size = form.offset
        greatest: Size = form.offset
        for coefficient, index in form.terms:
            last = coefficient * (self.extents[index] - 1)
            if coefficient > 0:
                greatest = greatest + last
            else:
                least = least + last
        return least, greatest

    def require_within(self, form: Form, size: Size | None, reason: str) -> None:
        """Record what keeps every value of `form` inside an axis of extent `size` (None: no end to check).

        Raises
        ------
        ShapeError
            In the call being traced some value lies outside.
        """
        least, greatest = self.bounds(form)
        for margin in (least,) if size is None else (least, size - 1 - greatest):
            if not _never_negative(self.emit.solver.resolve(margin)):
                self.emit.solver.require(margin, ">=", 0, reason)


def product_template(count: int) -> Template:
    """Return the template that multiplies `count` operands from left to right."""
    if count <= 2:
        return template("copy" if count == 1 else "mul")
    symbols = tuple(placeholder(position) for position in range(count))
    body = symbols[0]
    for symbol in symbols[1:]:
        body = body * symbol
    return composite(body, symbols)


def _power_template(exponent: int) -> Template:
    return template("copy") if exponent == 1 else integer_power(exponent)


def _placed(form: Form, position: dict[LoopIndex, int]) -> int | Affine:
    return affine({position[index]: coefficient for coefficient, index in form.terms}, form.offset)


def _weak_kind(factor: Factor) -> type:
    return type(factor) if isinstance(factor, bool | int | float) else int


def _never_negative(size: Size) -> bool:
    """Whether a size is nonnegative for all values of its symbols; False where that is not plain to see."""
    if isinstance(size, Polynomial):
        return all(coefficient >= 0 for _, coefficient in size.terms)
    return size >= 0
