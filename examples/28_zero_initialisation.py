# slow
"""Why weights do not start at zero: hidden units that start alike get the same gradient, and stay alike for ever.

With ReLU it is worse: no weight ever moves.  Random numbers, however small, break the symmetry.
"""

import numpy as np
from sklearn.datasets import load_digits

import gradc.nn as nn
from gradc import differentiate

HIDDEN, FIRST, SECOND = 32, "dense_1.weight", "dense_2.weight"
STARTS = {
    "zeros, ReLU": (nn.Zeros(), nn.ReLU()),
    "zeros, sigmoid": (nn.Zeros(), nn.Sigmoid()),
    "all 0.1, tanh": (nn.Constant(0.1), nn.Tanh()),
    "0.01 normal, tanh": (nn.Normal(0.01), nn.Tanh()),
}


def network(initialiser: nn.Initialiser, activation: nn.Layer) -> nn.Network:
    hidden, scores = nn.Dense(HIDDEN, initialiser=initialiser), nn.Dense(10, initialiser=initialiser)
    return nn.Network(hidden, activation, scores, shape=64, loss=nn.SoftmaxCrossEntropy())


def units(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Return one row per hidden unit: what comes into it, and what goes out of it."""
    return np.hstack([arrays[FIRST].T, arrays[SECOND]])


def different(rows: np.ndarray) -> int:
    """Return how many rows there are that differ by more than rounding."""
    return len(np.unique(rows.round(9), axis=0))


def main() -> None:
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, labels = digits.data[order] / 16, digits.target[order]
    trained, test = (x[:1400], labels[:1400]), (x[1400:], labels[1400:])
    first, nets, accuracy = {}, {}, {}
    print(
        "start                gradients: largest  different   units after 30 epochs: different   test accuracy"
    )
    for name, start in STARTS.items():
        net = nets[name] = network(*start)

        @differentiate(wrt="parameters")
        def loss(parameters, x, labels, net=net):
            return net.objective(parameters, net.statistics, x, labels)[0]

        first[name] = loss.grad(net.parameters, *trained)
        net.fit(*trained, optimiser=nn.Adam(3e-3), epochs=30)
        accuracy[name] = net.evaluate(*test)[1]
        slopes, learned = units(first[name]), units(net.parameters)
        shown = (
            f"{abs(slopes).max():18.2g} {different(slopes):10} {different(learned):34} {accuracy[name]:15.1%}"
        )
        print(f"{name:20} {shown}")

    # What leaves a unit that is 0 has no gradient; and where what leaves is 0, what comes in has none either.
    dead = "zeros, ReLU"
    assert not units(first[dead]).any()
    assert not units(nets[dead].parameters).any()
    assert (
        nets[dead].parameters["dense_2.bias"].any()
    )  # it learns how frequent each digit is, and nothing else
    assert accuracy[dead] < 0.15
    for alike in ("zeros, sigmoid", "all 0.1, tanh"):  # 32 units do the work of one
        assert different(units(first[alike])) == 1
        assert different(units(nets[alike].parameters)) == 1
        assert np.linalg.matrix_rank(nets[alike].parameters[FIRST], tol=1e-6) == 1
        assert accuracy[alike] < 0.7
    random = "0.01 normal, tanh"
    assert different(units(first[random])) == different(units(nets[random].parameters)) == HIDDEN
    assert accuracy[random] > 0.93


if __name__ == "__main__":
    main()
