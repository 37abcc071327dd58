"""Mistakes behind right rules: in the reverse pass, in generated kernels, in their machine code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from tests.gradcheck.mutants import KernelFault, kernel_faults

from gradc import differentiate
from gradc.api.checks import GradientCheck
from gradc.autodiff.adjoint import Adjoint
from gradc.autodiff.vjp import gradient
from gradc.checking.examine import examine
from gradc.checking.identities import Subject
from gradc.ir import functions
from gradc.ir.index.evaluate import Interpreter, evaluate
from gradc.ir.index.nodes import Access
from gradc.ir.index.templates import template
from gradc.ir.stages import Stages
from gradc_runtime.gradcheck_report import Entry, Verdict

WRONG = (Verdict.WRONG, Verdict.KINK_WRONG)
SAMPLE = 4  # every so many mutants in the default run


def network(w: np.ndarray, b: np.ndarray, x: np.ndarray) -> Any:
    h = np.tanh(x @ w + b)
    return np.mean(h * h * np.exp(-h)) + 0.1 * np.sum(w * w)


def softmax(w: np.ndarray, x: np.ndarray) -> Any:
    z = x @ w
    m = z - np.max(z, axis=1, keepdims=True)
    return np.sum(np.log(np.sum(np.exp(m), axis=1)) - m[:, 0])


def chain(x: np.ndarray, y: np.ndarray) -> Any:
    valley = np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    return valley + np.sum(np.where(x > y, np.sin(x) * y, x / (1 + y * y)))


def arm(q: np.ndarray, lengths: np.ndarray) -> Any:
    a = q[0] + q[1]
    x = lengths[0] * np.cos(q[0]) + lengths[1] * np.cos(a)
    y = lengths[0] * np.sin(q[0]) + lengths[1] * np.sin(a)
    return (x - 0.5) ** 2 + (y - 0.3) ** 2


SHAPES: dict[Callable[..., Any], tuple[tuple[int, ...], ...]] = {
    network: ((3, 3), (3,), (3, 3)),  # square, so that swapped axes are in range
    softmax: ((3, 3), (3, 3)),
    chain: ((4,), (4,)),
    arm: ((2,), (2,)),
}
MODELS = list(SHAPES)


@cache
def compiled(model: Callable[..., Any]) -> tuple[Stages, dict[str, np.ndarray]]:
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=shape) for shape in SHAPES[model]]
    stages = differentiate(model).at(*arrays).inspect("grad").stages
    return stages, dict(zip(stages.program.inputs, arrays, strict=True))


def run(stages: Stages, inputs: dict[str, np.ndarray], source: str) -> tuple[np.ndarray, ...]:
    """What a module's function returns, as plain Python."""
    namespace: dict[str, Any] = {}
    exec(compile(source, "<kernel>", "exec"), namespace)
    with np.errstate(all="ignore"):
        found = namespace[stages.kernel.name](*inputs.values())
    return tuple(np.asarray(part) for part in found)


def gates(entries: Sequence[Entry]) -> list[str]:
    return [entry.detail for entry in entries if entry.index == "gate"]


def outcome(model: Callable[..., Any], fault: KernelFault) -> tuple[bool, bool] | None:
    """Whether a fault is caught, and its equation named; None where it changes nothing or cannot run."""
    stages, inputs = compiled(model)
    truth = run(stages, inputs, stages.source)
    try:
        claims = run(stages, inputs, fault.source)
    except (IndexError, NameError, TypeError, ValueError):
        return None
    if all(np.allclose(a, b, rtol=1e-9, atol=0) for a, b in zip(claims, truth, strict=True)):
        return None
    names = stages.program.inputs
    subject = Subject(
        stages.program, stages.optimised, inputs, names, names, claims, fault.source, stages.kernel.name
    )
    entries = examine(subject)
    named = any(equation in text for text in gates(entries)[:1] for equation in fault.equations)
    return any(entry.verdict in WRONG for entry in entries), named


def sweep(model: Callable[..., Any], step: int, first: int = 0) -> tuple[int, int, int]:
    faults = list(kernel_faults(compiled(model)[0].source))[first::step]
    found = [result for fault in faults if (result := outcome(model, fault)) is not None]
    return len(found), sum(caught for caught, _ in found), sum(named for _, named in found)


@pytest.mark.parametrize("model", MODELS)
def test_a_sample_of_wrong_kernels_is_caught_and_named(model: Callable[..., Any]):
    count, caught, named = sweep(model, SAMPLE, first=1)
    assert count >= 8
    assert caught == count
    assert named >= 0.8 * count  # of all of them 0.9, see below


@pytest.mark.full
def test_all_wrong_kernels_are_caught_and_most_are_named():
    found = [sweep(model, 1) for model in MODELS]
    count, caught, named = (sum(column) for column in zip(*found, strict=True))
    assert count >= 350
    assert caught == count
    assert named >= 0.9 * count


