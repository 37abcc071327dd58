"""Large arrays: few evaluations, no drowned arguments, and the guilty elements named."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradc_runtime.gradcheck import (
    Entry,
    Report,
    Verdict,
    check_gradient,
)
from gradc_runtime.gradcheck_arguments import Arguments
from gradc_runtime.gradcheck_judge import is_refuted, quick_look
from gradc_runtime.gradcheck_search import ArgumentCheck


def only(report: Report) -> Entry:
    assert len(report.entries) == 1, str(report)
    return report.entries[0]


def weighted(rng: np.random.Generator, n: int) -> tuple[Callable[..., float], np.ndarray, np.ndarray]:
    x, w = rng.normal(size=n), rng.normal(size=n)
    return lambda x: float(np.sum(w * x / (1 + x * x))), w * (1 - x * x) / (1 + x * x) ** 2, x


@pytest.mark.parametrize(("n", "guilty"), [(300_000, 123_456), (5000, 1), (5000, 4998), (65, 33)])
def test_one_wrong_element_is_named(n: int, guilty: int, rng: np.random.Generator):
    f, right, x = weighted(rng, n)
    wrong = right.copy()
    wrong[guilty] *= 1.01
    report = check_gradient(f, [wrong], [x], names=["x"], probes=1)
    named = {entry.index for entry in report.entries if entry.verdict is Verdict.WRONG}
    assert named == {"direction 0", (guilty,)}, str(report)
    assert f"element [{guilty}] to blame" in report.entries[0].detail


@pytest.mark.parametrize("n", [10**4, 10**5, 10**6])
def test_one_wrong_element_is_found_within_sixty_evaluations(n: int, rng: np.random.Generator):
    f, right, x = weighted(rng, n)
    for guilty in (0, 1, 1023, 1024, n // 3, n - 1):
        claim = right.copy()
        claim[guilty] *= 1.01
        point = Arguments(f, None, [x], None, None)
        point.settle([claim])
        check = ArgumentCheck(point, 0, claim)
        before = point.evaluations
        found = check.decode(point.direction(0, 0, 0))
        assert found is not None
        assert found == guilty
        assert is_refuted(quick_look(point.coordinate(0, found)), float(claim[found]), 0.0)
        assert point.evaluations - before <= 60


def test_a_failing_check_of_a_million_elements_takes_few_evaluations(rng: np.random.Generator):
    f, right, x = weighted(rng, 10**6)
    right[77] *= 1.01
    report = check_gradient(f, [right], [x])
    assert [entry.index for entry in report.entries if not _ok(entry)] == ["direction 0", (77,)]
    assert report.evaluations <= 600


def test_a_fault_across_arguments_is_named(rng: np.random.Generator):
    """Two wrong elements whose excesses cancel along the argument's own direction are seen by the others."""
    W, b = rng.normal(size=100), rng.normal(size=200)

    def f(W: np.ndarray, b: np.ndarray) -> float:
        return float(np.sum(np.sin(W)) + np.sum(np.cos(b)))

    point = Arguments(f, None, [W, b], ["W", "b"], None)
    v = point.direction(0, 0, 0)
    wrong = np.cos(W)
    wrong[10] += 0.5 / v[10]
    wrong[20] -= 0.5 / v[20]
    report = check_gradient(f, [wrong, -np.sin(b)], [W, b], names=["W", "b"])
    own = next(entry for entry in report.entries if entry.argument == "W")
    assert own.verdict is Verdict.PASS, "the probe of W alone cannot see it"
    together = [entry for entry in report.entries if entry.argument == "all arguments"]
    assert together[0].verdict is Verdict.WRONG
    assert "to blame: W[[10], [20]]" in together[0].detail
    assert all(entry.verdict is Verdict.PASS for entry in together[1:])


def test_progress_is_told_after_every_comparison(rng: np.random.Generator):
    told: list[tuple[int, int, str]] = []
    W, b = rng.normal(size=100), rng.normal(size=2)
    check_gradient(
        lambda W, b: float(np.sum(W) + np.sum(b)),
        [np.ones(100), np.ones(2)],
        [W, b],
        names=["W", "b"],
        progress=lambda *given: told.append(given),
    )
    assert [done for done, _, _ in told] == list(range(1, 9))
    assert {planned for _, planned, _ in told} == {8}
    assert [what for _, _, what in told][:4] == ["W[0]", "W[99]", "direction 0 of W", "b[0]"]


def test_several_wrong_elements_are_found_by_halving(rng: np.random.Generator):
    f, right, x = weighted(rng, 5000)
    right[[17, 4000]] *= 1.5
    report = check_gradient(f, [right], [x])
    wrong = {entry.index for entry in report.entries if entry.verdict is Verdict.WRONG}
    assert {(17,), (4000,)} <= wrong


def test_300000_right_elements_pass(rng: np.random.Generator):
    f, right, x = weighted(rng, 300_000)
    report = check_gradient(f, [right], [x])
    assert report, str(report)
    assert {entry.index for entry in report.entries} == {
        *(f"direction {k}" for k in range(3)),
        (0,),
        (299_999,),
    }
    assert report.evaluations < 300


