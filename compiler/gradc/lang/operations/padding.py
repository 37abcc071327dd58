"""Padding: regions before and after an array, filled or continued."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradc.errors import ShapeError
from gradc.ir.extents import Size
from gradc.lang.emit import Emitter, Value
from gradc.lang.operations import lift
from gradc.lang.operations.joining import joined, part
from gradc.lang.operations.lift import ArrayLike, Table
from gradc.lang.operations.shapes import flip
from gradc.lang.operations.sizes import require


def pad(
    emit: Emitter,
    array: ArrayLike,
    pad_width: object,
    mode: str = "constant",
    *,
    constant_values: object = 0,
) -> Value:
    """Pad with a constant, the edge, or the mirrored or periodic continuation."""
    value = lift.array(emit, array)
    rank = len(emit.shape(value))
    if mode not in ("constant", *_CONTINUATIONS):
        known = ", ".join(repr(name) for name in ("constant", *_CONTINUATIONS))
        raise lift.refused(f"np.pad(mode={mode!r})", do=f"use one of {known}, or np.concatenate")
    fills = _pairs(constant_values, rank, "constant_values")
    for axis, (before, after) in enumerate(_pairs(pad_width, rank, "pad_width")):
        widths = lift.size(before), lift.size(after)  # pyright: ignore[reportArgumentType]
        if widths == (0, 0):
            continue
        if mode == "constant":
            ends = [_constant_end(emit, value, axis, *end) for end in zip(widths, fills[axis], strict=True)]
        else:
            ends = [_CONTINUATIONS[mode](emit, value, axis, widths[k], bool(k)) for k in (0, 1)]
        value = joined(emit, (ends[0], value, ends[1]), axis)
    return value


def _pairs(given: object, rank: int, what: str) -> list[tuple[object, object]]:
    """``(before, after)`` of each axis: one number, one pair, or a pair for each axis."""
    if not isinstance(given, list | tuple):
        return [(given, given)] * rank
    entries = [tuple(entry) if isinstance(entry, list | tuple) else entry for entry in given]
    if len(entries) == 1:
        return _pairs(entries[0], rank, what) if isinstance(entries[0], tuple) else [(entries[0],) * 2] * rank
    if len(entries) == 2 and not any(isinstance(entry, tuple) for entry in entries):
        return [(entries[0], entries[1])] * rank
    pairs = [entry * 2 if isinstance(entry, tuple) and len(entry) == 1 else entry for entry in entries]
    if len(pairs) != rank or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise ShapeError(
            f"{what} of np.pad needs one pair for each of {rank} axes", do="pass ((1, 1), (0, 2))"
        )
    return [(pair[0], pair[1]) for pair in pairs if isinstance(pair, tuple)]


def _constant_end(emit: Emitter, value: Value, axis: int, width: Size, fill: object) -> Value:
    shape = emit.shape(value)
    number = lift.array(emit, fill, value.dtype)  # pyright: ignore[reportArgumentType]
    return emit.broadcast_to(number, (*shape[:axis], width, *shape[axis + 1 :]))


def _edge_end(emit: Emitter, value: Value, axis: int, width: Size, after: bool) -> Value:
    shape = emit.shape(value)
    if width != 0:
        require(emit, shape[axis], 1, "np.pad repeats the edge of an axis that is not empty")
    edge = part(emit, value, axis, shape[axis] - 1 if after else 0, 1) if width != 0 else value
    return (
        emit.broadcast_to(edge, (*shape[:axis], width, *shape[axis + 1 :]))
        if width != 0
        else _empty(emit, value, axis)
    )


def _empty(emit: Emitter, value: Value, axis: int) -> Value:
    return part(emit, value, axis, 0, 0)


def _mirrored_end(skip: int) -> Callable[[Emitter, Value, int, Size, bool], Value]:
    """Continuation mirrored at the edge; `skip` elements at the edge are not repeated."""

    def end(emit: Emitter, value: Value, axis: int, width: Size, after: bool) -> Value:
        extent = emit.shape(value)[axis]
        require(emit, extent, width + skip if width != 0 else 0, "np.pad mirrors at most once")
        start = extent - width - skip if after else skip
        return flip(emit, part(emit, value, axis, start, width), axis)

    return end


def _periodic_end(emit: Emitter, value: Value, axis: int, width: Size, after: bool) -> Value:
    extent = emit.shape(value)[axis]
    require(emit, extent, width, "np.pad repeats at most one period")
    return part(emit, value, axis, 0 if after else extent - width, width)


_CONTINUATIONS: dict[str, Callable[[Emitter, Value, int, Size, bool], Value]] = {
    "edge": _edge_end,
    "reflect": _mirrored_end(1),
    "symmetric": _mirrored_end(0),
    "wrap": _periodic_end,
}


FUNCTIONS: Table = {np.pad: pad}
