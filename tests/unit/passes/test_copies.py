"""Whole copies are read through; what is less than a copy, and results, stay."""

import numpy as np

from gradc.ir.extents import symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Assign, Lookup, Program, Reduce, fixed
from gradc.ir.index.show import show_equation
from gradc.ir.index.templates import template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType
from gradc.passes.equations.copies import without_copies

F64, F32, I64 = DType.F64, DType.F32, DType.INT64
N, M = symbol("n"), symbol("m")
COPY = template("copy")
X = np.arange(1.0, 13.0).reshape(3, 4)


def copied(build: Builder, x: str, name: str) -> str:
    """``name[i, j] = x[i, j]``."""
    return build.assign("copy", (Access(x, (0, 1)),), (N, M), F64, name=name)


def same(before: Program, **inputs: np.ndarray) -> list[str]:
    """The equations of the program without its copies, which has the same values."""
    found = verify(without_copies(before))
    inputs = inputs or {"x": X}
    for mine, theirs in zip(evaluate(found, inputs), evaluate(before, inputs), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    return [show_equation(equation) for equation in found.equations]


def test_copies_of_copies_are_read_through():
    build = Builder()
    w = copied(build, copied(build, build.input("x", F64, (N, M)), "v"), "w")
    y = build.assign("sin", (Access(w, (0, 1)),), (N, M), F64, rank=1, reduce=Reduce("sum", F64), name="y")
    before = build.finish((y,))
    assert same(before) == ["y[i] = sum[j] sin(x[i, j])"]
    assert set(without_copies(before).types) == {"x", "y"}


def test_axes_of_one_element_are_those_of_what_is_copied():
    build = Builder()
    x = build.input("x", F64, (N, 1))
    v, y = build.declare("v", F64, (N, 1)), build.declare("y", F64, (N,))
    build.equations.append(Assign(v, (N, 1), 2, None, COPY, (Access(x, (0, 1)),)))
    total = Reduce("sum", F64)
    build.equations.append(Assign(y, (N, 1), 1, total, template("sin"), (Access(v, (0, 1)),)))
    assert same(build.finish((y,)), x=X[:, :1]) == ["y[i] = sum[j] sin(x[i, j])"]


def test_results_stay():
    build = Builder()
    v = copied(build, build.input("x", F64, (N, M)), "v")
    before = build.finish((v, copied(build, v, "w")))
    assert without_copies(before) is before


def test_a_table_of_look_ups_is_read_where_it_is():
    build = Builder()
    x, at = build.input("x", F64, (N,)), build.input("at", I64, (M,))
    table = build.assign("copy", (Access(at, (0,)),), (M,), I64, name="table")
    y = build.assign("sin", (Access(x, (Lookup(table, (0,)),)),), (M,), F64, name="y")
    found = same(build.finish((y,)), x=np.arange(3.0), at=np.array([2, 0]))
    assert found == ["y[i] = sin(x[at[i]])"]


def test_what_is_less_than_a_copy_stays():
    build = Builder()
    x = build.input("x", F64, (N, N))
    turned = build.assign("copy", (Access(x, (1, 0)),), (N, N), F64, name="turned")
    narrow = build.assign("copy", (Access(x, (0, 1)),), (N, N), F32, name="narrow")
    row = build.assign("copy", (Access(x, (fixed(0), 0)),), (N,), F64, name="row")
    often = Reduce("sum", F64)
    total = build.assign("copy", (Access(row, (0,)),), (N, N), F64, rank=1, reduce=often, name="total")
    outputs = [
        build.assign("sin", (Access(name, tuple(range(rank))),), (N,) * rank, dtype)
        for name, rank, dtype in ((turned, 2, F64), (narrow, 2, F32), (row, 1, F64), (total, 1, F64))
    ]
    before = build.finish(tuple(outputs))
    assert without_copies(before) is before
