"""The circuit of a program: a value and a gradient on every gate, as in the lectures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.autodiff.vjp import gradient_with_cotangents
from gradc.ir.index.evaluate import Interpreter
from gradc.ir.index.nodes import Program, outputs_of, reads_of
from gradc.ir.index.show import show_right


@dataclass(frozen=True, slots=True)
class Gate:
    """One input or one equation, with the value it has and the gradient of the output with respect to it.

    `gradient` is None where the output does not depend on the gate.
    """

    name: str
    formula: str
    inputs: tuple[str, ...]
    value: Any
    gradient: Any
    line: int


def gates(program: Program, inputs: Mapping[str, Any]) -> tuple[Gate, ...]:
    """The gates of a program with a scalar output, in order: inputs first, then one per equation."""
    wrt = tuple(name for name in program.inputs if program.types[name].dtype.is_float)
    derived, cotangents = gradient_with_cotangents(program, wrt)
    values = Interpreter().run(derived, inputs)

    def gate(name: str, formula: str = "", reads: tuple[str, ...] = (), line: int = 0) -> Gate:
        cotangent = cotangents.get(name)
        return Gate(
            name, formula, reads, values[name], None if cotangent is None else values[cotangent], line
        )

    rows = [gate(name) for name in program.inputs]
    for equation in program.equations:
        line = equation.origin.line if equation.origin else 0
        rows += [gate(name, show_right(equation), reads_of(equation), line) for name in outputs_of(equation)]
    return tuple(rows)


def number(value: Any) -> str:
    """A value on one gate: six significant digits; arrays by shape and range."""
    if value is None:
        return "-"
    array = np.asarray(value)
    if array.ndim == 0:
        return f"{array.item():.6g}" if array.dtype.kind == "f" else str(array.item())
    if array.size == 0:
        return f"{array.dtype}{list(array.shape)} empty"
    return f"{list(array.shape)} {array.min():.4g} .. {array.max():.4g}"


def show_circuit(rows: tuple[Gate, ...], output: str) -> str:
    """The circuit as a tree from the output to the inputs; a gate that was drawn before is only named."""
    by_name = {gate.name: gate for gate in rows}
    lines: list[str] = []
    drawn: set[str] = set()
    stack: list[tuple[str, str, str]] = [(output, "", "")]
    while stack:
        name, lead, branch = stack.pop()
        gate = by_name[name]
        again = name in drawn and bool(gate.inputs)
        text = f"{name} = {gate.formula}" if gate.formula else name
        lines.append(
            f"{lead}{branch}{text}   value {number(gate.value)}   gradient {number(gate.gradient)}"
            + ("   (drawn above)" if again else "")
        )
        if again:
            continue
        drawn.add(name)
        inner = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        children = [(child, inner, "├─ ") for child in gate.inputs]
        if children:
            children[-1] = (children[-1][0], inner, "└─ ")
        stack.extend(reversed(children))
    return "\n".join(lines) + "\n"
