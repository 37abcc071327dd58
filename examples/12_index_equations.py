"""A convolution and a max pooling, each one line of index notation; nobody wrote their backward passes."""

import numpy as np

from gradc import differentiate, equation

convolution = equation("y[n,o,p,q] = sum[c,i,j] w[o,c,i,j] * x[n,c,p+i,q+j]")
pooling = equation("y[n,c,p,q] = max[i,j] x[n,c,2*p+i,2*q+j] with i < 2, j < 2")


@differentiate(wrt=("w", "x"))
def loss(w, x):
    maps = np.maximum(convolution(w=w, x=x), 0)
    return np.square(pooling(maps)).sum()


def loss_by_hand(w, x):
    """Do the same with sliding windows: the backward pass takes a screen of index juggling."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    maps = np.einsum("ocij,ncpqij->nopq", w, windows)
    hidden = np.maximum(maps, 0)
    n, o, h, v = hidden.shape
    blocks = hidden.reshape(n, o, h // 2, 2, v // 2, 2)
    pooled = blocks.max(axis=(3, 5), keepdims=True)
    d_hidden = (2 * pooled * (blocks == pooled)).reshape(hidden.shape) * (maps > 0)
    dw = np.einsum("nopq,ncpqij->ocij", d_hidden, windows)
    padded = np.pad(d_hidden, ((0, 0), (0, 0), (2, 2), (2, 2)))
    turned = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(2, 3))
    dx = np.einsum("ocij,nopqij->ncpq", w[:, :, ::-1, ::-1], turned)
    return np.square(pooled).sum(), (dw, dx)


def main() -> None:
    rng = np.random.default_rng(6)
    w, x = rng.standard_normal((4, 3, 3, 3)), rng.standard_normal((2, 3, 10, 10))
    value, (dw, dx) = loss.value_and_grad(w, x)
    expected, (expected_dw, expected_dx) = loss_by_hand(w, x)
    print(f"loss {value:.6f}, gradients of shape {dw.shape} and {dx.shape}")
    assert np.isclose(value, expected, rtol=1e-12)
    assert np.allclose(dw, expected_dw, rtol=1e-10, atol=1e-10)
    assert np.allclose(dx, expected_dx, rtol=1e-10, atol=1e-10)

    # The derived program is index equations again: the cotangent of w is a convolution of x.
    lines = loss.inspect(w, x).optimised.splitlines()
    print("\n".join(line for line in lines if "bar" in line))


if __name__ == "__main__":
    main()
