"""A derivation with numbers: for each gate its value, its gradient, and what it hands on to its operands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradc.autodiff.activity import varying
from gradc.explain.gates import replaced
from gradc.explain.mathematics.local import UPSTREAM, LocalRule, partial_of, rule
from gradc.explain.mathematics.programs import PRINTERS, equation_texts
from gradc.explain.mathematics.separate import Flow, floats, flow, operands_of
from gradc.explain.mathematics.symbols import Symbol, Symbols, output_symbol, symbols
from gradc.explain.mathematics.tree import Number, Tensor
from gradc.ir.index.evaluate import Interpreter
from gradc.ir.index.nodes import Assign, Equation, Program, outputs_of
from gradc.ir.tensors import TensorType

MOST_STEPS = 200
SMALL = 6  # elements; larger arrays have no numbers of their own


@dataclass(frozen=True, slots=True)
class Formula:
    """One formula in both spellings."""

    plain: str
    latex: str

    def __str__(self) -> str:
        return self.plain


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a gate hands on to one operand.

    Attributes
    ----------
    operand : str
        The tensor that is read.
    position : int
        Which operand of the equation it is.
    symbol : Formula
        The gradient of the operand: ``∂L/∂x_i``.
    local : Formula or None
        The derivative of the gate with respect to the operand, ``∂y_i/∂x_i = cos(x_i)``; None for operations on
        matrices.
    local_value : array or None
        Its numbers, of small elementwise gates.
    formula : Formula
        Upstream gradient times local derivative.
    value : array
        The contribution.
    before : array or None
        The sum of what gates nearer to the output contributed; None for the first contribution.
    total : array
        The sum so far.
    """

    operand: str
    position: int
    symbol: Formula
    local: Formula | None
    local_value: Any
    formula: Formula
    value: Any
    before: Any
    total: Any


@dataclass(frozen=True, slots=True)
class Step:
    """One gate on the way back.

    Attributes
    ----------
    number : int
        The number of the equation in the program.
    gate : str
        The tensor that it defines.
    equation : Formula
        The equation.
    value : array
        The value of the gate.
    symbol : Formula
        The gradient of the gate: ``∂L/∂y``.
    upstream : array
        Its value.
    contributions : tuple of Contribution
        What the operands get.
    line : int
        The line of the user's source; 0 where there is none.
    replaced : str
        The law of the stable form that takes the gate's place in the compiled program; empty for most.
    """

    number: int
    gate: str
    equation: Formula
    value: Any
    symbol: Formula
    upstream: Any
    contributions: tuple[Contribution, ...]
    line: int
    replaced: str


@dataclass(frozen=True, slots=True)
class Derivation:
    """The steps from the output to the inputs; `left_out` of them are missing before step `gap`."""

    steps: tuple[Step, ...]
    left_out: int
    gap: int


def local_rule(equation: Equation, position: int, program: Program, names: Symbols | None = None) -> Formula:
    """Return the derivative rule of an equation with respect to one operand.

    Parameters
    ----------
    equation : Equation
        An equation of `program`.
    position : int
        The position of an operand that is a floating-point tensor.
    program : Program
        Where the equation stands.
    names : Symbols, optional
        ``names_of(program)``, made once where many rules are shown.

    Returns
    -------
    Formula
        ``∂v3/∂v2 = v3`` as plain text and as LaTeX; for an operation on matrices what its operand gets.
    """
    names = names or names_of(program)
    found = rule(equation, position, program)
    upstream = _with_upstream(names, found)
    return _local(names, found) or _pulled(upstream, found)


def derivation(
    program: Program, inputs: Mapping[str, Any], *, stable: bool = True, most: int = MOST_STEPS
) -> Derivation:
    """Derive the gradient of a scalar output step by step.

    Parameters
    ----------
    program : Program
        The program as it was written, with a scalar output.
    inputs : mapping
        The value of every input.
    stable : bool
        Mark the gates that stable forms replace in the compiled program.
    most : int
        How many steps are kept; of more the middle is left out.

    Returns
    -------
    Derivation
        One step for each gate that the output depends on, from the output to the inputs.
    """
    wrt = floats(program)
    found = flow(program, inputs, wrt)
    numbers = [
        number for number in range(len(program.equations))[::-1] if _flows(program.equations[number], found)
    ]
    left_out = max(0, len(numbers) - most)
    gap = most // 2 if left_out else len(numbers)
    kept = [*numbers[:gap], *numbers[gap + left_out :]]
    maker = _Maker(
        program,
        found,
        varying(program, wrt),
        names_of(program),
        replaced(program) if stable else {},
        _local_values(program, inputs, found, kept),
    )
    return Derivation(tuple(maker.steps(numbers, frozenset(kept))), left_out, gap)


def _flows(equation: Equation, found: Flow) -> bool:
    return any(name in found.cotangents for name in outputs_of(equation))


def names_of(program: Program) -> Symbols:
    """Return the symbols of a program whose first output is what is differentiated."""
    return symbols(program, {program.outputs[0]: Symbol(output_symbol(program))})


def _with_upstream(names: Symbols, found: LocalRule) -> Symbols:
    """Return symbols in which the cotangents of a gate and of its operand are derivatives."""
    numerator = names.tensors
    (output,) = (symbol.name for symbol in numerator.values())
    own = {
        UPSTREAM: Symbol(names.of(found.gate.name).name, output),
        _gradient(found.operand.name): Symbol(names.of(found.operand.name).name, output),
    }
    return replace(names, tensors={**numerator, **own})


def _gradient(name: str) -> str:
    return f"{UPSTREAM}of {name}"


