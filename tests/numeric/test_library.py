"""The library operations, compiled and as plain Python, against their meaning in the table of calls."""

import itertools
import linecache
from collections.abc import Callable
from functools import cache

import numba
import numpy as np
import pytest
from numba.core import types

from gradc.ir.index.calls import CALLS
from gradc_runtime import library, linalg

MATRICES = ("solve", "inv", "det", "cofactor", "slogdet", "cholesky", "solve_triangular")
RTOL = {"float64": 1e-11, "float32": 2e-4}


def python(operation: str) -> Callable:
    return getattr(library, operation, None) or getattr(linalg, operation)


@cache
def compiled(operation: str, arguments: tuple[tuple[str, int], ...]) -> Callable:
    """The operation called from compiled code: read-only arrays by dtype and rank, scalars by rank 0."""
    names = ", ".join(f"a{position}" for position in range(len(arguments)))
    source = f"def call({names}):\n    return operation({names})\n"
    path = f"<call of {operation} {arguments}>"
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    namespace = {"operation": python(operation)}
    exec(compile(source, path, "exec"), namespace)
    dispatcher = numba.njit(error_model="numpy", nogil=True)(namespace["call"])
    signature = []
    for dtype, rank in arguments:
        scalar = numba.from_dtype(np.dtype(dtype))
        signature.append(types.Array(scalar, rank, "C", readonly=True) if rank else scalar)
    dispatcher.compile(tuple(signature))
    dispatcher.disable_compile()
    return dispatcher


def fast(operation: str, *arrays: np.ndarray, **attributes):
    """What compiled code makes of the arrays; attributes come sorted by name, as kernels print them."""
    values = [attributes[name] for name in sorted(attributes)]
    scalars = [("bool" if isinstance(value, bool) else "int64", 0) for value in values]
    key = (*((array.dtype.name, array.ndim) for array in arrays), *scalars)
    return compiled(operation, key)(*arrays, *values)


def check(operation: str, *arrays: np.ndarray, exact: bool = False, **attributes) -> None:
    """Compiled, plain and in the table: the same shapes, dtypes and values, and arrays of their own."""
    for array in arrays:
        array.flags.writeable = False
    meaning = CALLS[operation].numpy(*arrays, **attributes)
    results = [fast(operation, *arrays, **attributes), python(operation)(*arrays, **attributes)]
    quick, slow = (result if len(meaning) > 1 else (result,) for result in results)
    rtol = 0 if exact else RTOL[arrays[0].dtype.name]
    for one, two, expected in zip(quick, slow, meaning, strict=True):
        assert np.shape(one) == np.shape(two) == expected.shape
        assert np.asarray(two).dtype == expected.dtype
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=1) if rtol else 0
        np.testing.assert_allclose(one, expected, rtol=rtol, atol=rtol * largest)
        np.testing.assert_allclose(two, expected, rtol=rtol, atol=rtol * largest)
        if expected.ndim:  # a number comes back from compiled code as a Python number
            assert one.dtype == expected.dtype
            assert one.flags.c_contiguous
            assert one.flags.writeable
            assert not any(np.shares_memory(one, array) for array in arrays)


# --- linear algebra -----------------------------------------------------------------------------------------


def operands(
    rng: np.random.Generator, operation: str, dtype: str, batch: tuple[int, ...], n: int
) -> list[np.ndarray]:
    """Well-conditioned matrices; symmetric where a factor is asked for."""
    a = rng.normal(size=(*batch, n, n)) + 4 * np.eye(n)
    if operation == "cholesky":
        a = a @ np.swapaxes(a, -1, -2)
    found = [a]
    if operation in ("solve", "solve_triangular"):
        found.append(rng.normal(size=(*batch, n, 2)))
    return [np.ascontiguousarray(operand, dtype) for operand in found]


def choices(operation: str) -> list[dict[str, bool]]:
    both = itertools.product((False, True), repeat=2)
    is_triangle = operation == "solve_triangular"
    return [{"lower": lower, "transposed": t} for lower, t in both] if is_triangle else [{}]


