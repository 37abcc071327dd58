"""A method can be differentiated: the instance is no argument of the gradient.

Its arrays are read at each call, so that changed data needs no new compilation.
"""

import numpy as np

from gradc import differentiate


class Ridge:
    """Least squares with a penalty on large weights."""

    def __init__(self, x: np.ndarray, y: np.ndarray, penalty: float) -> None:
        self.x, self.y, self.penalty = x, y, penalty
        self.weights = np.zeros(x.shape[1])

    @differentiate
    def loss(self, weights):
        """Mean squared error plus penalty."""
        return np.square(self.x @ weights - self.y).mean() + self.penalty * np.square(weights).sum()

    def fit(self, rate: float, steps: int) -> None:
        """Descend from the present weights."""
        for _ in range(steps):
            self.weights = self.weights - rate * self.loss.grad(self.weights)

    def solution(self) -> np.ndarray:
        """Solve for the minimum."""
        n, d = self.x.shape
        return np.linalg.solve(self.x.T @ self.x / n + self.penalty * np.eye(d), self.x.T @ self.y / n)


def main() -> None:
    rng = np.random.default_rng(8)
    x = rng.standard_normal((80, 5))
    model = Ridge(x, x @ np.arange(5.0) + 0.1 * rng.standard_normal(80), penalty=0.1)
    model.fit(0.2, 200)
    print("descent:   ", model.weights.round(4))
    print("solved for:", model.solution().round(4))
    assert np.allclose(model.weights, model.solution(), atol=1e-8)

    model.y = -model.y  # other data, same kernel
    model.fit(0.2, 300)
    assert np.allclose(model.weights, model.solution(), atol=1e-8)
    print("after y changed its sign:", model.weights.round(4))


if __name__ == "__main__":
    main()
