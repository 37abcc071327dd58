"""Batching: the program that does for every element of a leading axis what a program does once.

Only what depends on a batched input gains the axis; index 0 of every affected equation is the batch, so that

    h[i] = sum[k] w[i, k] * x[k]        with x batched becomes        h[i, j] = sum[k] w[j, k] * x[i, k]
"""

from __future__ import annotations

from collections.abc import Collection
from typing import assert_never

from gradc.errors import ArgumentError
from gradc.ir.extents import Size
from gradc.ir.index.build import IDENTITY
from gradc.ir.index.calls import CALLS
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Affine,
    Assemble,
    Assign,
    Call,
    Equation,
    Index,
    IndexValue,
    Lookup,
    Operand,
    Origin,
    Program,
    TensorType,
    outputs_of,
    reads_of,
)
from gradc.ir.index.templates import template
from gradc.ir.names import NameSupply

# Where only the right-hand side is batched, its columns are: the matrix is factorised once.
_COLUMNS = ("solve", "solve_triangular")


def batched_names(program: Program, batched: Collection[str]) -> set[str]:
    """Return the tensors that gain an axis when `batched` do: everything that depends on them."""
    found = set(batched)
    for equation in program.equations:
        if any(name in found for name in reads_of(equation)):
            found.update(outputs_of(equation))
    return found


def batch(
    program: Program, batched: Collection[str], extent: Size, *, broadcast_outputs: bool = False
) -> Program:
    """Return the program over a leading axis of `extent` elements of the inputs in `batched`.

    Names stay; an output has the leading axis if it depends on a batched input (`batched_names` says which
    do), or always with `broadcast_outputs`.

    Requires: `program` is valid; `batched` are inputs.  Ensures: no equation is added for what is not
    affected.
    """
    strangers = sorted(name for name in batched if name not in program.inputs)
    if strangers:
        raise ArgumentError(
            f"{', '.join(strangers)} cannot be batched",
            why=f"the inputs are {', '.join(program.inputs)}",
            do="name inputs of the program",
        )
    batching = _Batching(program, batched_names(program, batched), extent)
    for equation in program.equations:
        batching.equation(equation)
    outputs = program.outputs
    if broadcast_outputs:
        outputs = tuple(batching.broadcast(name, None) for name in outputs)
    return Program(
        program.name,
        program.inputs,
        tuple(batching.equations),
        outputs,
        batching.types,
        program.guards,
        program.quotients,
    )


class _Batching:
    """The equations so far; `affected` are the tensors with the leading axis."""

    def __init__(self, program: Program, affected: set[str], extent: Size) -> None:
        self.affected = affected
        self.extent = extent
        self.names = NameSupply(tuple(program.types))
        self.types = {
            name: TensorType(type_.dtype, (extent, *type_.shape)) if name in affected else type_
            for name, type_ in program.types.items()
        }
        self.equations: list[Equation] = []
        self.copies: dict[str, str] = {}

    def equation(self, equation: Equation) -> None:
        """Append `equation` with the leading axis, or unchanged if it is not affected."""
        if not any(out in self.affected for out in outputs_of(equation)):
            self.equations.append(equation)
            return
        match equation:
            case Assign():
                self._assign(equation)
            case Accumulate():
                self.equations.append(
                    Accumulate(
                        equation.out,
                        (self.extent, *equation.space),
                        (0, *(self._index(index) for index in equation.target)),
                        equation.template,
                        tuple(self._operand(operand) for operand in equation.operands),
                        equation.origin,
                    )
                )
            case Assemble():
                parts = tuple(self.broadcast(part, equation.origin) for part in equation.parts)
                self.equations.append(Assemble(equation.out, equation.axis + 1, parts, equation.origin))
            case Call():
                self._call(equation)
            case _:
                assert_never(equation)

    def _assign(self, equation: Assign) -> None:
        self.equations.append(
            Assign(
                equation.out,
                (self.extent, *equation.space),
                equation.rank + 1,
                equation.reduce,
                equation.template,
                tuple(self._operand(operand) for operand in equation.operands),
                equation.origin,
            )
        )

    def _operand(self, operand: Operand) -> Operand:
        match operand:
            case Access(tensor, indices):
                moved = tuple(self._index(index) for index in indices)
                return Access(tensor, (0, *moved) if tensor in self.affected else moved)
            case IndexValue(index):
                return IndexValue(_next(index))
            case _:
                return operand

    def _index(self, index: Index) -> Index:
        if not isinstance(index, Lookup):
            return _next(index)
        moved = tuple(_next(inner) for inner in index.indices)
        return Lookup(index.tensor, (0, *moved) if index.tensor in self.affected else moved)

    def broadcast(self, name: str, origin: Origin | None) -> str:
        """Return a tensor with the leading axis: `name` itself, or its repetition."""
        if name in self.affected:
            return name
        if name not in self.copies:
            shape = self.types[name].shape
            source = Access(name, tuple(range(1, len(shape) + 1)))
            self.copies[name] = self._new("copy", (source,), (self.extent, *shape), name, origin)
        return self.copies[name]

    def _new(
        self,
        body: str,
        operands: tuple[Operand, ...],
        space: tuple[Size, ...],
        like: str,
        origin: Origin | None,
    ) -> str:
        out = self.names.fresh(like)
        self.types[out] = TensorType(self.types[like].dtype, space)
        self.equations.append(Assign(out, space, len(space), None, template(body), operands, origin))
        return out

    # --- library calls ----------------------------------------------------------------------------------

    def _call(self, call: Call) -> None:
        if call.operation in _COLUMNS and call.ins[0] not in self.affected:
            self._columns(call)
            return
        attributes = CALLS[call.operation].batch(dict(call.attributes), self.extent)
        ins = tuple(self.broadcast(name, call.origin) for name in call.ins)
        pairs = tuple(sorted(attributes.items()))
        self.equations.append(Call(call.outs, call.operation, ins, pairs, call.origin))

    def _columns(self, call: Call) -> None:
        """``a^-1 b[s]`` for all s at once: the right-hand sides stand side by side."""
        a, b = call.ins
        *before, rows, columns = self.types[b].shape[1:]
        at = len(before)
        side = (*before, rows, self.extent, columns)
        # side[.., i, s, j] = b[s, .., i, j]
        source = Access(b, (at + 1, *IDENTITY[at + 1], at + 2))
        moved = self._new("copy", (source,), side, b, call.origin)
        flat = (*before, rows, self.extent * columns)
        wide = self._reshaped(moved, flat, call.origin)
        solved = self.names.fresh(call.outs[0])
        self.types[solved] = self.types[wide]
        self.equations.append(Call((solved,), call.operation, (a, wide), call.attributes, call.origin))
        back = self._reshaped(solved, side, call.origin)
        out = call.outs[0]
        space = self.types[out].shape
        result = Access(back, (*range(1, at + 2), 0, at + 2))
        self.equations.append(Assign(out, space, len(space), None, template("copy"), (result,), call.origin))

    def _reshaped(self, name: str, shape: tuple[Size, ...], origin: Origin | None) -> str:
        out = self.names.fresh(name)
        self.types[out] = TensorType(self.types[name].dtype, shape)
        self.equations.append(Call((out,), "reshape", (name,), (("shape", shape),), origin))
        return out


def _next(index: int | Affine) -> int | Affine:
    """Return the same index one position later."""
    if isinstance(index, int):
        return index + 1
    return Affine(tuple((coefficient, position + 1) for coefficient, position in index.terms), index.offset)
