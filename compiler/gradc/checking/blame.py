"""Naming the gate: which equation's local derivative disagrees with the oracle.

For an equation with output `y` and operands `t` the pullback of any cotangent `u` must satisfy

    <u, y_dot> = sum over operands of <pullback(u)_t, t_dot>

along the tangents that the oracle measured.  Equation by equation this needs nothing of the rest of the
program, so the first equation that breaks it is the guilty one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.autodiff.activity import useful, varying
from gradc.autodiff.rules import RULES
from gradc.autodiff.vjp import gradient_with_cotangents, vjp
from gradc.checking.oracle import DIGITS, Oracle
from gradc.errors import GradcError
from gradc.ir.index.evaluate import Interpreter
from gradc.ir.index.nodes import Assign, Equation, Origin, Program, outputs_of, reads_of
from gradc.ir.index.show import show_equation

RELATIVE = 1e-9  # of the size of the terms: far above 50 digits, far below any mistake

Array = Any


@dataclass(frozen=True, slots=True)
class Fault:
    """An equation whose local derivative is wrong: `claimed` by the pullback, `measured` by the oracle."""

    equation: str
    origin: Origin | None
    claimed: float
    measured: float

    @property
    def place(self) -> str:
        """The user's line, or empty."""
        return f"{self.origin.file}:{self.origin.line}" if self.origin and self.origin.file else ""

    def __str__(self) -> str:
        at = f" at {self.place}" if self.place else ""
        text = f": {self.origin.text}" if self.origin and self.origin.text else ""
        return (
            f"the derivative of the gate {self.equation}{at}{text} is {self.claimed:.10g} along the direction "
            f"checked; it should be {self.measured:.10g}"
        )


def faults(oracle: Oracle, wrt: Sequence[str], seed: int = 0) -> Iterator[Fault]:
    """The equations between `wrt` and the outputs whose local derivative is wrong, in program order.

    Equations at a kink along the oracle's direction are passed over: there is no slope to compare with.
    Contributions to one tensor are looked at together.
    """
    program = oracle.program
    active = varying(program, wrt) & (useful(program, program.outputs) | set(wrt))
    generator = np.random.default_rng(seed)
    for outs, equations in _definitions(program).items():
        wanted = [name for name in outs if name in active]
        if wanted and all(name in oracle.left and oracle.is_smooth(name) for name in wanted):
            found = _local(oracle, equations, wanted, active, generator)
            if found is not None:
                yield found


def lost_contribution(oracle: Oracle, wrt: Sequence[str]) -> Fault | None:
    """The tensor whose cotangent the reverse pass adds up wrongly, nearest to the output; None if there is none.

    Equation by equation the pullback of the exact cotangents gives the exact contributions; their sums are
    compared with the cotangents of the derived program, all in 50 digits.
    """
    import mpmath  # noqa: PLC0415

    program = oracle.program
    active = varying(program, wrt) & (useful(program, program.outputs) | set(wrt))
    inputs = {name: oracle.values[name] for name in program.inputs}
    try:
        derived, cotangents = gradient_with_cotangents(program, wrt)
        claimed = Interpreter("mp", DIGITS).run(derived, inputs)
        with mpmath.workdps(DIGITS):
            exact: dict[str, Array] = {program.outputs[0]: mpmath.mpf(1)}
            for outs, equations in reversed(_definitions(program).items()):
                wrong = _wrong_sum(outs, cotangents, claimed, exact)
                if wrong is not None:
                    return Fault(show_equation(equations[-1]), equations[-1].origin, *wrong)
                _pull(oracle, equations, outs, active, exact)
    except (GradcError, ArithmeticError, ValueError, TypeError):
        return None
    for name in wrt:
        wrong = _wrong_sum((name,), cotangents, claimed, exact)
        if wrong is not None:
            return Fault(name, None, *wrong)
    return None


def _wrong_sum(
    names: Sequence[str],
    cotangents: Mapping[str, str],
    claimed: Mapping[str, Array],
    exact: Mapping[str, Array],
) -> tuple[float, float] | None:
    for name in names:
        if name not in cotangents or name not in exact:
            continue
        pairs = zip(np.ravel(claimed[cotangents[name]]), np.ravel(exact[name]), strict=True)
        numbers = [(float(mine), float(truth)) for mine, truth in pairs]
        size = max((abs(truth) for _, truth in numbers), default=0.0)
        worst = max(numbers, key=lambda pair: abs(pair[0] - pair[1]), default=(0.0, 0.0))
        if abs(worst[0] - worst[1]) > RELATIVE * size:
            return worst
    return None


def _pull(
    oracle: Oracle,
    equations: Sequence[Equation],
    outs: Sequence[str],
    active: set[str],
    exact: dict[str, Array],
) -> None:
    """Add what one definition contributes to the exact cotangents of its operands."""
    wanted = [name for name in outs if name in exact and name in active]
    one, operands = _alone(oracle.program, equations, wanted, active)
    if not wanted or not operands:
        return
    pullback = vjp(one, operands)
    seeds = dict(zip(pullback.inputs[len(one.inputs) :], (exact[name] for name in wanted), strict=True))
    inputs = {name: oracle.values[name] for name in one.inputs}
    results = Interpreter("mp", DIGITS).run(pullback, {**inputs, **seeds})
    for operand, cotangent in zip(operands, pullback.outputs[len(one.outputs) :], strict=True):
        exact[operand] = exact[operand] + results[cotangent] if operand in exact else results[cotangent]


