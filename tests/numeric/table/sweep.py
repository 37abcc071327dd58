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

STEP = 1e-4
TOLERANCE = 1e-8  # of differences of fourth order at that step


def differences(row: Row, arrays: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Gradients by differences of plain NumPy, one per float64 array; its elements are moved in place."""
    return [_by_element(row, arrays, weights, x) for x in arrays if x.dtype == np.float64]


def _by_element(
    row: Row, arrays: Sequence[np.ndarray], weights: Sequence[np.ndarray], x: np.ndarray
) -> np.ndarray:
    result = np.empty_like(x)
    for place in np.ndindex(x.shape):
        kept, slopes = x[place], []
        for step in (STEP, STEP / 2):
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
    if differenced:
        wide, narrow = [
            [(high - low) / (2 * step) for high, low in zip(gradients(step), gradients(-step), strict=True)]
            for step in (STEP, STEP / 2)
        ]
        for one, coarse, fine, slope in zip(found, wide, narrow, here, strict=True):
            close(one, (4 * fine - coarse) / 3, TOLERANCE, largest(slope))


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