@pytest.mark.parametrize("model", MODELS)
def test_a_right_kernel_is_not_blamed(model: Callable[..., Any]):
    stages, inputs = compiled(model)
    names = stages.program.inputs
    subject = Subject(
        stages.program,
        stages.optimised,
        inputs,
        names,
        names,
        run(stages, inputs, stages.source),
        stages.source,
        stages.kernel.name,
    )
    assert all(entry.verdict is Verdict.PASS for entry in examine(subject))


# --- the reverse pass ---------------------------------------------------------------------------------------


class Losing:
    """A reverse pass that loses, or adds twice, the contribution whose turn it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turn = -1
        self.twice = False
        self.made: dict[Adjoint, int] = {}
        self.lost = ""
        contribute = Adjoint.contribute

        def losing(
            adjoint: Adjoint, name: str, indices: Any, space: Any, body: Any, operands: Any, origin: Any
        ) -> None:
            times = 1
            if adjoint.program.name != "gate":  # that is how the checker calls single equations
                place = self.made[adjoint] = self.made.get(adjoint, -1) + 1
                if place == self.turn and self.twice:
                    self.lost, times = name, 2
                elif place == self.turn:
                    some = next(
                        o
                        for o in operands
                        if isinstance(o, Access) and adjoint.types[o.tensor].dtype.is_float
                    )
                    self.lost, body, operands = name, template("sub"), (some, some)
            for _ in range(times):
                contribute(adjoint, name, indices, space, body, operands, origin)

        monkeypatch.setattr(Adjoint, "contribute", losing)


@pytest.mark.parametrize("twice", [False, True], ids=["lost", "twice"])
@pytest.mark.parametrize("model", MODELS)
def test_a_wrong_sum_of_contributions_is_caught_and_its_tensor_named(
    model: Callable[..., Any], twice: bool, monkeypatch: pytest.MonkeyPatch
):
    stages, inputs = compiled(model)
    program, names = stages.stable, stages.program.inputs
    truth = evaluate(gradient(program, names), inputs)[1:]
    losing = Losing(monkeypatch)
    gradient(program, names)
    (total,) = losing.made.values()
    losing.twice = twice
    count = 0
    for losing.turn in range(total + 1):
        derived = gradient(program, names)
        claims = evaluate(replace(derived, outputs=derived.outputs[1:]), inputs)
        if all(np.allclose(a, b, rtol=1e-9, atol=0) for a, b in zip(claims, truth, strict=True)):
            continue
        count += 1
        derived = replace(derived, outputs=derived.outputs[1:])
        entries = examine(Subject(program, derived, inputs, names, names, claims))
        assert any(entry.verdict in WRONG for entry in entries)
        (text, *_) = gates(entries)
        assert "contributions of its readers" in text
        assert f"the cotangent of {losing.lost}" in text
    assert count >= 2


# --- machine code -------------------------------------------------------------------------------------------


def test_a_mistake_of_the_compiler_is_named():
    stages, inputs = compiled(network)
    names = stages.program.inputs
    values = Interpreter().run(stages.optimised, inputs)
    values["v5"] = values["v5"] * (1 + 1e-3)
    claims = tuple(1.001 * values[name] for name in stages.optimised.outputs[-len(names) :])
    subject = Subject(
        stages.program, stages.optimised, inputs, names, names, claims, stages.source, stages.kernel.name
    )
    assert gates(examine(subject)) == []
    (text,) = gates(examine(replace(subject, compile_again=lambda: values)))
    assert text.startswith("the source is right, but compiled v5[i, j] = exp(v4[i, j]) is")


def test_a_wrong_library_call_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch):
    wrong = replace(functions.FUNCTIONS["exp"], kernel="expm1({0})")
    monkeypatch.setitem(functions.FUNCTIONS, "exp", wrong)
    inputs = [np.random.default_rng(4).normal(size=shape) for shape in SHAPES[network]]
    report = differentiate(network, wrt="w").check(*inputs)
    assert report.verdict is Verdict.WRONG
    entry = report.entries[0]
    assert "in the kernel's source v5[i, j] = exp(v4[i, j]) is" in entry.detail
    assert "test_later_faults.py:" in entry.detail


def test_a_kernel_with_all_tensors_is_compiled_when_a_gradient_is_wrong(monkeypatch: pytest.MonkeyPatch):
    inputs = [np.random.default_rng(4).normal(size=shape) for shape in SHAPES[arm]]
    loss = differentiate(arm)
    loss.check(*inputs).assert_ok()
    run = GradientCheck._derived
    monkeypatch.setattr(
        GradientCheck, "_derived", lambda *given: [1.01 * part for part in run(*given)]
    )  # a kernel whose result is damaged on the way out: every tensor in it is right
    report = loss.check(*inputs)
    assert report.verdict is Verdict.WRONG
    assert not [entry for entry in report.entries if entry.index == "gate"]