def changed_equation(adjoint: Program, optimised: Program, inputs: Mapping[str, Array]) -> Fault | None:
    """The first tensor of `optimised` that differs from its namesake in `adjoint`; None if none does.

    Passes keep the names of the tensors they keep; what they merge or drop has no namesake.
    """
    wanted, found = (Interpreter().run(program, inputs) for program in (adjoint, optimised))
    outputs = dict(zip(optimised.outputs, adjoint.outputs, strict=True))
    done: set[str] = set()
    last = {name: equation for equation in optimised.equations for name in outputs_of(equation)}
    for equation in optimised.equations:
        for name in outputs_of(equation):
            namesake = outputs.get(name, name)
            if last[name] is not equation or name in done or namesake not in wanted:
                continue
            done.add(name)
            mine, theirs = np.asarray(found[name]), np.asarray(wanted[namesake])
            if mine.dtype.kind != "f" or mine.shape != theirs.shape:
                continue
            scale = float(np.max(np.abs(theirs), initial=0.0)) or 1.0
            off = np.abs(mine - theirs)
            if np.nanmax(off, initial=0.0) > np.sqrt(np.finfo(mine.dtype).eps) * scale:
                worst = np.unravel_index(int(np.nanargmax(off)), off.shape) if off.shape else ()
                place = (float(mine[worst]), float(theirs[worst]))
                return Fault(show_equation(equation), equation.origin, *place)
    return None


def kinked_gate(oracle: Oracle) -> str:
    """The first equation with a kink along the direction, its operands having none; empty if there is none."""
    for equation in oracle.program.equations:
        for name in outputs_of(equation):
            if name not in oracle.left or oracle.is_smooth(name):
                continue
            element = oracle.first_kink(name)
            origin = equation.origin
            place = f" at {origin.file}:{origin.line}: {origin.text}" if origin and origin.file else ""
            where = f", element {list(element)}" if element else ""
            return f"the kink is in {show_equation(equation)}{where}{place}{_convention(equation)}"
    return ""


def _convention(equation: Equation) -> str:
    """What the rules say about the kinks of an equation."""
    steps = equation.template.tape.instructions if isinstance(equation, Assign) else ()
    kinks = dict.fromkeys(RULES[step.function].kink for step in steps if RULES[step.function].kink)
    return "".join(f"; convention: {kink}" for kink in kinks)


def _definitions(program: Program) -> dict[tuple[str, ...], list[Equation]]:
    """The equations of each tensor, in order; contributions to one tensor belong together."""
    parts: dict[tuple[str, ...], list[Equation]] = {}
    for equation in program.equations:
        parts.setdefault(outputs_of(equation), []).append(equation)
    return parts


def _local(
    oracle: Oracle,
    equations: Sequence[Equation],
    outs: Sequence[str],
    active: set[str],
    generator: np.random.Generator,
) -> Fault | None:
    """Check the local identity of one definition; None where it holds, or where nothing flows into it."""
    one, operands = _alone(oracle.program, equations, outs, active)
    if not operands or not all(name in oracle.left for name in operands):
        return None
    try:
        pullback = vjp(one, operands)
        seeds = {
            name: _random(generator, oracle.values[out])
            for name, out in zip(pullback.inputs[len(one.inputs) :], outs, strict=True)
        }
        inputs = {name: oracle.values[name] for name in one.inputs}
        results = Interpreter("mp", DIGITS).run(pullback, {**inputs, **seeds})
    except (GradcError, ArithmeticError, ValueError, TypeError):
        return None
    measured = [_dot(u, oracle.tangent(out)) for u, out in zip(seeds.values(), outs, strict=True)]
    cotangents = pullback.outputs[len(one.outputs) :]
    claimed = [_dot(results[c], oracle.tangent(t)) for c, t in zip(cotangents, operands, strict=True)]
    size = sum(float(abs(term)) for term in (*measured, *claimed))
    if abs(float(sum(claimed) - sum(measured))) <= RELATIVE * size:
        return None
    last = equations[-1]
    return Fault(show_equation(last), last.origin, float(sum(claimed)), float(sum(measured)))


def _alone(
    program: Program, equations: Sequence[Equation], outs: Sequence[str], active: set[str]
) -> tuple[Program, tuple[str, ...]]:
    """The program of one definition, and its operands that vary.

    What it reads are inputs; those of the whole program come along, because they bind the extents.
    """
    defined = outputs_of(equations[0])
    read = dict.fromkeys(name for equation in equations for name in reads_of(equation) if name not in defined)
    inputs = tuple(dict.fromkeys((*read, *program.inputs)))
    types = {name: program.types[name] for name in (*inputs, *defined)}
    one = Program("gate", inputs, tuple(equations), tuple(outs), types, (), program.quotients)
    return one, tuple(name for name in read if name in active)


def _random(generator: np.random.Generator, like: Array) -> Array:
    shape = np.shape(like)
    return (generator.uniform(0.5, 1.5, shape) * generator.choice([-1.0, 1.0], shape))[()]


def _dot(first: Array, second: Array) -> Any:
    import mpmath  # noqa: PLC0415

    with mpmath.workdps(DIGITS):
        terms = np.ravel(np.asarray(first, object)) * np.ravel(np.asarray(second, object))
        return mpmath.fsum(terms.tolist())
