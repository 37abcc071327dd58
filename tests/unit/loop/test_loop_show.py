"""Text of the loop IR."""

import pytest
from tests.unit.loop.build import F32, F64, I32, SUM, element

from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    CheckIndices,
    Clear,
    Convert,
    Library,
    Product,
    Require,
    apply,
    number,
    var,
)
from gradc.ir.loop.show import show, show_expression, show_statement
from gradc.ir.types import DType


def test_whole_kernel():
    assert show(SUM) == (
        "kernel k(x: f64[:]) -> s, y\n"
        "  extent n = x.shape[0]\n"
        "  let s: f64 = 0.0\n"
        "  allocate y: f64[n]\n"
        "  for i < n:\n"
        "    update s = sum(s, x[i])\n"
        "    store y[i] = (x[i] * x[i])\n"
    )


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (apply("sub", apply("sub", var("a"), var("b")), var("c")), "((a - b) - c)"),
        (
            apply("select", var("p", DType.BOOL), number(1.0, F32), number(-0.0, F32)),
            "select(p, f32(1.0), f32(-0.0))",
        ),
        (Convert(element(), F32), "f32(x[i])"),
        (number(7, I32), "i32(7)"),
        (number(float("nan"), F64), "nan"),
    ],
)
def test_expressions(expression, text: str):
    assert show_expression(expression) == text


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (Require(apply("eq", var("n"), number(3)), "three's"), 'require (n == 3): "three\'s"'),
        (CheckIndices("t", var("n")), "check t < n"),
        (Allocate("y", F32, (var("n"), number(2)), zeroed=True), "allocate y: f32[n, 2] zeroed"),
        (AddTo("y", (var("i"),), "max", element()), "store y[i] = max(y[i], x[i])"),
        (Clear("y"), "clear y"),
        (Clear("y", var("n"), number(2)), "clear 2 rows of y from n"),
        (Product("c", "a", "b", True, False), "product c = a.T @ b"),
        (
            Library(("q",), "reshape", ("x",), (("shape", (number(2), var("m"))),)),
            "library q = reshape(x; shape=(2, m))",
        ),
        (Library(("s", "l"), "slogdet", ("a",), ()), "library s, l = slogdet(a)"),
    ],
)
def test_statements(statement, text: str):
    assert show_statement(statement) == text
