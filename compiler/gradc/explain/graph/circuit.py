"""The circuit of a program: a gate for every tensor that it defines, as the user wrote it.

With values every wire carries its value, and what the gate at its end adds to its gradient; where a tensor goes to
several gates, its gradient is their sum and stands at the gate that defines it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradc.autodiff.vjp import gradient_with_cotangents
from gradc.explain.figures import spans
from gradc.explain.gates import replaced
from gradc.explain.graph.model import Graph, Node, Wire
from gradc.explain.graph.symbols import symbol
from gradc.explain.kernels.fusion import Group, fusion, title
from gradc.explain.kernels.residuals import residuals
from gradc.explain.mathematics import separate
from gradc.explain.mathematics.derivation import local_rule, names_of
from gradc.explain.mathematics.separate import Flow
from gradc.explain.mathematics.symbols import Symbols
from gradc.ir.index.evaluate import Interpreter
from gradc.ir.index.nodes import (
    Accumulate,
    Assign,
    Equation,
    Lookup,
    Program,
    accesses_of,
    outputs_of,
)
from gradc.ir.index.show import show_equation, show_type
from gradc.ir.stages import Stages


def circuit(stages: Stages, inputs: Mapping[str, Any] | None) -> Graph:
    """Return the graph of the program as written.

    Parameters
    ----------
    inputs : mapping of str to array, optional
        The program's inputs; with None wires carry types instead of numbers.
    """
    program = stages.program
    differentiable = _is_differentiable(program)
    cotangents = gradient_with_cotangents(program, separate.floats(program))[1] if differentiable else {}
    numbers = None if inputs is None else _flow(program, inputs)
    defined = _definitions(program)
    groups = fusion(stages)
    found = _with_merged(_homes(groups), defined)
    kept = {item.name: item.how for item in residuals(stages)}
    laws = replaced(program) if stages.applied else {}

    names = names_of(program)

    def node(name: str, equations: Sequence[Equation]) -> Node:
        origin = next((e.origin for e in equations if e.origin is not None), None)
        return Node(
            id=name,
            kind="gate" if equations else "input",
            label=symbol(equations) if equations else name,
            name=name if equations else _shaped(program, name),
            formula=tuple(show_equation(equation) for equation in equations),
            rule=tuple(
                rule for equation in equations for rule in _rules(equation, program, cotangents, names)
            ),
            file=origin.file if origin else "",
            line=origin.line if origin else 0,
            source=origin.text if origin else "",
            gradient=None if numbers is None else numbers.cotangents.get(name),
            kept=kept.get(name, ""),
            kernel=found.get(name),
            adjoint_kernel=behind.get(name),
            replaced=laws.get(name, ""),
        )

    behind = {name: found[cotangent] for name, cotangent in cotangents.items() if cotangent in found}
    for outs, equations in defined.items():  # a cotangent that a pass merged goes with those it flows to
        if outs[0] in cotangents:
            flows = [behind[name] for _, e in equations for _, name in operands_of(e) if name in behind]
            behind |= {name: flows[0] for name in outs if name not in behind and flows}
    nodes = [node(name, ()) for name in program.inputs]
    nodes += [node(outs[0], [e for _, e in equations]) for outs, equations in defined.items()]
    wires = _wires(program, defined, numbers)
    ends, last = _ends(program, numbers)
    return Graph(program.name, (*nodes, *ends), (*wires, *last), kernel_names(stages, groups))


def _is_differentiable(program: Program) -> bool:
    """Whether there is a gradient: the first output is a floating-point number."""
    type_ = program.types[program.outputs[0]]
    return not type_.shape and type_.dtype.is_float


def _rules(equation: Equation, program: Program, cotangents: Mapping[str, str], names: Symbols) -> list[str]:
    """Return the derivatives of an equation with respect to the operands that gradients flow to."""
    if not any(name in cotangents for name in outputs_of(equation)):
        return []
    flows = [at for at, name in operands_of(equation) if at >= 0 and name in cotangents]
    return list(dict.fromkeys(local_rule(equation, at, program, names).plain for at in flows))


def _shaped(program: Program, name: str) -> str:
    """Return the type of an input, of scalars only where it is not the usual one."""
    shown = show_type(program.types[name])
    return "" if shown == "f64" else shown


def _flow(program: Program, inputs: Mapping[str, Any]) -> Flow:
    if _is_differentiable(program):
        return separate.flow(program, inputs)
    return Flow(Interpreter().run(program, inputs), {}, {})


def _definitions(program: Program) -> dict[tuple[str, ...], list[tuple[int, Equation]]]:
    """Return the numbered equations of each definition; contributions to one tensor belong together."""
    found: dict[tuple[str, ...], list[tuple[int, Equation]]] = {}
    for number, equation in enumerate(program.equations):
        outs = outputs_of(equation)
        found[outs] = [*found.pop(outs, ()), (number, equation)]  # a tensor stands where it is complete
    return found


def _wires(
    program: Program,
    defined: Mapping[tuple[str, ...], Sequence[tuple[int, Equation]]],
    numbers: Flow | None,
) -> list[Wire]:
    """Return a wire for every operand that is a tensor."""
    home = {name: outs[0] for outs in defined for name in outs}
    wires = []
    for outs, equations in defined.items():
        for number, equation in equations:
            for position, name in operands_of(equation):
                wires.append(_wire(program, home.get(name, name), outs[0], name, numbers, (number, position)))
    return wires


def _wire(
    program: Program,
    source: str,
    target: str,
    tensor: str,
    numbers: Flow | None,
    place: tuple[int, int],
) -> Wire:
    shown = show_type(program.types[tensor])
    if numbers is None:
        return Wire(source, target, tensor, shown, index=place[1] < 0)
    value, gradient = numbers.values[tensor], numbers.contributions.get(place)
    return Wire(source, target, tensor, shown, value, gradient, index=place[1] < 0)


def operands_of(equation: Equation) -> list[tuple[int, str]]:
    """Return the positions and tensors that an equation reads; tensors that are indices have position -1."""
    read = list(separate.operands_of(equation))
    if not isinstance(equation, Assign | Accumulate):
        return read
    indices = [index for access in accesses_of(equation) for index in access.indices]
    indices += equation.target if isinstance(equation, Accumulate) else ()
    tables = dict.fromkeys(index.tensor for index in indices if isinstance(index, Lookup))
    return [*read, *((-1, name) for name in tables)]


def _ends(program: Program, numbers: Flow | None) -> tuple[list[Node], list[Wire]]:
    """Return a terminal for every output, with the wire that leads there."""
    home = {name: outputs_of(equation)[0] for equation in program.equations for name in outputs_of(equation)}
    nodes, wires = [], []
    for at, name in enumerate(program.outputs):
        end = f"output {at + 1}"
        label = name if len(program.outputs) > 1 or name in program.inputs else program.name
        nodes.append(Node(end, "output", label))
        wire = _wire(program, home.get(name, name), end, name, numbers, (-1, 0))
        seeded = numbers is not None and at == 0 and numbers.cotangents
        wires.append(Wire(wire.source, end, name, wire.type, wire.value, 1.0 if seeded else None))
    return nodes, wires


# --- kernels ------------------------------------------------------------------------------------------------


def _homes(groups: Sequence[Group]) -> dict[str, int]:
    """Return the first piece of the kernel that computes each tensor."""
    found: dict[str, int] = {}
    for group in groups:
        for name in group.tensors:
            found.setdefault(name, group.index)
    return found


def _with_merged(
    pieces_of: Mapping[str, int], defined: Mapping[tuple[str, ...], Sequence[tuple[int, Equation]]]
) -> dict[str, int]:
    """Give gates that a pass merged into one of their readers the piece of that reader."""
    found, gates = dict(pieces_of), {name for outs in defined for name in outs}
    for outs, equations in reversed(list(defined.items())):
        if outs[0] in found:
            for _, equation in equations:
                for _, name in operands_of(equation):
                    if name in gates:
                        found.setdefault(name, found[outs[0]])
    return found


def kernel_names(stages: Stages, groups: Sequence[Group]) -> tuple[str, ...]:
    """Return what each piece of a kernel is called in a picture: its number, what it is, the lines it computes."""
    lines: dict[str, int] = {}
    for equation in (*stages.program.equations, *stages.optimised.equations):
        for name in outputs_of(equation):
            if equation.origin is not None and equation.origin.line:
                lines.setdefault(name, equation.origin.line)
    names = []
    for group in groups:
        found = sorted({lines[name] for name in group.tensors if name in lines})
        what = title(group).partition(":")[0]
        lines_of = f", line{'' if len(found) == 1 else 's'} {spans(found)}" if found else ""
        names.append(f"{group.index}: {what}{lines_of}")
    return tuple(names)
