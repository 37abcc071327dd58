"""Every library operation: both modes, at first and second order, against differences."""

from typing import Any

import numpy as np
import pytest

from gradc.autodiff.calls import JVP, VJP, WITHOUT_DERIVATIVE
from gradc.autodiff.jvp import jvp
from gradc.autodiff.vjp import gradient, vjp
from gradc.errors import ShapeError
from gradc.ir.extents import symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.calls import CALLS
from gradc.ir.index.cost import CALL_OPERATIONS
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Program
from gradc.ir.index.verify import verify
from gradc.ir.types import DType

F64 = DType.F64
Shapes = tuple[tuple[int, ...], ...]

SAMPLES: list[tuple[str, Shapes, dict[str, Any]]] = [
    ("reshape", ((3, 2, 2),), {"shape": (2, 6)}),
    ("affine_scan", ((4, 2), (4, 2)), {"axis": 0, "reverse": False}),
    ("affine_scan", ((2, 4), (2, 4)), {"axis": 1, "reverse": True}),
    ("affine_scan", ((1,), (1,)), {"axis": 0, "reverse": True}),
    ("solve", ((3, 3), (3, 2)), {}),
    ("solve", ((2, 2, 2), (2, 2, 1)), {}),
    ("inv", ((2, 3, 3),), {}),
    ("det", ((3, 3),), {}),
    ("det", ((2, 1, 1),), {}),
    ("cofactor", ((3, 3),), {}),
    ("cofactor", ((2, 2, 2),), {}),
    ("slogdet", ((2, 3, 3),), {}),
    ("cholesky", ((3, 3),), {}),
    ("cholesky", ((2, 2, 2),), {}),
    *(
        ("solve_triangular", shapes, {"lower": lower, "transposed": transposed})
        for shapes in (((3, 3), (3, 2)), ((2, 2, 2), (2, 2, 1)))
        for lower in (True, False)
        for transposed in (True, False)
    ),
]
IDS = [
    f"{name}-{'x'.join(map(str, shapes[0]))}-{'-'.join(map(str, a.values()))}" for name, shapes, a in SAMPLES
]


def program_of(operation: str, shapes: Shapes, attributes: dict[str, Any]) -> Program:
    builder = Builder(operation)
    ins = tuple(builder.input("ab"[at], F64, shape) for at, shape in enumerate(shapes))
    return verify(builder.finish(builder.call(operation, ins, attributes)))


def inputs_of(operation: str, shapes: Shapes, rng: np.random.Generator) -> dict[str, np.ndarray]:
    values = {"ab"[at]: rng.uniform(-1, 1, shape) for at, shape in enumerate(shapes)}
    if operation not in ("reshape", "affine_scan"):
        values["a"] += 3 * np.eye(shapes[0][-1])
    return values


def change(
    program: Program, inputs: dict[str, np.ndarray], direction: dict[str, np.ndarray]
) -> list[np.ndarray]:
    """The directional derivative of the outputs, by differences of fourth order."""

    def at(step: float) -> tuple[np.ndarray, ...]:
        return evaluate(program, {name: x + step * direction[name] for name, x in inputs.items()})

    h = 2e-3
    values = [at(step * h) for step in (-2, -1, 1, 2)]
    return [(a - 8 * b + 8 * c - d) / (12 * h) for a, b, c, d in zip(*values, strict=True)]


def random_like(arrays: Any, rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.normal(size=np.shape(array)) for array in arrays]


