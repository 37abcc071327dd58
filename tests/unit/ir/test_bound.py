"""The table of sensitivities row by row, and error bounds of small programs."""

import mpmath
import numpy as np
import pytest
from tests.properties.bounds import assert_bounded, excess

from gradc.autodiff.rules import RULES
from gradc.errors import GradcError
from gradc.ir.extents import symbol
from gradc.ir.functions import FUNCTIONS, Result
from gradc.ir.index.bound import Bounded, BoundedNumbers
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Affine, Const, Lookup, Program, Reduce, fixed
from gradc.ir.index.numbers import HighPrecision, MachineNumbers
from gradc.ir.index.rounding import DOUBTS
from gradc.ir.index.sensitivity import SENSITIVITY
from gradc.ir.index.templates import template
from gradc.ir.types import DType

F64, F32, I64, BOOL = DType.F64, DType.F32, DType.INT64, DType.BOOL
N = symbol("n")
ORDERS = ("polygamma", "sinc_derivative")  # whose first operand is a small integer
REAL = sorted(
    name for name, row in SENSITIVITY.items() if FUNCTIONS[name].result not in (Result.BOOL, Result.LOGICAL)
)


def points(name: str, count: int, dtype: DType) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    drawn = [rng.uniform(low, high, count).astype(dtype.numpy) for low, high in RULES[name].domain]
    if name in ORDERS:
        drawn[0] = np.rint(drawn[0])
    return drawn


def oracle(name: str, operands: list[np.ndarray]) -> np.ndarray:
    with mpmath.workdps(50):
        exact = [np.array([mpmath.mpf(float(x)) for x in each]) for each in operands]
        return HighPrecision(50).function(template(name))(*exact)


def bounded(name: str, operands: list[np.ndarray], errors: list[float]) -> Bounded:
    pairs = [Bounded(x, np.full(x.shape, e)) for x, e in zip(operands, errors, strict=True)]
    with np.errstate(all="ignore"):
        return BoundedNumbers()._step(name, pairs)


def test_every_function_has_one_row():
    assert SENSITIVITY.keys() | DOUBTS.keys() == FUNCTIONS.keys()
    assert not SENSITIVITY.keys() & DOUBTS.keys()


@pytest.mark.parametrize("count", [30, pytest.param(3000, marks=pytest.mark.full)])
@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize("name", REAL)
def test_functions_are_as_accurate_as_their_rows_say(name: str, dtype: DType, count: int):
    operands = points(name, count, dtype)
    found = bounded(name, operands, [0.0] * len(operands))
    assert excess(found.value, found.error, oracle(name, operands)) <= 1


@pytest.mark.parametrize("width", [1e-2, 1e-7])
@pytest.mark.parametrize("name", REAL)
def test_slopes_bound_differences(name: str, width: float):
    """The function at other points of the error box lies within what the row passes on."""
    operands = points(name, 20, F64)
    varying = [k for k in range(len(operands)) if not (name in ORDERS and k == 0)]
    errors = [width if k in varying else 0.0 for k in range(len(operands))]
    found = bounded(name, operands, errors)
    rng = np.random.default_rng(5)
    for _ in range(3):
        shifts = [e * rng.choice((-1.0, -0.5, 0.5, 1.0), 20) for e in errors]
        moved = [x + shift for x, shift in zip(operands, shifts, strict=True)]
        assert excess(found.value, found.error, oracle(name, moved)) <= 1


SMOOTH = [name for name in REAL if not RULES[name].kink.startswith(("0 everywhere", "1 in both"))]


