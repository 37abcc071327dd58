"""Decisions about symbolic extents: what a comparison of two sizes is, and which guard makes it hold."""

from __future__ import annotations

from collections.abc import Iterable

from gradc.errors import ShapeError
from gradc.ir import extents
from gradc.ir.extents import Guard, Polynomial, Size
from gradc.lang.emit import Emitter, SizeValue, Value
from gradc.lang.operations.lift import refused


def signed_size(number: object, what: str) -> Size:
    """Integer or an extent that may be negative: a shift, an index, a slice bound."""
    if isinstance(number, SizeValue):
        return number.size
    if isinstance(number, Polynomial):
        return number
    if isinstance(number, Value) or not hasattr(number, "__index__"):
        kind = "a traced value" if isinstance(number, Value) else type(number).__name__
        raise refused(
            f"{what} given by {kind}",
            why="the shape of a result must follow from the shapes of the arguments",
            do="use a Python int or an extent such as x.shape[0]",
        )
    return number.__index__()  # pyright: ignore[reportAttributeAccessIssue]


def as_number(size: Size) -> int | SizeValue:
    """Size as handlers return it."""
    return size if isinstance(size, int) else SizeValue(size)


def at_least(emit: Emitter, left: Size, right: Size, reason: str) -> bool:
    """Whether ``left >= right``: certain, or true in the call being traced and recorded as a guard."""
    difference = emit.solver.resolve(left) - emit.solver.resolve(right)
    sign = extents.is_nonnegative(difference)
    if sign is not None:
        return sign
    if _implied(emit, difference):
        return True
    left, right = extents.balanced(difference)
    hints = emit.solver.hints
    if all(name in hints for name in extents.symbols(difference)) and emit.solver.value(difference) < 0:
        emit.solver.guards[Guard(left, "<", right, reason)] = None
        return False
    emit.solver.guards[Guard(left, ">=", right, reason)] = None
    return True


def _implied(emit: Emitter, difference: Size) -> bool:
    """Whether a guard recorded before says that `difference` is nonnegative."""
    for guard in emit.solver.guards:
        if guard.relation == ">=":
            slack = difference - (emit.solver.resolve(guard.left) - emit.solver.resolve(guard.right))
            if extents.is_nonnegative(slack):
                return True
    return False


def require(emit: Emitter, left: Size, right: Size, reason: str) -> None:
    """Insist on ``left >= right``, with a guard unless it is certain."""
    if not at_least(emit, left, right, reason):
        raise ShapeError(
            f"{_with_value(emit, left)} >= {_with_value(emit, right)} does not hold",
            why=reason,
            do="check the index against the shape",
        )


def smaller(emit: Emitter, first: Size, second: Size, reason: str) -> Size:
    """Smaller of two extents."""
    return second if at_least(emit, first, second, reason) else first


def static(emit: Emitter, number: object, what: str) -> int:
    """Python int: an extent is specialised to its present value."""
    size = signed_size(number, what)
    return size if isinstance(size, int) else emit.solver.specialise(size, f"{what} must be a number")


def same_shape(emit: Emitter, first: Value, second: Value, reason: str) -> tuple[Size, ...]:
    """Shape that two tensors must share."""
    one, two = emit.shape(first), emit.shape(second)
    if len(one) != len(two):
        raise ShapeError(f"arrays with {len(one)} and {len(two)} axes do not fit", why=reason)
    return tuple(emit.solver.unify(a, b, reason) for a, b in zip(one, two, strict=True))


def show_sizes(sizes: Iterable[Size]) -> str:
    """``[n, 3]``."""
    return f"[{', '.join(extents.show(size) for size in sizes)}]"


def _with_value(emit: Emitter, size: Size) -> str:
    if isinstance(size, int) or any(name not in emit.solver.hints for name in extents.symbols(size)):
        return extents.show(size)
    return f"{extents.show(size)} = {emit.solver.value(size)}"
