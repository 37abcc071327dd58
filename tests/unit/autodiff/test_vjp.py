"""Reverse mode on hand-made programs: reductions, seeds, conventions, and what it costs."""

from collections.abc import Callable

import numpy as np
import pytest

from gradc.autodiff.jvp import jvp
from gradc.autodiff.rules import RULES
from gradc.autodiff.vjp import gradient, vjp
from gradc.errors import ArgumentError, NoDerivativeRule
from gradc.ir.extents import Size, symbol
from gradc.ir.extents import evaluate as size_value
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.build import IDENTITY, Builder
from gradc.ir.index.cost import operations
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Assign, Lookup, Program, Reduce
from gradc.ir.index.templates import template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType
from gradc.lang.emit import Arg, Emitter, Value

F64 = DType.F64
n, m = symbol("n"), symbol("m")


def reduced(op: str, shape: tuple[Size, ...], rank: int, body: str = "copy") -> Program:
    """``sum of weights * op over the trailing axes of body(x)``, the weights being 1, 2, ..."""
    builder = Builder(op)
    x = builder.input("x", F64, shape)
    w = builder.input("w", F64, shape[:rank])
    y = builder.assign(body, (builder.access(x),), shape, F64, rank=rank, reduce=Reduce(op, F64))
    product = builder.pointwise("mul", y, w)
    whole = (builder.access(product),)
    total = builder.assign("copy", whole, shape[:rank], F64, rank=0, reduce=Reduce("sum", F64))
    return verify(builder.finish((total,)))


def gradient_of(program: Program, **inputs: np.ndarray) -> np.ndarray:
    return evaluate(verify(gradient(program, ("x",))), inputs)[1]


# --- products -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zeros", [(), (1,), (1, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("body", ["copy", "sin"])
def test_a_product_is_exact_beside_zeros(zeros: tuple[int, ...], body: str):
    x = np.array([[2.0, 3.0, -1.5, 0.5], [1.0, -2.0, 4.0, 0.25]])
    x[0, list(zeros)] = 0
    found = gradient_of(reduced("prod", (n, m), 1, body), x=x, w=np.array([3.0, 1.0]))
    value, slope = (x, np.ones_like(x)) if body == "copy" else (np.sin(x), np.cos(x))
    for (i, j), bar in np.ndenumerate(found):
        expected = (3.0, 1.0)[i] * np.delete(value[i], j).prod() * slope[i, j]
        assert bar == pytest.approx(expected, rel=1e-15)
        assert (bar == 0) == (expected == 0)


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (1, 1), (2, 3)])
def test_a_product_over_two_axes(shape: tuple[int, int]):
    x = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    found = gradient_of(reduced("prod", (n, m), 0), x=x, w=np.array(2.0))
    np.testing.assert_allclose(found, 2 * x.prod() / x)


def test_the_second_derivative_of_a_product_is_exact_beside_zeros():
    first = gradient(reduced("prod", (n,), 0), ("x",))
    second = verify(vjp(first, ("x",), first.outputs[1:]))
    seed = second.inputs[-1]
    x, u = np.array([0.0, 3.0, 0.0, 2.0]), np.array([1.0, 10.0, 100.0, 1000.0])
    found = evaluate(second, {"x": x, "w": np.array(1.0), seed: u})[-1]
    np.testing.assert_array_equal(found, [6 * 100.0, 0.0, 6 * 1.0, 0.0])


# --- maxima -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "winners"), [("max", [0, 2]), ("min", [1, 3])])
def test_ties_share_the_cotangent(op: str, winners: list[int]):
    found = gradient_of(reduced(op, (n,), 0), x=np.array([5.0, 1.0, 5.0, 1.0]), w=np.array(3.0))
    expected = np.zeros(4)
    expected[winners] = 1.5
    np.testing.assert_array_equal(found, expected)


def test_the_maximum_of_a_function_goes_through_the_function():
    x = np.array([[0.1, 1.5, 3.0]])
    found = gradient_of(reduced("max", (n, m), 1, "sin"), x=x, w=np.array([2.0]))
    np.testing.assert_allclose(found, [[0, 2 * np.cos(1.5), 0]])


@pytest.mark.parametrize(("other", "total"), [("x", 1.0), ("c", 0.0)])
def test_a_tie_of_two_operands_depends_on_whether_both_vary(other: str, total: float):
    builder = Builder("f")
    x, c = builder.input("x", F64, ()), builder.input("c", F64, ())
    second = builder.pointwise("copy", {"x": x, "c": c}[other])
    program = builder.finish((builder.pointwise("maximum", x, second),))
    reverse, forward = verify(vjp(program, ("x",))), verify(jvp(program, ("x",)))
    seed = reverse.inputs[-1]
    assert evaluate(reverse, {"x": 2.0, "c": 2.0, seed: 1.0})[1] == total
    assert evaluate(forward, {"x": 2.0, "c": 2.0, "x_dot": 1.0})[1] == total


