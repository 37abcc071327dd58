# slow
"""Two linear classifiers, the support vector machine and softmax, and three ways down, side by side.

An epoch costs the same for all three: gradient descent makes one step of it, mini-batches make 22.
"""

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import gradc.nn as nn

TRAINED, EPOCHS = 1400, 40
WAYS = ("gradient descent", "mini-batches", "momentum")
LOSSES = {  # rates: about the greatest that still goes down steadily with all examples, and one for mini-batches
    "support vector machine": (nn.Hinge(), 0.1, 0.03),
    "softmax": (nn.SoftmaxCrossEntropy(), 2.0, 0.2),
}


def digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return examples and labels to train on, and those to test with."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, labels = data.data[order] / 16, data.target[order]
    return (x[:TRAINED], labels[:TRAINED]), (x[TRAINED:], labels[TRAINED:])


def descend(loss: nn.Loss, optimiser: nn.Optimiser, batch: int) -> tuple[list[float], float, np.ndarray]:
    """Return the loss of all training examples after each epoch, the test accuracy and the weights."""
    trained, test = digits()
    dense = nn.Dense(10, initialiser=nn.Normal(0.01))
    net = nn.Network(dense, shape=64, loss=loss, regulariser=nn.L2(1e-3))
    losses = [net.evaluate(*trained)[0]]

    def note(training: nn.Training, epoch: nn.Epoch) -> None:
        losses.append(net.evaluate(*trained)[0])

    net.fit(*trained, optimiser=optimiser, epochs=EPOCHS, batch=batch, callbacks=[note])
    accuracy = net.evaluate(*test)[1]
    assert accuracy is not None
    return losses, accuracy, net.parameters["dense_1.weight"]


def draw(curves: dict[str, dict[str, list[float]]], templates: dict[str, np.ndarray]) -> Figure:
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    grid = figure.add_gridspec(1 + len(templates), 10, height_ratios=[4, *(1 for _ in templates)])
    for at, (name, ways) in enumerate(curves.items()):
        panel = figure.add_subplot(grid[0, 5 * at : 5 * at + 5])
        for way, losses in ways.items():
            panel.semilogy(losses, label=way)
        panel.set(title=name, xlabel="epoch", ylabel="loss of the training examples")
        panel.grid(alpha=0.3, which="both")
        panel.legend()
    for row, (name, weights) in enumerate(templates.items(), 1):
        for digit, weight in enumerate(weights.T):  # what a class looks for in an image
            panel = figure.add_subplot(grid[row, digit])
            most = abs(weight).max()
            panel.imshow(weight.reshape(8, 8), cmap="RdBu_r", vmin=-most, vmax=most)
            panel.set(xticks=[], yticks=[], title=f"{digit}", ylabel="" if digit else name.replace(" ", "\n"))
    return figure


def main() -> None:
    curves: dict[str, dict[str, list[float]]] = {}
    templates = {}
    for name, (loss, rate, batch_rate) in LOSSES.items():
        curves[name] = {}
        steps = (
            (nn.GradientDescent(rate), TRAINED),
            (nn.GradientDescent(batch_rate), 64),
            (nn.Momentum(batch_rate), 64),
        )
        for way, (optimiser, batch) in zip(WAYS, steps, strict=True):
            losses, accuracy, templates[name] = descend(loss, optimiser, batch)
            curves[name][way] = losses
            print(f"{name:24}{way:18}loss {losses[0]:.3f} to {losses[-1]:.3f}   test accuracy {accuracy:.1%}")
            assert accuracy > (0.96 if way == "momentum" else 0.93)
    with matplotlib.rc_context({"font.size": 9}):
        draw(curves, templates).savefig("linear_classifiers.png", dpi=110)

    for ways in curves.values():  # after as many examples, more steps are ahead, and momentum further
        for epoch in (5, 20, EPOCHS):
            full, batches, momentum = (ways[way][epoch] for way in WAYS)
            assert momentum < batches < full
    hinge, softmax = curves.values()
    assert abs(softmax["momentum"][0] - np.log(10)) < 0.05  # small weights: all ten classes are as likely
    assert abs(hinge["momentum"][0] - 9) < 0.1  # and all nine wrong classes miss the margin of 1


if __name__ == "__main__":
    main()
