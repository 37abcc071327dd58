"""Copies of what rows add to: how many there are, when they lie in memory, and how they are added up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.unit.grids.test_launches import checked, normal

from gradc import differentiate, f64
from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import Allocate, Clear, Kernel, Launch, Parameter, Parts
from gradc.ir.loop.runs import value_of
from gradc.ir.loop.sizes import numbers_of
from gradc.ir.loop.verify import verify
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.grids.copies import add_up
from gradc.passes.grids.numbers import Numbers
from gradc_runtime.cuda_host import parts_of, width_of

LONG = 8 * 256 + 1  # a row that no group keeps


def softmax(x: Any, y: Any) -> Any:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True) * y).sum()


def scaled(x: Any, gain: Any) -> Any:
    """Rows that are kept, and whose scale all of them add to."""
    return (np.tanh(x) / np.square(x).sum(axis=1, keepdims=True) * gain).sum()


def sizes(kernel: Kernel, **shapes: tuple[int, ...]) -> dict[str, int]:
    """What the host chooses for arguments of these shapes."""
    arguments = {name: np.zeros(shape) for name, shape in shapes.items()}
    return numbers_of(kernel, arguments, parts_of, width_of)


def allocated(kernel: Kernel, shapes: dict[str, tuple[int, ...]]) -> dict[str, int]:
    """The elements of every array for arguments of these shapes."""
    known = sizes(kernel, **shapes)
    return {
        s.tensor: int(np.prod([int(value_of(size, known)) for size in s.shape]))
        for s in kernel.body
        if isinstance(s, Allocate)
    }


def kernel_of(function: Any, *arguments: Any, **options: Any) -> Kernel:
    return (
        differentiate(function, target="cuda", **options)
        .at(*arguments)
        .inspect("value_and_grad")
        .stages.kernel
    )


# --- how many -----------------------------------------------------------------------------------------------


def test_copies_that_lanes_keep_do_not_limit_the_groups():
    kernel = kernel_of(softmax, normal(4, 5), normal(4, 5), wrt="x")
    short, long = ({name: (5000, columns) for name in "xy"} for columns in (1024, LONG))
    assert sizes(kernel, **short)["groups"] == 2048  # as many as for rows without copies: 1024 blocks
    assert 2048 * 1024 not in allocated(kernel, short).values()
    parts = sizes(kernel, **long)
    assert parts["groups"] == parts["parts"] <= 1024
    assert parts["parts"] * LONG in allocated(kernel, long).values()


def test_sums_are_copies_in_memory_of_every_row():
    kernel = kernel_of(scaled, normal(4, 5), normal(5))
    (parts,) = (s for s in kernel.body if isinstance(s, Parts))
    short, long = (
        value_of(parts.size, sizes(kernel, x=(9, columns), gain=(columns,))) // columns
        for columns in (8, LONG)
    )
    assert short == 1
    assert long > short


def test_only_sums_of_long_rows_start_from_0():
    kernel = checked(scaled, normal(6, 20), normal(20))
    (cleared,) = (s for s in kernel.body if isinstance(s, Clear))
    assert cleared.many is not None
    assert not any(s.zeroed for s in kernel.body if isinstance(s, Allocate) and s.tensor == cleared.tensor)
    for columns in (1024, LONG):
        known = sizes(kernel, x=(50_000, columns), gain=(columns,))
        assert int(value_of(cleared.many, known)) == (known["parts"] if columns == LONG else 0)


def test_rows_of_a_known_length_have_no_copies_in_memory():
    softmax.__annotations__ = dict.fromkeys("xy", f64["n", 40])
    try:
        kernel = checked(softmax, normal(3, 40), normal(3, 40), wrt="x")
    finally:
        softmax.__annotations__ = {}
    assert not [s for s in kernel.body if isinstance(s, Parts)]
    assert all(
        name in ("x_bar", *kernel.results) or "parts" in name
        for name in allocated(kernel, {"x": (3, 40), "y": (3, 40)})
    )


def test_copies_of_a_known_length_are_not_cleared():
    scaled.__annotations__ = {"x": f64["n", 40], "gain": f64[40]}
    try:
        kernel = checked(scaled, normal(5, 40), normal(40))
    finally:
        scaled.__annotations__ = {}
    assert not [s for s in kernel.body if isinstance(s, Clear)]


# --- how they are added up ----------------------------------------------------------------------------------


def added(shape: tuple[int, ...], many: int, dtype: DType = DType.F64) -> Kernel:
    """A kernel that adds copies up to an array."""
    sizes = tuple(nodes.number(size) for size in shape)
    array = Allocate("total", dtype, sizes, zeroed=True)
    parameter = Parameter("copies", dtype, 1 + len(shape))
    before = Kernel("f", (parameter,), (array,), ("total",))
    out: list[Any] = [array]
    add_up(array, "copies", nodes.number(many), Numbers(before, NameSupply(("f", "copies", "total")), out))
    return verify(Kernel("f", (parameter,), tuple(out), ("total",)))


@pytest.mark.parametrize("many", [0, 1, 2, 7, 40])
@pytest.mark.parametrize("shape", [(1,), (9,), (40,), (3, 5), (2, 1, 3)])
def test_every_copy_is_added_once(shape: tuple[int, ...], many: int):
    copies = np.random.default_rng(many).integers(-99, 99, (many, *shape)).astype(float)
    for order, width in enumerate((1, 4, 32)):
        (found,) = evaluate(added(shape, many), {"copies": copies}, width=width, order=order, limit=10**8)
        np.testing.assert_array_equal(found, copies.sum(axis=0))


def test_nothing_is_launched_for_no_elements():
    (launch,) = (s for s in added((0,), 3).body if isinstance(s, Launch))
    known = numbers_of(added((0,), 3), {"copies": np.zeros((3, 0))}, parts_of, width_of)
    assert int(value_of(launch.blocks, known)) == 0


@pytest.mark.parametrize(
    ("many", "elements", "columns", "blocks"), [(1024, 1000, 8, 125), (8, 1000, 128, 8), (3, 4, 256, 1)]
)
def test_neighbouring_threads_read_neighbours(many: int, elements: int, columns: int, blocks: int):
    kernel = added((elements,), many)
    (launch,) = (s for s in kernel.body if isinstance(s, Launch))
    known = numbers_of(kernel, {"copies": np.zeros((many, elements))}, parts_of, width_of)
    assert known["columns"] == columns
    assert int(value_of(launch.blocks, known)) == blocks
