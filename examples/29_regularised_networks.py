# slow
"""Networks with two and three layers know 300 digits by heart; L1 and L2 keep them from it, each in its own way.

And three ways down for one of them: counted in steps, mini-batches are as good as all examples at once.
"""

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import gradc.nn as nn

TRAINED, EPOCHS, BATCH = 300, 300, 20
HIDDEN = {"two layers": (100,), "three layers": (64, 64)}
REGULARISERS = {"none": None, "L2": nn.L2(1e-3), "L1": nn.L1(3e-4)}
RATE, SHORT, STEPS = 0.05, 60, TRAINED // BATCH
WAYS = {  # one rate for all: what differs is the direction alone
    "gradient descent": (nn.GradientDescent(RATE), TRAINED, SHORT * STEPS),
    "mini-batches": (nn.GradientDescent(RATE), BATCH, SHORT),
    "momentum": (nn.Momentum(RATE), BATCH, SHORT),
}
FIRST = "dense_1.weight"


def digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return few examples and labels to train on, and many to test with."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, labels = data.data[order] / 16, data.target[order]
    return (x[:TRAINED], labels[:TRAINED]), (x[TRAINED:], labels[TRAINED:])


def network(hidden: tuple[int, ...], regulariser: nn.Regulariser | None) -> nn.Network:
    layers = [layer for size in hidden for layer in (nn.Dense(size, initialiser=nn.He()), nn.ReLU())]
    loss = nn.SoftmaxCrossEntropy()
    return nn.Network(*layers, nn.Dense(10), shape=64, loss=loss, regulariser=regulariser)


def all_weights(net: nn.Network) -> np.ndarray:
    return np.concatenate([net.parameters[name].ravel() for name in sorted(net.weights)])


def compare_unused(name: str, before: np.ndarray, after: np.ndarray) -> None:
    """Compare what weights of pixels without ink were with what each regulariser leaves of them."""
    match name:
        case "none":  # no gradient, no change
            assert np.array_equal(after, before)
        case "L2":  # every step takes the same share of each
            left = after / before
            assert np.ptp(left) < 1e-9
            assert 0 < left.mean() < 0.5
        case _:  # L1 takes the same amount in every step, until nothing is left
            assert abs(before).max() > 0.1
            assert abs(after).max() < 1e-5


def regularise(depth: str) -> dict[str, nn.Network]:
    """Train a network of a depth with each regulariser, and compare what becomes of it."""
    trained, test = digits()
    useless = ~trained[0].any(axis=0)  # pixels where no example has ink: the loss cannot see their weights
    nets, gap, norm, sparse = {}, {}, {}, {}
    for name, regulariser in REGULARISERS.items():
        net = nets[name] = network(HIDDEN[depth], regulariser)
        start = net.parameters[FIRST][useless].copy()
        net.fit(*trained, optimiser=nn.Momentum(nn.Cosine(0.1, epochs=EPOCHS)), epochs=EPOCHS, batch=BATCH)
        compare_unused(name, start, net.parameters[FIRST][useless])
        (fitted, _), (loss, accuracy) = net.evaluate(*trained), net.evaluate(*test)
        weights = all_weights(net)
        gap[name], norm[name] = loss - fitted, np.linalg.norm(weights)
        sparse[name] = (abs(weights) < 1e-3).mean()
        shown = f"{fitted:12.4f}  {loss:8.4f}  {accuracy:8.1%}  {norm[name]:15.1f}  {sparse[name]:12.1%}"
        print(f"{depth:14}{name:6}{shown}")
        assert accuracy is not None
        assert accuracy > 0.93
    assert gap["L2"] < 0.9 * gap["none"]
    assert gap["L1"] < gap["none"]
    assert norm["L2"] < 0.7 * norm["none"]
    assert norm["L2"] < norm["L1"]  # small weights, but of all pixels
    assert sparse["L1"] > 0.6
    assert max(sparse["L2"], sparse["none"]) < 0.1
    return nets


def descend() -> dict[str, list[float]]:
    """Return the loss of the training examples after each epoch."""
    trained, _ = digits()
    curves = {}
    for way, (optimiser, batch, epochs) in WAYS.items():
        net = network(HIDDEN["three layers"], REGULARISERS["L2"])
        losses = curves[way] = [net.evaluate(*trained)[0]]

        def note(training: nn.Training, epoch: nn.Epoch, net=net, losses=losses) -> None:
            losses.append(net.evaluate(*trained)[0])

        net.fit(*trained, optimiser=optimiser, epochs=epochs, batch=batch, callbacks=[note])
    return curves


def draw(nets: dict[str, nn.Network], curves: dict[str, list[float]]) -> Figure:
    figure = Figure(figsize=(12, 7), layout="constrained")
    grid = figure.add_gridspec(2, 10)
    for at, unit in enumerate(("epoch", "step")):
        panel = figure.add_subplot(grid[0, 5 * at : 5 * at + 5])
        for way, losses in curves.items():
            per_epoch = TRAINED // WAYS[way][1]
            count = SHORT if unit == "epoch" else len(losses) - 1
            positions = np.arange(count + 1) * (1 if unit == "epoch" else per_epoch)
            panel.semilogy(positions, losses[: count + 1], label=way)
        panel.set(xlabel=unit, ylabel="loss of the training examples", title=f"after the same {unit}s")
        panel.grid(alpha=0.3, which="both")
        panel.legend()
    panel = figure.add_subplot(grid[1, :4])
    for name, net in nets.items():
        sizes = np.log10(abs(all_weights(net)) + 1e-9)
        panel.hist(sizes, bins=60, range=(-9, 1), histtype="step", label=name)
    panel.set(xlabel="log10 of the size of a weight", ylabel="weights", yscale="log")
    panel.legend()
    for at, (name, net) in enumerate(nets.items(), 2):
        panel = figure.add_subplot(grid[1, 2 * at : 2 * at + 2])
        panel.imshow(abs(net.parameters[FIRST]).mean(axis=1).reshape(8, 8), cmap="Greys", vmin=0)
        panel.set(xticks=[], yticks=[], title=f"{name}: mean |w| of a pixel")
    return figure


def main() -> None:
    print("                     loss: trained    test   accuracy   norm of weights   below 1e-3")
    nets = {depth: regularise(depth) for depth in HIDDEN}
    curves = descend()
    with matplotlib.rc_context({"font.size": 9}):
        draw(nets["three layers"], curves).savefig("regularised_networks.png", dpi=110)

    full, batches, momentum = (np.array(curves[way]) for way in WAYS)
    print(f"{TRAINED} examples, mini-batches of {BATCH}; loss after")
    for epoch in (3, 10, 30):
        by_epochs = f"{full[epoch]:.3f}, {batches[epoch]:.3f}, {momentum[epoch]:.3f}"
        print(f"  {epoch:2} epochs of {', '.join(WAYS)}: {by_epochs}")
        assert momentum[epoch] < 0.8 * batches[epoch]
        assert batches[epoch] < 0.8 * full[epoch]
    assert (np.diff(full) < 0).all()  # the one curve without noise
    apart = abs(np.log(full[::STEPS] / batches)).max()
    print(f"  equally many steps: mini-batches and all examples differ by {np.expm1(apart):.0%} at most")
    assert apart < 0.3


if __name__ == "__main__":
    main()