def test_a_fault_of_a_millionth_in_every_element_is_seen_and_some_are_named(rng: np.random.Generator):
    f, right, x = weighted(rng, 5000)
    report = check_gradient(f, [right * (1 + 1e-6)], [x], probes=1)
    assert report.entries[0].verdict is Verdict.WRONG
    assert "to blame and more" in report.entries[0].detail


def test_two_wrong_elements_of_a_matrix_are_named_among_kinks(rng: np.random.Generator):
    A, w = rng.normal(size=(50, 40)), rng.normal(size=(50, 40))
    right = w * (A > 0)
    wrong = right.copy()
    wrong[7, 31] += 0.5
    wrong[49, 2] -= 1e-3

    def f(A: np.ndarray) -> float:
        return float(np.sum(w * np.maximum(A, 0)))

    assert check_gradient(f, [right], [A])
    report = check_gradient(f, [wrong], [A])
    elements = {entry.index for entry in report.entries if isinstance(entry.index, tuple) and not _ok(entry)}
    assert elements == {(7, 31), (49, 2)}, str(report)


def _ok(entry: Entry) -> bool:
    return entry.verdict in (Verdict.PASS, Verdict.KINK_OK, Verdict.EDGE)


@pytest.mark.parametrize("seed", range(8))
def test_a_wrong_element_is_named_among_thousands_of_kinks(seed: int):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(2, 20_000))
    right = w * (x > 0)
    wrong = right.copy()
    guilty = int(rng.integers(x.size))
    wrong[guilty] += 0.5

    def f(x: np.ndarray) -> float:
        return float(np.sum(w * np.maximum(x, 0)))

    assert check_gradient(f, [right], [x], seed=seed)
    report = check_gradient(f, [wrong], [x], seed=seed)
    assert f"element [{guilty}] to blame" in report.entries[0].detail, str(report)
    assert [_ok(entry) for entry in report.entries[:3]] == [False, True, True], "the rest is right"


def test_swapped_elements_and_nan_are_found_in_a_large_array(rng: np.random.Generator):
    f, right, x = weighted(rng, 2000)
    swapped = right.copy()
    swapped[[100, 900]] = swapped[[900, 100]]
    report = check_gradient(f, [swapped], [x])
    assert {e.index for e in report.entries if isinstance(e.index, tuple) and not _ok(e)} == {(100,), (900,)}
    holed = right.copy()
    holed[500] = np.nan
    bad = [entry for entry in check_gradient(f, [holed], [x]).entries if not _ok(entry)]
    assert [entry.index for entry in bad] == [(500,)]


def test_a_small_argument_is_not_drowned_by_a_large_one(rng: np.random.Generator):
    W, b, s = rng.normal(size=(30, 40)), rng.normal(size=3), 0.5

    def f(W: np.ndarray, n: int, b: np.ndarray, s: float) -> float:
        return float(np.sum(W**2) * s + n * np.sum(np.sin(b)))

    def gradient(W: np.ndarray, n: int, b: np.ndarray, s: float) -> tuple[Any, ...]:
        return 2 * W * s, n * np.cos(b), float(np.sum(W**2))

    arguments, names = [W, 2, b, s], ["W", "n", "b", "s"]
    report = check_gradient(f, gradient, arguments, names=names)
    assert report, str(report)
    assert {entry.argument for entry in report.entries} == {"W", "b", "s", "all arguments"}
    assert [entry.index for entry in report.entries if entry.argument == "W"] == [
        "direction 0",
        (0, 0),
        (29, 39),
    ]
    claims = list(gradient(W, 2, b, s))
    claims[1] = claims[1] * np.array([1, 1 + 1e-6, 1])
    wrong = check_gradient(f, claims, arguments, names=names)
    assert [(e.argument, e.index) for e in wrong.entries if not _ok(e)] == [("b", (1,))]
    alone = check_gradient(f, [claims[2]], arguments, names=names, wrt=["s"])
    assert alone
    assert only(alone).index == ()


def test_directions_depend_on_seed_name_and_probe_alone(rng: np.random.Generator):
    f, right, x = weighted(rng, 200)

    def slopes(**options: Any) -> list[float]:
        report = check_gradient(f, [right], [x], **options)
        return [entry.analytic for entry in report.entries if str(entry.index).startswith("direction")]

    assert slopes(seed=1) == slopes(seed=1)
    assert len({*slopes(seed=1), *slopes(seed=2), *slopes(seed=1, names=["y"])}) == 9


def test_magnitudes_from_tiny_to_huge_in_one_array(rng: np.random.Generator):
    x = np.exp(rng.uniform(-9, 9, size=300))
    assert check_gradient(lambda x: float(np.sum(np.log(x))), lambda x: 1 / x, [x])
    wrong = 1 / x
    wrong[int(np.argmin(x))] *= 1.01
    assert not check_gradient(lambda x: float(np.sum(np.log(x))), [wrong], [x])


def test_one_huge_element_among_ordinary_ones():
    x = np.ones(100)
    x[3] = 1e15
    report = check_gradient(lambda x: float(np.sum(x)), [np.ones(100)], [x])
    assert [e.verdict for e in report.entries if str(e.index).startswith("direction")] == [Verdict.PASS] * 3
