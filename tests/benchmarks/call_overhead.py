"""What one call from Python costs: value and gradient of the lecture's neuron, and of three elements.

The ratios compare with plain Python written by hand.
"""

import math

import numpy as np
from measuring import Row, Way, measure, show, show_machine

from gradc import differentiate

WEIGHTS = (2.0, -1.0, -3.0, -2.0, -3.0)


@differentiate
def neuron(w0, x0, w1, x1, w2):
    return 1 / (1 + np.exp(-(w0 * x0 + w1 * x1 + w2)))


@differentiate
def squares(x):
    return np.sum(x * x)


def neuron_by_hand(w0: float, x0: float, w1: float, x1: float, w2: float):
    y = 1 / (1 + math.exp(-(w0 * x0 + w1 * x1 + w2)))
    slope = y * (1 - y)
    return y, (slope * x0, slope * w0, slope * x1, slope * w1, slope)


def run(small: bool = False) -> dict[str, list[Row]]:
    rounds = 2 if small else 31
    x = np.array([1.0, -2.0, 3.0])
    kernel = neuron.kernel(*WEIGHTS)
    return {
        "neuron, five Python floats": measure(
            [
                Way("Python by hand", lambda: neuron_by_hand(*WEIGHTS)),
                Way("gradc value_and_grad", lambda: neuron.value_and_grad(*WEIGHTS)),
                Way("gradc kernel", lambda: kernel(*WEIGHTS)),
            ],
            rounds=rounds,
        ),
        "sum(x*x), three elements": measure(
            [
                Way("NumPy by hand", lambda: (np.sum(x * x), 2 * x)),
                Way("gradc value_and_grad", lambda: squares.value_and_grad(x)),
            ],
            rounds=rounds,
        ),
    }


if __name__ == "__main__":
    show_machine()
    for title, rows in run().items():
        show(title, rows)
