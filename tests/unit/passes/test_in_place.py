"""Results that take the place of arguments: the same numbers, and at once where nothing reads the argument any more."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from tests.properties.pipeline import plain_function

import gradc
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    Allocate,
    Contract,
    Extent,
    For,
    Kernel,
    Parameter,
    Store,
    apply,
    load,
    number,
    var,
)
from gradc.ir.loop.show import show
from gradc.ir.loop.verify import verify
from gradc.ir.loop.walk import every
from gradc.ir.types import DType
from gradc.passes.loops.in_place import in_place

rng = np.random.default_rng(3)
loss = gradc.differentiate(lambda w, x: np.square(np.tanh(x @ w)).sum(), wrt="w")


def descent(w, x):
    value, gradient = loss.value_and_grad(w, x)
    return value, w - 0.1 * gradient


def momentum(w, v, x):
    value, gradient = loss.value_and_grad(w, x)
    v = 0.9 * v - 0.1 * gradient
    return value, w + v, v


def reversed_content(w):
    return w.sum(), w[::-1] * 1.0


def transposed_content(w):
    return w.sum(), w.T * 2.0


def read_afterwards(w, x):
    new = w * 2.0
    return (np.outer(x, new) * np.outer(x, w)).sum(), new


def exchanged(w, v):
    return w.sum(), v * 1.0, w * 1.0


def shifted(w):
    return w.sum(), np.concatenate([w[1:], w[:1]])


def smoothed(w):
    return w.sum(), w - 0.5 * (w - w.mean())


def kept(w, x):
    return (w * x).sum(), w


def looked_up_later(w, x, t):
    new = w + 1.0
    return new.sum() + x[t].sum(), new


def outer_product(w, x, y):
    return w.sum(), w + np.outer(x, y)


def column_sums(w, x):
    return w.sum(), w + x.sum(axis=0)


VECTOR, OTHER, MATRIX = rng.normal(size=5), rng.normal(size=5), rng.normal(size=(7, 5))
SQUARE, INDICES = rng.normal(size=(5, 5)), np.array([0, -1, 3])
# Function, arguments, the arguments that are updated, and of them those that are written at once.
CASES: dict[Callable[..., Any], tuple[tuple[Any, ...], tuple[str, ...], tuple[str, ...]]] = {
    descent: ((VECTOR, MATRIX), ("w",), ("w",)),
    momentum: ((VECTOR, OTHER, MATRIX), ("w", "v"), ("w", "v")),
    reversed_content: ((VECTOR,), ("w",), ()),
    transposed_content: ((SQUARE,), ("w",), ()),
    read_afterwards: ((VECTOR, OTHER), ("w",), ()),
    exchanged: ((VECTOR, OTHER), ("w", "v"), ("w",)),
    shifted: ((VECTOR,), ("w",), ()),
    smoothed: ((VECTOR,), ("w",), ("w",)),
    kept: ((VECTOR, OTHER), ("w",), ("w",)),
    looked_up_later: ((VECTOR, OTHER, INDICES), ("w",), ()),
    outer_product: ((SQUARE, VECTOR, OTHER), ("w",), ("w",)),
    column_sums: ((VECTOR, MATRIX), ("w",), ("w",)),
}
NAMES = pytest.mark.parametrize("function", CASES, ids=lambda function: function.__name__)


def compiled(function: Callable[..., Any]) -> tuple[Kernel, dict[str, str], dict[str, np.ndarray]]:
    """The kernel of a function's value, what updates what, and the arguments."""
    arguments, updates, _ = CASES[function]
    stages = gradc.differentiate(function).at(*arguments).inspect("value").stages
    inputs = dict(zip(stages.program.inputs, arguments, strict=True))
    results = stages.optimised.outputs[-len(updates) :]
    return stages.kernel, dict(zip(results, updates, strict=True)), inputs


def copies(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in inputs.items()}


def interpreted(kernel: Kernel, given: Mapping[str, np.ndarray]) -> tuple:
    return evaluate(kernel, given)


def printed(kernel: Kernel, given: Mapping[str, np.ndarray]) -> tuple:
    return plain_function(kernel)(*given.values())


@NAMES
@pytest.mark.parametrize("run", [interpreted, printed])
def test_arguments_become_the_results(function: Callable[..., Any], run: Callable[..., tuple]):
    kernel, updates, inputs = compiled(function)
    expected = dict(zip(kernel.results, run(kernel, inputs), strict=True))
    changed = verify(in_place(kernel, updates))
    given = copies(inputs)
    for name, value in zip(changed.results, run(changed, given), strict=True):
        np.testing.assert_array_equal(value, expected[name])
    for result, name in updates.items():
        np.testing.assert_array_equal(given[name], expected[result])
    for name in set(given) - set(updates.values()):
        np.testing.assert_array_equal(given[name], inputs[name])


@NAMES
def test_results_are_written_at_once_where_that_is_possible(function: Callable[..., Any]):
    kernel, updates, _ = compiled(function)
    changed = in_place(kernel, updates)
    made = {statement.tensor for statement in every(changed.body) if isinstance(statement, Allocate)}
    assert {name for result, name in updates.items() if result not in made} == set(CASES[function][2])


@NAMES
def test_the_kernel_says_what_it_updates(function: Callable[..., Any]):
    kernel, updates, _ = compiled(function)
    changed = in_place(kernel, updates)
    at_once = CASES[function][2]
    at_the_end = [name for name in updates.values() if name not in at_once]
    header = "\n".join(changed.header)
    assert ("Updated where they are, and sharing memory" in header) == bool(at_once)
    assert ("Updated at the end" in header) == bool(at_the_end)
    assert all(f"inout {name}: " in show(changed) for name in updates.values())


