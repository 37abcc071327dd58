"""Real kernels: their machine code is annotated, and stays as it is."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import gradc
from gradc.explain.kernels.assembly import annotated, placed, short
from gradc.explain.kernels.assembly_lines import lines_of
from gradc.explain.kernels.machine_loops import loops_of
from gradc_runtime import backends


def compiled(function: Callable[..., Any], *arguments: Any, of: str = "value") -> tuple[Any, str]:
    at = gradc.differentiate(function).at(*arguments)
    return backends.load("numba").readable(at.kernel(of)), at.inspect(of).source


def assembly(dispatcher: Any) -> str:
    return next(iter(dispatcher.inspect_asm().values()))


def llvm(dispatcher: Any) -> str:
    return next(iter(dispatcher.inspect_llvm().values()))


def test_an_elementwise_chain_is_vectorised_and_its_lines_are_known():
    x = np.linspace(-1.0, 1.0, 1001)
    dispatcher, source = compiled(lambda x: np.exp(-x * x) * x, x)
    before, expected, library = assembly(dispatcher), np.exp(-x * x) * x, llvm(dispatcher)
    lines = lines_of(before, dispatcher)
    found = [
        (loop, origin) for loop, origin in placed(before, source, lines) if short(loop.function) == "loop_1"
    ]
    assert any(loop.vectorised and loop.element == "f64" and loop.lanes > 1 for loop, _ in found)
    assert all(origin is not None and origin.text == "for step in range(many):" for _, origin in found)
    texts = source.splitlines()
    assert any("exp(" in texts[line - 1] for line in lines.values())
    assert llvm(dispatcher) == library
    np.testing.assert_allclose(dispatcher(x)[0], expected, rtol=1e-14)
    text = annotated(before, source, lines)
    mark = "# ---- vectorised" if "# ---- vectorised" in text else "// ---- vectorised"
    assert mark in text


def test_a_recurrence_is_not_vectorised():
    def recurrence(x):
        s = 0.0
        for i in range(len(x)):
            s = s * 0.5 + x[i]
            x[i] = s
        return s

    dispatcher = numba.njit(recurrence)
    dispatcher(np.ones(9))
    own = [loop for loop in loops_of(assembly(dispatcher)) if "recurrence" in loop.function]
    own = [loop for loop in own if loop.packed + loop.scalar]
    assert own
    assert not any(loop.vectorised for loop in own)
