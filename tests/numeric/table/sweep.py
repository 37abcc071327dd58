"""How a cell of the operator table is checked in the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tests.numeric.table.operations import Row

from gradc.autodiff.vjp import gradient, vjp
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Program
from gradc.pipeline import own_outputs

# Step and tolerance of differences of fourth order.  The second is for a kink within the first step, and for
# functions like x ** -70, whose higher derivatives grow beyond it.
STEP, TOLERANCE = 1e-4, 1e-8
SMALL_STEP, ITS_TOLERANCE = 1e-6, 1e-6


def check_differences(
    row: Row, arrays: Sequence[np.ndarray], weights: Sequence[np.ndarray], gradients: Sequence[Any]
) -> None:
    """Compare one gradient per float64 array with differences of plain NumPy."""
    sources = [x for x in arrays if x.dtype == np.float64]
    for one, x in zip(gradients, sources, strict=True):
        try:
            close(one, differences(row, arrays, weights, x, STEP), TOLERANCE)
        except AssertionError:
            close(one, differences(row, arrays, weights, x, SMALL_STEP), ITS_TOLERANCE)


def differences(
    row: Row, arrays: Sequence[np.ndarray], weights: Sequence[np.ndarray], x: np.ndarray, size: float
) -> np.ndarray:
    """Return the gradient by differences of plain NumPy; the elements of `x` are moved in place."""
    result = np.empty_like(x)
    for place in np.ndindex(x.shape):
        kept, slopes = x[place], []
        for step in (size, size / 2):
            ends, moved = [], []
            for sign in (1, -1):
                x[place] = kept + sign * step
                moved.append(float(x[place]))
                ends.append(row.results(arrays))
            change = sum(
                float(((high - low) * weight).sum()) for high, low, weight in zip(*ends, weights, strict=True)
            )
            slopes.append(change / (moved[0] - moved[1]))
        x[place] = kept
        result[place] = (4 * slopes[1] - slopes[0]) / 3
    return result


def gradient_of_gradient(
    program: Program, inputs: dict[str, Any], wrt: Sequence[str], *, differenced: bool
) -> None:
    """Check the gradient of ``sum(grad * v)`` against differences of the gradient along `v`."""
    first = gradient(program, wrt)
    first = own_outputs(replace(first, outputs=first.outputs[len(program.outputs) :]))
    rng = np.random.default_rng(5)
    along = {name: np.asarray(rng.uniform(-1, 1, np.shape(inputs[name]))) for name in wrt}
    along = {name: np.asarray(v, program.types[name].dtype.numpy) for name, v in along.items()}
    seeds = {f"{out}_bar": along[name] for out, name in zip(first.outputs, wrt, strict=True)}
    found = evaluate(vjp(first, wrt), {**inputs, **seeds})[len(first.outputs) :]

    def gradients(step: float) -> tuple[Any, ...]:
        return evaluate(first, {**inputs, **{name: inputs[name] + step * along[name] for name in wrt}})

    here = gradients(0.0)
    for one, name in zip(found, wrt, strict=True):
        assert np.shape(one) == np.shape(inputs[name])
        assert np.asarray(one).dtype == np.asarray(inputs[name]).dtype
    if not differenced:
        return

    def compare(size: float, tolerance: float) -> None:
        wide, narrow = [
            [(high - low) / (2 * step) for high, low in zip(gradients(step), gradients(-step), strict=True)]
            for step in (size, size / 2)
        ]
        for one, coarse, fine, slope in zip(found, wide, narrow, here, strict=True):
            close(one, (4 * fine - coarse) / 3, tolerance, largest(slope))

    try:
        compare(STEP, TOLERANCE)
    except AssertionError:
        compare(SMALL_STEP, ITS_TOLERANCE)


def largest(x: Any) -> float:
    """Return the largest magnitude, at least 1."""
    finite = np.abs(np.asarray(x, np.float64)[np.isfinite(x)])
    return max(1.0, float(finite.max(initial=0.0)))


def close(found: Any, expected: Any, tolerance: float, scale: float = 1.0) -> None:
    """Equal shapes, NaN and infinities in the same places, numbers equal relative to the largest of them."""
    assert np.shape(found) == np.shape(expected)
    bound = tolerance * max(scale, largest(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def identical(found: Any, expected: Any) -> None:
    """Compare bits; None stands for an argument without gradient."""
    assert (found is None) == (expected is None)
    if found is not None:
        one, other = np.asarray(found), np.asarray(expected)
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
