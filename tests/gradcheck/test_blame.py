"""Wrong gradients are caught, and the wrong equation is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from tests.gradcheck.mutants import (
    RuleFault,
    is_discrete,
    pass_faults,
    program_of,
    rule_faults,
    seeded,
)

import gradc
from gradc import differentiate
from gradc.api.checks import GradientCheck
from gradc.autodiff.vjp import gradient
from gradc.checking.examine import examine, settled
from gradc.checking.identities import Subject
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Assign, Program
from gradc.ir.index.show import show_equation
from gradc_runtime.gradcheck_report import Entry, Verdict

FAULTS = rule_faults()
FUNCTIONS = sorted({fault.function for fault in FAULTS})
WRONG = (Verdict.WRONG, Verdict.KINK_WRONG)


def subject_of(program: Program, inputs: dict[str, np.ndarray], derived: Program | None = None) -> Subject:
    """The gradient to the operands of the gate, as the interpreter computes it."""
    gate = next(e for e in program.equations if isinstance(e, Assign) and e.out == "gate").template.name
    operands = [name for name in program.inputs if name != "w"]
    wrt = tuple(name for at, name in enumerate(operands) if not is_discrete(gate, at))
    derived = derived or replace(gradient(program, wrt), outputs=gradient(program, wrt).outputs[1:])
    with np.errstate(all="ignore"):
        claims = evaluate(derived, inputs)
    return Subject(program, derived, inputs, wrt, wrt, claims)


def gates(entries: Sequence[Entry]) -> list[str]:
    return [entry.detail for entry in entries if entry.index == "gate"]


def test_there_are_enough_mutants():
    assert len(FAULTS) >= 500


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_true_rules_pass(function: str):
    entries = examine(subject_of(*program_of(function)))
    assert all(entry.verdict is Verdict.PASS for entry in entries), [
        e for e in entries if e.verdict != "PASS"
    ]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_changed_rule_is_caught_and_its_gate_named(function: str):
    program, inputs = program_of(function)
    gate = next(e for e in program.equations if getattr(e, "out", "") == "gate")
    for fault in FAULTS:
        if fault.function == function:
            with seeded(fault):
                entries = examine(subject_of(program, inputs))
            assert any(entry.verdict in WRONG for entry in entries), str(fault)
            named = gates(entries)
            assert named, str(fault)
            assert show_equation(gate) in named[0], str(fault)


def test_the_table_is_whole_again():
    fault = RuleFault("exp", 0, "sign")
    program, inputs = program_of("exp")
    with seeded(fault):
        assert not all(entry.verdict is Verdict.PASS for entry in examine(subject_of(program, inputs)))
    assert all(entry.verdict is Verdict.PASS for entry in examine(subject_of(program, inputs)))


# --- passes -------------------------------------------------------------------------------------------------


def network() -> tuple[Program, dict[str, np.ndarray]]:
    @differentiate
    def loss(w: np.ndarray, b: np.ndarray, x: np.ndarray) -> object:
        h = np.tanh(x @ w + b)
        return np.mean(h * h * np.exp(-h)) + 0.1 * np.sum(w * w)

    rng = np.random.default_rng(3)
    arrays = (rng.normal(size=(3, 2)), rng.normal(size=2), rng.normal(size=(4, 3)))
    program = loss.inspect(*arrays).stages.program
    return program, dict(zip(program.inputs, arrays, strict=True))


def test_changed_equations_after_differentiation_are_caught_and_named():
    program, inputs = network()
    wrt = ("w", "b")
    whole = gradient(program, wrt)
    derived = replace(whole, outputs=whole.outputs[1:])
    truth = evaluate(derived, inputs)
    caught = named = count = 0
    for out, mutant in pass_faults(derived):
        with np.errstate(all="ignore"):
            claims = evaluate(mutant, inputs)
        if all(np.allclose(a, b, rtol=1e-6, atol=0) for a, b in zip(claims, truth, strict=True)):
            continue  # the equation does not matter for the gradient
        count += 1
        entries = examine(Subject(program, mutant, inputs, wrt, wrt, claims))
        caught += any(entry.verdict in WRONG for entry in entries)
        named += any(f"but {out}" in text for text in gates(entries))
    assert count >= 25
    assert caught == count
    assert named >= 0.9 * count


# --- what users write ---------------------------------------------------------------------------------------


@gradc.custom_gradient
def cube(x):
    return x**3, lambda bar: bar * 2 * x**2


@gradc.custom_gradient
def good_cube(x):
    return x**3, lambda bar: bar * 3 * x**2


def test_a_users_wrong_gradient_is_named_with_its_line():
    def loss(x: np.ndarray) -> object:
        return np.sum(np.sin(cube(np.exp(x))))

    report = differentiate(loss, target="interpret").check(np.array([0.1, -0.4]))
    (entry,) = [entry for entry in report.entries if entry.index == "gate"]
    assert report.entries[0] is entry  # first, so that the table shows it
    assert "return x**3, lambda bar: bar * 2 * x**2" in entry.detail
    assert "test_blame.py" in entry.detail
    np.testing.assert_allclose(entry.analytic, 2 / 3 * entry.numeric, rtol=1e-9)
    assert report.verdict is Verdict.WRONG


def test_a_right_one_passes_and_so_does_what_is_stopped():
    def loss(x: np.ndarray) -> object:
        return np.sum(np.sin(good_cube(np.exp(x)))) + np.sum(x * gradc.stop_gradient(x * x))

    report = differentiate(loss, target="interpret").check(np.array([0.1, -0.4]))
    report.assert_ok()
    assert {entry.index for entry in report.entries} >= {"oracle", "kernel", "transpose"}


def test_a_kink_is_named_with_its_line_and_convention():
    def loss(x: np.ndarray) -> object:
        return np.sum(np.maximum(x, 0.0) * x.shape[0])

    report = differentiate(loss, target="interpret").check(np.array([1.0, 0.0, -1.0]))
    assert report.verdict is Verdict.KINK_OK
    (entry,) = [entry for entry in report.entries if entry.index == "oracle"]
    for text in ("maximum", "element [1]", "test_blame.py", "np.maximum(x, 0.0)", "0 to the variable"):
        assert text in entry.detail


def test_terms_of_a_sum_are_checked_by_themselves():
    @gradc.custom_gradient
    def small(w):
        return np.sum(w * w) * 1e-12, lambda bar: bar * 1e-12 * w  # should be 2e-12 * w

    def loss(w: np.ndarray, x: np.ndarray) -> object:
        return np.sum(np.square(x @ w)) + small(w)

    rng = np.random.default_rng(0)
    function = differentiate(loss, wrt="w", target="interpret")
    report = function.check(rng.normal(size=3), rng.normal(size=(4, 3)))
    wrong = {entry.index for entry in report.entries if entry.verdict is Verdict.WRONG}
    assert any(str(index).startswith("term") for index in wrong)
    assert "gate" in wrong


def test_second_order():
    def loss(x: np.ndarray, y: np.ndarray) -> object:
        return np.sum(np.tanh(x * y)) + np.sum(x**3)

    rng = np.random.default_rng(5)
    function = differentiate(loss, target="interpret")
    report = function.at(rng.normal(size=3), rng.normal(size=3)).check(order=2)
    report.assert_ok()
    assert any(entry.index == "oracle" for entry in report.entries)
    with seeded(RuleFault("tanh", 0, "factor 2")):
        again = differentiate(loss, target="interpret")
        assert not again.at(rng.normal(size=3), rng.normal(size=3)).check(order=2)


@pytest.mark.parametrize(("factor", "expected"), [(1 + 1e-9, Verdict.PASS), (1 + 1e-3, Verdict.INCONCLUSIVE)])
def test_without_a_bound_on_the_rounding_the_kernel_is_never_called_wrong(factor: float, expected: Verdict):
    def twice(x):
        return 2 * x

    twice.__annotations__ = {"x": gradc.f64["N"]}
    outside = gradc.external(twice, result=gradc.f64["N"], vjp=lambda y_bar, x: (2 * y_bar,))

    def loss(a: np.ndarray) -> object:
        return np.sum(np.sin(outside(a)))

    a = np.random.default_rng(2).normal(size=3)
    program = differentiate(loss, target="interpret").inspect(a).stages.program
    derived = gradient(program, ("a",))
    derived = replace(derived, outputs=derived.outputs[1:])
    (claim,) = evaluate(derived, {"a": a})
    entries = examine(Subject(program, derived, {"a": a}, ("a",), ("a",), (claim * factor,)))
    (entry,) = [entry for entry in entries if entry.index == "kernel"]
    assert entry.verdict is expected


def test_an_unsymmetric_hessian_is_wrong():
    @gradc.custom_gradient
    def product(x, y):
        return x * y, lambda bar: (bar * y, bar * x * x)  # should be x

    report = differentiate(lambda x, y: product(x, y), target="interpret").at(3.0, 2.0).check(order=2)
    (entry,) = [entry for entry in report.entries if entry.index == "symmetry"]
    assert entry.verdict is Verdict.WRONG
    assert entry.detail == "the Hessian is not symmetric"
    right = differentiate(lambda x, y: np.sin(x * y), target="interpret").at(3.0, 2.0).check(order=2)
    (entry,) = [entry for entry in right.entries if entry.index == "symmetry"]
    assert entry.verdict is Verdict.PASS


def test_what_is_rounded_to_float32_on_the_way_is_not_differenced():
    def loss(x: np.ndarray) -> object:
        return np.sum(np.sin(x).astype(np.float32) * x)

    x = np.random.default_rng(8).normal(size=6)
    differentiate(loss, target="interpret").check(x).assert_ok()


@pytest.mark.parametrize(("factor", "expected"), [(1.0, Verdict.PASS), (1.0 + 1e-9, Verdict.WRONG)])
def test_the_oracle_settles_what_differences_cannot(factor: float, expected: Verdict):
    program, inputs = network()
    derived = gradient(program, ("w", "b"))
    derived = replace(derived, outputs=derived.outputs[1:])
    w_bar, b_bar = evaluate(derived, inputs)
    w_bar[1, 0] *= factor
    subject = Subject(program, derived, inputs, ("w", "b"), ("w", "b"), (w_bar, b_bar))
    doubt = Entry("w", (1, 0), w_bar[1, 0], 0.0, 1.0, Verdict.INCONCLUSIVE, "too noisy; try elsewhere")
    found = settled(subject, doubt)
    assert found.verdict is expected
    assert found.index == (1, 0)
    assert found.bound < 1e-13
    assert found.detail == "50-digit differences; too noisy"


def test_a_staircase_that_misleads_differences_is_settled():
    def loss(x: float) -> object:
        y = x * 1e-6
        return np.log(1 + y * y)  # flat in floats around the point

    function = differentiate(loss, target="interpret", stabilise=False)
    report = function.check(-5.4997184249257475e-05)
    report.assert_ok()
    assert report.entries[0].detail == "50-digit differences; differences of the rounded values say otherwise"


def test_a_kernel_whose_value_is_wrong_is_not_excused(monkeypatch: pytest.MonkeyPatch):
    """The 50-digit oracle knows the program; where the kernel computes something else, it settles nothing."""
    function = differentiate(lambda x: np.sum(x**3), target="interpret")
    value = GradientCheck._value
    monkeypatch.setattr(
        GradientCheck, "_value", lambda self, extra: lambda *moved: 1.01 * value(self, extra)(*moved)
    )
    report = function.check(np.array([1.0, 2.0]))
    assert [entry.verdict for entry in report.entries if entry.index in ((0,), (1,))] == [Verdict.WRONG] * 2


def test_float32_is_held_to_its_own_rounding():
    def loss(w: np.ndarray, x: np.ndarray) -> object:
        return np.sum(np.log1p(np.exp(x @ w)))

    rng = np.random.default_rng(6)
    arrays = (rng.normal(size=4).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32))
    report = differentiate(loss, target="interpret").check(*arrays)
    report.assert_ok()
    bounds = [entry.bound / abs(entry.numeric) for entry in report.entries if entry.index == "oracle"]
    assert all(1e-8 < bound < 1e-3 for bound in bounds)


def test_float32_gradients_that_are_nothing_but_rounding_are_right():
    """A bias before a normalisation has gradient 0: the sum of the terms that cancel, in float32."""

    rng = np.random.default_rng(6)
    x, b = rng.normal(size=(64, 20)).astype(np.float32), np.zeros(20, np.float32)

    def shifted(b: np.ndarray, x: np.ndarray) -> object:
        y = x + b
        y = y - y.mean(axis=0)
        return np.square(np.sin(30 * y)).sum() * 1e3

    report = differentiate(shifted, wrt="b", target="interpret").check(b, x)
    report.assert_ok()
    gradient = differentiate(shifted, wrt="b", target="interpret").grad(b, x)
    assert np.abs(gradient).max() > 1e-6  # rounding that is no 0, and is far from what differences say


def test_float32_gradients_that_cancel_are_still_checked(monkeypatch):
    def shifted(b: np.ndarray, x: np.ndarray) -> object:
        y = x + b
        y = y - 0.9 * y.mean(axis=0)
        return np.square(np.sin(y)).sum()

    rng = np.random.default_rng(6)
    x, b = rng.normal(size=(64, 3)).astype(np.float32), np.zeros(3, np.float32)
    function = differentiate(shifted, wrt="b", target="interpret")
    function.check(b, x).assert_ok()
    derived = GradientCheck._derived
    monkeypatch.setattr(
        GradientCheck, "_derived", lambda *given: [np.float32(1.01) * g for g in derived(*given)]
    )
    found = {entry.index: entry.verdict for entry in function.check(b, x).entries}
    assert found[(0,)] is found["kernel"] is Verdict.WRONG
