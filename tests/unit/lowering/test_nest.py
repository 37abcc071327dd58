"""Lowering of hand-made programs: checks at entry, starts of accumulators, names, look-ups."""

import numpy as np
import pytest
from tests.properties.pipeline import check_back_end, kernel_of

from gradc.errors import CompilerBug, GuardFailed
from gradc.ir.extents import Guard, Quotient, symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate as index_evaluate
from gradc.ir.index.nodes import Access, Affine, Const, Lookup, Program, Reduce
from gradc.ir.index.templates import composite, placeholder, template
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import CheckIndices, For
from gradc.ir.loop.show import show, show_statement
from gradc.ir.types import DType

F64, F32, I64, I32, BOOL = DType.F64, DType.F32, DType.INT64, DType.INT32, DType.BOOL
N, M = symbol("n"), symbol("m")


def body_of(program: Program) -> list[str]:
    return show(kernel_of(program)).splitlines()[1:]


# --- entry --------------------------------------------------------------------------------------------------


def shaped() -> Program:
    build = Builder()
    x = build.input("x", F64, (N, M))
    build.input("w", F64, (M, 3))
    build.guards.append(Guard(N, ">=", 2, "at least two rows"))
    build.guards.append(Guard(N, "divides", M))
    build.quotients.append(Quotient("q", N, M))
    return build.finish((build.assign("copy", (Access(x, (0, 1)),), (N, M), F64, name="y"),))


def test_extents_are_bound_and_checked():
    assert body_of(shaped())[:6] == [
        "  extent n = x.shape[0]",
        "  extent m = x.shape[1]",
        "  extent q = floor_divide(n, m)",
        "  require (w.shape[0] == m): 'axis 0 of w must have extent m'",
        "  require (w.shape[1] == 3): 'axis 1 of w must have extent 3'",
        "  require (n >= 2): 'the shapes must satisfy n >= 2'",
    ]


