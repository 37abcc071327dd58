"""The verifier of the loop IR finds every fault, and finds them all at once."""

import pytest
from tests.unit.loop.build import BOOL, F32, F64, I32, I64, SUM, X, element, kernel, loop

from gradc.errors import VerifyError
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Carry,
    CheckIndices,
    Extent,
    For,
    Let,
    Library,
    Number,
    Parameter,
    Product,
    Require,
    Store,
    Update,
    apply,
    load,
    number,
    var,
)
from gradc.ir.loop.verify import verify

START = Let("y", number(0.0, F64))
ARRAY = Allocate("y", F64, (var("n"),))
MATRIX = Parameter("a", F64, 2)


def test_a_good_kernel_is_returned():
    assert verify(SUM) is SUM


FAULTS = {
    "read before definition": (kernel(Let("y", var("z", F64))), "z is not defined"),
    "read outside the loop": (
        kernel(loop(Let("y", element())), Let("z", var("y", F64)), results=("z",)),
        "y is not defined",
    ),
    "result of a loop": (kernel(loop(Let("y", element()))), "result y is not defined"),
    "defined twice": (kernel(START, START), "defines y a second time"),
    "parameter twice": (kernel(START, parameters=(X, X)), "defines x a second time"),
    "loop index on a path": (kernel(START, loop(loop())), "defines i a second time"),
    "wrong dtype of a variable": (kernel(START, Let("z", var("y", F32))), "y is read as f32 and is f64"),
    "array as a scalar": (kernel(Let("y", var("x", F64))), "x is read as f64 and is f64[...]"),
    "scalar as an array": (kernel(START, Let("z", load("y", (number(0),), F64))), "y is not an array"),
    "number of indices": (kernel(START, Let("z", load("x", (), F64))), "x has 1 axes and 0 indices"),
    "dtype of an element": (kernel(START, loop(Let("z", element("x", F32)))), "x is f64, the element f32"),
    "dtype of an index": (kernel(START, Let("z", load("x", (number(0, I32),), F64))), "0) is i32, not i64"),
    "no such axis": (kernel(START, Extent("m", load("x.shape", (number(1),), I64))), "x has no such axis"),
    "store into an argument": (
        kernel(START, loop(Store("x", (var("i"),), element()))),
        "x was not allocated",
    ),
    "store before allocation": (kernel(loop(Store("y", (var("i"),), element())), ARRAY), "y is not defined"),
    "store of another dtype": (
        kernel(ARRAY, loop(Store("y", (var("i"),), number(1.0, F32)))),
        "y is f64, the element f32",
    ),
    "update before start": (kernel(loop(Update("s", "sum", element())), START), "s has not been started"),
    "carry before start": (kernel(loop(Carry("s", element())), START), "s has not been started"),
    "carry of an extent": (kernel(START, Carry("n", number(1))), "n is not an accumulator"),
    "update of an array": (kernel(ARRAY, loop(Update("y", "sum", element()))), "y is not an accumulator"),
    "update of an extent": (kernel(START, Update("n", "sum", number(1))), "n is not an accumulator"),
    "update of another dtype": (
        kernel(START, Update("y", "sum", number(1.0, F32))),
        "y is f64, the value f32",
    ),
    "unknown reduction": (
        kernel(ARRAY, loop(AddTo("y", (var("i"),), "mean", element()))),
        "unknown reduction mean",
    ),
    "any of floats": (kernel(START, Update("y", "any", number(1.0, F64))), "any of f64"),
    "extent of a loop": (kernel(START, For("i", number(1.0, F64), ())), "1.0 is f64, not i64"),
    "condition": (kernel(START, Require(var("n"), "")), "n is i64, not bool"),
    "float table": (kernel(START, CheckIndices("x", number(3))), "x holds f64, not indices"),
    "no table": (kernel(START, CheckIndices("t", number(3))), "t is not defined"),
    "mixed dtypes": (
        kernel(Let("y", Apply("add", (number(1.0, F64), number(1.0, F32)), F64))),
        "operands of add of different dtypes: f64, f32",
    ),
    "result dtype": (kernel(Let("y", Apply("lt", (var("n"), var("n")), I64))), "lt of i64 is not i64"),
    "float function of integers": (
        kernel(Let("y", Apply("div", (var("n"), var("n")), I64))),
        "div of i64, which is no floating-point dtype",
    ),
    "logic of numbers": (
        kernel(Let("y", Apply("logical_not", (var("n"),), BOOL))),
        "logical_not of i64, which is not bool",
    ),
    "condition of a choice": (
        kernel(Let("y", Apply("select", (var("n"), var("n"), var("n")), I64))),
        "the condition of select is not bool",
    ),
    "arity": (kernel(Let("y", Apply("add", (var("n"),), I64))), "add is no function of 1 arguments"),
    "unknown function": (kernel(Let("y", Apply("nonsense", (var("n"),), I64))), "nonsense is no function"),
    "literal of another kind": (kernel(Let("y", Number(1, F64))), "1 is not a number of dtype"),
    "bool literal": (kernel(Let("y", Number(True, I64))), "True is not a number of dtype"),
    "product of vectors": (kernel(Product("y", "x", "x", False, False)), "x and x are not matrices"),
    "product of nothing": (kernel(Product("y", "x", "z", False, False), START), "z is not defined"),
    "product of two dtypes": (
        kernel(Product("y", "a", "b", False, False), parameters=(MATRIX, Parameter("b", F32, 2))),
        "operands of dtypes f64 and f32",
    ),
    "unknown operation": (
        kernel(Library(("y",), "nonsense", ("x",), ()), START),
        "unknown operation nonsense",
    ),
    "operand of an operation": (kernel(Library(("y",), "inv", ("z",), ()), START), "z is not defined"),
    "shape of an operand": (kernel(Library(("y",), "inv", ("x",), ()), START), "inv does not take operands"),
    "results of an operation": (
        kernel(Library(("y",), "slogdet", ("a",), ()), parameters=(MATRIX,)),
        "2 results for 1 names",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(fault: str):
    broken, message = FAULTS[fault]
    with pytest.raises(VerifyError) as caught:
        verify(broken)
    assert any(message in problem for problem in caught.value.problems), caught.value.problems


def test_all_faults_are_found_at_once():
    with pytest.raises(VerifyError) as caught:
        verify(kernel(Let("a", var("z", F64)), Let("b", var("w", F64))))
    assert len(caught.value.problems) == 3


def test_sibling_loops_may_share_names():
    body = loop(Let("t", element()), Store("y", (var("i"),), var("t", F64)))
    verify(kernel(ARRAY, body, body))


def test_types_of_library_results():
    """An order is int64 with the rank of its operand, a winner has an axis less, a product a known rank."""
    both = (
        Library(("order",), "argsort", ("a",), (("axis", 1),)),
        Library(("best",), "arg_extreme", ("a",), (("axis", 1), ("largest", True))),
        Library(("flat",), "reshape", ("a",), (("shape", (number(6),)),)),
        Product("square", "a", "a", False, True),
        Library(("sign", "log"), "slogdet", ("square",), ()),
        Let("u", load("order", (number(0), number(0)), I64)),
        Let("v", load("best", (number(0),), I64)),
        Let("w", load("flat", (number(0),), F64)),
        Let("y", apply("mul", var("sign", F64), var("log", F64))),
    )
    verify(kernel(*both, parameters=(MATRIX,)))
