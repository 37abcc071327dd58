"""What the scheduler puts into one loop, what it keeps apart, and where tensors live."""

import pytest

from gradc.ir.extents import Size, symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.nodes import Access, Affine, Const, Program, Reduce, affine
from gradc.ir.index.show import show_left
from gradc.ir.index.templates import template
from gradc.ir.schedule import Leaf, Loop, Node, Schedule, leaves, show_schedule
from gradc.ir.types import DType
from gradc.schedule.fuse import MAX_LEAVES, fuse

F64, BOOL = DType.F64, DType.BOOL
N, M = symbol("n"), symbol("m")
SUM = Reduce("sum", F64)


def tree(program: Program) -> list:
    """The loop tree: lists are loops, texts are the steps in them."""

    def nodes(body: tuple[Node, ...]) -> list:
        found: list = []
        for node in body:
            if isinstance(node, Leaf):
                found.append(f"{node.role} {show_left(program.equations[node.equation])}")
            else:
                found.append(nodes(node.body))
        return found

    return nodes(fuse(program).body)


def test_a_chain_shares_one_loop_and_its_temporaries_are_scalars():
    build = Builder()
    x = build.input("x", F64, (N,))
    a = build.pointwise("exp", x, name="a")
    b = build.pointwise("sin", a, name="b")
    program = build.finish((b,))
    assert tree(program) == [["compute a[i]", "compute b[i]"]]
    storage = fuse(program).storage
    assert (storage["a"].kind, storage["b"].kind) == ("scalar", "array")


def test_a_sum_over_rows_and_its_use_share_the_outer_loop():
    build = Builder()
    x = build.input("x", F64, (N, M))
    s = build.assign("copy", (Access(x, (0, 1)),), (N, M), F64, rank=1, reduce=SUM, name="s")
    y = build.assign("div", (Access(x, (0, 1)), Access(s, (0,))), (N, M), F64, name="y")
    program = build.finish((y,))
    assert tree(program) == [["start s[i]", ["update s[i]"], "finish s[i]", ["compute y[i, j]"]]]
    assert fuse(program).storage["s"].kind == "scalar"


def test_a_use_of_the_whole_sum_waits_for_it():
    build = Builder()
    x = build.input("x", F64, (N,))
    s = build.assign("copy", (Access(x, (0,)),), (N,), F64, rank=0, reduce=SUM, name="s")
    y = build.assign("div", (Access(x, (0,)), Access(s, ())), (N,), F64, name="y")
    assert tree(build.finish((y,))) == [
        "start s",
        ["update s"],
        "finish s",
        ["compute y[i]"],
    ]


@pytest.mark.parametrize("index", [Affine(((-1, 0),), N - 1), Affine((), 0)])
def test_a_read_at_another_index_needs_a_loop_of_its_own(index: Affine):
    build = Builder()
    x = build.input("x", F64, (N,))
    a = build.pointwise("exp", x, name="a")
    y = build.assign("copy", (Access(a, (index,)),), (N,), F64, name="y")
    program = build.finish((y,))
    assert tree(program) == [["compute a[i]"], ["compute y[i]"]]
    assert fuse(program).storage["a"].kind == "array"


def test_a_transposed_read_needs_the_whole_array():
    build = Builder()
    x = build.input("x", F64, (N, N))
    a = build.pointwise("exp", x, name="a")
    y = build.assign("add", (Access(a, (0, 1)), Access(a, (1, 0))), (N, N), F64, name="y")
    program = build.finish((y,))
    assert tree(program) == [[["compute a[i, j]"]], [["compute y[i, j]"]]]
    assert fuse(program).storage["a"].axes == (0, 1)


