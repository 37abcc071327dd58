# slow
"""Ten layers of 500 units before any training: the first weights decide whether numbers and gradients survive.

The table of CS231n (lecture 5), and its other half, the gradients: one kernel returns both for all layers.
Here "Xavier" is the lecture's, with variance 1 / fan_in, which others call LeCun.
"""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import gradc.nn as nn
from gradc import differentiate

DEPTH, UNITS, INPUTS = 10, 500, 1000
TITLES = ("outputs: mean", "outputs: deviation", "gradients of weights: deviation")

STUDIES = {
    "tanh, 0.01 normal": (nn.Normal(0.01), nn.Tanh()),
    "tanh, unit normal": (nn.Normal(1.0), nn.Tanh()),
    "tanh, Xavier": (nn.Lecun(), nn.Tanh()),
    "ReLU, Xavier": (nn.Lecun(), nn.ReLU()),
    "ReLU, He": (nn.He(), nn.ReLU()),
    "batch norm, tanh, 0.01 normal": (nn.Normal(0.01), nn.BatchNorm(), nn.Tanh()),
    "batch norm, tanh, unit normal": (nn.Normal(1.0), nn.BatchNorm(), nn.Tanh()),
}
LECTURE = {  # standard deviations of the ten layers' outputs, as the lecture prints them
    "tanh, 0.01 normal": "0.213081 0.047551 0.010630 0.002378 0.000532 0.000119 0.000026 0.000006 0.000001 0.000000",
    "tanh, unit normal": "0.981879 0.981649 0.981566 0.981750 0.981614 0.981633 0.981668 0.981593 0.981521 0.981612",
    "tanh, Xavier": "0.627953 0.486051 0.407723 0.357108 0.320917 0.292116 0.273387 0.254935 0.239266 0.228008",
    "ReLU, Xavier": "0.582273 0.403795 0.276912 0.198685 0.140299 0.103280 0.072748 0.051572 0.038583 0.026076",
    "ReLU, He": "0.825232 0.827835 0.813855 0.826902 0.834092 0.860035 0.870610 0.889348 0.845357 0.844523",
}


def study(initialiser: nn.Initialiser, *rest: nn.Layer) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return what each layer gives for random inputs, and the gradients of its weights for a random gradient above."""
    layer = nn.Dense(UNITS, bias=False, initialiser=initialiser)
    stack = [nn.Network(layer, *rest, shape=UNITS, loss=nn.SquaredError(), seed=at) for at in range(DEPTH)]

    @differentiate(wrt="parameters", has_aux=True)
    def signal(parameters, x, above):
        outputs = []
        for net, own in zip(stack, parameters, strict=True):
            x, _ = net.forward(own, net.statistics, x, key=0)  # with a key: batch norm as in training
            outputs.append(x)
        return (x * above).sum(), outputs

    rng = np.random.default_rng(0)
    x, above = rng.normal(size=(2, INPUTS, UNITS))
    (_, outputs), gradients = signal.value_and_grad([net.parameters for net in stack], x, above)
    return outputs, [gradient["dense_1.weight"] for gradient in gradients]


def deviations(arrays: list[np.ndarray]) -> np.ndarray:
    return np.array([array.std() for array in arrays])


def draw(found: dict[str, tuple[list[np.ndarray], list[np.ndarray]]]) -> Figure:
    figure = Figure(figsize=(22, 2.1 * len(found)), layout="constrained")
    grid = figure.subplots(len(found), 3 + DEPTH, width_ratios=[2] * 3 + [1] * DEPTH)
    layers = np.arange(1, DEPTH + 1)
    for row, (name, (outputs, gradients)) in zip(grid, found.items(), strict=True):
        row[0].plot(layers, [output.mean() for output in outputs], "o-", color="tab:blue")
        row[0].set_ylim(-0.2, 0.8)
        row[0].set_ylabel(name.replace(", ", ",\n"))
        for panel, arrays, colour in ((row[1], outputs, "tab:red"), (row[2], gradients, "tab:green")):
            panel.semilogy(layers, deviations(arrays), "o-", color=colour)
            panel.set_ylim((1e-7, 3) if arrays is outputs else (1e-6, 1e7))
        for panel in row[:3]:
            panel.set_xticks(layers[::3])
            panel.grid(alpha=0.3)
        for panel, output in zip(row[3:], outputs, strict=True):
            positive = (
                output[output > 0] if "ReLU" in name else output
            )  # the half that is 0 would hide the rest
            panel.hist(
                positive.ravel(), bins=40, range=(0, 3) if "ReLU" in name else (-1, 1), color="tab:gray"
            )
            panel.set_yticks([])
    for panel, title in zip(grid[0], TITLES, strict=False):
        panel.set_title(title)
    for at in layers:
        grid[0, 2 + at].set_title(f"outputs, layer {at}")
    return figure


def main() -> None:
    found = {name: study(*layers) for name, layers in STUDIES.items()}
    output = {name: deviations(outputs) for name, (outputs, _) in found.items()}
    gradient = {name: deviations(gradients) for name, (_, gradients) in found.items()}
    for title, table in (("outputs", output), ("gradients of weights", gradient)):
        print(f"standard deviation of {title}, layers 1 to {DEPTH}")
        for name, row in table.items():
            print(f"  {name:30}", " ".join(f"{value:9.3g}" for value in row))
    with matplotlib.rc_context({"font.size": 8}):
        draw(found).savefig("activation_study.png", dpi=90)

    for (
        name,
        printed,
    ) in LECTURE.items():  # with other random numbers: ReLU keeps chance deviations from layer to layer
        expected = np.array(printed.split(), float)
        assert np.allclose(output[name], expected, rtol=0.2 if "ReLU" in name else 0.03, atol=1e-6), name
    assert output["tanh, 0.01 normal"][-1] < 1e-6  # all numbers die, and each gradient with them
    assert gradient["tanh, 0.01 normal"].max() < 1e-3 * gradient["tanh, Xavier"].min()
    saturated = [(abs(layer) > 0.99).mean() for layer in found["tanh, unit normal"][0]]
    assert (
        min(saturated) > 0.85
    )  # the lecture: almost all neurons saturate, so that nothing flows through them;
    growth = gradient["tanh, unit normal"][:-1] / gradient["tanh, unit normal"][1:]
    assert growth.min() > 2  # but the few that do not multiply by weights of size 22: gradients explode
    assert np.allclose(output["ReLU, Xavier"][1:] / output["ReLU, Xavier"][:-1], 0.5**0.5, rtol=0.1)
    assert gradient["ReLU, He"].min() > 10 * gradient["ReLU, Xavier"].max()
    # Behind batch normalisation the scale of weights does not matter, and their gradients make up for it.
    small, unit = (name for name in STUDIES if name.startswith("batch norm"))
    assert np.allclose(output[small], 0.628, atol=0.01)
    assert np.allclose(output[unit], output[small], rtol=1e-3)
    assert np.allclose(gradient[small], 100 * gradient[unit], rtol=1e-2)


if __name__ == "__main__":
    main()
