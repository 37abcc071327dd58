"""Contractions share loops with what stands around them: the same values, and arrays that never exist as a whole."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.codegen.numba_cpu import module_text
from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    CheckIndices,
    Clear,
    Contract,
    Expr,
    Extent,
    For,
    Kernel,
    Let,
    Library,
    Load,
    Parameter,
    Statement,
    Store,
    Tasks,
    Update,
)
from gradc.ir.loop.show import show
from gradc.ir.loop.strip import strip_of
from gradc.ir.loop.verify import verify
from gradc.ir.loop.walk import every
from gradc.ir.types import DType
from gradc.passes.loops import join
from gradc.passes.loops.join import join_contractions
from gradc.passes.loops.joint_loops import Rows, batch_of, row_of
from gradc.passes.loops.share import share_out
from gradc_runtime import numba_backend
from gradc_runtime.artifact import KernelArtifact

F64, I64 = DType.F64, DType.INT64
I, J, K = (nodes.var(name) for name in "ijk")  # noqa: E741
N, M, D = (nodes.var(name) for name in "nmd")


def entry(**shapes: tuple[str, ...]) -> list[Statement]:
    """The extents that the shapes of arguments give."""
    found: dict[str, Extent] = {}
    for name, letters in shapes.items():
        for axis, letter in enumerate(letters):
            value = nodes.load(f"{name}.shape", (nodes.number(axis),), I64)
            found.setdefault(letter, Extent(letter, value))
    return list(found.values())


def kernel_of(
    *body: Statement, results: tuple[str, ...], shapes: dict[str, tuple[str, ...]] | None = None
) -> Kernel:
    given = shapes or {"q": ("n", "m", "d"), "r": ("n", "m", "d"), "v": ("n", "m", "d")}
    parameters = tuple(Parameter(name, F64, len(letters)) for name, letters in given.items())
    return verify(Kernel("k", parameters, (*entry(**given), *body), results))


def nest(*body: Statement, over: tuple[tuple[str, Expr], ...]) -> For:
    for index, extent in reversed(over):
        body = (For(index, extent, tuple(body)),)
    (loop,) = body
    assert isinstance(loop, For)
    return loop


def at(tensor: str, *place: Expr) -> Expr:
    return nodes.load(tensor, place, F64)


def exp(tensor: str, *place: Expr) -> Expr:
    return nodes.apply("exp", at(tensor, *place))


SCORES = Allocate("s", F64, (N, M, M))
POWERS = Allocate("e", F64, (N, M, M))
RESULT = Allocate("y", F64, (N, M, D))
SCORE = Contract("s", "i j k", "q", "i j p", "r", "i k p", (N, M, M, D), False, note="s = q r")
ALL = (("i", N), ("j", M), ("k", M))
POWER = nest(Store("e", (I, J, K), exp("s", I, J, K)), over=ALL)
VALUE = Contract("y", "i j k", "e", "i j p", "v", "i p k", (N, M, D, M), False)
BACK = nodes.apply("sub", nodes.apply("sub", N, nodes.number(1)), I)
ATTENTION = (SCORES, SCORE, POWERS, POWER, RESULT, VALUE)


def inputs(kernel: Kernel, sizes: dict[str, int] | None = None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    known = sizes or {"n": 3, "m": 5, "d": 2}
    shapes: dict[str, list[int]] = {}
    for statement in kernel.body:
        if isinstance(statement, Extent) and isinstance(statement.value, Load):
            (axis,) = statement.value.indices
            shapes.setdefault(statement.value.tensor.removesuffix(".shape"), []).append(known[statement.name])
            assert isinstance(axis, nodes.Number)
    full = tuple(shapes["q"])
    return {p.name: rng.standard_normal(full[: p.rank]) for p in kernel.parameters}


def same(kernel: Kernel, **sizes: int) -> Kernel:
    """The kernel with contractions in loops, which computes what it did before."""
    found = verify(join_contractions(kernel))
    given = inputs(kernel, sizes or None)
    for one, two in zip(evaluate(found, given), evaluate(kernel, given), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-13)
    shared = verify(share_out(found))
    for one, two in zip(evaluate(shared, given), evaluate(kernel, given), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-13)
    return found


def lines(kernel: Kernel) -> list[str]:
    return show(kernel).splitlines()


@pytest.fixture
def low_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two rows."""
    monkeypatch.setattr(join, "BLOCK_ROWS", 2)
    monkeypatch.setattr(join, "BLOCK_BYTES", 1)


