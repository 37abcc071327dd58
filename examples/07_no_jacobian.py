"""A backward pass never forms a Jacobian: it multiplies the cotangent by it, as a formula.

The Jacobian of ``max(0, x)`` on 4096 values and a minibatch of 100 would be a 409600 x 409600 matrix, 1.3 TB of mostly
zeros; the pullback is one comparison per value.  The gradients of ``||W x||^2`` are ``2 q x^T`` and ``2 W^T q``.
"""

import tracemalloc

import numpy as np

from gradc import differentiate


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
    pullback(upstream)  # compiles
    tracemalloc.start()
    cotangent = pullback(upstream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(cotangent, upstream * (x > 0))
    print(f"max(0, x) on 100 x 4096 values: the pullback used {peak / 1e6:.1f} MB")
    print(f"  its Jacobian would take {8 * x.size**2 / 1e12:.1f} TB")
    assert peak < 4 * x.nbytes

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
