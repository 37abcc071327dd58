"""Tracing: from a Python function and example arguments to a `Program`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.errors import TraceError
from gradc.ir.index.nodes import Program
from gradc.ir.index.show import show_equation
from gradc.ir.types import DType, dtype_of
from gradc.lang.outside import Captured, Hidden
from gradc.lang.pieces import show_origin
from gradc.lang.session import Trace, UnrolledWarning
from gradc.lang.sizes import ScalarGuard
from gradc.lang.traced import is_traced
from gradc.lang.unify import ExtentSolver


@dataclass(frozen=True, slots=True)
class TraceResult:
    """A traced function.

    `outputs` is what the function returned, a tree; its leaves are the outputs of `program` in order.
    `scalar_guards` are conditions on integer arguments.
    """

    program: Program
    outputs: Any
    hidden: tuple[Hidden, ...]
    captured: tuple[Captured, ...]
    scalar_guards: tuple[ScalarGuard, ...]


# --- twice --------------------------------------------------------------------------------------------------


def trace_checked(trace: Callable[[], TraceResult]) -> TraceResult:
    """Trace twice and compare; raises where the function does not compute the same thing both times.

    The cause is a random number, the time, a counter or another side effect.
    """
    first, second = trace(), trace()
    difference = _difference(first, second)
    if difference:
        raise TraceError(
            "tracing the function twice gave two different programs",
            where=difference,
            why="random numbers, the time, a counter or another side effect enters it; the compiled function "
            "would repeat the value of one trace in every call",
            do="pass such values as arguments",
            code="E_TRACE_IMPURE",
        )
    return first


def _difference(first: TraceResult, second: TraceResult) -> str:
    """Return the first difference between two traces, as text; empty where there is none."""
    a, b = first.program, second.program
    for one, other in zip(a.equations, b.equations, strict=False):
        if one is not other and one != other and show_equation(one) != show_equation(other):
            place = show_origin(one.origin) if one.origin else ""
            equations = f"{show_equation(one)}\n    {show_equation(other)}"
            return f"{place}\n    {equations}" if place else equations
    if len(a.equations) != len(b.equations):
        return f"{len(a.equations)} equations and then {len(b.equations)}"
    if (a.inputs, a.outputs, a.guards) != (b.inputs, b.outputs, b.guards):
        return f"inputs {', '.join(a.inputs)} and then {', '.join(b.inputs)}"
    for one, other in zip(first.hidden, second.hidden, strict=True):
        if one.literal and one.read().tobytes() != other.read().tobytes():
            return f"the array {one.name} changed between the two"
    values = (
        [(x.what, repr(x.value)) for x in first.captured],
        [(x.what, repr(x.value)) for x in second.captured],
    )
    return "" if values[0] == values[1] else "a captured number changed between the two"


def trace(
    function: Callable[..., object],
    arguments: Mapping[str, object],
    *,
    name: str = "",
    solver: ExtentSolver | None = None,
    axes: Mapping[str, Sequence[str | int | None]] | None = None,
) -> TraceResult:
    """Trace `function` on example arguments by name: arrays, Python floats and ints; all else is static."""
    session = Trace(name or getattr(function, "__name__", "program"), solver=solver)
    given: dict[str, object] = {}
    for parameter, example in arguments.items():
        names = (axes or {}).get(parameter, ())
        if isinstance(example, np.ndarray | np.generic):
            shape = session.sizes(parameter, example.shape, names)
            given[parameter] = session.argument(parameter, dtype_of(example.dtype), shape)
        elif type(example) is float:
            given[parameter] = session.argument(parameter, DType.F64, kind="float")
        elif type(example) is int:
            given[parameter] = session.argument(parameter, DType.INT64, kind="int", value=example)
        else:
            given[parameter] = example
    outputs = session.run(function, (), given)
    program = session.finish(leaves(outputs))
    return TraceResult(program, outputs, session.hidden, session.captured, tuple(session.scalar_guards))


def leaves(tree: object) -> list[Any]:
    """Return the leaves of nested tuples, lists and dictionaries, in order."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple) and not is_traced(tree):
        return [leaf for branch in tree for leaf in leaves(branch)]
    return [tree]


__all__ = [
    "Captured",
    "Hidden",
    "Trace",
    "TraceResult",
    "UnrolledWarning",
    "leaves",
    "trace",
    "trace_checked",
]