def test_accumulation_is_complete_before_it_is_read():
    build = Builder()
    x = build.input("x", F64, (N,))
    total = build.declare("t", F64, (N,))
    copy = template("copy")
    build.accumulate(total, copy, (Access(x, (0,)),), (N,), (0,))
    build.accumulate(total, copy, (Access(x, (0,)),), (N - 1,), (Affine(((1, 0),), 1),))
    y = build.pointwise("exp", total, name="y")
    program = build.finish((y,))
    assert tree(program) == [["add t[i]"], ["add t[i + 1]"], ["compute y[i]"]]
    assert fuse(program).storage["t"].zeroed


def slid(build: Builder, x: str, *steps: int, name: str = "t") -> str:
    """A tensor, and contributions to elements that many steps ahead."""
    total = build.declare(name, F64, (N,))
    for step in steps:
        target = Affine(((1, 0),), step) if step else 0
        build.accumulate(total, template("copy"), (Access(x, (0,)),), (N - 2,), (target,))
    return total


def test_contributions_to_neighbours_share_a_loop_and_are_complete_behind_it():
    build = Builder()
    x = build.input("x", F64, (N,))
    y = build.pointwise("exp", slid(build, x, 1, 0, 2), name="y")
    assert tree(build.finish((y,))) == [["add t[i + 1]", "add t[i]", "add t[i + 2]"], ["compute y[i]"]]


def test_contributions_join_the_loop_that_others_slide_along_with_and_no_earlier_one():
    build = Builder()
    x = build.input("x", F64, (N,))
    first = build.assign("exp", (Access(x, (0,)),), (N - 2,), F64, name="a")
    total = build.assign("copy", (Access(first, (0,)),), (N - 2,), F64, rank=0, reduce=SUM, name="s")
    later = build.assign("mul", (Access(first, (0,)), Access(total, ())), (N - 2,), F64, name="b")
    t = build.declare("t", F64, (N,))
    build.accumulate(t, template("copy"), (Access(later, (0,)),), (N - 2,), (0,))
    build.accumulate(t, template("copy"), (Access(x, (0,)),), (N - 2,), (Affine(((1, 0),), 1),))
    assert tree(build.finish((t,))) == [
        "start s",
        ["compute a[i]", "update s"],
        "finish s",
        ["compute b[i]", "add t[i]", "add t[i + 1]"],
    ]


def test_what_needs_the_whole_tensor_in_between_keeps_contributions_apart():
    build = Builder()
    x = build.input("x", F64, (N,))
    t = slid(build, x, 0, 1)
    whole = build.assign("copy", (Access(t, (0,)),), (N,), F64, rank=0, reduce=SUM, name="s")
    again = build.assign("mul", (Access(x, (0,)), Access(whole, ())), (N - 2,), F64, name="b")
    u = slid(build, again, 0, 1, name="u")
    assert tree(build.finish((t, u))) == [
        ["add t[i]", "add t[i + 1]"],
        "start s",
        ["update s"],
        "finish s",
        ["compute b[i]", "add u[i]", "add u[i + 1]"],
    ]


def test_contributions_from_loops_of_other_lengths_stay_apart():
    build = Builder()
    x = build.input("x", F64, (N,))
    t, copy = build.declare("t", F64, (N,)), template("copy")
    build.accumulate(t, copy, (Access(x, (0,)),), (N,), (0,))
    for target in (0, Affine(((1, 0),), 1)):
        build.accumulate(t, copy, (Access(x, (0,)),), (N - 1,), (target,))
    assert tree(build.finish((t,))) == [["add t[i]"], ["add t[i]"], ["add t[i + 1]"]]


def test_sums_of_rows_slide_along_with_no_loop():
    build = Builder()
    x = build.input("x", F64, (N, M))
    t, copy = build.declare("t", F64, (N,)), template("copy")
    build.accumulate(t, copy, (Access(x, (0, 1)),), (N - 1, M), (0,))
    build.accumulate(t, copy, (Access(x, (0, Affine((), 0))),), (N - 1,), (Affine(((1, 0),), 1),))
    assert tree(build.finish((t,))) == [[["add t[i]"]], ["add t[i + 1]"]]


