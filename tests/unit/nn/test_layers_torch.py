"""Layers and losses against PyTorch, value and gradient, where PyTorch is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.unit.nn.applied import apply, random_inputs

from gradc import differentiate, random
from gradc import nn as layers
from gradc.nn import losses

torch: Any = pytest.importorskip("torch")
functional: Any = torch.nn.functional


def tensor(array: np.ndarray) -> Any:
    return torch.tensor(array, requires_grad=array.dtype.kind == "f")


def agree(layer: Any, way: Any, *inputs: np.ndarray, rtol: float = 1e-10, **options: Any) -> Any:
    """Compare value, gradient of every parameter and of every input."""
    found = apply(layer, *inputs, check=False, **options)
    arrays = {name: tensor(array) for name, array in found.arrays.items()}
    given = [tensor(x) for x in inputs]
    value = way(arrays, *given)
    np.testing.assert_allclose(found.value, value.detach().numpy(), rtol=rtol, atol=1e-12)
    cotangent = np.random.default_rng(13).uniform(0.5, 1.5, found.value.shape)
    value.backward(torch.tensor(cotangent.astype(found.value.dtype)))
    for name, gradient in found.gradients[0].items():
        np.testing.assert_allclose(gradient, arrays[name].grad.numpy(), rtol=rtol, atol=1e-11, err_msg=name)
    for gradient, x in zip(found.gradients[1], (x for x in given if x.requires_grad), strict=True):
        np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=rtol, atol=1e-11)
    return found, arrays


CONVOLUTIONS = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)},
    {"groups": 2, "padding": "same"},
    {"groups": 4, "dilation": 2, "padding": "same"},
    {"kernel": (2, 3), "stride": 3, "groups": 2, "bias": False},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_convolutions_of_images(options):
    layer = layers.Conv2D(**{"channels": 4, "kernel": 3, **options})
    extra = {name: value for name, value in options.items() if name not in ("kernel", "bias")}
    agree(
        layer,
        lambda arrays, x: functional.conv2d(x, arrays["weight"], arrays.get("bias"), **extra),
        *random_inputs((4, 9, 8)),
    )


@pytest.mark.parametrize("options", [{}, {"stride": 3, "padding": 2, "groups": 2}, {"dilation": 3}], ids=str)
def test_convolutions_of_sequences(options):
    agree(
        layers.Conv1D(4, 3, **options),
        lambda arrays, x: functional.conv1d(x, arrays["weight"], arrays["bias"], **options),
        *random_inputs((2, 11)),
    )


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), ((2, 3), (1, 2), (1, 0))], ids=str
)
def test_pooling(size, stride, padding):
    x = random_inputs((2, 7, 6))
    agree(
        layers.MaxPool(size, stride, padding),
        lambda _, x: functional.max_pool2d(x, size, stride, padding),
        *x,
    )
    agree(
        layers.AvgPool(size, stride, padding),
        lambda _, x: functional.avg_pool2d(x, size, stride, padding, count_include_pad=False),
        *x,
    )


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (4, 3, 2)], ids=str)
def test_pooling_of_sequences(size, stride, padding):
    x = random_inputs((2, 11))
    agree(
        layers.MaxPool(size, stride, padding),
        lambda _, x: functional.max_pool1d(x, size, stride, padding),
        *x,
    )
    agree(
        layers.AvgPool(size, stride, padding),
        lambda _, x: functional.avg_pool1d(x, size, stride, padding, count_include_pad=False),
        *x,
    )


@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 3, 2)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalisation_and_its_running_averages(shape, training):
    def way(arrays, x):
        kept = arrays["mean"].detach(), arrays["variance"].detach()  # the same memory, updated in place
        return functional.batch_norm(x, *kept, arrays["gamma"], arrays["beta"], training, 0.1)

    found, arrays = agree(
        layers.BatchNorm(), way, *random_inputs(shape, batch=6), training=training, rtol=1e-8
    )
    for name, value in found.updated.items():
        np.testing.assert_allclose(value, arrays[name].detach().numpy(), rtol=1e-12)
    assert bool(found.updated) == training


@pytest.mark.parametrize("axes", [1, 2])
def test_layer_normalisation(axes):
    shape = (3, 4)[-axes:]
    agree(
        layers.LayerNorm(axes),
        lambda arrays, x: functional.layer_norm(x, shape, arrays["gamma"], arrays["beta"]),
        *random_inputs((3, 4)),
        rtol=1e-8,
    )


ACTIVATIONS = {
    layers.Sigmoid(): torch.sigmoid,
    layers.Tanh(): torch.tanh,
    layers.ReLU(): functional.relu,
    layers.LeakyReLU(0.1): lambda x: functional.leaky_relu(x, 0.1),
    layers.ELU(0.7): lambda x: functional.elu(x, 0.7),
    layers.SELU(): functional.selu,
    layers.GELU(): functional.gelu,
    layers.GELU(exact=False): lambda x: functional.gelu(x, approximate="tanh"),
    layers.SiLU(): functional.silu,
    layers.Softplus(): functional.softplus,
    layers.HardTanh(): functional.hardtanh,
    layers.Softmax(): lambda x: functional.softmax(x, -1),
}


@pytest.mark.parametrize(("layer", "way"), ACTIVATIONS.items(), ids=[str(layer) for layer in ACTIVATIONS])
def test_activations(layer, way):
    agree(layer, lambda _, x: way(x), *random_inputs((3, 5)), rtol=1e-9)
    with_zero = np.array([[0.0, 1.0, -2.0]])
    agree(layer, lambda _, x: way(x), with_zero, rtol=1e-9)


def test_prelu():
    agree(layers.PReLU(), lambda arrays, x: functional.prelu(x, arrays["slope"]), *random_inputs((4, 3, 2)))


@pytest.mark.parametrize(("heads", "causal"), [(1, False), (2, True), (4, False)])
def test_attention(heads, causal):
    def way(arrays, x):
        def part(name):
            y = x @ arrays[name] + arrays[f"{name}_bias"]
            return y.reshape(*x.shape[:2], heads, -1).transpose(1, 2)

        found = functional.scaled_dot_product_attention(
            *map(part, ("query", "key", "value")), is_causal=causal
        )
        return found.transpose(1, 2).reshape(x.shape) @ arrays["output"] + arrays["output_bias"]

    agree(layers.Attention(heads, causal=causal), way, *random_inputs((5, 4)))


@pytest.mark.parametrize("shape", [(4,), (3, 4)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_dense(shape, bias):
    agree(
        layers.Dense(5, bias),
        lambda arrays, x: functional.linear(x, arrays["weight"].T, arrays.get("bias")),
        *random_inputs(shape),
    )


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)], ids=str)
def test_embedding(shape):
    numbers = np.random.default_rng(5).integers(0, 6, (8, *shape))
    agree(layers.Embedding(6, 3), lambda arrays, x: functional.embedding(x, arrays["weight"]), numbers)


def test_dropout():
    numbers = random.uniform(7, (3, 5, 4))
    mask = torch.tensor(numbers < 0.7)
    x = random_inputs((5, 4))
    agree(layers.Dropout(0.3), lambda _, x: mask * x / 0.7, *x, uniform=numbers)
    agree(
        layers.Dropout(0.3),
        lambda _, x: functional.dropout(x, 0.3, training=False),
        *x,
        uniform=numbers,
        training=False,
    )


@pytest.mark.parametrize(("axis", "shape"), [(0, (6,)), (0, (6, 3, 2)), (-1, (3, 6))], ids=str)
def test_maxout(axis, shape):
    at = axis % len(shape) + 1
    agree(layers.Maxout(3, axis), lambda _, x: x.unflatten(at, (2, 3)).amax(at + 1), *random_inputs(shape))


SHAPES = [
    (layers.GlobalAvgPool(), lambda x: functional.adaptive_avg_pool2d(x, 1).flatten(1), [(3, 4, 5)]),
    (layers.GlobalAvgPool(), lambda x: functional.adaptive_avg_pool1d(x, 1).flatten(1), [(3, 4)]),
    (layers.Flatten(), lambda x: torch.flatten(x, 1), [(3, 4, 5)]),
    (layers.Reshape((2, -1, 3)), lambda x: torch.unflatten(x, 1, (2, -1, 3)), [(12,)]),
    (layers.Concatenate(), lambda *x: torch.cat(x, 1), [(2, 3), (4, 3)]),
    (layers.Concatenate(-1), lambda *x: torch.cat(x, 2), [(2, 3), (2, 1), (2, 4)]),
    (layers.Add(), lambda x, y: torch.add(x, y), [(2, 3), (2, 3)]),
    (layers.Function(lambda x: np.sin(x) * x), lambda x: torch.sin(x) * x, [(4, 2)]),
]


@pytest.mark.parametrize(("layer", "way", "shapes"), SHAPES, ids=[type(row[0]).__name__ for row in SHAPES])
def test_layers_that_learn_nothing(layer, way, shapes):
    agree(layer, lambda _, *x: way(*x), *random_inputs(*shapes))


def test_an_equation_is_a_bilinear_layer():
    agree(
        layers.Equation("z[n,o] = sum[i,j] w[o,i,j] * x[n,i] * y[n,j]", {"w": (3, 4, 2)}),
        lambda arrays, x, y: functional.bilinear(x, y, arrays["w"]),
        *random_inputs((4,), (2,)),
    )


# --- losses -------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(31)
SCORES, OTHER = RNG.normal(size=(6, 4)) * 2, RNG.normal(size=(6, 4))
LABELS, SOFT = RNG.integers(0, 4, 6), RNG.dirichlet(np.ones(4), 6)
BITS = RNG.integers(0, 2, (6, 4)).astype(float)
PROBABILITIES = RNG.dirichlet(np.ones(4), 6)

LOSSES = [
    (losses.SoftmaxCrossEntropy(), LABELS, functional.cross_entropy),
    (
        losses.SoftmaxCrossEntropy(0.1),
        LABELS,
        lambda s, y: functional.cross_entropy(s, y, label_smoothing=0.1),
    ),
    (losses.SoftmaxCrossEntropy(soft=True), SOFT, functional.cross_entropy),
    (
        losses.SoftmaxCrossEntropy(0.1, soft=True),
        SOFT,
        lambda s, t: functional.cross_entropy(s, t, label_smoothing=0.1),
    ),
    (losses.Hinge(), LABELS, lambda s, y: 4 * functional.multi_margin_loss(s, y)),
    (losses.Hinge(0.5, squared=True), LABELS, lambda s, y: 4 * functional.multi_margin_loss(s, y, 2, 0.5)),
    (losses.Perceptron(), LABELS, lambda s, y: (s.amax(-1) - s.gather(-1, y[:, None])[:, 0]).mean()),
    (losses.Perceptron(binary=True), BITS, lambda s, t: functional.relu(s * (1 - 2 * t)).mean()),
    (losses.Logistic(), BITS, functional.binary_cross_entropy_with_logits),
    (
        losses.Logistic(0.2),
        BITS,
        lambda s, t: functional.binary_cross_entropy_with_logits(s, 0.8 * t + 0.1),
    ),
    (
        losses.Divergence(),
        SOFT,
        lambda s, t: functional.kl_div(functional.log_softmax(s, -1), t, reduction="batchmean"),
    ),
    (
        losses.Divergence(scores=False),
        SOFT,
        lambda s, t: functional.kl_div(s.log(), t, reduction="batchmean"),
    ),
    (losses.SquaredError(), OTHER, functional.mse_loss),
    (losses.AbsoluteError(), OTHER, functional.l1_loss),
    (losses.Huber(0.7), OTHER, lambda s, t: functional.huber_loss(s, t, delta=0.7)),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("loss", "target", "way"), LOSSES, ids=[str(row[0]) for row in LOSSES])
def test_losses(loss, target, way, dtype):
    given_probabilities = loss == losses.Divergence(scores=False)
    scores = (PROBABILITIES if given_probabilities else SCORES).astype(dtype)
    target = target if target.dtype.kind == "i" else target.astype(dtype)
    run = differentiate(lambda s, t: loss(s, t), wrt="s", target="interpret")
    value, gradient = run.value_and_grad(scores, target)
    given = tensor(scores)
    expected = way(given, torch.tensor(target))
    expected.backward()
    rtol = 1e-11 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(value, expected.item(), rtol=rtol)
    np.testing.assert_allclose(gradient, given.grad.numpy(), rtol=100 * rtol, atol=rtol / 10)


@pytest.mark.parametrize("mask", [False, True])
def test_weights_of_examples(mask):
    weights = np.random.default_rng(8).uniform(size=6)
    weights = (weights > 0.5).astype(float) if mask else weights
    loss = losses.SoftmaxCrossEntropy()
    run = differentiate(lambda s, y, w: loss(s, y, w), wrt="s", target="interpret")
    value, gradient = run.value_and_grad(SCORES, LABELS, weights)
    given, shares = tensor(SCORES), torch.tensor(weights / weights.sum())
    expected = functional.cross_entropy(given, torch.tensor(LABELS), reduction="none") @ shares
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient, given.grad.numpy(), rtol=1e-10, atol=1e-14)
