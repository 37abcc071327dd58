"""Kernels that measure themselves: where the clock is read, and that nothing else changes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.unit.loop.build import F64, N, element, kernel, loop

import gradc
from gradc.codegen.numba_cpu import module_text
from gradc.errors import VerifyError
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import Allocate, Clock, Kernel, Let, Statement, Store, Update, apply, number, var
from gradc.ir.loop.pieces import LONG, pieces
from gradc.ir.loop.show import show
from gradc.ir.loop.verify import verify
from gradc.ir.types import DType
from gradc.passes.loops.clocks import with_clocks
from gradc_runtime import numba_backend
from gradc_runtime.artifact import KernelArtifact
from gradc_runtime.clock import nanoseconds

Y = Allocate("y", F64, (var("n"),))
STORED = loop(Store("y", (var("i"),), apply("exp", element())))
SUMMED = loop(Update("s", "sum", element()))
ZERO = Let("s", number(0.0, F64))
BOTH = kernel(Y, STORED, ZERO, SUMMED, results=("s", "y"))


def compiled(found: Kernel) -> Callable[..., Any]:
    parameters = tuple((p.name, p.dtype.value, p.rank) for p in found.parameters)
    artifact = KernelArtifact(found.name, module_text(found), parameters, ())
    return numba_backend.compile_kernel(numba_backend.load(artifact))


# --- pieces -------------------------------------------------------------------------------------------------


def test_what_stands_before_a_loop_belongs_to_it():
    found = pieces(BOTH)
    assert [piece.kind for piece in found] == ["entry", "loop", "loop"]
    assert [piece.statements for piece in found] == [(N,), (Y, STORED), (ZERO, SUMMED)]


def test_numbers_after_the_last_loop_belong_to_it():
    twice: Statement = Let("t", apply("add", var("s", F64), var("s", F64)))
    found = pieces(kernel(ZERO, SUMMED, twice, results=("t",)))
    assert found[-1].statements == (ZERO, SUMMED, twice)


def test_long_scalar_runs_are_pieces_of_their_own():
    run = tuple(Let(f"v{at}", number(float(at), F64)) for at in range(LONG))
    found = pieces(kernel(*run, ZERO, SUMMED, *(Let(f"w{s.name}", s.value) for s in run), results=("s",)))
    assert [piece.kind for piece in found] == ["entry", "scalars", "loop", "scalars"]


def test_a_scalar_kernel_is_one_piece():
    (piece,) = pieces(kernel(Let("y", number(1.0, F64)), parameters=()))
    assert piece.kind == "scalars"


# --- the clock ----------------------------------------------------------------------------------------------


def test_text():
    found = with_clocks(BOTH)
    shown = show(verify(found)).splitlines()
    assert shown[0] == "kernel k_timed(x: f64[:]) -> s, y, times"
    assert [line.strip() for line in shown if "clock" in line] == [f"clock times[{at}]" for at in range(4)]
    assert shown[1].strip() == "allocate times: i64[4]"
    assert shown[-1].strip() == "clock times[3]"
    assert "times[0] = nanoseconds()" in module_text(found)
    assert "nanoseconds" not in module_text(BOTH)


def test_names_that_are_taken():
    found = verify(with_clocks(kernel(Let("times", number(1.0, F64)), results=("times",))))
    assert len(set(found.results)) == 2


def test_the_interpreter_counts_statements():
    total, squares, times = evaluate(with_clocks(BOTH), {"x": np.arange(3.0)})
    assert total == 3.0
    np.testing.assert_array_equal(squares, np.exp(np.arange(3.0)))
    assert list(np.diff(times)) == [0, 3, 3]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ((Clock("times", 0),), "times is not defined"),
        ((Clock("x", 0),), "x was not allocated"),
        ((Allocate("times", F64, (number(1),)), Clock("times", 0)), "times is f64, the element i64"),
        ((Allocate("times", DType.INT64, (number(1),) * 2), Clock("times", 0)), "2 axes and 1 indices"),
    ],
)
def test_what_is_no_clock(body: tuple[Statement, ...], what: str):
    with pytest.raises(VerifyError, match=f"clock .*{what}"):
        verify(kernel(ZERO, *body, results=("s",)))


def test_the_clock_does_not_go_backwards():
    assert nanoseconds() <= nanoseconds()
    *_, times = compiled(with_clocks(BOTH))(np.ones(1000))
    assert (np.diff(times) >= 0).all()
    assert times[-1] > times[0]


# --- the same numbers ---------------------------------------------------------------------------------------


def network(w, v, x):
    h = np.tanh(x @ w)
    return np.log(np.exp(h @ v).sum(axis=1)).mean()


def mixture(means, x):
    distances = np.square(x[:, None, :] - means).sum(axis=2)
    return np.log(np.exp(-distances).sum(axis=1)).sum()


def polynomial(x):
    for _ in range(LONG):
        x = np.sin(x) * 1.5
    return x


rng = np.random.default_rng(2)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (network, (rng.normal(size=(30, 20)), rng.normal(size=(20, 5)), rng.normal(size=(200, 30)))),
        (network, tuple(rng.normal(size=s).astype(np.float32) for s in ((30, 20), (20, 5), (200, 30)))),
        (mixture, (rng.normal(size=(7, 3)), rng.normal(size=(20_000, 3)))),
        (polynomial, (0.5,)),
    ],
    ids=["network", "network, float32", "mixture, in parts", "polynomial"],
)
def test_results_have_the_same_bits(function: Callable[..., Any], arguments: tuple[Any, ...]):
    at = gradc.differentiate(function).at(*arguments)
    value, gradient = at.kernel()(*arguments)
    wanted = [value, *(gradient if isinstance(gradient, tuple) else (gradient,))]
    *found, times = compiled(verify(with_clocks(at.inspect().stages.kernel)))(*arguments)
    for one, two in zip(found, wanted, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(two).tobytes()
    assert len(times) == len(pieces(at.inspect().stages.kernel)) + 1


def test_the_interpreter_agrees():
    at = gradc.differentiate(network).at(*(rng.normal(size=s) for s in ((3, 2), (2, 5), (4, 3))))
    inner = at.inspect().stages.kernel
    given = {
        p.name: rng.normal(size=s) for p, s in zip(inner.parameters, ((3, 2), (2, 5), (4, 3)), strict=True)
    }
    plain, timed = evaluate(inner, given), evaluate(with_clocks(inner), given)
    for one, two in zip(plain, timed, strict=False):
        np.testing.assert_array_equal(one, two)
