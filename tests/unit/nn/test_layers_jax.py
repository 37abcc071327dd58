"""Layers and losses against JAX in float64, value and gradients, where JAX is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import pytest
from tests.unit.nn.applied import apply, random_inputs

from gradc import differentiate, nn, random

jax: Any = pytest.importorskip("jax")
jnp, lax = jax.numpy, jax.lax

RTOL = 1e-12  # of a number; and a tenth of it of the largest, for what cancels


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def close(found: Any, wanted: Any) -> None:
    """Compare arrays by name to rounding; where one of them is 0 in exact arithmetic, others say what rounding is."""
    found, wanted = ({name: np.asarray(x) for name, x in each.items()} for each in (found, wanted))
    assert found.keys() == wanted.keys()
    largest = max(float(abs(array).max(initial=0)) for array in wanted.values())
    for name, array in wanted.items():
        assert array.dtype == np.float64
        assert array.shape == found[name].shape
        np.testing.assert_allclose(found[name], array, rtol=RTOL, atol=0.1 * RTOL * largest, err_msg=name)


def numbered(arrays: Sequence[Any]) -> dict[str, Any]:
    return {f"input {at}": array for at, array in enumerate(arrays)}


def agree(layer: nn.Layer, way: Callable[..., Any], *inputs: np.ndarray, **options: Any) -> Any:
    """Compare value, gradient of every parameter and of every input; `way` takes a dict of arrays and the inputs."""
    found = apply(layer, *inputs, check=False, **options)
    learned = {name: jnp.asarray(found.arrays[name]) for name in found.gradients[0]}
    floats = [jnp.asarray(x) for x in inputs if x.dtype.kind == "f"]
    rest = [x for x in inputs if x.dtype.kind != "f"]

    def value_of(learned: Any, floats: Any) -> Any:
        return way({**found.arrays, **learned}, *floats, *rest)

    value, pullback = jax.vjp(value_of, learned, floats)
    close({"value": found.value}, {"value": value})
    by_parameter, by_input = pullback(np.random.default_rng(13).uniform(0.5, 1.5, found.value.shape))
    close(found.gradients[0] | numbered(found.gradients[1]), by_parameter | numbered(by_input))
    return found


@dataclass(frozen=True)
class Case:
    """A layer, the same in JAX, and the shapes of its inputs without the batch."""

    layer: nn.Layer
    way: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        held = [(field.name, getattr(self.layer, field.name), field.default) for field in fields(self.layer)]
        given = [f"{name}={value!r}" for name, value, usual in held if value != usual and not callable(value)]
        return f"{type(self.layer).__name__}({', '.join(given)}) of {list(self.shapes)}"


def cases(layer: nn.Layer, way: Callable[..., Any], *shapes: tuple[int, ...]) -> list[Case]:
    """Return a case for each shape of the one input."""
    return [Case(layer, way, (shape,)) for shape in shapes]


# --- windows ------------------------------------------------------------------------------------------------


def padding_of(padding: Any, axes: int) -> Any:
    """Return padding as JAX has it: a name, or (before, after) for each axis."""
    if isinstance(padding, str):
        return padding.upper()
    each = (padding,) * axes if isinstance(padding, int) else padding
    return [item if isinstance(item, tuple) else (item, item) for item in each]


def per_axis(value: Any, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def convolved(layer: nn.Conv1D | nn.Conv2D, p: Any, x: Any) -> Any:
    axes = layer.axes
    letters = "HW"[:axes]
    y = lax.conv_general_dilated(
        x,
        p["weight"],
        per_axis(layer.stride, axes),
        padding_of(layer.padding, axes),
        rhs_dilation=per_axis(layer.dilation, axes),
        dimension_numbers=(f"NC{letters}", f"OI{letters}", f"NC{letters}"),
        feature_group_count=layer.groups,
    )
    return y + p["bias"].reshape(-1, *(1,) * axes) if layer.bias else y


def reduced(layer: nn.MaxPool | nn.AvgPool, first: float, operation: Any, x: Any) -> Any:
    axes = x.ndim - 2
    size = (1, 1, *per_axis(layer.size, axes))
    stride = size if layer.stride is None else (1, 1, *per_axis(layer.stride, axes))
    padding = padding_of(layer.padding, axes)
    padding = padding if isinstance(padding, str) else [(0, 0), (0, 0), *padding]
    return lax.reduce_window(x, first, operation, size, stride, padding)


def averaged(layer: nn.AvgPool, p: Any, x: Any) -> Any:
    return reduced(layer, 0.0, lax.add, x) / reduced(layer, 0.0, lax.add, jnp.ones_like(x))


CONVOLUTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"kernel": 1},
    {"kernel": (2, 5)},
    {"stride": 2},
    {"stride": (3, 1), "padding": 1},
    {"padding": (0, 2)},
    {"padding": ((2, 0), (1, 3)), "stride": 2},
    {"padding": "same"},
    {"padding": "same", "stride": 2},
    {"padding": "same", "stride": (2, 3), "kernel": (4, 3)},
    {"padding": "same", "dilation": 2},
    {"dilation": (1, 3)},
    {"dilation": 2, "stride": 2, "padding": 3},
    {"groups": 2},
    {"groups": 4},
    {"groups": 2, "stride": 2, "padding": "same", "dilation": (2, 1)},
    {"groups": 4, "channels": 8, "padding": 1, "stride": 2},
]
SEQUENCES: list[dict[str, Any]] = [
    {},
    {"kernel": 1, "bias": False},
    {"stride": 2, "padding": "same"},
    {"padding": ((2, 0),), "dilation": 2},
    {"stride": 3, "padding": 2, "groups": 2},
    {"groups": 4, "channels": 8, "dilation": 3},
]
POOLS: list[dict[str, Any]] = [
    {"size": 2},
    {"size": 3, "stride": 2},
    {"size": 3, "stride": 2, "padding": 1},
    {"size": 3, "stride": 2, "padding": "same"},
    {"size": 3, "stride": 1, "padding": "same"},
    {"size": (2, 3), "stride": (1, 2), "padding": ((1, 0), (0, 2))},
]


def window_cases() -> Iterator[Case]:
    for options in CONVOLUTIONS:
        layer = nn.Conv2D(**{"channels": 4, "kernel": 3, **options})
        yield from cases(layer, partial(convolved, layer), (4, 9, 8), (4, 7, 7))
    for options in SEQUENCES:
        layer = nn.Conv1D(**{"channels": 4, "kernel": 3, **options})
        yield from cases(layer, partial(convolved, layer), (4, 11))
    for options in POOLS:
        largest, mean = nn.MaxPool(**options), nn.AvgPool(**options)
        shapes = [(2, 7, 6), (1, 8, 8)] if isinstance(options["size"], tuple) else [(2, 7, 6), (3, 9)]
        yield from cases(largest, lambda p, x, layer=largest: reduced(layer, -jnp.inf, lax.max, x), *shapes)
        yield from cases(mean, partial(averaged, mean), *shapes)


# --- everything else ----------------------------------------------------------------------------------------


def dense(layer: nn.Dense, p: Any, x: Any) -> Any:
    y = lax.dot_general(x, p["weight"], (((x.ndim - 1,), (0,)), ((), ())))
    return y + p["bias"] if layer.bias else y


def attention(layer: nn.Attention, p: Any, x: Any) -> Any:
    """Return what `jax.nn.dot_product_attention` would, if its softmax were not in float32."""
    count = (1, 1, layer.heads, -1)

    def part(name: str) -> Any:
        y = jnp.einsum("bti,ij->btj", x, p[name]) + (p[f"{name}_bias"] if layer.bias else 0)
        return y.reshape(*x.shape[:2], *count[2:])

    query, key, value = part("query"), part("key"), part("value")
    logits = jnp.einsum("bthd,bshd->bhts", query, key) / jnp.sqrt(query.shape[-1])
    seen = jnp.tri(x.shape[1], dtype=bool) if layer.causal else None
    found = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(logits, where=seen), value)
    joined = lax.reshape(found, (*x.shape[:2], p["output"].shape[0]))
    return joined @ p["output"] + (p["output_bias"] if layer.bias else 0)


def standardised(axes: int, p: Any, x: Any) -> Any:
    return jax.nn.standardize(x, tuple(range(-axes, 0))) * p["gamma"] + p["beta"]


def largest_of(pieces: int, axis: int, p: Any, x: Any) -> Any:
    size = [pieces if at == axis % x.ndim else 1 for at in range(x.ndim)]
    return lax.reduce_window(x, -jnp.inf, lax.max, size, size, "VALID")


def along(axis: int, values: Any, rank: int) -> Any:
    """Return values in the direction of an axis, to be broadcast."""
    return lax.broadcast_in_dim(values, [len(values) if at == axis else 1 for at in range(rank)], (axis,))


ACTIVATIONS: list[tuple[nn.Layer, Callable[[Any], Any]]] = [
    (nn.Sigmoid(), jax.nn.sigmoid),
    (nn.Tanh(), jax.nn.tanh),
    (nn.ReLU(), jax.nn.relu),
    (nn.LeakyReLU(0.1), partial(jax.nn.leaky_relu, negative_slope=0.1)),
    (nn.ELU(0.7), partial(jax.nn.elu, alpha=0.7)),
    (nn.SELU(), jax.nn.selu),
    (nn.GELU(), partial(jax.nn.gelu, approximate=False)),
    (nn.GELU(exact=False), partial(jax.nn.gelu, approximate=True)),
    (nn.SiLU(), jax.nn.silu),
    (nn.Softplus(), jax.nn.softplus),
    (nn.HardTanh(), jax.nn.hard_tanh),
    (nn.Softmax(), jax.nn.softmax),
    (nn.Softmax(axis=0), partial(jax.nn.softmax, axis=1)),
]


def other_cases() -> Iterator[Case]:
    for layer in (nn.Dense(5), nn.Dense(2, bias=False)):
        yield from cases(layer, partial(dense, layer), (4,), (3, 4))
    for layer, way in ACTIVATIONS:
        yield from cases(layer, lambda p, x, way=way: way(x), (7,), (4, 3, 2))
    for axis, shape in ((0, (4,)), (0, (4, 3, 2)), (-1, (3, 4)), (1, (2, 4, 3))):
        at = axis % len(shape) + 1
        slopes = partial(along, at, rank=len(shape) + 1)
        prelu = lambda p, x, slopes=slopes: jax.nn.leaky_relu(x, slopes(p["slope"]))  # noqa: E731
        yield from cases(nn.PReLU(axis), prelu, shape)
        yield from cases(nn.Maxout(2, axis), partial(largest_of, 2, at), shape)
    for axes in (1, 2, 3):
        yield from cases(nn.LayerNorm(axes), partial(standardised, axes), (3, 4, 5))
    for layer in (nn.Attention(), nn.Attention(2, causal=True), nn.Attention(3, size=2, bias=False)):
        yield from cases(layer, partial(attention, layer), (5, 4))
    yield from cases(nn.GlobalAvgPool(), lambda p, x: jnp.mean(x, range(2, x.ndim)), (3, 4), (3, 4, 5))
    yield from cases(nn.Flatten(), lambda p, x: lax.collapse(x, 1), (3, 4), (2, 3, 4))
    yield from cases(nn.Reshape((2, -1, 3)), lambda p, x: lax.reshape(x, (3, 2, 2, 3)), (12,), (4, 3))
    for axis in (0, 1, -1):
        where = axis + 1 if axis >= 0 else 2
        shapes = ((2, 3), (5, 3)) if where == 1 else ((2, 3), (2, 4))
        yield Case(nn.Concatenate(axis), lambda p, *x, at=where: lax.concatenate(x, at), shapes)
    yield Case(nn.Add(), lambda p, x, y, z: lax.add(lax.add(x, y), z), ((2, 3),) * 3)
    yield Case(nn.Function(lambda x: np.sin(x) * x), lambda p, x: lax.sin(x) * x, ((4, 2),))
    bilinear = nn.Equation("z[n,o] = sum[i,j] w[o,i,j] * x[n,i] * y[n,j]", {"w": (3, 4, 2)})
    yield Case(bilinear, lambda p, x, y: jnp.einsum("oij,ni,nj->no", p["w"], x, y), ((4,), (2,)))


CASES = [*window_cases(), *other_cases()]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_layer_agrees(case: Case):
    agree(case.layer, case.way, *random_inputs(*case.shapes))


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)], ids=str)
def test_an_embedding_is_a_product_with_a_one_hot_array(shape):
    numbers = np.random.default_rng(5).integers(0, 6, (8, *shape))
    agree(nn.Embedding(6, 3), lambda p, x: jax.nn.one_hot(x, 6, dtype=float) @ p["weight"], numbers)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("axis", "shape"), [(0, (4,)), (0, (4, 5)), (0, (4, 3, 2)), (-1, (5, 4))], ids=str)
def test_batch_normalisation_agrees_in_both_modes_and_so_do_its_running_averages(axis, shape, training):
    at = axis % len(shape) + 1
    rest = tuple(other for other in range(len(shape) + 1) if other != at)
    wide = partial(along, at, rank=len(shape) + 1)

    def way(p: Any, x: Any) -> Any:
        kept = {} if training else {"mean": wide(p["mean"]), "variance": wide(p["variance"])}
        return jax.nn.standardize(x, rest, epsilon=1e-3, **kept) * wide(p["gamma"]) + wide(p["beta"])

    x = random_inputs(shape, batch=6)
    found = agree(nn.BatchNorm(0.8, 1e-3, axis), way, *x, training=training)
    if training:
        of_batch = {"mean": jnp.mean(x[0], rest), "variance": jnp.var(x[0], rest, ddof=1)}
        kept = {name: 0.8 * found.arrays[name] + 0.2 * value for name, value in of_batch.items()}
        close(found.updated, kept)
    else:
        assert not found.updated


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5])
def test_dropout_agrees_for_one_mask(rate):
    shape = (3, 5, 4)
    numbers = random.uniform(7, shape)
    mask = jnp.asarray(numbers < 1 - rate)
    assert bool(mask.all()) == (rate == 0)
    x = random_inputs(shape[1:])
    kept = lambda p, x: lax.select(mask, x / (1 - rate), jnp.zeros_like(x))  # noqa: E731
    agree(nn.Dropout(rate), kept, *x, uniform=numbers)
    agree(nn.Dropout(rate), lambda p, x: x, *x, uniform=numbers, training=False)


# --- a whole network ----------------------------------------------------------------------------------------


def test_the_gradients_of_a_network_agree_with_dropout_and_a_regulariser():
    net = nn.Network(
        nn.Dropout(0.4),
        nn.Conv2D(4, 3, padding="same"),
        nn.BatchNorm(),
        nn.ReLU(name="early"),
        nn.Conv2D(4, 3, padding=1, groups=2),
        nn.Add(inputs=("conv2d_2", "early")),
        nn.MaxPool(2),
        nn.Flatten(),
        nn.Dense(3),
        shape=(2, 6, 6),
        loss=nn.SoftmaxCrossEntropy(0.1),
        regulariser=nn.Elastic(0.01, 0.02),
    )
    rng = np.random.default_rng(3)
    x, labels = rng.normal(size=(5, 2, 6, 6)), rng.integers(0, 3, 5)
    first = nn.Network(nn.Dropout(0.4), shape=(2, 6, 6), loss=nn.SquaredError())
    mask = first.forward({}, {}, np.ones_like(x), 7)[0] > 0  # the same layer, place and key: the same numbers
    assert 0.4 < mask.mean() < 0.8

    def objective(p: Any) -> Any:
        part = lambda layer: {key.split(".")[1]: value for key, value in p.items() if key.startswith(layer)}  # noqa: E731
        h = convolved(nn.Conv2D(4, 3, padding="same"), part("conv2d_1"), jnp.where(mask, x / 0.6, 0))
        gamma, beta = (along(1, p[f"batch_norm_1.{name}"], 4) for name in ("gamma", "beta"))
        early = jax.nn.relu(jax.nn.standardize(h, (0, 2, 3)) * gamma + beta)
        h = convolved(nn.Conv2D(4, 3, padding=1, groups=2), part("conv2d_2"), early) + early
        h = reduced(nn.MaxPool(2), -jnp.inf, lax.max, h)
        scores = lax.collapse(h, 1) @ p["dense_1.weight"] + p["dense_1.bias"]
        targets = 0.9 * jax.nn.one_hot(labels, 3) + 0.1 / 3
        weights = [value for key, value in p.items() if key.endswith("weight")]
        penalty = sum(0.01 * jnp.abs(w).sum() + 0.01 * jnp.square(w).sum() for w in weights)
        return -(targets * jax.nn.log_softmax(scores)).sum(-1).mean() + penalty

    run = differentiate(net.objective, wrt="parameters", has_aux=True, target="interpret")
    (value, _), gradients = run.value_and_grad(net.parameters, net.statistics, x, labels, 7)
    wanted, slopes = jax.value_and_grad(objective)(net.parameters)
    close({"loss": value}, {"loss": wanted})
    close(gradients, slopes)


# --- losses -------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(31)
SCORES, OTHER = RNG.normal(size=(6, 4)) * 2, RNG.normal(size=(6, 4))
LABELS, SOFT = RNG.integers(0, 4, 6), RNG.dirichlet(np.ones(4), 6)
BITS = RNG.integers(0, 2, (6, 4)).astype(float)
PROBABILITIES = RNG.dirichlet(np.ones(4), 6)
TIMES, TIME_LABELS = RNG.normal(size=(6, 3, 4)), RNG.integers(0, 4, (6, 3))


def chosen(s: Any, y: Any) -> Any:
    return jax.nn.one_hot(y, s.shape[-1], dtype=bool)


def cross_entropy(s: Any, targets: Any) -> Any:
    return -(targets * jax.nn.log_softmax(s)).sum(-1)


def smoothed(targets: Any, share: float) -> Any:
    return (1 - share) * targets + share / targets.shape[-1]


def hinge(s: Any, y: Any, margin: float, power: int) -> Any:
    right = (s * chosen(s, y)).sum(-1, keepdims=True)
    return jnp.sum(jax.nn.relu(margin + s - right) ** power, -1, where=~chosen(s, y))


def binary(s: Any, t: Any) -> Any:
    return -(t * jax.nn.log_sigmoid(s) + (1 - t) * jax.nn.log_sigmoid(-s)).mean(-1)


def huber(s: Any, t: Any, delta: float) -> Any:
    """Return a parabola in what is near plus a line in what is beyond."""
    near = jnp.clip(s - t, -delta, delta)
    return (near**2 / 2 + delta * jax.nn.relu(jnp.abs(s - t) - delta)).mean(-1)


entropy = jax.scipy.special.rel_entr
LOSSES: list[tuple[nn.Loss, np.ndarray, np.ndarray, Callable[[Any, Any], Any]]] = [
    (nn.SoftmaxCrossEntropy(), SCORES, LABELS, lambda s, y: cross_entropy(s, chosen(s, y))),
    (nn.SoftmaxCrossEntropy(), TIMES, TIME_LABELS, lambda s, y: cross_entropy(s, chosen(s, y))),
    (nn.SoftmaxCrossEntropy(0.1), SCORES, LABELS, lambda s, y: cross_entropy(s, smoothed(chosen(s, y), 0.1))),
    (nn.SoftmaxCrossEntropy(soft=True), SCORES, SOFT, cross_entropy),
    (nn.SoftmaxCrossEntropy(0.2, soft=True), SCORES, SOFT, lambda s, t: cross_entropy(s, smoothed(t, 0.2))),
    (nn.Hinge(), SCORES, LABELS, lambda s, y: hinge(s, y, 1, 1)),
    (nn.Hinge(0.5, squared=True), SCORES, LABELS, lambda s, y: hinge(s, y, 0.5, 2)),
    (nn.Perceptron(), SCORES, LABELS, lambda s, y: jnp.max(s, -1) - jnp.sum(s, -1, where=chosen(s, y))),
    (nn.Perceptron(binary=True), SCORES, BITS, lambda s, t: jax.nn.relu(s * (1 - 2 * t)).mean(-1)),
    (nn.Logistic(), SCORES, BITS, binary),
    (nn.Logistic(), SCORES, SOFT, binary),
    (nn.Logistic(0.2), SCORES, BITS, lambda s, t: binary(s, 0.8 * t + 0.1)),
    (nn.Divergence(), SCORES, SOFT, lambda s, t: entropy(t, jax.nn.softmax(s)).sum(-1)),
    (nn.Divergence(scores=False), PROBABILITIES, SOFT, lambda s, t: entropy(t, s).sum(-1)),
    (nn.SquaredError(), SCORES, OTHER, lambda s, t: jnp.square(s - t).mean(-1)),
    (nn.AbsoluteError(), SCORES, OTHER, lambda s, t: jnp.linalg.norm(s - t, 1, -1) / 4),
    (nn.Huber(0.7), SCORES, OTHER, lambda s, t: huber(s, t, 0.7)),
    (nn.Huber(2.5), SCORES, OTHER, lambda s, t: huber(s, t, 2.5)),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("loss", "given", "target", "way"), LOSSES, ids=[f"{row[0]}{row[1].shape}" for row in LOSSES]
)
def test_a_loss_agrees(loss, given, target, way, weighted):
    weights = np.random.default_rng(8).uniform(size=loss.counted(given.shape)) if weighted else None
    run = differentiate(lambda s, t, weights: loss(s, t, weights), wrt="s", target="interpret")
    value, gradient = run.value_and_grad(given, target, weights)
    wanted, slope = jax.value_and_grad(lambda s: jnp.average(way(s, target), weights=weights))(
        jnp.asarray(given)
    )
    close({"value": value}, {"value": wanted})
    close({"gradient": gradient}, {"gradient": slope})


# --- nothing is left out ------------------------------------------------------------------------------------


def kinds_of(base: type, tested: Sequence[object]) -> None:
    """Compare with all that `gradc.nn` has of a kind."""
    public = (getattr(nn, name) for name in nn.__all__)
    found = {
        item for item in public if isinstance(item, type) and issubclass(item, base) and item is not base
    }
    assert {type(item) for item in tested} == found


def test_every_layer_and_loss_is_compared():
    kinds_of(nn.Layer, [*(case.layer for case in CASES), nn.Embedding(1, 1), nn.BatchNorm(), nn.Dropout(0.5)])
    masked = nn.Masked(nn.Hinge())  # compared with the loss of what is left, in a file of its own
    kinds_of(nn.Loss, [*(row[0] for row in LOSSES), masked])
