"""Three ways to differentiate l(n+1) = 4 l(n) (1 - l(n)): numerically, symbolically, automatically.

The expanded symbolic derivative doubles with every iteration and the numerical one loses half its digits;
reverse mode grows by the same few operations per iteration and is exact to rounding.
"""

import math

import sympy

from gradc import differentiate
from gradc.ir.extents import evaluate
from gradc.ir.index.cost import operations


def logistic(x, n):
    for _ in range(n - 1):
        x = 4 * x * (1 - x)
    return x


l4 = differentiate(lambda x: logistic(x, 4))
l20 = differentiate(lambda x: logistic(x, 20))


def exact(x: float, n: int) -> float:
    """Use the closed form: l(n) = sin^2(2^(n-1) t) with x = sin^2 t."""
    t, factor = math.asin(math.sqrt(x)), 2 ** (n - 1)
    return factor * math.sin(2 * factor * t) / math.sin(2 * t)


def symbolic_operations(n: int) -> tuple[int, int]:
    """Operations of the derivative as SymPy's product rule leaves it, and expanded into powers of x."""
    x = sympy.Symbol("x")
    derivative = sympy.diff(logistic(x, n), x)
    return int(derivative.count_ops()), int(sympy.expand(derivative).count_ops())


def automatic_operations(n: int) -> int:
    function = differentiate(lambda x: logistic(x, n), target="interpret")
    return evaluate(operations(function.inspect(0.3).stages.optimised), {})


def numerical(n: int, x: float, h: float = 1e-6) -> float:
    return (logistic(x + h, n) - logistic(x - h, n)) / (2 * h)


def main() -> None:
    print("operations of the derivative:\n n   product rule   expanded   reverse mode (value included)")
    for n in range(2, 7):
        product_rule, expanded = symbolic_operations(n)
        print(f"{n:2} {product_rule:14} {expanded:10} {automatic_operations(n):14}")
    counts = {n: automatic_operations(n) for n in (4, 8, 12, 20)}
    print(f"20 {'':14} {'> 2^19':>10} {counts[20]:14}")  # l20 is a polynomial of degree 2^19
    assert counts[12] - counts[8] == counts[8] - counts[4]  # a constant number per iteration
    assert counts[20] - counts[12] == 2 * (counts[8] - counts[4])
    assert symbolic_operations(6)[1] > 2 * symbolic_operations(5)[1]

    x = 0.3
    print(f"\nat x = {x}:      symbolic or closed form   numerical                automatic")
    for n, function in ((4, l4), (20, l20)):
        automatic, difference, truth = function.grad(x), numerical(n, x), exact(x, n)
        print(f"l{n:<2} derivative  {truth:<25.17g} {difference:<24.17g} {automatic:.17g}")
        # The map is chaotic: it amplifies rounding as it amplifies x, for every method.
        assert math.isclose(automatic, truth, rel_tol=1e-15 * 2 ** (n + 2))
        assert abs(automatic - truth) < 1e-2 * abs(difference - truth)

    symbol = sympy.Symbol("x")
    written_out = sympy.expand(sympy.diff(logistic(symbol, 4), symbol))
    print(f"\nl4' written out: {written_out}")
    assert math.isclose(float(written_out.subs(symbol, x)), l4.grad(x), rel_tol=1e-12)


if __name__ == "__main__":
    main()
