"""Linear algebra on CUDA devices means what the table of calls says.

It runs in the simulator if it is on, on a device where tests are marked so, and else as PTX on the CPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.cuda.library_calls import PLACES, call, check, fetched, placed, sent

from gradc_runtime import cuda_factors, cuda_families

OPERATIONS = ("solve", "inv", "det", "cofactor", "slogdet", "cholesky", "solve_triangular")
DTYPES = ["float64", pytest.param("float32", marks=pytest.mark.full)]


@pytest.fixture(params=PLACES, autouse=True)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with placed(request.param, monkeypatch):
        yield


def operands(
    rng: np.random.Generator, operation: str, batch: tuple[int, ...], n: int, dtype: str = "float64"
) -> list[np.ndarray]:
    """Well-conditioned matrices; symmetric where a factor is asked for."""
    a = rng.normal(size=(*batch, n, n)) + 4 * np.eye(n)
    if operation == "cholesky":
        a = a @ np.swapaxes(a, -1, -2)
    found = [a]
    if operation in ("solve", "solve_triangular"):
        found.append(rng.normal(size=(*batch, n, 3)))
    return [np.ascontiguousarray(operand, dtype) for operand in found]


def choices(operation: str) -> list[dict[str, bool]]:
    both = itertools.product((False, True), repeat=2)
    is_triangle = operation == "solve_triangular"
    return [{"lower": lower, "transposed": t} for lower, t in both] if is_triangle else [{}]


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_matrices_and_batches_of_them(operation: str, dtype: str, rng: np.random.Generator) -> None:
    for attributes in choices(operation):
        for n in (1, 2, 5, 0):
            check(operation, *operands(rng, operation, (), n, dtype), **attributes)
        check(operation, *operands(rng, operation, (2, 3), 3, dtype), **attributes)
        check(operation, *operands(rng, operation, (0, 2), 3, dtype), **attributes)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_matrices_of_several_panels(operation: str, rng: np.random.Generator) -> None:
    n = 70 if operation in ("cholesky", "solve_triangular") else 7 if operation == "cofactor" else 35
    a, *b = operands(rng, operation, (1, 2), n)
    for attributes in choices(operation):
        check(operation, a / 8, *b, **attributes)


def test_float32_is_solved_in_float32_as_well_as_that_can_be(rng: np.random.Generator) -> None:
    a, b = (rng.normal(size=size).astype(np.float32) for size in ((34, 34), (34, 2)))
    (x,) = call("solve", a, b)
    rest = np.abs(a.astype(float) @ x - b).max()
    assert rest <= 34 * np.finfo(np.float32).eps * np.abs(a).sum(axis=1).max() * np.abs(x).max()
    (factor,) = call("cholesky", a @ a.T + np.eye(34, dtype=np.float32))
    assert (x.dtype, factor.dtype) == (np.float32, np.float32)


def test_rows_are_exchanged_where_a_pivot_is_small(rng: np.random.Generator) -> None:
    a = np.array([[1e-20, 1.0, 0.0], [1.0, 1.0, 2.0], [3.0, 0.0, 1.0]])
    check("solve", a, rng.normal(size=(3, 2)))
    check("inv", np.eye(4)[[2, 0, 3, 1]] * 2.0)
    for operation in ("det", "slogdet", "cofactor"):
        check(operation, a)


@pytest.mark.parametrize("complete", [False, True])
def test_no_pivot_is_smaller_than_what_is_left(complete: bool, rng: np.random.Generator) -> None:
    n = 12 if complete else 35
    a = rng.normal(size=(n, n))
    given, rows, columns = sent(a), *(sent(np.full(n, n)) for _ in range(2))
    view = cuda_factors.View(cuda_families.flat(given), 0, n * n, n, 1)
    if complete:
        cuda_factors.eliminate_completely(view, rows, columns, 1, n)
    else:
        cuda_factors.eliminate(view, rows, 1, n)
    found, order = fetched(given), np.arange(n)
    lower, upper = np.tril(found, -1), np.triu(found, 1) if complete else np.zeros((n, n))
    assert np.abs(lower).max() <= 1
    assert np.abs(upper).max() <= 1
    for j, row in enumerate(fetched(rows)):
        order[[j, row]] = order[[row, j]]
    if not complete:
        np.testing.assert_allclose((lower + np.eye(n)) @ np.triu(found), a[order], atol=1e-13)


def test_a_matrix_has_the_same_bits_alone_and_in_a_batch(rng: np.random.Generator) -> None:
    for operation in ("solve", "slogdet", "cofactor", "cholesky"):
        arrays = operands(rng, operation, (3,), 5)
        for one, several in zip(
            call(operation, *(x[1] for x in arrays)), call(operation, *arrays), strict=True
        ):
            assert one.tobytes() == several[1].tobytes()


def test_signs_of_determinants(rng: np.random.Generator) -> None:
    """Permutations and reflections: every parity of exchanges and of negative pivots."""
    rows = np.array([np.eye(4)[rng.permutation(4)] * rng.choice((-1.0, 1.0), 4) for _ in range(12)])
    for operation in ("det", "slogdet", "cofactor"):
        check(operation, rows)


def test_a_system_without_right_hand_sides(rng: np.random.Generator) -> None:
    for operation, attributes in (("solve", {}), ("solve_triangular", {"lower": True, "transposed": False})):
        (x,) = call(operation, rng.normal(size=(2, 3, 3)), np.empty((2, 3, 0)), **attributes)
        assert x.shape == (2, 3, 0)


def test_only_one_triangle_is_read() -> None:
    a, b = np.array([[2.0, np.nan], [1.0, 4.0]]), np.array([[1.0, 0.0], [2.0, 1.0]])
    for transposed, expected in ((False, [[0.5, 0.0], [0.375, 0.25]]), (True, [[0.25, -0.125], [0.5, 0.25]])):
        (x,) = call("solve_triangular", a, b, lower=True, transposed=transposed)
        np.testing.assert_array_equal(x, expected)
        (x,) = call("solve_triangular", a.T.copy(), b, lower=False, transposed=not transposed)
        np.testing.assert_array_equal(x, expected)
    (factor,) = call("cholesky", np.array([[4.0, np.nan], [2.0, 5.0]]))
    np.testing.assert_array_equal(factor, [[2.0, 0.0], [1.0, 2.0]])


# --- singular matrices --------------------------------------------------------------------------------------

SINGULAR = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 4.0]]])
HALF_ZERO = np.array([[[1.0, 0.0], [2.0, 0.0]]])
RIGHT = np.ones((2, 2, 2))
REFUSED: dict[str, tuple[tuple[np.ndarray, ...], dict[str, Any]]] = {
    "solve": ((SINGULAR, RIGHT), {}),
    "inv": ((SINGULAR,), {}),
    "solve_triangular": ((HALF_ZERO, RIGHT[:1]), {"lower": True, "transposed": True}),
    "cholesky": ((-SINGULAR,), {}),
}


@pytest.mark.parametrize("operation", REFUSED)
def test_singular_matrices_are_refused_as_on_the_processor(operation: str) -> None:
    arrays, attributes = REFUSED[operation]
    message = "Matrix is not positive definite" if operation == "cholesky" else "Singular matrix"
    with pytest.raises(np.linalg.LinAlgError, match=f"^{message}$"):
        call(operation, *arrays, **attributes)
    call(operation, *(np.abs(array) + 4 * np.eye(2) for array in arrays), **attributes)


def test_a_matrix_with_a_pivot_of_zero_has_no_cholesky_factor() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        call("cholesky", np.array([[1.0, 1.0], [1.0, 1.0]]))


def test_a_matrix_without_right_hand_sides_is_refused_too() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
        call("solve", SINGULAR, np.empty((2, 2, 0)))


def test_singular_matrices_have_determinants() -> None:
    for operation in ("det", "slogdet", "cofactor"):
        check(operation, SINGULAR)
        check(operation, np.zeros((1, 3, 3)))
    (sign, logarithm), (value,) = call("slogdet", SINGULAR), call("det", SINGULAR)
    assert (sign[1], logarithm[1], value[1]) == (0.0, -np.inf, 0.0)


def test_cofactors_of_matrices_of_every_rank(rng: np.random.Generator) -> None:
    n = 4
    for rank in range(n + 1):
        a = rng.integers(-3, 4, (n, rank)).astype(float) @ rng.integers(-3, 4, (rank, n))
        minors = [[np.delete(np.delete(a, i, 0), j, 1) for j in range(n)] for i in range(n)]
        signs = (-1.0) ** np.add.outer(np.arange(n), np.arange(n))
        (found,) = call("cofactor", a)
        np.testing.assert_allclose(found, signs * np.linalg.det(np.array(minors)), atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("place_of_nan", [(0, 0), (1, 0), (1, 1)])
def test_nan_comes_out(place_of_nan: tuple[int, int]) -> None:
    a = np.array([[0.0, 1.0], [2.0, 5.0]])
    a[place_of_nan] = np.nan
    for operation in ("det", "inv", "cofactor"):
        assert np.isnan(call(operation, a)[0]).any(), operation
    assert np.isnan(call("slogdet", a)[1])
    assert np.isnan(call("cholesky", a + 4 * np.eye(2))[0]).any()
