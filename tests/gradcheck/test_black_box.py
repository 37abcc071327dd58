"""The gradient checker: its bounds hold, it refutes what is wrong, and it says so when it cannot tell."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from gradc_runtime import gradcheck_judge
from gradc_runtime.gradcheck import (
    Entry,
    GradientCheckError,
    Report,
    Verdict,
    check_gradient,
    derivative,
)
from gradc_runtime.gradcheck_arguments import Arguments
from gradc_runtime.gradcheck_estimate import Estimate

Scalar = Callable[[float], float]


def expanded(x: float) -> float:
    return ((((((x - 7) * x + 21) * x - 35) * x + 35) * x - 21) * x + 7) * x - 1


def only(report: Report) -> Entry:
    assert len(report.entries) == 1, str(report)
    return report.entries[0]


def _ok(entry: Entry) -> bool:
    return entry.verdict in (Verdict.PASS, Verdict.KINK_OK, Verdict.EDGE)


def check_at(f: Scalar, claim: float, x: float) -> Entry:
    return only(check_gradient(f, [claim], [x]))


@pytest.mark.parametrize(
    ("f", "x", "claim"),
    [
        (lambda x: 5.0, 1.0, 0.0),
        (lambda x: 0.0, 0.0, 0.0),
        (lambda x: 0.0 * x, 3.0, 0.0),
        (lambda x: x * x, 0.0, 0.0),
        (math.cos, 0.0, -0.0),
        (math.sin, math.pi / 2, math.cos(math.pi / 2)),
        (lambda x: (x + 1.0) - x, 0.7, 0.0),
        (lambda x: math.sqrt(x * x + 1e-12), 0.0, 0.0),
        (lambda x: min(max(x, -1.0), 1.0), 5.0, 0.0),
        (lambda x: 100.0 + max(x, 0.0), -0.02, 0.0),
    ],
)
def test_a_derivative_of_zero_passes(f: Scalar, x: float, claim: float):
    assert check_at(f, claim, x).verdict is Verdict.PASS
    assert check_at(f, 1e-9, x).verdict is Verdict.WRONG


def test_an_inactive_relu_beside_its_kink_passes():
    for x in (-1e-4, -1e-6):
        assert check_at(lambda x: 100.0 + max(x, 0.0), 0.0, x).verdict is Verdict.PASS
        assert check_at(lambda x: 100.0 + max(x, 0.0), 1e-3, x).verdict is Verdict.WRONG


def test_a_slope_that_only_long_steps_show_is_not_taken_for_zero():
    for x in (100.0, 1e4, 1e14):
        assert check_at(lambda x: 1e16 + x, 0.0, x).verdict is not Verdict.PASS
    assert check_at(math.sqrt, 0.0, 1e14).verdict is Verdict.WRONG


def test_too_noisy_is_inconclusive():
    entry = check_at(expanded, 7e-12, 1.01)
    assert entry.verdict is Verdict.INCONCLUSIVE
    assert "noisy" in entry.detail
    assert check_at(lambda x: 1e12 + 1e-3 * math.sin(x), 1e-2, 1.0).verdict is not Verdict.PASS


def test_a_jump_is_called_a_jump():
    assert "jumps" in check_at(lambda x: float(math.floor(x)), 0.0, 1.0).detail
    assert "jumps" in check_at(lambda x: float(np.sign(x)), 0.0, 0.0).detail


def cbrt(x: float) -> float:
    return math.copysign(abs(x) ** (1 / 3), x)


def test_derivative_vouches_for_nothing_where_there_is_none():
    for f, x in ((abs, 0.0), (math.sqrt, 0.0), (lambda x: float(math.floor(x)), 1.0), (cbrt, 0.0)):
        assert derivative(f, x)[1] == math.inf
    assert derivative(abs, 0.0, side=-1)[0] == pytest.approx(-1.0, abs=1e-12)
    assert derivative(math.sqrt, 0.0, side=1) == (math.inf, math.inf)
    assert math.isnan(derivative(lambda x: math.nan, 1.0)[0])
    with pytest.raises(ValueError, match="side is 2"):
        derivative(abs, 0.0, side=2)


def test_derivative_along_a_direction_of_arrays_and_containers():
    rng = np.random.default_rng(0)
    x = {"w": rng.normal(size=(3, 2)), "b": (0.5, rng.normal(size=2))}
    v = {"w": rng.normal(size=(3, 2)), "b": (2.0, rng.normal(size=2))}

    def f(p: dict[str, Any]) -> float:
        return float(np.sum(np.sin(p["w"])) * p["b"][0] + np.sum(p["b"][1] ** 3))

    truth = np.sum(np.cos(x["w"]) * v["w"]) * 0.5 + np.sum(np.sin(x["w"])) * 2.0
    truth += np.sum(3 * x["b"][1] ** 2 * v["b"][1])
    value, bound = derivative(f, x, v)
    assert abs(value - truth) <= bound <= 1e-9
    value, bound = derivative(lambda x: np.sum(np.abs(x)), np.zeros(2), np.array([1.0, -2.0]), side=1)
    assert abs(value - 3.0) <= bound <= 1e-9
    assert derivative(lambda x: np.sum(np.abs(x)), np.zeros(2), np.ones(2))[1] == math.inf
    huge = np.array([1e12, 2e12])
    value, bound = derivative(lambda x: np.sum(np.log(x)), huge, np.array([1.0, 1.0]))
    assert abs(value - 1.5e-12) <= bound <= 1e-18
    assert derivative(lambda x: x * x, 3, 2.0)[0] == pytest.approx(12.0)  # integers count as floats
    with pytest.raises(ValueError, match="give the direction"):
        derivative(f, x)
    with pytest.raises(ValueError, match=r"shapes \[\(2,\)\] and direction \[\(3,\)\]"):
        derivative(np.sum, np.ones(2), np.ones(3))


def test_what_a_caller_should_know_of_the_layout_is_said():
    x = np.arange(6.0).reshape(2, 3)
    report = check_gradient(lambda x: float(np.sum(x * x)), lambda x: np.asfortranarray(2 * x), [x])
    assert report
    (note,) = [entry for entry in report.entries if entry.index == "layout"]
    assert note.verdict is Verdict.PASS
    assert "the gradient lies in Fortran order, the argument in C order" in note.detail
    report = check_gradient(lambda x: float(np.sum(x)), lambda x: np.broadcast_to(1.0, x.shape), [x])
    assert report
    assert "elements of the gradient share memory" in report.entries[0].detail
    assert all(
        e.index != "layout" for e in check_gradient(lambda x: float(np.sum(x)), np.ones_like, [x]).entries
    )


# A checker must not pass what its own estimator cannot carry.
BROKEN: dict[str, Callable[[Estimate], Estimate]] = {
    "no bound": lambda e: Estimate(e.value, math.inf),
    "nan": lambda e: Estimate(math.nan, e.bound),
    "nan bound": lambda e: Estimate(e.value, math.nan),
    "always zero": lambda e: Estimate(0.0, 0.0),
    "off by a thousandth": lambda e: Estimate(e.value * 1.001, e.bound),
    "wide bound": lambda e: Estimate(e.value, abs(e.value)),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_estimator_passes_nothing(fault: str, monkeypatch: pytest.MonkeyPatch):
    whole = gradcheck_judge.estimate
    monkeypatch.setattr(gradcheck_judge, "estimate", lambda *a, **k: BROKEN[fault](whole(*a, **k)))
    x = np.linspace(0.1, 2.0, 100)
    for size in (3, 100):
        report = check_gradient(lambda x: float(np.sum(np.exp(x))), np.exp, [x[:size]])
        assert not report
        assert not any(entry.verdict is Verdict.PASS for entry in report.entries)


class Layer(NamedTuple):
    weights: np.ndarray
    bias: float


def test_nested_containers_and_their_names(rng: np.random.Generator):
    tree = {"layers": [Layer(rng.normal(size=3), 0.5), Layer(rng.normal(size=2), -1.0)], "scale": 2.0}

    def f(tree: Any, x: np.ndarray) -> float:
        first, second = tree["layers"]
        return tree["scale"] * float(
            np.sum(first.weights**2) + first.bias * np.sum(second.weights * x) + second.bias
        )

    def gradient(tree: Any, x: np.ndarray, *, sign: float = 1.0) -> Any:
        first, second = tree["layers"]
        s = tree["scale"]
        layers = [
            Layer(2 * s * first.weights, s * float(np.sum(second.weights * x))),
            Layer(sign * s * first.bias * x, s),
        ]
        return {"layers": layers, "scale": f(tree, x) / s}

    x = rng.normal(size=2)
    report = check_gradient(f, gradient, [tree, x], names=["net", "x"], wrt=["net"])
    report.assert_ok()
    named = {entry.argument for entry in report.entries}
    assert named == {
        *("net['layers'][0].weights", "net['layers'][0].bias", "net['scale']"),
        *("net['layers'][1].weights", "net['layers'][1].bias"),
    }
    wrong = check_gradient(
        f, lambda *at: gradient(*at, sign=-1.0), [tree, x], names=["net", "x"], wrt=["net"]
    )
    assert {e.argument for e in wrong.entries if e.verdict is Verdict.WRONG} == {"net['layers'][1].weights"}
    both = check_gradient(lambda a, b: a[0] * b, ([np.array(2.0)], np.array(3.0)), [(3.0,), 2.0])
    assert {e.argument for e in both.entries} == {"arg0[0]", "arg1"}


def test_one_array_needs_no_list_around_it():
    check_gradient(lambda x: float(np.sum(x**2)), lambda x: 2 * x, np.array([1.0, 2.0])).assert_ok()


def test_zero_size_zero_dimensional_and_unused_arguments():
    empty, point, unused = np.zeros((0, 3)), np.array(2.0), np.ones(100)

    def f(empty: np.ndarray, point: np.ndarray, unused: np.ndarray) -> float:
        return float(np.sum(empty) + point**2)

    report = check_gradient(f, [empty, np.array(4.0), np.zeros(100)], [empty, point, unused])
    assert report, str(report)
    assert not check_gradient(f, [empty, np.array(4.1), np.zeros(100)], [empty, point, unused])


@pytest.mark.parametrize("layout", ["F", "strided", "reversed", "read-only", "broadcast"])
def test_layouts(layout: str, rng: np.random.Generator):
    A = rng.normal(size=(6, 4))
    views = {"F": np.asfortranarray(A), "strided": A[::2, 1::2], "reversed": A[::-1], "read-only": A.copy()}
    x = views.get(layout, np.broadcast_to(A[0], (6, 4)))
    x.flags.writeable = layout != "read-only" and layout != "broadcast"
    before = x.copy()
    report = check_gradient(lambda x: float(np.sum(x**3)), lambda x: 3 * x**2, [x])
    assert report, str(report)
    assert np.array_equal(before, x)


def test_a_function_that_differs_between_calls():
    state = [0.0]

    def f(x: float) -> float:
        state[0] += 1e-12
        return x + state[0]

    entry = check_at(f, 1.0, 1.0)
    assert (entry.verdict, entry.argument) == (Verdict.NONDETERMINISTIC, "f")


def test_a_gradient_that_differs_between_calls():
    calls = iter([1.0, np.nextafter(1.0, 2.0)])
    report = check_gradient(lambda x: x, lambda x: [next(calls)], [3.0])
    assert report.verdict is Verdict.NONDETERMINISTIC
    assert not report


def test_inputs_written_to_by_f_or_gradient():
    x = np.array([1.0, 2.0])

    def f(x: np.ndarray) -> float:
        value = float(np.sum(x**2))
        x *= 2
        return value

    def gradient(x: np.ndarray) -> list[np.ndarray]:
        x *= 2
        return [x]

    report = check_gradient(f, gradient, [x], names=["x"])
    flaws = [entry for entry in report.entries if not _ok(entry)]
    assert [(e.argument, e.index, e.verdict) for e in flaws] == [("x", "input", Verdict.WRONG)] * 2
    assert len(report.entries) == 4, "the numbers are right and compared all the same"
    assert x.tolist() == [1.0, 2.0]


def test_an_input_written_to_at_other_points_only():
    x = np.array([1.0, 2.0])

    def f(x: np.ndarray) -> float:
        if x[0] > 1.0:
            x[1] = 2.0 + 1e-15
        return float(np.sum(x))

    assert any(entry.index == "input" for entry in check_gradient(f, [np.ones(2)], [x]).entries)


def test_shape_and_dtype_of_the_gradient():
    x = np.array([1.0, 2.0])
    shape = only(check_gradient(lambda x: float(np.sum(x)), [np.ones((2, 1))], [x]))
    assert (shape.index, shape.verdict) == ("shape", Verdict.WRONG)
    report = check_gradient(lambda x: float(np.sum(x)), [np.ones(2, np.float32)], [x])
    assert [e.index for e in report.entries if not _ok(e)] == ["dtype"]


def test_float32_is_never_differenced(rng: np.random.Generator):
    x = rng.normal(size=200).astype(np.float32)

    def short(x: np.ndarray) -> Any:
        return np.sum(np.sin(np.asarray(x, np.float32)))

    def hidden(x: np.ndarray) -> float:
        return float(short(x))

    def generic(x: np.ndarray) -> float:
        return float(np.sum(np.sin(x)))

    right = [np.cos(x)]
    for f in (short, hidden):
        entry = only(check_gradient(f, right, [x]))
        assert entry.verdict is Verdict.INCONCLUSIVE
        assert "wide=" in entry.detail
        assert check_gradient(f, right, [x], wide=generic)
    assert check_gradient(generic, right, [x])
    wrong = [np.cos(x)]
    wrong[0][150] *= np.float32(1.001)
    assert not check_gradient(short, wrong, [x], wide=generic)
    other = check_gradient(short, right, [x], wide=lambda x: generic(x) + 100)
    assert [(e.index, e.verdict) for e in other.entries if not _ok(e)] == [("wide", Verdict.INCONCLUSIVE)]
    assert check_gradient(short, [right[0][:3]], [x[:3]], wide=generic)


@pytest.mark.parametrize("bias", [0.1, 30.0, 1000.0])
def test_a_bound_far_below_the_rounding_of_a_claim_settles_a_slope_of_0(bias: float):
    """A bias before a normalisation: f wobbles by more than its own rounding, by far less than float32's."""
    rng = np.random.default_rng(1)
    x, gain = rng.normal(size=(16, 1)), rng.normal(size=(16, 1))

    def normalised(b: np.ndarray) -> float:
        y = x + b
        y = y - y.mean(axis=0)
        return float(np.sum(np.tanh(y / np.sqrt((y**2).mean(axis=0) + 1e-5)) * gain))

    point = Arguments(normalised, None, [np.array([bias])], None, None)
    point.settle([np.zeros(1)])
    line, slack = point.coordinate(0, 0), 1e-7
    right, wrong = (gradcheck_judge.judge(line, claim, slack) for claim in (-3e-8, -3e-7))
    assert 0 < right.bound < 1e-3 * slack
    assert right.bound > 1e-3 * abs(right.numeric)  # relative to the slope it means nothing
    assert (right.verdict, wrong.verdict) == (Verdict.PASS, Verdict.WRONG)


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match="names"):
        check_gradient(abs, [1.0], [1.0], names=["x", "y"])
    with pytest.raises(ValueError, match="not arguments"):
        check_gradient(abs, [1.0], [1.0], wrt=["y"])
    with pytest.raises(ValueError, match="2 parts"):
        check_gradient(abs, [1.0, 2.0], [1.0])
    with pytest.raises(TypeError, match="int64"):
        check_gradient(lambda n: 1.0, [1.0], [np.int64(3)], wrt=["arg0"])
    with pytest.raises(TypeError, match="one real number"):
        check_gradient(lambda x: x, [np.ones(2)], [np.ones(2)])
    with pytest.raises(ZeroDivisionError):
        check_gradient(lambda x: 1 / x, [1.0], [0.0])


