"""A three-layer network, and why depth is affordable: the gradient with respect to every weight costs a small multiple
of the value, however many weights there are.

The operation counts are those of the programs that gradc compiles, not of a clock.
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


def initial(rng: np.random.Generator, sizes: tuple[int, ...]) -> list[np.ndarray]:
    parameters = []
    for before, after in zip(sizes, sizes[1:], strict=False):
        parameters += [rng.standard_normal((before, after)) / np.sqrt(before), np.zeros(after)]
    return parameters


def main() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (100, 2))
    y = (x[:, :1] * x[:, 1:] > 0) * 1.0  # exclusive or: no network without a hidden layer can learn it
    parameters = initial(rng, (2, 12, 12, 1))

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

    step = np.concatenate([np.ravel(g) for g in loss.grad(*parameters, x, y)])
    velocity = [np.zeros_like(p) for p in parameters]
    for number in range(3001):
        value, gradient = loss.value_and_grad(*parameters, x, y)
        for p, v, g in zip(parameters, velocity, gradient, strict=True):
            v *= 0.9
            v -= 0.5 * g
            p += v
        if number % 600 == 0:
            print(f"step {number:4}: mean squared error {value:.5f}")
    assert step.shape == (count,)
    assert loss(*parameters, x, y) < 0.02


if __name__ == "__main__":
    main()
