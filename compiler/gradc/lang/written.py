"""Writing into a finished program what its building has found out about extents."""

from __future__ import annotations

from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Affine,
    Assign,
    Call,
    Equation,
    ExtentValue,
    Index,
    IndexValue,
    Lookup,
    Operand,
    Program,
    TensorType,
)
from gradc.lang.unify import ExtentSolver, substituted


def with_extents(program: Program, solver: ExtentSolver) -> Program:
    """`program` with unified extents in place of the symbols that were bound to them."""
    types = {
        name: TensorType(type_.dtype, substituted(type_.shape, solver))
        for name, type_ in program.types.items()
    }
    equations = tuple(_equation(equation, solver) for equation in program.equations)
    return Program(
        program.name, program.inputs, equations, program.outputs, types, program.guards, program.quotients
    )


def _equation(equation: Equation, solver: ExtentSolver) -> Equation:
    match equation:
        case Assign():
            operands = tuple(_operand(operand, solver) for operand in equation.operands)
            space = substituted(equation.space, solver)
            return Assign(
                equation.out,
                space,
                equation.rank,
                equation.reduce,
                equation.template,
                operands,
                equation.origin,
            )
        case Accumulate():
            operands = tuple(_operand(operand, solver) for operand in equation.operands)
            space = substituted(equation.space, solver)
            target = tuple(_index(index, solver) for index in equation.target)
            return Accumulate(equation.out, space, target, equation.template, operands, equation.origin)
        case Call():
            attributes = tuple(
                (name, substituted(value, solver) if isinstance(value, tuple) else value)
                for name, value in equation.attributes
            )
            return Call(equation.outs, equation.operation, equation.ins, attributes, equation.origin)
        case _:
            return equation


def _operand(operand: Operand, solver: ExtentSolver) -> Operand:
    match operand:
        case Access(tensor, indices):
            return Access(tensor, tuple(_index(index, solver) for index in indices))
        case IndexValue(index) if isinstance(index, Affine):
            return IndexValue(Affine(index.terms, solver.resolve(index.offset)))
        case ExtentValue(size):
            return ExtentValue(solver.resolve(size))
        case _:
            return operand


def _index(index: Index, solver: ExtentSolver) -> Index:
    match index:
        case Affine(terms, offset):
            return Affine(terms, solver.resolve(offset))
        case Lookup(tensor, indices):
            inner = tuple(
                i if isinstance(i, int) else Affine(i.terms, solver.resolve(i.offset)) for i in indices
            )
            return Lookup(tensor, inner)
        case _:
            return index
