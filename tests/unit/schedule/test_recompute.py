"""What is computed again instead of kept, and what is kept."""

import numpy as np
import pytest

from gradc import differentiate
from gradc.ir.extents import symbol
from gradc.ir.index.build import IDENTITY, Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Affine, Assign, Program, Reduce, outputs_of
from gradc.ir.loop.evaluate import evaluate as run
from gradc.ir.schedule import Leaf, Schedule, leaves
from gradc.ir.types import DType
from gradc.lowering.nest import lower
from gradc.schedule.fuse import fuse
from gradc.schedule.recompute import MOST_OPERATIONS, recompute

F64 = DType.F64
N, M = symbol("n"), symbol("m")
X = np.array([1.0, 2.0, 4.0, 8.0])


def total(build: Builder, name: str) -> str:
    return build.assign("copy", (build.access(name),), (N,), F64, rank=0, reduce=Reduce("sum", F64), name="s")


def twice_read(*functions: str) -> Program:
    """``d = functions(x)``; then ``y = d * sum(d)``, which needs a second loop."""
    build = Builder("twice")
    name = build.input("x", F64, (N,))
    for function in functions:
        name = build.pointwise(function, name, name="d")
    s = total(build, name)
    y = build.assign("mul", (Access(name, (0,)), Access(s, ())), (N,), F64, name="y")
    return build.finish((y,))


def rebuilt(program: Program) -> Schedule:
    return recompute(program, fuse(program))


def times(program: Program, schedule: Schedule, name: str) -> int:
    """In how many places a tensor is computed."""
    return sum(
        outputs_of(program.equations[leaf.equation]) == (name,) and leaf.role == "compute"
        for leaf in leaves(schedule.body)
    )


def assert_same(program: Program, schedule: Schedule, inputs: dict[str, np.ndarray]) -> None:
    kernel = lower(program, schedule, name="kernel")
    for mine, theirs in zip(run(kernel, inputs), evaluate(program, inputs), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_cheap_tensor_is_computed_again():
    program = twice_read("neg")
    schedule = rebuilt(program)
    assert fuse(program).storage["d"].kind == "array"
    assert schedule.storage["d"].kind == "scalar"
    assert times(program, schedule, "d") == 2
    assert_same(program, schedule, {"x": X})


def test_so_is_a_chain_of_cheap_ones_in_order():
    program = twice_read("neg", "square", "neg")
    schedule = rebuilt(program)
    assert all(storage.kind == "scalar" for name, storage in schedule.storage.items() if name != "y")
    assert [times(program, schedule, name) for name in ("d", "d_2", "d_3")] == [2, 2, 2]
    assert_same(program, schedule, {"x": X})


@pytest.mark.parametrize("functions", [("exp",), ("neg",) * (MOST_OPERATIONS + 1), ("exp", "neg")])
def test_a_dear_tensor_is_kept(functions: tuple[str, ...]):
    program = twice_read(*functions)
    arrays = [name for name, storage in rebuilt(program).storage.items() if storage.kind == "array"]
    assert len(arrays) == 2  # one of the chain, and y


def test_what_is_computed_for_the_second_loop_alone_leaves_the_first():
    build = Builder("late")
    x = build.input("x", F64, (N,))
    a = build.pointwise("neg", x, name="a")
    s = total(build, x)
    y = build.assign("mul", (Access(a, (0,)), Access(s, ())), (N,), F64, name="y")
    program = build.finish((y,))
    schedule = rebuilt(program)
    assert times(program, schedule, "a") == 1
    assert_same(program, schedule, {"x": X})


def test_more_arrays_than_one_are_not_read_instead_of_one():
    build = Builder("sources")
    names = [build.input(name, F64, (N,)) for name in ("x", "z")]
    d = build.pointwise("add", *names, name="d")
    s = total(build, d)
    y = build.assign("mul", (Access(d, (0,)), Access(s, ())), (N,), F64, name="y")
    program = build.finish((y,))
    assert rebuilt(program).storage["d"].kind == "array"


def test_a_read_at_another_index_or_in_more_loops_needs_the_array():
    build = Builder("other")
    x = build.input("x", F64, (N,))
    w = build.input("w", F64, (N, M))
    d = build.pointwise("neg", x, name="d")
    e = build.pointwise("neg", x, name="e")
    y = build.assign("copy", (Access(d, (Affine(((-1, 0),), N - 1),)),), (N,), F64, name="y")
    z = build.assign("mul", (Access(e, (0,)), Access(w, (0, 1))), (N, M), F64, name="z")
    program = build.finish((y, z, total(build, e)))
    schedule = rebuilt(program)
    assert schedule.storage["d"].kind == "array"
    assert times(program, schedule, "e") == times(program, fuse(program), "e")
    assert_same(program, schedule, {"x": X, "w": np.ones((4, 3))})


def test_an_output_and_an_operand_of_a_product_are_kept():
    build = Builder("product")
    x = build.input("x", F64, (N, M))
    d = build.pointwise("neg", x, name="d")
    p = build.assign(
        "mul", (Access(d, (0, 2)), Access(d, (1, 2))), (N, N, M), F64, rank=2, reduce=Reduce("sum", F64)
    )
    y = build.pointwise("square", d, name="y")
    program = build.finish((p, y, build.pointwise("square", y, name="z")))
    schedule = rebuilt(program)
    assert schedule == fuse(program)


def test_a_local_of_an_outer_loop_is_not_computed_again_inside():
    build = Builder("rows")
    x = build.input("x", F64, (N,))
    w = build.input("w", F64, (N, M))
    r = build.pointwise("neg", x, name="r")
    z = build.assign("mul", (Access(r, (0,)), Access(w, IDENTITY[2])), (N, M), F64, name="z")
    d = build.pointwise("neg", w, name="d")
    s = build.assign("copy", (build.access(d),), (N, M), F64, rank=0, reduce=Reduce("sum", F64), name="s")
    y = build.assign("mul", (build.access(d), Access(s, ())), (N, M), F64, name="y")
    program = build.finish((z, y))
    schedule = rebuilt(program)
    assert times(program, schedule, "d") == 2
    assert times(program, schedule, "r") == 1
    assert_same(program, schedule, {"x": X, "w": np.arange(12.0).reshape(4, 3)})


def test_nothing_kept_needlessly_in_a_real_gradient():
    @differentiate
    def spread(x: np.ndarray) -> object:
        d = x - np.mean(x)
        return np.sum(d * d / (1.0 + np.mean(d * d)))

    stages = spread.inspect(X).stages
    again = [
        equation.out
        for equation in stages.optimised.equations
        if isinstance(equation, Assign) and times(stages.optimised, stages.schedule, equation.out) > 1
    ]
    assert "d" in again
    assert all(isinstance(leaf, Leaf) for leaf in leaves(stages.schedule.body))
    assert_same(stages.optimised, stages.schedule, {stages.optimised.inputs[0]: X})
