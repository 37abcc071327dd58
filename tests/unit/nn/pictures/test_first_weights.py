"""Pictures of first weights: which weights, as what, how each kernel is scaled, and what the title says."""

import re
from typing import Any

import numpy as np
import pytest
from tests.unit.nn.pictures.texts import overlapping, texts_of

from gradc.errors import ArgumentError, ShapeError
from gradc.explain.drawing.palette import heat
from gradc.nn.layer import Layer, Shape
from gradc.nn.layers.activations import ReLU
from gradc.nn.layers.convolution import Conv1D, Conv2D
from gradc.nn.layers.dense import Dense
from gradc.nn.layers.embedding import Embedding
from gradc.nn.layers.normalisation import BatchNorm
from gradc.nn.layers.shapes import Flatten
from gradc.nn.losses import SquaredError
from gradc.nn.network import Network
from gradc.nn.pictures.plot import Plot
from gradc.nn.pictures.weights import FRAME, MOST, UNFIT, first_weights, mosaic

pytest.importorskip("matplotlib")

rng = np.random.default_rng(3)


def network(*layers: Layer, shape: Shape | int) -> Network:
    return Network(*layers, shape=shape, loss=SquaredError())


def tiles_of(image: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """Return the kernels that a mosaic shows: what its frames enclose, one number for each pixel of a kernel."""
    framed: np.ndarray = np.asarray(np.isclose(image, FRAME).all(axis=-1))
    inside = next(row for row in range(len(framed)) if not framed[row].all())  # the first row is full
    across = runs(framed[inside])
    found = []
    for down in runs(framed[:, across[0][0]]):
        for part in (image[np.ix_(down, columns)] for columns in across):
            fine = len(down) // height
            assert part.shape[:2] == (height * fine, width * fine)
            tile = part[::fine, ::fine]
            np.testing.assert_array_equal(tile.repeat(fine, axis=0).repeat(fine, axis=1), part)
            found += [] if (tile == 1).all() else [tile]  # a row that is not full ends in paper
    return found


def runs(framed: np.ndarray) -> list[np.ndarray]:
    free = np.flatnonzero(~framed)
    return np.split(free, np.flatnonzero(np.diff(free) > 1) + 1)


def shown(picture: Plot) -> np.ndarray:
    (image,) = picture.figure.axes[0].images
    return np.asarray(image.get_array())


def scaled(kernel: np.ndarray) -> np.ndarray:
    return (kernel - kernel.min()) / (kernel.max() - kernel.min())


def test_kernels_on_three_channels_are_colours_each_on_its_own_scale():
    net = network(Conv2D(12, (5, 4)), shape=(3, 9, 9))
    weight = net.parameters["conv2d_1.weight"]
    weight[1] *= 1000
    picture = first_weights(net)
    tiles = tiles_of(shown(picture), 5, 4)
    assert len(tiles) == 12
    for tile, kernel in zip(tiles, weight, strict=True):
        np.testing.assert_allclose(tile, scaled(kernel).transpose(1, 2, 0), atol=1e-12)
    assert picture.title == "conv2d_1.weight: 12 kernels of 3 x 5 x 4"
    assert texts_of(picture) == [picture.title]


def test_kernels_on_one_channel_are_grey():
    net = network(Conv2D(6, 3), shape=(1, 9, 9))
    tiles = tiles_of(shown(first_weights(net)), 3, 3)
    for tile, kernel in zip(tiles, net.parameters["conv2d_1.weight"], strict=True):
        np.testing.assert_allclose(tile, np.repeat(scaled(kernel[0])[..., None], 3, axis=-1), atol=1e-12)
    assert first_weights(net).title == "conv2d_1.weight: 6 kernels of 3 x 3"


def test_of_other_channels_the_mean_is_grey_and_the_title_says_so():
    net = network(Conv2D(4, 3), shape=(5, 9, 9))
    picture = first_weights(net)
    for tile, kernel in zip(tiles_of(shown(picture), 3, 3), net.parameters["conv2d_1.weight"], strict=True):
        np.testing.assert_allclose(tile[..., 0], scaled(kernel.mean(axis=0)), atol=1e-12)
    assert picture.title.endswith("4 kernels of 5 x 3 x 3; the mean over 5 channels")


def test_of_many_kernels_the_first_are_shown_and_the_title_says_so():
    kernels = rng.normal(size=(MOST + 44, 1, 2, 2))
    tiles = tiles_of(mosaic(kernels), 2, 2)
    assert len(tiles) == MOST
    np.testing.assert_allclose(tiles[-1][..., 0], scaled(kernels[MOST - 1, 0]), atol=1e-12)
    net = network(Conv2D(300, 2), shape=(1, 4, 4))
    assert first_weights(net).title == "conv2d_1.weight: 300 kernels of 2 x 2; the first 256"


def test_the_kernels_of_alexnet_are_eight_rows_of_twelve():
    image = mosaic(rng.normal(size=(96, 3, 11, 11)))
    assert len(tiles_of(image, 11, 11)) == 96
    assert image.shape[1] / image.shape[0] == 12 / 8


def test_units_on_a_square_number_of_features_are_images():
    net = network(Dense(3), ReLU(), Dense(2), shape=64)
    tiles = tiles_of(shown(first_weights(net)), 8, 8)
    for tile, unit in zip(tiles, net.parameters["dense_1.weight"].T, strict=True):
        np.testing.assert_allclose(tile[..., 0], scaled(unit.reshape(8, 8)), atol=1e-12)
    assert first_weights(net).title == "dense_1.weight: 3 units of 8 x 8"


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5)])
def test_units_on_an_image_that_was_flattened_have_its_shape(shape: Shape):
    net = network(Flatten(), Dense(2), shape=shape)
    tile = tiles_of(shown(first_weights(net)), 4, 5)[1]
    kernel = net.parameters["dense_1.weight"][:, 1].reshape(-1, 4, 5)
    np.testing.assert_allclose(
        tile, np.broadcast_to(scaled(kernel).transpose(1, 2, 0), (4, 5, 3)), atol=1e-12
    )


