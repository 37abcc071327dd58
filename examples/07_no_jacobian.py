"""A backward pass never forms a Jacobian: it multiplies the cotangent by it, as a formula.

The Jacobian of ``max(0, x)`` on 4096 values and a minibatch of 100 would be a 409600 x 409600 matrix of
mostly zeros; the pullback is one comparison per value. The gradients of ``||W x||^2`` with ``q = W x`` are
``2 q x^T`` and ``2 W^T q``.
"""

import math

import numpy as np

from gradc import differentiate
from gradc.ir.extents import evaluate


@differentiate
def relu(x):
    return np.maximum(0, x)


@differentiate
def squared_length(w, x):
    q = w @ x
    return np.square(q).sum()


@differentiate
def product(w, x):
    return w @ x


def main() -> None:
    rng = np.random.default_rng(4)
    x, upstream = rng.standard_normal((100, 4096)), rng.standard_normal((100, 4096))
    _, pullback = relu.vjp(x)
    cotangent = pullback(upstream)
    assert np.array_equal(cotangent, upstream * (x > 0))

    stages = relu.at(x).inspect("vjp").stages
    extents = {str(size): n for size, n in zip(stages.program.types["x"].shape, x.shape, strict=True)}
    tensors = stages.optimised.types.values()
    largest = max(math.prod(evaluate(size, extents) for size in tensor.shape) for tensor in tensors)
    print(f"max(0, x) on 100 x 4096 values: the largest tensor of the pullback has {largest:,} elements")
    print(f"  its Jacobian would have {x.size**2:,}: {8 * x.size**2 / 1e12:.1f} TB")
    assert largest == x.size

    w, x = np.array([[0.1, 0.5], [-0.3, 0.8]]), np.array([0.2, 0.4])
    value, (dw, dx) = squared_length.value_and_grad(w, x)
    q = w @ x
    print(f"||W x||^2 = {value:.3f}\nd/dW = 2 q x^T =\n{dw}\nd/dx = 2 W^T q = {dx}")
    assert np.isclose(value, 0.116)
    assert np.allclose(dw, 2 * np.outer(q, x))
    assert np.allclose(dw, [[0.088, 0.176], [0.104, 0.208]])
    assert np.allclose(dx, 2 * w.T @ q)
    assert np.allclose(dx, [-0.112, 0.636])

    # Asked for, a Jacobian is formed; d q_k / d W_ij is x_j where k = i, else 0: the zeros are the point.
    jacobian, _ = product.jacobian(w, x)
    assert np.allclose(jacobian, np.einsum("ki,j->kij", np.eye(2), x))


if __name__ == "__main__":
    main()