@pytest.fixture
def no_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops over batches alone."""
    monkeypatch.setattr(join._Joining, "rows", lambda *_: iter(()))


# --- batches ------------------------------------------------------------------------------------------------


def test_a_batch_is_one_loop_and_its_arrays_lose_an_axis(no_blocks: None):
    assert lines(same(kernel_of(*ATTENTION, results=("y",))))[4:] == [
        "  allocate s: f64[m, m]",
        "  allocate e: f64[m, m]",
        "  allocate y: f64[n, m, d]",
        "  for i < n:",
        "    contract s[j k] = q[i][j p] * r[i][k p] over (m, m, d)",
        "    for j < m:",
        "      for k < m:",
        "        store e[j, k] = exp(s[j, k])",
        "    contract y[i][j k] = e[j p] * v[i][p k] over (m, d, m)",
    ]


def test_results_and_what_others_touch_stay_whole(no_blocks: None):
    found = same(kernel_of(*ATTENTION, results=("y", "e")))
    assert [line.strip() for line in lines(found) if "allocate" in line] == [
        "allocate s: f64[m, m]",
        "allocate e: f64[n, m, m]",
        "allocate y: f64[n, m, d]",
    ]
    total = (
        Let("total", nodes.number(0.0, F64)),
        nest(Update("total", "sum", at("e", J, I, K)), over=(("i", M), ("j", N), ("k", M))),
    )
    assert "allocate e: f64[n, m, m]" in show(same(kernel_of(*ATTENTION, *total, results=("y", "total"))))


@pytest.mark.parametrize(
    "loop",
    [
        nest(
            Store("e", (I, J, K), nodes.apply("add", exp("s", J, I, K), exp("s", I, J, K))),
            over=ALL,
        ),
        nest(Store("e", (I, J, K), exp("s", J, I, K)), over=ALL),
        nest(Store("e", (J, I, K), exp("s", J, I, K)), over=ALL),
        nest(
            Store("e", (I, J, K), exp("s", BACK, J, K)),
            over=ALL,
        ),
    ],
    ids=["at two places", "turned when read", "turned all along", "backwards"],
)
def test_what_passes_between_iterations_stays_apart(loop: For):
    kernel = kernel_of(*ATTENTION[:3], loop, *ATTENTION[4:], results=("y",))
    found = verify(join_contractions(kernel))
    given = inputs(kernel, {"n": 5, "m": 5, "d": 2})
    for one, two in zip(evaluate(found, given), evaluate(kernel, given), strict=True):
        np.testing.assert_array_equal(one, two)
    assert "allocate s: f64[n, m, m]" in show(found)


def test_arrays_that_lie_across_the_loop_keep_loops_apart():
    across = Allocate("t", F64, (M, N))
    made = nest(Store("t", (J, I), exp("s", I, J, nodes.number(0))), over=ALL[:2])
    used = nest(AddTo("y", (I, J, K), "sum", at("t", J, I)), over=(("i", N), ("j", M), ("k", D)))
    found = same(kernel_of(*ATTENTION, across, made, used, results=("y",)))
    assert len([s for s in found.body if isinstance(s, For)]) == 2
    assert "allocate t: f64[m, n]" in show(found)


def test_what_an_earlier_loop_has_made_stays_whole_for_a_later_one():
    total = (
        Let("total", nodes.number(0.0, F64)),
        nest(Update("total", "sum", at("y", I, J, K)), over=(("i", N), ("j", M), ("k", D))),
    )
    scaled = nest(
        Store("f", (I, J, K), nodes.apply("mul", at("e", I, J, K), nodes.var("total", F64))), over=ALL
    )
    last = replace(VALUE, out="z", left="f")
    later = (*total, Allocate("f", F64, (N, M, M)), scaled, Allocate("z", F64, (N, M, D)), last)
    found = same(kernel_of(*ATTENTION, *later, results=("z",)))
    assert len([s for s in found.body if isinstance(s, For)]) == 2
    assert "allocate e: f64[n, m, m]" in show(found)
    assert "allocate f: f64[n, m, m]" not in show(found)


def test_what_an_iteration_reads_before_it_writes_passes_between_iterations():
    t, y = Allocate("t", F64, (M, M)), Allocate("y", F64, (N, M, D))
    score = Contract("t", "j k", "q", "j p", "r", "k p", (M, M, D), False, views=((), (I,), (I,)))
    used = nest(Store("y", (I, J, K), at("t", J, K)), over=(("j", M), ("k", D)))
    for body, is_shared in (((score, used), True), ((used, score), False)):
        shared = share_out(kernel_of(t, y, For("i", N, body), results=("y",)))
        assert any(isinstance(s, Tasks) for s in shared.body) == is_shared


def test_a_batch_of_one_joins_what_touches_its_result():
    one = nodes.number(1)
    zero = nodes.number(0)
    body = (
        Allocate("s", F64, (M, M)),
        Contract("s", "i j", "q", "0 i k", "r", "0 j k", (M, M, D), False),
        Allocate("y", F64, (one, M, D)),
        Contract("y", "0 i j", "s", "i k", "v", "0 k j", (M, D, M), False),
        Allocate("z", F64, (M, D)),
        nest(Store("z", (I, J), exp("y", zero, I, J)), over=(("i", M), ("j", D))),
    )
    kernel = kernel_of(*body, results=("z",), shapes=dict.fromkeys("qrv", ("o", "m", "d")))
    found = verify(join_contractions(kernel))
    given = inputs(kernel, {"o": 1, "m": 5, "d": 2})
    for first, second in zip(evaluate(found, given), evaluate(kernel, given), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-13)
    (loop,) = (s for s in found.body if isinstance(s, For))
    assert "contract y[0, start:][i j] = s[i k] * v[0][k j]" in show(found)
    assert any(isinstance(s, Store) for s in every((loop,)))
    assert "allocate y: f64[1, m, d]" in show(found)


@pytest.mark.parametrize(
    ("texts", "batch", "row"),
    [
        (("i j k", "i j p", "i p k"), N, None),
        (("0 i k", "i p", "1 p k"), None, "i"),
        (("j i", "i k", "k j"), None, None),
        (("i j", "i k", "k+i j"), None, None),
        (("i j", "i k+i", "k j"), None, None),
        (("i j k", "i j p+i", "i p k"), None, None),
        (("j k", "i j", "i k"), None, "i"),
        (("i j", "2i k", "k j"), None, None),
        (("i j", "i+1 k", "k j"), None, None),
    ],
)
def test_batches_and_rows_of_contractions(texts: tuple[str, str, str], batch: Expr | None, row: str | None):
    letters = sorted({c for text in texts for c in text if c.isalpha()})
    sizes = {"i": N, "j": M, "k": D, "p": nodes.var("p")}
    target, first, second = texts
    extents = tuple(sizes[letter] for letter in letters)
    contract = Contract("y", target, "a", first, "b", second, extents, False)
    assert batch_of(contract) is batch
    assert row_of(contract, N) == row


def test_blocks_do_not_add_to_what_others_have_added_to():
    names = [nodes.var(name) for name in ("block", "start", "rows", "row", "height", "blocks")]
    contract = Contract("z", "j k", "e", "i j", "q", "i k", (N, M, D), True)
    for adds in (True, False):
        rows = Rows(N, I, *names, adds=adds, lowest=1)
        assert rows.iteration(contract) is None
        assert rows.iteration(replace(contract, add=False)) is not None


def test_a_loop_takes_the_name_that_the_others_have():
    turned = nest(Store("e", (J, I, K), exp("s", J, I, K)), over=(("j", N), ("i", M), ("k", M)))
    other = nest(Store("e", (I, K, J), exp("s", I, K, J)), over=(("i", N), ("k", M), ("j", M)))
    last = nest(AddTo("y", (K, I, J), "sum", nodes.number(1.0, F64)), over=(("k", N), ("i", M), ("j", D)))
    for loops in ((other,), (turned,), (other, last)):
        body = (*ATTENTION[:3], loops[0], *ATTENTION[4:], *loops[1:])
        found = same(kernel_of(*body, results=("y",)))
        assert len([s for s in found.body if isinstance(s, For)]) == (2 if last in loops else 1)


def test_numbers_of_a_loop_body_are_computed_once_or_keep_loops_apart():
    half = Let("h", nodes.apply("mul", nodes.number(0.5, F64), at("v", I, nodes.number(0), nodes.number(0))))
    other = replace(half, value=at("v", I, nodes.number(0), nodes.number(0)))
    inner = nest(
        Store("e", (I, J, K), nodes.apply("mul", exp("s", I, J, K), nodes.var("h", F64))), over=ALL[1:]
    )
    again = nest(AddTo("y", (I, J, K), "sum", nodes.var("h", F64)), over=(("j", M), ("k", D)))
    for second, together in ((half, True), (other, False)):
        body = (*ATTENTION[:3], For("i", N, (half, inner)), *ATTENTION[4:], For("i", N, (second, again)))
        found = same(kernel_of(*body, results=("y",)))
        assert len([s for s in found.body if isinstance(s, For)]) == (1 if together else 2)
        assert sum(isinstance(s, Let) and s.name == "h" for s in every(found.body)) == (1 if together else 2)


def test_what_needs_a_sum_comes_behind_the_loop_and_what_is_needed_before_it():
    total = (
        Let("total", nodes.number(0.0, F64)),
        nest(Update("total", "sum", at("e", I, J, K)), over=ALL),
    )
    scaled = nest(
        Store("y", (I, J, K), nodes.apply("div", at("y", I, J, K), nodes.var("total", F64))),
        over=(("i", N), ("j", M), ("k", D)),
    )
    found = same(kernel_of(*ATTENTION, *total, scaled, results=("y",)))
    kinds = [type(s).__name__ for s in found.body if isinstance(s, For | Let)]
    assert kinds == ["Let", "For", "For"]
    library = Library(
        ("t",), "reshape", ("s",), (("shape", (nodes.apply("mul", N, nodes.apply("mul", M, M)),)),)
    )
    found = verify(join_contractions(kernel_of(*ATTENTION[:2], library, *ATTENTION[2:], results=("y", "t"))))
    order = [type(s).__name__ for s in found.body if isinstance(s, For | Library | Contract)]
    assert order == ["For", "Library"]
    assert "allocate s: f64[n, m, m]" in show(found)


def test_checks_stay_before_what_they_guard():
    check = CheckIndices("t", M)
    t = Parameter("t", I64, 1)
    look = nodes.load("t", (J,), I64)
    first, rest = nest(Store("e", (I, J, K), exp("s", I, look, K)), over=ALL), ATTENTION[4:]
    kernel = kernel_of(*ATTENTION[:3], results=("s",))
    body = (*kernel.body, check, first, *rest)
    found = join_contractions(replace(kernel, parameters=(*kernel.parameters, t), body=body, results=("y",)))
    kinds = [type(s) for s in verify(found).body if isinstance(s, For | CheckIndices)]
    assert kinds == [CheckIndices, For]


def test_checks_of_what_the_loop_makes_stay_before_its_use():
    made = For("i", N, (Store("t", (I,), I),))
    look = nodes.load("t", (I,), I64)
    used = nest(Store("e", (I, J, K), exp("s", I, look, K)), over=ALL)
    body = (*ATTENTION[:3], Allocate("t", I64, (N,)), made, CheckIndices("t", M), used, *ATTENTION[4:])
    found = same(kernel_of(*body, results=("y",)))
    kinds = [type(s) for s in found.body if isinstance(s, For | CheckIndices)]
    assert kinds[0] is For
    assert kinds[1:] == [CheckIndices, For]


# --- blocks of rows -----------------------------------------------------------------------------------------


def test_arrays_of_rows_by_rows_never_exist_as_a_whole(low_blocks: None):
    found = same(kernel_of(*ATTENTION, results=("y",)))
    assert lines(found)[4:] == [
        "  extent height = maximum(minimum(maximum(floor_divide(1, maximum(((8 * m) + (8 * m)), 1)), 2), m), 1)",
        "  extent blocks = maximum(floor_divide((m + (height - 1)), height), 1)",
        "  allocate s: f64[height, m]",
        "  allocate e: f64[height, m]",
        "  allocate y: f64[n, m, d]",
        "  for i < n:",
        "    for block < blocks:",
        "      let start: i64 = (block * height)",
        "      let rows: i64 = minimum(height, (m - start))",
        "      contract s[j k] = q[i, start:][j p] * r[i][k p] over (rows, m, d)",
        "      for row < rows:",
        "        let j: i64 = (start + row)",
        "        for k < m:",
        "          store e[row, k] = exp(s[row, k])",
        "      contract y[i, start:][j k] = e[j p] * v[i][p k] over (rows, d, m)",
    ]


SUMMED = Contract("z", "i j k", "e", "i p j", "q", "i p k", (N, M, D, M), False)
SUMS = (*ATTENTION, Allocate("z", F64, (N, M, D)), SUMMED)


def test_sums_over_rows_are_added_up_block_by_block(low_blocks: None):
    found = same(kernel_of(*SUMS, results=("y", "z")))
    assert (
        "contract z[i][j k] += e[p j] * q[i, start:][p k] over (m, d, rows), or = unless (block != 0)"
        in show(found)
    )


@pytest.mark.parametrize("sizes", [(2, 1, 3), (1, 4, 1), (2, 7, 2), (3, 0, 2), (0, 4, 2), (2, 3, 0)])
def test_every_number_of_rows(low_blocks: None, sizes: tuple[int, int, int]):
    same(kernel_of(*SUMS, results=("y", "z")), **dict(zip("nmd", sizes, strict=True)))


def one_matrix() -> Kernel:
    """Scores of one matrix with another: no batch."""
    over = (("i", M), ("j", M))
    body = (
        Allocate("s", F64, (M, M)),
        Contract("s", "i j", "q", "i k", "r", "j k", (M, M, D), False),
        Allocate("e", F64, (M, M)),
        nest(Store("e", (I, J), exp("s", I, J)), over=over),
        Allocate("y", F64, (M, D)),
        Contract("y", "i j", "e", "i k", "v", "k j", (M, D, M), False),
        Allocate("z", F64, (M, D)),
        Contract("z", "i j", "e", "k i", "q", "k j", (M, D, M), False),
    )
    return kernel_of(*body, results=("y", "z"), shapes=dict.fromkeys("qrv", ("m", "d")))


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 9])
def test_blocks_of_one_matrix_are_shared_out(low_blocks: None, rows: int):
    kernel = one_matrix()
    found = same(kernel, m=rows, d=2)
    assert "contract z[i j] += e[k i] * q[start:][k j] over (m, d, rows)" in show(found)
    assert "allocate z: f64[m, d] zeroed" in show(found)
    shared = share_out(found)
    (tasks,) = (s for s in shared.body if isinstance(s, Tasks))
    assert tasks.extent is M
    assert [s.tensor for s in tasks.body if isinstance(s, Allocate)] == ["s", "e"]
    assert "contract z_parts[part][i j] += e[k i] * q[start:][k j]" in show(shared)


def test_the_compiled_kernel_gives_the_same_bits_on_any_number_of_threads(low_blocks: None):
    kernel = share_out(join_contractions(one_matrix()))
    artifact = KernelArtifact("k", module_text(kernel), tuple((name, "float64", 2) for name in "qrv"), ())
    compiled = numba_backend.compile_kernel(numba_backend.load(artifact))
    rng = np.random.default_rng(1)
    given = [rng.standard_normal((501, 30)) for _ in range(3)]
    powers = np.exp(given[0] @ given[1].T)
    results = []
    for count in (1, 2, 4):
        gradc.set_num_threads(count)
        results.append(compiled(*given))
    gradc.set_num_threads(None)
    for y, z in results:
        np.testing.assert_allclose(y, powers @ given[2], rtol=1e-9)
        np.testing.assert_allclose(z, powers.T @ given[0], rtol=1e-9)
        assert (y.tobytes(), z.tobytes()) == tuple(array.tobytes() for array in results[0])


def test_arrays_that_grow_with_the_rows_alone_are_not_cut(low_blocks: None):
    hidden = Allocate("h", F64, (M, nodes.number(300)))
    wide = nodes.number(300)
    body = (
        hidden,
        Contract("h", "i j", "q", "i k", "r", "k j", (M, wide, D), False),
        nest(Store("h", (I, J), exp("h", I, J)), over=(("i", M), ("j", wide))),
        Allocate("y", F64, (M, D)),
        Contract("y", "i j", "h", "i k", "v", "k j", (M, D, wide), False),
    )
    kernel = kernel_of(*body, results=("y",), shapes={"q": ("m", "d"), "r": ("d", "w"), "v": ("w", "d")})
    assert join_contractions(kernel) is not kernel
    assert join_contractions(kernel).body == kernel.body


# --- images -------------------------------------------------------------------------------------------------


convolution = gradc.equation("y[n,o,p,q] = sum[c,i,j] w[o,c,i,j] * x[n,c,p+i,q+j]")


def convnet(x, k, b, m, w):
    """Two convolutions, each with a rectifier and pooling, padding between them, and a linear layer."""
    h = np.maximum(convolution(w=k, x=x) + b[:, None, None], 0)
    h = np.maximum(
        np.maximum(h[:, :, ::2, ::2], h[:, :, 1::2, ::2]), np.maximum(h[:, :, ::2, 1::2], h[:, :, 1::2, 1::2])
    )
    h = np.tanh(convolution(w=m, x=np.pad(h, ((0, 0), (0, 0), (1, 1), (1, 1)))))
    return np.square(h.reshape(len(x), -1) @ w).mean()


def images(count: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(9)
    shapes = ((count, 2, 6, 6), (5, 2, 3, 3), (5,), (4, 5, 3, 3), (4 * 2 * 2, 3))
    return tuple(rng.standard_normal(shape) for shape in shapes)


def test_networks_that_convolve_go_through_blocks_of_images(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(join, "BLOCK_BYTES", 1 << 14)  # of a block: two or three images
    given = images(7)
    loss = gradc.differentiate(convnet)
    kernel = loss.inspect(*given).stages.kernel
    tasks = [s for s in kernel.body if isinstance(s, Tasks) and strip_of_tasks(s)]
    assert len(tasks) == 2  # forward and backward
    inside = [s for found in tasks for s in every(found.body)]
    assert (
        sum(isinstance(s, Contract) for s in inside) == 6
    )  # convolutions, and gradients of weights and images
    assert any(isinstance(s, Clear) for s in inside)
    value, gradient = loss.value_and_grad(*given)
    wanted, of_wanted = gradc.differentiate(convnet, target="interpret").value_and_grad(*given)
    for one, two in zip((value, *gradient), (wanted, *of_wanted), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-12)


def strip_of_tasks(tasks: Tasks) -> bool:
    """Whether tasks go through blocks."""
    return any(isinstance(s, For) and strip_of(s) is not None for s in tasks.body)


# --- attention ----------------------------------------------------------------------------------------------


def attention(q, k, v, c):
    length, features = q.shape[-2:]
    scores = q @ k.swapaxes(-1, -2) / features**0.5
    scores = np.where(np.tril(np.ones((length, length), bool)), scores, -np.inf)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares = powers / powers.sum(axis=-1, keepdims=True)
    return (c * (shares @ v)).sum()


def closed_form(q: Any, k: Any, v: Any, c: Any) -> tuple[Any, ...]:
    """The gradients, by hand."""
    length, scale = q.shape[-2], q.shape[-1] ** -0.5
    scores = q @ k.swapaxes(-1, -2) * scale
    scores[..., ~np.tril(np.ones((length, length), bool))] = -np.inf
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    of_shares = c @ v.swapaxes(-1, -2)
    slope = shares * (of_shares - (of_shares * shares).sum(axis=-1, keepdims=True)) * scale
    return slope @ k, slope.swapaxes(-1, -2) @ q, shares.swapaxes(-1, -2) @ c


@pytest.mark.parametrize(
    "shape", [(2, 3, 300, 12), (1, 1, 300, 12), (1, 2, 129, 11), (2, 1, 40, 12), (300, 12)], ids=str
)
def test_attention_never_stores_scores_of_all_rows(shape: tuple[int, ...]):
    rng = np.random.default_rng(7)
    given = [rng.standard_normal(shape) for _ in range(4)]
    loss: Callable[..., Any] = gradc.differentiate(attention, wrt=("q", "k", "v"))
    _, found = loss.value_and_grad(*given)
    for one, two in zip(found, closed_form(*given), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)
    kernel = loss.inspect(*given).stages.kernel
    length = nodes.var("c_n0" if len(shape) == 2 else "c_n2")
    for statement in every(kernel.body):
        if isinstance(statement, Allocate):
            assert list(statement.shape).count(length) < 2, show(kernel)
    assert sum(isinstance(statement, Tasks) for statement in kernel.body) == 1
    assert sum(isinstance(statement, Contract) for statement in every(kernel.body)) == 6


def test_memory_of_attention_grows_with_its_length():
    def needed(length: int) -> int:
        given = [np.zeros((1, 2, length, 64), np.float32)] * 4
        text = gradc.differentiate(attention, wrt=("q", "k", "v")).inspect(*given).workspace
        return int(text.split("arrays, ")[1].split(" bytes")[0])

    assert needed(4096) < 2.1 * needed(2048)


def layers_of(x: Any, weights: list[Any]) -> Any:
    """Attention, a product and a skip connection, again and again."""
    for w in weights:
        shares = np.exp(x @ x.swapaxes(-1, -2))
        x = x + (shares / shares.sum(axis=-1, keepdims=True)) @ (x @ w)
    return np.square(x).sum()


def test_the_work_grows_with_the_number_of_statements(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(8)
    x = rng.standard_normal((2, 6, 4))
    given = join.effects
    seen: list[int] = []

    def counted(statements: Sequence[Statement], *rest: Any) -> Any:
        seen.append(len(statements))
        return given(statements, *rest)

    def calls(depth: int) -> int:
        before = len(seen)
        loss: Callable[..., Any] = gradc.differentiate(layers_of)
        assert loss.inspect(x, [rng.standard_normal((4, 4))] * depth).stages.kernel is not None
        return len(seen) - before

    monkeypatch.setattr(join, "effects", counted)
    assert 0 < calls(16) < 2.5 * calls(8)
