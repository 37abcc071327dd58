"""Shape functions and joining against plain NumPy: symbolic and static extents, gradients, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.numeric.operations.shaped import check, check_gradient, declare, run, traced
from tests.numeric.operations.support import Case, call, check_value, refusing, uncovered
from tests.numeric.operations.support import check_gradient as check_case_gradient

from gradc.errors import ShapeError, TraceError
from gradc.ir.extents import symbol
from gradc.ir.index.show import show
from gradc.lang.emit import Emitter, SizeValue, Value
from gradc.lang.operations import joining, padding, shapes, triangles

RNG = np.random.default_rng(30)


def x(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.asarray(RNG.uniform(-3.0, 3.0, shape) * (1 if dtype == np.float64 else 2), dtype)


I64, F32, BOOL = np.int64, np.float32, np.bool_

RESHAPING = [
    call(np.reshape, x(2, 6), (3, 4)),
    call(np.reshape, x(2, 6), -1),
    call(np.reshape, x(2, 6, dtype=F32), (-1, 3)),
    call(np.reshape, x(2, 6), (4, -1), order="F"),
    call(np.reshape, x(2, 3), (1, 2, 1, 3)),
    call(np.reshape, x(0, 3), (3, 0)),
    call(np.reshape, x(0, 3), (-1,)),
    call(np.reshape, x(), (1, 1)),
    call(np.reshape, x(1, 1), ()),
    call(np.ravel, x(2, 3)),
    call(np.ravel, x(2, 3), order="F"),
    call(np.ravel, x()),
    call(np.ravel, x(2, 0)),
    call(np.squeeze, x(1, 3, 1)),
    call(np.squeeze, x(1, 3, 1), 0),
    call(np.squeeze, x(1, 3, 1), (0, -1)),
    call(np.expand_dims, x(2, 3), 1),
    call(np.expand_dims, x(2, 3), (0, -1)),
    call(np.atleast_1d, x()),
    call(np.atleast_1d, x(), x(2, 2)),
    call(np.atleast_2d, x(3)),
    call(np.atleast_3d, x(3)),
    call(np.atleast_3d, x(2, 3)),
    call(np.atleast_3d, x()),
]
PERMUTING = [
    call(np.transpose, x(2, 3, 4)),
    call(np.transpose, x(2, 3, 4), (1, 0, 2)),
    call(np.transpose, x(2, 3, 4), (-1, 0, 1)),
    call(np.transpose, x(3)),
    call(np.permute_dims, x(2, 3), (1, 0)),
    call(np.matrix_transpose, x(2, 3, 4)),
    call(np.linalg.matrix_transpose, x(2, 3)),
    call(np.swapaxes, x(2, 3, 4), 0, -1),
    call(np.moveaxis, x(2, 3, 4), 0, -1),
    call(np.moveaxis, x(2, 3, 4), (0, 1), (-1, -2)),
    call(np.rollaxis, x(2, 3, 4), 2),
    call(np.rollaxis, x(2, 3, 4), 0, 3),
    call(np.rollaxis, x(2, 3, 4), 1, -1),
]
BROADCASTING = [
    call(np.broadcast_to, x(3), (2, 3)),
    call(np.broadcast_to, x(1, 3, dtype=I64), (2, 3)),
    call(np.broadcast_to, x(), (0, 2)),
    call(np.broadcast_arrays, x(3), x(2, 1)),
    call(np.meshgrid, x(3), x(2)),
    call(np.meshgrid, x(3), x(2), indexing="ij"),
    call(np.meshgrid, x(3), x(2), x(4), sparse=True),
    call(np.meshgrid, x(3), x()),
]
FLIPPING = [
    call(np.flip, x(2, 3)),
    call(np.flip, x(2, 3), 1),
    call(np.flip, x(2, 3), (0, -1)),
    call(np.flip, x(0)),
    call(np.fliplr, x(2, 3)),
    call(np.flipud, x(2, 3)),
    *(call(np.rot90, x(2, 3), k) for k in range(-1, 5)),
    call(np.rot90, x(2, 3, 4), 1, (2, 0)),
]
DIAGONALS = [
    *(call(np.triu, x(3, 4), k) for k in (-1, 0, 2)),
    call(np.triu, x(3)),
    call(np.tril, x(2, 3, 3)),
    call(np.tril, x(3, 4, dtype=I64), -1),
    call(np.tril, x(3, 3, dtype=BOOL)),
    *(call(np.diag, x(3), k) for k in (-2, 0, 1)),
    *(call(np.diag, x(3, 4), k) for k in (-2, -3, 0, 1, 2, 5)),
    call(np.diagflat, x(2, 2), 1),
    call(np.diagonal, x(2, 3, 4), 1, 2, 0),
    call(np.diagonal, x(2, 3, 4)),
    call(np.trace, x(3, 4)),
    call(np.trace, x(3, 4, dtype=np.int32), 1),
    call(np.trace, x(2, 3, 4), 0, 1, 2),
    call(np.trace, x(0, 3)),
]
JOINING = [
    call(np.concatenate, [x(2, 3), x(1, 3)]),
    call(np.concatenate, [x(2, 3), x(2, 2, dtype=F32)], axis=-1),
    call(np.concatenate, [x(2, 3), x(4)], axis=None),
    call(np.concatenate, [x(2), [1.0, 2.0]]),
    call(np.concatenate, [x(0), x(2, dtype=I64)]),
    call(np.concat, (x(2, dtype=F32), x(1)), dtype=np.float32),
    call(np.concatenate, x(2, 3, 2), axis=1),
    call(np.stack, [x(2, 3), x(2, 3)]),
    call(np.stack, [x(2, 3), x(2, 3)], -1),
    call(np.stack, [x(), 1.0]),
    call(np.vstack, [x(3), x(2, 3)]),
    call(np.hstack, [x(3), x(2)]),
    call(np.hstack, [x(2, 3), x(2, 1)]),
    call(np.hstack, [x(), 1.0]),
    call(np.dstack, [x(2, 3), x(2, 3)]),
    call(np.dstack, [x(3), x(3)]),
    call(np.column_stack, [x(3), x(3, 2)]),
    call(np.append, x(2, 3), x(2)),
    call(np.append, x(2, 3), x(1, 3), 0),
    call(np.append, x(2), 1.0),
    call(np.block, [[x(2, 2), x(2, 3)], [x(1, 2), x(1, 3)]]),
    call(np.block, [[x(), 1.0], [2.0, x()]]),
    call(np.block, [x(2), x(3)]),
    call(np.block, x(2)),
]
SPLITTING = [
    call(np.split, x(6, 2), 3),
    call(np.split, x(6), [2, 3]),
    call(np.split, x(6), [4, 2, 9]),
    call(np.split, x(2, 6), [1, -1], 1),
    call(np.array_split, x(7), 3),
    call(np.array_split, x(7), [2, 3]),
    call(np.hsplit, x(2, 4), 2),
    call(np.hsplit, x(4), 2),
    call(np.vsplit, x(4, 2), [1]),
    call(np.dsplit, x(1, 2, 4), 2),
    call(np.unstack, x(3, 2)),
    call(np.unstack, x(2, 3), axis=1),
]
REPEATING = [
    call(np.tile, x(2, 3), 2),
    call(np.tile, x(2, 3), (2, 1, 2)),
    call(np.tile, x(3), (2, 2)),
    call(np.tile, x(3), 0),
    call(np.repeat, x(2, 3), 2),
    call(np.repeat, x(2, 3), 2, 1),
    call(np.repeat, x(2, 3, dtype=I64), [2, 0, 1], 1),
    call(np.repeat, x(3), 0),
    *(call(np.roll, x(5), shift) for shift in (0, 1, -2, 5, 7, -12)),
    call(np.roll, x(2, 3), 1),
    call(np.roll, x(2, 3), 1, 1),
    call(np.roll, x(2, 3), (1, -1), (0, 1)),
    call(np.roll, x(2, 3), 1, (0, 1)),
    call(np.roll, x(0), 2),
]
PADDING = [
    call(np.pad, x(3), 2),
    call(np.pad, x(2, 3), (1, 2)),
    call(np.pad, x(2, 3), ((1, 0), (0, 2)), constant_values=((1.5, 2.5), (3.5, 4.5))),
    call(np.pad, x(2, 3, dtype=I64), ((1,), (2,)), constant_values=(7, 8)),
    call(np.pad, x(2, 3), 1, "edge"),
    call(np.pad, x(3), (0, 2), "edge"),
    call(np.pad, x(4), (3, 2), "reflect"),
    call(np.pad, x(4, 2), ((3, 2), (0, 1)), "reflect"),
    call(np.pad, x(4), (4, 2), "symmetric"),
    call(np.pad, x(4), (3, 2), mode="wrap"),
    call(np.pad, x(0), 1),
]
CASES: list[Case] = [
    *RESHAPING,
    *PERMUTING,
    *BROADCASTING,
    *FLIPPING,
    *DIAGONALS,
    *JOINING,
    *SPLITTING,
    *REPEATING,
    *PADDING,
]


@pytest.mark.parametrize("static", [False, True], ids=["symbolic", "static"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_functions_mean_what_numpy_means(case: Case, static: bool) -> None:
    check_value(case, static=static)


def _differentiable(case: Case) -> bool:
    arrays = [a for a in _flat(case.arguments) if isinstance(a, np.ndarray)]
    return (
        bool(arrays)
        and all(a.dtype == np.float64 and a.size for a in arrays)
        and case.options.get("dtype") is None
    )


def _flat(tree: Any) -> list[Any]:
    return [leaf for item in tree for leaf in _flat(item)] if isinstance(tree, list | tuple) else [tree]


GRADIENT_CASES = [case for case in CASES if _differentiable(case)]


@pytest.mark.parametrize("case", GRADIENT_CASES[::5], ids=str)
def test_gradients_agree_with_differences(case: Case) -> None:
    check_case_gradient(case)


@pytest.mark.full
@pytest.mark.parametrize("case", GRADIENT_CASES, ids=str)
def test_all_gradients_agree_with_differences(case: Case) -> None:
    check_case_gradient(case)


# --- methods and questions ----------------------------------------------------------------------------------

METHOD_CALLS: dict[str, list[tuple[Callable[..., Any], Callable[..., Any], tuple[int, ...]]]] = {
    "reshape": [
        (lambda f, e, a: f(e, a, 3, -1), lambda a: a.reshape(3, -1), (2, 6)),
        (lambda f, e, a: f(e, a, (4, 3), order="F"), lambda a: a.reshape((4, 3), order="F"), (2, 6)),
    ],
    "ravel": [(lambda f, e, a: f(e, a), lambda a: a.ravel(), (2, 3))],
    "flatten": [(lambda f, e, a: f(e, a, "F"), lambda a: a.flatten("F"), (2, 3))],
    "transpose": [
        (lambda f, e, a: f(e, a), lambda a: a.transpose(), (2, 3, 4)),
        (lambda f, e, a: f(e, a, 1, 0, 2), lambda a: a.transpose(1, 0, 2), (2, 3, 4)),
        (lambda f, e, a: f(e, a, (2, 0, 1)), lambda a: a.transpose((2, 0, 1)), (2, 3, 4)),
        (lambda f, e, a: f(e, a, None), lambda a: a.transpose(None), (2, 3)),
    ],
    "T": [(lambda f, e, a: f(e, a), lambda a: a.T, (2, 3))],
    "mT": [(lambda f, e, a: f(e, a), lambda a: a.mT, (2, 3, 4))],
    "swapaxes": [(lambda f, e, a: f(e, a, 0, 1), lambda a: a.swapaxes(0, 1), (2, 3))],
    "squeeze": [(lambda f, e, a: f(e, a, 0), lambda a: a.squeeze(0), (1, 3))],
    "diagonal": [(lambda f, e, a: f(e, a, 1), lambda a: a.diagonal(1), (3, 3))],
    "trace": [(lambda f, e, a: f(e, a, 1), lambda a: a.trace(1), (3, 3))],
    "repeat": [(lambda f, e, a: f(e, a, 2, axis=0), lambda a: a.repeat(2, axis=0), (2, 3))],
}
METHODS = {**shapes.METHODS, **triangles.METHODS, **joining.METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_methods_mean_what_array_methods_mean(name: str) -> None:
    for handler_call, expected, shape in METHOD_CALLS[name]:
        check(lambda e, a, f=handler_call: f(METHODS[name], e, a), expected, x(*shape), exact=name != "trace")


def test_shape_size_and_ndim_stay_symbolic() -> None:
    emit, (value,) = declare([x(2, 1, 3)])
    assert shapes.shape_of(emit, value) == (SizeValue(symbol("x0_n0")), 1, SizeValue(symbol("x0_n2")))
    assert shapes.ndim(emit, value) == 3
    assert shapes.size_of(emit, value) == SizeValue(symbol("x0_n0") * symbol("x0_n2"))
    assert shapes.size_of(emit, value, 1) == 1
    assert not emit.solver.guards


QUESTIONS = (np.shape, np.ndim, np.size)


def test_every_handler_is_exercised() -> None:
    tables = tuple(module.FUNCTIONS for module in (shapes, triangles, joining, padding))
    asked = [call(function) for function in QUESTIONS]
    assert uncovered(tables, [*CASES, *asked]) == []


@pytest.mark.parametrize("handler", refusing((shapes.FUNCTIONS, triangles.FUNCTIONS)))
def test_refused_functions_say_what_to_write(handler: Callable[..., Any]) -> None:
    with pytest.raises(TraceError, match="do: "):
        handler(Emitter(declare([])[0].builder))


# --- extents ------------------------------------------------------------------------------------------------


def test_one_program_serves_other_sizes() -> None:
    def double_rolled(emit: Emitter, a: Value) -> Value:
        return joining.concatenate(emit, [joining.roll(emit, a, 1, 0), shapes.flip(emit, a, 0)], axis=0)

    program, _ = traced(double_rolled, [x(4, 2)])
    for rows in (1, 3, 9):
        array = x(rows, 5)
        expected = np.concatenate([np.roll(array, 1, 0), array[::-1]])
        np.testing.assert_array_equal(run(program, [array])[0], expected)


def test_reshape_back_and_forth_needs_no_guard_but_divisibility() -> None:
    def there_and_back(emit: Emitter, a: Value) -> Value:
        pairs = shapes.reshape(emit, a, (-1, 2))
        return emit.elementwise("add", shapes.ravel(emit, pairs), a)

    program, _ = traced(there_and_back, [x(6)])
    assert [str(guard) for guard in program.guards] == ["2 divides x0_n0"]
    np.testing.assert_array_equal(run(program, [np.arange(4.0)])[0], 2 * np.arange(4.0))


def test_a_quotient_that_meets_an_argument_is_checked_at_the_call() -> None:
    def halves_plus(emit: Emitter, a: Value, b: Value) -> Value:
        rows = shapes.reshape(emit, a, (2, -1))
        return emit.elementwise("add", rows, b)

    program, _ = traced(halves_plus, [x(6), x(3)])
    np.testing.assert_array_equal(run(program, [np.ones(8), np.ones(4)])[0], np.full((2, 4), 2.0))
    with pytest.raises(ValueError, match="has 3 elements"):
        run(program, [np.ones(8), np.ones(3)])


def test_guards_are_written_in_extents_of_the_arguments() -> None:
    def padded_sum(emit: Emitter, a: Value, b: Value) -> Value:
        return emit.elementwise("add", padding.pad(emit, a, 3, "reflect"), padding.pad(emit, b, 3, "reflect"))

    program, _ = traced(padded_sum, [x(5), x(5)])
    assert show(program).startswith("program test(x0: f64[x0_n0], x1: f64[x0_n0])")
    with pytest.raises(ValueError, match=">= 4"):
        run(program, [np.ones(3), np.ones(3)])


@pytest.mark.parametrize(
    "function",
    [
        lambda e, a: shapes.reshape(e, a, (4, 2)),
        lambda e, a: shapes.reshape(e, a, (-1, -1)),
        lambda e, a: shapes.reshape(e, a, (0, -1)),
        lambda e, a: shapes.squeeze(e, a, 0),
        lambda e, a: shapes.transpose(e, a, (0, 0)),
        lambda e, a: shapes.transpose(e, a, (0,)),
        lambda e, a: shapes.swapaxes(e, a, 0, 2),
        lambda e, a: shapes.broadcast_to(e, a, (3,)),
        lambda e, a: joining.concatenate(e, [a, a[0] if isinstance(a, list) else shapes.ravel(e, a)]),
        lambda e, a: joining.concatenate(e, []),
        lambda e, a: joining.split(e, a, 4),
        lambda e, a: padding.pad(e, a, 3, "reflect"),
        lambda e, a: joining.block(e, [[a], a]),
        lambda e, a: joining.repeat(e, a, [1, 2, 3], 0),
    ],
)
@pytest.mark.parametrize("static", [False, True])
def test_shapes_that_do_not_fit_are_refused(function: Callable[..., Any], static: bool) -> None:
    emit, (value,) = declare([x(2, 3)], static=static)
    with pytest.raises(ShapeError):
        function(emit, value)


# --- random shapes ------------------------------------------------------------------------------------------


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    factors = draw(st.lists(st.integers(1, 3), max_size=4))
    shuffled = draw(st.permutations(factors))
    cuts = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=3)))
    groups = [shuffled[i:j] for i, j in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]
    wanted = [int(np.prod(group, dtype=int)) for group in groups]
    if draw(st.booleans()):
        wanted[draw(st.integers(0, len(wanted) - 1))] = -1
    return tuple(factors), tuple(wanted), tuple(draw(st.permutations(range(len(factors)))))


@given(reshapes())
@settings(max_examples=40)
def test_random_transpose_and_reshape(
    example: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
) -> None:
    own, wanted, order = example
    array = np.arange(float(np.prod(own, dtype=int))).reshape(own)

    def handler(emit: Emitter, a: Value) -> Value:
        return shapes.reshape(emit, shapes.transpose(emit, a, order), wanted)

    check(handler, lambda a: np.reshape(np.transpose(a, order), wanted), array)


def test_a_gradient_through_several_views() -> None:
    def views(emit: Emitter, a: Value) -> Value:
        wide = shapes.reshape(emit, shapes.transpose(emit, a), (-1, 2))
        return joining.tile(emit, shapes.flip(emit, wide, 0), (1, 2))

    check_gradient(views, x(2, 3))
