# slow
"""A convolutional network reads handwritten digits: convolve, normalise, pool, twice, and then one linear layer.

Forward, backward, regulariser, Adam and the running averages are one kernel, and nobody wrote a backward pass.
"""

import sys

import numpy as np
from sklearn.datasets import load_digits

import gradc.nn as nn

EPOCHS, BATCH, TRAINED = 40, 64, 1400


def convnet(seed: int) -> nn.Network:
    return nn.Network(
        nn.Conv2D(32, 3, padding="same"),
        nn.BatchNorm(),
        nn.ReLU(),
        nn.MaxPool(2),
        nn.Conv2D(64, 3, padding="same"),
        nn.BatchNorm(),
        nn.ReLU(),
        nn.MaxPool(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Dense(10),
        shape=(1, 8, 8),
        loss=nn.SoftmaxCrossEntropy(),
        regulariser=nn.L2(1e-4),
        dtype="float32",
        seed=seed,
    )


def show_step(net: nn.Network, optimiser: nn.Optimiser) -> None:
    """Print what the compiler makes of one training step."""
    slots = {
        f"{name}.{slot}": np.zeros_like(value)
        for name, value in net.parameters.items()
        for slot in optimiser.slots()
    }
    x, labels = np.zeros((BATCH, *net.shape), net.dtype), np.zeros(BATCH, np.int64)
    step = net.step_function(optimiser).at(
        net.parameters, net.statistics, slots, x, labels, np.zeros(2, net.dtype), np.zeros(1, np.int64)
    )
    stages = step.inspect("value")
    print(stages.fusion.splitlines()[0])
    print(stages.workspace.split(" (")[0])


def main(seed: int = 0) -> float:
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, labels = digits.images[order, None] / 16, digits.target[order]
    net, optimiser = convnet(seed), nn.Adam(nn.Cosine(2e-3, epochs=EPOCHS))
    print(net)
    show_step(net, optimiser)

    held = {**net.parameters, **net.statistics}
    places = {name: array.ctypes.data for name, array in held.items()}
    before = {name: array.copy() for name, array in held.items()}

    def note(training: nn.Training, epoch: nn.Epoch) -> None:
        if epoch.number in (1, 2) or epoch.number % 10 == 0:
            figures = f"loss {epoch.loss:.4f}  test accuracy {epoch.accuracy:.2%}  {epoch.seconds:.3f} s"
            print(f"epoch {epoch.number:2}  {figures}")

    test = x[TRAINED:], labels[TRAINED:]
    history = net.fit(
        x[:TRAINED],
        labels[:TRAINED],
        optimiser=optimiser,
        epochs=EPOCHS,
        batch=BATCH,
        validation=test,
        seed=seed,
        callbacks=[note],
    )
    seconds = np.median([epoch.seconds for epoch in history.epochs])
    print(f"{seconds:.3f} seconds per epoch of {TRAINED} images, after the first, which compiles")

    # All that is learned, and the running averages, were updated where they were.
    for name, array in {**net.parameters, **net.statistics}.items():
        assert array.ctypes.data == places[name]
        assert not np.array_equal(array, before[name])
        assert array.dtype == np.float32
    wrong = np.flatnonzero(net.predict(test[0]).argmax(axis=1) != test[1])
    print(f"{len(wrong)} of {len(test[1])} test images are read wrongly")
    accuracy = 1 - len(wrong) / len(test[1])
    assert accuracy == history.last.accuracy
    return accuracy


if __name__ == "__main__":
    assert main(*map(int, sys.argv[1:])) >= 0.985
