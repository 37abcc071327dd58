"""Every gate knows its local derivative; the chain rule multiplies them, from the output back to the inputs.

The lecture's circuits: an add gate distributes the gradient, a multiply gate switches its inputs, a max gate
routes it to the winner, and where a value branches the gradients add up.
"""

import numpy as np

from gradc import differentiate


@differentiate
def circuit(x, y, z):
    return (x + y) * z


@differentiate
def neuron(w0, w1, w2, x0, x1):
    return 1 / (1 + np.exp(-(w0 * x0 + w1 * x1 + w2)))


@differentiate
def patterns(x, y, z, w):
    return 2 * (x * y + max(z, w))


@differentiate
def branches(x):
    square = x * x
    return square * np.sin(x) + 3 * square


@differentiate
def textbook(x1, x2):
    return np.log(x1) + x1 * x2 - np.sin(x2)


def main() -> None:
    value, gradient = circuit.value_and_grad(-2.0, 5.0, -4.0)
    print("(x + y) * z at (-2, 5, -4):", value, gradient)
    assert (value, gradient) == (-12.0, (-4.0, -4.0, 3.0))

    value, gradient = neuron.value_and_grad(2.0, -3.0, -3.0, -1.0, -2.0)
    print(f"sigmoid neuron: {value:.2f}, gradient", ", ".join(f"{g:.2f}" for g in gradient))
    assert round(value, 2) == 0.73
    assert [round(g, 2) for g in gradient] == [-0.20, -0.39, 0.20, 0.39, -0.59]

    x, y, z, w = 3.0, -4.0, 2.0, -1.0
    gradient = patterns.grad(x, y, z, w)
    print("2 (x y + max(z, w)): mul switches, add distributes, max routes:", gradient)
    assert gradient == (2 * y, 2 * x, 2.0, 0.0)

    # `square` is used twice: its cotangent is sin(x) from the first use plus 3 from the second.
    x = 0.7
    assert np.isclose(branches.grad(x), (np.sin(x) + 3) * 2 * x + x * x * np.cos(x), rtol=1e-14)

    value, gradient = textbook.value_and_grad(2.0, 5.0)
    print("ln x1 + x1 x2 - sin x2 at (2, 5):", value, gradient)
    assert np.isclose(value, 11.652071455223084, rtol=1e-15)
    assert np.allclose(gradient, (5.5, 2 - np.cos(5.0)), rtol=1e-15)


if __name__ == "__main__":
    main()
