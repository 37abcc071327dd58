"""Error bounds of library operations, from the values and error bounds of their operands.

An operation without a row has no bound: `bound` says infinity, *unavailable*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradc.ir.index.calls import CALLS

Array = Any
Pair = tuple[Array, Array]  # values and error bounds
CallBound = Callable[[tuple[Array, ...], Sequence[Pair], Mapping[str, Any]], tuple[Array, ...]]

# Backward error of a solved system in units of n * eps * norm(a): pivoting loses more in contrived cases only.
BACKWARD = 4.0


def _reshape(outs: tuple[Array, ...], ins: Sequence[Pair], attributes: Mapping[str, Any]) -> tuple[Array]:
    return (np.reshape(ins[0][1], attributes["shape"]),)


def _affine_scan(outs: tuple[Array, ...], ins: Sequence[Pair], attributes: Mapping[str, Any]) -> tuple[Array]:
    """Carry ``|a| e_t + e_a (|t| + e_t) + e_b`` and two roundings from step to step."""
    axis, order = attributes["axis"], slice(None, None, -1 if attributes["reverse"] else 1)
    (a, error_a), (_, error_b) = ins
    unit = float(np.finfo(outs[0].dtype).eps) / 2
    lost = float(np.finfo(outs[0].dtype).smallest_subnormal)
    t = np.abs(np.moveaxis(outs[0], axis, 0)[order].astype(np.float64))
    factor = np.abs(np.moveaxis(a, axis, 0)[order].astype(np.float64))
    error_a, error_b = (np.moveaxis(error, axis, 0)[order] for error in (error_a, error_b))
    result = np.array(error_b, np.float64)
    for at in range(1, len(result)):
        carried = factor[at] * result[at - 1] + error_a[at] * (t[at - 1] + result[at - 1])
        result[at] += carried + unit * (factor[at] * t[at - 1] + t[at]) + lost
    return (np.moveaxis(result[order], 0, axis),)


def _argsort(outs: tuple[Array, ...], ins: Sequence[Pair], attributes: Mapping[str, Any]) -> tuple[Array]:
    """Doubt the whole order if any two intervals overlap."""
    axis = attributes["axis"]
    value, error = (np.take_along_axis(array, outs[0], axis) for array in ins[0])
    value = value.astype(np.float64)
    above = np.maximum.accumulate(value + error, axis)
    length = value.shape[axis]
    earlier, later = np.arange(max(length - 1, 0)), np.arange(1, length)
    overlap = np.take(above, earlier, axis) >= np.take(value - error, later, axis)
    overlap &= np.maximum.accumulate(error, axis).take(later, axis) > 0  # exact ties are kept in order
    doubt = np.any(overlap, axis, keepdims=True) | np.any(np.isnan(above), axis, keepdims=True)
    return (
        np.broadcast_to(np.where(doubt & np.any(error > 0, axis, keepdims=True), np.inf, 0.0), value.shape),
    )


def _arg_extreme(outs: tuple[Array, ...], ins: Sequence[Pair], attributes: Mapping[str, Any]) -> tuple[Array]:
    """Doubt the winner if another element can reach it."""
    axis, sign = attributes["axis"], 1.0 if attributes["largest"] else -1.0
    value, error = sign * ins[0][0].astype(np.float64), ins[0][1]
    winner = np.expand_dims(outs[0], axis)
    floor = np.take_along_axis(value - error, winner, axis)
    is_winner = np.arange(value.shape[axis]).reshape([-1 if k == axis else 1 for k in range(value.ndim)])
    reaches = ~(value + error < floor) & (is_winner != winner)
    reaches &= (error > 0) | (np.take_along_axis(error, winner, axis) > 0)
    return (np.where(np.any(reaches, axis), np.inf, 0.0),)


def _system(a: Array, error_a: Array, x: Array, error_b: Array) -> Array:
    """Bound ``x = a^-1 b`` per column: ``|a^-1| (|e_b| + (|e_a| + n eps |a|) |x|)``, in Frobenius norms."""
    wide, x = a.astype(np.float64), np.asarray(x, np.float64)
    inverse = np.linalg.norm(np.linalg.inv(wide), axis=(-2, -1))[..., None, None]
    size = np.linalg.norm(wide, axis=(-2, -1))[..., None, None]
    unit = BACKWARD * a.shape[-1] * float(np.finfo(a.dtype).eps)
    spread = np.linalg.norm(error_a, axis=(-2, -1))[..., None, None] + unit * size
    column = np.linalg.norm(error_b, axis=-2, keepdims=True)
    room = 1 - inverse * spread
    bound = inverse * (column + spread * np.linalg.norm(x, axis=-2, keepdims=True)) / room
    return np.broadcast_to(np.where(room > 0, bound, np.inf), x.shape)


def _solve(outs: tuple[Array, ...], ins: Sequence[Pair], attributes: Mapping[str, Any]) -> tuple[Array]:
    (a, error_a), (_, error_b) = ins
    return (_system(a, error_a, outs[0], error_b),)


def _inv(outs: tuple[Array, ...], ins: Sequence[Pair], attributes: Mapping[str, Any]) -> tuple[Array]:
    ((a, error_a),) = ins
    return (_system(a, error_a, outs[0], np.zeros(a.shape)),)


def _solve_triangular(
    outs: tuple[Array, ...], ins: Sequence[Pair], attributes: Mapping[str, Any]
) -> tuple[Array]:
    triangle = np.tril if attributes["lower"] else np.triu
    (a, error_a), (_, error_b) = ins
    a, error_a = triangle(a), triangle(error_a)
    if attributes["transposed"]:
        a, error_a = np.swapaxes(a, -1, -2), np.swapaxes(error_a, -1, -2)
    return (_system(a, error_a, outs[0], error_b),)


CALL_BOUNDS: dict[str, CallBound] = {
    "reshape": _reshape,
    "affine_scan": _affine_scan,
    "argsort": _argsort,
    "arg_extreme": _arg_extreme,
    "solve": _solve,
    "inv": _inv,
    "solve_triangular": _solve_triangular,
}

assert CALL_BOUNDS.keys() <= CALLS.keys()
