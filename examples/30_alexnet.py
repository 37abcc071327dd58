# full
"""AlexNet (Krizhevsky, Sutskever and Hinton, 2012) in full size: 60,965,224 parameters, trained and checked.

The layers are the paper's; the training is not: four images, and no weight decay.
The step that trains is one kernel in float32.  What checks it are differences of the loss in float64, so close that
hardly a ReLU or a maximum turns over between them: at steps that float32 could see, far too many do.
"""

import resource
import sys
import time

import numpy as np
from sklearn.datasets import load_sample_images

import gradc.nn as nn

STEPS = 25
PAPER = {  # what leaves each layer for one image, and how many numbers the layer learns
    "conv2d_1": ((96, 55, 55), 34_944),
    "max_pool_1": ((96, 27, 27), 0),
    "conv2d_2": ((256, 27, 27), 307_456),
    "max_pool_2": ((256, 13, 13), 0),
    "conv2d_3": ((384, 13, 13), 885_120),
    "conv2d_4": ((384, 13, 13), 663_936),
    "conv2d_5": ((256, 13, 13), 442_624),
    "max_pool_3": ((256, 6, 6), 0),
    "dense_1": ((4096,), 37_752_832),
    "dense_2": ((4096,), 16_781_312),
    "dense_3": ((1000,), 4_097_000),
}


class LocalResponse(nn.Layer):
    """Divide every channel by the size of five neighbouring ones (section 3.3 of the paper)."""

    def apply(self, context: nn.Context, x: np.ndarray) -> np.ndarray:
        """Return the channels, divided."""
        squares = np.pad(np.square(x), ((0, 0), (2, 2), (0, 0), (0, 0)))
        near = sum(squares[:, at : at + x.shape[1]] for at in range(5))
        return x / (2 + 1e-4 * near) ** 0.75


def alexnet(dtype: str) -> nn.Network:
    first = nn.Normal(0.01)  # biases start at 0 here, in the paper some at 1
    return nn.Network(
        nn.Conv2D(96, 11, stride=4, initialiser=first),
        nn.ReLU(),
        LocalResponse(),
        nn.MaxPool(3, stride=2),
        nn.Conv2D(256, 5, padding=2, groups=2, initialiser=first),
        nn.ReLU(),
        LocalResponse(),
        nn.MaxPool(3, stride=2),
        nn.Conv2D(384, 3, padding=1, initialiser=first),
        nn.ReLU(),
        nn.Conv2D(384, 3, padding=1, groups=2, initialiser=first),
        nn.ReLU(),
        nn.Conv2D(256, 3, padding=1, groups=2, initialiser=first),
        nn.ReLU(),
        nn.MaxPool(3, stride=2),
        nn.Flatten(),
        nn.Dense(4096, initialiser=first),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Dense(4096, initialiser=first),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Dense(1000, initialiser=first),
        shape=(3, 227, 227),
        loss=nn.SoftmaxCrossEntropy(),
        dtype=dtype,
    )


def photographs() -> tuple[np.ndarray, np.ndarray]:
    """Return two cuttings of each of scikit-learn's two photographs, less the mean colour, and their classes."""
    cuttings = [image[100:327, at : at + 227] for image in load_sample_images().images for at in (60, 350)]
    x = np.array(cuttings, float).transpose(0, 3, 1, 2)
    return x - x.mean(axis=(0, 2, 3), keepdims=True), np.array([0, 0, 1, 1])


def peak_memory() -> float:
    """Return the most GiB that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def compare_with_paper(net: nn.Network) -> None:
    nodes = {node.name: node for node in net.nodes}
    for name, (shape, count) in PAPER.items():
        learned = sum(net.parameters[parameter].size for parameter in nodes[name].parameters)
        print(f"{name:12} {nodes[name].output!s:15} {learned:12,}")
        assert (nodes[name].output, learned) == (shape, count)
    print(f"{'in all':28} {net.size:12,}")
    assert net.size == 60_965_224


def compare_with_differences(x: np.ndarray, labels: np.ndarray, step: float = 1e-9) -> None:
    """Compare the slope of the loss along a random direction of all parameters with a central difference.

    Dropout draws the same numbers each time, for they are made from a seed.
    """
    narrow, net = alexnet("float32"), alexnet("float64")
    start = {name: value.copy() for name, value in net.parameters.items()}
    rng = np.random.default_rng(0)
    direction = {name: rng.standard_normal(value.shape) for name, value in start.items()}

    def slope(net: nn.Network) -> float:
        gradients = net.gradients(x, labels)[1]
        return sum(float(np.vdot(gradients[name], direction[name])) for name in direction)

    def loss(distance: float) -> float:
        for name, value in net.parameters.items():
            value[...] = start[name] + distance * direction[name]
        return net.gradients(x, labels)[0]

    found, found_narrow = slope(net), slope(narrow)
    difference = (loss(step) - loss(-step)) / (2 * step)
    print(f"slope along a random direction: {found:.9f}, in float32 {found_narrow:.6f}")
    print(f"                 by differences {difference:.9f}")
    assert abs(found / difference - 1) < 1e-5
    assert abs(found_narrow / found - 1) < 2e-3


def main() -> None:
    x, labels = photographs()
    net = alexnet("float32")
    compare_with_paper(net)
    training = nn.Training(net, nn.Momentum(5e-3, clip_norm=1.0), x, labels, batch=4)
    losses, seconds = [], []
    for _ in range(STEPS):
        begin = time.perf_counter()
        losses.extend(training.batches())  # four images: an epoch is one step
        seconds.append(time.perf_counter() - begin)
    print(
        f"{seconds[0]:.0f} s for compilation and the first step, {np.median(seconds[1:]):.2f} s for each other"
    )
    print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}; peak memory {peak_memory():.1f} GiB")
    assert abs(losses[0] - np.log(1000)) < 0.1  # small weights: all classes are as likely
    assert max(losses[-3:]) < 2  # four images are soon known by heart, in spite of dropout
    del training, net
    compare_with_differences(x, labels)
    print(f"peak memory {peak_memory():.1f} GiB")
    assert peak_memory() < 8


if __name__ == "__main__":
    main()
