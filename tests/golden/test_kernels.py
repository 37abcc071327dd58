"""The text of generated kernels: what a user reads, to the byte.

Each program is differentiated and taken through the passes in the pipeline's order; the files under ``data``
are meant to be read, and their differences to be reviewed.
"""

from collections.abc import Callable

import numpy as np
import pytest
from tests.properties.pipeline import check_back_end, within

from gradc.autodiff.vjp import gradient
from gradc.codegen import numba_cuda
from gradc.codegen.numba_cpu import module_text
from gradc.ir.extents import symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.nodes import Access, Affine, Const, Lookup, Program, Reduce
from gradc.ir.index.show import show
from gradc.ir.loop.show import show as show_kernel
from gradc.ir.loop.verify import verify
from gradc.ir.types import DType
from gradc.lowering.nest import lower
from gradc.passes.equations.accumulators import wide_accumulators
from gradc.passes.equations.gather import gather
from gradc.passes.equations.simplify import simplify
from gradc.passes.grids.launches import with_launches
from gradc.schedule.fuse import fuse

F64, F32, I64 = DType.F64, DType.F32, DType.INT64
N, M, K = symbol("n"), symbol("m"), symbol("k")


def total(build: Builder, name: str, dtype: DType = F64, hint: str = "loss") -> str:
    """The sum of all elements."""
    shape = build.types[name].shape
    reduce = Reduce("sum", dtype)
    return build.assign("copy", (build.access(name),), shape, dtype, rank=0, reduce=reduce, name=hint)


def neuron() -> tuple[Program, tuple[str, ...]]:
    """The lecture's sigmoid neuron, on numbers."""
    build = Builder("neuron")
    w, x, b = (build.input(name, F64, ()) for name in "wxb")
    z = build.pointwise("add", build.pointwise("mul", w, x), b, name="z")
    minus = build.pointwise("neg", z)
    denominator = build.pointwise("add", Const(1.0, F64), build.pointwise("exp", minus))
    return build.finish((build.pointwise("reciprocal", denominator, name="y"),)), (w, x, b)


def layer() -> tuple[Program, tuple[str, ...]]:
    """A dense tanh layer and a squared error: two matrix products in the backward pass."""
    build = Builder("layer")
    x, w = build.input("x", F64, (N, M)), build.input("w", F64, (M, K))
    b, target = build.input("b", F64, (K,)), build.input("target", F64, (N, K))
    operands = (Access(x, (0, 2)), Access(w, (2, 1)))
    z = build.assign("mul", operands, (N, K, M), F64, rank=2, reduce=Reduce("sum", F64), name="z")
    a = build.assign("add", (Access(z, (0, 1)), Access(b, (1,))), (N, K), F64)
    h = build.pointwise("tanh", a, name="h")
    error = build.pointwise("square", build.pointwise("sub", h, target), name="error")
    return build.finish((total(build, error),)), (w, b)


def softmax() -> tuple[Program, tuple[str, ...]]:
    """Cross entropy of rows: reductions inside rows, a look-up of the label."""
    build = Builder("softmax")
    x, label = build.input("x", F64, (N, M)), build.input("label", I64, (N,))
    rows = (Access(x, (0, 1)),)
    top = build.assign("copy", rows, (N, M), F64, rank=1, reduce=Reduce("max", F64), name="top")
    shifted = build.assign("sub", (Access(x, (0, 1)), Access(top, (0,))), (N, M), F64, name="shifted")
    powers = build.pointwise("exp", shifted, name="powers")
    sums = build.assign(
        "copy", (Access(powers, (0, 1)),), (N, M), F64, rank=1, reduce=Reduce("sum", F64), name="sums"
    )
    picked = build.assign("copy", (Access(shifted, (0, Lookup(label, (0,)))),), (N,), F64, name="picked")
    losses = build.pointwise("sub", build.pointwise("log", sums), picked, name="losses")
    return build.finish((total(build, losses),)), (x,)


def convolution() -> tuple[Program, tuple[str, ...]]:
    """One channel, one axis: an affine index in the sum."""
    build = Builder("convolution")
    x, w = build.input("x", F64, (N,)), build.input("w", F64, (3,))
    operands = (Access(x, (Affine(((1, 0), (1, 1)), 0),)), Access(w, (1,)))
    y = build.assign("mul", operands, (N - 2, 3), F64, rank=1, reduce=Reduce("sum", F64), name="y")
    return build.finish((total(build, build.pointwise("sin", y)),)), (x, w)


