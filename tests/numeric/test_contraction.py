"""Contractions: roles of indices, and compiled against plain loops at every edge, stride and kind of collision."""

import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest

import gradc
from gradc_runtime import contraction_ways, memory, threads
from gradc_runtime.contraction import positions, roles_of
from gradc_runtime.contraction_kernel import add_contraction, contract
from gradc_runtime.routines import for_python

FUNCTIONS = {False: contract, True: add_contraction}

# target, first, second, extents in alphabetical order, shapes of the three tensors, whether it adds
CASES: dict[str, tuple[str, str, str, tuple[int, ...], tuple[tuple[int, ...], ...], bool]] = {
    "matrices": ("i j", "i k", "k j", (9, 26, 5), ((9, 26), (9, 5), (5, 26)), False),
    "transposed result": ("i j", "k j", "i k", (9, 26, 5), ((9, 26), (5, 26), (9, 5)), False),
    "long sum": ("i j", "i k", "k j", (2, 3, 2500), ((2, 3), (2, 2500), (2500, 3)), False),
    "batch": ("i j k", "i j l", "i k l", (3, 10, 11, 4), ((3, 10, 11), (3, 10, 4), (3, 11, 4)), False),
    "heads": (
        "i j k l",
        "i k j p",
        "i l j p",
        (2, 3, 9, 9, 4),
        ((2, 3, 9, 9), (2, 9, 3, 4), (2, 9, 3, 4)),
        False,
    ),
    "last axis in the batch": (
        "i l j",
        "i k j",
        "k l j",
        (9, 4, 5, 6),
        ((9, 6, 4), (9, 5, 4), (5, 6, 4)),
        False,
    ),
    "pairs": ("i j k", "i p q", "j k p q", (5, 4, 3, 2, 6), ((5, 4, 3), (5, 2, 6), (4, 3, 2, 6)), False),
    "convolution": (
        *("i j k l", "i j+p k+q r", "p q r l", (2, 6, 5, 17, 3, 2, 4)),
        *(((2, 6, 5, 17), (2, 8, 6, 4), (3, 2, 4, 17)), False),
    ),
    "stride and dilation": (
        *("i j l", "i 2j+3p+1 r", "p r l", (2, 5, 9, 3, 4)),
        *(((2, 5, 9), (2, 16, 4), (3, 4, 9)), False),
    ),
    "gradient of weights": (
        *("i j k l", "p q r l", "p i+q j+r k", (3, 2, 4, 17, 2, 6, 5)),
        *(((3, 2, 4, 17), (2, 6, 5, 17), (2, 8, 6, 4)), False),
    ),
    "gradient of images": (
        *("i j+p k+q r", "i j k l", "p q r l", (2, 6, 5, 17, 3, 2, 4)),
        *(((2, 8, 6, 4), (2, 6, 5, 17), (3, 2, 4, 17)), True),
    ),
    "gradient of strided images": (
        *("i 2j+p r", "i j l", "p r l", (2, 6, 7, 3, 9)),
        *(((2, 13, 9), (2, 6, 7), (3, 9, 7)), True),
    ),
    "gradient of weights, channels last": (
        *("i j k l", "p q r i", "p k+q l+r j", (17, 9, 3, 2, 2, 6, 5)),
        *(((17, 9, 3, 2), (2, 6, 5, 17), (2, 8, 6, 9)), False),
    ),
    # a right operand that is near, its columns neighbours: it is read where it is
    "in place": ("i j", "i k", "k j", (70, 37, 1100), ((70, 37), (70, 1100), (1100, 37)), False),
    "in place, added": ("i j", "i k", "k j", (70, 37, 1100), ((70, 37), (70, 1100), (1100, 37)), True),
    "in place, rows turned": ("i j", "k i", "k j", (300, 90, 75), ((300, 90), (75, 300), (75, 90)), False),
    "in place, one panel": ("i j", "k i", "k j", (90, 17, 1500), ((90, 17), (1500, 90), (1500, 17)), False),
    "in place, batch": (
        "i j k",
        "i j l",
        "i l k",
        (3, 70, 37, 300),
        ((3, 70, 37), (3, 70, 300), (3, 300, 37)),
        False,
    ),
    "in place, elsewhere": (
        *("i j k", "i l", "l j k", (70, 6, 7, 300)),
        *(((70, 6, 7), (70, 300), (300, 6, 7)), False),
    ),
    "many rows, packed": ("i j", "i k", "k j", (400, 60, 90), ((400, 60), (400, 90), (90, 60)), False),
    # few rows and many columns: every thread packs panels of its own
    "channels first": (
        *("i j k l", "j p q r", "i p k+q l+r", (3, 5, 16, 16, 7, 3, 2)),
        *(((3, 5, 16, 16), (5, 7, 3, 2), (3, 7, 18, 17)), False),
    ),
    "images channels first": (
        *("i p k+q l+r", "i j k l", "j p q r", (3, 5, 16, 17, 9, 3, 2)),
        *(((3, 9, 18, 18), (3, 5, 16, 17), (5, 9, 3, 2)), True),
    ),
    "wide": ("i j", "i k", "k j", (9, 800, 140), ((9, 800), (9, 140), (140, 800)), False),
    "wide, added": ("i j", "i k", "k j", (9, 800, 140), ((9, 800), (9, 140), (140, 800)), True),
    "wide, read the other way": ("i j", "i k", "j k", (9, 1700, 5), ((9, 1700), (9, 5), (1700, 5)), False),
    "wide batch": (
        "i j k",
        "i j l",
        "i l k",
        (3, 270, 1700, 4),
        ((3, 270, 1700), (3, 270, 4), (3, 4, 1700)),
        False,
    ),
    "fixed places": ("0 i j", "1 i k", "k j 2", (9, 26, 5), ((1, 9, 26), (2, 9, 5), (5, 26, 3)), False),
    "fixed places, added": ("i 1 j", "i k", "k j 0", (9, 26, 5), ((9, 2, 26), (9, 5), (5, 26, 1)), True),
    "added": ("i j", "i k", "k j", (9, 26, 5), ((9, 26), (9, 5), (5, 26)), True),
    "no rows": ("i j", "i k", "k j", (0, 4, 5), ((0, 4), (0, 5), (5, 4)), False),
    "nothing to sum": ("i j", "i k", "k j", (3, 4, 0), ((3, 4), (3, 0), (0, 4)), False),
    "nothing to add": ("i j", "i k", "k j", (3, 4, 0), ((3, 4), (3, 0), (0, 4)), True),
}


