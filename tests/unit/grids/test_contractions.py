"""Contractions as launches: the values of `gradc_runtime.contraction`, thread by thread and without a race."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.grids.contraction_kernels import (
    BROAD,
    DEEP,
    LITTLE,
    SMALL,
    Texts,
    assert_same,
    inputs_of,
    kernel_of,
    letters_of,
    shapes_of,
)

from gradc.errors import CompilerBug
from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    Allocate,
    Contract,
    Expr,
    From,
    Kernel,
    Let,
    Parameter,
    Product,
    Share,
    Statement,
    Store,
    number,
    var,
)
from gradc.ir.loop.show import show
from gradc.ir.loop.verify import verify
from gradc.ir.loop.walk import every
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.grids.contraction_results import Epilogue
from gradc.passes.grids.contraction_tiles import Plan, Tile
from gradc.passes.grids.contractions import Tensors, contraction_launches

# --- products of matrices -----------------------------------------------------------------------------------

PLAIN = [
    ("i j", "i k", "k j"),
    ("i j", "k i", "k j"),
    ("i j", "i k", "j k"),
    ("i j", "k i", "j k"),
    ("j i", "i k", "k j"),
]


@pytest.mark.parametrize("tile", [LITTLE, SMALL, DEEP], ids=lambda tile: f"{tile.rows}x{tile.columns}")
@pytest.mark.parametrize("texts", PLAIN, ids=" ".join)
def test_products_have_the_values_of_the_contraction(texts: Texts, tile: Tile) -> None:
    assert_same(texts, (17, 9, 7), tile=tile)


@pytest.mark.parametrize("texts", PLAIN, ids=" ".join)
def test_extents_may_be_known_only_to_the_call(texts: Texts) -> None:
    assert_same(texts, (17, 9, 7), tile=DEEP, symbolic="ijk", dtype=DType.F32)


def test_a_thread_has_rows_and_columns_that_are_not_all_neighbours() -> None:
    assert_same(("i j", "i k", "k j"), (37, 35, 3), tile=BROAD)


def test_whole_tiles_need_no_conditions() -> None:
    made = assert_same(("i j", "i k", "k j"), (16, 8, 8), tile=DEEP)
    text = show(made)
    assert "when" not in text
    assert "minimum" not in text
    assert text.count("select(") == 1  # which one of the two tiles in shared memory is next


@pytest.mark.parametrize("extents", [(5, 9, 0), (0, 9, 3), (5, 0, 3), (0, 0, 0)], ids=str)
@pytest.mark.parametrize("symbolic", ["", "ijk"])
@pytest.mark.parametrize("parts", [None, number(3)], ids=["whole", "cut"])
def test_empty_sums_are_zero_and_empty_results_stay_empty(
    extents: tuple[int, ...], symbolic: str, parts: Expr | None
) -> None:
    assert_same(("i j", "i k", "k j"), extents, symbolic=symbolic, parts=parts)


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)], ids=str)
def test_a_product_allocates_its_result(turned: tuple[bool, bool]) -> None:
    random = np.random.default_rng(0)
    left, right = random.normal(size=(9, 5)), random.normal(size=(5, 11))
    given = {"x": left.T.copy() if turned[0] else left, "y": right.T.copy() if turned[1] else right}
    tensors = Tensors(NameSupply(("x", "y", "z")), dict.fromkeys("xyz", DType.F64), {})
    body = contraction_launches(Product("z", "x", "y", *turned), tensors, plan=Plan((SMALL,)))
    parameters = tuple(Parameter(name, DType.F64, 2) for name in "xy")
    (got,) = evaluate(verify(Kernel("k", parameters, tuple(body), ("z",))), given)
    np.testing.assert_allclose(got, left @ right, rtol=1e-12)


# --- contractions -------------------------------------------------------------------------------------------

BATCHES = [("b i j", "b i k", "b k j"), ("i j b", "i k b", "b k j"), ("i b j", "b k i", "j k b")]


@pytest.mark.parametrize("texts", BATCHES, ids=" ".join)
@pytest.mark.parametrize("add", [False, True], ids=["=", "+="])
def test_batches(texts: Texts, add: bool) -> None:
    assert_same(texts, (2, 5, 9, 5), add=add)
    assert_same(texts, (2, 5, 9, 5), add=add, symbolic="bijk")


FORWARD = [
    ("i j k l", "l r p q", "i j+p k+q r"),
    ("i j k l", "i j+p k+q r", "l r p q"),
    ("i j k l", "l r p q", "i 2j+p 3k+q+1 r"),
    ("i j k l", "l p q r", "i r 2j+2p k+q"),
    ("i l j k", "l r p q", "i r j+p k+q"),
]


@pytest.mark.parametrize("texts", FORWARD, ids=" ".join)
def test_convolutions(texts: Texts) -> None:
    assert_same(texts, (1, 3, 4, 5, 3, 2, 4))
    assert_same(texts, (2, 3, 2, 5, 3, 2, 3), tile=DEEP, symbolic="i", dtype=DType.F32)
    assert_same(texts, (2, 3, 2, 5, 3, 2, 3), symbolic="ijklpqr", parts=number(3))


@pytest.mark.parametrize(
    "texts",
    [
        ("i j k l", "p q r i", "p k+q l+r j"),
        ("i j k l", "p i q r", "p k+2q l+3r j"),
        ("i j k l", "p q+1 r+2 i", "p k+q l+r j"),
    ],
    ids=" ".join,
)
def test_gradients_for_weights(texts: Texts) -> None:
    assert_same(texts, (5, 3, 3, 2, 2, 3, 3))
    assert_same(texts, (5, 3, 3, 2, 2, 3, 2), symbolic="p", parts=number(3))


BACKWARD = [
    ("i j+q k+r p", "i j k l", "l p q r"),
    ("i 2j+q 2k+r p", "i j k l", "l p q r"),
    ("i 2j+q+1 3k+r p", "i j k l", "l p q r"),
    ("i j+2q k+3r+2 p", "i j k l", "l p q r"),
    ("i 2j+2q 4k+2r p", "i j k l", "l p q r"),
    ("i 4j+6q k+r p", "i j k l", "l p q r"),
    ("i j-q+3 k-r+2 p", "i j k l", "l p q r"),
    ("i -2j+3q+4 k+r p", "i j k l", "l p q r"),
]


@pytest.mark.parametrize("texts", BACKWARD, ids=" ".join)
@pytest.mark.parametrize("more", [0, 1])
def test_gradients_for_inputs(texts: Texts, more: int) -> None:
    extents = (2, 3, 2, 2, 2, 3, 2)
    assert_same(texts, extents, add=True, more=more)
    assert_same(texts, extents, add=True, more=more, symbolic="ijklpqr", parts=number(2))


@pytest.mark.parametrize("texts", [*BACKWARD, ("i j+q+2 k+r p", "i j k l", "l p q r")], ids=" ".join)
def test_gradients_of_nothing_for_inputs(texts: Texts) -> None:
    assert_same(texts, (2, 0, 2, 2, 2, 3, 2), add=True, symbolic="j")


@pytest.mark.parametrize(
    ("texts", "extents"),
    [
        (("j+p j", "j k", "p k"), (4, 3, 5)),
        (("j j+p", "j k", "p k"), (4, 3, 5)),
        (("j+p j+q", "j k", "p q k"), (4, 3, 2, 3)),
        (("j+p j+q", "j k", "p q k"), (1, 3, 1, 4)),
        (("j+p 2j+2p", "j k", "p k"), (4, 3, 5)),
        (("j+p 2j+3p", "j k", "p k"), (4, 3, 3)),
        (("2j+p+2q", "j k", "p q k"), (4, 3, 2, 2)),
        (("2j+3p j+q", "j k", "p q k"), (4, 3, 2, 2)),
        (("i i+j+p", "i j k", "p k"), (4, 3, 2, 2)),
        (("j+p j+p+q q+k", "j p l", "q k l"), (3, 2, 2, 2, 3)),
        (("2j+3p p+q", "j k", "p q k"), (4, 3, 2, 2)),
        (("j+p+r p+q", "j k", "p r q k"), (4, 3, 2, 2, 2)),
        (("2j+3p 3k+2r j+k+q", "j k l", "p r q l"), (3, 3, 2, 2, 2, 2)),
        (("i j 2", "i k", "k j"), (4, 3, 2)),
        (("j+p i", "j k i", "k p"), (1, 3, 2, 4)),
    ],
    ids=str,
)
def test_indices_that_meet_in_odd_ways(texts: Texts, extents: tuple[int, ...]) -> None:
    assert_same(texts, extents, add=True)
    assert_same(texts, extents, add=True, symbolic="".join(letters_of(texts)), parts=number(2))


# --- what is no product of matrices -------------------------------------------------------------------------

VECTORS = [
    (("i", "i k", "k"), (7, 40)),
    (("i", "k i", "k"), (7, 40)),
    (("i", "k", "i k"), (7, 40)),
    (("0", "k", "k"), (70,)),
    (("b", "b k", "b k"), (5, 7)),
    (("i j k l", "i j+p k+q l", "p q l"), (2, 4, 3, 5, 2, 3)),
    (("i j", "i j", "i j"), (9, 7)),
    (("i", "i k", "k"), (3, 0)),
    (("i", "i k", "k"), (0, 3)),
]


@pytest.mark.parametrize(("texts", "extents"), VECTORS, ids=str)
@pytest.mark.parametrize("parts", [None, number(3)], ids=["whole", "cut"])
def test_vectors(texts: Texts, extents: tuple[int, ...], parts: Expr | None) -> None:
    assert_same(texts, extents, parts=parts, add=True)
    assert_same(texts, extents, parts=parts, symbolic="".join(letters_of(texts)), dtype=DType.F32)


@pytest.mark.parametrize(
    ("texts", "together"),
    [
        (("i", "i k", "k"), True),
        (("i", "k i", "k"), False),
        (("i 0", "i k", "k"), True),
        (("i 0", "k i", "k"), False),
        (("0", "k", "k"), True),
    ],
    ids=str,
)
def test_a_group_has_a_sum_where_its_terms_are_neighbours(texts: Texts, together: bool) -> None:
    extents = (7, 40)[-len(letters_of(texts)) :]
    made = kernel_of(texts, extents, shapes_of(texts, extents))
    assert ("combine" in show(made)) is together


def test_a_matrix_of_one_column_is_a_vector() -> None:
    made = kernel_of(("i j", "i k", "k j"), (7, 1, 40), [(7, 1), (7, 40), (40, 1)])
    assert "combine" in show(made)
    assert_same(("i j", "i k", "k j"), (7, 1, 40))


def test_outer_products_have_sums_of_one_term() -> None:
    assert_same(("i j", "i", "j"), (9, 7))


# --- what else ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [None, number(2)], ids=["whole", "cut"])
def test_an_epilogue_takes_the_place_of_the_store(parts: Expr | None) -> None:
    texts, extents = ("i j", "i k", "k j"), (9, 5, 7)
    value, place = var("value", DType.F64), (var("at_row"), var("at_column"))
    body = (Let("twice", nodes.apply("add", value, value)), Store("out", place, var("twice", DType.F64)))
    shapes = shapes_of(texts, extents)
    made = kernel_of(
        texts,
        extents,
        shapes,
        plan=Plan((SMALL,), parts),
        epilogue=Epilogue("value", ("at_row", "at_column"), body),
    )
    given = inputs_of(texts, extents, shapes, DType.F64)
    (got,) = evaluate(made, {name: given[name] for name in ("out", "left", "right")})
    np.testing.assert_allclose(got, 2 * given["left"] @ given["right"], rtol=1e-12)


def test_what_a_launch_cannot_do_is_refused() -> None:
    texts = ("i j", "i k", "k j")
    sizes = tuple(map(number, (4, 4, 4)))
    plain = ("out", texts[0], "left", texts[1], "right", texts[2], sizes)
    tensors = Tensors(NameSupply(), dict.fromkeys(("out", "left", "right"), DType.F64), {})
    with pytest.raises(CompilerBug, match="parts of tensors"):
        contraction_launches(Contract(*plain, False, ((From(number(1)),), (), ())), tensors)
    with pytest.raises(CompilerBug, match="parts of tensors"):
        contraction_launches(Contract(*plain, True, again=number(True, DType.BOOL)), tensors)
    with pytest.raises(CompilerBug, match="epilogue"):
        contraction_launches(Contract(*plain, True), tensors, epilogue=Epilogue("v", ("a", "b"), ()))


def test_the_same_contraction_gives_the_same_text_and_names_are_free_again() -> None:
    def twice() -> str:
        supply = NameSupply(("x", "y", "z", "t"))
        tensors = Tensors(supply, dict.fromkeys("xyzt", DType.F64), {})
        body: list[Statement] = []
        for out, left in (("z", "x"), ("t", "z")):
            body += contraction_launches(Product(out, left, "y", False, False), tensors, plan=Plan((SMALL,)))
        parameters = tuple(Parameter(name, DType.F64, 2) for name in "xy")
        return show(verify(Kernel("k", parameters, tuple(body), ("t",))))

    text = twice()
    assert text == twice()
    assert text.count("for step < ") == 2


def test_dtypes_of_numbers_are_those_of_the_tensors() -> None:
    made = kernel_of(("i j", "i k", "k j"), (4, 4, 4), [(4, 4)] * 3, DType.F32, plan=Plan((SMALL,)))
    locals_ = [s for s in every(made.body) if isinstance(s, Allocate | Share)]
    assert {s.dtype for s in locals_} == {DType.F32}
