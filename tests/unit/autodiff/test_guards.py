"""Guards: derivatives of arms that are not taken are zero, whatever the values there."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from gradc import differentiate
from gradc.autodiff.guards import guarded
from gradc.autodiff.jacobian import hessian
from gradc.autodiff.local import guard, under_guard
from gradc.autodiff.vjp import gradient
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Assign, Const, Equation, Program
from gradc.ir.index.templates import integer_power, template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType

F64 = DType.F64
HOLES = np.array([1.0, np.nan, 3.0, np.inf])
KEPT = np.array([True, False, True, False])
P = np.array([0.5, 2.0, 1.5, -1.0])


def guards_of(program: Program) -> list[str]:
    """Names of the tensors that are computed under a guard."""
    return [
        equation.out
        for equation in program.equations
        if isinstance(equation, Assign) and under_guard(equation.template) is not None
    ]


def quiet(function: Callable[..., object], *arguments: object) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(function(*arguments))


# --- which equations ----------------------------------------------------------------------------------------


def masked_product(*, elsewhere: bool = False, late: bool = False) -> Program:
    """``where(m, p * y, 0)``; the product is also an output if `elsewhere`, the mask made after it if `late`."""
    builder = Builder("masked")
    p = builder.input("p", F64, (4,))
    y = builder.input("y", F64, (4,))
    level = builder.input("level", F64, (4,))

    def mask() -> str:
        zero = Const(0.0, F64)
        return builder.assign("gt", (builder.access(level), zero), (4,), DType.BOOL, name="m")

    m = "" if late else mask()
    product = builder.pointwise("mul", p, y, name="z")
    m = mask() if late else m
    operands = (builder.access(m), builder.access(product), Const(0.0, F64))
    out = builder.assign("select", operands, (4,), F64, name="out")
    return verify(builder.finish((out, product) if elsewhere else (out,)))


@pytest.mark.parametrize("late", [False, True])
def test_a_product_in_one_arm_is_guarded_after_its_mask(late: bool):
    program = masked_product(late=late)
    found = verify(guarded(program, {"p", "z", "out"}))
    assert guards_of(found) == ["z"]
    inputs = {"p": P, "y": HOLES, "level": KEPT.astype(float)}
    for mine, theirs in zip(evaluate(found, inputs), evaluate(program, inputs), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_what_something_else_needs_or_nothing_differentiates_is_left_alone():
    used = masked_product(elsewhere=True)
    assert guarded(used, {"p", "z", "out"}) is used
    passive = masked_product()
    assert guarded(passive, set()) is passive


def test_nothing_moves_without_a_choice():
    builder = Builder("plain")
    x = builder.input("x", F64, (3,))
    program = builder.finish((builder.pointwise("mul", x, x),))
    assert guarded(program, {"x"}) is program


def test_linear_arms_need_no_guard():
    @differentiate
    def leaky(h: np.ndarray) -> object:
        return np.sum(np.where(h > 0, h, 0.1 * h))

    assert guards_of(leaky.inspect(np.ones(3)).stages.adjoint) == []


def test_accumulations_keep_their_order():
    builder = Builder("sums")
    p = builder.input("p", F64, (2,))
    m = builder.input("m", DType.BOOL, (2,))
    z = builder.pointwise("mul", p, p, name="z")
    total = builder.declare("total", F64, (2,))
    for name in (p, z, p):
        operands = (builder.access(m), builder.access(name), Const(0.0, F64))
        chosen = builder.assign("select", operands, (2,), F64)
        builder.accumulate(total, template("copy"), (builder.access(chosen),), (2,), (0,), None)
    program = verify(builder.finish((total,)))
    found = verify(guarded(program, {"p", "z", total}))
    kinds: list[type[Equation]] = [type(equation) for equation in found.equations]
    assert guards_of(found) == ["z"]
    assert kinds == [type(equation) for equation in program.equations]


def test_the_guarded_template_is_recognised_by_its_form():
    for base in (template("exp"), template("mul"), integer_power(3)):
        assert guard(base).arity == base.arity + 1
        assert under_guard(guard(base)) is base
        assert under_guard(base) is None
    assert under_guard(template("select")) is None


# --- what comes of it ---------------------------------------------------------------------------------------


CASES: dict[str, tuple[Callable[..., object], Callable[[np.ndarray], np.ndarray]]] = {
    "data that is missing": (
        lambda p: np.sum(np.where(KEPT, p * HOLES, 0.0)),
        lambda p: np.where(KEPT, HOLES, 0.0),
    ),
    "through a chain": (
        lambda p: np.sum(np.where(KEPT, np.exp(p) * (p - HOLES) * p, 0.0)),
        lambda p: np.where(KEPT, np.exp(p) * ((p - HOLES) * p + p + (p - HOLES)), 0.0),
    ),
    "the other arm": (
        lambda p: np.sum(np.where(~KEPT, 2.0 * p, p * HOLES)),
        lambda p: np.where(KEPT, HOLES, 2.0),
    ),
    "nested choices": (
        lambda p: np.sum(np.where(~KEPT, 0.0, np.where(p > 1, p * HOLES, p * p))),
        lambda p: np.where(KEPT, np.where(p > 1, HOLES, 2 * p), 0.0),
    ),
    "a power and a logarithm": (
        lambda p: np.sum(np.where(p > 0, p**0.5 * np.log(p), 0.0)),
        lambda p: np.where(p > 0, (0.5 * np.log(np.abs(p)) + 1) / np.sqrt(np.abs(p)), 0.0),
    ),
    "a sum over rows that are masked": (
        lambda p: np.sum(np.where(KEPT, np.sum(np.outer(HOLES, np.ones(4)) * p, axis=1), 0.0)),
        lambda p: np.full(4, HOLES[KEPT].sum()),
    ),
    "a matrix times a vector": (
        lambda p: np.sum(np.where(KEPT, np.outer(HOLES, np.ones(4)) @ p, 0.0)),
        lambda p: np.full(4, HOLES[KEPT].sum()),
    ),
    "overflow": (
        lambda p: np.sum(np.where(p < 1, p * np.exp(np.exp(10 * p)), 0.0)),
        lambda p: np.where(
            p < 1, np.exp(np.exp(10 * np.minimum(p, 0.6))) * (1 + 10 * p * np.exp(10 * np.minimum(p, 0.6))), 0
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_taken_arms(case: str):
    function, expected = CASES[case]
    found = differentiate(function, target="interpret")
    np.testing.assert_allclose(quiet(found.grad, P), quiet(expected, P), rtol=1e-12)
    np.testing.assert_array_equal(quiet(found, P), quiet(function, P))


def test_second_derivatives_are_too_in_every_mode():
    function = differentiate(lambda x: np.sum(np.where(x != 0, np.sin(x) / x, 1.0)), target="interpret")
    x = np.array([0.0, 2.0])
    second = -np.sin(2) / 2 - 2 * np.cos(2) / 4 + 2 * np.sin(2) / 8
    np.testing.assert_allclose(quiet(function.hessian, x), np.diag([0.0, second]), rtol=1e-12)
    for mode in ("forward", "reverse"):
        program = function.inspect(x).stages.program
        outputs = evaluate(hessian(program, program.inputs, mode=mode), {program.inputs[0]: x})
        np.testing.assert_allclose(quiet(lambda o=outputs: o[-1]), np.diag([0.0, second]), rtol=1e-12)
    _, product = function.hvp((x,), (np.ones(2),))
    np.testing.assert_allclose(product, [0.0, second], rtol=1e-12)


def test_a_guard_may_not_be_computed_from_what_it_guards():
    function = differentiate(lambda x: np.sum(np.where(x * x > 1, x * x, 0.0)), target="interpret")
    np.testing.assert_array_equal(function.grad(np.array([0.5, 2.0])), [0.0, 4.0])
    program = function.inspect(np.ones(2)).stages.program
    verify(gradient(program, program.inputs))
