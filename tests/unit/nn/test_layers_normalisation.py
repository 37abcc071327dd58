"""Batch normalisation in both modes, layer normalisation, dropout in both modes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.nn.applied import agree, apply, random_arrays, random_inputs

from gradc.errors import ArgumentError, ShapeError
from gradc.nn import BatchNorm, Dropout, LayerNorm

# --- batch normalisation ------------------------------------------------------------------------------------


def channels_last(x, axis):
    return np.moveaxis(x, axis + 1 if axis >= 0 else axis, -1)


def normalised(layer, training):
    def loops(arrays, x):
        axis = layer.axis + 1 if layer.axis >= 0 else layer.axis
        y = np.moveaxis(x, axis, -1).copy()
        for channel in range(y.shape[-1]):
            values = y[..., channel]
            mean, variance = arrays["mean"][channel], arrays["variance"][channel]
            if training:
                mean = values.sum() / values.size
                variance = ((values - mean) ** 2).sum() / values.size
            unit = (values - mean) / (variance + layer.epsilon) ** 0.5
            y[..., channel] = arrays["gamma"][channel] * unit + arrays["beta"][channel]
        return np.moveaxis(y, -1, axis)

    return loops


BATCHES = pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (BatchNorm(), (4,)),
        (BatchNorm(epsilon=0.1), (4, 5)),
        (BatchNorm(axis=-1), (5, 4)),
        (BatchNorm(axis=1), (5, 4)),
        (BatchNorm(momentum=0.5), (4, 3, 2)),
        (BatchNorm(), (1,)),
        (BatchNorm(), (2, 1, 1)),
    ],
    ids=str,
)


@BATCHES
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalisation_normalises_every_channel(layer, shape, training):
    agree(layer, *random_inputs(shape, batch=5), expected=normalised(layer, training), training=training)


@BATCHES
def test_running_averages_keep_their_share_and_take_the_unbiased_variance(layer, shape):
    found = apply(layer, *random_inputs(shape, batch=5), check=False)
    values = channels_last(found.inputs[0], layer.axis).reshape(-1, len(found.arrays["mean"]))
    keep = layer.momentum
    mean = keep * found.arrays["mean"] + (1 - keep) * values.mean(0)
    variance = keep * found.arrays["variance"] + (1 - keep) * values.var(0, ddof=1)
    np.testing.assert_allclose(found.updated["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(found.updated["variance"], variance, rtol=1e-12)


def test_nothing_is_updated_at_test_time():
    assert apply(BatchNorm(), *random_inputs((4,)), training=False, check=False).updated == {}


def test_what_batch_normalisation_learns_and_keeps():
    rng = np.random.default_rng(0)
    layer = BatchNorm()
    first = {
        name: p.initialiser(rng, p.shape, 1, 1).tolist()
        for name, p in (layer.parameters((2, 5, 5)) | layer.statistics((2, 5, 5))).items()
    }
    assert first == {"gamma": [1, 1], "beta": [0, 0], "mean": [0, 0], "variance": [1, 1]}
    assert not any(p.is_weight for p in layer.parameters((2,)).values())


@pytest.mark.parametrize("shape", [(4,), (4, 1, 1)])
def test_training_batch_normalisation_on_one_value_per_feature_is_refused(shape):
    with pytest.raises(ShapeError, match="one value per feature") as caught:
        apply(BatchNorm(name="norm"), *random_inputs(shape, batch=1))
    assert "norm" in caught.value.where
    assert "two examples" in caught.value.do


@pytest.mark.parametrize(("shape", "training"), [((4,), False), ((4, 2, 1), True)])
def test_one_example_suffices_at_test_time_and_for_images(shape, training):
    layer = BatchNorm()
    agree(layer, *random_inputs(shape, batch=1), expected=normalised(layer, training), training=training)


def test_compiled_batch_normalisation_agrees_with_the_interpreter():
    x = random_inputs((3, 2, 2), batch=4)
    compiled = apply(BatchNorm(), *x, check=False, target="cpu")
    still = apply(BatchNorm(), *x, check=False)
    np.testing.assert_allclose(compiled.value, still.value, rtol=1e-12)
    np.testing.assert_allclose(compiled.updated["variance"], still.updated["variance"], rtol=1e-12)
    np.testing.assert_allclose(compiled.gradients[1][0], still.gradients[1][0], rtol=1e-9, atol=1e-13)


def test_a_large_mean_does_not_cancel_the_variance():
    x = np.array([[1e8], [1e8 + 1]])
    found = apply(BatchNorm(epsilon=1e-12), x, arrays=unit_arrays(BatchNorm(), (1,)), check=False)
    np.testing.assert_allclose(found.value, [[-1], [1]], rtol=1e-9)


def unit_arrays(layer, shape):
    rng = np.random.default_rng(0)
    return {
        name: p.initialiser(rng, p.shape, 1, 1)
        for name, p in (layer.parameters(shape) | layer.statistics(shape)).items()
    }


# --- layer normalisation ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (LayerNorm(), (4,)),
        (LayerNorm(), (3, 4)),
        (LayerNorm(2, epsilon=0.01), (3, 4)),
        (LayerNorm(3), (2, 3, 4)),
    ],
    ids=str,
)
def test_layer_normalisation_normalises_every_example(layer, shape):
    def loops(arrays, x):
        y = x.copy()
        for at in np.ndindex(*x.shape[: x.ndim - layer.axes]):
            values = x[at]
            mean = values.sum() / values.size
            variance = ((values - mean) ** 2).sum() / values.size
            y[at] = (values - mean) / (variance + layer.epsilon) ** 0.5 * arrays["gamma"] + arrays["beta"]
        return y

    agree(layer, *random_inputs(shape), expected=loops)


# --- dropout ------------------------------------------------------------------------------------------------


def test_dropout_keeps_what_the_random_numbers_say_and_scales_it():
    uniform = np.random.default_rng(3).random((3, 6))
    found = agree(
        Dropout(0.25),
        *random_inputs((6,)),
        uniform=uniform,
        expected=lambda _, x: np.where(uniform < 0.75, x / 0.75, 0),
    )
    assert np.array_equal(found.gradients[1][0] == 0, uniform >= 0.75)


@pytest.mark.parametrize(("rate", "training"), [(0.5, False), (0, True), (0.0, False)])
def test_dropout_is_the_identity_at_test_time_and_without_a_rate(rate, training):
    agree(
        Dropout(rate),
        *random_inputs((6,)),
        uniform=np.ones((3, 6)),
        training=training,
        expected=lambda _, x: x,
    )


def test_a_dropped_nan_is_zero_and_its_gradient_is_zero():
    x = np.array([[np.nan, 1.0]])
    found = apply(Dropout(0.5), x, uniform=np.array([[0.9, 0.1]]), check=False)
    assert np.array_equal(found.value, [[0, 2]])
    assert found.gradients[1][0][0, 0] == 0


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: BatchNorm(momentum=1.0), "momentum"),
        (lambda: BatchNorm(momentum=-0.1), "momentum"),
        (lambda: BatchNorm(epsilon=0), "epsilon"),
        (lambda: LayerNorm(0), "axes"),
        (lambda: LayerNorm(epsilon=-1.0), "epsilon"),
        (lambda: Dropout(1.0), "rate"),
        (lambda: Dropout(-0.1), "rate"),
        (lambda: Dropout(True), "rate"),
    ],
)
def test_options_that_cannot_be_are_refused_where_the_layer_is_written(make, what):
    with pytest.raises(ArgumentError, match=what) as caught:
        make()
    assert caught.value.where
    assert caught.value.why
    assert caught.value.do


@pytest.mark.parametrize(
    ("layer", "shape", "what"),
    [(BatchNorm(axis=1), (4,), "no axis 1"), (LayerNorm(2), (4,), "no 2 axes")],
    ids=str,
)
def test_inputs_that_do_not_fit_normalisation_are_refused(layer, shape, what):
    with pytest.raises(ShapeError, match=what) as caught:
        random_arrays(layer, shape)
    assert str(shape) in caught.value.why
