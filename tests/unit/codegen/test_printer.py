"""Printed expressions say what the loop IR says: Python's own parser is the judge."""

import ast
import itertools
import math

import numpy as np
import pytest
from tests.unit.loop.build import BOOL, F32, F64, I32, I64

from gradc.codegen.printer import CALLED, Printer
from gradc.ir.functions import FUNCTIONS, Result
from gradc.ir.loop.nodes import Apply, Convert, Expr, Load, Number, Var, apply, convert, load, number, var
from gradc.ir.types import DType

FLOATS = ("neg", "add", "sub", "mul", "div", "reciprocal", "maximum", "select", "exp", "abs")
BOOLS = ("lt", "eq", "logical_and", "logical_or", "logical_not", "logical_xor")


def text(expression: Expr) -> str:
    return Printer(lambda name: name).text(expression)


def parenthesised(expression: Expr) -> str:
    """The expression with brackets round everything, straight from the inventory's spellings."""
    match expression:
        case Var(name, _):
            return name
        case Number(value, _):
            return f"({value!r})"
        case Load(tensor, indices, _):
            return f"{tensor}[{', '.join(parenthesised(index) for index in indices)}]"
        case Convert(argument, dtype):
            inner = parenthesised(argument)
            return f"(({inner}) != 0)" if dtype is DType.BOOL else f"np.{dtype.value}({inner})"
        case Apply("reciprocal", (argument,), _):
            return f"(1.0 / ({parenthesised(argument)}))"
        case Apply(function, arguments, dtype):
            spelled = FUNCTIONS[function].kernel.format(*(f"({parenthesised(item)})" for item in arguments))
            narrow = dtype is I32 and function in ("neg", "add", "sub", "mul", "abs")
            return f"np.int32({spelled})" if narrow else f"({spelled})"


