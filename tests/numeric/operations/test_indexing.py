"""Reading, writing, sorting elements against plain NumPy: basic and advanced indices, masks, random ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.numeric.operations.shaped import check, check_gradient, declare, run, traced

from gradc.errors import GradcError, ShapeError, TraceError
from gradc.ir.index.nodes import Call
from gradc.lang.emit import Emitter, SizeValue, Value
from gradc.lang.operations import indexing
from gradc.lang.operations.indexing import get_item, set_item

RNG = np.random.default_rng(40)
S = np.s_


def x(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.asarray(RNG.uniform(-3.0, 3.0, shape) * (1 if dtype == np.float64 else 2), dtype)


def ints(high: int, *shape: int, dtype: Any = np.int64) -> np.ndarray:
    return RNG.integers(-high, high, shape).astype(dtype)


def written(array: np.ndarray, index: Any, new: Any) -> np.ndarray:
    result = array.copy()
    result[index] = new
    return result


# --- basic indices ------------------------------------------------------------------------------------------

BASIC: list[tuple[tuple[int, ...], Any]] = [
    ((5,), 0),
    ((5,), -5),
    ((5,), np.int64(2)),
    ((5,), S[1:4]),
    ((5,), S[:]),
    ((5,), S[...]),
    ((5,), S[None]),
    ((5,), S[::-1]),
    ((5,), S[1::2]),
    ((5,), S[::2]),
    ((5,), S[-2::-2]),
    ((5,), S[:10]),
    ((5,), S[-10:3]),
    ((5,), S[3:1]),
    ((5,), S[1:3:-1]),
    ((5,), S[-1:-10:-1]),
    ((5,), S[5:]),
    ((1,), S[0]),
    ((1,), S[::-1]),
    ((0,), S[::2]),
    ((0,), S[1:]),
    ((3, 4), S[1]),
    ((3, 4), S[1, 2]),
    ((3, 4), S[..., -1]),
    ((3, 4), S[-1, ...]),
    ((3, 4), S[1:, :2]),
    ((3, 4), S[::-1, ::2]),
    ((3, 4), S[:, None, 1:-1]),
    ((3, 4), S[None, ..., 0, None]),
    ((3, 4), ()),
    ((2, 3, 4), S[0, ..., 1:3]),
    ((2, 3, 4), S[:, 1]),
    ((2, 3, 4), S[1, :, ::-3]),
    ((), ()),
    ((), S[None, ...]),
]


@pytest.mark.parametrize(("shape", "index"), BASIC, ids=str)
@pytest.mark.parametrize("static", [False, True], ids=["symbolic", "static"])
def test_basic_indices(shape: tuple[int, ...], index: Any, static: bool) -> None:
    for dtype in (np.float64, np.float32, np.int64, np.bool_):
        array = x(*shape, dtype=dtype)
        check(lambda e, a: get_item(e, a, index), lambda a: np.asarray(a[index]), array, static=static)


@pytest.mark.parametrize(("shape", "index"), BASIC, ids=str)
@pytest.mark.parametrize("static", [False, True], ids=["symbolic", "static"])
def test_writing_through_basic_indices(shape: tuple[int, ...], index: Any, static: bool) -> None:
    for dtype in (np.float64, np.float32, np.int64, np.bool_):
        array = x(*shape, dtype=dtype)
        new = x(*np.shape(array[index]), dtype=dtype)
        check(
            lambda e, a, b: set_item(e, a, index, b),
            lambda a, b: written(a, index, b),
            array,
            new,
            static=static,
        )
        check(lambda e, a: set_item(e, a, index, 2), lambda a: written(a, index, 2), array, static=static)


@pytest.mark.parametrize(("shape", "index"), [case for case in BASIC if 0 not in case[0]], ids=str)
def test_gradients_of_reading_and_writing(shape: tuple[int, ...], index: Any) -> None:
    array = x(*shape)

    def both(emit: Emitter, a: Value, b: Value) -> list[Any]:
        part = get_item(emit, a, index)
        assert isinstance(part, Value)
        return [part, set_item(emit, emit.elementwise("square", a), index, b)]

    check_gradient(both, array, x(*np.shape(array[index])))


@pytest.mark.parametrize(
    ("index", "shape"),
    [(S[:, 1:], (3,)), (S[1], ()), (S[:, 0], (1,)), (S[::2], (1, 1, 4)), (S[:, 1:3], (3, 1))],
)
def test_new_values_are_broadcast(index: Any, shape: tuple[int, ...]) -> None:
    check(lambda e, a, b: set_item(e, a, index, b), lambda a, b: written(a, index, b), x(3, 4), x(*shape))


def test_lists_are_new_values() -> None:
    check(lambda e, a: set_item(e, a, 1, [1, 2.5, 3, 4]), lambda a: written(a, 1, [1, 2.5, 3, 4]), x(3, 4))


def test_what_is_written_over_leaves_no_trace() -> None:
    array = np.array([[np.nan, 1.0], [np.inf, 2.0]])
    for index in (S[:, 0], S[0, 0], S[::2, 0], ([0, 1], 0)):
        check(lambda e, a, i=index: set_item(e, a, i, 5.0), lambda a, i=index: written(a, i, 5.0), array)


def test_bounds_on_symbolic_extents_are_guards() -> None:
    program, _ = traced(lambda e, a: get_item(e, a, S[5:-2]), [x(10)])
    assert [str(guard) for guard in program.guards][-1] == "x0_n0 >= 7"
    array = x(8)
    np.testing.assert_array_equal(run(program, [array])[0], array[5:-2])
    with pytest.raises(ValueError, match=">= 7"):
        run(program, [x(6)])
    short, _ = traced(lambda e, a: get_item(e, a, S[:10]), [x(4)])
    assert [str(guard) for guard in short.guards] == ["x0_n0 < 10"]


def test_strided_slices_serve_every_extent() -> None:
    program, _ = traced(lambda e, a: [get_item(e, a, S[1::2]), get_item(e, a, S[::-3])], [x(7)])
    for extent in range(1, 9):
        array = x(extent)
        for found, expected in zip(run(program, [array]), (array[1::2], array[::-3]), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_halves_of_unequal_length_are_caught_at_the_call() -> None:
    def zipped(emit: Emitter, a: Value) -> Value:
        return emit.elementwise("add", get_item(emit, a, S[::2]), get_item(emit, a, S[1::2]))  # pyright: ignore[reportArgumentType]

    program, _ = traced(zipped, [x(6)])
    np.testing.assert_array_equal(run(program, [np.arange(4.0)])[0], [1.0, 5.0])
    with pytest.raises(ValueError, match="q1"):
        run(program, [np.arange(5.0)])


def test_a_quotient_that_meets_what_it_is_computed_from_is_checked() -> None:
    program, _ = traced(lambda e, a: e.elementwise("add", get_item(e, a, S[::2]), a), [np.zeros(0)])
    assert run(program, [np.zeros(0)])[0].shape == (0,)
    with pytest.raises(ValueError, match="q1 == x0_n0"):
        run(program, [np.zeros(4)])


def test_extents_are_indices_and_bounds() -> None:
    def last(emit: Emitter, a: Value, b: Value) -> list[Any]:
        rows = emit.shape(b)[0]
        return [
            get_item(emit, a, SizeValue(rows - 1)),
            get_item(emit, a, slice(SizeValue(rows), None)),
            get_item(emit, a, slice(None, SizeValue(0 - rows))),
        ]

    check(last, lambda a, b: [a[len(b) - 1], a[len(b) :], a[: -len(b)]], x(7), x(3))


def test_steps_and_indices_must_not_be_traced() -> None:
    emit, (value, at) = declare([x(5), np.array(2)])
    with pytest.raises(TraceError, match="a slice bound"):
        get_item(emit, value, slice(at, None))
    with pytest.raises(TraceError, match="dtype float64"):
        get_item(emit, value, value)
    with pytest.raises(TraceError, match="True or False"):
        get_item(emit, value, True)


@pytest.mark.parametrize("index", [7, -6, S[0, 0], S[..., ...], S[::0]], ids=str)
@pytest.mark.parametrize("static", [False, True])
def test_indices_outside_the_array_are_refused(index: Any, static: bool) -> None:
    emit, (value,) = declare([x(5)], static=static)
    with pytest.raises(ShapeError):
        get_item(emit, value, index)


@pytest.mark.parametrize(("index", "shape"), [(S[1:3], (3,)), (S[0], (2,)), (S[::2], (2, 3)), ([0, 1], (3,))])
def test_values_that_do_not_fit_are_refused(index: Any, shape: tuple[int, ...]) -> None:
    emit, (value, new) = declare([x(5), x(*shape)])
    with pytest.raises(ShapeError):
        set_item(emit, value, index, new)


# --- integer tensors ----------------------------------------------------------------------------------------

# Each index is made from the integer tensors `i` and `j`.
GATHERS: list[tuple[tuple[int, ...], Callable[[Any, Any], Any], tuple[int, ...], tuple[int, ...]]] = [
    ((4,), lambda i, j: i, (3,), ()),
    ((4,), lambda i, j: i, (), ()),
    ((4,), lambda i, j: i, (2, 3), ()),
    ((4,), lambda i, j: i, (0,), ()),
    ((4, 3), lambda i, j: i, (5,), ()),
    ((4, 3), lambda i, j: S[:, i], (5,), ()),
    ((4, 3), lambda i, j: S[i, j], (2,), (2,)),
    ((4, 3), lambda i, j: S[i, j], (2, 1), (3,)),
    ((4, 3), lambda i, j: S[i, 1:], (2,), ()),
    ((4, 3), lambda i, j: S[None, i, 1], (2,), ()),
    ((4, 3), lambda i, j: S[..., i], (2,), ()),
    ((4, 3, 5), lambda i, j: S[i, :, j], (2,), (2,)),
    ((4, 3, 5), lambda i, j: S[0, :, j], (2,), (2, 2)),
    ((4, 3, 5), lambda i, j: S[:, i, j], (2, 1), (2,)),
    ((4, 3, 5), lambda i, j: S[:, i, ::2], (2, 2), ()),
    ((4, 3, 5), lambda i, j: S[:, None, i, None, j], (2,), (2,)),
    ((4, 3, 5), lambda i, j: S[i, None, 0], (2,), ()),
    ((4, 3, 5), lambda i, j: S[i, ..., j], (2,), (1,)),
    ((4, 3), lambda i, j: S[i, ..., j], (2,), (2,)),
    ((4, 3, 5), lambda i, j: S[i, :, 0], (), ()),
]


@pytest.mark.parametrize(("shape", "index", "first", "second"), GATHERS)
@pytest.mark.parametrize("static", [False, True], ids=["symbolic", "static"])
def test_integer_tensors_as_indices(
    shape: tuple[int, ...],
    index: Callable[[Any, Any], Any],
    first: tuple[int, ...],
    second: tuple[int, ...],
    static: bool,
) -> None:
    array, i, j = x(*shape), ints(3, *first), ints(3, *second, dtype=np.int32)
    check(
        lambda e, a, i, j: get_item(e, a, index(i, j)),
        lambda a, i, j: a[index(i, j)],
        array,
        i,
        j,
        static=static,
    )
    new = x(*np.shape(array[index(i, j)]))
    check(
        lambda e, a, i, j, b: set_item(e, a, index(i, j), b),
        lambda a, i, j, b: written(a, index(i, j), b),
        array,
        i,
        j,
        new,
        static=static,
    )


def test_gradients_of_gathers_and_scatters_with_duplicates() -> None:
    i, j = np.array([2, 0, 2, -1]), np.array([1, 1, 1, 0])
    check_gradient(lambda e, a, i: get_item(e, a, i), x(3, 2), i)
    check_gradient(lambda e, a, i, j: get_item(e, a, (i, j)), x(3, 2), i, j)
    check_gradient(lambda e, a, i, j, b: set_item(e, a, (i, j), b), x(3, 2), i, j, x(4))
    check_gradient(lambda e, a, i, b: set_item(e, a, (slice(None), i), b), x(2, 3), i, x(2, 4))


def test_the_last_write_wins() -> None:
    array, i = np.zeros(4), np.array([1, 3, 1, -1, 1])
    new = np.arange(1.0, 6.0)
    check(lambda e, a, i, b: set_item(e, a, i, b), lambda a, i, b: written(a, i, b), array, i, new)


def test_lists_of_positions_are_integer_tensors() -> None:
    check(lambda e, a: get_item(e, a, [0, 2, -1]), lambda a: a[[0, 2, -1]], x(4, 2))
    check(lambda e, a: get_item(e, a, ([0, 1], [[1], [0]])), lambda a: a[[0, 1], [[1], [0]]], x(4, 2))
    check(lambda e, a: get_item(e, a, []), lambda a: a[[]], x(4, 2))


def picked(emit: Emitter, p: Value, labels: Value) -> Value:
    counting = emit.index_values((emit.shape(labels)[0],), 0)
    result = get_item(emit, p, (counting, labels))
    assert isinstance(result, Value)
    return result


def test_one_element_of_each_row_stays_symbolic() -> None:
    program, _ = traced(picked, [x(4, 3), ints(3, 4)])
    assert not program.guards
    for rows in (1, 7):
        p, labels = x(rows, 3), ints(3, rows)
        np.testing.assert_array_equal(run(program, [p, labels])[0], p[np.arange(rows), labels])
    check_gradient(picked, x(4, 3), ints(3, 4))


def test_diagonal_indices_need_no_sorting() -> None:
    def diagonal_raised(emit: Emitter, a: Value) -> Value:
        places = indexing.diag_indices_from(emit, a)
        raised = emit.elementwise("add", get_item(emit, a, places), 1.0)  # pyright: ignore[reportArgumentType]
        return set_item(emit, a, places, raised)

    program = check(diagonal_raised, lambda a: a + np.eye(3), x(3, 3))
    assert not any(isinstance(equation, Call) for equation in program.equations)
    check_gradient(diagonal_raised, x(3, 3))


def test_labels_per_row_need_no_sorting() -> None:
    def lowered(emit: Emitter, p: Value, labels: Value) -> Value:
        counting = emit.index_values((emit.shape(labels)[0],), 0)
        return set_item(emit, p, (counting, labels), emit.elementwise("sub", picked(emit, p, labels), 1.0))

    def expected(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
        result = p.copy()
        result[np.arange(len(labels)), labels] -= 1.0
        return result

    program = check(lowered, expected, x(4, 3), ints(3, 4))
    assert not any(isinstance(equation, Call) for equation in program.equations)


# --- random indices -----------------------------------------------------------------------------------------

BOUND = st.one_of(st.none(), st.integers(-6, 6))
SLICE = st.builds(slice, BOUND, BOUND, st.one_of(st.none(), st.sampled_from([1, 2, 3, -1, -2])))


@st.composite
def indexed(draw: st.DrawFn) -> tuple[np.ndarray, list[Any], list[np.ndarray]]:
    """An array, an index expression with integer tensors left out, and those tensors."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    entries: list[Any] = []
    tables: list[np.ndarray] = []
    lead = draw(st.lists(st.sampled_from([1, 2]), max_size=2))
    for extent in shape[: draw(st.integers(0, len(shape)))]:
        kind = draw(st.sampled_from(["int", "slice", "slice", "table"]))
        if kind == "int":
            entries.append(draw(st.integers(-extent, extent - 1)))
        elif kind == "slice":
            entries.append(draw(SLICE))
        else:
            size = int(np.prod(lead, dtype=int))
            chosen = draw(st.lists(st.integers(-extent, extent - 1), min_size=size, max_size=size))
            tables.append(np.array(chosen, np.int64).reshape(lead))
            entries.append(tables[-1])
    for _ in range(draw(st.integers(0, 2))):
        entries.insert(draw(st.integers(0, len(entries))), None)
    if draw(st.booleans()):
        entries.insert(draw(st.integers(0, len(entries))), Ellipsis)
    return np.arange(float(np.prod(shape, dtype=int))).reshape(shape), entries, tables


