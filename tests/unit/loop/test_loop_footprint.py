"""Distinct elements at affine places: sums of indices, overlaps, diagonals, and what depends on data."""

import numpy as np
import pytest
from tests.unit.loop.build import F64, I64

from gradc.ir.loop.footprint import footprint
from gradc.ir.loop.nodes import Clear, Contract, Expr, For, Let, Statement, Update, apply, load, number, var
from gradc.ir.tensors import TensorType

HERE, THERE = var("i"), var("j")
TYPES = {"x": TensorType(F64, (100,)), "a": TensorType(F64, (20, 30)), "at": TensorType(I64, (5,))}


def plus(*terms: Expr) -> Expr:
    total = terms[0]
    for term in terms[1:]:
        total = apply("add", total, term)
    return total


def times(factor: int, index: Expr) -> Expr:
    return apply("mul", number(factor), index)


def reads(*places: tuple[str, tuple[Expr, ...]]) -> dict[str, int]:
    """Elements read at these places by ``for i < 7: for j < 4``."""
    body: tuple[Statement, ...] = tuple(Update("s", "sum", load(name, at, F64)) for name, at in places)
    return dict(footprint((For("i", number(7), (For("j", number(4), body),)),), TYPES, {}).read)


@pytest.mark.parametrize(
    ("index", "wanted"),
    [
        (HERE, 7),
        (number(3), 1),
        (plus(HERE, number(90)), 7),
        (plus(HERE, THERE), 10),
        (times(3, HERE), 7),
        (plus(times(2, HERE), THERE), 16),
        (plus(times(5, HERE), THERE), 28),
        (plus(times(5, HERE), times(3, THERE)), len({5 * i + 3 * j for i in range(7) for j in range(4)})),
        (apply("sub", plus(HERE, number(10)), THERE), 10),
        (plus(times(0, HERE), THERE), 4),
    ],
)
def test_one_place(index: Expr, wanted: int):
    assert reads(("x", (index,))) == {"x": wanted}


def test_places_that_overlap_count_once():
    assert reads(("x", (HERE,)), ("x", (plus(HERE, number(1)),))) == {"x": 8}
    assert reads(("a", (HERE, THERE)), ("a", (THERE, HERE))) == {"a": 7 * 4 + 4 * 7 - 4 * 4}


def test_rows_that_are_cleared():
    cleared = (Clear("a"), Clear("a", number(3), var("many")), Clear("a", number(3), number(0)))
    found = [footprint((one,), TYPES, {"many": 5}).written["a"] for one in cleared]
    assert found == [20 * 30, 5 * 30, 0]


def test_a_diagonal():
    assert reads(("a", (HERE, HERE))) == {"a": 7}
    assert reads(("a", (plus(HERE, THERE), THERE))) == {"a": 28}
    assert reads(("a", (plus(HERE, THERE), plus(HERE, THERE)))) == {"a": 10}
    assert reads(("a", (HERE, HERE)), ("a", (HERE, number(0)))) == {"a": 7 + 7 - 1}


def test_look_ups_are_as_many_as_there_are_at_most():
    body = (Let("t", load("at", (HERE,), I64)), Update("s", "sum", load("x", (var("t"),), F64)))
    assert footprint((For("i", number(5), body),), TYPES, {}).read == {"at": 5, "x": 5}
    assert footprint((For("i", number(500), body),), TYPES, {}).read == {"at": 5, "x": 100}


def test_what_does_not_run_touches_nothing():
    body = (Update("s", "sum", load("x", (HERE,), F64)),)
    assert footprint((For("i", var("n"), body),), TYPES, {"n": 0}).read == {}
    assert footprint((For("i", var("n"), body),), TYPES, {"n": 3}).read == {"x": 3}


def test_bytes():
    found = footprint((For("i", number(5), (Update("s", "sum", load("x", (HERE,), F64)),)),), TYPES, {})
    assert (found.moved(TYPES), found.held(TYPES)) == (40, 40)


@pytest.mark.parametrize("add", [False, True])
def test_contractions(add: bool):
    types = {name: TensorType(F64, (9, 9)) for name in ("y", "l", "r")}
    statement = Contract("y", "i j", "l", "i j+k", "r", "k j", tuple(map(number, (4, 3, 2))), add)
    found = footprint((statement,), types, {})
    assert found.written == {"y": 12}
    assert found.read == {"l": 4 * 4, "r": 6, **({"y": 12} if add else {})}


def test_large_random_sets():
    """Against the places themselves."""
    rng = np.random.default_rng(1)
    for _ in range(30):
        first, second, offset = (int(n) for n in rng.integers(0, 5, 3))
        index = plus(times(first, HERE), times(second, THERE), number(offset))
        wanted = {first * i + second * j + offset for i in range(7) for j in range(4)}
        assert reads(("x", (index,))) == {"x": len(wanted)}
