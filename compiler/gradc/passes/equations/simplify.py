"""Forward copies, fold constants, share equal equations, drop unused ones: linear walks, all exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradc.ir.index.build import IDENTITY
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assemble,
    Assign,
    Call,
    Const,
    Equation,
    ExtentValue,
    Index,
    IndexValue,
    Lookup,
    Operand,
    Program,
    fixed,
    outputs_of,
    reads_of,
)
from gradc.ir.index.numbers import MachineNumbers
from gradc.ir.index.rewrite import compose, compose_index
from gradc.ir.index.templates import template
from gradc.ir.types import DType


def simplify(program: Program) -> Program:
    """Rewrite operands through copies and constants, and equations equal to earlier ones into copies.

    Requires: `program` is valid.  Ensures: bit-equal outputs, no more equations than before.

        v1[i, j] = x[j, i];  v2[i, j] = exp(v1[i, j])     ->  v2[i, j] = exp(x[j, i])
        v1 = 1.0;  v2[i] = v1 * y[i];  v3[i] = v2[i] + z[i]  ->  v3[i] = y[i] + z[i]
    """
    walk = _Simplifier(program)
    equations = [walk.visit(equation) for equation in program.equations]
    return dead_code(replace(program, equations=tuple(equations)))


def dead_code(program: Program) -> Program:
    """Drop equations that no output depends on.

    Requires: `program` is valid.  Ensures: bit-equal outputs.
    """
    needed = set(program.outputs)
    kept: list[Equation] = []
    for equation in reversed(program.equations):
        if any(name in needed for name in outputs_of(equation)):
            needed.update(reads_of(equation))
            kept.append(equation)
    types = {name: type_ for name, type_ in program.types.items() if name in needed or name in program.inputs}
    for equation in kept:
        types.update((name, program.types[name]) for name in outputs_of(equation))
    return replace(program, equations=tuple(reversed(kept)), types=types)


class _Simplifier:
    def __init__(self, program: Program) -> None:
        self.types = program.types
        self.same_as: dict[str, Operand] = {}  # what a tensor is a copy of, in terms of its own axes
        self.known: dict[object, str] = {}
        self.numbers = MachineNumbers()

    def visit(self, equation: Equation) -> Equation:
        match equation:
            case Assign():
                operands = tuple(self.operand(operand) for operand in equation.operands)
                if operands != equation.operands:
                    equation = replace(equation, operands=operands)
                equation = self.without_neutral(equation)
                self.remember(equation)
                return equation
            case Accumulate():
                operands = tuple(self.operand(operand) for operand in equation.operands)
                target = tuple(self.index(index) for index in equation.target)
                return replace(equation, operands=operands, target=target)
            case Assemble():
                return replace(equation, parts=tuple(self.tensor(part) for part in equation.parts))
            case Call():
                return replace(equation, ins=tuple(self.tensor(name) for name in equation.ins))

    # --- reading through copies -------------------------------------------------------------------------

    def operand(self, operand: Operand) -> Operand:
        if not isinstance(operand, Access):
            return operand
        if any(isinstance(index, Lookup) for index in operand.indices):
            operand = Access(operand.tensor, tuple(self.index(index) for index in operand.indices))
        found = self.same_as.get(operand.tensor)
        if found is None:
            return operand
        match found:
            case Access(tensor, indices):
                composed = tuple(compose_index(index, operand.indices) for index in indices)
                usable = all(index is not None for index in composed)
                return Access(tensor, composed) if usable else operand  # pyright: ignore[reportArgumentType]
            case IndexValue(index):
                position = compose(index, operand.indices)
                return operand if position is None else IndexValue(position)
            case Const() | ExtentValue():
                return found

    def index(self, index: Index) -> Index:
        """Look-ups in copied tensors; a look-up in ``arange`` is the index itself."""
        if not isinstance(index, Lookup):
            return index
        match self.same_as.get(index.tensor):
            case Access(tensor, indices) if not any(isinstance(inner, Lookup) for inner in indices):
                inner = tuple(compose(i, index.indices) for i in indices if not isinstance(i, Lookup))
                return Lookup(tensor, tuple(i for i in inner if i is not None))
            case IndexValue(position):
                found = compose(position, index.indices)
                return index if found is None else found
            case Const(value, _) if value >= 0:
                return fixed(int(value))
            case _:
                return index

    def tensor(self, name: str) -> str:
        """For whole tensors: only an identical copy can stand in."""
        found = self.same_as.get(name)
        if isinstance(found, Access) and found.indices == IDENTITY[len(self.types[name].shape)]:
            same_shape = self.types[found.tensor].shape == self.types[name].shape
            return found.tensor if same_shape else name
        return name

    # --- what an equation is equal to -------------------------------------------------------------------

    def without_neutral(self, equation: Assign) -> Assign:
        """``x * 1 -> x``, ``x / 1 -> x``, ``x - 0 -> x``: exact for every float, NaN and infinities too."""
        name, operands = equation.template.name, equation.operands
        if equation.reduce is None and name in ("mul", "div", "sub") and len(operands) == 2:
            neutral = 0 if name == "sub" else 1
            if _is_constant(operands[1], neutral) and not str(getattr(operands[1], "value", "")).startswith(
                "-"
            ):
                return replace(equation, template=template("copy"), operands=operands[:1])
            if name == "mul" and _is_constant(operands[0], 1):
                return replace(equation, template=template("copy"), operands=operands[1:])
        return equation

    def remember(self, equation: Assign) -> None:
        if equation.reduce is not None:
            self.share(equation)
            return
        dtype = self.types[equation.out].dtype
        first = equation.operands[0] if equation.operands else None
        if equation.template.is_copy and first is not None and self.dtype(first) is dtype:
            self.same_as[equation.out] = first
        elif all(isinstance(operand, Const) for operand in equation.operands):
            self.same_as[equation.out] = self.folded(equation, dtype)
        else:
            self.share(equation)

    def share(self, equation: Assign) -> None:
        dtype = self.types[equation.out].dtype
        key = (equation.template, equation.space, equation.rank, equation.reduce, equation.operands, dtype)
        twin = self.known.setdefault(key, equation.out)
        if twin != equation.out:
            self.same_as[equation.out] = Access(twin, IDENTITY[equation.rank])

    def folded(self, equation: Assign, dtype: DType) -> Const:
        values = [self.numbers.constant(o.value, o.dtype) for o in equation.operands if isinstance(o, Const)]
        with np.errstate(all="ignore"):
            value = self.numbers.cast(np.asarray(self.numbers.function(equation.template)(*values)), dtype)
        return Const(value.item(), dtype)

    def dtype(self, operand: Operand) -> DType:
        match operand:
            case Access(tensor, _):
                return self.types[tensor].dtype
            case Const(_, dtype):
                return dtype
            case _:
                return DType.INT64


def _is_constant(operand: Operand, value: float) -> bool:
    return isinstance(operand, Const) and not isinstance(operand.value, bool) and operand.value == value