@pytest.mark.parametrize("name", SMOOTH)
def test_slopes_are_those_of_the_function(name: str):
    """Moving one operand by its error changes the function by nearly all that the row passes on."""
    width = 1e-5
    operands = points(name, 10, F64)
    for k in range(len(operands)):
        if (name in ORDERS and k == 0) or (name, k) in (("copysign", 1), ("heaviside", 0)):
            continue
        errors = [width if at == k else 0.0 for at in range(len(operands))]
        error = bounded(name, operands, errors).error - bounded(name, operands, [0.0] * len(operands)).error
        start = oracle(name, operands)
        ends = [oracle(name, [x + s * e for x, e in zip(operands, errors, strict=True)]) for s in (-1, 1)]
        change = np.max(
            [[float(abs(a - b)) for a, b in zip(end, start, strict=True)] for end in ends], axis=0
        )
        np.testing.assert_allclose(change, error, rtol=1e-2, atol=1e-9)


# --- where a function jumps or ends -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "operands", "errors", "others"),
    [
        ("floor", [2.0], [0.1], [[1.95], [2.05]]),
        ("rint", [0.5], [0.1], [[0.45], [0.55]]),
        ("sign", [0.0], [0.1], [[-0.1], [0.1]]),
        ("mod", [6.0, 2.0], [0.1, 0.1], [[5.95, 2.05], [6.05, 1.95]]),
        ("fmod", [6.0, 2.0], [0.1, 0.1], [[5.95, 2.05], [6.05, 1.95]]),
        ("floor_divide", [6.0, 2.0], [0.1, 0.1], [[5.9, 2.1], [6.1, 1.9]]),
        ("sqrt", [0.01], [0.1], [[0.0], [0.11]]),
        ("cbrt", [0.01], [0.1], [[-0.09], [0.11]]),
        ("abs", [0.01], [0.1], [[-0.09], [0.11]]),
        ("copysign", [1.0, 0.01], [0.1, 0.1], [[1.1, -0.05], [0.9, 0.1]]),
        ("heaviside", [0.0, 3.0], [0.1, 0.1], [[0.0, 3.1], [-0.1, 3.0], [0.1, 3.0]]),
        ("maximum", [1.0, 1.05], [0.1, 0.01], [[1.1, 1.05], [0.9, 1.06]]),
        ("fmin", [1.0, 1.05], [0.1, 0.01], [[1.1, 1.04], [0.9, 1.06]]),
        ("arctan2", [0.01, -1.0], [0.1, 0.1], [[-0.05, -1.0], [0.05, -1.0]]),
        ("hypot", [0.0, 0.0], [0.1, 0.1], [[0.1, -0.1]]),
        ("lt", [1.0, 1.05], [0.1, 0.0], [[1.1, 1.05], [0.9, 1.05]]),
        ("eq", [1.0, 1.0], [0.1, 0.1], [[1.1, 1.0], [1.0, 1.0]]),
    ],
)
def test_jumps_are_within_the_bound(name, operands, errors, others):
    found = bounded(name, [np.array([x]) for x in operands], errors)
    assert np.isfinite(found.error)
    for other in others:
        assert excess(found.value, found.error, oracle(name, [np.array([x]) for x in other])) <= 1


@pytest.mark.parametrize(
    ("name", "operands", "errors"),
    [
        ("div", [1.0, 0.01], [0.0, 0.1]),
        ("reciprocal", [0.01], [0.1]),
        ("log", [0.01], [0.1]),
        ("log1p", [-0.99], [0.1]),
        ("arctanh", [0.99], [0.1]),
        ("tan", [1.57], [0.1]),
        ("gamma", [-1.01], [0.1]),
        ("polygamma", [1.0, -1.01], [0.0, 0.1]),
        ("polygamma", [1.0, 1.5], [0.1, 0.0]),
        ("erfinv", [0.99], [0.1]),
        ("logit", [0.01], [0.1]),
        ("exp", [1000.0], [0.0]),
    ],
)
def test_poles_and_overflow_have_no_bound(name, operands, errors):
    assert bounded(name, [np.array([x]) for x in operands], errors).error == np.inf


@pytest.mark.parametrize(
    ("name", "operands"),
    [("add", [2.0, -np.inf]), ("exp", [-np.inf]), ("maximum", [2.0, -np.inf]), ("mul", [0.0, 3.0])],
)
def test_exact_limits_are_exact(name, operands):
    assert bounded(name, [np.array([x]) for x in operands], [0.0] * len(operands)).error == 0