def report_of(*verdicts: Verdict) -> Report:
    numbers = (1.0, math.nan, math.inf)
    return Report(tuple(Entry("<x>", (k,), *numbers, v, f"why {k}") for k, v in enumerate(verdicts)), 7)


def test_a_report_is_true_only_if_every_verdict_is_accepted():
    accepted = {Verdict.PASS, Verdict.KINK_OK, Verdict.EDGE}
    assert not Report((), 0), "nothing compared is nothing shown"
    for verdict in Verdict:
        report = report_of(Verdict.PASS, verdict, Verdict.PASS)
        assert bool(report) is (verdict in accepted)
        assert report.verdict is verdict
        if verdict in accepted:
            report.assert_ok()
        else:
            with pytest.raises(GradientCheckError, match=verdict.value):
                report.assert_ok()


def test_a_report_as_text_json_and_html():
    report = report_of(*[Verdict.PASS] * 30, Verdict.WRONG, Verdict.KINK_OK)
    lines = str(report).splitlines()
    assert lines[1].startswith("WRONG    <x>       [30]")
    assert lines[2].startswith("KINK-OK")
    assert len(lines) == 1 + 20 + 2
    assert lines[-2:] == [
        "... and 12 more, none worse",
        "NOT OK: 1 WRONG, 1 KINK-OK, 30 PASS; 7 evaluations of f",
    ]
    assert len({line.index("why") for line in lines[1:21]}) == 1
    loaded = json.loads(report.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert loaded["entries"][30] == {
        "argument": "<x>",
        "index": [30],
        "analytic": 1.0,
        "numeric": "nan",
        "bound": "inf",
        "verdict": "WRONG",
        "detail": "why 30",
    }
    assert (loaded["ok"], loaded["verdict"], loaded["counts"]["PASS"]) == (False, "WRONG", 30)
    assert math.isnan(report.to_dict()["entries"][0]["numeric"])
    html = report._repr_html_()
    assert "&lt;x&gt;" in html
    assert "<x>" not in html


def test_importing_the_checker_imports_numpy_and_nothing_else(environment: dict[str, str]):
    program = (
        "import sys, numpy; before = set(sys.modules); import gradc_runtime.gradcheck; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) - {"numpy", "gradc_runtime"} <= sys.stdlib_module_names