def test_contributions_to_one_row_share_its_loop_with_a_reader_of_that_row():
    build = Builder()
    x = build.input("x", F64, (N, M))
    total = build.declare("t", F64, (N, M))
    copy = template("copy")
    for column in (0, 2):
        read = Access(x, (0, Affine((), column)))
        build.accumulate(total, copy, (read,), (N,), (0, Affine((), column)))
    y = build.pointwise("exp", total, name="y")
    assert tree(build.finish((y,))) == [["add t[i, 0]", "add t[i, 2]", ["compute y[i, j]"]]]


def test_a_column_waits_for_what_was_added_to_rows():
    """The diagonal touches row and column i in iteration i, but the first contribution only the row."""
    build = Builder()
    x = build.input("x", F64, (N,))
    total = build.declare("t", F64, (N, N))
    copy = template("copy")
    build.accumulate(total, copy, (Access(x, (0,)),), (N,), (0, Affine((), 0)))
    build.accumulate(total, copy, (Access(x, (0,)),), (N,), (0, 0))
    y = build.declare("y", F64, (N,))
    build.accumulate(y, copy, (Access(total, (1, 0)),), (N, N), (0,))
    assert tree(build.finish((y,))) == [["add t[i, 0]", "add t[i, i]"], [["add y[i]"]]]


def test_unit_extents_need_no_loop():
    build = Builder()
    x = build.input("x", F64, (1, N))
    y = build.pointwise("exp", x, name="y")
    assert tree(build.finish((y,))) == [["compute y[i, j]"]]


def test_scalars_come_first():
    build = Builder()
    x, a = build.input("x", F64, (N,)), build.input("a", F64, ())
    y = build.pointwise("exp", x, name="y")
    b = build.pointwise("exp", a, name="b")
    z = build.assign("mul", (Access(y, (0,)), Access(b, ())), (N,), F64, name="z")
    assert tree(build.finish((z,))) == ["compute b", ["compute y[i]", "compute z[i]"]]


@pytest.mark.parametrize(
    ("a", "b", "space", "rank"),
    [
        ((0, 1, 2), (0, 2), (N, M, M), 2),  # a matrix times a vector, in a batch
        ((0, 1, 2), (0, 2), (N, 3, 3), 2),
        ((1, 0), (1,), (N, M), 1),
        ((0, 1, 3), (0, 3, 2), (N, 4, 4, 4), 3),  # small matrices
    ],
)
def test_products_that_are_loops(a: tuple[int, ...], b: tuple[int, ...], space: tuple[Size, ...], rank: int):
    """They share loops with what stands around them; what is multiplied is used in the same loop."""
    build = Builder()
    operands = [
        build.input(name, F64, tuple(space[at] for at in axes)) for name, axes in (("a", a), ("b", b))
    ]
    accesses = tuple(Access(name, axes) for name, axes in zip(operands, (a, b), strict=True))
    y = build.assign("mul", accesses, space, F64, rank=rank, reduce=SUM, name="y")
    program = build.finish((build.pointwise("exp", y, name="z"),))
    steps = [leaf.role for leaf in leaves(fuse(program).body)]
    assert not {"product", "contract"} & set(steps)
    if space[0] is N and a[0] == 0:
        assert len(fuse(program).body) == 1


def test_sums_for_the_places_of_a_window_run_along_the_channels_in_the_loops_that_make_a_factor():
    build = Builder()
    x, c = build.input("x", F64, (N, M + 2, 32)), build.input("c", F64, (N, M, 32))
    y = build.pointwise("exp", c, name="y")
    reads = Access(y, (2, 3, 1)), Access(x, (2, affine({0: 1, 3: 1}, 0), 1))
    w = build.assign("mul", reads, (3, 32, N, M), F64, rank=2, reduce=SUM, name="w")
    program = build.finish((w,))
    assert tree(program) == [[[["compute y[i, j, k]", ["add w[i, j]"]]]]]
    assert fuse(program).storage["y"].kind == "scalar"
    *_, innermost = (node.extent for node in _loops(fuse(program).body))
    assert innermost == 3


