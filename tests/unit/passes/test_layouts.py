"""Images between convolutions are stored with their channels last; everything else as it was."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Assemble, Program
from gradc.ir.index.show import show_equation
from gradc.ir.index.verify import verify
from gradc.passes.equations.gather import gather
from gradc.passes.equations.layouts import channels_last
from gradc.passes.equations.markers import without_markers
from gradc.passes.equations.simplify import simplify
from gradc.pipeline import own_outputs

CONVOLUTION = gradc.equation("y[n,o,p,q] = sum[c,i,j] k[o,c,i,j] * x[n,c,p+i,q+j]")
POOLING = gradc.equation("y[n,c,p,q] = max[i,j] x[n,c,2*p+i,2*q+j] with i < 2, j < 2")
STRIDED = gradc.equation("y[n,o,p] = sum[c,i] k[o,c,i] * x[n,c,2*p+i]")
RNG = np.random.default_rng(0)
K, K2, B, X = (RNG.standard_normal(shape) for shape in ((3, 2, 3, 3), (4, 3, 2, 2), (3,), (5, 2, 8, 9)))
W, V, S = RNG.standard_normal((3, 2, 3)), RNG.standard_normal((2, 3, 2)), RNG.standard_normal((4, 2, 21))


def layer(k: Any, b: Any, x: Any) -> Any:
    return np.maximum(CONVOLUTION(k, x) + b[:, None, None], 0)


def two_layers(k: Any, b: Any, k2: Any, x: Any) -> Any:
    edge = ((0, 0), (0, 0), (1, 1), (0, 0))
    h = np.pad(POOLING(layer(k, b, x)), edge)
    return np.tanh(CONVOLUTION(k2, h).reshape(len(x), -1)).sum()


def strided(w: Any, v: Any, x: Any) -> Any:
    return np.square(STRIDED(v, np.sin(STRIDED(w, x)))).sum()


def programs(function: Callable[..., Any], *arguments: np.ndarray, of: str = "value_and_grad") -> Program:
    """The program of a function, as the pass meets it."""
    stages = gradc.differentiate(function).at(*arguments).inspect(of).stages
    return simplify(own_outputs(gather(without_markers(stages.adjoint))))


def shape_of(program: Program, name: str) -> list[str]:
    return list(map(str, program.types[name].shape))


def equations(program: Program) -> list[str]:
    return [show_equation(equation) for equation in program.equations]


CASES: dict[str, tuple[Callable[..., Any], Sequence[np.ndarray]]] = {
    "one layer": (lambda k, b, x: np.square(layer(k, b, x)).sum(), (K, B, X)),
    "two layers, pooling, padding": (two_layers, (K, B, K2, X)),
    "strides, one axis": (strided, (W, V, S)),
}


@pytest.mark.parametrize("of", ["value", "value_and_grad"])
@pytest.mark.parametrize("name", CASES)
def test_values_stay(name: str, of: str):
    function, arguments = CASES[name]
    before = programs(function, *arguments, of=of)
    found = verify(channels_last(before))
    assert found != before
    inputs = dict(zip(before.inputs, arguments, strict=True))
    for mine, theirs in zip(evaluate(found, inputs), evaluate(before, inputs), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-13)


def test_channels_go_behind_the_pixels_and_the_batch_stays_first():
    before = programs(two_layers, K, B, K2, X)
    found = channels_last(before)
    images = [name for name in before.types if len(before.types[name].shape) == 4 and name in found.types]
    moved = {name for name in images if shape_of(found, name) != shape_of(before, name)}
    assert moved
    for name in moved:
        n, c, h, w = shape_of(before, name)
        assert shape_of(found, name) == [n, h, w, c]
    weights = {"k", "k2", *before.outputs[1:4]}
    assert not moved & weights
    assert {name for name in found.types if name.endswith("_last")}.isdisjoint(
        f"{name}_last" for name in weights
    )
    assert [shape_of(found, name) for name in weights] == [shape_of(before, name) for name in weights]


def test_windows_stay_behind_their_pixels():
    found = channels_last(programs(two_layers, K, B, K2, X))
    (window,) = (e for e in equations(found) if " == " in e and e.count(",") >= 5)
    left = window.split(" = ")[0]
    assert left.endswith("[i, j, k, l, p, q]")
    assert "[i, 2*j + l, 2*k + p, q]" in window
    assert any("[i, 2*j + l, 2*k + p, q] += " in text for text in equations(found))


def test_sums_over_windows_run_along_channels_last():
    found = equations(channels_last(programs(CASES["one layer"][0], K, B, X)))
    assert "y_2[i, j, k, l] = sum[p, q, r] k[l, r, p, q] * x_last[i, j + p, k + q, r]" in [
        text.replace("y[", "y_2[", 1) if text.startswith("y[") else text for text in found
    ]


def test_paddings_are_along_the_axis_where_it_is_now():
    before, found = (p(programs(two_layers, K, B, K2, X)) for p in (lambda p: p, channels_last))
    axes = [[e.axis for e in p.equations if isinstance(e, Assemble)] for p in (before, found)]
    assert 2 in axes[0]
    assert axes[1] == [axis - 1 for axis in axes[0]]


def test_gradients_of_weights_have_channels_last_and_what_they_go_into_keeps_its_order():
    depthwise = gradc.equation("y[n,c,p,q] = sum[i,j] k[c,i,j] * x[n,c,p+i,q+j]")

    def descended(k: Any, x: Any) -> Any:
        slope = gradc.differentiate(lambda k: np.square(depthwise(k, np.sin(x))).sum()).grad(k)
        return k - 0.1 * slope

    before = programs(descended, K[:2, 0], X, of="value")
    found = verify(channels_last(before))
    (text,) = (text for text in equations(found) if "sum[l, p, q]" in text)
    gradient = text.split("[")[0]
    channels, *offsets = shape_of(before, gradient)
    assert shape_of(found, gradient) == [*offsets, channels]
    assert not [name for name in found.types if name.startswith("k_") and name.endswith("_last")]
    assert f"{gradient}[j, k, i]" in "".join(equations(found))
    inputs = {"k": K[:2, 0], "x": X}
    for mine, theirs in zip(evaluate(found, inputs), evaluate(before, inputs), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-13)


def test_a_result_that_is_a_part_of_another_one():
    def both(k: Any, x: Any) -> Any:
        h = CONVOLUTION(k, np.sin(x))
        copied = h.swapaxes(2, 3)
        return copied, np.concatenate((copied, np.tanh(copied)), axis=1)

    before = programs(both, K, X, of="value")
    found = verify(channels_last(before))
    for mine, theirs in zip(
        evaluate(found, {"k": K, "x": X}), evaluate(before, {"k": K, "x": X}), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lambda k, x: CONVOLUTION(k, x), (K, X)),  # between an argument and a result: copies would be all
        (lambda a, b: np.sum(np.tanh(a @ b)), (X[0, 0], X[0, 0].T)),
        (lambda x: np.sum(np.sin(x[:, :, 1:] * x[:, :, :-1])), (X,)),
        (lambda x: np.sum(np.exp(POOLING(x * x))), (X,)),  # nothing tells channels
    ],
    ids=["alone", "matrices", "slices", "pooling"],
)
def test_other_programs_stay(function: Callable[..., Any], arguments: Sequence[np.ndarray]):
    before = programs(function, *arguments, of="value")
    assert channels_last(before) is before


@pytest.mark.parametrize("name", CASES)
def test_kernels_are_right(name: str):
    function, arguments = CASES[name]
    gradc.differentiate(function).check(*arguments).assert_ok()
