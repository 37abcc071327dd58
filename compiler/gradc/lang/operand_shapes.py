"""The operands of a refused operation, one a line: name, type, and the numbers that the extents are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.types import FROM_NUMPY
from gradc.lang.operations.masked import MaskedValue
from gradc.lang.source import readable, side_by_side
from gradc.lang.traced import Captive, Literal, is_array, is_traced
from gradc.lang.unify import ExtentSolver, substituted

_MANY = 8  # operands that a message lists


def with_shapes(why: str, operands: Iterable[object], solver: ExtentSolver) -> str:
    """Add the types and shapes of the arrays among the operands to the reason of an error.

    Parameters
    ----------
    why : str
        The reason, or empty.
    operands : iterable
        The arguments of the operation; lists, tuples and dictionaries are looked into.
    solver : ExtentSolver
        What is known of extents.

    Returns
    -------
    str
        The reason and one line for each array; as it was where there is no array.
    """
    found = _arrays(operands)
    if not found:
        return why
    symbolic = any(extents.symbols(size) for array in found for size in substituted(array.shape, solver))
    rows = [_row(array, solver, numbers=symbolic) for array in found]
    why = why or ("the shapes are" if len(rows) > 1 else "the shape is")
    more = f"\n    and {len(rows) - _MANY} more" if len(rows) > _MANY else ""
    return why + side_by_side(rows[:_MANY]) + more


@dataclass(frozen=True, slots=True)
class _Array:
    name: str
    dtype: str
    shape: tuple[Size, ...]


def _arrays(operands: Iterable[object]) -> list[_Array]:
    """Return the traced values and the arrays among the operands, each once, in order."""
    found: dict[_Array, None] = {}
    pending = list(operands)[::-1]
    while pending:
        operand = pending.pop()
        if is_traced(operand) or is_array(operand):
            array = _array(operand)
            if array is not None:
                found[array] = None
        elif isinstance(operand, list | tuple):
            pending += operand[::-1]
        elif isinstance(operand, dict):
            pending += list(operand.values())[::-1]
    return list(found)


def _array(operand: Any) -> _Array | None:
    """Describe one operand; None for what is no array of known shape."""
    # The content as it is, which `_now` would bring up to date: a message must not add equations.
    content, variable = (Literal(operand), "") if is_array(operand) else (operand._content, operand._hint)
    if isinstance(content, Literal | Captive):
        if content.value is None:
            dtype, shape = content.array.dtype, content.array.shape
            kind = FROM_NUMPY.get(dtype)
            name = variable or (content.name if isinstance(content, Captive) else "array")
            return _Array(name, kind.short if kind else str(dtype), shape)
        content = content.value
    if isinstance(content, MaskedValue) or content.weak is not None:
        return None
    # The tensor of an array with known elements, such as np.zeros(3), is not named after its variable.
    name = content.name if content.name.startswith(variable) else variable
    return _Array(name, content.dtype.short, content.shape)


def _row(array: _Array, solver: ExtentSolver, *, numbers: bool) -> tuple[str, ...]:
    """Name, type, and the shape in numbers, where they are wanted and the call being traced gives them."""
    shape = substituted(array.shape, solver)
    axes = f"[{', '.join(map(extents.show, shape))}]" if shape else ""
    known = all(symbol in solver.hints for size in shape for symbol in extents.symbols(size))
    shown = f"  {tuple(map(solver.value, shape))}" if numbers and known else ""
    return f"{readable(array.name)}:", array.dtype + axes, shown