@pytest.mark.parametrize(
    ("rows", "columns", "w", "message"),
    [
        (4, 2, (3, 3), "axis 0 of w must have extent m"),
        (4, 2, (2, 4), "axis 1 of w must have extent 3"),
        (1, 1, (1, 3), "n >= 2"),
        (4, 3, (3, 3), "m divides n"),
        (4, 0, (0, 3), "m divides n"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(rows: int, columns: int, w: tuple[int, int], message: str):
    inputs = {"x": np.ones((rows, columns)), "w": np.ones(w)}
    with pytest.raises(GuardFailed, match=message):
        evaluate(kernel_of(shaped()), inputs)
    with pytest.raises(GuardFailed):
        index_evaluate(shaped(), inputs)


# --- accumulators -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["sum", "prod", "max", "min"])
@pytest.mark.parametrize("dtype", [F64, F32, I64, DType.INT8])
@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_reductions_start_at_their_neutral_element(op: str, dtype: DType, axes: tuple[int, int]):
    """Over rows, and over columns, which are combined in memory; numbers are negative: a start at 0 shows."""
    build = Builder()
    x = build.input("x", dtype, (2, 3))
    shape = (2, 3)
    space = (shape[axes[0]], shape[axes[1]])
    build.assign("copy", (Access(x, axes),), space, dtype, rank=1, reduce=Reduce(op, dtype), name="y")
    values = np.array([[-3, -2, -5], [-1, -4, -2]], dtype.numpy)
    check_back_end(build.finish(("y",)), {"x": values})


@pytest.mark.parametrize("op", ["any", "all", "max", "min"])
@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_reductions_of_flags(op: str, axes: tuple[int, int]):
    build = Builder()
    x = build.input("x", BOOL, (3, 3))
    build.assign("copy", (Access(x, axes),), (3, 3), BOOL, rank=1, reduce=Reduce(op, BOOL), name="y")
    values = np.array([[False, False, True], [False, True, True], [False, True, True]])
    check_back_end(build.finish(("y",)), {"x": values})


def test_an_accumulator_shadows_no_tensor():
    """The variable that sums ``h`` must not be another tensor's, whatever the user called that."""
    build = Builder()
    x, other = build.input("x", F64, (N, M)), build.input("h_sum", F64, ())
    build.assign("copy", (Access(x, (0, 1)),), (N, M), F64, rank=1, reduce=Reduce("sum", F64), name="h")
    build.assign("add", (Access("h", (0,)), Access(other, ())), (N,), F64, name="y")
    check_back_end(build.finish(("h", "y")), {"x": np.ones((2, 3)), "h_sum": np.array(10.0)})


@pytest.mark.parametrize("name", ["i", "j", "t", "k"])
def test_loop_indices_shadow_nothing(name: str):
    """Tensors and extents called like an index."""
    build = Builder()
    x = build.input(name, F64, (symbol("l"), symbol("p")))
    square = composite((placeholder(0) + 1) ** 3, (placeholder(0),))
    build.assign(square, (Access(x, (1, 0)),), (symbol("p"), symbol("l")), F64, name="y")
    check_back_end(build.finish(("y",)), {name: np.arange(6.0).reshape(2, 3)})


# --- look-ups -----------------------------------------------------------------------------------------------


def looked_up(*, computed: bool, scalar: bool, kept: bool) -> Program:
    """``y = x[table]`` with a table that is an input or made in the same loop."""
    build = Builder()
    x = build.input("x", F64, (N, 2))
    shape = () if scalar else (3,)
    table = build.input("table", I64, shape)
    if computed:
        table = build.pointwise("sub", table, Const(1, I64), name="index")
    lookup = Lookup(table, () if scalar else (0,))
    space = (2,) if scalar else (3, 2)
    y = build.assign("copy", (Access(x, (lookup, 0 if scalar else 1)),), space, F64, name="y")
    return build.finish((y, table) if kept and computed else (y,))


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("scalar", [False, True])
@pytest.mark.parametrize("computed", [False, True])
def test_look_ups_are_checked(computed: bool, scalar: bool, kept: bool):
    program = looked_up(computed=computed, scalar=scalar, kept=kept)
    x, shift = np.arange(8.0).reshape(4, 2), 1 if computed else 0
    for good in (-4, 0, 3):
        table = np.asarray(good + shift) if scalar else np.array([0, good, 1]) + shift
        check_back_end(program, {"x": x, "table": table})
    for bad in (-5, 4):
        table = np.asarray(bad + shift) if scalar else np.array([0, bad, 1]) + shift
        with pytest.raises(IndexError, match="out of range"):
            evaluate(kernel_of(program), {"x": x, "table": table})


def test_a_table_is_checked_once_before_the_loops():
    kernel = kernel_of(looked_up(computed=False, scalar=False, kept=False))
    checks = [at for at, statement in enumerate(kernel.body) if isinstance(statement, CheckIndices)]
    loops = [at for at, statement in enumerate(kernel.body) if isinstance(statement, For)]
    assert len(checks) == 1
    assert checks[0] < loops[0]
    assert not any("check" in show_statement(inner) for at in loops for inner in kernel.body[at].body)  # type: ignore[union-attr]


def test_one_index_is_computed_once():
    build = Builder()
    x = build.input("x", F64, (N,))
    table = build.input("table", I32, (3,))
    total = build.declare("y", F64, (N,))
    lookup = (Lookup(table, (0,)),)
    build.accumulate(total, template("copy"), (Access(x, lookup),), (3,), lookup)
    program = build.finish((total,))
    assert sum("i64(table" in line for line in body_of(program)) == 1
    check_back_end(program, {"x": np.arange(4.0), "table": np.array([1, -1, 1], np.int32)})


# --- bodies and parts ---------------------------------------------------------------------------------------


def test_shared_parts_of_a_template_are_computed_once():
    build = Builder()
    x = build.input("x", F64, (N,))
    a = placeholder(0)
    build.assign(composite((a + 1) ** 3, (a,)), (Access(x, (0,)),), (N,), F64, name="y")
    program = build.finish(("y",))
    assert "\n".join(body_of(program)).count(" + ") == 1
    check_back_end(program, {"x": np.arange(3.0)})


def test_constants_have_the_dtype_of_their_equation():
    build = Builder()
    x = build.input("x", F32, (N,))
    build.pointwise("mul", x, Const(2, F32), name="y")
    program = build.finish(("y",))
    assert any("f32(2.0)" in line for line in body_of(program))
    check_back_end(program, {"x": np.ones(2, np.float32)})


def test_assembly_with_symbolic_offsets():
    build = Builder()
    x, y = build.input("x", F64, (N, 2)), build.input("y", F64, (M, 2))
    out = build.assemble(0, (x, y, x), name="z")
    inputs = {"x": np.arange(4.0).reshape(2, 2), "y": -np.ones((3, 2))}
    check_back_end(build.finish((out,)), inputs)


@pytest.mark.parametrize(
    ("index", "space"),
    [
        (Affine(((-1, 0),), N - 1), (N,)),
        (Affine(((-2, 0), (1, 1)), N - 1), (2, 1)),
        (Affine(((2, 0),), 0), (2,)),
        (Affine(((1, 0),), N - 2), (2,)),
        (Affine((), N - 1), (3,)),
    ],
)
def test_negative_and_strided_indices(index: Affine, space: tuple):
    build = Builder()
    x = build.input("x", F64, (N,))
    build.assign("copy", (Access(x, (index,)),), space, F64, name="y")
    check_back_end(build.finish(("y",)), {"x": np.arange(4.0)})


def test_a_sum_in_another_dtype_is_refused():
    """`wide_accumulators` makes a tensor of it first; to sum in the wrong dtype silently would be worse."""
    build = Builder()
    x = build.input("x", F32, (N,))
    build.assign("copy", (Access(x, (0,)),), (N,), F32, rank=0, reduce=Reduce("sum", F64), name="y")
    with pytest.raises(CompilerBug, match="y is f32 and accumulated in f64"):
        kernel_of(build.finish(("y",)))
