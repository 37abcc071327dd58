"""Nodes of the index IR: small frozen records, tensors shared by name.

An equation has an iteration *space*: a tuple of extents.  A loop index is its position in that space, so an index
is a plain ``int`` and renaming never arises.  For an `Assign` the first `rank` positions are the axes of the
output and the rest are reduced; an `Accumulate` adds at `target`, summing every index that the target lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gradc.ir.extents import Guard, Quotient, Size
from gradc.ir.index.templates import Template
from gradc.ir.tensors import TensorType as TensorType
from gradc.ir.types import DType


@dataclass(frozen=True, slots=True)
class Origin:
    """The place in the user's source that an equation comes from."""

    file: str
    line: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Affine:
    """``sum of coefficient * index + offset``; a bare index is written as its integer, not as an `Affine`."""

    terms: tuple[tuple[int, int], ...]
    offset: Size


@dataclass(frozen=True, slots=True)
class Lookup:
    """The value of an integer tensor, used as an index; negative values count from the end."""

    tensor: str
    indices: tuple[int | Affine, ...]


Index: TypeAlias = int | Affine | Lookup


@dataclass(frozen=True, slots=True)
class Access:
    """``tensor[indices]``, one index per axis."""

    tensor: str
    indices: tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class Const:
    """A scalar constant; `value` is a Python number, exact in `dtype`."""

    value: float | int | bool
    dtype: DType


@dataclass(frozen=True, slots=True)
class IndexValue:
    """The value of a loop index (or of an affine combination), as int64."""

    index: int | Affine


@dataclass(frozen=True, slots=True)
class ExtentValue:
    """The value of an extent, as int64."""

    size: Size


Operand: TypeAlias = Access | Const | IndexValue | ExtentValue


@dataclass(frozen=True, slots=True)
class Reduce:
    """A reduction over the trailing indices of the space; `acc` is the dtype of the accumulator."""

    op: str  # "sum", "prod", "max", "min", "any", "all"
    acc: DType


@dataclass(frozen=True, slots=True)
class Assign:
    """``out[i] = reduce[k] template(operands)``."""

    out: str
    space: tuple[Size, ...]
    rank: int
    reduce: Reduce | None
    template: Template
    operands: tuple[Operand, ...]
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Accumulate:
    """``out[target] += template(operands)`` for every point of the space."""

    out: str
    space: tuple[Size, ...]
    target: tuple[Index, ...]
    template: Template
    operands: tuple[Operand, ...]
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Assemble:
    """``out`` is the concatenation of `parts` along `axis`."""

    out: str
    axis: int
    parts: tuple[str, ...]
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """``outs = operation(ins)``, an operation of the closed table in `gradc.ir.index.calls`."""

    outs: tuple[str, ...]
    operation: str
    ins: tuple[str, ...]
    attributes: tuple[tuple[str, int | str | bool | tuple[Size, ...]], ...] = ()
    origin: Origin | None = field(default=None, compare=False)

    def attribute(self, name: str) -> int | str | bool | tuple[Size, ...]:
        """The value of one attribute."""
        return dict(self.attributes)[name]


Equation: TypeAlias = Assign | Accumulate | Assemble | Call


@dataclass(frozen=True, slots=True)
class Program:
    """A list of equations in execution order.

    `types` gives the type of every tensor; `guards` and `quotients` are the conditions and definitions of extents
    that a caller has to check and compute.
    """

    name: str
    inputs: tuple[str, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[str, ...]
    types: Mapping[str, TensorType]
    guards: tuple[Guard, ...] = ()
    quotients: tuple[Quotient, ...] = ()


def outputs_of(equation: Equation) -> tuple[str, ...]:
    """Names that an equation defines or adds to."""
    return equation.outs if isinstance(equation, Call) else (equation.out,)


def accesses_of(equation: Assign | Accumulate) -> Iterator[Access]:
    """The tensor accesses among the operands."""
    return (operand for operand in equation.operands if isinstance(operand, Access))


def reads_of(equation: Equation) -> tuple[str, ...]:
    """Names that an equation reads, look-up tables included, each once, in order of appearance."""
    match equation:
        case Assemble():
            return tuple(dict.fromkeys(equation.parts))
        case Call():
            return tuple(dict.fromkeys(equation.ins))
        case Assign() | Accumulate():
            accesses = [operand for operand in equation.operands if isinstance(operand, Access)]
            names = dict.fromkeys([access.tensor for access in accesses])
            targets = [equation.target] if isinstance(equation, Accumulate) else []
            for indices in (*targets, *[access.indices for access in accesses]):
                for index in indices:
                    if isinstance(index, Lookup):
                        names[index.tensor] = None
            return tuple(names)


def affine(terms: dict[int, int], offset: Size) -> int | Affine:
    """The canonical index for ``sum terms[i] * i + offset``: a bare ``int`` where it is one."""
    kept = tuple(sorted((index, coefficient) for index, coefficient in terms.items() if coefficient))
    if offset == 0 and len(kept) == 1 and kept[0][1] == 1:
        return kept[0][0]
    return Affine(tuple((coefficient, index) for index, coefficient in kept), offset)


def terms_of(index: int | Affine) -> tuple[tuple[tuple[int, int], ...], Size]:
    """The ``(coefficient, index)`` pairs and the offset of an index, bare or affine."""
    return (((1, index),), 0) if isinstance(index, int) else (index.terms, index.offset)


def fixed(value: Size) -> Affine:
    """An index that does not vary."""
    return Affine((), value)