def trees(depth: int, kind: DType) -> list[Expr]:
    """Every function of the two lists applied to a few arguments, `depth` levels deep."""
    leaves: list[Expr] = (
        [var("a", kind), var("b", kind)] if kind is not BOOL else [var("p", BOOL), var("q", BOOL)]
    )
    if kind is F64:
        leaves.append(number(-2.0, F64))
    if depth == 0:
        return leaves
    floats, bools = trees(depth - 1, F64), trees(depth - 1, BOOL)
    names = BOOLS if kind is BOOL else FLOATS
    found: list[Expr] = []
    for name in names:
        function = FUNCTIONS[name]
        own = floats if kind is not BOOL or function.result is Result.BOOL else bools
        pools = [bools, floats, floats] if name == "select" else [own] * function.arity
        combinations = list(itertools.product(*pools))
        found += [apply(name, *arguments) for arguments in combinations[:: max(1, len(combinations) // 40)]]
    return leaves + found


@pytest.mark.parametrize("kind", [F64, BOOL])
def test_precedence_is_pythons(kind: DType):
    """Two levels of every pair of operators; a mistake in the table of binding strengths changes a tree."""
    checked = trees(2, kind)
    assert len(checked) > 150
    for expression in checked:
        plain = ast.dump(ast.parse(text(expression), mode="eval"))
        assert plain == ast.dump(ast.parse(parenthesised(expression), mode="eval")), text(expression)


def test_every_pair_of_operators():
    a, b, p = var("a", F64), var("b", F64), var("p", BOOL)
    inner: list[Expr] = [apply(name, a, b) for name in ("add", "sub", "mul", "div", "lt", "eq")]
    inner += [apply("neg", a), apply("select", p, a, b), apply("logical_not", p), apply("logical_and", p, p)]
    inner += [apply("logical_or", p, p), apply("logical_xor", p, p), apply("reciprocal", a), convert(p, F64)]
    count = 0
    for outer, left, right in itertools.product(
        ("sub", "div", "lt", "logical_and", "logical_xor"), inner, inner
    ):
        wanted = BOOL if outer.startswith("logical") else F64
        if left.dtype is right.dtype is wanted:
            expression = apply(outer, left, right)
            plain = ast.dump(ast.parse(text(expression), mode="eval"))
            assert plain == ast.dump(ast.parse(parenthesised(expression), mode="eval")), text(expression)
            count += 1
    assert count > 200


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (apply("sub", var("a", F64), apply("sub", var("b", F64), var("c", F64))), "a - (b - c)"),
        (apply("add", apply("mul", var("a", F64), var("b", F64)), var("c", F64)), "a * b + c"),
        (apply("neg", apply("add", var("a", F64), var("b", F64))), "-(a + b)"),
        (apply("reciprocal", apply("add", var("a", F64), number(1.0, F64))), "1.0 / (a + 1.0)"),
        (load("x", (apply("add", var("i"), number(1)), var("j")), F64), "x[i + 1, j]"),
        (apply("expit", apply("neg", var("a", F64))), "expit(-a)"),
    ],
)
def test_no_superfluous_brackets(expression: Expr, expected: str):
    assert text(expression) == expected


SPECIAL = [0.0, -0.0, 1.5, -1.5, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308, 0.1, 1e22]
NUMBERS = [
    *((value, F64) for value in SPECIAL),
    *((float(np.float32(value)) if abs(value) < 1e300 else math.inf, F32) for value in SPECIAL),
    *((value, I64) for value in (0, -1, 2**63 - 1, -(2**63))),
    *((value, DType.UINT64) for value in (0, 2**64 - 1)),
    *((value, I32) for value in (2**31 - 1, -(2**31))),
    *((value, DType.INT8) for value in (-128, 127)),
    *((value, BOOL) for value in (True, False)),
]


@pytest.mark.parametrize(("value", "dtype"), NUMBERS)
def test_numbers_round_trip(value: float, dtype: DType):
    printed = text(number(value, dtype))
    read = np.asarray(eval(printed, {"np": np}), dtype.numpy)
    assert read.tobytes() == np.asarray(value, dtype.numpy).tobytes(), printed


@pytest.mark.parametrize("value", [-1.5, -0.0, -math.inf])
@pytest.mark.parametrize("function", ["add", "sub", "mul", "div", "neg"])
def test_negative_numbers_inside_expressions(value: float, function: str):
    arguments = (var("a", F64), number(value, F64))[: FUNCTIONS[function].arity]
    expression = apply(function, *arguments)
    with np.errstate(divide="ignore"):
        got = eval(text(expression), {"np": np, "a": np.float64(2.5)})
        expected = eval(parenthesised(expression), {"inf": np.inf, "a": np.float64(2.5)})
    assert np.float64(got).tobytes() == np.float64(expected).tobytes()


def test_narrow_integers_are_brought_back():
    """Python and Numba add int32 in wider integers; NumPy, and the IR, wrap at 32 bits."""
    total = apply("add", var("a", I32), var("b", I32))
    assert text(apply("lt", total, number(0, I32))) == "np.int32(a + b) < np.int32(0)"
    assert text(apply("add", var("i"), var("j"))) == "i + j"
    assert text(apply("maximum", var("a", I32), var("b", I32))) == "maximum(a, b)"


def test_conversions():
    assert text(Convert(apply("add", var("a", F64), var("b", F64)), F32)) == "np.float32(a + b)"
    assert text(Convert(var("a", F64), BOOL)) == "(a != 0)"
    assert text(Convert(apply("lt", var("a", F64), var("b", F64)), F64)) == "np.float64(a < b)"


def test_functions_used_are_remembered():
    printer = Printer(lambda name: name)
    printer.text(apply("add", apply("expit", var("a", F64)), apply("sin", number(math.inf, F64))))
    assert set(printer.used) == {"expit", "sin", "np"}


def test_every_spelling_names_its_operands_and_nothing_else():
    for function in FUNCTIONS.values():
        names = ast.walk(ast.parse(function.kernel.format("a", "b", "c"), mode="eval"))
        free = {node.id for node in names if isinstance(node, ast.Name)}
        called = {name.partition(".")[0] for name in CALLED.findall(function.kernel)}
        assert free - called <= {"a", "b", "c"}, function.name
