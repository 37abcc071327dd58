"""Steepest descent zigzags through a narrow valley; momentum remembers the direction and runs along it.

Both follow the same gradient, which comes from one line of NumPy.
"""

import numpy as np

from gradc import differentiate


@differentiate
def valley(p):
    return (p[0] ** 2 + 50 * p[1] ** 2) / 2


def steepest_descent(p: np.ndarray, rate: float, steps: int) -> list[np.ndarray]:
    path = [p]
    for _ in range(steps):
        p = p - rate * valley.grad(p)
        path.append(p)
    return path


def momentum(p: np.ndarray, rate: float, steps: int, friction: float = 0.8) -> list[np.ndarray]:
    path, velocity = [p], np.zeros_like(p)
    for _ in range(steps):
        velocity = friction * velocity - rate * valley.grad(p)
        p = p + velocity
        path.append(p)
    return path


def main() -> None:
    start, rate = np.array([10.0, 1.0]), 0.035
    plain, heavy = steepest_descent(start, rate, 100), momentum(start, rate, 100)
    print("step   steepest descent        momentum")
    for step in (0, 10, 20, 50, 100):
        print(f"{step:4}   {float(valley(plain[step])):<20.3e} {float(valley(heavy[step])):.3e}")
    # On a quadratic each coordinate shrinks by 1 - rate * curvature: slow along the valley, zigzag across it.
    assert np.allclose(plain[100], start * (1 - rate * np.array([1.0, 50.0])) ** 100, rtol=1e-10)
    assert valley(heavy[100]) < 1e-3 * valley(plain[100])


if __name__ == "__main__":
    main()
