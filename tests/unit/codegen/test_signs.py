"""What is never negative, and what nobody can tell."""

from collections.abc import Sequence

import pytest
from tests.unit.loop.build import F64, N
from tests.unit.loop.grid_build import BLOCK, ONE, THREAD

from gradc.codegen.numba_cuda import module_text
from gradc.codegen.signs import Signs
from gradc.ir.loop.nodes import (
    Carry,
    Expr,
    For,
    Kernel,
    Launch,
    Let,
    Load,
    Parameter,
    Parts,
    Require,
    Statement,
    Store,
    Stride,
    Update,
    Width,
    apply,
    load,
    number,
    var,
)
from gradc.ir.types import DType

SIZE, P = var("n"), var("p")
ANY = load("table", (THREAD,), DType.INT64)  # an element of an array of integers
AT = var("at")


def sum_of(left: Expr, right: Expr) -> Expr:
    return apply("add", left, right)


def quotient(left: Expr, right: Expr) -> Expr:
    return apply("floor_divide", left, right)


def rest(whole: Expr, count: Expr, size: Expr) -> Expr:
    return apply("sub", whole, apply("mul", count, size))


def is_nonnegative(expression: Expr, *noted: Statement) -> bool:
    signs = Signs(noted)
    for statement in noted:
        signs.note(statement)
    return signs.is_nonnegative(expression)


LAUNCH = Launch("elements_1", "block", "thread", ONE, 32, ())
STRIDE = Stride("p", sum_of(apply("mul", BLOCK, number(32)), THREAD), SIZE, number(64), ())
AFTER = {
    "extent": (SIZE, (N,)),
    "shape": (load("x.shape", (number(0),), DType.INT64), ()),
    "parts": (var("parts"), (Parts("parts", SIZE, ONE, ONE),)),
    "width": (var("width"), (Width("width", SIZE, 32),)),
    "block": (apply("mul", BLOCK, THREAD), (LAUNCH,)),
    "loop": (var("i"), (For("i", SIZE, ()),)),
    "stride": (P, (LAUNCH, STRIDE)),
    "let": (AT, (N, Let("at", sum_of(SIZE, number(255))))),
    "quotient": (quotient(THREAD, SIZE), (N, LAUNCH)),
    "minimum": (apply("minimum", THREAD, SIZE), (N, LAUNCH)),
    "maximum": (apply("maximum", ANY, number(0)), ()),
    "choice": (apply("select", apply("lt", THREAD, SIZE), THREAD, number(0)), (N, LAUNCH)),
    "rest": (rest(P, quotient(P, SIZE), SIZE), (N, LAUNCH, STRIDE)),
    "rest of a name": (rest(P, AT, SIZE), (N, LAUNCH, STRIDE, Let("at", quotient(P, SIZE)))),
    "required": (
        apply("sub", SIZE, number(2)),
        (N, Require(apply("ge", SIZE, number(2)), "too short")),
    ),
}


@pytest.mark.parametrize(("expression", "noted"), AFTER.values(), ids=AFTER)
def test_what_is_never_negative(expression: Expr, noted: Sequence[Statement]):
    assert is_nonnegative(expression, *noted)


BOUND = Let("at", SIZE)
UNKNOWN = {
    "argument": (var("k"), ()),
    "element": (ANY, ()),
    "literal": (number(-1), ()),
    "difference": (apply("sub", SIZE, number(2)), (N,)),
    "another difference": (
        apply("sub", number(2), SIZE),
        (N, Require(apply("ge", SIZE, number(2)), "too short")),
    ),
    "refused unless smaller": (
        apply("sub", SIZE, number(2)),
        (N, Require(apply("le", SIZE, number(2)), "too long")),
    ),
    "sum": (sum_of(SIZE, ANY), (N,)),
    "minimum": (apply("minimum", SIZE, ANY), (N,)),
    "maximum": (apply("maximum", ANY, number(-1)), ()),
    "choice": (apply("select", apply("lt", SIZE, ONE), SIZE, ANY), (N,)),
    "choice of the other": (apply("select", apply("lt", SIZE, ONE), ANY, SIZE), (N,)),
    "negation": (apply("neg", SIZE), (N,)),
    "stride": (P, (LAUNCH, Stride("p", ANY, SIZE, ONE, ()))),
    "let": (AT, (Let("at", ANY),)),
    "bound again": (AT, (N, BOUND, Let("at", ANY))),
    "counted down": (AT, (N, BOUND, Update("at", "sum", number(-1)))),
    "carried": (AT, (N, BOUND, Carry("at", ANY))),
    "rest of another": (rest(P, quotient(THREAD, SIZE), SIZE), (N, LAUNCH, STRIDE)),
    "rest by another": (rest(P, quotient(P, var("m")), SIZE), (N, LAUNCH, STRIDE)),
    "rest of any": (rest(ANY, quotient(ANY, SIZE), SIZE), (N,)),
    "rest of a name bound again": (
        rest(P, AT, SIZE),
        (N, LAUNCH, STRIDE, Let("at", quotient(P, SIZE)), Let("at", SIZE)),
    ),
    "rest of a number of a loop": (
        rest(P, AT, SIZE),
        (N, LAUNCH, STRIDE, Let("at", quotient(P, SIZE)), For("at", SIZE, ())),
    ),
    "number": (var("s", F64), (Let("s", number(1.0, F64)),)),
}


@pytest.mark.parametrize(("expression", "noted"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_may_be_negative(expression: Expr, noted: Sequence[Statement]):
    assert not is_nonnegative(expression, *noted)


def printed(count: Expr, argument: str = "k") -> str:
    """A module whose threads store a count, launched twice."""
    store = Store("y", (THREAD,), apply("add", count, number(1)))
    first, second = (
        Launch(name, "block", "thread", quotient(SIZE, SIZE), 32, (store,))
        for name in ("elements_1", "elements_2")
    )
    extent = type(N)("n", Load("y.shape", (number(0),), DType.INT64))
    parameters = (Parameter("y", DType.INT64, 1), Parameter(argument, DType.INT64, 0))
    return module_text(Kernel("m", parameters, (extent, first, second), ("y",)))


def test_quotients_of_unsigned_numbers():
    text = printed(quotient(THREAD, SIZE))
    assert "from gradc_runtime.cuda_scalars import quotient\n" in text
    assert "y[thread] = quotient(thread, n) + 1" in text
    for name in ("elements_1", "elements_2"):  # on the host there is no such function
        assert f"launch({name}, n // n, 32, y, n)" in text


def test_an_argument_of_that_name():
    text = printed(apply("add", quotient(THREAD, SIZE), var("quotient")), "quotient")
    assert "y[thread] = quotient(thread, n) + quotient_ + 1" in text


def test_other_quotients():
    for count in (quotient(THREAD, var("k")), quotient(var("k"), SIZE), quotient(THREAD, number(16))):
        text = printed(count)
        assert "quotient" not in text
        assert " // " in text.partition("def m(")[0]
