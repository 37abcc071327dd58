"""The interpreter of the loop IR: order of additions, NumPy's meaning of every dtype, and what it refuses."""

import numpy as np
import pytest
from tests.unit.loop.build import BOOL, F32, F64, I32, SUM, X, element, kernel, loop

from gradc.errors import ArgumentError, CompilerBug, GradcError, GuardFailed
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Carry,
    CheckIndices,
    For,
    Let,
    Library,
    Parameter,
    Product,
    Require,
    Store,
    Update,
    apply,
    convert,
    load,
    number,
    var,
)
from gradc.ir.types import DType

ARRAY = Allocate("y", F64, (var("n"),))


def test_sums_are_added_in_loop_order():
    values = np.array([1.0, 1e16, -1e16, 1.0])
    total, squares = evaluate(SUM, {"x": values})
    assert total == ((1.0 + 1e16) - 1e16) + 1.0
    np.testing.assert_array_equal(squares, values * values)


def test_empty_arrays():
    total, squares = evaluate(SUM, {"x": np.empty(0)})
    assert total == 0.0
    assert squares.shape == (0,)


@pytest.mark.parametrize(("op", "expected"), [("sum", 4.0), ("prod", -12.0), ("max", 3.0), ("min", -2.0)])
def test_reductions(op: str, expected: float):
    start = {"sum": 0.0, "prod": 1.0, "max": float("-inf"), "min": float("inf")}[op]
    body = kernel(Let("y", number(start, F64)), loop(Update("y", op, element())))
    assert evaluate(body, {"x": np.array([3.0, 2.0, -2.0, 1.0])})[0] == expected


def test_an_iteration_hands_a_number_to_the_next():
    body = kernel(
        Let("before", number(0.0, F64)),
        Allocate("y", F64, (var("n"),)),
        loop(
            Store("y", (var("i"),), apply("sub", element(), var("before", F64))),
            Carry("before", element()),
        ),
    )
    np.testing.assert_array_equal(evaluate(body, {"x": np.array([3.0, 2.0, 4.0])})[0], [3.0, -1.0, 2.0])


def test_accumulation_into_memory():
    body = kernel(
        Allocate("y", F64, (number(2),), zeroed=True), loop(AddTo("y", (number(1),), "sum", element()))
    )
    np.testing.assert_array_equal(evaluate(body, {"x": np.array([1.0, 2.0])})[0], [0.0, 3.0])


def test_integers_wrap_as_numpy_does():
    body = kernel(Let("y", apply("add", number(2**31 - 1, I32), number(1, I32))), parameters=())
    wide = apply("add", var("n", I32), var("n", I32))
    assert evaluate(body, {})[0] == np.int32(-(2**31))
    twice = kernel(Let("y", wide), parameters=(Parameter("n", I32, 0),))
    result = evaluate(twice, {"n": np.int32(2**30)})[0]
    assert result == np.int32(-(2**31))
    assert result.dtype == np.int32


def test_float32_stays_float32():
    third = apply("div", number(1.0, F32), number(3.0, F32))
    (result,) = evaluate(kernel(Let("y", third), parameters=()), {})
    assert result == np.float32(1) / np.float32(3)
    assert result.dtype == np.float32


def test_only_the_chosen_arm_of_a_choice_is_computed():
    safe = apply("select", apply("gt", var("n"), number(3)), load("x", (number(3),), F64), number(0.0, F64))
    assert evaluate(kernel(Let("y", safe)), {"x": np.ones(2)})[0] == 0.0


@pytest.mark.parametrize(
    ("left_t", "right_t", "shapes"),
    [
        (False, False, ((2, 3), (3, 4))),
        (True, False, ((3, 2), (3, 4))),
        (False, True, ((2, 3), (4, 3))),
        (True, True, ((3, 2), (4, 3))),
    ],
)
def test_products(left_t: bool, right_t: bool, shapes, rng: np.random.Generator):
    a, b = (rng.normal(size=shape) for shape in shapes)
    parameters = (Parameter("a", F64, 2), Parameter("b", F64, 2))
    body = kernel(Product("y", "a", "b", left_t, right_t), parameters=parameters)
    expected = (a.T if left_t else a) @ (b.T if right_t else b)
    np.testing.assert_allclose(evaluate(body, {"a": a, "b": b})[0], expected, rtol=1e-12)


def test_library_operations():
    body = kernel(Library(("y",), "argsort", ("x",), (("axis", 0),)))
    np.testing.assert_array_equal(evaluate(body, {"x": np.array([2.0, 1.0, 2.0])})[0], [1, 0, 2])


def test_requirements_are_checked():
    body = kernel(Require(apply("eq", var("n"), number(2)), "n must be 2"), Let("y", number(0.0, F64)))
    assert evaluate(body, {"x": np.ones(2)}) == (0.0,)
    with pytest.raises(GuardFailed, match="n must be 2"):
        evaluate(body, {"x": np.ones(3)})


@pytest.mark.parametrize(("index", "fits"), [(-3, True), (2, True), (3, False), (-4, False)])
def test_indices_are_checked(index: int, fits: bool):
    table = Parameter("t", DType.INT64, 1)
    body = kernel(CheckIndices("t", number(3)), Let("y", number(0.0, F64)), parameters=(table,))
    if fits:
        evaluate(body, {"t": np.array([index])})
    else:
        with pytest.raises(IndexError, match="out of range"):
            evaluate(body, {"t": np.array([index])})


WRONG = {
    "outside": (
        kernel(ARRAY, loop(Store("y", (apply("add", var("i"), number(1)),), element()))),
        "outside shape",
    ),
    "negative": (kernel(Let("y", load("x", (number(-1),), F64))), "outside shape"),
    "not written": (kernel(ARRAY, Let("z", load("y", (number(0),), F64))), "read before it is written"),
    "result in part": (
        kernel(ARRAY, For("i", number(1), (Store("y", (var("i"),), element()),))),
        "every element",
    ),
    "operand in part": (kernel(ARRAY, Library(("z",), "argsort", ("y",), (("axis", 0),))), "every element"),
    "argument": (kernel(loop(Store("x", (var("i"),), element())), results=("x",)), "was not allocated"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_compiled_code_would_not_notice(case: str):
    body, message = WRONG[case]
    with pytest.raises(CompilerBug, match=message):
        evaluate(body, {"x": np.ones(2)})


def test_too_many_steps_are_refused():
    with pytest.raises(GradcError, match="stopped after 100 statements"):
        evaluate(SUM, {"x": np.ones(60)}, limit=100)
    evaluate(SUM, {"x": np.ones(48)}, limit=100)


@pytest.mark.parametrize("value", [np.ones(2, np.float32), np.ones((2, 2)), 1.0])
def test_arguments_of_another_type_are_refused(value):
    with pytest.raises(ArgumentError, match="k takes float64 with 1 axes"):
        evaluate(SUM, {"x": value})


def test_conversions():
    body = kernel(
        Let("y", convert(var("v", F64), DType.INT64)),
        Let("b", convert(var("v", F64), BOOL)),
        parameters=(Parameter("v", F64, 0),),
        results=("y", "b"),
    )
    integer, flag = evaluate(body, {"v": -2.7})
    assert (integer, flag) == (-2, True)
    assert (integer.dtype, flag.dtype) == (np.int64, np.bool_)
    assert X.name == "x"