def _formula(names: Symbols, tensor: str) -> Formula:
    """Return the symbol of a tensor in both spellings."""
    return Formula(*(PRINTERS[style](names).text(Tensor(tensor, ())) for style in ("plain", "latex")))


def _pulled(names: Symbols, found: LocalRule) -> Formula:
    """Return ``∂L/∂x = ...``."""
    letters = _letters(names, found)
    own = Tensor(_gradient(found.operand.name), found.operand.places)
    texts: list[str] = []
    for style, adds in (("plain", "+="), ("latex", r"\mathrel{+}=")):
        printer = PRINTERS[style](names, letters)
        relation = adds if found.adds else "="
        texts.append(f"{printer.text(own)} {relation} {printer.text(found.pulled)}")
    return Formula(*texts)


def _letters(names: Symbols, found: LocalRule) -> dict[int, str]:
    derivative = () if found.derivative is None else (found.derivative,)
    return names.named((found.gate, found.operand, *derivative, found.pulled))


def _local(names: Symbols, found: LocalRule) -> Formula | None:
    """Return ``∂y/∂x = ...``."""
    if found.derivative is None:
        return None
    letters = _letters(names, found)
    texts: list[str] = []
    for style, (before, between, after) in _QUOTIENTS.items():
        printer = PRINTERS[style](names, letters)
        gate, operand = printer.text(found.gate), printer.text(found.operand)
        texts.append(f"{before}{gate}{between}{operand}{after} = {printer.text(found.derivative)}")
    return Formula(*texts)


_QUOTIENTS = {"plain": ("∂", "/∂", ""), "latex": (r"\frac{\partial ", r"}{\partial ", "}")}


@dataclass(frozen=True, slots=True)
class _Maker:
    program: Program
    found: Flow
    active: set[str]
    names: Symbols
    laws: Mapping[str, str]
    local_values: Mapping[tuple[int, int], Any]

    def steps(self, numbers: list[int], kept: frozenset[int]) -> Iterator[Step]:
        """Yield the steps in `kept`; sums run over all."""
        totals: dict[str, Any] = {}
        for number in numbers:
            equation = self.program.equations[number]
            parts = [
                (position, tensor, self.found.contributions[number, position])
                for position, tensor in operands_of(equation)
                if (number, position) in self.found.contributions
            ]
            befores: list[Any] = []
            for _, tensor, value in parts:
                before = totals.get(tensor)
                befores.append(before)
                totals[tensor] = value if before is None else before + value
            if number in kept:
                yield self.step(number, equation, parts, befores)

    def step(
        self, number: int, equation: Equation, parts: list[tuple[int, str, Any]], befores: list[Any]
    ) -> Step:
        texts = [equation_texts(equation, self.program, self.names, style) for style in ("plain", "latex")]
        gate = next(name for name in outputs_of(equation) if name in self.found.cotangents)
        contributions = tuple(
            self.contribution(number, equation, part, before)
            for part, before in zip(parts, befores, strict=True)
        )
        upstream = replace(self.names, tensors={**self.names.tensors, **self._derivative(UPSTREAM, gate)})
        return Step(
            number,
            gate,
            Formula("; ".join(texts[0]), r" \quad ".join(texts[1])),
            self.found.values[gate],
            _formula(upstream, UPSTREAM),
            self.found.cotangents[gate],
            contributions,
            equation.origin.line if equation.origin else 0,
            self.laws.get(gate, ""),
        )

    def _derivative(self, name: str, tensor: str) -> dict[str, Symbol]:
        output = self.names.of(self.program.outputs[0]).name
        return {name: Symbol(self.names.of(tensor).name, output)}

    def contribution(
        self, number: int, equation: Equation, part: tuple[int, str, Any], before: Any
    ) -> Contribution:
        position, tensor, value = part
        seed = self.program.outputs[0] in outputs_of(equation)
        found = rule(equation, position, self.program, self.active, seed=seed)
        names = _with_upstream(self.names, found)
        return Contribution(
            tensor,
            position,
            _formula(names, _gradient(tensor)),
            _local(names, found),
            self.local_values.get((number, position)),
            _pulled(names, found),
            value,
            before,
            value if before is None else before + value,
        )


def _local_values(
    program: Program, inputs: Mapping[str, Any], found: Flow, numbers: list[int]
) -> dict[tuple[int, int], Any]:
    """Return the numbers of the local derivatives of small elementwise equations."""
    active = varying(program, floats(program))
    values: dict[tuple[int, int], Any] = {}
    probes: list[Equation] = []
    types: dict[str, TensorType] = {}
    names: dict[tuple[int, int], str] = {}
    for number in numbers:
        equation = program.equations[number]
        if not isinstance(equation, Assign) or equation.reduce or np.size(found.values[equation.out]) > SMALL:
            continue
        for position, _ in operands_of(equation):
            if (number, position) not in found.contributions:
                continue
            local = partial_of(equation, position, program, active)
            if local is None:
                derivative = rule(equation, position, program, active).derivative
                if isinstance(derivative, Number):
                    values[number, position] = np.full(
                        np.shape(found.values[equation.out]), derivative.value
                    )[()]
                continue
            name = names[number, position] = f"local {number} {position}"
            types[name] = program.types[equation.out]
            probes.append(Assign(name, equation.space, equation.rank, None, local.template, local.operands))
    both = replace(program, equations=(*program.equations, *probes), types={**program.types, **types})
    run = Interpreter().run(both, inputs) if probes else {}
    return values | {reader: run[name] for reader, name in names.items()}
