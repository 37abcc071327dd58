"""Whole training steps of convolutional networks in float32, beside PyTorch and JAX.

With dropout every way draws its own numbers: losses are compared without it, and then timed with it.
"""

from collections.abc import Callable

import numpy as np
from measuring import Row, measure, show, show_machine
from steps import Task, compare, ways

from gradc.nn.layer import Layer, Shape
from gradc.nn.layers.activations import ReLU
from gradc.nn.layers.convolution import Conv2D
from gradc.nn.layers.dense import Dense
from gradc.nn.layers.dropout import Dropout
from gradc.nn.layers.normalisation import BatchNorm
from gradc.nn.layers.pooling import GlobalAvgPool, MaxPool
from gradc.nn.layers.shapes import Flatten
from gradc.nn.losses import SoftmaxCrossEntropy
from gradc.nn.network import Network
from gradc.nn.optimisers import Adam, Momentum

RTOL = 1e-3  # float32, three steps


def plain(*widths: int) -> list[Layer]:
    """Convolve and pool, for each width."""
    layers: list[Layer] = []
    for channels in widths:
        layers += [Conv2D(channels, 3, padding="same"), ReLU(), MaxPool(2)]
    return [*layers, Flatten(), Dense(10)]


def digits(rate: float) -> list[Layer]:
    """The network of examples/25, with dropout at a rate."""
    layers: list[Layer] = []
    for channels in (32, 64):
        layers += [Conv2D(channels, 3, padding="same"), BatchNorm(), ReLU(), MaxPool(2)]
    return [*layers, Flatten(), Dropout(rate), Dense(10)]


def separable() -> list[Layer]:
    """Depthwise and pointwise convolutions, after one that is neither."""
    layers: list[Layer] = [Conv2D(32, 3, padding="same"), BatchNorm(), ReLU()]
    for channels in (32, 64):
        layers += [MaxPool(3, stride=2)]
        layers += [Conv2D(channels, 3, padding="same", groups=channels, bias=False), BatchNorm(), ReLU()]
        layers += [Conv2D(2 * channels, 1, bias=False), BatchNorm(), ReLU()]
    return [*layers, GlobalAvgPool(), Dense(10)]


def task(layers: Callable[[], list[Layer]], batch: int, shape: Shape, optimiser: Momentum | Adam) -> Task:
    """Random images, and a network of layers."""

    def make() -> Network:
        return Network(*layers(), shape=shape, loss=SoftmaxCrossEntropy(), dtype="float32")

    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *shape)).astype(np.float32)
    return Task(make, optimiser, x, rng.integers(0, 10, batch))


def compared(made: Task, pause: float = 0.01) -> list[Row]:
    """Measure the ways of a task without dropout, after their losses have been compared."""
    found = ways(made, images=True)
    compare(found, RTOL)
    return measure(found, rtol=RTOL, pause=pause)


def dropped() -> list[Row]:
    """Measure the digits' network with dropout, after the losses without it have been compared."""
    compare(ways(task(lambda: digits(0.0), 64, (1, 8, 8), Adam()), images=True), RTOL)
    found = ways(task(lambda: digits(0.5), 64, (1, 8, 8), Adam()), images=True)
    return measure(found, rtol=1.0, pause=0.01)


def run(small: bool = False) -> dict[str, list[Row]]:
    """Measure all networks; with `small` a tiny one, for each takes long to compile."""
    if small:
        return {"small": compared(task(lambda: plain(2), 4, (3, 8, 8), Momentum(0.01)), pause=0.0)}
    first = task(lambda: plain(32, 64), 64, (3, 32, 32), Momentum(0.01))
    deeper = task(separable, 32, (3, 32, 32), Momentum(0.01))
    return {
        "2 convolutions, momentum, 64x3x32x32": compared(first),
        "digits: 2 convolutions, batch norm, dropout, Adam, 64x1x8x8": dropped(),
        "5 convolutions, depthwise separable, batch norm, momentum, 32x3x32x32": compared(deeper),
    }


if __name__ == "__main__":
    show_machine()
    for title, rows in run().items():
        show(title, rows)
