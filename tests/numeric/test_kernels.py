"""Compiled kernels against the interpreters: values, dtypes, and refusals.

Random programs are long, so that one compilation covers about twenty of their steps.
"""

import re

import numpy as np
import pytest
from numba.core import types
from tests.properties.exact_programs import program as exact_program
from tests.properties.pipeline import arguments_of, kernel_of, within

from gradc.codegen.numba_cpu import module_text
from gradc.ir.extents import symbol
from gradc.ir.functions import FUNCTIONS, Result
from gradc.ir.index.build import Builder
from gradc.ir.index.calls import CALLS
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Assign, Const, ExtentValue, IndexValue, Lookup, Program, Reduce
from gradc.ir.types import DType
from gradc.passes.equations.gather import gather
from gradc.passes.equations.simplify import simplify
from gradc.pipeline import own_outputs
from gradc_runtime.artifact import KernelArtifact
from gradc_runtime.numba_backend import compile_kernel, load

F64, F32, I64, BOOL = DType.F64, DType.F32, DType.INT64, DType.BOOL
N, M = symbol("n"), symbol("m")
FLAGS = Result.BOOL, Result.LOGICAL


def compiled(program: Program):
    """The compiled kernel of a program."""
    kernel = kernel_of(program)
    parameters = tuple((p.name, p.dtype.value, p.rank) for p in kernel.parameters)
    return compile_kernel(load(KernelArtifact(kernel.name, module_text(kernel), parameters, ())))


def run(program: Program, inputs: dict[str, np.ndarray]) -> tuple:
    arguments = arguments_of(program, inputs)
    for argument in arguments:
        if argument.ndim:
            argument.flags.writeable = False
    return compiled(program)(*arguments)


LONG = [3, 8, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(100, 160))]


@pytest.mark.parametrize("seed", LONG)
def test_exact_programs(seed: int):
    original, inputs = exact_program(seed, length=20)
    written = own_outputs(simplify(gather(original)) if seed % 2 else original)
    results = run(written, inputs)
    for name, got, expected in zip(original.outputs, results, evaluate(original, inputs), strict=True):
        np.testing.assert_array_equal(got, expected, err_msg=name)
        if np.ndim(expected):
            assert got.dtype == np.asarray(expected).dtype
            assert got.flags.c_contiguous
            assert got.flags.writeable


# --- dtypes -------------------------------------------------------------------------------------------------


def of_every_function(dtype: DType) -> tuple[Program, dict[str, np.ndarray]]:
    """All functions of floats in one kernel, on numbers where each is defined and moderate."""
    build = Builder()
    inputs = {
        "x": np.array([0.25, 0.5, 0.75]),
        "y": np.array([0.5, 2.0, 0.25]),
        "z": np.array([1.5, 2.5, 4.0]),
    }
    for name in inputs:
        build.input(name, dtype, (N,))
    outs = []
    for name, function in FUNCTIONS.items():
        if function.result in (Result.LOGICAL, Result.INTEGER) or name in (
            "select",
            "copy",
            "stop_gradient",
            "attach_gradient",
        ):
            continue
        first = "z" if name in ("arccosh",) else "x"
        operands = tuple(Access(operand, (0,)) for operand in (first, "y")[: function.arity])
        if name == "polygamma":
            operands = (Const(1, dtype), operands[1])
        result = BOOL if function.result in FLAGS else dtype
        outs.append(build.assign(name, operands, (N,), result, name=f"of_{name}"))
    return build.finish(tuple(outs)), {name: value.astype(dtype.numpy) for name, value in inputs.items()}


@pytest.fixture(scope="module")
def float32_kernel():
    program, inputs = of_every_function(F32)
    return program, inputs, compiled(program)


def test_every_function_in_float32(float32_kernel):
    program, inputs, kernel = float32_kernel
    results = kernel(*arguments_of(program, inputs))
    compare = within(3e-6)
    for name, got, expected in zip(program.outputs, results, evaluate(program, inputs), strict=True):
        assert got.dtype == expected.dtype, name
        compare(got, expected, name)


def test_float32_is_not_computed_in_float64(float32_kernel):
    """No variable of the kernel is wider, before LLVM can tidy anything up."""
    _, _, kernel = float32_kernel
    assert wide_variables(kernel) == []


def wide_variables(kernel) -> list[str]:
    """Variables that hold float64, apart from literals (``0.5``, ``-np.inf``) that ``np.float32`` converts.

    A negated value is wide only if the value is, so leaving out negations hides nothing.
    """
    literal = re.compile(r"\$(const|\d+load_attr|\d+unary_negative)")
    (overload,) = kernel.overloads.values()
    return [
        name
        for name, kind in overload.type_annotation.typemap.items()
        if types.float64 in (kind, getattr(kind, "dtype", None)) and not literal.match(name)
    ]