def test_an_error_below_the_last_place_may_still_cross_a_jump():
    assert bounded("floor", [np.array([3.0])], [1e-17]).error >= 1


def test_comparisons_are_certain_outside_the_errors():
    assert bounded("lt", [np.array([1.0]), np.array([1.5])], [0.1, 0.1]).error == 0
    assert bounded("eq", [np.array([np.inf]), np.array([np.inf])], [0.0, 0.0]).error == 0


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_truth_is_in_doubt_where_it_may_change(name: str):
    function = MachineNumbers().function(template(name))
    for a, b, doubt_a, doubt_b in np.ndindex(2, 2, 2, 2):
        first, second = np.array([a], bool), np.array([b], bool)
        pairs = [Bounded(first, np.array([1.0 * doubt_a])), Bounded(second, np.array([1.0 * doubt_b]))]
        found = BoundedNumbers()._step(name, pairs)
        seen = {
            bool(function(first ^ x, second ^ y)[0])
            for x in {False, bool(doubt_a)}
            for y in {False, bool(doubt_b)}
        }
        assert found.error[0] == (len(seen) > 1)


# --- programs -----------------------------------------------------------------------------------------------


def reduced(op: str, dtype: DType = F64, acc: DType | None = None) -> Program:
    build = Builder()
    x = build.input("x", dtype, (N,))
    root = build.pointwise("sqrt", x)
    reduce = Reduce(op, acc or dtype)
    total = build.assign("copy", (build.access(root),), (N,), dtype, rank=0, reduce=reduce)
    return build.finish((total,))


@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize("op", ["sum", "prod", "max", "min"])
def test_reductions(op: str, dtype: DType):
    x = np.random.default_rng(1).uniform(0.5, 2.0, 300)
    (relative,) = assert_bounded(reduced(op, dtype), {"x": x})
    assert relative < 1000 * np.finfo(dtype.numpy).eps


def test_a_sum_is_bounded_in_every_order():
    drawn = np.random.default_rng(2).normal(size=2000) * 10.0 ** (np.arange(2000) % 5)
    values = drawn.astype(np.float32)
    build = Builder()
    x = build.input("x", F32, (N,))
    total = build.assign("copy", (build.access(x),), (N,), F32, rank=0, reduce=Reduce("sum", F32))
    _, (bound,) = evaluate(build.finish((total,)), {"x": values}, bound=True)
    true = sum(map(mpmath.mpf, map(float, values)), mpmath.mpf(0))
    for order in (values, values[::-1], np.sort(values)):
        assert excess(np.cumsum(order, dtype=np.float32)[-1], bound, true) <= 1
    assert abs(np.cumsum(np.sort(values), dtype=np.float32)[-1] - float(true)) > 1e-5 * float(bound)


def test_wide_accumulators_have_a_smaller_bound():
    x = {"x": np.random.default_rng(1).uniform(0.5, 2.0, 3000).astype(np.float32)}
    (_, (narrow,)), (_, (wide,)) = (evaluate(reduced("sum", F32, acc), x, bound=True) for acc in (F32, F64))
    assert wide < narrow / 100


def test_accumulation_counts_the_additions():
    build = Builder()
    x, table = build.input("x", F32, (N,)), build.input("table", I64, (N,))
    out = build.declare("y", F32, (3,))
    build.accumulate(out, template("sqrt"), (Access(x, (0,)),), (N,), (Lookup(table, (0,)),))
    build.accumulate(out, template("copy"), (Const(0.1, F32),), (3,), (0,))
    rng = np.random.default_rng(4)
    inputs = {"x": rng.uniform(1.0, 2.0, 500).astype(np.float32), "table": rng.integers(-2, 1, 500)}
    program = build.finish((out,))
    assert_bounded(program, inputs)
    _, (bounds,) = evaluate(program, inputs, bound=True)
    count = np.bincount(inputs["table"] % 3, minlength=3)
    size = 1.5 * count
    assert np.all(bounds < size * (count + 4) * 2.0**-23)
    assert np.all(bounds > 0.1 * size * count * 2.0**-24)


