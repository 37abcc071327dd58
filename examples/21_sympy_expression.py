"""A SymPy expression becomes a compiled function with derivatives; on arrays it works like a ufunc.

SymPy's own derivative is a formula to read; gradc's is a kernel that shares subexpressions with the value.
"""

import numpy as np
import sympy

from gradc import differentiate


def main() -> None:
    x1, x2 = sympy.symbols("x1 x2")
    expression = sympy.log(x1) + x1 * x2 - sympy.sin(x2)
    f = differentiate(expression, args=(x1, x2))
    value, gradient = f.value_and_grad(2, 5)
    print(f"{expression} at (2, 5): {value:.6f}, gradient {gradient}")
    by_sympy = [float(sympy.diff(expression, s).subs({x1: 2, x2: 5})) for s in (x1, x2)]
    assert np.isclose(value, 11.652071455223084, rtol=1e-15)
    assert np.allclose(gradient, by_sympy, rtol=1e-15)
    print(f"  by SymPy: {sympy.diff(expression, x1)} and {sympy.diff(expression, x2)}")

    grid = np.linspace(1, 3, 5)
    first, _ = f.grad(grid, 5.0)
    print("d/dx1 along a line:", first)
    assert np.allclose(first, 1 / grid + 5)

    w, x = sympy.symbols("w:3"), (*sympy.symbols("x:2"), 1)
    neuron = -sympy.log(1 / (1 + sympy.exp(-sum(a * b for a, b in zip(w, x, strict=True)))))
    loss = differentiate(neuron, args=(*w, *x[:2]))
    value, gradient = loss.value_and_grad(2, -3, -3, -1, -2)
    print(f"-log sigmoid(w.x): {value:.4f}, gradient", ", ".join(f"{g:.3f}" for g in gradient))
    p = 1 / (1 + np.exp(-1.0))
    assert np.isclose(value, -np.log(p))
    assert np.allclose(gradient, (p - 1) * np.array([-1, -2, 1, 2, -3]))


if __name__ == "__main__":
    main()
