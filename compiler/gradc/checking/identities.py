"""A gradient under examination, and the identities that its derivatives satisfy without any step.

``<u, J v> = <J^T u, v>``; a pullback of 0 is 0, of ``2u`` twice that of ``u``, bit for bit; ``<v, H u> = <u, H v>``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradc.autodiff.jvp import jvp
from gradc.autodiff.vjp import gradient, vjp
from gradc.checking.slopes import Claim
from gradc.errors import NoDerivativeRule
from gradc.ir.index.bound import BoundedNumbers
from gradc.ir.index.evaluate import Interpreter, evaluate
from gradc.ir.index.nodes import Program
from gradc_runtime.gradcheck_report import Entry, Verdict

Array = Any
NONE = float("nan")


@dataclass(frozen=True, slots=True)
class Subject:
    """A gradient under examination.

    `program` has the scalar to differentiate as its first output, `optimised` computes the gradients as the
    kernel does; `labels` names the inputs in `wrt` as the user does, `claims` are the kernel's gradients.
    For second derivatives `directions` names the inputs along which the gradient was taken, in that order.
    `source` is the kernel's module and `function` its name there, both empty without a kernel;
    `compile_again` compiles `optimised` so that every tensor is a result, and returns their values.
    """

    program: Program
    optimised: Program
    inputs: Mapping[str, Array]
    wrt: tuple[str, ...]
    labels: tuple[str, ...]
    claims: tuple[Array, ...]
    source: str = ""
    function: str = ""
    compile_again: Callable[[], Mapping[str, Array]] | None = None
    directions: tuple[str, ...] = ()


def identities(program: Program, subject: Subject, seed: int) -> list[Entry]:
    """The entries of all identities that can be checked."""
    entries = _linearity(program, subject)
    entries += _transposition(program, subject, seed)
    return entries + (_symmetry(program, subject, seed) if subject.directions else [])


def gradients(program: Program, wrt: Sequence[str]) -> Program:
    """The program of the gradients alone."""
    found = gradient(program, wrt)
    return replace(found, outputs=found.outputs[len(program.outputs) :])


def bounded(program: Program, inputs: Mapping[str, Array]) -> tuple[list[Array], list[Array]]:
    """Outputs and the bounds on their rounding errors."""
    found = Interpreter(BoundedNumbers()).run(program, inputs)
    return [found[name].value for name in program.outputs], [found[name].error for name in program.outputs]


def random_direction(seed: int, label: str, shape: tuple[int, ...]) -> Array:
    """A direction for the input of a label, the same every time."""
    generator = np.random.default_rng([seed, *label.encode()])
    return (generator.uniform(0.5, 1.5, shape) * generator.choice([-1.0, 1.0], shape))[()]


def _linearity(program: Program, subject: Subject) -> list[Entry]:
    pull = vjp(program, subject.wrt)
    (bar,) = pull.inputs[len(program.inputs) :]
    dtype = program.types[program.outputs[0]].dtype.numpy

    def pulled(u: float) -> list[Array]:
        return list(evaluate(pull, {**subject.inputs, bar: dtype.type(u)}))[1:]

    one, two, nothing = pulled(1.0), pulled(2.0), pulled(0.0)
    if any(np.any(g) for g in nothing):
        detail = "a cotangent of 0 does not give 0"
    elif not all(np.array_equal(2 * a, b, equal_nan=True) for a, b in zip(one, two, strict=True)):
        detail = "twice the cotangent does not give twice the gradient"
    else:
        return []
    return [Entry("f", "linearity", NONE, NONE, float("inf"), Verdict.WRONG, detail)]


def _transposition(program: Program, subject: Subject, seed: int) -> list[Entry]:
    try:
        push = jvp(program, subject.wrt)
    except NoDerivativeRule:  # a user's external function has a pullback alone
        return []
    dots = push.inputs[len(program.inputs) :]
    directions = _directions(subject, seed)
    tangents = dict(zip(dots, directions, strict=True))
    (pushed,), (error,) = bounded(replace(push, outputs=push.outputs[1:]), {**subject.inputs, **tangents})
    pulled, errors = bounded(gradients(program, subject.wrt), subject.inputs)
    if not all(np.isfinite(g).all() for g in pulled):
        return []
    claimed, bound = _along(pulled, errors, directions)
    bound += float(error)
    same = not abs(claimed - float(pushed)) > bound
    detail = "<u, J v> = <J'u, v>" if same else "reverse and forward mode disagree"
    verdict = Verdict.PASS if same else Verdict.WRONG
    return [Entry("f", "transpose", claimed, float(pushed), bound, verdict, detail)]


def _symmetry(program: Program, subject: Subject, seed: int) -> list[Entry]:
    ours = [subject.inputs[name] for name in subject.directions]
    theirs = _directions(subject, seed + 1)
    inputs = {**subject.inputs, **dict(zip(subject.directions, theirs, strict=True))}
    along_ours = bounded(gradients(program, subject.wrt), subject.inputs)
    along_theirs = bounded(gradients(program, subject.wrt), inputs)
    one, its_bound = _along(*along_ours, theirs)
    other, another = _along(*along_theirs, ours)
    bound = its_bound + another
    if not (np.isfinite(one) and np.isfinite(other) and np.isfinite(bound)):
        return []
    same = abs(one - other) <= bound
    detail = "<v, H u> = <u, H v>" if same else "the Hessian is not symmetric"
    return [Entry("f", "symmetry", one, other, bound, Verdict.PASS if same else Verdict.WRONG, detail)]


def _directions(subject: Subject, seed: int) -> list[Array]:
    """One direction for each input, in its dtype."""
    return [
        random_direction(seed, label, np.shape(claim)).astype(np.asarray(claim).dtype)
        for label, claim in zip(subject.labels, subject.claims, strict=True)
    ]


def _along(
    slopes: Sequence[Array], errors: Sequence[Array], directions: Sequence[Array]
) -> tuple[float, float]:
    """The slope that gradients make along directions, and the bound on its rounding."""
    claims = [Claim.along(v, g, e, "", "", "") for g, e, v in zip(slopes, errors, directions, strict=True)]
    return sum(claim.slope for claim in claims), sum(claim.rounding for claim in claims)