def test_sums_for_the_places_of_a_window_run_along_the_window_where_channels_are_no_neighbours():
    build = Builder()
    x, y = build.input("x", F64, (N, 32, M + 2)), build.input("y", F64, (N, 32, M))
    reads = Access(y, (2, 0, 3)), Access(x, (2, 0, affine({1: 1, 3: 1}, 0)))
    w = build.assign("mul", reads, (32, 3, N, M), F64, rank=2, reduce=SUM, name="w")
    assert [loop.extent for loop in _loops(fuse(build.finish((w,))).body)] == [32, 3, N, M]


def test_sums_for_rows_of_a_few_numbers_run_along_these():
    build = Builder()
    reads = Access(build.input("a", F64, (N, M)), (2, 0)), Access(build.input("b", F64, (N, 3)), (2, 1))
    w = build.assign("sub", reads, (M, 3, N), F64, rank=2, reduce=SUM, name="w")
    assert [loop.extent for loop in _loops(fuse(build.finish((w,))).body)] == [N, M, 3]


def _loops(nodes: tuple[Node, ...]) -> list[Loop]:
    """Loops, outer ones first."""
    found: list[Loop] = []
    for node in nodes:
        if isinstance(node, Loop):
            found += [node, *_loops(node.body)]
    return found


@pytest.mark.parametrize(("batch", "role"), [((), "product"), ((0,), "contract")])
def test_products_that_are_called(batch: tuple[int, ...], role: str):
    build = Builder()
    count = len(batch)
    sizes: tuple[Size, ...] = (*((N,) * count), 64, 32, 48)
    row, column, summed = range(count, count + 3)
    a = build.input("a", F64, (*sizes[:count], sizes[row], sizes[summed]))
    b = build.input("b", F64, (*sizes[:count], sizes[summed], sizes[column]))
    accesses = (Access(a, (*batch, row, summed)), Access(b, (*batch, summed, column)))
    y = build.assign("mul", accesses, sizes, F64, rank=count + 2, reduce=SUM, name="y")
    assert [leaf.role for leaf in leaves(fuse(build.finish((y,))).body)] == [role]


def test_parts_of_an_assembly_join_the_loops_that_make_them():
    build = Builder()
    x = build.input("x", F64, (N,))
    a = build.pointwise("exp", x, name="a")
    b = build.constant(1.0, F64, (2,), name="b")
    y = build.assemble(0, (a, b), name="y")
    program = build.finish((y,))
    assert tree(program) == [["compute a[i]", "part y"], ["compute b[i]", "part y"]]
    assert fuse(program).storage["a"].kind == "scalar"


def test_every_equation_runs_once_and_in_order_of_need():
    """A long chain of rows and sums: linear, complete, and loops stay short enough for registers."""
    build = Builder()
    name = build.input("x", F64, (N,))
    for _ in range(300):
        name = build.pointwise("sin", name)
    program = build.finish((name,))
    schedule = fuse(program)
    assert [leaf.equation for leaf in leaves(schedule.body)] == list(range(300))
    assert all(len(list(leaves((node,)))) <= MAX_LEAVES for node in schedule.body)
    assert [len(list(leaves((node,)))) for node in fuse(program, 140).body] == [140, 140, 20]


def test_show_schedule():
    build = Builder()
    x = build.input("x", F64, (N,))
    y = build.pointwise("add", x, Const(1.0, F64), name="y")
    program = build.finish((y,))
    text = show_schedule(fuse(program), {0: "y[i]"})
    assert text == "for L1 < n:\n  compute y[i]\nstore y as array, axes (0)\n"


def test_schedules_can_be_written_by_hand():
    node = Loop(1, 3, (Leaf(0, "compute", (1,)),))
    schedule = Schedule((node, Leaf(1, "compute")), {})
    assert [leaf.equation for leaf in leaves(schedule.body)] == [0, 1]
    size: Size = 3
    assert node.extent == size
