"""Products and sums against plain NumPy: every shape rule, integer and boolean operands, random einsums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.numeric.operations.shaped import check, check_gradient, declare, run, traced
from tests.numeric.operations.support import Case, call, check_value, uncovered
from tests.numeric.operations.support import check_gradient as check_case_gradient

from gradc.errors import ShapeError
from gradc.ir.index.nodes import Assign
from gradc.lang.operations import contractions
from gradc.lang.operations.einsum import einsum

RNG = np.random.default_rng(50)


def x(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.asarray(RNG.uniform(-3.0, 3.0, shape), dtype)


SHAPES = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((2, 1), (1, 4)), ((0, 3), (3, 2))]
MATMUL = [
    ((4, 2, 3), (3, 5)),
    ((2, 3), (4, 3, 5)),
    ((4, 2, 3), (4, 3, 5)),
    ((4, 1, 2, 3), (2, 3, 5)),
    ((3,), (4, 3, 5)),
]
CONVOLUTIONS = [(5, 3), (3, 5), (4, 4), (1, 3), (5, 1), (6, 2), (2, 6)]

CASES: list[Case] = [
    *(call(np.matmul, x(*a), x(*b)) for a, b in (*SHAPES, *MATMUL)),
    *(call(np.dot, x(*a), x(*b)) for a, b in SHAPES),
    *(
        call(f, x(2, 3, dtype=d), x(3, 2, dtype=d))
        for f in (np.matmul, np.dot)
        for d in (np.float32, np.int32, np.bool_)
    ),
    call(np.matmul, x(2, 3, dtype=np.int64), x(3, dtype=np.float32)),
    call(np.matmul, x(4, 2, 3), x(3)),
    call(np.dot, x(), x(2, 3)),
    call(np.dot, x(3), 2.0),
    call(np.dot, [1.0, 2.0], x(2)),
    call(np.dot, x(2, 3), x(4, 3, 5)),
    call(np.dot, x(2, 4, 3), x(3)),
    call(np.inner, x(3), x(3)),
    call(np.inner, x(2, 3), x(4, 5, 3)),
    call(np.inner, x(), x(3)),
    call(np.outer, x(3), x(2)),
    call(np.outer, x(2, 2), x(3, dtype=np.int64)),
    call(np.vdot, x(2, 3), x(2, 3)),
    call(np.vecdot, x(2, 3), x(3)),
    call(np.vecdot, x(3, 2), x(3, 2), axis=0),
    call(np.vecdot, x(4, 1, 3), x(2, 3)),
    call(np.matvec, x(2, 3), x(3)),
    call(np.matvec, x(4, 2, 3), x(3)),
    call(np.matvec, x(2, 3), x(4, 3)),
    call(np.vecmat, x(2), x(2, 3)),
    call(np.vecmat, x(4, 2), x(2, 3)),
    call(np.tensordot, x(2, 3, 4), x(3, 4, 5)),
    call(np.tensordot, x(2, 3), x(4), 0),
    call(np.tensordot, x(2, 3, 4), x(4, 5, 2), ((0, 2), (2, 0))),
    call(np.tensordot, x(2, 3), x(3, 2), (1, 0)),
    call(np.tensordot, x(2, 3), x(2, 3), axes=([-1, 0], [1, -2])),
    call(np.einsum, "ij,jk->ik", x(2, 3), x(3, 4)),
    call(np.einsum, "ij,jk", x(2, 3), x(3, 4)),
    call(np.einsum, "ba", x(2, 3)),
    call(np.einsum, "ii", x(3, 3)),
    call(np.einsum, "ii->i", x(3, 3)),
    call(np.einsum, "ij->", x(2, 3)),
    call(np.einsum, "ij->ji", x(2, 3)),
    call(np.einsum, "i,j->ji", x(2), x(3)),
    call(np.einsum, "i,i,i->", x(3), x(3), x(3)),
    call(np.einsum, "ij,jk,kl->il", x(2, 3), x(3, 4), x(4, 2)),
    call(np.einsum, "ij,jk,kl,l", x(2, 3), x(3, 4), x(4, 2), x(2)),
    call(np.einsum, "...ij,...jk->...ik", x(4, 2, 3), x(3, 5)),
    call(np.einsum, "...i,...i", x(4, 1, 3), x(2, 3)),
    call(np.einsum, "i...,...->...i", x(2, 3), x(4, 3)),
    call(np.einsum, "...->...", x(2, 3)),
    call(np.einsum, "i...->...", x(2, 3)),
    call(np.einsum, "iij,jkk->ik", x(2, 2, 3), x(3, 4, 4)),
    call(np.einsum, " ij , j -> i ", x(2, 3), x(3), optimize=True),
    call(np.einsum, "ij,ij->i", x(2, 3, dtype=np.int64), x(2, 3, dtype=np.int64)),
    call(np.einsum, "ij,j->i", x(2, 3, dtype=np.bool_), x(3, dtype=np.bool_)),
    call(np.einsum, "ij,jk", x(2, 3), x(1, 4)),
    call(np.einsum, ",i", 2.0, x(3)),
    call(np.einsum, x(2, 3), [0, 1], x(3, 4), [1, 2]),
    call(np.einsum, x(2, 3), [0, 1], x(3, 4), [1, 2], [2, 0]),
    call(np.einsum, x(5, 2, 3), [Ellipsis, 0, 1], [Ellipsis, 1, 0]),
    call(np.einsum, "ij,jk->ik", x(2, 3, dtype=np.float32), x(3, 4, dtype=np.float32), dtype=np.float64),
    call(np.kron, x(2, 3), x(3, 2)),
    call(np.kron, x(2), x(3, 2)),
    call(np.kron, x(2, 1, 2), x(3)),
    call(np.cross, x(3), x(3)),
    call(np.cross, x(2, 3), x(3)),
    call(np.cross, x(3, 2), x(2, 3), axisa=0, axisc=0),
    call(np.cross, x(3, 2), x(3, 2), axis=0),
    *(call(np.convolve, x(n), x(m), mode) for n, m in CONVOLUTIONS for mode in ("full", "same", "valid")),
    *(call(np.correlate, x(n), x(m), mode) for n, m in CONVOLUTIONS for mode in ("full", "same", "valid")),
    call(np.convolve, x(4), 2.0),
    call(np.convolve, x(4, dtype=np.int64), [1, -1]),
    call(np.convolve, x(4, dtype=np.float32), x(2, dtype=np.int64), "same"),
    call(np.correlate, x(4), [1.0, 2.0]),
    call(np.linalg.multi_dot, [x(2, 3), x(3, 4), x(4, 2)]),
    call(np.linalg.multi_dot, [x(2), x(2, 4), x(4, 2), x(2)]),
    call(np.linalg.matmul, x(2, 3), x(3, 4)),
    call(np.linalg.tensordot, x(2, 3), x(3, 4), axes=1),
    call(np.linalg.vecdot, x(2, 3), x(2, 3), axis=0),
    call(np.linalg.outer, x(2), x(3)),
    call(np.linalg.cross, x(2, 3), x(2, 3)),
]


@pytest.mark.parametrize("static", [False, True], ids=["symbolic", "static"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_functions_mean_what_numpy_means(case: Case, static: bool) -> None:
    check_value(case, static=static)


def _arrays(tree: Any) -> list[np.ndarray]:
    if isinstance(tree, list | tuple):
        return [leaf for item in tree for leaf in _arrays(item)]
    return [tree] if isinstance(tree, np.ndarray) else []


SMOOTH = [c for c in CASES if all(a.dtype == np.float64 and a.size for a in _arrays(c.arguments))]


@pytest.mark.parametrize("case", SMOOTH[::4], ids=str)
def test_gradients_agree_with_differences(case: Case) -> None:
    check_case_gradient(case)


@pytest.mark.full
@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_all_gradients_agree_with_differences(case: Case) -> None:
    check_case_gradient(case)


def test_every_handler_is_exercised() -> None:
    assert uncovered((contractions.FUNCTIONS, contractions.UFUNCS), CASES) == []
    assert set(contractions.METHODS) == {"dot"}
    check(
        lambda e, a, b: contractions.METHODS["dot"](e, a, b),
        lambda a, b: a.dot(b),
        x(2, 3),
        x(3),
        exact=False,
    )


def test_a_product_is_one_equation() -> None:
    for function in (contractions.matmul, contractions.dot, lambda e, a, b: einsum(e, "ij,jk", a, b)):
        program, _ = traced(function, [x(2, 3), x(3, 4)])
        (equation,) = program.equations
        assert isinstance(equation, Assign)
        assert (len(equation.space), equation.rank) == (3, 2)
        np.testing.assert_allclose(run(program, [np.eye(5, 6), np.eye(6, 7)])[0], np.eye(5, 7))


def test_chains_are_contracted_in_pairs() -> None:
    program, _ = traced(lambda e, *m: einsum(e, "ij,jk,kl,lm->im", *m), [x(2, 3), x(3, 4), x(4, 2), x(2, 3)])
    assert [(e.rank, len(e.space)) for e in program.equations if isinstance(e, Assign)] == [(2, 3)] * 3
    program, _ = traced(lambda e, a, b: einsum(e, "ij,kl->i", a, b), [x(2, 3), x(3, 4)])
    assert max(len(e.space) for e in program.equations if isinstance(e, Assign)) == 2


def test_extents_that_meet_are_checked_at_the_call() -> None:
    program, _ = traced(contractions.matmul, [x(2, 3), x(3, 4)])
    with pytest.raises(ValueError, match="has 4 elements"):
        run(program, [x(2, 3), x(4, 4)])


def test_a_convolution_serves_every_length() -> None:
    program, _ = traced(lambda e, a, v: contractions.convolve(e, a, v, "same"), [x(5), x(3)])
    for n, m in ((7, 2), (4, 4), (1, 1)):
        a, v = x(n), x(m)
        np.testing.assert_allclose(run(program, [a, v])[0], np.convolve(a, v, "same"), rtol=1e-12)
    with pytest.raises(ValueError, match=">="):
        run(program, [x(2), x(3)])


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (contractions.matmul, ((2, 3), (2, 3))),
        (contractions.matmul, ((2, 1), (3, 2))),
        (contractions.matmul, ((), (3,))),
        (contractions.matmul, ((2, 2, 3), (5, 3, 2))),
        (contractions.dot, ((3,), (4,))),
        (contractions.inner, ((2, 3), (2, 4))),
        (contractions.tensordot, ((2, 3), (3,))),
        (contractions.cross, ((2,), (2,))),
        (contractions.convolve, ((2, 2), (2,))),
        (contractions.convolve, ((0,), (2,))),
        (lambda e, a, b: contractions.convolve(e, a, b, "around"), ((3,), (2,))),
        (lambda e, a, b: einsum(e, "ij,jk", a, b), ((2, 3), (4, 5))),
        (lambda e, a, b: einsum(e, "ij", a, b), ((2, 3), (3, 4))),
        (lambda e, a, b: einsum(e, "i,jk", a, b), ((2, 3), (3, 4))),
        (lambda e, a, b: einsum(e, "ij,jk->ii", a, b), ((2, 3), (3, 4))),
        (lambda e, a, b: einsum(e, "ij,jk->il", a, b), ((2, 3), (3, 4))),
        (lambda e, a, b: einsum(e, "...j,jk->k", a, b), ((2, 3), (3, 4))),
        (lambda e, a, b: einsum(e, "i1,jk", a, b), ((2, 3), (3, 4))),
    ],
)
@pytest.mark.parametrize("static", [False, True])
def test_operands_that_do_not_fit_are_refused(
    function: Callable[..., Any], shapes: tuple[tuple[int, ...], ...], static: bool
) -> None:
    emit, values = declare([x(*shape) for shape in shapes], static=static)
    with pytest.raises(ShapeError):
        function(emit, *values)


# --- random einsums -----------------------------------------------------------------------------------------


@st.composite
def einsums(draw: st.DrawFn) -> tuple[str, list[np.ndarray]]:
    extents = {label: draw(st.integers(1, 3)) for label in "ijkl"}
    terms = draw(st.lists(st.text("ijkl", max_size=3), min_size=1, max_size=4))
    used = sorted(set("".join(terms)))
    subscripts = ",".join(terms)
    if draw(st.booleans()):
        result = draw(st.permutations(used))[: draw(st.integers(0, len(used)))]
        subscripts += "->" + "".join(result)
    arrays = []
    for seed, term in enumerate(terms):
        shape = tuple(extents[label] for label in term)
        arrays.append(np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64))
    return subscripts, arrays


@given(einsums())
@settings(max_examples=100)
def test_random_einsums(example: tuple[str, list[np.ndarray]]) -> None:
    subscripts, arrays = example
    check(
        lambda e, *values: einsum(e, subscripts, *values),
        lambda *values: np.asarray(np.einsum(subscripts, *values)),
        *arrays,
        exact=False,
    )


def test_a_gradient_through_a_chain_of_contractions() -> None:
    check_gradient(lambda e, a, b, c: einsum(e, "bi,ij,bj->b", a, b, c), x(2, 3), x(3, 4), x(2, 4))