@pytest.mark.parametrize(
    ("dtype", "batch"),
    [
        ("float64", (2, 3)),
        ("float32", ()),
        pytest.param("float64", (), marks=pytest.mark.full),
        pytest.param("float32", (2, 3), marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("operation", MATRICES)
def test_matrices(operation: str, dtype: str, batch: tuple[int, ...], rng: np.random.Generator):
    for attributes in choices(operation):
        for n in (1, 2, 5, 0):
            check(operation, *operands(rng, operation, dtype, batch, n), **attributes)
        if batch:
            check(operation, *operands(rng, operation, dtype, (0, *batch[1:]), 3), **attributes)


@pytest.mark.parametrize("operation", MATRICES)
def test_matrices_larger_than_a_block_of_lapack(operation: str, rng: np.random.Generator):
    arrays = [array / 8 for array in operands(rng, operation, "float64", (1, 1), 70)]
    check(operation, *arrays, **choices(operation)[0])


def test_only_one_triangle_is_read():
    a, b = np.array([[[[2.0, np.nan], [1.0, 4.0]]]]), np.array([[[[1.0, 0.0], [2.0, 1.0]]]])
    x = fast("solve_triangular", a, b, lower=True, transposed=False)
    np.testing.assert_array_equal(x[0, 0], [[0.5, 0.0], [0.375, 0.25]])
    symmetric = np.array([[[[4.0, np.nan], [2.0, 5.0]]]])
    np.testing.assert_array_equal(fast("cholesky", symmetric)[0, 0], [[2.0, 0.0], [1.0, 2.0]])


SINGULAR = np.array([[[[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 4.0]]]])
HALF_ZERO = np.array([[[[1.0, 0.0], [2.0, 0.0]]]])
RIGHT = np.ones((1, 2, 2, 2))
REFUSED = {
    "solve": ((SINGULAR, RIGHT), {}),
    "inv": ((SINGULAR,), {}),
    "solve_triangular": ((HALF_ZERO, RIGHT[:, :1]), {"lower": True, "transposed": True}),
    "cholesky": ((-SINGULAR,), {}),
}


@pytest.mark.parametrize("operation", REFUSED)
def test_singular_matrices_are_refused_as_numpy_does(operation: str):
    arrays, attributes = REFUSED[operation]
    for function in (fast, lambda name, *ins, **more: CALLS[name].numpy(*ins, **more)):
        with pytest.raises(np.linalg.LinAlgError, match=r"(Singular matrix|not positive definite)"):
            function(operation, *arrays, **attributes)


def test_singular_matrices_have_determinants():
    for operation in ("det", "slogdet", "cofactor"):
        check(operation, SINGULAR.copy())
        check(operation, np.zeros((1, 1, 3, 3)))
    np.testing.assert_allclose(fast("cofactor", SINGULAR)[0, 1], [[4.0, -2.0], [-2.0, 1.0]], atol=1e-14)


def test_signs_of_determinants(rng: np.random.Generator):
    """Permutations and reflections: every parity of exchanges and of negative pivots."""
    rows = np.array([[np.eye(4)[rng.permutation(4)] * rng.choice((-1.0, 1.0), 4) for _ in range(24)]])
    check("det", rows)
    check("slogdet", rows)


# --- scans, orders, winners ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.full)])
@pytest.mark.parametrize("reverse", [False, True])
def test_affine_scan_is_numpys_bit_for_bit(dtype: str, reverse: bool, rng: np.random.Generator):
    for shape in ((3, 4, 2), (1, 1, 1), (0, 2, 3), (2, 0, 3), (2, 3, 0)):
        a, b = (rng.normal(size=shape).astype(dtype) for _ in range(2))
        for axis in range(3):
            check("affine_scan", a, b, axis=axis, reverse=reverse, exact=True)


INTERESTING = {
    "float64": (-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan),
    "float32": (-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan),
    "int64": (-(2**63), -1, 0, 1, 2**63 - 1),
    "bool": (False, True),
}
MORE = [pytest.param(name, marks=pytest.mark.full) for name in ("float32", "int64", "bool")]


@pytest.mark.parametrize("dtype", ["float64", *MORE])
def test_orders_and_winners(dtype: str, rng: np.random.Generator):
    """Ties keep their order and the first of equals wins, NaN is the largest number and wins anyway."""
    for shape in ((3, 7, 2), (1, 40, 1), (2, 1, 3), (0, 2, 3), (2, 3, 0)):
        x = rng.choice(np.array(INTERESTING[dtype], dtype), size=shape)
        for axis in range(3):
            check("argsort", x, axis=axis, exact=True)
            for largest in (False, True) if shape[axis] else ():
                check("arg_extreme", x, axis=axis, largest=largest, exact=True)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 8, 13, 64, 65, 1000])
def test_argsort_of_any_length(length: int, rng: np.random.Generator):
    check("argsort", rng.integers(0, 10, (1, length, 1)).astype(float), axis=1, exact=True)


def test_the_winner_of_a_vector_is_a_number():
    assert fast("arg_extreme", np.array([1.0, 3.0, 3.0]), axis=0, largest=True) == 1


def test_an_axis_without_elements_has_no_winner():
    with pytest.raises(ValueError, match="without elements"):
        fast("arg_extreme", np.empty((2, 0, 3)), axis=1, largest=True)
    with pytest.raises(ValueError, match="empty sequence"):
        CALLS["arg_extreme"].numpy(np.empty((2, 0, 3)), axis=1, largest=True)


# --- shapes and indices -------------------------------------------------------------------------------------


def test_reshape():
    @numba.njit
    def shapes(x, number, one):
        made = library.reshape(x, (x.shape[1], x.shape[0]))
        return (
            made,
            library.reshape(made, (made.size,)),
            library.reshape(number, (1, 1)),
            library.reshape(one, ()),
        )

    x = np.arange(6.0).reshape(2, 3)
    x.flags.writeable = False
    turned, flattened, filled, only = shapes(x, 7.0, np.array([[8.0]]))
    np.testing.assert_array_equal(turned, x.reshape(3, 2))
    np.testing.assert_array_equal(flattened, x.ravel())
    np.testing.assert_array_equal(filled, [[7.0]])
    assert only == library.reshape(np.array([[8.0]]), ()) == 8.0
    assert not np.shares_memory(turned, x)
    assert not np.shares_memory(library.reshape(x, (6,)), x)


@pytest.mark.parametrize("shape", [(5,), (7, 1), (2, 2), (-1, -6)])
def test_reshape_keeps_every_element(shape: tuple[int, ...]):
    compiled = numba.njit(lambda x, shape: library.reshape(x, shape))
    with pytest.raises(ValueError, match="size"):
        compiled(np.arange(6.0), shape)
    with pytest.raises(ValueError, match=r"reshape|dimension"):
        library.reshape(np.arange(6.0), shape)


def test_indices_are_checked():
    def library_checks(table, one, extent):
        library.check_indices(table, extent)
        library.check_indices(one, extent)

    checked = numba.njit(library_checks)
    for function in (checked, library_checks):
        function(np.array([[0, 2], [-3, 1]], np.int32), -3, 3)
        for table, one in (([[0, 3]], 0), ([[-4, 0]], 0), ([[0, 0]], 3), ([[0, 0]], -4)):
            with pytest.raises(IndexError, match="an index is out of range"):
                function(np.array(table, np.int32), one, 3)
