"""Run a handler on symbolic extents and compare it with NumPy: values, dtypes, shapes; and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.autodiff.vjp import gradient
from gradc.ir.extents import Size, symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Program
from gradc.ir.index.verify import verify
from gradc.ir.types import dtype_of
from gradc.lang.emit import Emitter, Value
from gradc.lang.unify import ExtentSolver

Call = Callable[..., Any]


def declare(arrays: Sequence[np.ndarray], *, static: bool = False) -> tuple[Emitter, list[Value]]:
    """An emitter with one input per array; every extent but 1 is a symbol of its own unless `static`."""
    hints: dict[str, int] = {}
    emit = Emitter(Builder("test"), ExtentSolver(hints))
    values = []
    for position, array in enumerate(arrays):
        shape: list[Size] = []
        for axis, extent in enumerate(array.shape):
            name = f"x{position}_n{axis}"
            if static or extent == 1:
                shape.append(extent)
            else:
                emit.solver.hints[name] = extent
                shape.append(symbol(name))
        values.append(emit.input(f"x{position}", dtype_of(array.dtype), tuple(shape)))
    return emit, values


def traced(call: Call, arrays: Sequence[np.ndarray], *, static: bool = False) -> tuple[Program, Any]:
    """The program of ``call(emit, *values)`` and the structure that the call returned."""
    emit, values = declare(arrays, static=static)
    result = call(emit, *values)
    outputs = [leaf for leaf in _leaves(result) if isinstance(leaf, Value)]
    return verify(emit.finish(outputs)), result


def run(program: Program, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Evaluate a program on arrays in the order of its inputs."""
    return evaluate(program, dict(zip(program.inputs, arrays, strict=True)))


def check(
    call: Call, expected: Call, *arrays: np.ndarray, static: bool = False, exact: bool = True
) -> Program:
    """Compare ``call(emit, *values)`` with ``expected(*arrays)``."""
    program, structure = traced(call, arrays, static=static)
    wanted = list(_leaves(expected(*arrays)))
    results = list(run(program, arrays))
    found = [results.pop(0) if isinstance(leaf, Value) else leaf for leaf in _leaves(structure)]
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        compare(one, other, exact=exact)
    return program


def compare(one: Any, other: Any, *, exact: bool = True) -> None:
    """Equal dtype and shape, and values equal up to rounding."""
    assert np.shape(one) == np.shape(other), (np.shape(one), np.shape(other))
    assert np.asarray(one).dtype == np.asarray(other).dtype, (np.asarray(one).dtype, np.asarray(other).dtype)
    tolerance = 0.0 if exact else 1e-4 if np.asarray(other).dtype == np.float32 else 1e-11
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def check_gradient(call: Call, *arrays: np.ndarray, seed: int = 0) -> None:
    """The gradient of a weighted sum of the result, in the interpreter, against central differences."""
    rng = np.random.default_rng(seed)

    def loss(emit: Emitter, *values: Value) -> Value:
        total: Value | None = None
        for leaf in _leaves(call(emit, *values)):
            size = int(np.prod([emit.solver.value(s) for s in emit.shape(leaf)], dtype=int))
            weight = emit.constant(float(rng.uniform(0.5, 1.5)), leaf.dtype)
            wave = emit.elementwise("sin", emit.elementwise("mul", leaf, weight)) if size else leaf
            part = emit.reduce("sum", wave, range(len(emit.shape(leaf))))
            total = part if total is None else emit.elementwise("add", total, part)
        assert total is not None
        return total

    program, _ = traced(loss, arrays)
    floating = [name for name in program.inputs if program.types[name].dtype.is_float]
    adjoint = verify(gradient(program, floating))
    gradients = run(adjoint, arrays)[1:]
    for name, found in zip(floating, gradients, strict=True):
        at = program.inputs.index(name)
        wanted = np.empty_like(arrays[at])
        for place in np.ndindex(arrays[at].shape):
            ends = []
            for sign in (1, -1):
                moved = [array.copy() for array in arrays]
                moved[at][place] += sign * 1e-6
                ends.append(float(run(program, moved)[0]))
            wanted[place] = (ends[0] - ends[1]) / 2e-6
        assert found.shape == arrays[at].shape
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, list | tuple):
        return [leaf for item in tree for leaf in _leaves(item)]
    return [tree]