def test_mixed_expressions_stay_float32():
    """Literals, sums, powers, choices and converted integers next to float32."""
    build = Builder()
    x = build.input("x", F32, (N,))
    here = (Access(x, (0,)),)
    half = build.pointwise("mul", x, Const(0.5, F32))
    weight = build.assign("copy", (IndexValue(0),), (N,), F32)
    count = build.assign("copy", (ExtentValue(N),), (), F32)
    ratio = build.assign("div", (Access(weight, (0,)), Access(count, ())), (N,), F32)
    positive = build.pointwise("gt", x, Const(0.0, F32))
    chosen = build.pointwise("select", positive, half, ratio)
    total = build.assign("copy", here, (N,), F32, rank=0, reduce=Reduce("sum", F32))
    top = build.assign("copy", here, (N,), F32, rank=0, reduce=Reduce("max", F32))
    power = build.pointwise("pow", chosen, Const(1.5, F32))
    program = build.finish((power, total, top))
    inputs = {"x": np.array([1.0, -2.0, 3.0], np.float32)}
    kernel = compiled(program)
    results = kernel(inputs["x"])
    for got, expected in zip(results, evaluate(program, inputs), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    (overload,) = kernel.overloads.values()
    assert overload.signature.return_type.types == (
        types.Array(types.float32, 1, "C"),
        types.float32,
        types.float32,
    )
    assert wide_variables(kernel) == []


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8, DType.INT32, DType.UINT64, I64])
def test_integers_wrap_inside_expressions(dtype: DType):
    """``a + b > 0`` where ``a + b`` overflows: the wrapped sum is compared, as NumPy does."""
    limits = np.iinfo(dtype.numpy)
    build = Builder()
    a, b = build.input("a", dtype, (N,)), build.input("b", dtype, (N,))
    zero = Const(1, dtype)
    outs = []
    for name in ("add", "sub", "mul"):
        value = build.pointwise(name, a, b)
        outs.append(build.pointwise("gt", value, zero))
        outs.append(build.pointwise("floor_divide", value, Const(3, dtype)))
    outs.append(build.pointwise("gt", build.pointwise("neg", a), zero))
    outs.append(build.pointwise("gt", build.pointwise("abs", a), zero))
    total = build.assign("copy", (Access(a, (0,)),), (N,), dtype, rank=0, reduce=Reduce("sum", dtype))
    product = build.assign("copy", (Access(a, (0,)),), (N,), dtype, rank=0, reduce=Reduce("prod", dtype))
    outs += [build.pointwise("gt", total, zero), build.pointwise("gt", product, zero)]
    program = build.finish(tuple(outs))
    numbers = np.array([limits.max, limits.max - 1, limits.min, limits.min, 3], dtype.numpy)
    inputs = {"a": numbers, "b": numbers[::-1].copy()}
    for name, got, expected in zip(
        program.outputs, run(program, inputs), evaluate(program, inputs), strict=True
    ):
        np.testing.assert_array_equal(got, expected, err_msg=name)


# --- edges --------------------------------------------------------------------------------------------------


def test_special_values_bit_for_bit():
    """Elementwise results carry the sign of zero and every NaN of the interpreter."""
    values = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324, 1e308])
    x, y = (grid.ravel() for grid in np.meshgrid(values, values))
    build = Builder()
    for name in "xy":
        build.input(name, F64, (N,))
    names = ("add", "sub", "mul", "div", "maximum", "minimum", "fmax", "fmin", "copysign", "lt", "eq", "ne")
    outs = [build.pointwise(name, "x", "y") for name in names]
    outs += [
        build.pointwise(name, "x") for name in ("neg", "abs", "sign", "floor", "rint", "sqrt", "reciprocal")
    ]
    outs += [
        build.pointwise("add", "x", Const(value, F64)) for value in (0.0, -0.0, float("nan"), float("-inf"))
    ]
    program = build.finish(tuple(outs))
    inputs = {"x": x.copy(), "y": y.copy()}
    for equation, got, expected in zip(
        program.equations, run(program, inputs), evaluate(program, inputs), strict=True
    ):
        np.testing.assert_array_equal(got, expected, err_msg=str(equation))
        if isinstance(equation, Assign) and equation.template.name not in (
            "maximum",
            "minimum",
            "fmax",
            "fmin",
        ):  # NumPy picks either zero
            kept = ~np.isnan(expected)
            assert got[kept].tobytes() == expected[kept].tobytes(), equation
    assert len(program.equations) == len(outs)


def call_program(operations: tuple[str, ...]) -> Program:
    build = Builder()
    a, b, x = (build.input(name, F64, shape) for name, shape in (("a", (N, N)), ("b", (N, M)), ("x", (N, M))))
    operands = {"solve": (a, b), "solve_triangular": (a, b), "affine_scan": (x, b), "argsort": (x,)}
    operands |= {"reshape": (x,), "arg_extreme": (x,)}
    attributes = {
        "solve_triangular": {"lower": True, "transposed": False},
        "reshape": {"shape": (M, N)},
        "affine_scan": {"axis": 1, "reverse": True},
        "argsort": {"axis": 0},
        "arg_extreme": {"axis": 1, "largest": False},
    }
    outs: list[str] = []
    for operation in operations:
        outs += build.call(operation, operands.get(operation, (a,)), attributes.get(operation))
    return build.finish(tuple(outs))