@pytest.mark.parametrize("rank", [0, 1])
def test_wide_terms_of_a_narrow_tensor_are_rounded_once_each(rank: int):
    build = Builder()
    shape = (3,) * rank
    x = build.input("x", F64, shape)
    out = build.declare("y", F32, shape)
    build.accumulate(out, template("copy"), (build.access(x),), shape, tuple(range(rank)))
    inputs = {"x": np.full(shape, 0.1)}
    program = build.finish((out,))
    assert_bounded(program, inputs)
    (value,), (bound,) = evaluate(program, inputs, bound=True)
    assert np.all(bound >= np.abs(np.float64(value) - 0.1))


def test_constants_and_literals_may_have_no_number_of_their_dtype():
    build = Builder()
    tenth = build.assign("copy", (Const(0.1, F32),), (), F32)
    _, (bound,) = evaluate(build.finish((tenth,)), {}, bound=True)
    assert bound == pytest.approx(abs(float(np.float32(0.1)) - 0.1))


def test_overflow_of_a_sum_has_no_bound():
    build = Builder()
    x = build.input("x", F32, (N,))
    out = build.declare("y", F32, (1,))
    build.accumulate(out, template("copy"), (Access(x, (0,)),), (N,), (fixed(0),))
    total = build.assign("copy", (build.access(x),), (N,), F32, rank=0, reduce=Reduce("sum", F32))
    _, bounds = evaluate(build.finish((out, total)), {"x": np.full(3, 2e38, np.float32)}, bound=True)
    assert [float(np.max(bound)) for bound in bounds] == [np.inf, np.inf]


@pytest.mark.parametrize("reverse", [False, True])
def test_recurrences_gather_rounding_from_step_to_step(reverse: bool):
    build = Builder()
    a, b = build.input("a", F32, (N, 2)), build.input("b", F32, (N, 2))
    out = build.call("affine_scan", (a, b), {"axis": 0, "reverse": reverse})
    rng = np.random.default_rng(6)
    relative = assert_bounded(
        build.finish(out), {"a": rng.uniform(0.9, 1.1, (200, 2)), "b": rng.uniform(0.5, 1.0, (200, 2))}
    )
    assert max(relative) < 1e-3


def test_a_choice_in_doubt_covers_both_arms():
    build = Builder()
    x = build.input("x", F64, (N,))
    root = build.pointwise("sqrt", x)
    two = build.pointwise("square", root)
    mask = build.pointwise("gt", two, Const(2.0, F64))
    out = build.pointwise("select", mask, Const(1.0, F64), Const(-4.0, F64))
    _, (doubt, bound) = evaluate(build.finish((mask, out)), {"x": np.array([2.0, 3.0])}, bound=True)
    assert list(doubt) == [1.0, 0.0]
    assert bound[0] == pytest.approx(5.0)
    assert bound[1] == 0.0


@pytest.mark.parametrize("op", ["max", "min"])
def test_the_winner_is_certain_where_it_wins_clearly(op: str):
    build = Builder()
    x = build.input("x", F64, (3, N))
    root = build.pointwise("square", build.pointwise("sqrt", x))
    best = build.assign("copy", (build.access(root),), (3, N), F64, rank=1, reduce=Reduce(op, F64))
    own, other = Access(best, (0,)), Access(best, (Affine(((-1, 0),), 2),))
    equal = [build.assign("eq", (build.access(root), each), (3, N), BOOL) for each in (own, other)]
    row = [2.0, 3.0, 4.0]
    near = [2.0, np.nextafter(2.0, 3.0), 3.0] if op == "min" else [1.0, 2.0, np.nextafter(2.0, 1.0)]
    _, (aligned, crossed) = evaluate(
        build.finish(tuple(equal)), {"x": np.array([near, row, row])}, bound=True
    )
    assert np.all(aligned[1:] == 0)
    assert np.sum(aligned[0]) == 2
    assert np.all(crossed[1] == 0)  # the row that is compared with itself


