"""Products of matrices by cuBLAS: which they are, the call of the library for each, and what it computes.

The library needs a GPU; without one a stand-in takes its place, BLAS's product from its definition.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.cuda.assembled import check_ptx
from tests.cuda.blas_stand_in import Failure, StandIn, installed, removed
from tests.cuda.programs import PROGRAMS, attention, convolution, in_single_precision, network, normal

import gradc
from gradc import differentiate
from gradc.api.variant import Variant
from gradc.errors import ArgumentError, DeviceError
from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import Allocate, Contract, Kernel, Launch, Parameter, Product, number
from gradc.ir.loop.verify import verify
from gradc.ir.loop.walk import every, touched
from gradc.ir.stages import Stages
from gradc.ir.tensors import TensorType
from gradc.ir.types import DType
from gradc.passes.grids.launches import with_launches
from gradc.passes.grids.library_products import is_for_library
from gradc.pipeline import Derivation
from gradc_runtime import contraction, cuda_blas, cuda_driver, cuda_errors, cuda_memory
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.matrix_products import gemm_of, runs_of

TEXTS = (
    ("i j", "i k", "k j"),
    ("i j", "k i", "k j"),
    ("i j", "i k", "j k"),
    ("i j", "k i", "j k"),
    ("j i", "i k", "k j"),
    ("j i", "k i", "k j"),
    ("j i", "i k", "j k"),
    ("j i", "k i", "j k"),
)
BATCHES = (
    ("b i j", "b i k", "b k j"),
    ("b j i", "b k i", "b j k"),
    ("i b j", "k b i", "b k j"),
    ("b i j", "i b k", "j b k"),
    ("j b i", "b i k", "k b j"),
    ("a b i j", "i a b k", "a b j k"),
    ("t s j", "t s k", "k j"),  # several indices that do the same
    ("i j", "t s i", "t s j"),
    ("b t s o p", "b t s k", "b k o p"),
)
NONE = (
    ("i", "i k", "k"),
    ("i j", "i", "j"),
    ("i j", "i k", "k"),
    ("i j", "i k l", "k j"),
    ("i j", "i+j k", "k j"),
    ("i j", "i k+1", "k j"),
    ("i j", "2i k", "k j"),
    ("i j", "i i k", "k j"),
    ("i j", "i k k", "k k j"),
    ("i j 0", "i k", "k j"),
    ("a i b j", "a b i k", "a b k j"),  # the batch in two parts
    ("a b i j", "b a i k", "a b k j"),  # and in another order
    ("i j b", "b i k", "b k j"),  # neighbours in memory are elements of several matrices
    ("i j", "k i l", "k l j"),
    ("i j", "i k l", "l k j"),
)


def sequences(w: Any, v: Any, x: Any) -> Any:
    scores = np.matmul(x @ w, np.swapaxes(x, 1, 2))
    return (np.tanh(np.matmul(scores, x @ v)) ** 2).sum()


FUNCTIONS = {
    network: (PROGRAMS[network], 6, 0),
    attention: (PROGRAMS[attention], 6, 0),
    sequences: ((normal(4, 4), normal(4, 3), normal(2, 5, 4)), 6, 6),
}


def multiplied(function: Callable[..., Any], *arguments: Any) -> Stages:
    """What the value and the gradient of a function with products by cuBLAS are compiled to."""
    made = differentiate(function, target="cuda", products="cublas")
    variant, _, _ = made._prepare(arguments, {})
    assert isinstance(variant, Variant)
    return variant.compiled(Derivation("value_and_grad", variant.gradient_inputs(made._leaves(variant))))


def left_to_library(kernel: Kernel) -> list[str]:
    return [statement.out for statement in kernel.body if isinstance(statement, Contract)]


# --- which contractions are products of matrices ------------------------------------------------------------


@pytest.mark.parametrize("texts", NONE, ids=" ".join)
def test_other_contractions_are_no_products_of_matrices(texts: tuple[str, str, str]):
    assert runs_of(texts) is None


def kernel_of(texts: tuple[str, str, str], shapes: list[tuple[int, ...]], extents: dict[str, int]) -> Kernel:
    names = ("out", "left", "right")
    parameters = tuple(Parameter(n, DType.F64, len(shape)) for n, shape in zip(names, shapes, strict=True))
    known = [
        nodes.Require(
            nodes.apply("eq", nodes.load(f"{p.name}.shape", (number(a),), DType.INT64), number(size)), ""
        )
        for p, shape in zip(parameters, shapes, strict=True)
        for a, size in enumerate(shape)
    ]
    sizes = tuple(number(extents[letter]) for letter in sorted(extents))
    statement = Contract("made", texts[0], "left", texts[1], "right", texts[2], sizes, add=False)
    made = Allocate("made", DType.F64, tuple(map(number, shapes[0])))
    return verify(Kernel("k", parameters[1:], (*known[len(shapes[0]) :], made, statement), ("made",)))


@pytest.mark.parametrize(
    ("texts", "changed", "is_left"),
    [
        (("i j", "i k", "k j"), {}, True),
        (("i j", "i k", "k j"), {"left": (9, 9)}, True),  # parts of operands
        (("i j", "i k", "k j"), {"out": (3, 9)}, False),
        (("t s j", "t s k", "k j"), {}, True),
        (("t s j", "t s k", "k j"), {"left": (9, 4, 5)}, True),
        (("t s j", "t s k", "k j"), {"left": (3, 9, 5)}, False),  # t and s have no common stride
        (("i j", "2i k", "k j"), {"left": (9, 9)}, False),
    ],
)
def test_arrays_of_which_parts_count_are_left_where_they_have_strides(
    texts: tuple[str, str, str], changed: dict[str, tuple[int, ...]], is_left: bool
):
    extents = {"i": 3, "j": 4, "k": 5, "t": 3, "s": 4}
    extents = {letter: extents[letter] for letter in sorted(set("".join(texts)) - set(" 2"))}
    shapes = [
        changed.get(name, tuple(extents[word[-1]] for word in text.split()))
        for name, text in zip(("out", "left", "right"), texts, strict=True)
    ]
    launched = verify(with_launches(kernel_of(texts, shapes, extents), library=True))
    assert bool(left_to_library(launched)) == is_left
    assert is_left != any(isinstance(statement, Launch) for statement in launched.body)


def test_integers_and_views_are_not_left_to_the_library():
    whole = Contract(
        "out", "i j", "left", "i k", "right", "k j", (number(3), number(4), number(5)), add=False
    )
    sizes = {"out": (3, 4), "left": (3, 5), "right": (5, 4)}
    floats, integers = (
        {name: TensorType(dtype, shape) for name, shape in sizes.items()}
        for dtype in (DType.F32, DType.INT64)
    )
    assert is_for_library(whole, floats)
    assert not is_for_library(whole, integers)
    first = (number(0),)
    assert not is_for_library(replace(whole, views=((), first, ())), floats)
    assert not is_for_library(replace(whole, again=nodes.apply("eq", number(0), number(1))), floats)
    product = Product("out", "left", "right", False, False)
    assert is_for_library(product, floats)
    assert not is_for_library(product, integers)


# --- what functions are compiled to -------------------------------------------------------------------------


def test_products_and_both_gradients_are_left_to_the_library():
    found = multiplied(network, *PROGRAMS[network])
    assert len(left_to_library(found.kernel)) == 6
    verify(found.kernel)


def test_what_follows_a_product_has_a_launch_of_its_own():
    own = differentiate(network, target="cuda").inspect(*PROGRAMS[network]).stages.kernel
    by_library = multiplied(network, *PROGRAMS[network]).kernel
    assert not left_to_library(own)
    reads = [
        s
        for s in by_library.body
        if isinstance(s, Launch) and "v1" in {t for i in every(s.body) for t in touched(i)}
    ]
    assert reads
    assert not [s for s in by_library.body if isinstance(s, Launch) and "_tiles" in s.name]


def test_convolutions_stay_with_our_kernels():
    found = multiplied(convolution, *PROGRAMS[convolution]).kernel
    assert not left_to_library(found)


def test_without_the_option_no_module_names_the_library():
    for function in (network, attention):
        source = differentiate(function, target="cuda").inspect(*PROGRAMS[function]).source
        assert "cuda_blas" not in source


@pytest.mark.parametrize("function", [network, attention, sequences], ids=lambda f: f.__name__)
def test_the_kernel_computes_what_its_loops_do(function: Callable[..., Any]):
    arguments, plain, batched = FUNCTIONS[function]
    found = multiplied(function, *arguments)
    assert found.serial is not None
    assert len(left_to_library(found.kernel)) == plain + batched
    given = dict(zip((p.name for p in found.kernel.parameters), arguments, strict=True))
    expected = evaluate(found.serial, given, limit=10**8)
    for one, two in zip(evaluate(found.kernel, given, limit=10**8), expected, strict=True):
        np.testing.assert_allclose(np.reshape(one, np.shape(two)), two, rtol=1e-12, atol=1e-12)


def shares(w: Any, x: Any, y: Any) -> Any:
    return ((x @ w) * y).sum()


def test_text(golden: Any):
    arguments = in_single_precision((normal(3, 2), normal(4, 3), normal(4, 2)))
    source = multiplied(shares, *arguments).source
    assert "\nfrom gradc_runtime.cuda_blas import contract\n" in source
    golden(source[source.index("def shares_") :], suffix=".py")


def test_the_launch_plan_has_the_products():
    loss = differentiate(network, target="cuda", products="cublas")
    plan = loss.inspect(*PROGRAMS[network]).launch_plan()
    steps = [step for step in plan.steps if step.kind == "library"]
    assert len(steps) == 6
    assert steps[0].operations == 2 * 5 * 6 * 4
    assert (steps[0].read, steps[0].written) == (8 * (5 * 4 + 4 * 6), 8 * 5 * 6)


@pytest.mark.ptx
def test_the_launches_beside_products_compile():
    assert check_ptx(multiplied(network, *in_single_precision(PROGRAMS[network])).source, (8, 0)) > 3


def test_the_option_is_refused_where_it_means_nothing():
    with pytest.raises(ArgumentError, match="is for GPUs"):
        differentiate(network, products="cublas")
    with pytest.raises(ArgumentError, match="nobody called 'blas'"):
        differentiate(network, target="cuda", products="blas")
    loss = differentiate(network, target="cuda", products="cublas")
    assert loss.with_options(target="cpu", products="own").options.products == "own"


# --- what the library is asked for --------------------------------------------------------------------------


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return installed(monkeypatch)


def sizes_of(
    texts: tuple[str, str, str], extents: dict[str, int]
) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    shapes = [tuple(extents[letter] for letter in text.split()) for text in texts]
    return shapes, tuple(extents[letter] for letter in sorted(set("".join(texts).replace(" ", ""))))


EXTENTS: dict[str, int] = dict(zip("ijkbatsop", (3, 4, 5, 2, 3, 3, 2, 2, 4), strict=True))


@pytest.mark.simulator
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("add", [False, True], ids=["", "add"])
@pytest.mark.parametrize("texts", [*TEXTS, *BATCHES], ids=" ".join)
def test_every_turn_of_operands(library: StandIn, texts: tuple[str, str, str], add: bool, dtype: Any):
    odd = [{}, {"i": 1}, {"j": 1}, {"k": 1}, {"b": 1}, {"i": 1, "j": 1, "k": 1}, {"s": 1, "t": 1}]
    empty = [{"i": 0}, {"j": 0}, {"k": 0}, {"b": 0}, {"s": 0}]
    for change in [*odd, *empty]:
        shapes, extents = sizes_of(texts, EXTENTS | change)
        out, left, right = (normal(*shape).astype(dtype) for shape in shapes)
        if not add:
            out[...] = np.nan  # what was there before is not read
        want = out.copy()
        meaning = contraction.add_contraction if add else contraction.contract
        meaning(want, texts[0], left, texts[1], right, texts[2], extents)
        placed = [cuda.to_device(array) for array in (out, left, right)]
        library.calls.clear()
        function = cuda_blas.add_contraction if add else cuda_blas.contract
        function(placed[0], texts[0], placed[1], texts[1], placed[2], texts[2], extents)
        assert len(library.calls) == (0 if 0 in extents else 1)
        tolerance = 1e-5 if dtype is np.float32 else 1e-13
        np.testing.assert_allclose(placed[0].copy_to_host(), want, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.simulator
def test_a_batch_is_one_call(library: StandIn):
    for texts, name in ((TEXTS[0], "dgemm"), (BATCHES[0], "dgemm_strided_batched"), (BATCHES[6], "dgemm")):
        shapes, extents = sizes_of(texts, EXTENTS)
        out, left, right = (cuda.to_device(normal(*shape)) for shape in shapes)
        cuda_blas.contract(out, texts[0], left, texts[1], right, texts[2], extents)
        assert library.calls.pop() == name


def test_parts_of_operands_have_the_strides_of_the_whole():
    whole, part = (((3, 4), (3, 5), (5, 4)), ((3, 4), (9, 8), (7, 6)))
    one, two = (gemm_of(TEXTS[0], shapes, (3, 4, 5)) for shapes in (whole, part))
    assert (one.m, one.n, one.k) == (two.m, two.n, two.k) == (4, 3, 5)
    assert (one.leading, two.leading) == ((4, 5, 4), (6, 8, 4))


@pytest.mark.parametrize(
    ("texts", "shapes", "extents"),
    [
        (("i j", "i k", "k j"), ((3, 4), (3, 5), (5, 3)), (3, 4, 5)),  # reads behind the end
        (("i j", "i k", "k j"), ((3, 5), (3, 5), (5, 4)), (3, 4, 5)),  # leaves elements of the result
        (("i j", "i k", "k j"), ((3, 4), (3, 5, 1), (5, 4)), (3, 4, 5)),
        (("i j k", "i j l", "l k"), ((2, 3, 4), (2, 4, 5), (5, 4)), (2, 3, 4, 5)),
        (("i", "i k", "k"), ((3,), (3, 4), (4,)), (3, 4)),
    ],
)
def test_views_and_other_shapes_are_refused(texts: Any, shapes: Any, extents: Any):
    with pytest.raises(ValueError, match=r"no matrix|no products"):
        gemm_of(texts, shapes, extents)


@pytest.mark.simulator
def test_arrays_of_other_kinds_are_refused(library: StandIn):
    square = [normal(3, 3) for _ in range(3)]
    placed = [cuda.to_device(array) for array in square]
    given: Any
    for given, wrong in (
        ([*placed[:2], cuda.to_device(square[2].astype(np.float32))], "float64 or of float32"),
        ([cuda.to_device(array.astype(np.int64)) for array in square], "float64 or of float32"),
        ([*placed[:2], square[2]], "on the device"),
        ([*placed[:2], placed[2].T], "C-contiguous"),
    ):
        with pytest.raises(TypeError, match=wrong):
            cuda_blas.contract(given[0], "i j", given[1], "i k", given[2], "k j", (3, 3, 3))
    assert not library.calls


# --- whole functions ----------------------------------------------------------------------------------------


def check_function(function: Callable[..., Any], arguments: tuple[Any, ...], tolerance: float) -> None:
    expected = differentiate(function, target="interpret").value_and_grad(*arguments)
    found = differentiate(function, target="cuda", products="cublas").value_and_grad(*arguments)
    np.testing.assert_allclose(found[0], expected[0], rtol=tolerance)
    for one, two in zip(found[1], expected[1], strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * max(1.0, np.abs(two).max()))


@pytest.mark.simulator
@pytest.mark.parametrize("function", list(FUNCTIONS), ids=lambda function: function.__name__)
def test_values_and_gradients(library: StandIn, function: Callable[..., Any]):
    arguments, plain, batched = FUNCTIONS[function]
    for given, prefix, tolerance in ((arguments, "d", 1e-11), (in_single_precision(arguments), "s", 3e-4)):
        library.calls.clear()
        check_function(function, given, tolerance)
        assert sum(call.endswith("gemm") for call in library.calls) == plain
        assert sum(call.endswith("gemm_strided_batched") for call in library.calls) == batched
        assert len(library.calls) == plain + batched
        assert any(call.startswith(prefix) for call in library.calls)


@pytest.mark.simulator
def test_gradients_into_arrays_and_updates_are_by_the_library_too(library: StandIn):
    arguments = PROGRAMS[network]
    loss = differentiate(network, wrt=("w1", "b1"), target="cuda", products="cublas")
    expected = differentiate(network, wrt=("w1", "b1"), target="interpret").grad(*arguments)
    out = tuple(np.empty_like(gradient) for gradient in expected)
    loss.grad(*arguments, out=out)
    assert library.calls.count("dgemm") == 4
    for one, two in zip(out, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-11, atol=1e-12)

    def step(w: Any, x: Any) -> Any:
        return (x @ w).sum(), w - 0.1 * (x.T @ (x @ w))

    w, x = normal(4, 2), normal(3, 4)
    placed = gradc.to_device((w, x))
    update = differentiate(step, target="cuda", products="cublas").bind_update(*placed, updates=("w",))
    library.calls.clear()
    update()
    assert library.calls == ["dgemm"] * 2
    np.testing.assert_allclose(placed[0].copy_to_host(), w - 0.1 * x.T @ (x @ w), rtol=1e-12)


# --- handles ------------------------------------------------------------------------------------------------


def multiply(stream: Any = None) -> None:
    with cuda_memory.call_on(0, stream, stay=True):
        arrays = [cuda.to_device(normal(3, 3)) for _ in range(3)]
        cuda_blas.contract(arrays[0], "i j", arrays[1], "i k", arrays[2], "k j", (3, 3, 3))


@pytest.mark.simulator
def test_calls_one_after_the_other_have_one_handle_and_set_its_stream(library: StandIn):
    multiply()
    multiply()
    assert library.streams == [(1000, 0), (1000, 0)]


@pytest.mark.simulator
def test_every_stream_has_a_handle_of_its_own(library: StandIn):
    stream = cuda.stream()
    for _ in range(2):
        multiply()
        multiply(stream)
    assert library.streams == [(1000, 0), (1001, id(stream))] * 2


@pytest.mark.simulator
def test_calls_at_once_have_different_handles(library: StandIn, monkeypatch: pytest.MonkeyPatch):
    meeting, plain = threading.Barrier(2, timeout=30), library.dgemm_64

    def waits(*given: Any) -> None:
        meeting.wait()
        plain(*given)

    monkeypatch.setattr(library, "dgemm_64", waits)
    threads = [threading.Thread(target=multiply) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(library.calls) == 2
    assert sorted(handle for handle, _ in library.streams) == [1000, 1001]


@pytest.mark.simulator
def test_threads_share_no_handle_of_a_stream_that_each_has_for_itself(
    library: StandIn, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cuda_driver, "PER_THREAD", 0)
    multiply()
    thread = threading.Thread(target=multiply)
    thread.start()
    thread.join()
    assert [handle for handle, _ in library.streams] == [1000, 1001]


@pytest.mark.simulator
def test_handles_that_are_used_no_more_are_given_back(library: StandIn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda_blas, "MOST_IDLE", 2)
    streams = [None, *(cuda.stream() for _ in range(3))]
    for stream in streams:
        multiply(stream)
    assert library.destroyed == [1000, 1001]
    multiply(streams[3])
    assert library.streams[-1][0] == 1003


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.simulator
def test_a_function_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    removed(monkeypatch)
    loss = differentiate(network, target="cuda", products="cublas")
    assert "contract(" in loss.inspect(*PROGRAMS[network]).source  # needs no library
    with pytest.raises(DeviceError, match="nvmath-python") as caught:
        loss(*PROGRAMS[network])
    assert "pip install 'gradc[cublas]'" in str(caught.value)
    assert 'products="own"' in str(caught.value)


@pytest.mark.simulator
def test_the_simulator_has_no_library():
    with pytest.raises(DeviceError, match="the simulator has no cuBLAS"):
        differentiate(network, target="cuda", products="cublas")(*PROGRAMS[network])


@pytest.mark.simulator
def test_a_binding_without_the_library_says_what_to_install(library: StandIn):
    library.no_handle = [RuntimeError("Failure finding libcublas.so")]
    with pytest.raises(cuda_blas.BlasMissing, match="need the library cuBLAS") as caught:
        multiply()
    assert "libcublas.so" in str(caught.value)


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("CUBLAS_STATUS_EXECUTION_FAILED (13)", cuda_errors.DeviceFault),
        ("CUBLAS_STATUS_INTERNAL_ERROR (14)", cuda_errors.DeviceFault),
        ("CUBLAS_STATUS_INVALID_VALUE (7)", cuda_blas.BlasRefused),
        ("CUBLAS_STATUS_ALLOC_FAILED (3)", cuda_errors.OutOfMemory),
    ],
)
def test_errors_of_the_library_are_ours_and_end_its_handle(library: StandIn, status: str, kind: Any):
    multiply()
    library.failure = Failure(status)
    with pytest.raises(kind, match=r"cuBLAS|product") as caught:
        multiply()
    assert status in caught.value.why
    multiply()
    assert [handle for handle, _ in library.streams] == [1000, 1000, 1001]


@pytest.mark.simulator
def test_kept_memory_makes_room_for_a_handle(library: StandIn, monkeypatch: pytest.MonkeyPatch):
    released: list[int] = []
    monkeypatch.setattr(cuda_memory, "release", lambda: released.append(1) or 512)
    full = Failure("CUBLAS_STATUS_NOT_INITIALIZED (1)")
    library.no_handle = [full]
    multiply()
    assert len(released) == len(library.calls) == 1
    library.no_handle = [full, full]
    monkeypatch.setattr(cuda_blas, "_idle", [])
    with pytest.raises(cuda_errors.OutOfMemory, match="no memory for cuBLAS"):
        multiply()


# --- on a device --------------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("function", list(FUNCTIONS), ids=lambda function: function.__name__)
def test_the_library_computes_what_our_kernels_do(function: Callable[..., Any], dtype: Any):
    pytest.importorskip("nvmath")
    arguments, _, _ = FUNCTIONS[function]
    given = in_single_precision(arguments) if dtype is np.float32 else arguments
    tolerance = 3e-4 if dtype is np.float32 else 1e-11
    own, by_library = (
        differentiate(function, target="cuda", products=who).value_and_grad(*given)
        for who in ("own", "cublas")
    )
    np.testing.assert_allclose(by_library[0], own[0], rtol=tolerance)
    for one, two in zip(by_library[1], own[1], strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * max(1.0, np.abs(two).max()))


@pytest.mark.cuda
@pytest.mark.parametrize("add", [False, True], ids=["", "add"])
@pytest.mark.parametrize("texts", [*TEXTS, *BATCHES], ids=" ".join)
def test_the_library_multiplies_what_lies_in_any_order(texts: tuple[str, str, str], add: bool):
    pytest.importorskip("nvmath")
    for change in ({}, {"i": 1}, {"k": 1}, {"i": 33, "j": 65, "k": 129}):
        shapes, extents = sizes_of(texts, EXTENTS | change)
        out, left, right = (normal(*shape) for shape in shapes)
        want = out.copy()
        meaning = contraction.add_contraction if add else contraction.contract
        meaning(want, texts[0], left, texts[1], right, texts[2], extents)
        placed = gradc.to_device((out, left, right))
        function = cuda_blas.add_contraction if add else cuda_blas.contract
        function(placed[0], texts[0], placed[1], texts[1], placed[2], texts[2], extents)
        np.testing.assert_allclose(placed[0].copy_to_host(), want, rtol=1e-11, atol=1e-11)


@pytest.mark.cuda
def test_two_runs_give_the_same_bits():
    pytest.importorskip("nvmath")
    product = differentiate(lambda x, y: x @ y, target="cuda", products="cublas")
    x, y = normal(513, 1025).astype(np.float32), normal(1025, 257).astype(np.float32)
    assert product(x, y).tobytes() == product(x, y).tobytes()