def assert_both_modes(program: Program, inputs: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    wrt, count = program.inputs, len(program.outputs)
    direction = dict(zip(wrt, random_like([inputs[name] for name in wrt], rng), strict=True))
    forward, reverse = verify(jvp(program, wrt)), verify(vjp(program, wrt))
    tangents = dict(zip(forward.inputs[len(wrt) :], direction.values(), strict=True))
    pushed = evaluate(forward, {**inputs, **tangents})[count:]
    for found, expected in zip(pushed, change(program, inputs, direction), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    weights = random_like(pushed, rng)
    cotangents = dict(zip(reverse.inputs[len(wrt) :], weights, strict=True))
    pulled = evaluate(reverse, {**inputs, **cotangents})[count:]
    left = sum(np.sum(w * p) for w, p in zip(weights, pushed, strict=True))
    right = sum(np.sum(p * d) for p, d in zip(pulled, direction.values(), strict=True))
    assert left == pytest.approx(right, rel=1e-10, abs=1e-12)


def test_every_operation_has_a_row_in_every_table():
    assert set(VJP) == set(JVP) == set(CALLS) - WITHOUT_DERIVATIVE
    external = {"external"}  # has tests of its own, in tests/unit/api/test_external.py
    assert set(CALL_OPERATIONS) == set(CALLS) - external
    assert {name for name, _, _ in SAMPLES} == set(VJP) - external


@pytest.mark.parametrize(("operation", "shapes", "attributes"), SAMPLES, ids=IDS)
def test_first_and_second_derivatives(
    operation: str, shapes: Shapes, attributes: dict[str, Any], rng: np.random.Generator
):
    program = program_of(operation, shapes, attributes)
    inputs = inputs_of(operation, shapes, rng)
    if operation == "cholesky":  # the strict upper triangle is not read, so no symmetry is needed
        inputs["a"] += np.triu(rng.normal(size=shapes[0]), 1)
    assert_both_modes(program, inputs, rng)
    pullback = vjp(program, program.inputs)
    cotangents = [name for name in pullback.inputs if name not in program.inputs]
    values = random_like(
        [evaluate(program, inputs)[program.outputs.index(n.removesuffix("_bar"))] for n in cotangents], rng
    )
    assert_both_modes(pullback, {**inputs, **dict(zip(cotangents, values, strict=True))}, rng)


@pytest.mark.parametrize(("operation", "shapes", "attributes"), SAMPLES, ids=IDS)
def test_float32_stays_float32(
    operation: str, shapes: Shapes, attributes: dict[str, Any], rng: np.random.Generator
):
    builder = Builder(operation)
    ins = tuple(builder.input("ab"[at], DType.F32, shape) for at, shape in enumerate(shapes))
    program = verify(vjp(builder.finish(builder.call(operation, ins, attributes)), ins))
    inputs = inputs_of(operation, shapes, rng)
    for name in program.inputs[len(ins) :]:
        inputs[name] = np.ones([size for size in program.types[name].shape if isinstance(size, int)])
    assert {value.dtype for value in evaluate(program, inputs)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("operation", ["argsort", "arg_extreme"])
def test_integer_results_carry_no_derivative(operation: str):
    builder = Builder("f")
    x = builder.input("x", F64, (3,))
    attributes = {"axis": 0} if operation == "argsort" else {"axis": 0, "largest": True}
    (order,) = builder.call(operation, (x,), attributes)
    y = builder.pointwise("copy", x)
    program = builder.finish((y, order))
    reverse, forward = verify(vjp(program, ("x",))), verify(jvp(program, ("x",)))
    x_value = np.array([0.3, 0.1, 0.2])
    assert reverse.inputs == ("x", f"{y}_bar")
    np.testing.assert_array_equal(evaluate(reverse, {"x": x_value, f"{y}_bar": x_value})[2], x_value)
    assert len(forward.outputs) == 3


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_gradient_of_det_is_finite_at_singular_matrices(rank: int, rng: np.random.Generator):
    program = gradient(program_of("det", ((3, 3),), {}), ("a",))
    a = rng.normal(size=(3, rank)) @ rng.normal(size=(rank, 3))
    minors = [
        [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(3)]
        for i in range(3)
    ]
    np.testing.assert_allclose(evaluate(program, {"a": a})[1], minors, atol=1e-12)


def test_the_cholesky_factor_depends_on_the_lower_triangle_only(rng: np.random.Generator):
    reverse = vjp(program_of("cholesky", ((3, 3),), {}), ("a",))
    a = rng.normal(size=(3, 3))
    found = evaluate(reverse, {"a": a @ a.T + np.eye(3), reverse.inputs[1]: rng.normal(size=(3, 3))})[1]
    np.testing.assert_array_equal(np.triu(found, 1), 0)


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_over_nothing_has_a_gradient(n: int, reverse: bool):
    builder = Builder("f")
    extent = symbol("n")
    ins = (builder.input("a", F64, (extent,)), builder.input("b", F64, (extent,)))
    (t,) = builder.call("affine_scan", ins, {"axis": 0, "reverse": reverse})
    program = vjp(builder.finish((t,)), ins)
    _, a_bar, b_bar = evaluate(program, {"a": np.full(n, 2.0), "b": np.ones(n), f"{t}_bar": np.ones(n)})
    np.testing.assert_array_equal(a_bar, np.zeros(n))
    np.testing.assert_array_equal(b_bar, np.ones(n))


@pytest.mark.parametrize(
    ("operation", "shapes"), [("inv", ((3,),)), ("det", ((2, 3),)), ("solve", ((3, 3), (3,)))]
)
def test_operands_of_wrong_shape_are_refused(operation: str, shapes: Shapes):
    with pytest.raises(ShapeError, match=operation):
        program_of(operation, shapes, {})
