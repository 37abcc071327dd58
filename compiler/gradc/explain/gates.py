"""The circuit of a program: a value and a gradient on every gate, as in the lectures.

The gates are those of the program as it was written; a gate that a stable form replaced before compilation
carries the law.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.autodiff.vjp import gradient_with_cotangents
from gradc.ir.index.evaluate import Interpreter
from gradc.ir.index.nodes import Program, outputs_of, reads_of
from gradc.ir.index.show import show_left, show_right
from gradc.passes.equations.stabilise import stabilise

COLUMNS = ("gate", "formula", "value", "gradient", "line")
FORMULA_WIDTH = 48


@dataclass(frozen=True, slots=True)
class Gate:
    """One input or one equation, with the value it has and the gradient of the output with respect to it.

    `name` is the tensor, `left` the tensor with its indices.  `gradient` is None where the output does not
    depend on the gate.  `replaced` is the law by which a stable form took its place in the
    compiled program.
    """

    name: str
    left: str
    formula: str
    inputs: tuple[str, ...]
    value: Any
    gradient: Any
    line: int
    replaced: str = ""


def gates(program: Program, inputs: Mapping[str, Any], *, stable: bool = True) -> tuple[Gate, ...]:
    """Return the gates of a program with a scalar output, in order: inputs first, then one per equation.

    With `stable` the gates that `stabilise` replaces are marked.
    """
    wrt = tuple(name for name in program.inputs if program.types[name].dtype.is_float)
    derived, cotangents = gradient_with_cotangents(program, wrt)
    values = Interpreter().run(derived, inputs) | Interpreter().run(program, inputs)  # arms not taken, too
    laws = replaced(program) if stable else {}

    def gate(name: str, left: str, formula: str = "", reads: tuple[str, ...] = (), line: int = 0) -> Gate:
        cotangent = cotangents.get(name)
        gradient = None if cotangent is None else values[cotangent]
        return Gate(name, left, formula, reads, values[name], gradient, line, laws.get(name, ""))

    rows = [gate(name, name) for name in program.inputs]
    for equation in program.equations:
        line = equation.origin.line if equation.origin else 0
        for name in outputs_of(equation):
            left = show_left(equation) if name == outputs_of(equation)[0] else name
            rows.append(gate(name, left, show_right(equation), reads_of(equation), line))
    return tuple(rows)


def replaced(program: Program) -> dict[str, str]:
    """Return the law of the stable form that takes a gate's place, for gates rewritten or left unused."""
    stable, applied = stabilise(program)
    laws: dict[str, str] = {}
    for item in applied:
        laws[item.before.partition(" = ")[0].partition("[")[0]] = item.law
    alive = _needed(stable)
    readers: dict[str, list[str]] = {}
    for equation in program.equations:
        for name in reads_of(equation):
            readers.setdefault(name, []).extend(outputs_of(equation))
    for equation in reversed(program.equations):  # a gate comes after all its readers
        for name in outputs_of(equation):
            if name not in laws and name not in alive:
                found = [laws[reader] for reader in readers.get(name, ()) if reader in laws]
                laws |= {name: found[0]} if found else {}
    return laws


def _needed(program: Program) -> set[str]:
    """Return the tensors that the outputs depend on."""
    needed = set(program.outputs)
    for equation in reversed(program.equations):
        if needed.intersection(outputs_of(equation)):
            needed.update(reads_of(equation))
    return needed


def number(value: Any) -> str:
    """Return a value on one gate: six significant digits; arrays by shape and range."""
    if value is None:
        return "-"
    array = np.asarray(value)
    if array.ndim == 0:
        return f"{array.item():.6g}" if array.dtype.kind == "f" else str(array.item())
    shape = list(array.shape)
    return f"{shape} {array.min():.4g} .. {array.max():.4g}" if array.size else f"{shape} empty"


# --- the tree -----------------------------------------------------------------------------------------------


def show_circuit(rows: Sequence[Gate], output: str) -> str:
    """Draw the circuit as a tree from output to inputs; a gate that was drawn before is only named."""
    by_name = {gate.name: gate for gate in rows}
    marks = _marks(rows)
    lines: list[str] = []
    drawn: set[str] = set()
    stack: list[tuple[str, str, str]] = [(output, "", "")]
    while stack:
        name, lead, branch = stack.pop()
        gate = by_name[name]
        again = name in drawn and bool(gate.inputs)
        text = f"{name} = {gate.formula}" if gate.formula else name
        mark = f"   [{marks[gate.replaced]}]" if gate.replaced else ""
        lines.append(
            f"{lead}{branch}{text}   value {number(gate.value)}   gradient {number(gate.gradient)}{mark}"
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
    return "\n".join(lines) + "\n" + _legend(marks)


def _marks(rows: Sequence[Gate]) -> dict[str, int]:
    """Return a number for each law, in order of appearance."""
    laws = dict.fromkeys(gate.replaced for gate in rows if gate.replaced)
    return {law: position for position, law in enumerate(laws, 1)}


def _legend(marks: Mapping[str, int]) -> str:
    if not marks:
        return ""
    rows = [f"  [{mark}] {law}" for law, mark in marks.items()]
    return "\n".join(("replaced by a stable form in the compiled program:", *rows)) + "\n"


# --- the table ----------------------------------------------------------------------------------------------


def show_table(rows: Sequence[Gate], limit: int = 1000) -> str:
    """Show one line per gate, arrays by shape and range; beyond `limit` gates the middle is left out."""
    marks = _marks(rows)
    cells = [_cells(gate, marks) for gate in rows]
    left_out = len(cells) - limit
    if left_out > 0:
        gap = (f"... {left_out} gates left out ...", "", "", "", "")
        cells = [*cells[: limit // 2], gap, *cells[len(cells) - (limit - limit // 2) :]]
    widths = [max(len(row[at]) for row in (COLUMNS, *cells)) for at in range(len(COLUMNS))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in (COLUMNS, *cells)
    ]
    return "\n".join(lines) + "\n" + _legend(marks)


def _cells(gate: Gate, marks: Mapping[str, int]) -> tuple[str, ...]:
    formula = gate.formula or "(input)"
    formula = formula if len(formula) <= FORMULA_WIDTH else formula[: FORMULA_WIDTH - 3] + "..."
    formula += f" [{marks[gate.replaced]}]" if gate.replaced else ""
    line = str(gate.line) if gate.line else ""
    return gate.left, formula, number(gate.value), number(gate.gradient), line
