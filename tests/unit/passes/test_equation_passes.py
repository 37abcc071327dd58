"""Each pass on hand-made programs: what it turns them into, and what it must leave alone."""

from functools import partial

import numpy as np
import pytest

from gradc.ir.extents import symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Affine,
    Assign,
    Const,
    IndexValue,
    Lookup,
    Program,
    Reduce,
    affine,
)
from gradc.ir.index.show import show_equation
from gradc.ir.index.templates import apply, composite, placeholder, template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType
from gradc.passes.equations.accumulators import wide_accumulators
from gradc.passes.equations.gather import gather
from gradc.passes.equations.invariants import without_invariants
from gradc.passes.equations.simplify import dead_code, simplify
from gradc.passes.equations.transposes import in_order_of_operands, without_transposes

F64, F32, I64 = DType.F64, DType.F32, DType.INT64
N, M = symbol("n"), symbol("m")
MUL, COPY = template("mul"), template("copy")


def shown(program: Program) -> list[str]:
    return [show_equation(equation) for equation in verify(program).equations]


def equal(first: Program, second: Program, **inputs: np.ndarray) -> None:
    for one, two in zip(evaluate(first, inputs), evaluate(second, inputs), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(two).tobytes()


# --- gather -------------------------------------------------------------------------------------------------


def test_a_projection_becomes_a_sum():
    build = Builder()
    h, x = build.input("h", F64, (N, 2)), build.input("x", F64, (N, 3))
    w = build.declare("w", F64, (3, 2))
    build.accumulate(w, MUL, (Access(h, (0, 1)), Access(x, (0, 2))), (N, 2, 3), (2, 1))
    program = build.finish((w,))
    assert shown(gather(program)) == ["w[i, j] = sum[k] h[k, j] * x[k, i]"]
    equal(program, gather(program), h=np.arange(8.0).reshape(4, 2), x=np.ones((4, 3)))


def test_contributions_are_added_in_program_order():
    build = Builder()
    a, b, c = (build.input(name, F64, (N,)) for name in "abc")
    out = build.declare("y", F64, (N,))
    for name in (a, b, c):
        build.accumulate(out, COPY, (Access(name, (0,)),), (N,), (0,))
    program = build.finish((out,))
    assert shown(gather(program)) == [
        "y_2[i] = a[i]",
        "y_3[i] = b[i]",
        "y_4[i] = y_2[i] + y_3[i]",
        "y_5[i] = c[i]",
        "y[i] = y_4[i] + y_5[i]",
    ]
    equal(program, gather(program), a=np.array([1e16]), b=np.array([1.0]), c=np.array([-1e16]))


def test_a_scalar_target_becomes_a_full_sum():
    build = Builder()
    x = build.input("x", F64, (N, M))
    out = build.declare("s", F64, ())
    build.accumulate(out, COPY, (Access(x, (0, 1)),), (N, M), ())
    assert shown(gather(build.finish((out,)))) == ["s = sum[i, j] x[i, j]"]


@pytest.mark.parametrize(
    ("space", "target", "shape"),
    [
        ((N,), (Affine(((1, 0),), 1),), (N + 1,)),
        ((N, M), (affine({0: 1, 1: 1}, 0),), (N + M - 1,)),
        ((N,), (0, 0), (N, N)),
        ((N,), (0,), (N + 1,)),
        ((N,), (Lookup("table", (0,)),), (M,)),
    ],
)
def test_what_cannot_be_solved_stays(space, target, shape):
    """Shifts, sums of indices, diagonals, part of an axis, look-ups: other elements must stay zero."""
    build = Builder()
    one = Const(1.0, F64)
    build.input("x", F64, (N, M))
    build.input("table", I64, (N,))
    out = build.declare("y", F64, shape)
    build.accumulate(out, COPY, (one,), space, target)
    program = build.finish((out,))
    assert gather(program).equations == program.equations


def test_one_unsolved_contribution_keeps_them_all():
    build = Builder()
    x = build.input("x", F64, (N,))
    out = build.declare("y", F64, (N,))
    build.accumulate(out, COPY, (Access(x, (0,)),), (N,), (0,))
    build.accumulate(out, COPY, (Access(x, (0,)),), (N - 1,), (Affine(((1, 0),), 1),))
    program = build.finish((out,))
    assert all(isinstance(equation, Accumulate) for equation in gather(program).equations)


# --- simplify -----------------------------------------------------------------------------------------------


def test_copies_are_read_through():
    build = Builder()
    x = build.input("x", F64, (N, M))
    turned = build.assign("copy", (Access(x, (1, 0)),), (M, N), F64)
    row = build.assign("copy", (Access(turned, (0, Affine((), 1))),), (M,), F64)
    out = build.pointwise("exp", row, name="y")
    program = build.finish((out,))
    assert shown(simplify(program)) == ["y[i] = exp(x[1, i])"]
    equal(program, simplify(program), x=np.arange(6.0).reshape(2, 3))


def test_neutral_numbers_go_and_others_stay():
    build = Builder()
    x = build.input("x", F64, (N,))
    one, zero, minus = Const(1.0, F64), Const(0.0, F64), Const(-0.0, F64)
    first = build.pointwise("mul", x, one)
    second = build.pointwise("div", first, one)
    third = build.pointwise("sub", second, zero)
    plus = build.pointwise("add", third, zero, name="plus")
    less = build.pointwise("sub", third, minus, name="less")
    program = build.finish((plus, less))
    assert shown(simplify(program)) == ["plus[i] = x[i] + 0.0", "less[i] = x[i] - -0.0"]
    equal(program, simplify(program), x=np.array([-0.0, 0.0, np.nan, np.inf, 1.0]))


def test_equal_equations_are_shared_and_unused_ones_go():
    build = Builder()
    x = build.input("x", F64, (N,))
    first, second = build.pointwise("exp", x, name="a"), build.pointwise("exp", x, name="b")
    build.pointwise("sin", x)
    out = build.pointwise("add", first, second, name="y")
    assert shown(simplify(build.finish((out,)))) == ["a[i] = exp(x[i])", "y[i] = a[i] + a[i]"]


def test_equations_of_different_dtypes_are_not_shared():
    build = Builder()
    build.input("x", F64, (N,))
    wide = build.assign("copy", (IndexValue(0),), (N,), F64, name="wide")
    narrow = build.assign("copy", (IndexValue(0),), (N,), F32, name="narrow")
    root = build.pointwise("sqrt", narrow, name="root")
    program = build.finish((wide, root))
    assert shown(simplify(program)) == ["wide[i] = i", "narrow[i] = i", "root[i] = sqrt(narrow[i])"]
    equal(program, simplify(program), x=np.zeros(3))


def test_constants_are_folded_in_their_own_dtype():
    build = Builder()
    x = build.input("x", F32, (N,))
    third = build.pointwise("div", Const(1.0, F32), Const(3.0, F32))
    out = build.pointwise("mul", x, third, name="y")
    program = build.finish((out,))
    (text,) = shown(simplify(program))
    assert text == f"y[i] = x[i] * {float(np.float32(1) / np.float32(3))!r}"
    equal(program, simplify(program), x=np.ones(2, np.float32))


def test_conversions_are_not_copies():
    build = Builder()
    x = build.input("x", F64, (N,))
    narrow = build.assign("copy", (Access(x, (0,)),), (N,), F32)
    wide = build.assign("copy", (Access(narrow, (0,)),), (N,), F64, name="y")
    program = build.finish((wide,))
    assert len(simplify(program).equations) == 2
    equal(program, simplify(program), x=np.array([0.1]))


def test_a_look_up_in_a_range_is_the_index():
    build = Builder()
    x = build.input("x", F64, (N,))
    table = build.assign("copy", (IndexValue(Affine(((-1, 0),), N - 1)),), (N,), I64)
    out = build.assign("copy", (Access(x, (Lookup(table, (0,)),)),), (N,), F64, name="y")
    program = build.finish((out,))
    assert shown(simplify(program)) == ["y[i] = x[-i + n - 1]"]
    equal(program, simplify(program), x=np.arange(3.0))


def test_outputs_survive_dead_code():
    build = Builder()
    x = build.input("x", F64, (N,))
    build.pointwise("sin", x, name="unused")
    out = build.pointwise("exp", x, name="y")
    program = dead_code(build.finish((out,)))
    assert shown(program) == ["y[i] = exp(x[i])"]
    assert set(program.types) == {"x", "y"}


# --- accumulators -------------------------------------------------------------------------------------------


def total(dtype: DType, acc: DType) -> Program:
    build = Builder()
    x = build.input("x", dtype, (N, M))
    return build.finish(
        (
            build.assign(
                "copy", (Access(x, (0, 1)),), (N, M), dtype, rank=1, reduce=Reduce("sum", acc), name="s"
            ),
        )
    )


def test_float32_sums_are_wide_and_rounded_once():
    program = total(F32, F32)
    wide = wide_accumulators(program)
    assert shown(wide) == ["s_wide[i] = sum[j] x[i, j]", "s[i] = s_wide[i]"]
    assert (wide.types["s_wide"].dtype, wide.types["s"].dtype) == (F64, F32)
    x = np.array([[2.0**24, 1.0, 1.0, -(2.0**24)]], np.float32)
    (result,) = evaluate(wide, {"x": x})
    assert result.dtype == np.float32
    assert result[0] == 2.0


@pytest.mark.parametrize("dtype", [F64, I64])
def test_other_sums_are_left_alone(dtype: DType):
    program = total(dtype, dtype)
    assert wide_accumulators(program).equations == program.equations


def test_an_accumulator_of_another_dtype_becomes_a_tensor():
    """Lowering then finds every sum in the dtype of its result."""
    wide = wide_accumulators(total(F32, F64))
    assert shown(wide) == ["s_wide[i] = sum[j] x[i, j]", "s[i] = s_wide[i]"]


def test_large_float32_products_stay_float32():
    build = Builder()
    a, b = build.input("a", F32, (N, M)), build.input("b", F32, (M, N))
    operands = (Access(a, (0, 2)), Access(b, (2, 1)))
    build.assign("mul", operands, (N, N, M), F32, rank=2, reduce=Reduce("sum", F32), name="c")
    program = build.finish(("c",))
    assert wide_accumulators(program).equations == program.equations


# --- transposes ---------------------------------------------------------------------------------------------


def product_and_transpose(**changes) -> Program:
    """``w[i, j] = v[j, i]`` of a product of matrices; with `changes` something that keeps it."""
    build = Builder()
    a, b = build.input("a", F64, (N, M)), build.input("b", F64, (M, 3))
    operands = (Access(a, (0, 2)), Access(b, (2, 1)))
    v = build.assign("mul", operands, (N, 3, M), F64, rank=2, reduce=Reduce("sum", F64))
    w = build.assign("copy", (Access(v, changes.get("indices", (1, 0))),), changes.get("space", (3, N)), F64)
    outputs = (w, v) if changes.get("returned") else (w,)
    return build.finish(outputs)


def test_a_sum_that_is_only_transposed_is_written_so():
    program = product_and_transpose()
    found = without_transposes(program)
    assert shown(found) == ["v2[i, j] = sum[k] a[j, k] * b[k, i]"]
    rng = np.random.default_rng(0)
    equal(found, program, a=rng.standard_normal((4, 2)), b=rng.standard_normal((2, 3)))


@pytest.mark.parametrize(
    "changes",
    [
        {"returned": True},
        {"indices": (0, 1), "space": (N, 3)},
        {"indices": (0, 0), "space": (3,)},
        {"indices": (2, 0), "space": (3, 2, N)},
    ],
)
def test_other_sums_are_written_as_they_are(changes):
    program = product_and_transpose(**changes)
    assert without_transposes(program) == program


def test_axes_of_one_element_do_not_keep_a_transpose():
    program = product_and_transpose(indices=(2, 0), space=(3, 1, N))
    found = without_transposes(program)
    assert shown(found) == ["v2[i, j, k] = sum[l] a[k, l] * b[l, i]"]
    rng = np.random.default_rng(0)
    equal(found, program, a=rng.standard_normal((4, 2)), b=rng.standard_normal((2, 3)))


def test_three_axes_are_turned_round():
    build = Builder()
    a = build.input("a", F64, (2, 3, 4, 5))
    v = build.assign("copy", (Access(a, (0, 1, 2, 3)),), (2, 3, 4, 5), F64, rank=3, reduce=Reduce("sum", F64))
    w = build.assign("copy", (Access(v, (2, 0, 1)),), (3, 4, 2), F64)
    program = build.finish((w,))
    found = without_transposes(program)
    assert shown(found) == ["v2[i, j, k] = sum[l] a[k, i, j, l]"]
    equal(found, program, a=np.random.default_rng(0).integers(0, 9, (2, 3, 4, 5)).astype(float))


# --- the order of axes --------------------------------------------------------------------------------------


def scaled_transpose(**changes) -> Program:
    """``w[i] = sum[j] (x[j, i] * z[j]) * y[j]``, the product in brackets in an equation of its own."""
    build = Builder()
    x, z, y = build.input("x", F64, (N, M)), build.input("z", F64, (N,)), build.input("y", F64, (N,))
    operands = (Access(x, changes.get("order", (1, 0))), Access(z, (1,)))
    v = build.assign("mul", operands, changes.get("space", (M, N)), F64)
    reads = (Access(v, (0, 1)), Access(y, (1,)))
    w = build.assign("mul", reads, changes.get("space", (M, N)), F64, rank=1, reduce=Reduce("sum", F64))
    return build.finish((w, v) if changes.get("returned") else (w,))


def test_a_tensor_is_stored_in_the_order_of_what_it_comes_of():
    program = scaled_transpose()
    found = in_order_of_operands(program)
    assert shown(found) == ["v1[i, j] = x[i, j] * z[i]", "v2[i] = sum[j] v1[j, i] * y[j]"]
    rng = np.random.default_rng(0)
    inputs = {"x": rng.standard_normal((4, 3)), "z": rng.standard_normal(4), "y": rng.standard_normal(4)}
    equal(found, program, **inputs)


@pytest.mark.parametrize("changes", [{"returned": True}, {"order": (0, 1)}])
def test_tensors_of_fixed_order_keep_it(changes):
    program = scaled_transpose(**changes, **({"space": (N, N)} if "order" in changes else {}))
    if "order" in changes:
        assert in_order_of_operands(program) == program
    assert in_order_of_operands(scaled_transpose(returned=True)) == scaled_transpose(returned=True)


# --- invariants ---------------------------------------------------------------------------------------------


def with_body(text: str, **indices: tuple[int, ...]) -> Program:
    """One equation over two indices with this body, its operands read at these indices."""
    build = Builder()
    shapes = {(0, 1): (N, M), (0,): (N,), (1,): (M,), (): (), (1, 0): (M, N)}
    operands = tuple(Access(build.input(name, F64, shapes[at]), at) for name, at in indices.items())
    names = {name: placeholder(at) for at, name in enumerate(indices)}
    body = eval(
        text, {**names, **{name: partial(apply, name) for name in ("exp", "cos", "select", "gt", "abs")}}
    )
    name = build.declare("", F64, (N, M))
    body = composite(body, tuple(names.values()))
    build.equations.append(Assign(name, (N, M), 2, None, body, operands))
    return build.finish((name,))


HOISTED = {
    "a function": ("x * exp(z)", ["v2[i] = exp(z[i])", "v1[i, j] = x[i, j] * v2[j]"]),
    "factors together": (
        "x * exp(z) * cos(z)",
        ["v2[i] = cos(z[i]) * exp(z[i])", "v1[i, j] = x[i, j] * v2[j]"],
    ),
    "inside another": ("exp(x + exp(z))", ["v2[i] = exp(z[i])", "v1[i, j] = exp(x[i, j] + v2[j])"]),
    "of each index": (
        "x * exp(z) * exp(y)",
        ["v2[i] = exp(z[i])", "v3[i] = exp(y[i])", "v1[i, j] = x[i, j] * v2[j] * v3[i]"],
    ),
}


@pytest.mark.parametrize("name", HOISTED)
def test_functions_of_fewer_indices_are_computed_once(name):
    text, expected = HOISTED[name]
    program = with_body(text, x=(0, 1), z=(1,), y=(0,))
    found = without_invariants(program)
    assert sorted(shown(found)) == sorted(expected)
    rng = np.random.default_rng(0)
    inputs = {"x": rng.standard_normal((4, 3)), "z": rng.standard_normal(3), "y": rng.standard_normal(4)}
    for mine, theirs in zip(evaluate(found, inputs), evaluate(program, inputs), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-15)


@pytest.mark.parametrize(
    "text", ["x * abs(z)", "exp(x) * z", "x * z", "exp(x * z)", "select(gt(z, 0), x, z)"]
)
def test_what_is_cheap_or_needs_all_indices_stays(text):
    program = with_body(text, x=(0, 1), z=(1,))
    assert without_invariants(program) == program
