"""`vmap` of a gradient gives one gradient per example, where a loss over the batch would only give their sum.

Clipping each example's gradient before adding them up limits what a single outlier can do.
"""

import numpy as np

from gradc import differentiate, vmap


@differentiate(wrt=("w", "b"))
def loss(w, b, x, y):
    """Of one example: `x` is a vector, `y` a number."""
    return np.square(x @ w + b - y)


@differentiate(wrt=("w", "b"))
def total(w, b, x, y):
    return np.square(x @ w + b - y).sum()


per_example = vmap(loss.grad, in_axes=(None, None, 0, 0))


def main() -> None:
    rng = np.random.default_rng(10)
    truth = np.array([1.0, -2.0, 3.0])
    x = rng.standard_normal((50, 3))
    y = x @ truth + 0.5
    y[7] += 100.0  # an outlier

    dw, db = per_example(np.zeros(3), 0.0, x, y)
    assert dw.shape == (50, 3)
    assert db.shape == (50,)
    whole_dw, whole_db = total.grad(np.zeros(3), 0.0, x, y)
    assert np.allclose(dw.sum(axis=0), whole_dw)
    assert np.allclose(db.sum(), whole_db)
    norms = np.sqrt(np.square(dw).sum(axis=1) + np.square(db))
    print("largest gradient norm:", norms.max().round(1), "of example", norms.argmax())
    assert norms.argmax() == 7

    plain, clipped = (np.zeros(3), 0.0), (np.zeros(3), 0.0)
    for _ in range(2000):
        dw, db = total.grad(*plain, x, y)
        plain = (plain[0] - 0.002 * dw, plain[1] - 0.002 * db)
        dw, db = per_example(*clipped, x, y)
        scale = np.minimum(1, 1 / np.sqrt(np.square(dw).sum(axis=1) + np.square(db) + 1e-12))
        clipped = (clipped[0] - 0.01 * scale @ dw, clipped[1] - 0.01 * scale @ db)
    print("truth:        ", truth, 0.5)
    print("plain descent:", plain[0].round(2), round(float(plain[1]), 2))
    print("clipped:      ", clipped[0].round(2), round(float(clipped[1]), 2))
    assert np.abs(clipped[0] - truth).max() < 0.1 < np.abs(plain[0] - truth).max()


if __name__ == "__main__":
    main()
