"""Depth is affordable: the gradient of every weight together costs a small multiple of the value.

A three-layer network of sigmoids learns exclusive or. The operation counts are those of the programs that
gradc compiles, not of a clock.
"""

import numpy as np

from gradc import differentiate
from gradc.ir.extents import evaluate
from gradc.ir.index.cost import operations


@differentiate(wrt=("w1", "b1", "w2", "b2", "w3", "b3"))
def loss(w1, b1, w2, b2, w3, b3, x, y):
    first = 1 / (1 + np.exp(-(x @ w1 + b1)))
    second = 1 / (1 + np.exp(-(first @ w2 + b2)))
    output = second @ w3 + b3
    return np.square(output - y).mean()


def weights(rng: np.random.Generator, before: int, after: int) -> np.ndarray:
    return rng.standard_normal((before, after)) / np.sqrt(before)


def main() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (100, 2))
    y = (x[:, :1] * x[:, 1:] > 0) * 1.0  # exclusive or: no network without a hidden layer can learn it
    w1, w2, w3 = weights(rng, 2, 12), weights(rng, 12, 12), weights(rng, 12, 1)
    parameters = (w1, np.zeros(12), w2, np.zeros(12), w3, np.zeros(1))

    stages = loss.inspect(*parameters, x, y).stages
    extents: dict[str, int] = {}
    for name, array in zip(stages.program.inputs, (*parameters, x, y), strict=True):
        shape = stages.program.types[name].shape
        extents |= {str(size): n for size, n in zip(shape, array.shape, strict=True)}
    value_only = evaluate(operations(stages.stable), extents)
    value_and_gradient = evaluate(operations(stages.optimised), extents)
    count = sum(parameter.size for parameter in parameters)
    print(f"{count} weights; value: {value_only:,} operations; with gradient: {value_and_gradient:,}")
    assert value_and_gradient < 4 * value_only

    velocity = [np.zeros_like(p) for p in parameters]
    for step in range(2001):
        value, gradient = loss.value_and_grad(*parameters, x, y)
        for p, v, g in zip(parameters, velocity, gradient, strict=True):
            v *= 0.9
            v -= 0.2 * g
            p += v
        if step % 400 == 0:
            print(f"step {step:4}: mean squared error {value:.5f}")
    assert loss(*parameters, x, y) < 0.05


if __name__ == "__main__":
    main()