# --- seeds, outputs and places ------------------------------------------------------------------------------


def test_an_output_that_is_used_again_collects_both_cotangents():
    builder = Builder("f")
    x = builder.input("x", F64, ())
    y = builder.pointwise("square", x, name="y")
    z = builder.pointwise("sin", y, name="z")
    program = verify(vjp(builder.finish((y, z)), ("x",)))
    assert program.inputs == ("x", "y_bar", "z_bar")
    found = evaluate(program, {"x": 0.7, "y_bar": 10.0, "z_bar": 1.0})[2]
    assert found == pytest.approx(2 * 0.7 * (10 + np.cos(0.49)))


def test_an_output_named_twice_has_two_cotangents():
    builder = Builder("f")
    x = builder.input("x", F64, ())
    y = builder.pointwise("square", x, name="y")
    program = verify(vjp(builder.finish((y, y)), ("x",)))
    assert evaluate(program, {"x": 3.0, "y_bar": 1.0, "y_bar_2": 10.0})[2] == 66.0


def test_an_output_that_is_an_input():
    builder = Builder("f")
    x = builder.input("x", F64, (2,))
    program = verify(vjp(builder.finish((x,)), ("x",)))
    np.testing.assert_array_equal(evaluate(program, {"x": np.ones(2), "x_bar": np.arange(2.0)})[1], [0, 1])


def test_what_does_not_depend_on_wrt_costs_nothing():
    builder = Builder("f")
    x, c = builder.input("x", F64, ()), builder.input("c", F64, ())
    expensive = builder.pointwise("exp", builder.pointwise("sin", c))
    program = builder.finish((builder.pointwise("mul", x, expensive),))
    count = len(program.equations)
    assert len(gradient(program, ("x",)).equations) == count + 2  # the seed and one product
    zero = verify(gradient(program, ("x", "c")))
    assert len(zero.outputs) == 3
    other = builder.input("unused", F64, (n,))
    program = builder.finish((program.outputs[0],))
    np.testing.assert_array_equal(
        evaluate(gradient(program, (other,)), {"x": 1, "c": 1, "unused": np.ones(2)})[1], [0, 0]
    )


def test_accumulations_with_lookups_gather_in_reverse():
    builder = Builder("f")
    x, table = builder.input("x", F64, (3,)), builder.input("table", DType.INT64, (3,))
    out = builder.declare("y", F64, (2,))
    square = builder.pointwise("square", x)
    builder.accumulate(out, template("square"), (Access(square, (0,)),), (3,), (Lookup(table, (0,)),))
    program = verify(vjp(builder.finish((out,)), ("x",)))
    inputs = {"x": np.array([1.0, 2.0, 3.0]), "table": np.array([0, -1, 0]), "y_bar": np.array([1.0, 10.0])}
    y, x_bar = evaluate(program, inputs)
    np.testing.assert_array_equal(y, [1 + 81, 16])
    np.testing.assert_array_equal(x_bar, [4, 320, 108])


def test_float32_parameters_of_a_float64_result_get_float32_gradients():
    builder = Builder("f")
    x = builder.input("x", DType.F32, ())
    wide = builder.assign("copy", (builder.access(x),), (), F64)
    program = verify(gradient(builder.finish((builder.pointwise("square", wide),)), ("x",)))
    found = evaluate(program, {"x": np.float32(3)})[1]
    assert np.asarray(found).dtype == np.float32
    assert found == 6


@pytest.mark.parametrize("wrt", ["k", "missing"])
def test_only_floating_point_tensors_have_derivatives(wrt: str):
    builder = Builder("f")
    x = builder.input("x", F64, ())
    builder.input("k", DType.INT64, ())
    program = builder.finish((builder.pointwise("sin", x),))
    for differentiate in (gradient, vjp, jvp):
        with pytest.raises(ArgumentError, match=wrt):
            differentiate(program, (wrt,))


def test_a_gradient_starts_from_a_floating_point_output():
    builder = Builder("f")
    x = builder.input("x", F64, ())
    with pytest.raises(ArgumentError, match="bool"):
        gradient(builder.finish((builder.pointwise("isnan", x),)), ("x",))


def test_a_reduction_without_derivative_is_named():
    builder = Builder("f")
    x = builder.input("x", F64, (n,))
    y = builder.assign("copy", (builder.access(x),), (n,), F64, rank=0, reduce=Reduce("any", F64))
    with pytest.raises(NoDerivativeRule, match="any has no derivative"):
        gradient(builder.finish((y,)), ("x",))


