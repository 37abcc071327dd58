"""Results that become arrays of the caller's: the same numbers, whatever stood in the arrays before."""

import numpy as np
import pytest
from tests.properties.pipeline import plain_function

from gradc.errors import CompilerBug, GuardFailed, VerifyError
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Clear,
    Contract,
    Extent,
    For,
    Kernel,
    Let,
    Library,
    Parameter,
    Product,
    Store,
    load,
    number,
    var,
)
from gradc.ir.loop.show import show
from gradc.ir.loop.verify import verify
from gradc.ir.types import DType
from gradc.passes.loops.into import into

F64 = DType.F64
N, I = var("n"), var("i")  # noqa: E741
X = load("x", (I,), F64)
SIZE = Extent("n", load("x.shape", (number(0),), DType.INT64))
VECTOR, MATRIX = Parameter("x", F64, 1), Parameter("a", F64, 2)
VALUES = {
    "x": np.array([1.0, -2.0, 0.5]),
    "a": np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, 0.5], [1.0, 0.0, 3.0]]),
}
SUM = For("i", N, (AddTo("y", (number(0),), "sum", X),))

KERNELS: dict[str, Kernel] = {
    "an array": Kernel(
        "k",
        (VECTOR,),
        (SIZE, Let("v", number(3.0, F64)), Allocate("y", F64, (N,)), For("i", N, (Store("y", (I,), X),))),
        ("v", "y"),
    ),
    "sums": Kernel("k", (VECTOR,), (SIZE, Allocate("y", F64, (number(2),), zeroed=True), SUM), ("y",)),
    "a matrix product": Kernel("k", (MATRIX,), (Product("y", "a", "a", False, False),), ("y",)),
    "a transposed factor": Kernel("k", (MATRIX,), (Product("y", "a", "a", True, False),), ("y",)),
    "two transposed factors": Kernel("k", (MATRIX,), (Product("y", "a", "a", True, True),), ("y",)),
    "a library's": Kernel("k", (MATRIX,), (Library(("y",), "inv", ("a",), ()),), ("y",)),
    "an argument": Kernel("k", (VECTOR,), (), ("x",)),
}


def outs_of(kernel: Kernel) -> list[Parameter]:
    """The results that are arrays, with their types."""
    values = {p.name: VALUES[p.name] for p in kernel.parameters}
    found = dict(zip(kernel.results, evaluate(kernel, values), strict=True))
    return [Parameter(name, F64, value.ndim) for name, value in found.items() if value.ndim]


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_results_are_written_where_they_are_wanted(kernel: Kernel):
    inputs = {p.name: VALUES[p.name] for p in kernel.parameters}
    expected = dict(zip(kernel.results, evaluate(verify(kernel), inputs), strict=True))
    outs = outs_of(kernel)
    changed = verify(into(kernel, outs))
    given = {
        p.name: np.full(expected[o.name].shape, np.nan) for p, o in zip(_written(changed), outs, strict=True)
    }
    returned = evaluate(changed, {**inputs, **given})
    printed = [np.full_like(array, np.nan) for array in given.values()]
    also_returned = plain_function(changed)(*inputs.values(), *printed)
    for array, again, out in zip(given.values(), printed, outs, strict=True):
        np.testing.assert_array_equal(array, expected[out.name])
        np.testing.assert_array_equal(again, expected[out.name])
    numbers = [value for value in expected.values() if not np.ndim(value)]
    assert list(returned) == list(also_returned) == numbers


def _written(kernel: Kernel) -> list[Parameter]:
    return [parameter for parameter in kernel.parameters if parameter.written]


def test_what_can_be_written_in_place_is():
    texts = {name: show(into(kernel, outs_of(kernel))) for name, kernel in KERNELS.items()}
    assert "kernel k_into(x: f64[:], out y: f64[:]) -> v\n" in texts["an array"]
    assert "clear y" in texts["sums"]
    assert "contract y[i j] = a[k i] * a[k j]" in texts["a transposed factor"]
    copied = [name for name, text in texts.items() if "_out" in text]
    assert copied == ["a library's", "an argument"]
    assert not any("allocate" in text for text in texts.values())


def test_an_array_of_another_shape_is_refused():
    kernel = KERNELS["sums"]
    with pytest.raises(GuardFailed, match="the array for y has another shape"):
        evaluate(into(kernel, outs_of(kernel)), {"x": VALUES["x"], "y": np.empty(3)})


OUT = Parameter("y", F64, 1, written=True)


def test_what_the_caller_left_in_an_array_is_never_read():
    reading = Kernel("k", (OUT,), (AddTo("y", (number(0),), "sum", number(1.0, F64)),), ())
    with pytest.raises(CompilerBug, match="read before it is written"):
        evaluate(reading, {"y": np.zeros(1)})
    partly = Kernel("k", (OUT,), (Store("y", (number(0),), number(1.0, F64)),), ())
    with pytest.raises(CompilerBug, match="before every element of it is written"):
        evaluate(partly, {"y": np.zeros(2)})
    left = Contract("y", "i", "a", "i k", "x", "k", (number(3), number(3)), True)
    with pytest.raises(CompilerBug, match="before every element of it is written"):
        evaluate(Kernel("k", (MATRIX, VECTOR, OUT), (left,), ()), {**VALUES, "y": np.zeros(3)})


def test_rows_that_are_cleared_are_written_and_no_others():
    rows = Clear("y", number(1), number(2))
    given = {"y": np.ones(4)}
    rest = [Store("y", (number(at),), number(7.0, F64)) for at in (0, 3)]
    evaluate(Kernel("k", (OUT,), (*rest, rows), ()), given)
    np.testing.assert_array_equal(given["y"], [7, 0, 0, 7])
    with pytest.raises(CompilerBug, match="before every element of it is written"):
        evaluate(Kernel("k", (OUT,), (rest[0], rows), ()), {"y": np.ones(4)})
    with pytest.raises(VerifyError, match=r"2\.0 is f64, not i64"):
        verify(Kernel("k", (OUT,), (Clear("y", number(1), number(2.0, F64)),), ()))


def test_only_arrays_that_are_given_for_it_are_written():
    with pytest.raises(VerifyError, match="x was not allocated"):
        verify(Kernel("k", (VECTOR,), (Clear("x"),), ()))
    with pytest.raises(VerifyError, match="z is not defined"):
        verify(Kernel("k", (VECTOR,), (Clear("z"),), ()))
    with pytest.raises(VerifyError, match="a number cannot be written"):
        verify(Kernel("k", (Parameter("v", F64, 0, written=True),), (), ()))


def test_names_and_loops_of_the_copy_are_new():
    taken = (Let("y_out", number(1.0, F64)), Let("i", number(2.0, F64)))
    kernel = Kernel("k", (MATRIX,), (*taken, Library(("y",), "inv", ("a",), ())), ("y", "y_out", "i"))
    text = show(verify(into(kernel, [Parameter("y", F64, 2)])))
    assert "store y_out_2[j, k] = y[j, k]" in text


def test_the_header_says_where_the_results_go():
    kernel = Kernel("k", (VECTOR,), KERNELS["an array"].body, ("v", "y"), ("Value.", "gradc"))
    apart = "Written to, and sharing memory with nothing else: y."
    assert into(kernel, [Parameter("y", F64, 1)]).header == ("Value.", apart, "gradc")
