"""Is a program well formed?  All faults are reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from gradc.errors import ShapeError, VerifyError
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.calls import CALLS
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Affine,
    Assemble,
    Assign,
    Call,
    Const,
    Equation,
    Index,
    Lookup,
    Operand,
    Program,
    outputs_of,
    reads_of,
)
from gradc.ir.index.show import show_equation, show_type
from gradc.ir.types import DType

REDUCTIONS = ("sum", "prod", "max", "min", "any", "all")


def verify(program: Program) -> Program:
    """Return `program` unchanged, or raise `VerifyError` with every fault.

    A well-formed program defines every tensor once (or accumulates into it, and reads it only after the last
    accumulation), gives every equation operands of one dtype, and accesses tensors with one index per axis,
    each within the equation's space.
    """
    problems = list(_faults(program))
    if problems:
        raise VerifyError(f"program {program.name}", problems)
    return program


def _faults(program: Program) -> Iterator[str]:
    last_accumulate = {e.out: at for at, e in enumerate(program.equations) if isinstance(e, Accumulate)}
    defined = dict.fromkeys(program.inputs, -1)
    for at, equation in enumerate(program.equations):
        where = show_equation(equation)
        for name in reads_of(equation):
            if name not in defined:
                yield f"{where}: reads {name} before it is defined"
            elif last_accumulate.get(name, -1) > at:
                yield f"{where}: reads {name} before its last accumulation"
        for name in outputs_of(equation):
            if name in defined and not (isinstance(equation, Accumulate) and name in last_accumulate):
                yield f"{where}: defines {name} a second time"
            if name not in program.types:
                yield f"{where}: {name} has no type"
            defined[name] = at
        if all(name in program.types for name in (*reads_of(equation), *outputs_of(equation))):
            yield from (f"{where}: {fault}" for fault in _equation_faults(program, equation))
    yield from (f"output {name} is not defined" for name in program.outputs if name not in defined)


def _equation_faults(program: Program, equation: Equation) -> Iterator[str]:
    match equation:
        case Assign():
            yield from _assign_faults(program, equation)
        case Accumulate():
            yield from _access_faults(program, Access(equation.out, equation.target), len(equation.space))
            yield from _operand_faults(program, equation)
        case Assemble():
            first = program.types[equation.parts[0]]
            for part in equation.parts:
                type_ = program.types[part]
                if type_.dtype is not first.dtype or len(type_.shape) != len(first.shape):
                    yield f"parts of different kinds: {show_type(first)} and {show_type(type_)}"
        case Call():
            yield from _call_faults(program, equation)
        case _:
            assert_never(equation)


def _call_faults(program: Program, equation: Call) -> Iterator[str]:
    operation = CALLS.get(equation.operation)
    if operation is None:
        yield f"unknown operation {equation.operation}"
        return
    try:
        results = operation.infer(
            tuple(program.types[name] for name in equation.ins), dict(equation.attributes)
        )
    except ShapeError as error:
        yield error.what
        return
    declared = tuple(program.types[name] for name in equation.outs)
    if declared != results:
        found, said = (", ".join(map(show_type, types)) for types in (results, declared))
        yield f"the results are {found}, the program says {said}"


def _assign_faults(program: Program, equation: Assign) -> Iterator[str]:
    declared = program.types[equation.out].shape
    if declared != equation.space[: equation.rank]:
        yield f"the result has shape {declared}, the space says {equation.space[: equation.rank]}"
    if equation.reduce is None and equation.rank != len(equation.space):
        yield "indices are left over without a reduction"
    if equation.reduce is not None and equation.reduce.op not in REDUCTIONS:
        yield f"unknown reduction {equation.reduce.op}"
    yield from _operand_faults(program, equation)


def _operand_faults(program: Program, equation: Assign | Accumulate) -> Iterator[str]:
    if len(equation.operands) != equation.template.arity:
        yield f"{equation.template} takes {equation.template.arity} operands, not {len(equation.operands)}"
    for operand in equation.operands:
        if isinstance(operand, Access):
            yield from _access_faults(program, operand, len(equation.space))
    dtypes = [_operand_dtype(program, operand) for operand in equation.operands]
    name = equation.template.name
    if name == "select" and dtypes and dtypes[0] is not DType.BOOL:
        yield f"the condition of select is {dtypes[0]}, not bool"
    if name in FUNCTIONS and len(set(dtypes[1:] if name == "select" else dtypes)) > 1:
        yield f"operands of different dtypes: {', '.join(map(repr, dtypes))}"


def _operand_dtype(program: Program, operand: Operand) -> DType:
    match operand:
        case Access(tensor, _):
            return program.types[tensor].dtype
        case Const(_, dtype):
            return dtype
        case _:
            return DType.INT64


def _access_faults(program: Program, access: Access, space: int) -> Iterator[str]:
    rank = len(program.types[access.tensor].shape)
    if len(access.indices) != rank:
        yield f"{access.tensor} has {rank} axes and is accessed with {len(access.indices)} indices"
    for index in access.indices:
        if any(position >= space for position in _positions(index)):
            yield f"{access.tensor} is accessed with an index outside the space"
        if isinstance(index, Lookup) and program.types[index.tensor].dtype not in (DType.INT64, DType.INT32):
            yield f"{index.tensor} is used as an index but is {program.types[index.tensor].dtype}"


def _positions(index: Index) -> Iterator[int]:
    match index:
        case int():
            yield index
        case Affine():
            yield from (position for _, position in index.terms)
        case Lookup():
            for inner in index.indices:
                yield from _positions(inner)
        case _:
            assert_never(index)
