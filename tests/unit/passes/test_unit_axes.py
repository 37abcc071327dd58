"""Axes of one element that sums keep are dropped where only equations read them."""

import numpy as np

from gradc.ir.extents import symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Assemble, Assign, Lookup, Program, Reduce, fixed
from gradc.ir.index.show import show_equation
from gradc.ir.index.templates import template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType
from gradc.passes.equations.simplify import simplify
from gradc.passes.equations.unit_axes import without_unit_axes

F64 = DType.F64
N, M = symbol("n"), symbol("m")
X = np.arange(1.0, 13.0).reshape(3, 4)


def kept_sum(build: Builder, x: str) -> str:
    """``v[i, j] = sum[k] x[i, k]`` with one j."""
    v = build.declare("v", F64, (N, 1))
    build.equations.append(
        Assign(v, (N, 1, M), 2, Reduce("sum", F64), template("copy"), (Access(x, (0, 2)),))
    )
    return v


def same(before: Program) -> Program:
    found = verify(without_unit_axes(before))
    for mine, theirs in zip(evaluate(found, {"x": X}), evaluate(before, {"x": X}), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    return found


def test_a_kept_axis_is_dropped_where_it_is_made_and_read():
    build = Builder()
    x = build.input("x", F64, (N, M))
    v, w = kept_sum(build, x), build.declare("w", F64, (N, M))
    reads = (Access(x, (0, 1)), Access(v, (0, fixed(0))))
    build.equations.append(Assign(w, (N, M), 2, None, template("div"), reads))
    found = same(build.finish((w,)))
    assert [show_equation(equation) for equation in found.equations] == [
        "v[i] = sum[j] x[i, j]",
        "w[i, j] = x[i, j] / v[i]",
    ]


def test_what_is_computed_from_a_kept_axis_loses_it_and_equals_what_had_none():
    build = Builder()
    x = build.input("x", F64, (N, M))
    v, w = kept_sum(build, x), build.declare("w", F64, (N, 1))
    build.equations.append(Assign(w, (N, 1), 2, None, template("neg"), (Access(v, (0, 1)),)))
    s = build.assign("copy", (Access(x, (0, 1)),), (N, M), F64, rank=1, reduce=Reduce("sum", F64), name="s")
    t = build.pointwise("neg", s, name="t")
    reads = (Access(w, (0, fixed(0))), Access(t, (0,)))
    build.equations.append(Assign(build.declare("y", F64, (N,)), (N,), 1, None, template("sub"), reads))
    found = same(build.finish(("y",)))
    assert [show_equation(equation) for equation in simplify(found).equations] == [
        "v[i] = sum[j] x[i, j]",
        "w[i] = -v[i]",
        "y[i] = w[i] - w[i]",
    ]


def test_sums_of_sums_lose_theirs_too():
    build = Builder()
    x = build.input("x", F64, (N, M))
    v, w, s = kept_sum(build, x), build.declare("w", F64, (1, 1)), build.declare("s", F64, ())
    total = Reduce("sum", F64)
    build.equations.append(Assign(w, (1, 1, N), 2, total, template("copy"), (Access(v, (2, 1)),)))
    build.equations.append(Assign(s, (), 0, None, template("neg"), (Access(w, (fixed(0), fixed(0))),)))
    found = same(build.finish((s,)))
    assert [show_equation(equation) for equation in found.equations] == [
        "v[i] = sum[j] x[i, j]",
        "w = sum[i] v[i]",
        "s = -w",
    ]


def test_results_and_what_is_read_whole_keep_their_axes():
    build = Builder()
    x = build.input("x", F64, (N, M))
    v, w = kept_sum(build, x), build.declare("w", F64, (N, 2))
    build.equations.append(Assemble(w, 1, (v, v)))
    before = build.finish((w,))
    assert without_unit_axes(before) is before
    build = Builder()
    x = build.input("x", F64, (N, M))
    before = build.finish((kept_sum(build, x),))
    assert without_unit_axes(before) is before


def test_tables_of_look_ups_keep_their_axes():
    build = Builder()
    i64, x = DType.INT64, build.input("x", F64, (N, M))
    at = build.input("at", i64, (N, M))
    v, w = build.declare("v", i64, (N, 1)), build.declare("w", F64, (N,))
    build.equations.append(
        Assign(v, (N, 1, M), 2, Reduce("max", i64), template("copy"), (Access(at, (0, 2)),))
    )
    read = Access(x, (0, Lookup(v, (0, fixed(0)))))
    build.equations.append(Assign(w, (N,), 1, None, template("sin"), (read,)))
    before = build.finish((w,))
    assert without_unit_axes(before) is before
