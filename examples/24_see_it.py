"""See a compilation: the circuit with a value and a gradient on every wire, the mathematics, and why loops are apart.

The picture is an SVG (.png and .dot work too); `gradc report FILE:FUNCTION -o report.html` puts all of it on a page.
"""

import numpy as np

from gradc import differentiate


@differentiate
def neuron(w0, x0, w1, x1, w2):
    return 1 / (1 + np.exp(-(w0 * x0 + w1 * x1 + w2)))


@differentiate(wrt=("V", "W"))
def network(V, W, x, y):
    h = np.tanh(x @ V)
    p = h @ W
    return np.square(p - y).sum()


def main() -> None:
    picture = neuron.inspect(2.0, -1.0, -3.0, -2.0, -3.0).graph("neuron.svg")
    print(picture)  # open neuron.svg: the lecture's figure
    gates = {
        node.label: float(np.round(node.gradient, 2)) for node in picture.graph.nodes if node.kind == "gate"
    }
    assert gates["exp"] == -0.53
    assert gates["1/x"] == 1.0

    rng = np.random.default_rng(0)
    arguments = [rng.normal(size=shape) for shape in ((4, 8), (8, 3), (20, 4), (20, 3))]
    stages = network.inspect(*arguments)
    print(stages.mathematics)
    assert "∂L/∂W_jk = Σ_l 2 (p_lk - y_lk) h_lj" in stages.mathematics
    print(stages.fusion)  # what shares a loop, and why the rest does not
    print(stages.residuals)  # what the backward pass needs of the forward pass
    assert stages.graph(by="kernels").graph.size == 8


if __name__ == "__main__":
    main()
