"""Batching of every kind of equation, compared with a Python loop, and what it leaves alone."""

from typing import Any

import numpy as np
import pytest

from gradc.autodiff.batch import batch, batched_names
from gradc.autodiff.vjp import gradient
from gradc.errors import ArgumentError
from gradc.ir.extents import symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.calls import CALLS
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Affine, Assign, Call, Const, IndexValue, Lookup, Program, Reduce
from gradc.ir.index.templates import template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType

F64, I64 = DType.F64, DType.INT64
s, n = symbol("s"), symbol("n")
COUNT = 3


def assert_equals_loop(program: Program, inputs: dict[str, np.ndarray], batched: set[str]) -> Program:
    """`inputs` has a leading axis of `COUNT` elements for the names in `batched`."""
    found = verify(batch(program, batched, s, broadcast_outputs=True))
    values = evaluate(found, inputs)
    for row in range(COUNT):
        single = {name: value[row] if name in batched else value for name, value in inputs.items()}
        for value, expected in zip(values, evaluate(program, single), strict=True):
            np.testing.assert_allclose(value[row], expected, rtol=1e-10, atol=1e-12)
    return found


def dense_layer() -> Program:
    builder = Builder("f")
    w, x, b = builder.input("w", F64, (n, 2)), builder.input("x", F64, (2,)), builder.input("b", F64, (n,))
    operands = (Access(w, (0, 1)), Access(x, (1,)))
    product = builder.assign("mul", operands, (n, 2), F64, rank=1, reduce=Reduce("sum", F64))
    h = builder.pointwise("tanh", builder.pointwise("add", product, b))
    c = builder.pointwise("exp", b)
    return builder.finish((h, c))


@pytest.mark.parametrize("batched", [{"x"}, {"w"}, {"b"}, {"w", "x"}, {"w", "x", "b"}])
def test_a_dense_layer(batched: set[str], rng: np.random.Generator):
    shapes = {"w": (4, 2), "x": (2,), "b": (4,)}
    inputs = {
        name: rng.normal(size=(COUNT, *shape) if name in batched else shape) for name, shape in shapes.items()
    }
    assert_equals_loop(dense_layer(), inputs, batched)


def test_what_is_not_affected_stays_as_it_is():
    program = dense_layer()
    found = batch(program, {"x"}, s)
    assert batched_names(program, {"x"}) & set(program.outputs) == {program.outputs[0]}
    assert found.equations[-1] is program.equations[-1]
    assert found.outputs == program.outputs
    assert found.types[program.outputs[1]].shape == (n,)
    assert found.types[program.outputs[0]].shape == (s, n)


@pytest.mark.parametrize("batched", [{"x"}, {"table"}, {"x", "table"}])
def test_lookups_and_accumulations(batched: set[str], rng: np.random.Generator):
    builder = Builder("f")
    x, table = builder.input("x", F64, (3, 2)), builder.input("table", I64, (4,))
    rows = builder.assign("sin", (Access(x, (Lookup(table, (0,)), 1)),), (4, 2), F64)
    out = builder.declare("total", F64, (3, 2))
    builder.accumulate(out, template("copy"), (Access(rows, (0, 1)),), (4, 2), (Lookup(table, (0,)), 1))
    builder.accumulate(out, template("exp"), (Access(x, (0, 1)),), (2, 2), (Affine(((1, 0),), 1), 1))
    builder.accumulate(out, template("copy"), (IndexValueAsFloat(builder),), (3, 2), (0, 1))
    lead = {name: (COUNT,) if name in batched else () for name in ("x", "table")}
    inputs = {"x": rng.normal(size=(*lead["x"], 3, 2)), "table": rng.integers(-3, 3, (*lead["table"], 4))}
    assert_equals_loop(builder.finish((out,)), inputs, batched)


def IndexValueAsFloat(builder: Builder) -> Access:  # noqa: N802
    """A tensor that holds its own row number and depends on no input."""
    return Access(builder.assign("copy", (IndexValue(0),), (3,), F64), (0,))


@pytest.mark.parametrize("batched", [{"x"}, {"y"}, {"x", "y"}])
def test_assemblies_and_index_values(batched: set[str], rng: np.random.Generator):
    builder = Builder("f")
    x, y = builder.input("x", F64, (2, n)), builder.input("y", F64, (2, 1))
    whole = builder.assemble(1, (y, x, y))
    mask = builder.assign("lt", (IndexValue(1), Const(2, I64)), builder.types[whole].shape, DType.BOOL)
    kept = builder.pointwise("select", mask, whole, Const(0.0, F64))
    lead = {name: (COUNT,) if name in batched else () for name in "xy"}
    inputs = {"x": rng.normal(size=(*lead["x"], 2, 3)), "y": rng.normal(size=(*lead["y"], 2, 1))}
    assert_equals_loop(builder.finish((kept,)), inputs, batched)


