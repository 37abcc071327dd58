"""Gradients multiply by the reciprocal of what many of their elements are divided by."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

import gradc
from gradc.ir.extents import Size, symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Affine, Index, Lookup, Program
from gradc.ir.index.show import show_equation
from gradc.ir.index.templates import StrongZero, Template, composite, placeholder
from gradc.ir.index.verify import verify
from gradc.ir.types import DType
from gradc.passes.equations.reciprocals import shared_reciprocals

N, M = symbol("n"), symbol("m")
F64 = DType.F64
A, B, C = (placeholder(at) for at in range(3))
QUOTIENT = composite(StrongZero(A, A / B), (A, B))


def program(
    divisor: tuple[Index, ...] = (0,),
    *,
    template: Template = QUOTIENT,
    space: tuple[Size, ...] = (N, M),
    times: int = 1,
) -> Program:
    """``a_bar[i, j] = g[i, j] / b[divisor]``."""
    build = Builder()
    g, b = build.input("g", F64, space), build.input("b", F64, (N,) * len(divisor))
    build.input("at", DType.INT64, (N,))
    operands = (Access(g, tuple(range(len(space)))), Access(b, divisor))
    return build.finish(tuple(build.assign(template, operands, space, F64) for _ in range(times)))


def shown(found: Program) -> list[str]:
    return [show_equation(equation) for equation in found.equations]


def divisions(text: str) -> int:
    return text.replace("1/2", "").count("/") + text.count("reciprocal(")


def test_one_division_for_a_row():
    before = program(times=2)
    after = shared_reciprocals(before)
    verify(after)
    texts = shown(after)
    assert [divisions(text) for text in texts] == [1, 0, 0]  # one reciprocal for both
    assert after.types[after.equations[0].out].shape == (N,)  # pyright: ignore[reportAttributeAccessIssue]
    rng = np.random.default_rng(0)
    g, b = rng.standard_normal((3, 4)), np.array([3.0, 0.0, -np.inf])
    g[:, 1] = 0  # and nothing is divided: not even by 0
    values = {"g": g, "b": b, "at": np.arange(3)}
    found = evaluate(after, values)
    np.testing.assert_allclose(found, evaluate(before, values), rtol=4e-16)
    assert found[1][1, 1] == 0
    assert np.isinf(found[1][1, 0])


def test_an_element_of_a_row():
    after = shared_reciprocals(program((Affine(((1, 0),), 0), Affine((), 2))))
    verify(after)
    assert [divisions(text) for text in shown(after)] == [1, 0]


@pytest.mark.parametrize(
    ("divisor", "options"),
    [
        ((0, 1), {}),  # every element has a divisor of its own
        ((0,), {"space": (N, 1)}),  # nor is there another index where its extent is 1
        ((Lookup("at", (0,)),), {}),  # as many reciprocals as the table is long
        ((0,), {"template": composite(A / B, (A, B))}),  # of the program itself
        ((0,), {"template": composite(StrongZero(A, A / B + B), (A, B))}),  # the divisor is needed as well
        ((0,), {"template": composite(StrongZero(A, A / (1 + B)), (A, B))}),
    ],
)
def test_what_stays_a_division(divisor: tuple[Index, ...], options: dict[str, object]):
    before = program(divisor, **options)  # type: ignore[arg-type]
    assert shown(shared_reciprocals(before)) == shown(before)


def test_two_divisors():
    """Each in its own indices; what is divided by a number of every element stays so."""
    build = Builder()
    g = build.input("g", F64, (N, M))
    b, c = build.input("b", F64, (N,)), build.input("c", F64, (M,))
    template = composite(StrongZero(A, sympy.Rational(1, 2) * A / (B * C)), (A, B, C))
    operands = (Access(g, (0, 1)), Access(b, (0,)), Access(c, (1,)))
    before = build.finish((build.assign(template, operands, (N, M), F64),))
    after = shared_reciprocals(before)
    verify(after)
    assert [divisions(text) for text in shown(after)] == [1, 1, 0]
    rng = np.random.default_rng(1)
    values = {"g": rng.standard_normal((3, 4)), "b": rng.uniform(1, 2, 3), "c": rng.uniform(1, 2, 4)}
    np.testing.assert_allclose(evaluate(after, values)[0], evaluate(before, values)[0], rtol=1e-15)


def test_the_gradient_of_a_normalised_row():
    def normalised(x: np.ndarray) -> np.ndarray:
        return np.sum(np.sin(x / np.sqrt(np.sum(x * x, axis=1, keepdims=True))))

    x = np.random.default_rng(2).standard_normal((3, 5))
    loss = gradc.differentiate(normalised)
    text = loss.at(x).inspect(of="grad").source
    assert text.count(" / ") >= 1
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    turned = np.cos(unit)
    expected = (turned - unit * np.sum(turned * unit, axis=1, keepdims=True)) / np.linalg.norm(
        x, axis=1, keepdims=True
    )
    np.testing.assert_allclose(loss.grad(x), expected, rtol=1e-13)
    assert "reciprocal(" in text or "1.0 / " in text
