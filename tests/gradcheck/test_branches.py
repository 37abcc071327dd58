"""The branch trace: every kink is known, steps across it are left out, and the report names it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from tests.gradcheck.kinks import TRACED

from gradc import differentiate
from gradc.autodiff.branches import CODES, branches
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Program
from gradc.ir.types import DType
from gradc_runtime.gradcheck import Verdict, check_gradient

NAMES = (
    "abs maximum minimum clip where sin cos exp expm1 log log1p sqrt cbrt tanh arccos arcsin floor ceil rint "
    "sign copysign fmod mod arctan2"
)
NAMESPACE = {name: getattr(np, name) for name in NAMES.split()}
NAMESPACE.update(nan=np.nan, relu=lambda x: np.maximum(x, 0.0))

Trace = Callable[[Any], Mapping[str, Any]]


@cache
def traced(text: str) -> tuple[Callable[[float], float], Trace | None]:
    """A function of one float by the interpreter, and its branch trace."""
    program = (
        differentiate(eval(f"lambda x: {text}", NAMESPACE), target="interpret").inspect(0.5).stages.stable
    )
    return (lambda x: float(evaluate(program, {"x": x})[0])), trace_of(program, "x")


def trace_of(program: Program, name: str) -> Trace | None:
    codes, found = branches(program, (name,))
    if not found:
        return None
    keys = [str(branch) for branch in found]
    return lambda x: dict(zip(keys, evaluate(codes, {name: x}), strict=True))


def test_there_are_enough():
    assert len(TRACED) >= 100


@pytest.mark.parametrize(("text", "x", "claim", "expected"), TRACED)
def test_every_verdict_is_right_with_the_trace(text: str, x: float, claim: float, expected: str):
    f, trace = traced(text)
    report = check_gradient(f, [claim], [float(x)], trace=trace)
    assert report.verdict == expected, report


def test_most_verdicts_are_right_without_it():
    wrong = [
        row
        for row in TRACED
        if check_gradient(traced(row[0])[0], [row[2]], [float(row[1])]).verdict != row[3]
    ]
    assert len(wrong) <= 0.05 * len(TRACED), wrong


@pytest.mark.parametrize(
    ("text", "x", "claim", "named"),
    [
        ("abs(x)", 0.0, 0.0, "abs in "),
        ("x + relu(x - 1)", 1.0, 1.0, "maximum in "),
        ("where(x > 0, x, 2 * expm1(x))", 0.0, 1.5, "gt in "),
        ("floor(x)", 1.0, 0.0, "floor in "),
        ("mod(x, 1.0)", 3.0, 1.0, "mod in "),
    ],
)
def test_a_kink_at_the_point_is_named(text: str, x: float, claim: float, named: str):
    f, trace = traced(text)
    (entry,) = check_gradient(f, [claim], [x], trace=trace).entries
    assert f"at this point {named}" in entry.detail


@pytest.mark.parametrize("distance", [1e-10, 2.1e-9, 3e-6])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_kink_beside_the_point_is_named_with_its_distance(distance: float, side: int):
    f, trace = traced("abs(x) + 0 * sin(x)")
    (entry,) = check_gradient(f, [float(-side)], [-side * distance], trace=trace).entries
    assert entry.verdict is Verdict.PASS
    found = re.search(r"another piece of f begins (\S+) to the (left|right): abs in ", entry.detail)
    assert found, entry.detail
    assert float(found[1]) == pytest.approx(distance, rel=0.06)
    assert found[2] == ("right" if side > 0 else "left")


POINTS = {  # operands on one piece, twice, and on another
    "abs": [(1.0,), (2.0,), (-1.0,)],
    "sign": [(1.0,), (2.0,), (-1.0,)],
    "maximum": [(1.0, 2.0), (1.5, 3.0), (2.0, 1.0)],
    "minimum": [(1.0, 2.0), (1.5, 3.0), (2.0, 1.0)],
    "fmax": [(1.0, 2.0), (1.5, 3.0), (2.0, 1.0)],
    "fmin": [(1.0, 2.0), (1.5, 3.0), (2.0, 1.0)],
    "lt": [(1.0, 2.0), (1.5, 3.0), (2.0, 2.0)],
    "le": [(1.0, 2.0), (1.5, 3.0), (2.0, 2.0)],
    "gt": [(1.0, 2.0), (1.5, 3.0), (2.0, 2.0)],
    "ge": [(1.0, 2.0), (1.5, 3.0), (2.0, 2.0)],
    "eq": [(1.0, 2.0), (3.0, 2.0), (2.0, 2.0)],
    "ne": [(1.0, 2.0), (3.0, 2.0), (2.0, 2.0)],
    "floor": [(1.1,), (1.9,), (2.0,)],
    "ceil": [(1.1,), (1.9,), (2.1,)],
    "rint": [(0.6,), (1.4,), (1.6,)],
    "trunc": [(-0.9,), (0.9,), (1.1,)],
    "heaviside": [(1.0, 0.5), (2.0, 0.1), (-1.0, 0.5)],
    "copysign": [(1.0, 1.0), (2.0, 3.0), (1.0, -1.0)],
    "floor_divide": [(5.0, 2.0), (5.5, 2.1), (6.5, 2.0)],
    "mod": [(5.0, 2.0), (5.5, 2.1), (6.5, 2.0)],
    "fmod": [(-1.0, 2.0), (1.0, 2.0), (3.0, 2.0)],
    "arctan2": [(1.0, -1.0), (2.0, -3.0), (-1.0, -1.0)],
}


@pytest.mark.parametrize("function", sorted(CODES))
def test_codes_tell_pieces_apart(function: str):
    builder = Builder("one")
    names = tuple(builder.input(f"a{at}", DType.F64, (3,)) for at in range(FUNCTIONS[function].arity))
    program, (branch,) = branches(builder.finish((builder.pointwise(function, *names),)), names)
    columns = np.array(POINTS[function]).T
    (code,) = evaluate(program, dict(zip(names, columns, strict=True)))
    assert branch.function == function
    assert code[0] == code[1] != code[2]


def test_reductions_sorting_and_casts_are_traced():
    def loss(x: np.ndarray) -> Any:
        return np.max(x) + np.sort(x)[0] + np.sum(x[np.argmin(x)]) + np.sum(x.astype(int) * x)

    program = differentiate(loss, target="interpret").inspect(np.arange(3.0)).stages.stable
    codes, found = branches(program, ("x",))
    assert {branch.function for branch in found} == {"max", "argsort", "arg_extreme", "cast"}
    here, there, beyond = (
        [np.array(code).tolist() for code in evaluate(codes, {"x": np.array(x)})]
        for x in ([0.1, 2.2, 1.3], [0.3, 2.9, 1.1], [2.2, 1.1, 3.3])
    )
    assert here == there
    assert all(a != b for a, b in zip(here, beyond, strict=True))


def test_what_does_not_depend_on_the_argument_is_no_branch():
    def loss(x: np.ndarray, y: np.ndarray) -> Any:
        return np.sum(np.where(y > 0, x, 2 * x))

    program = differentiate(loss, target="interpret").inspect(np.ones(2), np.ones(2)).stages.stable
    assert branches(program, ("x",))[1] == ()
    assert len(branches(program, ("y",))[1]) == 1
    assert traced("sin(x)")[1] is None


def network(w: np.ndarray, x: np.ndarray) -> Any:
    return np.sum(np.maximum(x @ w, 0.0) ** 2) + np.sum(np.maximum(w, 1e-3) * w)


def test_the_compiled_trace_names_element_line_and_distance():
    line = inspect.getsourcelines(network)[1] + 1
    rng = np.random.default_rng(1)
    w, x = rng.normal(size=(5, 8)), rng.normal(size=(3, 5))
    w[3, 7] = 1e-3 + 2.1e-9
    report = differentiate(network, wrt="w").check(w, x)
    report.assert_ok()
    (entry,) = [entry for entry in report.entries if entry.index == (3, 7)]
    assert "begins 2.1e-09 to the left: element [3, 7] of maximum in" in entry.detail
    assert f"test_branches.py:{line}" in entry.detail
    w[3, 7] = 1e-3
    report = differentiate(network, wrt="w", target="interpret").check(w, x)
    assert report.verdict is Verdict.KINK_OK
    (entry,) = [entry for entry in report.entries if entry.index == (3, 7)]
    assert "at this point element [3, 7] of maximum in" in entry.detail
    assert "convention: ties are split evenly" in entry.detail


def test_large_arguments_with_many_kinks_pass():
    def loss(x: np.ndarray) -> Any:
        return np.sum(np.abs(np.sin(3 * x)) * x)

    x = np.random.default_rng(2).normal(size=20_000)
    differentiate(loss, target="interpret").check(x).assert_ok()


def test_any_function_can_bring_its_own_trace():
    x = np.array([1.0, -2.0, 1e-11])
    report = check_gradient(
        lambda x: float(np.sum(np.abs(x))), np.sign, [x], names=["x"], trace=lambda x: {"np.abs": x > 0}
    )
    report.assert_ok()
    assert "begins 1.0e-11 to the left: element [2] of np.abs" in report.entries[2].detail
    assert "another piece" in str(report)
