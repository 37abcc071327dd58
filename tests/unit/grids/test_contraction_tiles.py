"""What is decided about contractions on a device: tiles, parts of sums, and which indices are counted in what order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tests.unit.grids.contraction_kernels import (
    DEEP,
    SMALL,
    Texts,
    assert_same,
    inputs_of,
    kernel_of,
    letters_of,
    names_of,
    number_of,
    shapes_of,
    space_for,
)

from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    Allocate,
    Expr,
    Extent,
    Launch,
    Share,
    number,
    var,
)
from gradc.ir.loop.walk import every
from gradc.ir.types import DType
from gradc.passes.grids.contraction_kernel import terms_of
from gradc.passes.grids.contraction_places import Reading, space_of
from gradc.passes.grids.contraction_tiles import BUSY, TILES, WHOLE, Plan, Tile, parts_of, plan_of
from gradc_runtime.contraction import positions

# --- the order of indices -----------------------------------------------------------------------------------


def test_neighbours_are_counted_one_after_the_other() -> None:
    forward = space_for(("i j k l", "l r p q", "i j+p k+q r"), (2, 4, 4, 16, 3, 3, 16))
    assert (forward.left.tensor, names_of(forward.rows)) == ("right", "i j k")
    assert (names_of(forward.columns), names_of(forward.summed)) == ("l", "p q r")
    weights = space_for(("i j k l", "p q r i", "p k+q l+r j"), (16, 16, 3, 3, 2, 4, 4))
    assert names_of(weights.columns) == "k l j"  # of the operand, not of the result: it is read more often
    images = space_for(("i l j k", "l r p q", "i r j+p k+q"), (2, 8, 8, 16, 3, 3, 16))
    assert names_of(images.columns) == "i j k"
    turned = space_for(("j i", "i k", "k j"), (16, 16, 16))
    assert (names_of(turned.rows), names_of(turned.columns)) == ("j", "i")


def test_as_few_indices_as_fill_a_step_change_within_it() -> None:
    def inner(summed: int) -> str:
        space = space_for(("i j", "i p q k", "p q k j"), (16, 16, summed, 3, 3))
        return names_of(terms_of(space, 8).inner)

    assert inner(64) == "k"
    assert inner(33) == "k"  # of five steps one is not full
    assert inner(8) == "k"
    assert inner(31) == "q k"
    assert inner(3) == "p q k"


def test_a_strided_gradient_multiplies_no_zeros_between_its_steps() -> None:
    space = space_for(("i 2j+q p", "i j l", "l p q"), (2, 8, 6, 5, 3))
    assert {v.name: v.extent for v in space.summed} == {"l": number(6), "q_step": number(2)}
    assert all(index.divisor == 1 for index in space.indices.values())
    assert {v.name for v in space.rows} == {"i", "j_at1"}
    assert {v.name for v in space.columns} == {"p", "j_left1"}
    dilated = space_for(("i 2j+2q p", "i j l", "l p q"), (2, 8, 6, 5, 3))
    assert {v.name: v.extent for v in dilated.rows} == {"i": number(2), "j_at1": number(10)}
    assert all(index.divisor == 1 for index in dilated.indices.values())


# --- sums in parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [1, 2, 5])
@pytest.mark.parametrize("add", [False, True], ids=["=", "+="])
def test_the_number_of_parts_may_be_known_only_to_the_call(many: int, add: bool) -> None:
    parts = nodes.apply("minimum", var("n_k"), number(many))
    assert_same(("i j", "k i", "k j"), (9, 7, 13), parts=parts, symbolic="k", add=add)


def test_a_whole_sum_needs_no_copies() -> None:
    made = kernel_of(("i j", "k i", "k j"), (9, 7, 3), [(9, 7), (3, 9), (3, 7)], symbolic="k")
    values = {"n_k": 3}
    for statement in made.body:
        if isinstance(statement, Extent):
            values[statement.name] = number_of(statement.value, values)
    (copies,) = (s for s in made.body if isinstance(s, Allocate))
    assert number_of(copies.shape[0], values) == 0
    *_, last = (s for s in made.body if isinstance(s, Launch))
    assert number_of(last.blocks, values) == 0


def test_parts_follow_from_extents() -> None:
    def parts(blocks: Expr, terms: Expr) -> int:
        reads = [positions(text) for text in ("i j", "i k", "k j")]
        extents = {"i": number(1), "j": number(1), "k": terms}
        operands = Reading("left", reads[1]), Reading("right", reads[2])
        space = space_of("out", reads[0], operands, extents, (number(1), number(1)))
        return number_of(parts_of(blocks, space), {"n": 100_000, "b": 0})

    assert parts(number(1), number(WHOLE)) == 1
    assert parts(number(1), number(WHOLE + 1)) == 4
    assert parts(number(BUSY + 1), var("n")) == 1
    assert parts(number(4), var("n")) == 2 * BUSY // 4
    assert 1 < parts(var("b"), var("n")) <= 64


# --- what is chosen -----------------------------------------------------------------------------------------


def chosen(extents: Sequence[Expr], dtype: DType = DType.F32) -> list[tuple[int, int]]:
    return [(tile.rows, tile.columns) for tile in plan_for(extents, dtype).tiles]


def plan_for(extents: Sequence[Expr], dtype: DType = DType.F32) -> Plan:
    reads = [positions(text) for text in ("i j", "i k", "k j")]
    sizes = dict(zip("ijk", extents, strict=True))
    operands = Reading("left", reads[1]), Reading("right", reads[2])
    space = space_of("out", reads[0], operands, sizes, tuple(extents[:2]))
    return plan_of(space, dtype)


def test_tiles_are_large_unless_something_says_that_the_result_is_small() -> None:
    n, m = var("n"), var("m")
    assert chosen((n, m, number(512)))[0] == (128, 128)
    assert chosen((number(8192), number(8192), number(512))) == [(128, 128)]
    assert {columns for _, columns in chosen((n, number(10), number(512)))} == {16}
    assert {rows for rows, _ in chosen((number(16), m, number(512)))} == {16}
    assert {columns for _, columns in chosen((n, number(30), number(512)))} <= {16, 32}


def test_few_rows_get_smaller_tiles_at_run_time() -> None:
    large, small = chosen((var("n"), number(512), number(512)))
    assert large == (128, 128)
    assert small == (32, 32)
    plan = plan_for((var("n"), number(512), number(512)))
    rates = [tile.speed for tile in plan.tiles]
    assert (plan.enough - 1) * rates[0] < BUSY * rates[1] <= plan.enough * rates[0]


def test_float64_has_half_the_sums_in_registers() -> None:
    large, _ = chosen((var("n"), var("m"), number(512)), DType.F64)
    assert large in [(128, 64), (64, 128)]


@pytest.mark.parametrize("extents", [(9, 9, 5), (30, 20, 5)], ids=str)
def test_one_of_two_tiles_is_taken(extents: tuple[int, ...]) -> None:
    texts = ("i j", "i k", "k j")
    shapes = shapes_of(texts, extents)
    plan = Plan((DEEP, SMALL), number(2), enough=5)
    made = kernel_of(texts, extents, shapes, add=True, symbolic="ijk", plan=plan)
    given = inputs_of(texts, extents, shapes, DType.F64)
    want = given["out"] + given["left"] @ given["right"]
    (got,) = evaluate(made, given)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_sums_that_are_never_cut_need_no_copies_for_either_tile() -> None:
    made = kernel_of(("i j", "i k", "k j"), (9, 9, 5), [(9, 9), (9, 5), (5, 9)], symbolic="i")
    assert sum(isinstance(statement, Launch) for statement in made.body) == 2
    assert not any(isinstance(statement, Allocate) for statement in made.body)


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: f"{tile.rows}x{tile.columns}")
@pytest.mark.parametrize("dtype", [DType.F32, DType.F64], ids=repr)
def test_every_tile_fits_a_block(tile: Tile, dtype: DType) -> None:
    if not tile.fits(dtype):
        assert tile.own_rows * tile.own_columns * dtype.numpy.itemsize > 256
        return
    assert tile.threads == 256
    assert all(tile.threads % size == 0 for size in (tile.rows, tile.columns, tile.depth))
    assert tile.depth % tile.unrolled == 0
    for texts in (("i j", "i k", "j k"), ("i j", "k i", "k j")):
        kernel_of(texts, (9, 9, 9), [(9, 9)] * 3, dtype, plan=Plan((tile,)))  # verified: shared memory too


@pytest.mark.parametrize(
    ("texts", "along_terms"),
    [
        (("i j", "i k", "k j"), (True, False)),
        (("i j", "k i", "j k"), (False, True)),
        (("i j k l", "i j+p k+q r", "p q r l"), (True, False)),
        (("i l j k", "l r p q", "i r j+p k+q"), (True, False)),
    ],
    ids=str,
)
def test_neighbouring_threads_read_neighbours(texts: Texts, along_terms: tuple[bool, bool]) -> None:
    extents = [16] * len(letters_of(texts))
    made = kernel_of(texts, extents, shapes_of(texts, extents), plan=Plan((SMALL,)))
    shared = [found for found in every(made.body) if isinstance(found, Share)]
    padded = tuple(
        found.shape[1] > size for found, size in zip(shared, (SMALL.rows, SMALL.columns), strict=True)
    )
    assert padded == along_terms
