"""Depthwise convolutions, compiled, against the interpreter: windows of all kinds, values and both gradients."""

from typing import Any

import numpy as np
import pytest

import gradc
from gradc import differentiate
from gradc.api.differentiated import Differentiated
from gradc.ir.schedule import leaves
from gradc.lang.annotations import f64
from gradc.nn.layer import Context
from gradc.nn.layers.convolution import Conv2D

CHANNELS = 18  # two vectors of float64, and what is left of a third one


def objective(layer: Conv2D, shape: tuple[int, int, int]) -> Differentiated[..., Any]:
    """A weighted sum of what a layer makes; all extents are known but that of the batch."""

    def loss(x: Any, weight: Any, c: Any) -> Any:
        return (np.sin(layer.apply(Context({"weight": weight}, True, lambda like: like), x)) * c).sum()

    loss.__annotations__ = {
        "x": f64[("batch", *shape)],
        "weight": f64[layer.parameters(shape)["weight"].shape],
        "c": f64[("batch", *layer.output_shape(shape))],
    }
    return differentiate(loss, wrt=("x", "weight"))


def arrays(layer: Conv2D, shape: tuple[int, int, int], dtype: Any, batch: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    weight = layer.parameters(shape)["weight"].shape
    shapes = (batch, *shape), weight, (batch, *layer.output_shape(shape))
    return [rng.normal(size=size).astype(dtype) for size in shapes]


def depthwise(kernel: Any = 3, multiple: int = 1, **options: Any) -> Conv2D:
    return Conv2D(CHANNELS * multiple, kernel, groups=CHANNELS, bias=False, **options)


CASES = [
    (depthwise(padding="same"), (9, 11)),
    (depthwise((3, 2), dilation=(2, 3), padding=1), (11, 9)),
    (depthwise(stride=2, padding="same"), (9, 7)),
    (depthwise(padding="valid"), (7, 5)),
    (depthwise(5, padding=((2, 1), 0)), (10, 13)),
    (depthwise((1, 3)), (6, 7)),
    (depthwise((3, 1), stride=(1, 2), dilation=(2, 1)), (8, 9)),
    (depthwise(padding="same", multiple=2), (5, 6)),
    (depthwise(4), (5, 6)),  # the windows are longer than their ways
]


@pytest.mark.parametrize(
    ("layer", "size", "dtype"),
    [*((*case, np.float64) for case in CASES), *((*case, np.float32) for case in CASES[:3])],
    ids=str,
)
def test_a_compiled_depthwise_convolution_has_the_values_of_the_interpreter(layer, size, dtype):
    shape = (CHANNELS, *size)
    function, given = objective(layer, shape), arrays(layer, shape, dtype)
    value, gradients = function.value_and_grad(*given)
    expected, slopes = function.with_options(target="interpret").value_and_grad(*given)
    rtol = 1e-12 if dtype is np.float64 else 2e-5
    np.testing.assert_allclose(value, expected, rtol, rtol)
    for found, slope in zip(gradients, slopes, strict=True):
        assert found.dtype == slope.dtype == dtype
        np.testing.assert_allclose(found, slope, rtol, rtol * np.abs(slope).max())


def contractions(layer: Conv2D, shape: tuple[int, int, int]) -> int:
    stages = objective(layer, shape).inspect(*arrays(layer, shape, np.float64)).stages
    return sum(leaf.role == "contract" for leaf in leaves(stages.schedule.body))


def test_a_convolution_with_channels_of_its_own_in_each_group_stays_a_contraction():
    assert contractions(Conv2D(64, 3, groups=2, bias=False), (64, 9, 9)) == 3
    assert contractions(Conv2D(64, 3, groups=64, bias=False), (64, 9, 9)) == 0


def test_every_number_of_threads_gives_the_same_bits():
    layer, shape = depthwise(padding="same"), (CHANNELS, 15, 17)
    function, given = objective(layer, shape), arrays(layer, shape, np.float32, batch=37)
    found = set()
    try:
        for count in (1, 2, 4):
            gradc.set_num_threads(count)
            _, gradients = function.value_and_grad(*given)
            found.add(b"".join(gradient.tobytes() for gradient in gradients))
    finally:
        gradc.set_num_threads(None)
    assert len(found) == 1