# --- cost ---------------------------------------------------------------------------------------------------


class Maths:
    """Reference programs, written with operators of the emitter."""

    def __init__(self) -> None:
        self.builder = Builder("f")
        self.emit = Emitter(self.builder)

    def __call__(self, function: str, *arguments: Arg) -> Value:
        return self.emit.elementwise(function, *arguments)

    def expit(self, z: Value) -> Value:
        return self("div", 1.0, self("add", 1.0, self("exp", self("neg", z))))


def sigmoid_neuron() -> tuple[Program, tuple[str, ...]]:
    f = Maths()
    w, x, b = (f.emit.input(name, F64, ()) for name in "wxb")
    return f.emit.finish([f.expit(f("add", f("mul", w, x), b))]), ("w", "x", "b")


def two_layer_network() -> tuple[Program, tuple[str, ...]]:
    f = Maths()
    x, y = f.emit.input("x", F64, (n, 5)), f.emit.input("y", F64, (n, 2))
    v, w = f.emit.input("v", F64, (5, m)), f.emit.input("w", F64, (m, 2))
    h = f.expit(f.emit.contract([(x, "ik"), (v, "kj")], "ij"))
    error = f("sub", f.emit.contract([(h, "ik"), (w, "kj")], "ij"), y)
    return f.emit.finish([f.emit.reduce("sum", f.emit.power(error, 2), [0, 1])]), ("v", "w")


def logistic_map() -> tuple[Program, tuple[str, ...]]:
    f = Maths()
    r, x = (f.emit.input(name, F64, ()) for name in "rx")
    y = x
    for _ in range(50):
        y = f("mul", f("mul", r, y), f("sub", 1.0, y))
    return f.emit.finish([y]), ("r", "x")


def rosenbrock() -> tuple[Program, tuple[str, ...]]:
    f = Maths()
    x, y = (f.emit.input(name, F64, ()) for name in "xy")
    bend = f("sub", y, f.emit.power(x, 2))
    slope = f.emit.power(f("sub", 1.0, x), 2)
    return f.emit.finish([f("add", slope, f("mul", 100.0, f.emit.power(bend, 2)))]), ("x", "y")


@pytest.mark.parametrize("reference", [sigmoid_neuron, two_layer_network, logistic_map, rosenbrock])
def test_the_adjoint_costs_at_most_four_times_the_forward_program(
    reference: Callable[[], tuple[Program, tuple[str, ...]]],
):
    program, wrt = reference()
    adjoint = verify(gradient(program, wrt))
    sizes = {"n": 32, "m": 16}
    forward = size_value(operations(program), sizes)
    assert size_value(operations(adjoint, len(program.equations)), sizes) <= 4 * forward


@pytest.mark.parametrize("function", [name for name, row in RULES.items() if row.partials is not None])
def test_every_row_can_be_applied_twice_and_costs_no_more_than_it_states(function: str):
    row = RULES[function]
    builder = Builder("f")
    arity = FUNCTIONS[function].arity
    dtypes = [DType.BOOL if function == "select" and at == 0 else F64 for at in range(arity)]
    operands = [builder.input(f"x{at}", dtype, (n,)) for at, dtype in enumerate(dtypes)]
    program = builder.finish((builder.pointwise(function, *operands),))
    wrt = [name for name, dtype in zip(operands, dtypes, strict=True) if dtype is F64]
    adjoint = verify(vjp(program, wrt))
    assert size_value(operations(adjoint, len(program.equations)), {"n": 1}) <= sum(row.counts)
    for derivative in (adjoint, verify(jvp(program, wrt))):  # both modes accept what both modes emit
        inputs = [name for name in derivative.inputs if derivative.types[name].dtype is F64]
        verify(vjp(derivative, inputs))
        verify(jvp(derivative, inputs))


def test_the_logistic_map_takes_a_known_number_of_operations():
    program, wrt = logistic_map()
    assert operations(program) == 3 * 50
    # Per step: four products for the two multiplications, one sign, one addition to x_bar and one to r_bar.
    assert operations(gradient(program, wrt), len(program.equations)) == 7 * 50 - 1


def test_a_deep_chain_needs_no_recursion_and_few_equations():
    builder = Builder("chain")
    y = builder.input("x", F64, ())
    for count in range(100_000):
        out = f"v{count}"
        builder.types[out] = builder.types[y]
        builder.equations.append(Assign(out, (), 0, None, template("sin"), (Access(y, IDENTITY[0]),)))
        y = out
    program = gradient(builder.finish((y,)), ("x",))
    assert len(program.equations) == 200_001
