"""Loops over float32 with sums in float64 have as many lanes as a register has numbers of float32."""

from collections.abc import Callable

import numpy as np
import pytest
from llvmlite import ir

import gradc
from gradc_runtime.loop_widths import widen
from gradc_runtime.simd import vector_bytes

WIDTH = "llvm.loop.vectorize.width"
X = np.linspace(-2, 3, 1001, dtype=np.float32)


def loop(total: ir.Type, element: ir.Type, flags: tuple[str, ...] = ("reassoc", "nsz")) -> ir.Module:
    """A loop that adds numbers, with a loop that adds nothing inside, and a choice."""
    module = ir.Module()
    word = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(total, [element, word]), "sum")
    number, count = function.args
    entry, head, inner, chosen, end, done = (
        function.append_basic_block(name) for name in ("entry", "head", "inner", "chosen", "end", "done")
    )
    builder = ir.IRBuilder(entry)
    builder.branch(head)
    builder.position_at_end(head)
    at, so_far = builder.phi(word), builder.phi(total)
    builder.branch(inner)
    builder.position_at_end(inner)
    builder.cbranch(builder.icmp_signed("<", at, word(3)), inner, chosen)
    builder.position_at_end(chosen)
    builder.cbranch(builder.icmp_signed("<", at, word(7)), end, end)
    builder.position_at_end(end)
    value = number if total == element else builder.fpext(number, total)
    added, following = builder.fadd(so_far, value, flags=flags), builder.add(at, word(1))
    for phi, first, then in ((at, word(0), following), (so_far, total(0.0), added)):
        phi.add_incoming(first, entry)
        phi.add_incoming(then, end)
    builder.cbranch(builder.icmp_signed("<", following, count), head, done)
    builder.position_at_end(done)
    builder.ret(added)
    return module


def loop_over_elements() -> ir.Module:
    """A loop that adds a number in float32 to elements in float64."""
    module = ir.Module()
    word, double = ir.IntType(64), ir.DoubleType()
    kind = ir.FunctionType(ir.VoidType(), [double.as_pointer(), ir.FloatType(), word])
    function = ir.Function(module, kind, "add")
    place, number, count = function.args
    entry, head, done = (function.append_basic_block(name) for name in ("entry", "head", "done"))
    builder = ir.IRBuilder(entry)
    builder.branch(head)
    builder.position_at_end(head)
    at = builder.phi(word)
    element = builder.gep(place, [at])
    builder.store(builder.fadd(builder.load(element), builder.fpext(number, double)), element)
    following = builder.add(at, word(1))
    at.add_incoming(word(0), entry)
    at.add_incoming(following, head)
    builder.cbranch(builder.icmp_signed("<", following, count), head, done)
    builder.position_at_end(done)
    builder.ret_void()
    return module


def branches_with_metadata(module: ir.Module) -> list[str]:
    return [line for line in str(module).splitlines() if "!llvm.loop" in line]


def test_the_loop_around_a_sum_is_marked_and_not_the_one_inside():
    module = loop(ir.DoubleType(), ir.FloatType())
    widen(module)
    (branch,) = branches_with_metadata(module)
    assert 'label %"head"' in branch
    assert f'!{{ !"{WIDTH}", i32 {vector_bytes() // 4} }}' in str(module)


def test_loops_that_add_to_elements_are_marked():
    module = loop_over_elements()
    widen(module)
    assert len(branches_with_metadata(module)) == 1


@pytest.mark.parametrize(
    ("total", "element", "flags"),
    [
        (ir.DoubleType(), ir.DoubleType(), ("reassoc",)),
        (ir.FloatType(), ir.FloatType(), ("reassoc",)),
        (ir.DoubleType(), ir.FloatType(), ()),  # its order is fixed: it will be no vector
    ],
)
def test_other_sums_leave_loops_as_they_are(total: ir.Type, element: ir.Type, flags: tuple[str, ...]):
    module = loop(total, element, flags)
    before = str(module)
    widen(module)
    assert str(module) == before


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.sum(np.tanh(x) * x),
        lambda x: np.sum(np.where(x > 0, np.exp(-x), x)),
        lambda x: np.sum(np.log(1 + x * x) / (2 + np.abs(x))),
    ],
    ids=["product", "choice", "logarithm"],
)
def test_kernels_fill_registers(function: Callable):
    loss = gradc.differentiate(function)
    value, gradient = loss.value_and_grad(X)
    wide, slope = gradc.differentiate(function).value_and_grad(X.astype(np.float64))
    np.testing.assert_allclose(value, wide, rtol=2e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-6)
    text = "".join(loss.at(X).kernel().inspect_llvm().values())
    assert f"<{vector_bytes() // 4} x float>" in text
