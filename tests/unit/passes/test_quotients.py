"""The gradient of a division divides once."""

from collections.abc import Sequence

import numpy as np
import pytest

import gradc
from gradc.autodiff.local import vjp_template
from gradc.ir.extents import symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Accumulate, Affine, Assign, Index, Program, Reduce
from gradc.ir.index.show import show_equation
from gradc.ir.index.templates import Template, template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType
from gradc.passes.equations.quotients import shared_quotients

N, M = symbol("n"), symbol("m")
F64 = DType.F64
Indices = tuple[Index, ...]


def rule(position: int) -> Template:
    """What the table of derivatives gives for an operand of a division."""
    found = vjp_template(template("div"), position, lone=False, with_result=True)
    assert found is not None
    assert found.sources == (("y_bar", 1) if position == 0 else ("y_bar", 1, "y"))
    return found.template


def program(
    cotangent: Indices = (0, 1),
    denominator: Indices = (1,),
    quotient: Indices = (1,),
    *,
    added: bool = False,
    late: bool = False,
) -> Program:
    """``a_bar[i, j] = g[i, j] / b[quotient]; b_bar[j] = sum[i] -(g[..] * y[..] / b[..])`` in the space (j, i)."""
    build = Builder()
    g, y = (build.input(name, F64, (N, N)) for name in "gy")
    b = build.input("b", F64, (N,))
    by_rows = Access(g, (0, 1)), Access(b, quotient)
    if added:
        a_bar = build.declare("a_bar", F64, (N, N + 1))
        build.accumulate(a_bar, rule(0), by_rows, (N, N), (0, Affine(((1, 1),), 1)))
    else:
        a_bar = build.assign(rule(0), by_rows, (N, N), F64, name="a_bar")
    operands = (Access(g, cotangent), Access(b, denominator), Access(y, cotangent))
    b_bar = build.assign(rule(1), operands, (N, N), F64, rank=1, reduce=Reduce("sum", F64), name="b_bar")
    if late:
        build.equations.reverse()
    return build.finish((a_bar, b_bar))


def shown(found: Program) -> list[str]:
    return [show_equation(equation) for equation in found.equations]


def numbers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    g, y, b = rng.standard_normal((4, 4)), rng.standard_normal((4, 4)), rng.uniform(1, 2, 4)
    g[1, 2], y[1, 2], b[3] = 0.0, np.inf, -0.5
    return {"g": g, "y": y, "b": b}


def check_values(before: Program, after: Program) -> None:
    verify(after)
    for wanted, found in zip(evaluate(before, numbers()), evaluate(after, numbers()), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-14)


@pytest.mark.parametrize(
    ("cotangent", "denominator", "quotient"),
    [((0, 1), (1,), (1,)), ((1, 0), (0,), (1,)), ((1, 0), (1,), (0,)), ((0, 1), (0,), (0,))],
)
def test_the_denominator_gets_it_from_the_quotient(
    cotangent: Indices, denominator: Indices, quotient: Indices
):
    before = program(cotangent, denominator, quotient)
    after = shared_quotients(before)
    check_values(before, after)
    total = after.equations[1]
    assert isinstance(total, Assign)
    assert [o.tensor for o in total.operands if isinstance(o, Access)] == ["g", "a_bar", "y"]
    assert "/" in shown(after)[0]
    assert "/" not in shown(after)[1]


def test_a_quotient_that_is_added_at_once_gets_a_name():
    before = program(added=True)
    after = shared_quotients(before)
    check_values(before, after)
    assert len(after.equations) == 3
    made, added, total = after.equations
    assert isinstance(made, Assign)
    assert isinstance(added, Accumulate)
    assert added.template.is_copy
    assert added.target == (0, Affine(((1, 1),), 1))
    assert f"{made.out}[" in show_equation(total)
    assert sum("/" in text for text in shown(after)) == 1


@pytest.mark.parametrize(
    "before",
    [
        program((0, 1), (0,), (1,)),  # another element of the denominator
        program((1, 0), (1,), (1,)),
        program(late=True),  # made behind it
    ],
)
def test_what_is_another_quotient_stays(before: Program):
    assert shared_quotients(before) == before


def test_a_sum_of_quotients_is_none():
    build = Builder()
    g, b, y = build.input("g", F64, (N,)), build.input("b", F64, (N, M)), build.input("y", F64, (N, M))
    terms = Access(g, (0,)), Access(b, (0, 1))
    a_bar = build.assign(rule(0), terms, (N, M), F64, rank=1, reduce=Reduce("sum", F64))
    b_bar = build.assign(rule(1), (*terms, Access(y, (0, 1))), (N, M), F64)
    before = build.finish((a_bar, b_bar))
    assert shared_quotients(before) == before


def test_without_a_quotient_nothing_changes():
    build = Builder()
    g, b = build.input("g", F64, (N,)), build.input("b", F64, (N,))
    out = build.assign(rule(0), (Access(g, (0,)), Access(b, (0,))), (N,), F64)
    before = build.finish((out,))
    assert shared_quotients(before) is before


@pytest.mark.parametrize("target", ["cpu", "interpret"])
def test_kernels_divide_once_and_zero_cotangents_stay_zero(target: str):
    def loss(a: np.ndarray, b: np.ndarray, m: np.ndarray):
        return np.where(m > 0, a / b, 0.0).sum()

    function = gradc.differentiate(loss, wrt=("a", "b"), target=target)
    a, b, m = np.array([3.0, 1.0, -2.0]), np.array([2.0, 0.0, 4.0]), np.array([1.0, -1.0, 1.0])
    _, found = function.value_and_grad(a, b, m)
    np.testing.assert_allclose(found, ([0.5, 0, 0.25], [-0.75, 0, 0.125]), rtol=1e-15)


def lines(source: str) -> Sequence[str]:
    return [line for line in source.splitlines() if " / " in line and "#" not in line]


def test_the_printed_kernel_divides_twice():
    function = gradc.differentiate(lambda a, b: np.exp(a / b).sum())
    source = str(function.inspect(np.ones(3), np.ones(3)).source)
    assert len(lines(source[source.index("import") :])) == 2  # the value, and the quotient of both gradients