def _with_tables(entries: list[Any], tables: tuple[Any, ...]) -> tuple[Any, ...]:
    rest = iter(tables)
    return tuple(next(rest) if isinstance(entry, np.ndarray) else entry for entry in entries)


@given(indexed())
@settings(max_examples=150)
def test_random_indices(example: tuple[np.ndarray, list[Any], list[np.ndarray]]) -> None:
    array, entries, tables = example
    index = _with_tables(entries, tuple(tables))
    expected = np.asarray(array[index])
    check(lambda e, a, *t: get_item(e, a, _with_tables(entries, t)), lambda a, *t: expected, array, *tables)
    new = 100.0 + np.arange(float(expected.size)).reshape(expected.shape)
    check(
        lambda e, a, b, *t: set_item(e, a, _with_tables(entries, t), b),
        lambda a, b, *t: written(a, index, b),
        array,
        new,
        *tables,
    )


@given(st.integers(0, 9), st.integers(0, 9), SLICE)
@settings(max_examples=100)
def test_a_program_for_one_extent_is_right_or_refuses_another(first: int, second: int, index: slice) -> None:
    if first == 1:
        return
    program, _ = traced(lambda e, a: get_item(e, a, index), [np.zeros(first)])
    array = np.arange(float(second))
    try:
        (found,) = run(program, [array])
    except GradcError:
        return
    np.testing.assert_array_equal(found, array[index])