OPERATIONS: dict[str, tuple[tuple[tuple[int, ...], ...], dict[str, Any]]] = {
    "reshape": (((3, 2),), {"shape": (2, 3)}),
    "affine_scan": (((4, 2), (4, 2)), {"axis": 0, "reverse": True}),
    "argsort": (((4, 2),), {"axis": 0}),
    "arg_extreme": (((4, 2),), {"axis": 1, "largest": True}),
    "solve": (((2, 2, 2), (2, 2, 3)), {}),
    "inv": (((2, 3, 3),), {}),
    "det": (((2, 2),), {}),
    "cofactor": (((2, 2),), {}),
    "slogdet": (((2, 2),), {}),
    "cholesky": (((2, 2),), {}),
    "solve_triangular": (((3, 3), (3, 2)), {"lower": True, "transposed": True}),
}


def test_every_library_operation_is_tested():
    assert set(OPERATIONS) == set(CALLS) - {
        "external"
    }  # what that does is in tests/unit/api/test_external.py


@pytest.mark.parametrize(
    ("operation", "batched"),
    [
        (operation, set(names))
        for operation, (shapes, _) in OPERATIONS.items()
        for names in (("a", "b", "ab") if len(shapes) == 2 else ("a",))
    ],
)
def test_library_operations(operation: str, batched: set[str], rng: np.random.Generator):
    shapes, attributes = OPERATIONS[operation]
    builder = Builder("f")
    ins = tuple(builder.input("ab"[at], F64, shape) for at, shape in enumerate(shapes))
    program = builder.finish(builder.call(operation, ins, attributes))
    inputs = {
        name: rng.uniform(0, 1, (COUNT, *shape) if name in batched else shape)
        for name, shape in zip(ins, shapes, strict=True)
    }
    if operation in ("solve", "inv", "cholesky", "solve_triangular"):
        inputs["a"] += 2 * np.eye(shapes[0][-1])
    assert_equals_loop(program, inputs, batched)


@pytest.mark.parametrize("operation", ["solve", "solve_triangular"])
def test_one_matrix_is_factorised_once_for_many_right_hand_sides(operation: str):
    shapes, attributes = OPERATIONS[operation]
    builder = Builder("f")
    ins = tuple(builder.input("ab"[at], F64, shape) for at, shape in enumerate(shapes))
    found = batch(builder.finish(builder.call(operation, ins, attributes)), {"b"}, s)
    (call,) = [e for e in found.equations if isinstance(e, Call) and e.operation == operation]
    assert call.ins[0] == "a"
    assert found.types["a"].shape == shapes[0]


def test_batches_of_batches_are_outermost_last(rng: np.random.Generator):
    twice = verify(batch(batch(dense_layer(), {"x"}, s), {"x", "b"}, symbol("t")))
    w, x, b = rng.normal(size=(4, 2)), rng.normal(size=(5, 3, 2)), rng.normal(size=(5, 4))
    found = evaluate(twice, {"w": w, "x": x, "b": b})[0]
    np.testing.assert_allclose(found, np.tanh(np.einsum("nk,tsk->tsn", w, x) + b[:, None]))


def test_gradients_of_each_example(rng: np.random.Generator):
    builder = Builder("f")
    w, x = builder.input("w", F64, (2,)), builder.input("x", F64, (2,))
    dot = builder.assign(
        "mul", (Access(w, (0,)), Access(x, (0,))), (2,), F64, rank=0, reduce=Reduce("sum", F64)
    )
    program = gradient(builder.finish((builder.pointwise("sin", dot),)), ("w",))
    w_value, x_value = rng.normal(size=2), rng.normal(size=(COUNT, 2))
    found = evaluate(verify(batch(program, {"x"}, s)), {"w": w_value, "x": x_value})[1]
    np.testing.assert_allclose(found, np.cos(x_value @ w_value)[:, None] * x_value)


def test_an_output_that_is_an_input_can_be_broadcast():
    builder = Builder("f")
    x, y = builder.input("x", F64, (2,)), builder.input("y", F64, ())
    program = verify(batch(builder.finish((x, y)), {"y"}, s, broadcast_outputs=True))
    rows, same = evaluate(program, {"x": np.arange(2.0), "y": np.arange(3.0)})
    np.testing.assert_array_equal(rows, [[0, 1]] * 3)
    np.testing.assert_array_equal(same, [0, 1, 2])
    assert isinstance(program.equations[0], Assign)


def test_only_inputs_can_be_batched():
    with pytest.raises(ArgumentError, match="v1 cannot be batched"):
        batch(dense_layer(), {"x", "v1"}, s)
