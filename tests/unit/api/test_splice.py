"""Parts of programs taken out and put back: names, what is repeated, what stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradc.autodiff.vjp import gradient
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Assign, Program
from gradc.ir.index.splice import detach, segment, splice
from gradc.ir.index.templates import template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType

F64 = DType.F64


def started() -> tuple[Builder, str, str]:
    build = Builder("f")
    x, c = build.input("x", F64, (3,)), build.input("c", F64, (3,))
    return build, x, c


def test_a_segment_reads_what_it_does_not_define():
    build, x, c = started()
    before = build.pointwise("exp", x, name="before")
    start = len(build.equations)
    product = build.pointwise("mul", before, c, name="product")
    program = segment(build, start, (), (build.pointwise("sin", product, name="end"),))
    assert program.inputs == (before, c)
    assert program.outputs == ("end",)
    assert len(verify(program).equations) == 2


def test_a_derived_program_adds_only_what_is_new():
    build, x, c = started()
    start = len(build.equations)
    build.pointwise("mul", x, c, name="h")
    total = build.assign("square", (build.access("h"),), (3,), F64, name="s")
    one = build.pointwise("sin", total, name="y")
    program = segment(build, start, (x,), (one,))
    derived = gradient(replace(program, outputs=(one,)), (x,))
    names = splice(build, derived, known=program)
    assert set(names) == {"y_bar", "s_bar", "h_bar", "x_bar"}
    again = splice(build, derived, known=program)
    assert again["x_bar"] == "x_bar_2"
    finished = verify(build.finish((one, names["x_bar"], again["x_bar"])))
    inputs = {"x": np.array([0.1, 0.2, 0.3]), "c": np.array([1.0, 2.0, 3.0])}
    _, first, second = evaluate(finished, inputs)
    h = inputs["x"] * inputs["c"]
    np.testing.assert_allclose(first, np.cos(h**2) * 2 * h * inputs["c"])
    np.testing.assert_array_equal(first, second)


def test_what_depends_on_a_changed_equation_is_repeated():
    build, x, _ = started()
    build.pointwise("exp", x, name="a")
    build.pointwise("neg", "a", name="b")
    build.pointwise("sin", x, name="other")
    program = segment(build, 0, (x,), ("b", "other"))
    first = program.equations[0]
    assert isinstance(first, Assign)
    changed = Program(
        "f",
        program.inputs,
        (replace(first, template=template("cos")), *program.equations[1:]),
        program.outputs,
        program.types,
    )
    names = splice(build, changed, known=program)
    assert names == {"a": "a_2", "b": "b_2"}
    inputs = {"x": np.ones(3), "c": np.ones(3)}
    found = evaluate(verify(build.finish(("b", "b_2", "other"))), inputs)
    np.testing.assert_allclose(found[0], -np.exp(1))
    np.testing.assert_allclose(found[1], -np.cos(1))


def test_detaching_leaves_what_does_not_depend_on_the_placeholders():
    build, x, c = started()
    seed = build.declare("seed", F64, (3,))
    constant = build.pointwise("exp", c, name="k")
    build.pointwise("mul", seed, constant, name="g")
    sums = build.declare("sums", F64, (3,))
    for name in (constant, "g"):
        build.accumulate(sums, template("copy"), (build.access(name),), (3,), (0,))
    program = detach(build, 0, (seed,), (sums,))
    assert [equation.out for equation in build.equations if isinstance(equation, Assign)] == ["k"]
    assert program.inputs == (seed, constant)
    assert len(verify(program).equations) == 3
    assert seed not in build.types
    names = splice(build, program, {seed: x})
    assert names[sums] == "sums"  # the name was free again
    inputs = {"x": np.full(3, 2.0), "c": np.zeros(3)}
    np.testing.assert_array_equal(evaluate(verify(build.finish((names[sums],))), inputs)[0], np.full(3, 3.0))
