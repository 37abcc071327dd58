"""What one call from Python costs: value and gradient of the lecture's neuron, of three elements, of a short chain.

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


@differentiate
def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_by_hand(x: np.ndarray):
    across, along = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    gradient = np.zeros_like(x)
    gradient[1:] = 200 * across
    gradient[:-1] -= 400 * across * x[:-1] + 2 * along
    return np.sum(100 * across**2 + along**2), gradient


def neuron_by_hand(w0: float, x0: float, w1: float, x1: float, w2: float):
    y = 1 / (1 + math.exp(-(w0 * x0 + w1 * x1 + w2)))
    slope = y * (1 - y)
    return y, (slope * x0, slope * w0, slope * x1, slope * w1, slope)


def run(small: bool = False) -> dict[str, list[Row]]:
    rounds = 2 if small else 31
    x = np.array([1.0, -2.0, 3.0])
    kernel = neuron.kernel(*WEIGHTS)
    step, ten = squares.bind(x), np.linspace(-1, 1, 10)
    rosenbrock_step = rosenbrock.bind(ten)
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
                Way("gradc bind", lambda: (step(), step.gradient)),
            ],
            rounds=rounds,
        ),
        "chained Rosenbrock, ten elements": measure(
            [
                Way("NumPy by hand", lambda: rosenbrock_by_hand(ten)),
                Way("gradc value_and_grad", lambda: rosenbrock.value_and_grad(ten)),
                Way("gradc bind", lambda: (rosenbrock_step(), rosenbrock_step.gradient)),
            ],
            rounds=rounds,
        ),
    }


if __name__ == "__main__":
    show_machine()
    for title, rows in run().items():
        show(title, rows)
