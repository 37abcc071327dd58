"""Pooling against loops over every window."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.nn.applied import agree, apply, random_inputs
from tests.unit.nn.test_layers_convolution import margins_of

from gradc.errors import ArgumentError, ShapeError
from gradc.nn import AvgPool, GlobalAvgPool, MaxPool

OPTIONS = [
    {"size": 2},
    {"size": 3, "stride": 2},
    {"size": 3, "stride": 1, "padding": "same"},
    {"size": 2, "padding": "same"},
    {"size": (2, 3), "stride": (1, 2), "padding": ((1, 0), (0, 2))},
    {"size": 3, "stride": 3, "padding": 1},
]


def loops(layer, reduce):
    def pool(arrays, x):
        axes = x.ndim - 2

        def both(value):
            return (value,) * axes if isinstance(value, int) else tuple(value)

        size = both(layer.size)
        stride = size if layer.stride is None else both(layer.stride)
        margins = margins_of(layer.padding, x.shape[2:], size, stride, (1,) * axes, both)
        padded = np.pad(x, ((0, 0), (0, 0), *margins), constant_values=np.nan)
        counts = [(n - k) // s + 1 for n, k, s in zip(padded.shape[2:], size, stride, strict=True)]
        y = np.zeros((*x.shape[:2], *counts))
        for n, c, *at in np.ndindex(*y.shape):
            window = tuple(slice(p * s, p * s + k) for p, s, k in zip(at, stride, size, strict=True))
            y[(n, c, *at)] = reduce(padded[(n, c, *window)])
        return y

    return pool


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("kind", "reduce"), [(MaxPool, np.nanmax), (AvgPool, np.nanmean)])
def test_pooling_reduces_every_window_of_an_image(kind, reduce, options):
    layer = kind(**options)
    agree(layer, *random_inputs((2, 6, 7), batch=2), expected=loops(layer, reduce))


@pytest.mark.parametrize("options", [{"size": 2}, {"size": 3, "stride": 2, "padding": ((1, 0),)}], ids=str)
@pytest.mark.parametrize(("kind", "reduce"), [(MaxPool, np.nanmax), (AvgPool, np.nanmean)])
def test_pooling_reduces_every_window_of_a_sequence(kind, reduce, options):
    layer = kind(**options)
    agree(layer, *random_inputs((2, 7), batch=2), expected=loops(layer, reduce))


@pytest.mark.full
@pytest.mark.parametrize("size", [1, 2, 3, (3, 2)], ids=str)
@pytest.mark.parametrize("stride", [None, 1, 2, (1, 3)], ids=str)
@pytest.mark.parametrize("padding", ["valid", "same", ((0, 0), (1, 0)), 1], ids=str)
@pytest.mark.parametrize(("kind", "reduce"), [(MaxPool, np.nanmax), (AvgPool, np.nanmean)])
def test_every_combination_of_options_of_pooling(kind, reduce, size, stride, padding):
    if size == 1 and padding not in ("valid", "same"):
        pytest.skip("a window of one element would lie in the padding")
    layer = kind(size, stride, padding)
    agree(layer, *random_inputs((1, 6, 7), batch=1), expected=loops(layer, reduce))


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5)])
def test_global_pooling_is_the_mean_of_every_channel(shape):
    agree(
        GlobalAvgPool(), *random_inputs(shape), expected=lambda _, x: x.reshape(len(x), shape[0], -1).mean(-1)
    )


def test_equal_largest_share_the_gradient():
    found = apply(MaxPool(2), np.zeros((1, 1, 2, 2)), check=False)
    gradient = found.gradients[1][0]
    assert np.ptp(gradient) == 0
    assert gradient.sum() > 0


def test_negative_values_win_over_padding():
    found = apply(MaxPool(3, 1, "same"), -np.ones((1, 1, 3, 3)), check=False)
    assert np.array_equal(found.value, -np.ones((1, 1, 3, 3)))


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MaxPool, AvgPool])
@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"size": 0}, "size"),
        ({"size": 2, "stride": 0}, "stride"),
        ({"size": 2, "stride": (1, 2, 3)}, "one for each"),
        ({"size": 2, "padding": 2}, "padding alone"),
        ({"size": (2, 3), "padding": (0, (3, 0))}, "padding alone"),
        ({"size": 2, "padding": "some"}, "padding"),
    ],
    ids=str,
)
def test_options_of_pooling_that_cannot_be_are_refused_where_it_is_written(kind, options, what):
    with pytest.raises(ArgumentError, match=what) as caught:
        kind(**options, name="pool")
    assert "pool" in caught.value.where
    assert caught.value.do


@pytest.mark.parametrize(
    ("layer", "shape", "what"),
    [
        (MaxPool(2), (6,), "takes .channels, length. or"),
        (AvgPool(2), (1, 2, 3, 4), "takes .channels, length. or"),
        (MaxPool(7), (3, 5, 9), "7 x 7 does not fit into 5 x 9"),
        (GlobalAvgPool(), (3,), "nothing to average"),
    ],
    ids=str,
)
def test_inputs_that_do_not_fit_pooling_are_refused(layer, shape, what):
    with pytest.raises(ShapeError, match=what) as caught:
        layer.output_shape(shape)
    assert str(shape) in caught.value.why
    assert caught.value.do