@pytest.mark.parametrize(
    "operations",
    [
        ("slogdet", "affine_scan", "arg_extreme", "reshape"),
        pytest.param(tuple(sorted(set(CALLS) - {"external"})), marks=pytest.mark.full),
    ],
    ids=["some", "all"],
)
def test_calls_in_a_kernel(operations: tuple[str, ...]):
    """Library operations as a kernel prints them, with literal attributes and read-only arguments."""
    program = call_program(operations)
    rng = np.random.default_rng(5)
    root = rng.normal(size=(4, 4))
    inputs = {"a": root @ root.T + np.eye(4), "b": rng.normal(size=(4, 3)), "x": rng.normal(size=(4, 3))}
    for name, got, expected in zip(
        program.outputs, run(program, inputs), evaluate(program, inputs), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12, err_msg=name)


def test_batched_products_of_every_layout():
    build = Builder()
    a, b = build.input("a", F64, (N, 30, 40)), build.input("b", F64, (N, 40, 50))
    at, bt = build.input("at", F64, (N, 40, 30)), build.input("bt", F64, (N, 50, 40))
    outs = []
    for left, right in ((a, b), (at, b), (a, bt), (at, bt)):
        one = Access(left, (0, 1, 3) if left is a else (0, 3, 1))
        two = Access(right, (0, 3, 2) if right is b else (0, 2, 3))
        outs.append(build.assign("mul", (one, two), (N, 30, 50, 40), F64, rank=3, reduce=Reduce("sum", F64)))
    program = build.finish(tuple(outs))
    assert module_text(kernel_of(program)).count("contract(") == 4
    rng = np.random.default_rng(6)
    inputs = {
        name: rng.normal(size=shape)
        for name, shape in (("a", (2, 30, 40)), ("b", (2, 40, 50)), ("at", (2, 40, 30)), ("bt", (2, 50, 40)))
    }
    compare = within(1e-12)
    for got, expected in zip(run(program, inputs), evaluate(program, inputs), strict=True):
        compare(got, expected, "")


def test_matrices_and_vectors():
    build = Builder()
    a, b, v, w = (
        build.input(name, F64, shape)
        for name, shape in (("a", (N, M)), ("b", (M, N)), ("v", (M,)), ("w", (N,)))
    )
    outs = [
        build.assign("mul", operands, space, F64, rank=rank, reduce=Reduce("sum", F64))
        for operands, space, rank in (
            ((Access(a, (0, 1)), Access(v, (1,))), (N, M), 1),
            ((Access(b, (1, 0)), Access(v, (1,))), (N, M), 1),
            ((Access(w, (1,)), Access(a, (1, 0))), (M, N), 1),
            ((Access(a, (0, 2)), Access(b, (2, 1))), (N, N, M), 2),
            ((Access(b, (2, 0)), Access(b, (2, 1))), (N, N, M), 2),
            ((Access(v, (0,)), Access(w, (1,))), (M, N), 2),
        )
        if rank < len(space)
    ]
    program = build.finish(tuple(outs))
    rng = np.random.default_rng(7)
    kernel = compiled(program)
    for n, m in ((4, 3), (0, 3), (4, 0), (1, 1)):
        shapes = {"a": (n, m), "b": (m, n), "v": (m,), "w": (n,)}
        inputs = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        results = kernel(*arguments_of(program, inputs))
        for got, expected in zip(results, evaluate(program, inputs), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def look_up():
    """``y[i, j] = x[t[i] - 1, u]``: a table made in the loop, and one index."""
    build = Builder()
    x, t, u = build.input("x", F64, (N, M)), build.input("t", I64, (M,)), build.input("u", I64, ())
    index = build.pointwise("sub", t, Const(1, I64))
    y = build.assign("exp", (Access(x, (Lookup(index, (0,)), Lookup(u, ()))),), (M,), F64)
    return compiled(build.finish((y,)))


def test_compiled_look_ups(look_up):
    x = np.arange(6.0).reshape(3, 2)
    np.testing.assert_allclose(look_up(x, np.array([3, -1]), -1)[0], np.exp(x[[2, -2], -1]))
    for table, single in (([4, 1], 0), ([-3, 1], 0), ([1, 1], 2), ([1, 1], -3)):
        with pytest.raises(IndexError, match="an index is out of range"):
            look_up(x, np.array(table), single)


def test_compiled_shape_checks(look_up):
    with pytest.raises(ValueError, match="axis 0 of t must have extent m"):
        look_up(np.ones((3, 2)), np.array([1, 1, 1]), 0)