def test_an_element_at_a_position_in_doubt_has_no_bound():
    build = Builder()
    x = build.input("x", F64, (N,))
    where = build.pointwise("floor", build.pointwise("square", build.pointwise("sqrt", x)))
    index = build.assign("copy", (build.access(where),), (N,), I64)
    out = build.assign("copy", (Access(x, (Lookup(index, (0,)),)),), (N,), F64)
    _, (bound,) = evaluate(build.finish((out,)), {"x": np.array([0.5, 2.0, 1.5])}, bound=True)
    assert list(bound) == [0.0, np.inf, 0.0]


@pytest.mark.parametrize("largest", [False, True])
def test_orders_are_certain_where_intervals_are_apart(largest: bool):
    build = Builder()
    x = build.input("x", F64, (2, N))
    root = build.pointwise("square", build.pointwise("sqrt", x))
    (order,) = build.call("argsort", (root,), {"axis": 1})
    (winner,) = build.call("arg_extreme", (root,), {"axis": 1, "largest": largest})
    near = [3.0, 1.0, np.nextafter(3.0, 4.0), np.nextafter(1.0, 2.0)]
    program = build.finish((order, winner))
    _, (sorting, choosing) = evaluate(program, {"x": np.array([[3.0, 1.0, 2.0, 4.0], near])}, bound=True)
    assert np.all(sorting[0] == 0)
    assert np.all(sorting[1] == np.inf)
    assert list(choosing) == [0.0, np.inf]


# --- library operations -------------------------------------------------------------------------------------


def matrix(dtype: DType, size: int = 5) -> np.ndarray:
    return np.random.default_rng(8).normal(size=(2, size, size)).astype(dtype.numpy)


@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize("divisor", [1.0, 3.0])
@pytest.mark.parametrize("operation", ["solve", "inv", "solve_triangular"])
def test_solved_systems(operation: str, dtype: DType, divisor: float):
    """Exact operands, and operands that have been rounded, whose errors count as well."""
    build = Builder()
    a, b = build.input("a", dtype, (2, N, N)), build.input("b", dtype, (2, N, 3))
    if divisor != 1:
        third = Const(divisor, dtype)
        a, b = build.pointwise("div", a, third), build.pointwise("div", b, third)
    ins = (a,) if operation == "inv" else (a, b)
    attributes = {"lower": True, "transposed": True} if operation == "solve_triangular" else {}
    program = build.finish(build.call(operation, ins, attributes))
    left, right = matrix(dtype), matrix(dtype)[..., :3].copy()
    (value,), (bound,) = evaluate(program, {"a": left, "b": right}, bound=True)
    with mpmath.workdps(50):
        for at in range(2):
            wide = np.tril(left[at]).T if operation == "solve_triangular" else left[at]
            system = mpmath.matrix(wide.tolist()) / divisor
            rhs = mpmath.eye(5) if operation == "inv" else mpmath.matrix(right[at].tolist()) / divisor
            true = mpmath.inverse(system) * rhs
            exact = [[true[i, j] for j in range(rhs.cols)] for i in range(5)]
            assert excess(value[at], bound[at], np.array(exact)) <= 1
    solved = np.tril(left) if operation == "solve_triangular" else left
    condition = np.max(np.linalg.cond(solved))
    assert np.max(bound) < 500 * condition * np.finfo(dtype.numpy).eps * np.max(np.abs(value))


def test_what_has_no_row_is_unavailable():
    build = Builder()
    a = build.input("a", F64, (N, N))
    (out,) = build.call("det", (a,))
    _, (bound,) = evaluate(build.finish((out,)), {"a": np.eye(3)}, bound=True)
    assert bound == np.inf


def test_only_machine_numbers_have_bounds():
    with pytest.raises(GradcError, match="only machine numbers"):
        evaluate(reduced("sum"), {"x": np.ones(2)}, numbers="mp", bound=True)  # type: ignore[call-overload]
