"""Operations and elements counted in closed form are those that an interpreter counts while it runs the kernel."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tests.properties.counting import counted, parts_of, without_library
from tests.properties.random_programs import Case, cases

import gradc
from gradc.ir.extents import evaluate
from gradc.ir.loop.count import count
from gradc.ir.loop.footprint import footprint
from gradc.ir.loop.nodes import Contract, For, Kernel
from gradc.ir.loop.pieces import pieces
from gradc.ir.loop.sizes import numbers_of, types_of
from gradc.ir.loop.strip import strip_of
from gradc.ir.loop.walk import every
from gradc.passes.loops import join
from gradc.pipeline import Derivation, Options, compile_program


def check(kernel: Kernel, inputs: Mapping[str, Any], *, exact: bool) -> None:
    """Compare piece by piece; unless `exact`, what depends on data is at least what happened."""
    types, numbers = types_of(kernel), numbers_of(kernel, inputs, parts_of)
    for piece, machine in counted(kernel, inputs):
        found = without_library(count(piece.statements, types).at(numbers))
        assert found == dict(machine.calls), piece.notes
        touched = footprint(piece.statements, types, numbers)
        sets = {
            "read": {one for one in machine.read if one[0] not in machine.own},
            "written": machine.written_now,
            "touched": machine.read | machine.written_now,
        }
        for what, elements in sets.items():
            names = [name for name, _ in elements]
            actual = {name: names.count(name) for name in dict.fromkeys(names)}
            closed = {name: many for name, many in getattr(touched, what).items() if many}
            if exact:
                assert closed == actual, (what, piece.notes)
            else:
                assert all(closed.get(name, 0) >= many for name, many in actual.items()), (what, piece.notes)
                shapes = {name: types[name].shape for name in closed}
                assert all(many <= size(shapes[name], numbers) for name, many in closed.items())


def size(shape: tuple, numbers: Mapping[str, int]) -> int:
    return int(np.prod([evaluate(extent, numbers) for extent in shape]))


@settings(max_examples=60, suppress_health_check=(HealthCheck.too_slow,))
@given(cases())
def test_random_programs(case: Case):
    stages = compile_program(case.program, Derivation("value"), Options())
    looked_up = any("index" in name for name in case.inputs)
    check(stages.kernel, case.inputs, exact=not looked_up and not has_strips(stages.kernel))


def has_strips(kernel: Kernel) -> bool:
    """Whether a loop is in strips: then of the arrays of lanes more elements may count than are touched."""
    return any(isinstance(s, For) and strip_of(s) is not None for s in every(kernel.body))


def dot(x, y):
    return x @ y


def chain(x, y):
    return (np.tanh(x * y) + np.exp(-x)).sum()


def layer(w, x):
    return np.square(np.tanh(x @ w)).mean(axis=0).sum()


def softmax(x):
    return np.log(np.exp(x).sum(axis=1)).sum()


def largest(x):
    return x.max(axis=0).sum() / np.sqrt(x.shape[0])


def shifted(x):
    return (x[1:] * x[:-1]).sum() + x[::2].sum()


def diagonal(x):
    return np.exp(np.trace(x)) + (np.triu(x) @ x).sum()


def choices(x):
    return np.where(x > 0, np.sqrt(x * x + 1), x / 3).sum()


def scalars(x, y):
    return np.sin(x * y) / y + x**3


def small(x):
    """A loop over rows of three, which is unrolled."""
    return np.sqrt((x * x).sum(axis=1)).sum()


def mixture(x, w):
    """A loop over points around loops of unknown and of short lengths, in strips."""
    near = np.exp(-np.square(x[:, None, :3] - w[:, :3]).sum(axis=2))
    return np.log(near.sum(axis=1)).sum()


convolution = gradc.equation("y[n,o,p,q] = sum[c,i,j] w[o,c,i,j] * x[n,c,p+i,q+j]")


def energy(w, x):
    return np.square(convolution(w=w, x=x)).sum()


def attention(q, k, v):
    """Contractions of a batch in a loop, in blocks of rows."""
    scores = q @ k.swapaxes(-1, -2)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.square((powers / powers.sum(axis=-1, keepdims=True)) @ v).sum()


def causal(q, k, v):
    """Blocks of rows that end where the mask does."""
    scores = q @ k.swapaxes(-1, -2)
    scores = np.where(np.tril(np.ones((q.shape[-2], q.shape[-2]), bool)), scores, -np.inf)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.square((powers / powers.sum(axis=-1, keepdims=True)) @ v).sum()


def gram(x, v):
    """No batch: blocks of rows of a matrix that grows with their square."""
    return np.square(np.exp(x @ x.T) @ v).sum()


rng = np.random.default_rng(5)
PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "dot": (dot, (rng.normal(size=7), rng.normal(size=7))),
    "chain": (chain, (rng.normal(size=(3, 5)), rng.normal(size=5))),
    "chain, float32": (
        chain,
        (rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)),
    ),
    "layer": (layer, (rng.normal(size=(4, 3)), rng.normal(size=(5, 4)))),
    "softmax": (softmax, (rng.normal(size=(4, 6)).astype(np.float32),)),
    "largest": (largest, (rng.normal(size=(4, 6)),)),
    "shifted": (shifted, (rng.normal(size=9),)),
    "diagonal": (diagonal, (rng.normal(size=(4, 4)),)),
    "choices": (choices, (rng.normal(size=11),)),
    "scalars": (scalars, (1.5, 0.5)),
    "small": (small, (rng.normal(size=(5, 3)),)),
    "mixture": (mixture, (rng.normal(size=(71, 3)), rng.normal(size=(4, 3)))),
    "energy": (energy, (rng.normal(size=(2, 3, 2, 2)), rng.normal(size=(2, 3, 5, 4)))),
}


@pytest.mark.parametrize("of", ["value", "value_and_grad"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_functions_and_their_gradients(name: str, of: str):
    function, arguments = PROGRAMS[name]
    at = gradc.differentiate(function).at(*arguments)
    kernel = at.inspect(of).stages.kernel
    given = dict(zip([p.name for p in kernel.parameters], arguments, strict=True))
    check(kernel, given, exact=not has_strips(kernel))
    assert has_strips(kernel) == (name in ("mixture", "energy"))
    assert [s for piece in pieces(kernel) for s in piece.statements] == list(kernel.body)


@pytest.mark.parametrize("of", ["value", "value_and_grad"])
@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (attention, [(2, 3, 7, 9)] * 3),
        (attention, [(2, 1, 7, 9)] * 3),
        (gram, [(7, 12), (7, 3)]),
        (causal, [(2, 3, 7, 9)] * 3),
        (causal, [(7, 9)] * 3),
    ],
    ids=["heads", "one head", "no batch", "masked", "masked, no batch"],
)
def test_blocks_of_rows(
    function: Callable[..., Any], shapes: list[tuple[int, ...]], of: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(join, "BLOCK_ROWS", 3)
    monkeypatch.setattr(join, "BLOCK_BYTES", 1)
    arguments = tuple(0.1 * rng.normal(size=shape) for shape in shapes)
    kernel = gradc.differentiate(function).at(*arguments).inspect(of).stages.kernel
    assert any(isinstance(s, Contract) and s.views[0] == () and s.views[1] for s in every(kernel.body))
    assert has_strips(kernel)
    check(kernel, dict(zip([p.name for p in kernel.parameters], arguments, strict=True)), exact=False)
