"""The perceptron, linear and logistic regression learn by the same rule: weights += rate * error * input.

For all three, the rule is the gradient that gradc derives from a loss; the perceptron's has a kink at zero.
"""

import numpy as np

from gradc import differentiate


def linear(w, x):
    return x @ w


def logistic(w, x):
    return 1 / (1 + np.exp(-(x @ w)))


@differentiate(wrt="w")
def squared_error(w, x, t):
    return np.square(t - linear(w, x)).sum() / 2


@differentiate(wrt="w")
def cross_entropy(w, x, t):
    p = logistic(w, x)
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum()


@differentiate(wrt="w")
def perceptron(w, x, sign):
    return np.maximum(0, -sign * (x @ w)).sum()


def train(loss, w, x, t, rate: float, steps: int) -> np.ndarray:
    for _ in range(steps):
        w = w - rate * loss.grad(w, x, t)
    return w


def main() -> None:
    rng = np.random.default_rng(1)
    truth = np.array([2.0, -1.0, 0.5])
    x = np.column_stack((rng.standard_normal((60, 2)), np.ones(60)))
    w = rng.standard_normal(3)

    t = x @ truth
    assert np.allclose(squared_error.grad(w, x, t), -(t - linear(w, x)) @ x, rtol=1e-12)
    print("linear delta rule: -(t - w.x) x")
    found = train(squared_error, w, x, t, 0.01, 400)
    print("  learned", found.round(3))
    assert np.allclose(found, truth, atol=1e-3)

    t = (x @ truth > 0).astype(float)
    assert np.allclose(cross_entropy.grad(w, x, t), -(t - logistic(w, x)) @ x, rtol=1e-12)
    print("logistic delta rule: -(t - sigmoid(w.x)) x")
    found = train(cross_entropy, w, x, t, 0.1, 500)
    accuracy = float(((x @ found > 0) == (t > 0)).mean())
    print(f"  accuracy {accuracy:.0%}")
    assert accuracy > 0.95

    sign = 2 * t - 1
    wrong = sign * (x @ w) < 0
    assert np.allclose(perceptron.grad(w, x, sign), -(sign * wrong) @ x, rtol=1e-12)
    print("perceptron rule: -sign x, for the", wrong.sum(), "misclassified examples only")
    found = train(perceptron, w, x, sign, 0.1, 500)
    print("  mistakes left:", int((sign * (x @ found) < 0).sum()))
    assert perceptron(found, x, sign) < 0.01 * perceptron(w, x, sign)


if __name__ == "__main__":
    main()
