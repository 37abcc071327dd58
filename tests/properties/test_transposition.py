"""Random programs: both modes are transposes of each other, agree with differences, and can be iterated."""

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from tests.properties.random_programs import (
    STEPS,
    Case,
    accumulation,
    assembly,
    cases,
    contraction,
    elementwise,
    flattened,
    gather,
    linear_algebra,
    position,
    reduction,
    scan,
    view,
)

from gradc.autodiff.batch import batch, batched_names
from gradc.autodiff.jacobian import jacobian
from gradc.autodiff.jvp import jvp
from gradc.autodiff.vjp import vjp
from gradc.ir.extents import symbol
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Program
from gradc.ir.index.verify import verify

DIFFERENTIABLE = (
    elementwise,
    contraction,
    reduction,
    view,
    gather,
    accumulation,
    assembly,
    scan,
    flattened,
    position,
)


def some(count: int) -> Callable:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=count, suppress_health_check=slow)


def inner(first: list[np.ndarray], second: list[np.ndarray]) -> float:
    return sum(float(np.sum(a * b)) for a, b in zip(first, second, strict=True))


def added(outer: Program, program: Program) -> tuple[str, ...]:
    return outer.inputs[len(program.inputs) :]


def assert_transposed(
    case: Case, program: Program, inputs: dict[str, np.ndarray], wrt: tuple[str, ...]
) -> None:
    """``<u, J v> = <J^T u, v>``, and neither mode changes the values."""
    forward, reverse = verify(jvp(program, wrt)), verify(vjp(program, wrt))
    count = len(program.outputs)
    v = case.values(program, wrt)
    pushed = evaluate(forward, {**inputs, **dict(zip(added(forward, program), v, strict=True))})
    u = case.values(program, program.outputs)
    pulled = evaluate(reverse, {**inputs, **dict(zip(added(reverse, program), u, strict=True))})
    for value, same in zip(pushed[:count], pulled[:count], strict=True):
        np.testing.assert_array_equal(value, same)
    left, right = inner(u, list(pushed[count:])), inner(list(pulled[count:]), v)
    parts = [np.abs(a * b).sum() for a, b in zip(u, pushed[count:], strict=True)]
    parts += [np.abs(a * b).sum() for a, b in zip(v, pulled[count:], strict=True)]
    assume(np.isfinite(sum(parts)) and sum(parts) < 1e8)
    assert left == pytest.approx(right, rel=1e-9, abs=1e-9 * (1 + sum(parts)))


def check_transposition(case: Case) -> None:
    assert_transposed(case, case.program, case.inputs, case.wrt)


def check_second_order(case: Case) -> None:
    pullback = vjp(case.program, case.wrt)
    extra = added(pullback, case.program)
    inputs = {**case.inputs, **dict(zip(extra, case.values(pullback, extra), strict=True))}
    assert_transposed(case, pullback, inputs, (*case.wrt, *extra))


def check_differences(case: Case) -> None:
    """In 40 digits a difference quotient has 25 right digits; so has the derivative if it is right."""
    assume(case.smooth and not case.library)
    program, wrt = case.program, case.wrt
    forward = jvp(program, wrt)
    v = case.values(program, wrt)
    tangents = dict(zip(added(forward, program), v, strict=True))
    exact = evaluate(forward, {**case.inputs, **tangents}, numbers="mp", digits=40)[len(program.outputs) :]
    with mpmath.workdps(40):
        step = mpmath.mpf(10) ** -13

        def at(sign: int) -> tuple:
            moved = {
                name: case.inputs[name] + sign * step * change for name, change in zip(wrt, v, strict=True)
            }
            return evaluate(program, {**case.inputs, **moved}, numbers="mp", digits=40)

        for derivative, up, down in zip(exact, at(1), at(-1), strict=True):
            error = np.abs((up - down) / (2 * step) - derivative)
            assert np.all(error <= 1e-20 * (1 + np.abs(derivative)) * 10)


def check_batch(case: Case) -> None:
    """A batch equals a Python loop; half of the inputs are batched."""
    program, chosen = case.program, case.wrt[: (len(case.wrt) + 1) // 2]
    batched = verify(batch(program, chosen, symbol("s"), broadcast_outputs=True))
    names = batched_names(program, chosen)
    plain = verify(batch(program, chosen, symbol("s")))
    stacks = {name: np.random.default_rng(5).normal(size=(3, *case.inputs[name].shape)) for name in chosen}
    found = evaluate(batched, {**case.inputs, **stacks})
    bare = evaluate(plain, {**case.inputs, **stacks})
    rows = [
        evaluate(program, {**case.inputs, **{name: s[row] for name, s in stacks.items()}}) for row in range(3)
    ]
    for at, name in enumerate(program.outputs):
        expected = np.stack([row[at] for row in rows])
        np.testing.assert_allclose(found[at], expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(bare[at], found[at] if name in names else found[at][0])


def check_jacobian(case: Case) -> None:
    """Both modes equal the pullback applied to one unit vector after the other."""
    program, wrt = case.program, case.wrt
    pullback = vjp(program, wrt, program.outputs[:1])
    (seed,) = added(pullback, program)
    shape = np.shape(evaluate(program, case.inputs)[0])
    assume(np.prod(shape) <= 24)
    rows = []
    for at in range(int(np.prod(shape))):
        unit = np.zeros(shape)
        unit.flat[at] = 1.0
        rows.append(evaluate(pullback, {**case.inputs, seed: unit})[len(program.outputs) :])
    for mode in ("reverse", "forward"):
        found = evaluate(verify(jacobian(program, wrt, mode=mode)), case.inputs)
        for at in range(len(wrt)):
            expected = np.stack([row[at] for row in rows]) if rows else np.zeros((0,))
            leaf = found[len(program.outputs) + at]
            assert leaf.shape == (*shape, *case.inputs[wrt[at]].shape)
            assume(np.all(np.isfinite(expected)))
            scale = 1 + np.abs(expected).max(initial=0)
            np.testing.assert_allclose(leaf.ravel(), expected.ravel(), rtol=1e-8, atol=1e-9 * scale)


CHECKS = (check_transposition, check_second_order, check_differences, check_batch, check_jacobian)


@given(cases())
@some(40)
def test_the_two_modes_are_transposes(case: Case):
    check_transposition(case)


@given(cases((linear_algebra, linear_algebra, elementwise, view), length=3))
@some(25)
def test_the_two_modes_are_transposes_through_library_operations(case: Case):
    check_transposition(case)


@given(cases((linear_algebra, scan, flattened), length=2))
@some(15)
def test_library_operations_can_be_differentiated_again(case: Case):
    check_second_order(case)


@given(cases(length=3))
@some(25)
def test_the_derivative_program_can_be_differentiated_again(case: Case):
    check_second_order(case)


@given(cases(DIFFERENTIABLE, length=4))
@some(25)
def test_derivatives_equal_differences_in_high_precision(case: Case):
    check_differences(case)


@given(cases())
@some(40)
def test_a_batch_equals_a_loop(case: Case):
    check_batch(case)


@given(cases(length=4))
@some(25)
def test_jacobians_of_both_modes_equal_stacked_pullbacks(case: Case):
    check_jacobian(case)


@pytest.mark.full
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_many_random_programs(check: Callable[[Case], None]):
    steps = DIFFERENTIABLE if check is check_differences else STEPS
    given(cases(steps))(some(800)(check))()
