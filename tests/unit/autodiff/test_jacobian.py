"""Jacobians and Hessians: values, shapes, and that no dense seed matrix survives where it need not."""

from collections.abc import Sequence

import numpy as np
import pytest

from gradc.autodiff.delta import vanishes
from gradc.autodiff.jacobian import hessian, hvp, jacobian
from gradc.autodiff.vjp import gradient, vjp
from gradc.errors import ArgumentError
from gradc.ir.extents import Size, symbol
from gradc.ir.extents import evaluate as size_value
from gradc.ir.index.build import Builder
from gradc.ir.index.cost import operations
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Affine, Call, Program, Reduce
from gradc.ir.index.templates import composite, placeholder, template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType

F64 = DType.F64
n, m = symbol("n"), symbol("m")
MODES = ("reverse", "forward")


def stacked(
    program: Program, wrt: Sequence[str], inputs: dict[str, np.ndarray], out: int = 0
) -> list[np.ndarray]:
    """The Jacobian of one output by one pullback per element."""
    name = program.outputs[out]
    pullback = vjp(program, wrt, (name,))
    seed = pullback.inputs[-1]
    shape = np.shape(evaluate(program, inputs)[out])
    rows: list[list[np.ndarray]] = [[] for _ in wrt]
    for unit in np.eye(int(np.prod(shape))).reshape(-1, *shape):
        for row, bar in zip(
            rows, evaluate(pullback, {**inputs, seed: unit})[len(program.outputs) :], strict=True
        ):
            row.append(bar)
    return [np.reshape(row, (*shape, *inputs[name].shape)) for row, name in zip(rows, wrt, strict=True)]


def count(program: Program, start: int, **sizes: int) -> int:
    """Operations after the first `start` equations, for these extents."""
    return size_value(operations(program, start), sizes)


def elements(program: Program, **sizes: int) -> int:
    """The elements of the largest tensor that is no output."""

    def number(shape: tuple[Size, ...]) -> int:
        return int(np.prod([size_value(size, sizes) for size in shape]))

    return max(number(t.shape) for name, t in program.types.items() if name not in program.outputs)


def layer() -> Program:
    """``tanh(x @ w)``, every example apart."""
    builder = Builder("f")
    x, w = builder.input("x", F64, (n, m)), builder.input("w", F64, (m, 2))
    operands = (Access(x, (0, 2)), Access(w, (2, 1)))
    z = builder.assign("mul", operands, (n, 2, m), F64, rank=2, reduce=Reduce("sum", F64))
    return builder.finish((builder.pointwise("tanh", z),))