def test_of_many_arguments_the_kernel_names_a_few():
    def many(*weights: Any) -> Any:
        return weights[0].sum(), *(w * 2.0 for w in weights)

    given = [np.ones(at + 2) for at in range(6)]
    function = gradc.differentiate(lambda a, b, c, d, e, f: many(a, b, c, d, e, f))
    stages = function.at(*given).inspect("value").stages
    changed = in_place(stages.kernel, dict(zip(stages.optimised.outputs[1:], "abcdef", strict=True)))
    assert "sharing memory with nothing else: a, b, c, d and 2 more." in "\n".join(changed.header)


# --- kernels made by hand: each keeps its result apart for one reason ---------------------------------------

F64 = DType.F64
N, I, J = var("n"), var("i"), var("j")  # noqa: E741
SIZE = Extent("n", load("w.shape", (number(0),), DType.INT64))
TWICE = apply("add", load("w", (I,), F64), load("w", (I,), F64))
MAKE = Allocate("y", F64, (N,))
HALF = apply("sub", N, number(1))
PARAMETERS = (Parameter("w", F64, 1), Parameter("a", F64, 2))
INTO_Z = Store("z", (I,), load("w", (I,), F64))


def by_hand(*body: Any, results: tuple[str, ...] = ("y",)) -> Kernel:
    return verify(Kernel("k", PARAMETERS, (SIZE, MAKE, *body), results))


def of_matrices(*body: Any) -> Kernel:
    """A kernel in which ``w``, ``y`` and ``z`` are square matrices."""
    made = [Allocate(name, F64, (N, N)) for name in "yz"]
    parameters = (Parameter("w", F64, 2), Parameter("a", F64, 2))
    return verify(Kernel("k", parameters, (SIZE, *made, *body), ("y", "z")))


HERE = (I, J)
PRODUCT = Contract("z", "i j", "a", "i k", "w", "k j", (N, N, N), False)
DOUBLED = Store("y", HERE, apply("add", load("w", HERE, F64), load("w", HERE, F64)))

APART: dict[str, Kernel] = {
    "it is read behind the store": by_hand(
        Allocate("z", F64, (N,)), For("i", N, (Store("y", (I,), TWICE), INTO_Z)), results=("y", "z")
    ),
    "every round of an outer loop reads it": by_hand(
        For("j", N, (For("i", N, (Store("y", (I,), apply("add", TWICE, load("a", (J, I), F64))),)),))
    ),
    "it is written twice in the loop": by_hand(
        For("i", N, (Store("y", (I,), TWICE), Store("y", (I,), apply("add", load("y", (I,), F64), TWICE))))
    ),
    "it is written by two loops": by_hand(
        For("i", N, (Store("y", (I,), TWICE),)), For("i", N, (Store("y", (I,), TWICE),))
    ),
    "a contraction in the loop reads all of it": of_matrices(
        For("i", N, (PRODUCT, For("j", N, (DOUBLED,)))),
    ),
    "a contraction behind the loop reads all of it": of_matrices(
        For("i", N, (For("j", N, (DOUBLED,)),)), PRODUCT
    ),
    "two loops count one axis": by_hand(
        For(
            "i",
            N,
            (
                For(
                    "j",
                    number(1),
                    (Store("y", (apply("add", I, J),), load("w", (apply("add", I, J),), F64)),),
                ),
            ),
        )
    ),
    "a loop counts an axis twice as fast": verify(
        Kernel(
            "k",
            PARAMETERS,
            (
                SIZE,
                Allocate("y", F64, (N,), zeroed=True),
                For(
                    "i",
                    apply("sub", N, HALF),
                    (Store("y", (apply("mul", I, I),), load("w", (apply("mul", I, I),), F64)),),
                ),
            ),
            ("y",),
        )
    ),
}


@pytest.mark.parametrize("name", APART)
def test_a_result_stays_apart_where(name: str):
    kernel = APART[name]
    changed = verify(in_place(kernel, {"y": "w"}))
    assert any(isinstance(s, Allocate) and s.tensor == "y" for s in every(changed.body))
    inputs = {"w": VECTOR if kernel.parameters[0].rank == 1 else SQUARE + 1, "a": SQUARE}
    expected = dict(zip(kernel.results, evaluate(kernel, copies(inputs)), strict=True))
    given = copies(inputs)
    left = dict(zip(changed.results, evaluate(changed, given), strict=True))
    np.testing.assert_array_equal(given["w"], expected["y"])
    assert all((left[other] == expected[other]).all() for other in left)


@pytest.mark.parametrize("threads", [1, 3])
def test_compiled_steps_give_what_the_function_gives(threads: int):
    w, v, x = rng.normal(size=(40, 30)), np.zeros((40, 30)), rng.normal(size=(60, 40))
    function = gradc.differentiate(momentum)
    mine, moved = w.copy(), v.copy()
    with gradc.num_threads(threads):
        step = function.bind_update(mine, moved, x, updates=("w", "v"))
        for _ in range(3):
            value, w, v = function(w, v, x)
            assert step() == pytest.approx(value, rel=1e-12)  # another kernel may sum in another order
            np.testing.assert_allclose(mine, w, rtol=1e-11, atol=1e-14)
            np.testing.assert_allclose(moved, v, rtol=1e-11, atol=1e-14)