def compiled(name: str) -> Any:
    target, first, second, _, _, add = CASES[name]
    namespace: dict[str, Any] = {"function": FUNCTIONS[add]}
    exec(
        f"def call(out, a, b, sizes): function(out, {target!r}, a, {first!r}, b, {second!r}, sizes)",
        namespace,
    )
    return numba.njit(namespace["call"])


def by_points(name: str, out: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The result in float64, and the sum of absolute terms."""
    target, first, second, extents, _, add = CASES[name]
    reads = [positions(text) for text in (target, first, second)]
    letters = sorted({letter for read in reads for terms, _ in read for _, letter in terms})
    total = out.astype(np.float64) if add else np.zeros(out.shape)
    size = np.abs(total)
    points = dict(zip(letters, np.indices(extents).reshape(len(extents), -1), strict=True))
    to, left, right = (
        tuple(sum(c * points[letter] for c, letter in terms) + offset for terms, offset in read)
        for read in reads
    )
    products = a[left].astype(np.float64) * b[right].astype(np.float64)
    flat = np.ravel_multi_index(to, total.shape)
    total.reshape(-1)[:] += np.bincount(flat, products, total.size)
    size.reshape(-1)[:] += np.bincount(flat, np.abs(products), total.size)
    return total, size


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_compiled_and_plain_equal_loops(name: str, dtype: type):
    rng = np.random.default_rng(0)
    _, _, _, extents, shapes, _ = CASES[name]
    start, a, b = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    exact, size = by_points(name, start, a, b)
    depth = max(extents) * 4 + 2
    for run in (compiled(name), compiled(name).py_func):
        out = start.copy()
        run(out, a, b, extents)
        assert out.dtype == dtype
        assert (np.abs(out - exact) <= depth * np.finfo(dtype).eps * size).all()


def test_operands_of_any_layout():
    rng = np.random.default_rng(1)
    call = compiled("convolution")
    shapes = CASES["convolution"][4]
    a, b = rng.standard_normal(shapes[1]), rng.standard_normal(shapes[2])
    results = []
    for left, right in ((a, b), (np.asfortranarray(a), np.asfortranarray(b)), (a[:, ::-1][:, ::-1], b)):
        out = np.empty(shapes[0])
        call(out, left, right, CASES["convolution"][3])
        results.append(out)
    assert all(np.array_equal(result, results[0]) for result in results)


@pytest.mark.parametrize(("depth", "columns"), [(5000, 5), (2600, 40), (2600, 300)])
def test_long_sums_are_made_in_passes(depth: int, columns: int):
    """Of few columns a pass is as deep as its buffers; what one pass has summed the next one goes on with."""
    rng = np.random.default_rng(depth)
    a, b = (rng.integers(-3, 4, shape).astype(np.float64) for shape in ((depth, 150), (columns, depth)))
    namespace: dict[str, Any] = {"contract": contract}
    exec("def call(out, a, b, n): contract(out, 'i j', a, 'k i', b, 'j k', n)", namespace)
    call: Any = numba.njit(namespace["call"])
    out = np.empty((150, columns))
    call(out, a, b, (150, columns, depth))
    np.testing.assert_array_equal(out, (b @ a).T)  # integers: exact


@pytest.mark.parametrize("rows", [70, 300], ids=["in place", "packed"])
def test_bits_do_not_depend_on_the_number_of_threads(rows: int):
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((4, rows, 300)), rng.standard_normal((4, 300, 50))
    namespace: dict[str, Any] = {"contract": contract}
    exec("def call(out, a, b, n): contract(out, 'i j k', a, 'i j l', b, 'i l k', n)", namespace)
    call: Any = numba.njit(namespace["call"])
    results: list[np.ndarray] = []
    for count in (1, 2, 3):
        with gradc.num_threads(count):
            threads.state[1] = 0  # no launch waits for a stalled barrier of an earlier test
            out = np.empty((4, rows, 50))
            call(out, a, b, (4, rows, 50, 300))
            results.append(out)
    assert contraction_ways.PARALLEL < 4 * 70 * 50 * 300
    assert all(np.array_equal(result, results[0]) for result in results)


def test_right_operands_in_place_may_run_backwards():
    namespace: dict[str, Any] = {"contract": contract}
    exec("def call(out, a, b, n): contract(out, 'i j', a, 'i k', b, 'k j', n)", namespace)
    call: Any = numba.njit(namespace["call"])
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((60, 300)), rng.standard_normal((600, 50))
    for right in (b[::-2], b[::2], np.broadcast_to(b[:1], (300, 50))):
        out = np.empty((60, 50))
        call(out, a, right, (60, 50, 300))
        np.testing.assert_allclose(out, a @ right, rtol=1e-10, atol=1e-11)


def test_two_summed_indices_need_not_be_one():
    namespace: dict[str, Any] = {"contract": contract}
    exec("def call(out, a, b, n): contract(out, 'i j', a, 'i k l', b, 'k l j', n)", namespace)
    call: Any = numba.njit(namespace["call"])
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((90, 30, 10)), rng.standard_normal((30, 13, 40))[:, :10]
    out = np.empty((90, 40))
    call(out, a, b, (90, 40, 30, 10))
    np.testing.assert_allclose(out, np.einsum("ikl,klj->ij", a, b), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("threads_used", [1, 2, 3])
def test_rows_are_dealt_out_evenly(threads_used: int):
    with gradc.num_threads(min(threads_used, gradc.get_num_threads())):
        groups_of = for_python("gradc_groups", contraction_ways.groups())
        count = for_python("gradc_used", threads.used())()
        for blocks in (1, 2, 7, 8, 9, 63, 125, 1000):
            assert groups_of(blocks, 3, 1) in (blocks, *range(0, 999, count))
            groups = groups_of(blocks, 1, 1)
            sizes = [blocks * (at + 1) // groups - blocks * at // groups for at in range(groups)]
            assert 0 < min(sizes) <= max(sizes) <= contraction_ways.GROUP
            assert max(sizes) - min(sizes) <= 1
            assert groups == blocks or groups % count == 0
            assert groups_of(blocks, 1, 0) == -(-blocks // contraction_ways.GROUP)


def test_a_contraction_beside_others_leaves_the_threads_to_them():
    patience: Any = contraction_ways.patience_for
    assert patience(contraction_ways.PARALLEL, 1) > 0
    assert patience(contraction_ways.PARALLEL - 1, 1) == patience(contraction_ways.PARALLEL, 2) == 0
    namespace: dict[str, Any] = {"contract": contract}
    exec("def call(out, a, b, n, m): contract(out, 'i j', a, 'i k', b, 'k j', n, m)", namespace)
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((300, 90)), rng.standard_normal((90, 200))
    results = [np.empty((300, 200)) for _ in range(2)]
    call: Any = numba.njit(namespace["call"])
    for out, beside in zip(results, (1, 2), strict=True):
        call(out, a, b, (300, 200, 90), beside)
        np.testing.assert_allclose(out, a @ b, rtol=1e-11)
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("again", [False, True])
def test_sums_begin_or_go_on(again: bool):
    namespace: dict[str, Any] = {"add_contraction": add_contraction}
    exec("def call(out, a, b, n, go): add_contraction(out, 'i j', a, 'k i', b, 'k j', n, 1, go)", namespace)
    rng = np.random.default_rng(3)
    a, b, before = rng.standard_normal((5, 40)), rng.standard_normal((5, 30)), rng.standard_normal((40, 30))
    calls: tuple[Any, ...] = (namespace["call"], numba.njit(namespace["call"]))
    for call in calls:
        out = before.copy()
        call(out, a, b, (40, 30, 5), again)
        np.testing.assert_allclose(out, a.T @ b + again * before, rtol=1e-11, atol=1e-12)


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages as Linux does")
def test_nothing_outside_the_operands_is_touched():
    found = subprocess.run([sys.executable, "-c", AT_THE_END_OF_MEMORY], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:]
    assert found.stdout.split() == ["ik,kj"] * 4 + ["ki,kj"] * 4 + ["ik,jk"] * 4


# Every operand ends, or begins, where a page that nobody may touch begins or ends: what reads on dies.
AT_THE_END_OF_MEMORY = """
import ctypes, mmap
import numba, numpy as np
from gradc_runtime.contraction import contract
from gradc_runtime import contraction_kernel

libc = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE
kept = []

def guarded(shape, dtype, end):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    pages = -(-size // PAGE) * PAGE
    area = mmap.mmap(-1, pages + 2 * PAGE)
    kept.append(area)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    for edge in (start, start + PAGE + pages):
        assert libc.mprotect(ctypes.c_void_p(edge), ctypes.c_size_t(PAGE), 0) == 0
    first = PAGE + (pages - size if end else 0)
    return np.frombuffer(area, dtype, size // np.dtype(dtype).itemsize, first).reshape(shape)

for reads in ("ik,kj", "ki,kj", "ik,jk"):
    first, second = (" ".join(text) for text in reads.split(","))
    names = {"contract": contract}
    exec(f"def call(out, a, b, sizes): contract(out, 'i j', a, {first!r}, b, {second!r}, sizes)", names)
    call = numba.njit(names["call"])
    for dtype in (np.float64, np.float32):
        for end in (True, False):
            for m, n, k in ((9, 25, 33), (7, 103, 20), (1, 1, 1), (13, 50, 1300)):
                size = {"i": m, "j": n, "k": k}
                a, b = (guarded([size[letter] for letter in text], dtype, end) for text in reads.split(","))
                out = guarded((m, n), dtype, end)
                a[...], b[...] = 1, 2
                call(out, a, b, (m, n, k))
                assert (out == 2 * k).all()
            print(reads)
"""


@pytest.mark.parametrize(
    ("texts", "add", "expected"),
    [
        (("i j k l", "i j+p k+q r", "p q r l"), False, ("", "", "ijk", "l", "pqr", False)),
        (("i j k l", "p q r l", "p i+q j+r k"), False, ("", "", "ijk", "l", "pqr", True)),
        (("i j+p k+q r", "i j k l", "p q r l"), True, ("pq", "", "ijk", "r", "l", False)),
        (("i j k", "i j l", "i k l"), False, ("", "i", "j", "k", "l", False)),
        # of images with channels last the weights' gradient takes its columns where they are neighbours,
        # and its rows in the order in which they lie in memory
        (("i j k l", "p q r i", "p k+q l+r j"), False, ("", "", "klj", "i", "pqr", True)),
        # a transposed operand is turned when it is packed: its columns stay those of the result
        (("i j", "k i", "j k"), False, ("", "", "i", "j", "k", False)),
    ],
)
def test_roles_of_the_indices(texts: tuple[str, ...], add: bool, expected: tuple[Any, ...]):
    found = roles_of([positions(text) for text in texts], add)
    assert found is not None
    groups = (found.sequential, found.batch, found.rows, found.columns, found.summed, found.swapped)
    assert groups == expected


@pytest.mark.parametrize(
    ("texts", "add"),
    [
        (("i j+p", "i j", "p j"), False),  # several sums would write one element
        (("i j", "i j", "i j"), False),  # nothing is summed
        (("i", "i k", "i k"), False),  # no columns
        (("i j", "i k l", "k j"), False),  # l is in one operand alone
        (("i j", "i k", "k l"), False),  # j is in neither
        (("i+j j", "i k", "k j"), True),  # j would have to be held and to vary
    ],
)
def test_what_is_no_contraction(texts: tuple[str, ...], add: bool):
    assert roles_of([positions(text) for text in texts], add) is None


def test_memory_that_is_not_there_is_an_error():
    rows = 2**45  # their tables would fill more than the address space
    out, a = (np.lib.stride_tricks.as_strided(np.zeros(1), (rows, 1), (0, 0)) for _ in range(2))
    namespace: dict[str, Any] = {"contract": contract}
    exec("def call(out, a, b, n): contract(out, 'i j', a, 'i k', b, 'k j', n)", namespace)
    call: Any = numba.njit(namespace["call"])
    with pytest.raises(MemoryError, match="smaller arguments"):
        call(out, a, np.ones((1, 1)), (rows, 1, 1))


@pytest.mark.skipif(not memory.POOLED, reason="the pool of memory is Linux's")
@pytest.mark.parametrize(
    ("shape", "kept"),
    [((20_000, 8, 8), 3 * 8 * 20_000), ((300, 700, 400), 8 * 350 * 400)],
    ids=["tables", "packed panels"],
)
def test_memory_is_given_back(shape: tuple[int, int, int], kept: int):
    rows, terms, columns = shape
    out, a, b = np.empty((rows, columns)), np.ones((rows, terms)), np.ones((terms, columns))
    namespace: dict[str, Any] = {"contract": contract}
    exec("def call(out, a, b, n): contract(out, 'i j', a, 'i k', b, 'k j', n)", namespace)
    call: Any = numba.njit(namespace["call"])
    memory.clear_pool()
    for _ in range(3):
        call(out, a, b, (rows, columns, terms))
        assert kept <= memory.kept_bytes() < 2 * kept
    memory.clear_pool()