@pytest.mark.parametrize("mode", [*MODES, "auto"])
def test_a_layer(mode: str, rng: np.random.Generator):
    program = layer()
    inputs = {"x": rng.normal(size=(4, 3)), "w": rng.normal(size=(3, 2))}
    found = evaluate(verify(jacobian(program, ("x", "w"), mode=mode)), inputs)
    for leaf, expected in zip(found[1:], stacked(program, ("x", "w"), inputs), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("mode", MODES)
def test_examples_that_do_not_meet_cost_one_example_each(mode: str):
    program = layer()
    found = jacobian(program, ("x",), mode=mode)
    start = len(program.equations)
    assert count(found, start, n=1, m=1) <= 20
    assert count(found, start, n=200, m=3) == 2 * count(found, start, n=100, m=3)
    # The result has n * 2 * n * m elements; nothing else of that size is made by reverse mode.
    if mode == "reverse":
        assert elements(found, n=100, m=3) <= 100 * 3 * 2 * 2


@pytest.mark.parametrize("mode", MODES)
def test_an_elementwise_function_costs_its_diagonal(mode: str):
    builder = Builder("f")
    x = builder.input("x", F64, (n,))
    program = builder.finish((builder.pointwise("tanh", builder.pointwise("sin", x)),))
    found = verify(jacobian(program, ("x",), mode=mode))
    start = len(program.equations)
    assert count(found, start, n=1000) == 1000 * count(found, start, n=1)
    inputs = {"x": np.array([0.3, -1.0])}
    np.testing.assert_allclose(evaluate(found, inputs)[1], stacked(program, ("x",), inputs)[0])


def test_windows_stay_a_contraction(rng: np.random.Generator):
    builder = Builder("f")
    x, w = builder.input("x", F64, (n + 2,)), builder.input("w", F64, (3,))
    builder.input("y", F64, (n,))
    window = Access(x, (Affine(((1, 0), (1, 1)), 0),))
    y = builder.assign("mul", (window, Access(w, (1,))), (n, 3), F64, rank=1, reduce=Reduce("sum", F64))
    program = builder.finish((builder.pointwise("tanh", y),))
    found = verify(jacobian(program, ("x", "w"), mode="reverse"))
    start = len(program.equations)
    assert count(found, start, n=200) == 2 * count(found, start, n=100)
    inputs = {"x": rng.normal(size=7), "w": rng.normal(size=3), "y": np.zeros(5)}
    for leaf, expected in zip(evaluate(found, inputs)[1:], stacked(program, ("x", "w"), inputs), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_a_slice_longer_or_shorter_than_its_source(mode: str, rng: np.random.Generator):
    """The diagonal of ``x_bar[s, i]`` ends where the slice ends although the axis goes on."""
    builder = Builder("f")
    x = builder.input("x", F64, (5,))
    head = builder.assign("sin", (Access(builder.pointwise("exp", x), (0,)),), (3,), F64)
    tail = builder.assign("copy", (Access(head, (Affine(((1, 0),), 1),)),), (2,), F64)
    program = builder.finish((head, tail))
    inputs = {"x": rng.normal(size=5)}
    found = evaluate(verify(jacobian(program, ("x",), mode=mode)), inputs)[2:]
    for out, leaf in enumerate(found):
        np.testing.assert_allclose(leaf, stacked(program, ("x",), inputs, out)[0], rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("function", ["mul", "add", "hypot"])
def test_two_diagonals_that_cross(mode: str, function: str, rng: np.random.Generator):
    """``f(u[i], u[j])``: neither tangent is zero where the other one is."""
    builder = Builder("f")
    u = builder.pointwise("exp", builder.input("x", F64, (n,)))
    program = builder.finish((builder.assign(function, (Access(u, (0,)), Access(u, (1,))), (n, n), F64),))
    inputs = {"x": rng.normal(size=3)}
    found = evaluate(verify(jacobian(program, ("x",), mode=mode)), inputs)[1]
    np.testing.assert_allclose(found, stacked(program, ("x",), inputs)[0], rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("function", ["mul", "add", "sub"])
def test_a_diagonal_beside_a_full_tangent(mode: str, function: str, rng: np.random.Generator):
    """``f(u[i], sum of u)``: the tangent does not vanish away from the diagonal."""
    builder = Builder("f")
    u = builder.pointwise("exp", builder.input("x", F64, (n,)))
    total = builder.assign("copy", (Access(u, (0,)),), (n,), F64, rank=0, reduce=Reduce("sum", F64))
    program = builder.finish((builder.assign(function, (Access(u, (0,)), Access(total, ())), (n,), F64),))
    inputs = {"x": rng.normal(size=3)}
    found = evaluate(verify(jacobian(program, ("x",), mode=mode)), inputs)[1]
    np.testing.assert_allclose(found, stacked(program, ("x",), inputs)[0], rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_several_outputs_some_constant_some_integer(mode: str):
    builder = Builder("f")
    x, c = builder.input("x", F64, (2,)), builder.input("c", F64, ())
    y, z = builder.pointwise("square", x), builder.pointwise("exp", c)
    (order,) = builder.call("argsort", (x,), {"axis": 0})
    program = builder.finish((y, order, z, x))
    found = evaluate(verify(jacobian(program, ("x", "c"), mode=mode)), {"x": np.array([2.0, 3.0]), "c": 0.0})
    y_x, y_c, z_x, z_c, x_x, x_c = found[4:]
    np.testing.assert_array_equal(y_x, [[4, 0], [0, 6]])
    np.testing.assert_array_equal(x_x, np.eye(2))
    np.testing.assert_array_equal(z_x, [0, 0])
    assert z_c == 1
    np.testing.assert_array_equal([y_c, x_c], [[0, 0], [0, 0]])


def test_the_jacobian_of_a_solution_factorises_the_matrix_once(rng: np.random.Generator):
    builder = Builder("f")
    a, b = builder.input("a", F64, (3, 3)), builder.input("b", F64, (3, 1))
    program = builder.finish(builder.call("solve", (a, b)))
    found = verify(jacobian(program, ("b",), mode="reverse"))
    solves = [e for e in found.equations if isinstance(e, Call) and e.operation == "solve"]
    assert [len(found.types[e.ins[0]].shape) for e in solves] == [2, 2]
    inputs = {"a": rng.normal(size=(3, 3)) + 3 * np.eye(3), "b": rng.normal(size=(3, 1))}
    np.testing.assert_allclose(evaluate(found, inputs)[1][:, 0, :, 0], np.linalg.inv(inputs["a"]))


def test_auto_takes_reverse_for_few_outputs_and_forward_for_few_inputs():
    builder = Builder("f")
    x, t = builder.input("x", F64, (n,)), builder.input("t", F64, ())
    scaled = builder.assign("mul", (Access(x, (0,)), Access(t, ())), (n,), F64)
    wave = builder.pointwise("sin", scaled)
    total = builder.assign("copy", (Access(wave, (0,)),), (n,), F64, rank=0, reduce=Reduce("sum", F64))
    start = len(builder.equations)
    few_outputs, few_inputs = builder.finish((total,)), builder.finish((wave,))
    for program, wrt in ((few_outputs, ("x",)), (few_inputs, ("t",))):
        best = min(count(jacobian(program, wrt, mode=mode), start, n=64) for mode in MODES)
        assert count(jacobian(program, wrt), start, n=64) == best
    assert "wave_dot" not in jacobian(few_outputs, ("x",), mode="reverse").types


def test_an_unknown_mode_is_refused():
    with pytest.raises(ArgumentError, match="sideways"):
        jacobian(layer(), ("x",), mode="sideways")


# --- second derivatives -------------------------------------------------------------------------------------


def logistic_loss() -> Program:
    builder = Builder("loss")
    x, y, w = builder.input("x", F64, (n, m)), builder.input("y", F64, (n,)), builder.input("w", F64, (m,))
    b = builder.input("b", F64, ())
    z = builder.assign(
        "mul", (Access(x, (0, 1)), Access(w, (1,))), (n, m), F64, rank=1, reduce=Reduce("sum", F64)
    )
    shifted = builder.assign("add", (Access(z, (0,)), Access(b, ())), (n,), F64)
    p = builder.pointwise("sub", builder.pointwise("softplus", shifted), builder.pointwise("mul", y, shifted))
    return builder.finish(
        (builder.assign("copy", (Access(p, (0,)),), (n,), F64, rank=0, reduce=Reduce("sum", F64)),)
    )


def logistic_data(rng: np.random.Generator) -> dict[str, np.ndarray]:
    x, w = rng.normal(size=(6, 3)), rng.normal(size=3)
    return {"x": x, "y": (rng.normal(size=6) > 0).astype(float), "w": w, "b": np.asarray(0.3)}


@pytest.mark.parametrize("mode", [*MODES, "auto"])
def test_the_hessian_of_logistic_regression(mode: str, rng: np.random.Generator):
    data = logistic_data(rng)
    program = logistic_loss()
    found = evaluate(verify(hessian(program, ("w", "b"), mode=mode)), data)
    s = 1 / (1 + np.exp(-(data["x"] @ data["w"] + data["b"])))
    x1 = np.column_stack([data["x"], np.ones(6)])
    full = x1.T @ ((s * (1 - s))[:, None] * x1)
    slope = x1.T @ (s - data["y"])
    np.testing.assert_allclose(found[1], slope[:3])
    np.testing.assert_allclose(found[2], slope[3])
    for leaf, expected in zip(found[3:], (full[:3, :3], full[:3, 3], full[3, :3], full[3, 3]), strict=True):
        np.testing.assert_allclose(leaf, expected)


@pytest.mark.parametrize("mode", MODES)
def test_the_hessian_of_logistic_regression_is_one_product_of_matrices(mode: str):
    program = logistic_loss()
    found = hessian(program, ("w",), mode=mode)
    per_entry = count(found, 0, n=100, m=20) - count(found, 0, n=100, m=10) * 2
    assert per_entry <= 3 * 100 * (400 - 200)  # of order n m^2, with a small factor; not n^2 m


def test_hessian_vector_products(rng: np.random.Generator):
    data = logistic_data(rng)
    program = logistic_loss()
    product = verify(hvp(program, ("w", "b")))
    assert product.inputs == (*program.inputs, "w_dot", "b_dot")
    w_dot, b_dot = rng.normal(size=3), np.asarray(2.0)
    value, g_w, g_b, h_w, h_b = evaluate(product, {**data, "w_dot": w_dot, "b_dot": b_dot})
    full = evaluate(hessian(program, ("w", "b")), data)
    np.testing.assert_allclose([value, g_b], [full[0], full[2]])
    np.testing.assert_allclose(g_w, full[1])
    np.testing.assert_allclose(h_w, full[3] @ w_dot + full[4] * b_dot)
    np.testing.assert_allclose(h_b, full[5] @ w_dot + full[6] * b_dot)


def test_a_third_derivative():
    builder = Builder("f")
    x = builder.input("x", F64, ())
    program = builder.finish((builder.pointwise("sin", x),))
    third = jacobian(jacobian(gradient(program, ("x",)), ("x",)), ("x",))
    assert evaluate(verify(third), {"x": 0.4})[-1] == pytest.approx(-np.cos(0.4))


# --- the templates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "zero", "expected"),
    [
        ("mul", {0}, True),
        ("mul", {1}, True),
        ("div", {0}, True),
        ("div", {1}, False),
        ("add", {0}, False),
        ("add", {0, 1}, True),
        ("neg", {0}, True),
        ("exp", {0}, False),
        ("select", {1}, False),
        ("select", {1, 2}, True),
        ("select", {0}, False),
    ],
)
def test_which_templates_vanish_with_their_operands(name: str, zero: set[int], expected: bool):
    assert vanishes(template(name), frozenset(zero)) is expected


def test_a_sum_of_products_vanishes_with_one_factor_of_each():
    a, b, c, d = (placeholder(at) for at in range(4))
    body = composite(a * b + c * d, (a, b, c, d))
    assert vanishes(body, frozenset({0, 2}))
    assert not vanishes(body, frozenset({0, 1}))
