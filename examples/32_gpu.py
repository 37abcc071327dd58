"""The same function as kernels for a GPU: read them, assemble them and plan them without one.

Needs `pip install -e ".[cuda]"`.  On a machine with a GPU, or with NUMBA_ENABLE_CUDASIM=1, it runs them too.
"""

import re

import numpy as np

import gradc
from gradc import differentiate
from gradc.errors import DeviceError


def loss(w1, b1, w2, x, y):
    hidden = np.tanh(x @ w1 + b1)
    return np.square(hidden @ w2 - y).mean()


def main() -> None:
    rng = np.random.default_rng(0)
    shapes = ((4, 8), (8,), (8, 2), (16, 4), (16, 2))
    arguments = tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)
    on_gpu = differentiate(loss, wrt=("w1", "b1", "w2"), target="cuda")

    stages = on_gpu.inspect(*arguments)
    kernels = re.findall(r"^def (\w+)\(", stages.source, re.MULTILINE)
    print(*kernels, sep="\n")
    # Bias and tanh are computed where the product is: nobody reads x @ w1 itself, so it is never stored.
    product = stages.source.split("\n\n\n")[1]
    assert "tanh" in product
    print(stages.launches)  # what the host starts: grids, bytes, operations, the time that takes at least

    # The gradient is that of every target; there are no other rules for a GPU.
    expected = differentiate(loss, wrt=("w1", "b1", "w2"), target="interpret").value_and_grad(*arguments)
    try:
        value, gradients = on_gpu.value_and_grad(*gradc.to_device(arguments))
    except DeviceError as error:
        print(f"not run: {error.what}")
        return
    assert np.isclose(float(value), expected[0], rtol=1e-5)
    for one, two in zip(gradients, expected[1], strict=True):
        assert np.allclose(one.copy_to_host(), two, rtol=1e-4, atol=1e-6)
    print("the same numbers as the interpreter's")


if __name__ == "__main__":
    main()