def test_the_user_says_what_image_the_features_are():
    net = network(Dense(2), shape=64)
    assert first_weights(net, image=(4, 16)).title == "dense_1.weight: 2 units of 4 x 16"
    assert first_weights(net, image=(4, 4, 4)).title.endswith(
        "2 units of 4 x 4 x 4; the mean over 4 channels"
    )
    tile = tiles_of(shown(first_weights(net, image=(4, 16))), 4, 16)[0]
    unit = net.parameters["dense_1.weight"][:, 0].reshape(4, 16)
    np.testing.assert_allclose(tile[..., 0], scaled(unit), atol=1e-12)


@pytest.mark.parametrize("image", [(8, 7), (64,), (1, 1, 8, 8), (-8, -8), (0, 64)])
def test_an_image_of_another_size_is_refused(image: Any):
    with pytest.raises(ShapeError, match=re.escape(f"image={image} is no shape of 64 features")):
        first_weights(network(Dense(2), shape=64), image=image)


def test_an_image_for_a_convolution_is_refused():
    with pytest.raises(ShapeError, match="conv2d_1 is no Dense"):
        first_weights(network(Conv2D(2, 3), shape=(1, 8, 8)), image=(3, 3))


@pytest.mark.parametrize("features", [9, 13])
def test_units_on_other_features_are_a_matrix_around_zero(features: int):
    net = network(Dense(20), shape=features)
    weight = net.parameters["dense_1.weight"]
    picture = first_weights(net)
    np.testing.assert_array_equal(shown(picture), weight)
    axes = picture.figure.axes[0]
    assert axes.images[0].get_clim() == (-abs(weight).max(), abs(weight).max())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("unit", "feature")
    assert picture.title == f"dense_1.weight: {features} x 20"
    assert axes.images[0].get_cmap().get_bad().tolist() == [0, 0, 0, 1]
    colours = [
        tuple(round(255 * part) for part in axes.images[0].get_cmap()(level)[:3]) for level in (0.0, 1.0)
    ]
    assert [("#%02x%02x%02x" % colour) for colour in colours] == [heat(-1.0), heat(1.0)]  # noqa: UP031


def test_other_weights_are_a_matrix():
    table = first_weights(network(Embedding(7, 4), Flatten(), Dense(2), shape=(3,)))
    assert table.title == "embedding_1.weight: 7 x 4"
    assert table.figure.axes[0].get_xlabel() == ""


def test_kernels_over_one_axis_have_a_row_for_each_channel():
    net = network(Conv1D(5, 8), shape=(2, 20))
    picture = first_weights(net)
    assert picture.title == "conv1d_1.weight: 5 kernels of 2 x 8, a row for each channel of the input"
    tile = tiles_of(shown(picture), 2, 8)[0]
    np.testing.assert_allclose(tile[..., 0], scaled(net.parameters["conv1d_1.weight"][0]), atol=1e-12)


def test_the_first_layer_with_weights_is_drawn():
    net = network(BatchNorm(), Flatten(), Dense(2), ReLU(), Dense(2), shape=(1, 4, 4))
    assert first_weights(net).title == "dense_1.weight: 2 units of 4 x 4"
    with pytest.raises(ArgumentError, match="no layer has weights"):
        first_weights(network(ReLU(), shape=3))


def test_a_kernel_of_one_number_is_grey_and_what_is_not_finite_is_orange():
    kernels = np.array([[[[2.0, 2.0]]], [[[1.0, np.nan]]], [[[np.inf, -np.inf]]]])
    one, two, three = tiles_of(mosaic(kernels), 1, 2)
    np.testing.assert_array_equal(one, np.full((1, 2, 3), 0.5))
    np.testing.assert_array_equal(two, [[(0.5, 0.5, 0.5), UNFIT]])
    np.testing.assert_array_equal(three, [[UNFIT, UNFIT]])
    mosaic(np.array([[[[np.inf]], [[-np.inf]]]]))  # of which there is no mean


@pytest.mark.parametrize(("features", "colour"), [(64, "orange"), (13, "black")])
def test_the_title_counts_what_is_not_finite(features: int, colour: str):
    net = network(Dense(2), shape=features)
    net.parameters["dense_1.weight"][3, 1] = np.nan
    assert first_weights(net).title.endswith(f"; 1 number not finite, {colour}")


def test_later_training_does_not_change_a_picture():
    net = network(Dense(2), shape=13)
    picture = first_weights(net)
    before = picture.svg
    net.parameters["dense_1.weight"][:] = 0
    assert picture.svg == before != first_weights(net).svg


@pytest.mark.parametrize(
    "layers", [(Conv2D(300, 3, name="n" * 80),), (Conv2D(1, 3),), (Flatten(), Dense(7, name="n" * 120))]
)
def test_texts_do_not_lie_on_each_other(layers: tuple[Layer, ...]):
    assert overlapping(first_weights(network(*layers, shape=(2, 9, 9)))) == []
    assert overlapping(first_weights(network(Dense(40, name="n" * 120), shape=13))) == []
