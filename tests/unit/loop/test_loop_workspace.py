"""The memory that kernels work in: what is counted, and for how long."""

import numpy as np
from tests.unit.loop.build import F32, F64, I64, kernel, loop

import gradc
from gradc.ir.loop.nodes import (
    Allocate,
    Extent,
    Library,
    Parameter,
    Parts,
    Product,
    Require,
    Statement,
    Store,
    apply,
    load,
    number,
    var,
)
from gradc.ir.loop.workspace import workspace, workspace_bytes

N, I = var("n"), var("i")  # noqa: E741
X = {"x": np.zeros(5)}


def made(name: str, dtype=F64) -> Allocate:
    return Allocate(name, dtype, (N,))


def filled(name: str, other: str = "x") -> Statement:
    return loop(Store(name, (I,), load(other, (I,), F64)))


def test_an_array_is_there_from_its_making_to_its_last_use():
    chain = (made("a"), filled("a"), made("b"), filled("b", "a"), made("c"), filled("c", "b"))
    last = (made("y"), filled("y", "c"))
    found = workspace(kernel(*chain, *last), X)
    assert str(found) == "temporaries: 3 arrays, 80 bytes at once (16*n)"
    kept = workspace(kernel(*chain, filled("c", "a"), *last), X)
    assert (kept.bytes, kept.formula) == (120, "24*n")


def test_results_and_arguments_are_no_temporaries():
    assert str(workspace(kernel(made("y"), filled("y")), X)) == "temporaries: 0 arrays, 0 bytes at once"


def test_sizes_follow_dtypes_and_shapes():
    half = Extent("half", apply("floor_divide", N, number(2)))
    shape = (apply("sub", N, number(1)), number(3), var("half"))
    found = workspace(kernel(half, Allocate("a", F32, shape), made("y"), filled("y")), X)
    assert found.bytes == 4 * 4 * 3 * 2
    assert found.formula == "12*half*n - 12*half"


def test_products_and_functions_of_the_library_make_arrays_too():
    a, b = Parameter("a", F64, 2), Parameter("b", F64, 2)
    width = Extent("m", load("a.shape", (number(1),), I64))
    same = Require(apply("eq", load("b.shape", (number(1),), I64), var("m")), "")
    product = Product("p", "a", "b", False, True)
    inverse = Library(("q",), "reshape", ("p",), (("shape", (apply("mul", var("m"), number(4)),)),))
    arrays = {"a": np.zeros((2, 6)), "b": np.zeros((12, 6))}
    found = workspace(kernel(width, same, product, inverse, parameters=(a, b), results=()), arrays)
    assert found.arrays == 2
    assert found.bytes == 8 * (2 * 12 + 6 * 4)
    assert found.formula == "8*a.shape[0]*b.shape[0] + 32*m"


def test_copies_of_parts_are_counted_as_they_are_when_the_kernel_runs():
    parts = Parts("parts", N, number(1000), number(0))
    body = (parts, Allocate("a", F64, (var("parts"),)), made("y"), filled("y"))
    for size, count in ((5, 1), (10**6, 64)):
        assert workspace_bytes(kernel(*body), {"x": np.broadcast_to(0.0, size)}) == 8 * count


def test_an_inspection_tells():
    loss = gradc.differentiate(lambda x: np.sum(np.exp(x[::-1] - np.mean(np.sin(x)))))
    text = loss.inspect(np.ones(1000)).workspace
    assert text.startswith("temporaries: ")
    for of in ("value", "vjp", "jvp", "hessian"):
        assert "bytes at once" in loss.at(np.ones(1000)).inspect(of).stage("workspace")
