"""What a check adds to numerical differences when the program is known: entries for the report.

* The kernel's gradient against the interpreter's, within the rounding bounds of both.
* The kernel's gradient against 50-digit differences, along a random direction of each argument; the terms of
  a sum each by itself, so that a small regulariser is not drowned by the data.
* Identities that hold without any step, see `gradc.checking.identities`.
* The gate to blame, and the gate that has the kink.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradc.checking.blame import Fault, changed_equation, faults, lost_contribution
from gradc.checking.identities import Subject, bounded, gradients, identities, random_direction
from gradc.checking.kernels import first_difference, misprinted
from gradc.checking.oracle import DIGITS, Oracle, observe
from gradc.checking.slopes import CLOSE, Claim, judged
from gradc.ir.index.evaluate import Interpreter, evaluate
from gradc.ir.index.nodes import Access, Assign, Program
from gradc_runtime.gradcheck_report import Entry, Verdict

Array = Any
MOST_TERMS = 8
MOST_FAULTS = 3
NONE = float("nan")


def examine(subject: Subject, seed: int = 0) -> list[Entry]:
    """All entries; the gates to blame come last."""
    program = replace(subject.program, outputs=subject.program.outputs[:1])
    interpreted, errors = bounded(gradients(program, subject.wrt), subject.inputs)
    entries = list(_kernel(subject, interpreted, errors))
    entries += identities(program, subject, seed)
    oracles: list[Oracle] = []
    for position, name in enumerate(subject.wrt):
        direction = random_direction(seed, subject.labels[position], np.shape(subject.claims[position]))
        oracle = observe(program, subject.inputs, {name: direction})
        if oracle is None or not _takes_the_same_arms(oracle, program, subject.inputs):
            continue
        oracles.append(oracle)
        entries += _slopes(oracle, subject, position, direction, errors[position])
    if any(entry.verdict is Verdict.WRONG for entry in entries):
        entries += _blamed(oracles, subject, seed)
    return entries


def settled(subject: Subject, entry: Entry) -> Entry:
    """What the oracle says of an element that differences could not decide; the entry itself if nothing."""
    if not isinstance(entry.index, tuple):
        return entry
    position = subject.labels.index(entry.argument)
    name, claim = subject.wrt[position], np.array(subject.claims[position])
    claim[entry.index] = entry.analytic
    direction = np.zeros(np.shape(claim))
    direction[entry.index] = 1.0
    program = replace(subject.program, outputs=subject.program.outputs[:1])
    oracle = observe(program, subject.inputs, {name: direction[()]})
    if oracle is None or not _takes_the_same_arms(oracle, program, subject.inputs):
        return entry
    _, errors = bounded(gradients(program, (name,)), subject.inputs)
    own = Claim.along(direction, claim, errors[0], entry.argument, "", program.outputs[0])
    found = judged(oracle, own, lambda: _formula(program, name, subject.inputs, direction))
    if found is None or found.verdict is Verdict.INCONCLUSIVE:
        return entry
    why = entry.detail.partition(";")[0]
    if entry.verdict is Verdict.WRONG and found.verdict is Verdict.PASS:
        why = "differences of the rounded values say otherwise"
    return replace(found, index=entry.index, detail=f"50-digit differences; {why}")


def blame(subject: Subject, seed: int = 0) -> list[Entry]:
    """The entries that name wrong gates, for a gradient that something else has found to be wrong."""
    program = replace(subject.program, outputs=subject.program.outputs[:1])
    oracles = []
    for label, name, claim in zip(subject.labels, subject.wrt, subject.claims, strict=True):
        oracle = observe(program, subject.inputs, {name: random_direction(seed, label, np.shape(claim))})
        oracles += [oracle] if oracle is not None else []
    return _blamed(oracles, subject, seed)


# --- against the interpreter --------------------------------------------------------------------------------


def bounded_value(program: Program, inputs: Mapping[str, Array]) -> tuple[float, float]:
    """The value of a program by the interpreter, and the bound on its rounding error."""
    values, errors = bounded(replace(program, outputs=program.outputs[:1]), inputs)
    return float(values[0]), float(errors[0])


def _kernel(subject: Subject, interpreted: Sequence[Array], errors: Sequence[Array]) -> Iterator[Entry]:
    """Compare the kernel with what defines it."""
    _, own = bounded(subject.optimised, subject.inputs)
    for label, claim, value, error, mine in zip(
        subject.labels, subject.claims, interpreted, errors, own, strict=True
    ):
        claims, values = (np.ravel(np.asarray(a, np.float64)) for a in (claim, value))
        bounds = np.ravel(np.asarray(error + mine, np.float64))
        if not claims.size:
            continue
        scale = float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))
        allowed = np.where(np.isfinite(bounds), bounds, CLOSE * scale)
        with np.errstate(invalid="ignore"):
            off = np.abs(claims - values)
            excess = np.where((claims == values) | (np.isnan(claims) & np.isnan(values)), 0.0, off - allowed)
        worst = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
        place = np.unravel_index(worst, np.shape(claim)) if np.shape(claim) else ()
        verdict = Verdict.PASS if excess[worst] <= 0 else Verdict.WRONG
        detail = "the kernel equals the interpreter"
        if verdict is Verdict.WRONG:
            detail = f"element {[int(i) for i in place]}: the kernel and the interpreter disagree"
            if not np.isfinite(bounds[worst]):
                verdict, detail = Verdict.INCONCLUSIVE, f"{detail}; no bound on the rounding is known"
        numbers = (float(claims[worst]), float(values[worst]), float(allowed[worst]))
        yield Entry(label, "kernel", *numbers, verdict, detail)


# --- against the oracle -------------------------------------------------------------------------------------


def _takes_the_same_arms(oracle: Oracle, program: Program, inputs: Mapping[str, Array]) -> bool:
    """Whether 50 digits decide every comparison as machine numbers do."""
    machine = Interpreter().run(program, inputs)
    return all(
        np.array_equal(np.asarray(value, bool), np.asarray(machine[name], bool))
        for name, value in oracle.values.items()
        if name in program.types and program.types[name].dtype.is_bool
    )


def _slopes(
    oracle: Oracle, subject: Subject, position: int, direction: Array, error: Array
) -> Iterator[Entry]:
    """Compare the slope along a direction with the measured one, and terms whose slopes are not right."""
    program, label, wrt = oracle.program, subject.labels[position], subject.wrt[position]
    whole = Claim.along(direction, subject.claims[position], error, label, "oracle", program.outputs[0])
    found = judged(oracle, whole, lambda: _formula(program, wrt, subject.inputs, direction))
    terms = [entry for entry in _terms(oracle, subject, position, direction) if entry is not None]
    bad = [entry for entry in terms if entry.verdict is not Verdict.PASS]
    if found is not None:
        each = f"; so for each of its {len(terms)} terms" if terms and not bad else ""
        yield replace(found, detail=found.detail + each)
    yield from bad


def _terms(oracle: Oracle, subject: Subject, position: int, direction: Array) -> Iterator[Entry | None]:
    """Where the value is a sum of numbers, check the slope of each of them by itself."""
    program, label, wrt = oracle.program, subject.labels[position], subject.wrt[position]
    names = summands(program)
    for term in names if 2 <= len(names) <= MOST_TERMS else ():
        one = replace(program, outputs=(term,))
        values, errors = bounded(gradients(one, (wrt,)), subject.inputs)
        claim = Claim.along(direction, values[0], errors[0], label, f"term {term}", term)
        yield judged(oracle, claim, lambda one=one: _formula(one, wrt, subject.inputs, direction))


def _formula(program: Program, wrt: str, inputs: Mapping[str, Array], direction: Array) -> float:
    """The slope that the rules give, without rounding."""
    (found,) = evaluate(gradients(program, (wrt,)), inputs, numbers="mp", digits=DIGITS)
    return float(np.sum(np.asarray(found, object) * direction))


def summands(program: Program) -> list[str]:
    """The numbers whose sum or difference is the first output, left to right."""
    equations = {equation.out: equation for equation in program.equations if isinstance(equation, Assign)}
    found: list[str] = []
    pending = [program.outputs[0]]
    while pending:
        name = pending.pop()
        equation = equations.get(name)
        adds = (
            equation is not None
            and equation.reduce is None
            and not equation.space
            and equation.template.name in ("add", "sub", "copy", "neg")
        )
        if equation is None or not adds:
            found.append(name)
            continue
        operands = [operand.tensor for operand in equation.operands if isinstance(operand, Access)]
        pending += reversed(operands)
    return list(dict.fromkeys(found))


def _blamed(oracles: Sequence[Oracle], subject: Subject, seed: int) -> list[Entry]:
    """One entry for each gate whose local derivative is wrong; without one, for what went wrong after it."""
    named: dict[str, Entry] = {}
    for oracle in oracles:
        for fault in faults(oracle, subject.wrt, seed):
            entry = Entry("f", "gate", fault.claimed, fault.measured, 0.0, Verdict.WRONG, str(fault))
            named.setdefault(fault.equation, entry)
            if len(named) == MOST_FAULTS:
                return list(named.values())
    return list(named.values()) or _blamed_later(oracles, subject)


def _blamed_later(oracles: Sequence[Oracle], subject: Subject) -> list[Entry]:
    """The one entry for a mistake behind gates that are right, at the first stage that shows it."""
    program = replace(subject.program, outputs=subject.program.outputs[:1])
    for oracle in oracles[:1]:
        lost = lost_contribution(oracle, subject.wrt)
        if lost is not None:
            text = "the gates are right, but the contributions of its readers to the cotangent of"
            return [
                _guilty(
                    lost, f"{text} {lost.equation} add up to {lost.measured:.10g}, not {lost.claimed:.10g}"
                )
            ]
    changed = changed_equation(gradients(program, subject.wrt), subject.optimised, subject.inputs)
    if changed is not None:
        return [
            _guilty(
                changed,
                f"the rules are right, but {_sum_of(changed)}: a pass changed it on the way to the kernel",
            )
        ]
    if subject.source:
        printed = misprinted(subject.optimised, subject.source, subject.function, subject.inputs)
        if printed is not None:
            return [_guilty(printed, f"the program is right, but in the kernel's source {_sum_of(printed)}")]
    if subject.compile_again is not None:
        compiled = first_difference(
            subject.optimised, subject.inputs, {n: [v] for n, v in subject.compile_again().items()}
        )
        if compiled is not None:
            return [_guilty(compiled, f"the source is right, but compiled {_sum_of(compiled)}")]
    return []


def _sum_of(fault: Fault) -> str:
    return f"{fault.equation} is {fault.claimed:.10g} where it should be {fault.measured:.10g}"


def _guilty(fault: Fault, text: str) -> Entry:
    place = f" (for {fault.place})" if fault.place else ""
    return Entry("f", "gate", fault.claimed, fault.measured, 0.0, Verdict.WRONG, text + place)
