"""Sums of products in which one factor does not vary: the other one is summed first, and multiplied once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradc.ir.extents import Size
from gradc.ir.index.build import Builder
from gradc.ir.index.nodes import Access, Assign, Index, Program, Reduce, reads_of
from gradc.ir.index.rewrite import compose_operand
from gradc.ir.index.templates import composite, placeholder, template


def without_fixed_factors(program: Program) -> Program:
    """Sum a factor of a sum of products over the indices that the other factor lacks before they are multiplied.

    Requires: `program` is valid.  Ensures: the same values up to rounding (a *rounding* pass).

        v[n, j] = sum[i] a[n, i] * w[i, j];  s[j] = sum[n] -v[n, j]
        ->   u[i] = sum[n] a[n, i];  s[j] = sum[i] -u[i] * w[i, j]
    """
    while (found := _step(program)) is not None:  # every step removes a sum of products, so there is an end
        program = found
    return program


def _step(program: Program) -> Program | None:
    """The program after the first such sum has been rewritten."""
    readers = Counter(name for equation in program.equations for name in reads_of(equation))
    readers.update(program.outputs)
    products: dict[str, Assign] = {}
    for at, equation in enumerate(program.equations):
        if not isinstance(equation, Assign):
            continue
        inner = _product_of(equation, products) if _is_sum(equation) else None
        if inner is not None and readers[inner.out] == 1:
            builder = Builder.resume(replace(program, equations=()))
            if _Factors(builder, equation, inner).rewritten():
                kept = tuple(e for e in program.equations[:at] if e is not inner)
                equations = (*kept, *builder.equations, *program.equations[at + 1 :])
                types = {name: type_ for name, type_ in builder.types.items() if name != inner.out}
                return replace(program, equations=equations, types=types)
        if _is_sum(equation) and equation.template.name == "mul" and _accesses(equation) is not None:
            products[equation.out] = equation
    return None


def _is_sum(equation: Assign) -> bool:
    return equation.reduce is not None and equation.reduce.op == "sum" and equation.reduce.acc.is_float


def _accesses(equation: Assign) -> list[Access] | None:
    """The operands, if each is an element at indices of its own."""
    found = [operand for operand in equation.operands if isinstance(operand, Access)]
    plain = all(_is_plain(access.indices) for access in found)
    return found if plain and len(found) == len(equation.operands) else None


def _is_plain(indices: Sequence[Index]) -> bool:
    return all(isinstance(index, int) for index in indices) and len(set(indices)) == len(indices)


def _product_of(total: Assign, products: dict[str, Assign]) -> Assign | None:
    """The sum of products whose elements, each once and at most with another sign, a sum adds."""
    accesses = _accesses(total)
    if accesses is None or len(accesses) != 1 or total.template.name not in ("copy", "neg"):
        return None
    (read,) = accesses
    inner = products.get(read.tensor)
    whole = set(read.indices) == set(range(len(total.space)))
    same = inner is not None and inner.reduce is not None and inner.reduce == total.reduce
    return inner if whole and same else None


@dataclass
class _Factors:
    """A sum over a sum of products, and the builder that takes what stands for both."""

    builder: Builder
    total: Assign
    inner: Assign

    def rewritten(self) -> bool:
        """Rewrite it where a summed index is missing from a factor; whether there is one."""
        (read,) = self.total.operands
        assert isinstance(read, Access)
        assert self.inner.reduce is not None
        # The space of the result: that of the outer sum, then the indices that the inner sum adds over.
        size = len(self.total.space)
        added = range(size, size + len(self.inner.space) - self.inner.rank)
        space = (*self.total.space, *self.inner.space[self.inner.rank :])
        places = (*read.indices, *added)
        factors = [compose_operand(operand, places) for operand in self.inner.operands]
        summed = set(range(self.total.rank, size))
        kept = set(range(len(space)))
        for at, factor in enumerate(factors):
            other = factors[1 - at]
            assert isinstance(factor, Access)
            assert isinstance(other, Access)
            alone = summed & set(factor.indices) - set(other.indices)
            if alone:
                kept -= alone
                factors[at] = self.summed(factor, alone, space)
        if len(kept) == len(space):
            return False
        order = {position: at for at, position in enumerate(sorted(kept))}
        inner = tuple(order.get(position, 0) for position in range(len(space)))
        operands = tuple(compose_operand(factor, inner) for factor in factors if factor is not None)
        product = placeholder(0) * placeholder(1)
        body = (
            template("mul")
            if self.total.template.is_copy
            else composite(-product, (placeholder(0), placeholder(1)))
        )
        reduced = len(order) > self.total.rank
        self.builder.equations.append(
            replace(
                self.total,
                space=tuple(space[position] for position in sorted(kept)),
                reduce=self.inner.reduce if reduced else None,
                template=body,
                operands=tuple(operand for operand in operands if operand is not None),
            )
        )
        return True

    def summed(self, factor: Access, alone: set[int], space: Sequence[Size]) -> Access:
        """The sum of a factor over indices that it has alone."""
        kept = [index for index in factor.indices if isinstance(index, int) and index not in alone]
        order = {position: at for at, position in enumerate((*kept, *sorted(alone)))}
        sizes = tuple(space[position] for position in order)
        acc = self.builder.types[self.inner.out].dtype
        name = self.builder.declare("", acc, sizes[: len(kept)])
        read = Access(
            factor.tensor, tuple(order[index] for index in factor.indices if isinstance(index, int))
        )
        equation = Assign(
            name, sizes, len(kept), Reduce("sum", acc), template("copy"), (read,), self.total.origin
        )
        self.builder.equations.append(equation)
        return Access(name, tuple(kept))
