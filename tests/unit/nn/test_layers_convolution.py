"""Convolutions against loops over every output, every channel and every element of the kernel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.unit.nn.applied import agree, apply, random_arrays, random_inputs

from gradc import differentiate
from gradc.errors import ArgumentError, ShapeError
from gradc.nn import Conv1D, Conv2D
from gradc.nn.layer import Context


def same(length, size, stride, dilation):
    """Return the margins of ``same``: as many outputs as ceil(length / stride)."""
    total = max((-(-length // stride) - 1) * stride + (size - 1) * dilation + 1 - length, 0)
    return total // 2, total - total // 2


def loops(layer, axes):
    """Return the convolution of a layer, element by element."""

    def both(value):
        return (value,) * axes if isinstance(value, int) else tuple(value)

    def convolution(arrays, x):
        kernel, stride, dilation = both(layer.kernel), both(layer.stride), both(layer.dilation)
        margins = margins_of(layer.padding, x.shape[2:], kernel, stride, dilation, both)
        padded = np.pad(x, ((0, 0), (0, 0), *margins))
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        counts = [(n - r) // s + 1 for n, r, s in zip(padded.shape[2:], reach, stride, strict=True)]
        y = np.zeros((len(x), layer.channels, *counts))
        per_group, made = x.shape[1] // layer.groups, layer.channels // layer.groups
        for n, o, *at in np.ndindex(*y.shape):
            total = 0.0
            for c, *inside in np.ndindex(per_group, *kernel):
                place = [p * s + i * d for p, s, i, d in zip(at, stride, inside, dilation, strict=True)]
                channel = (o // made) * per_group + c
                total += arrays["weight"][(o, c, *inside)] * padded[(n, channel, *place)]
            y[(n, o, *at)] = total + (arrays["bias"][o] if layer.bias else 0)
        return y

    return convolution


def margins_of(padding, lengths, kernel, stride, dilation, both):
    if padding == "valid":
        return [(0, 0)] * len(lengths)
    if padding == "same":
        return [same(*parts) for parts in zip(lengths, kernel, stride, dilation, strict=True)]
    return [(item, item) if isinstance(item, int) else item for item in both(padding)]


IMAGES = [
    Conv2D(4, 3),
    Conv2D(2, 3, padding="same"),
    Conv2D(2, 2, padding="same"),
    Conv2D(2, 3, stride=2, padding="same", groups=2),
    Conv2D(2, (2, 3), stride=(2, 1), padding=((1, 0), 2), dilation=(1, 2), bias=False),
    Conv2D(4, 3, stride=3, padding=1, groups=4),
    Conv2D(8, 1, groups=2),
    Conv2D(1, 3, dilation=2, padding="same"),
    Conv2D(2, (6, 5)),
]


@pytest.mark.parametrize("layer", IMAGES, ids=str)
def test_a_convolution_of_images_is_the_sum_over_its_windows(layer):
    agree(layer, *random_inputs((4, 6, 5), batch=2), expected=loops(layer, 2))


@pytest.mark.parametrize(
    "layer",
    [
        Conv1D(3, 3),
        Conv1D(2, 4, stride=2, padding="same", dilation=2),
        Conv1D(4, 2, stride=3, padding=((2, 0),), groups=2),
        Conv1D(2, 3, padding=2, dilation=3, bias=False),
    ],
    ids=str,
)
def test_a_convolution_of_sequences_is_the_sum_over_its_windows(layer):
    agree(layer, *random_inputs((4, 9), batch=2), expected=loops(layer, 1))


GRID = [
    Conv2D(4, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias)
    for kernel, stride, padding, dilation, groups, bias in itertools.product(
        (1, 2, 3, (3, 1)),
        (1, 2, (1, 3)),
        ("valid", "same", 1, ((0, 2), (1, 0))),
        (1, 2),
        (1, 2, 4),
        (True, False),
    )
]


@pytest.mark.full
@pytest.mark.parametrize("layer", GRID, ids=str)
def test_every_combination_of_options_of_a_convolution(layer):
    agree(layer, *random_inputs((4, 6, 5), batch=1), expected=loops(layer, 2))


def test_the_shapes_and_fans_of_a_kernel():
    found = Conv2D(6, (3, 5), groups=2).parameters((4, 9, 9))
    assert found["weight"].shape == (6, 2, 3, 5)
    assert (found["weight"].fan_in, found["weight"].fan_out) == (30, 45)
    assert found["weight"].is_weight
    assert found["bias"].shape == (6,)
    rng = np.random.default_rng(0)
    values = found["weight"].initialiser(rng, (600, 2, 3, 5), 30, 45)
    assert abs(values.std() - (2 / 30) ** 0.5) < 0.01
    assert list(Conv2D(6, 3, bias=False).parameters((4, 9, 9))) == ["weight"]


def test_lists_from_a_file_mean_the_same_as_tuples():
    shape = (2, 9, 8)
    listed = Conv2D(2, [3, 2], stride=[2, 1], padding=[[1, 0], 1], dilation=[1, 2])
    assert listed.output_shape(shape) == Conv2D(2, (3, 2), (2, 1), ((1, 0), 1), (1, 2)).output_shape(shape)


def test_one_program_serves_every_batch():
    layer = Conv2D(2, 3, stride=2, padding="same")
    arrays = random_arrays(layer, (2, 5, 5))
    run = differentiate(
        lambda x, arrays: layer.apply(Context(arrays, True, lambda like: like), x),
        wrt="x",
        target="interpret",
    )
    for batch in (2, 3, 4):
        assert run(np.ones((batch, 2, 5, 5)), arrays).shape == (batch, 2, 3, 3)
    assert run.cache_info().variants == 1


def test_a_compiled_convolution_is_a_contraction_without_patches():
    layer = Conv2D(4, 3, stride=2, padding=1)
    wide = apply(layer, *random_inputs((2, 7, 7)), check=False, target="cpu")
    np.testing.assert_allclose(wide.value, loops(layer, 2)(wide.arrays, *wide.inputs), rtol=1e-12)
    still = apply(layer, *random_inputs((2, 7, 7)), check=False)
    np.testing.assert_allclose(wide.gradients[0]["weight"], still.gradients[0]["weight"], rtol=1e-12)
    np.testing.assert_allclose(wide.gradients[1][0], still.gradients[1][0], rtol=1e-12, atol=1e-14)


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"channels": 0}, "channels"),
        ({"kernel": 0}, "kernel"),
        ({"kernel": (3, 3, 3)}, "kernel"),
        ({"kernel": (3, 1.5)}, "kernel"),
        ({"stride": 0}, "stride"),
        ({"dilation": (1, 0)}, "dilation"),
        ({"groups": 0}, "groups"),
        ({"groups": 3}, "cannot be divided into 3 groups"),
        ({"padding": "full"}, "padding"),
        ({"padding": -1}, "padding"),
        ({"padding": (1, 2, 3)}, "padding"),
        ({"padding": ((1, 2, 3), 1)}, "padding"),
        ({"padding": (0.5, 1)}, "padding"),
    ],
)
def test_options_of_a_convolution_that_cannot_be_are_refused_where_it_is_written(options, what):
    with pytest.raises(ArgumentError, match=what) as caught:
        Conv2D(**{"channels": 4, "kernel": 3, "name": "first", **options})
    assert "first" in caught.value.where
    assert caught.value.why
    assert caught.value.do


@pytest.mark.parametrize(
    ("layer", "shape", "what"),
    [
        (Conv2D(4, 3), (12,), "height, width"),
        (Conv1D(4, 3), (3, 5, 5), "length"),
        (Conv2D(4, 3, groups=2), (3, 5, 5), "3 channels of the input"),
        (Conv2D(4, 7), (3, 5, 9), "7 x 7 does not fit into 5 x 9"),
        (Conv2D(4, 3, dilation=3), (3, 5, 9), "spans 7 x 7"),
    ],
    ids=str,
)
def test_inputs_that_do_not_fit_a_convolution_are_refused(layer, shape, what):
    with pytest.raises(ShapeError, match=what) as caught:
        layer.output_shape(shape)
    assert str(shape) in caught.value.why
    assert caught.value.do