def single_precision() -> tuple[Program, tuple[str, ...]]:
    """Sums in float32 are accumulated in float64; literals are float32."""
    build = Builder("single_precision")
    x = build.input("x", F32, (N,))
    half = build.pointwise("mul", build.pointwise("softplus", x), Const(0.5, F32))
    return build.finish((total(build, half, F32),)), (x,)


def pieces() -> tuple[Program, tuple[str, ...]]:
    """Branches, an assembly and a reversal."""
    build = Builder("pieces")
    x = build.input("x", F64, (N,))
    positive = build.pointwise("gt", x, Const(0.0, F64), name="positive")
    leaky = build.pointwise("select", positive, x, build.pointwise("mul", x, Const(0.1, F64)), name="leaky")
    back = build.assign("copy", (Access(leaky, (Affine(((-1, 0),), N - 1),)),), (N,), F64)
    joined = build.assemble(0, (leaky, back), name="joined")
    return build.finish((total(build, build.pointwise("exp", joined)),)), (x,)


def linear_algebra() -> tuple[Program, tuple[str, ...]]:
    """The log-likelihood of a normal distribution, up to constants: library operations between loops."""
    build = Builder("linear_algebra")
    a, b = build.input("a", F64, (N, N)), build.input("b", F64, (N, 1))
    (x,) = build.call("solve", (a, b), hints=("x",))
    _, logarithm = build.call("slogdet", (a,), hints=("sign", "logarithm"))
    form = total(build, build.pointwise("mul", x, b), hint="form")
    return build.finish((build.pointwise("add", form, logarithm, name="loss"),)), (a, b)


def hostile_names() -> tuple[Program, tuple[str, ...]]:
    """Arguments called like keywords, builtins and the functions that the kernel imports."""
    build = Builder("hostile_names")
    names = ("lambda", "range", "log1p", "np", "plus")
    inputs = tuple(build.input(name, F64, (N,)) for name in names)
    value = inputs[0]
    for name in inputs[1:]:
        value = build.pointwise("mul", build.pointwise("log1p", build.pointwise("square", value)), name)
    return build.finish((total(build, value, hint="print"),)), inputs[:1]


PROGRAMS: tuple[Callable[[], tuple[Program, tuple[str, ...]]], ...] = (
    neuron,
    layer,
    softmax,
    convolution,
    single_precision,
    pieces,
    linear_algebra,
    hostile_names,
)


def derived(build: Callable[[], tuple[Program, tuple[str, ...]]]) -> tuple[Program, Program]:
    """A program, and the one that computes its value and gradient after all passes."""
    program, wrt = build()
    return program, wide_accumulators(simplify(gather(gradient(program, wrt))))


@pytest.mark.parametrize("build", PROGRAMS, ids=lambda build: build.__name__)
def test_module(build: Callable, golden):
    program, adjoint = derived(build)
    header = (f"Value and gradient of {program.name}.", "", *show(program).splitlines())
    kernel = verify(lower(adjoint, fuse(adjoint), name=f"{program.name}_value_and_grad", header=header))
    golden(module_text(kernel), suffix=".py")


LAUNCHED = (neuron, layer, softmax, convolution)


@pytest.mark.parametrize("build", LAUNCHED, ids=lambda build: build.__name__)
def test_launches(build: Callable, golden):
    """The same programs for a GPU."""
    _, adjoint = derived(build)
    kernel = with_launches(lower(adjoint, fuse(adjoint), name=f"{build.__name__}_value_and_grad"))
    golden(numba_cuda.module_text(verify(kernel)), suffix=".py")


def test_loop_ir(golden):
    _, adjoint = derived(softmax)
    golden(show_kernel(lower(adjoint, fuse(adjoint), name="softmax")))


@pytest.mark.parametrize("build", PROGRAMS, ids=lambda build: build.__name__)
def test_what_is_kept_is_right(build: Callable, rng: np.random.Generator):
    """The text above was not only read: it computes what its program says."""
    _, adjoint = derived(build)
    sizes = {"n": 4, "m": 3, "k": 2}
    inputs = {}
    for name in adjoint.inputs:
        type_ = adjoint.types[name]
        shape = tuple(size if isinstance(size, int) else sizes[str(size)] for size in type_.shape)
        values = rng.integers(-3, 3, shape) if type_.dtype is I64 else rng.normal(size=shape)
        inputs[name] = np.asarray(values, type_.dtype.numpy)
    check_back_end(adjoint, inputs, within(1e-5 if build is single_precision else 1e-10))
