"""Two losses for linear scores s = x W: multiclass SVM hinge and softmax cross-entropy, with L1 and L2.

The derivatives every course works out by hand come out of the same few lines of NumPy.
"""

import numpy as np

from gradc import differentiate


@differentiate(wrt="w")
def hinge(w, x, labels, l1, l2):
    rows = np.arange(len(labels))
    scores = x @ w
    correct = scores[rows, labels]
    margins = np.maximum(0, scores - correct[:, None] + 1)
    data = (margins.sum(axis=1) - 1).mean()  # the correct class always contributes 1
    return data + l1 * np.abs(w).sum() + l2 * np.square(w).sum()


@differentiate(wrt="w")
def softmax(w, x, labels, l1, l2):
    powers = np.exp(x @ w)
    probability = powers / powers.sum(axis=1, keepdims=True)
    data = -np.log(probability[np.arange(len(labels)), labels]).mean()
    return data + l1 * np.abs(w).sum() + l2 * np.square(w).sum()


def hinge_by_hand(w, x, labels, l1, l2):
    rows = np.arange(len(labels))
    scores = x @ w
    violated = (scores - scores[rows, labels][:, None] + 1 > 0).astype(float)
    violated[rows, labels] = 0
    violated[rows, labels] = -violated.sum(axis=1)
    return x.T @ violated / len(labels) + l1 * np.sign(w) + 2 * l2 * w


def softmax_by_hand(w, x, labels, l1, l2):
    probability = np.exp(x @ w)
    probability /= probability.sum(axis=1, keepdims=True)
    probability[np.arange(len(labels)), labels] -= 1  # p - 1 at the correct class
    return x.T @ probability / len(labels) + l1 * np.sign(w) + 2 * l2 * w


def main() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 90)
    x = rng.standard_normal((90, 4)) + 2 * np.eye(3, 4)[labels]
    w = 0.1 * rng.standard_normal((4, 3))
    for name, loss, by_hand in (("hinge", hinge, hinge_by_hand), ("softmax", softmax, softmax_by_hand)):
        assert np.allclose(loss.grad(w, x, labels, 1e-3, 1e-2), by_hand(w, x, labels, 1e-3, 1e-2), rtol=1e-11)
        trained = w.copy()
        for _ in range(300):
            trained -= 0.1 * loss.grad(trained, x, labels, 1e-3, 1e-2)
        accuracy = float((np.argmax(x @ trained, axis=1) == labels).mean())
        before, after = (float(loss(p, x, labels, 1e-3, 1e-2)) for p in (w, trained))
        print(f"{name:8} {before:.3f} -> {after:.3f}, accuracy {accuracy:.0%}")
        assert accuracy > 0.85

    # Scores of 1000 overflow exp; gradc recognises log-softmax and computes it without overflow.
    steep = 1e3 * w
    assert np.isfinite(softmax(steep, x, labels, 0.0, 0.0))
    assert np.isfinite(softmax.grad(steep, x, labels, 0.0, 0.0)).all()


if __name__ == "__main__":
    main()
