"""Forward mode on hand-made programs: the kinds of equations, zero tangents, ties and contractions."""

import numpy as np
import pytest

from gradc.autodiff.jvp import jvp
from gradc.ir.extents import symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.contraction import classify
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Const, Lookup, Program, Reduce
from gradc.ir.index.templates import template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType

F64 = DType.F64
n, m, k = symbol("n"), symbol("m"), symbol("k")


def tangent_of(program: Program, **inputs: object) -> np.ndarray:
    wrt = tuple(name.removesuffix("_dot") for name in inputs if name.endswith("_dot"))
    values = {name: np.asarray(value) for name, value in inputs.items()}
    return evaluate(verify(jvp(program, wrt)), values)[len(program.outputs)]


def reduced(op: str, body: str) -> Program:
    builder = Builder(op)
    x = builder.input("x", F64, (n,))
    return builder.finish(
        (builder.assign(body, (builder.access(x),), (n,), F64, rank=0, reduce=Reduce(op, F64)),)
    )


@pytest.mark.parametrize(
    ("op", "body", "expected"),
    [
        ("sum", "copy", 111.0),
        ("sum", "square", 2 * (3 * 1 + 2 * 10 + 3 * 100)),
        ("prod", "copy", 6 * 1 + 9 * 10 + 6 * 100),
        ("prod", "square", 2 * 18 * (6 * 1 + 9 * 10 + 6 * 100)),
        ("max", "copy", (1 + 100) / 2),
        ("min", "copy", 10.0),
        ("max", "neg", -10.0),
        ("min", "square", 2 * 2 * 10.0),
    ],
)
def test_reductions(op: str, body: str, expected: float):
    found = tangent_of(reduced(op, body), x=[3.0, 2.0, 3.0], x_dot=[1.0, 10.0, 100.0])
    assert found == pytest.approx(expected)


def test_a_product_beside_zeros_is_exact():
    found = tangent_of(reduced("prod", "copy"), x=[3.0, 0.0, 2.0], x_dot=[1.0, 10.0, 100.0])
    assert found == 60


def test_a_contraction_stays_a_sum_of_contractions():
    builder = Builder("f")
    a, b = builder.input("a", F64, (n, k)), builder.input("b", F64, (k, m))
    operands = (Access(a, (0, 2)), Access(b, (2, 1)))
    c = builder.assign("mul", operands, (n, m, k), F64, rank=2, reduce=Reduce("sum", F64))
    program = verify(jvp(builder.finish((c,)), ("a", "b")))
    assert [classify(equation) is not None for equation in program.equations] == [True, True, True, False]
    rng = np.random.default_rng(1)
    values = {name: rng.normal(size=shape) for name, shape in (("a", (2, 3)), ("a_dot", (2, 3)))}
    values |= {name: rng.normal(size=shape) for name, shape in (("b", (3, 4)), ("b_dot", (3, 4)))}
    expected = values["a_dot"] @ values["b"] + values["a"] @ values["b_dot"]
    np.testing.assert_allclose(evaluate(program, values)[1], expected)


def test_accumulations_move_tangents_to_the_same_places():
    builder = Builder("f")
    x, table = builder.input("x", F64, (3,)), builder.input("table", DType.INT64, (3,))
    c = builder.input("c", F64, (2,))
    out = builder.declare("y", F64, (2,))
    builder.accumulate(out, template("square"), (Access(x, (0,)),), (3,), (Lookup(table, (0,)),))
    builder.accumulate(out, template("exp"), (Access(c, (0,)),), (2,), (0,))
    inputs = {"x": [1.0, 2.0, 3.0], "table": [0, -1, 0], "c": [0.0, 0.0]}
    found = tangent_of(builder.finish((out,)), **inputs, x_dot=[1.0, 10.0, 100.0])
    np.testing.assert_array_equal(found, [2 + 600, 40])


def test_parts_without_tangent_count_as_zero():
    builder = Builder("f")
    x, c = builder.input("x", F64, (2,)), builder.input("c", F64, (1,))
    program = builder.finish((builder.assemble(0, (c, x, c)),))
    found = tangent_of(program, x=[1.0, 2.0], c=[5.0], x_dot=[3.0, 4.0])
    np.testing.assert_array_equal(found, [0, 3, 4, 0])


def test_only_what_an_output_needs_gets_a_tangent():
    builder = Builder("f")
    x, c = builder.input("x", F64, ()), builder.input("c", F64, ())
    used = builder.pointwise("mul", x, builder.pointwise("sin", c))
    builder.pointwise("exp", x)
    mask = builder.assign("gt", (Access(x, ()), Const(0.0, F64)), (), DType.BOOL)
    program = builder.finish((used, mask))
    tangents = verify(jvp(program, ("x",)))
    assert len(tangents.equations) == len(program.equations) + 1
    assert len(tangents.outputs) == 3  # a predicate has no tangent
    np.testing.assert_array_equal(
        evaluate(jvp(program, ("x",), (mask,)), {"x": 1, "c": 1, "x_dot": 1})[2:], []
    )


def test_an_output_that_does_not_vary_has_a_zero_tangent():
    builder = Builder("f")
    builder.input("x", F64, ())
    c = builder.input("c", F64, (n,))
    program = builder.finish((builder.pointwise("sin", c),))
    np.testing.assert_array_equal(tangent_of(program, x=1.0, c=[1.0, 2.0], x_dot=1.0), [0, 0])


def test_a_zero_tangent_is_not_multiplied_by_an_infinite_partial():
    builder = Builder("f")
    x = builder.input("x", F64, (2,))
    program = builder.finish((builder.pointwise("sqrt", x),))
    np.testing.assert_array_equal(tangent_of(program, x=[0.0, 4.0], x_dot=[0.0, 1.0]), [0, 0.25])


def test_a_deep_chain_needs_no_recursion():
    builder = Builder("chain")
    y = builder.input("x", F64, ())
    for _ in range(20_000):
        y = builder.pointwise("sin", y)
    assert len(jvp(builder.finish((y,)), ("x",)).equations) == 40_000
