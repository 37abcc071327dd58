"""The errors of tracing: each says what was asked of a traced value, where, why it fails, and what works."""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import FrameType

import numpy as np

from gradc.errors import TraceError
from gradc.lang.provenance import called_object, library_call, running_call, user_frame
from gradc.lang.replacements import REPLACEMENTS, public_name, replacement

_LATER = "its elements are known only when the compiled function runs"

_NEEDS = {
    "float()": "a number",
    "int()": "an integer",
    "an index": "an integer",
    "complex()": "a number",
    "hash()": "a hash",
    "len()": "a length",
    "a concrete array": "an array of numbers",
    "a truth value": "a truth value (if, while, and, or, not)",
    "the `in` operator": "a truth value (in)",
    "three-argument pow": "an integer (pow with a modulus)",
}
_ADVICE = {
    "a truth value": (
        "np.where(condition, a, b) instead of if; (0 < x) & (x < 1) instead of and, or, not and chained "
        "comparisons"
    ),
    "hash()": "use a Python number or a string as the key",
    "the `in` operator": "np.any(x == value)",
    "three-argument pow": "(a ** b) % c",
}


def needs_number(kind: str, value: object, frame: FrameType, where: str) -> TraceError:
    """Something needs the number behind a traced value; the call that does is named where it is known."""
    names = _calls(frame)
    caller = "Python"
    advice = _ADVICE.get(kind) or replacement(*names)
    if names and kind == "a truth value":
        advice = REPLACEMENTS.get(names[0], advice)
    elif names and kind not in _ADVICE:
        caller = f"{shown(names[0])}()"
    what = f"{caller} needs {_NEEDS.get(kind, kind)}, which a traced value does not have"
    return TraceError(
        what, where=where, why=f"the value is {value!r}: {_LATER}", do=advice, code="E_TRACE_VALUE"
    )


def _calls(frame: FrameType) -> list[str]:
    """Dotted names of the call that led here, the most telling first."""
    names = []
    user = user_frame(frame)
    call = running_call(user) if user is not None else None
    if user is not None and call is not None:
        called = call.func
        while isinstance(called, ast.Call):  # np.vectorize(f)(x)
            called = called.func
        found = called_object(user, called)
        names.append(public_name(found) if callable(found) else ast.unparse(called))
        names.append(ast.unparse(called))
    below = library_call(frame)
    return [*names, *([below] if below else [])]


def shown(name: str) -> str:
    """Return a dotted name as users write it."""
    return f"np.{name.removeprefix('numpy.')}" if name.startswith("numpy.") else name


def object_array(where: str) -> TraceError:
    """Refuse an object array in a trace."""
    return TraceError(
        "an array of objects takes part in a traced computation",
        where=where,
        why="NumPy would call every element's operators one by one: one equation per element",
        do="np.stack([a, b, ...]) makes an array of numbers; leave out dtype=object",
        code="E_TRACE_OBJECT",
    )


def unsupported(function: object, where: str, *, method: str = "") -> TraceError:
    """Refuse a NumPy or SciPy function without a handler."""
    name = public_name(function) + (f".{method}" if method and method != "__call__" else "")
    return TraceError(
        f"{shown(name)} cannot be traced",
        where=where,
        why="gradc has no rule for it",
        do=replacement(name, public_name(function)),
        code="E_TRACE_FUNCTION",
    )


def frozen_write(name: str, where: str) -> TraceError:
    """User code writes to an array that is not its own."""
    return TraceError(
        f"{name or 'an argument'} is written to",
        where=where,
        why="it is an argument or a captured array: the caller's array would have to change",
        do=f"work on a copy: {name or 'x'} = {name or 'x'}.copy()",
        code="E_TRACE_WRITE",
    )


def view_write(where: str) -> TraceError:
    """User code writes through a view that does not lead back to its base."""
    return TraceError(
        "a view is written to that gradc cannot trace back to its array",
        where=where,
        why="views by indexing, reshape, transpose, swapaxes, moveaxis, flip and squeeze can be written to",
        do="write to the array itself, or to a copy",
        code="E_TRACE_WRITE",
    )


def captured_write(name: str, where: str) -> TraceError:
    """User code changes a captured container or object."""
    return TraceError(
        f"{name} is changed by the function",
        where=where,
        why="it lives outside the function; the compiled function would not change it again",
        do="return the new value instead",
        code="E_TRACE_SIDE_EFFECT",
    )


def outer_write(function: Callable[..., object], names: list[str], kind: str, where: str) -> TraceError:
    """User code assigns a global or an outer variable."""
    shown = ", ".join(names)
    return TraceError(
        f"{getattr(function, '__name__', 'the function')} assigns the {kind} {shown}",
        where=where,
        why="the assignment would happen while tracing only, not when the compiled function runs",
        do=f"return {shown} instead",
        code="E_TRACE_SIDE_EFFECT",
    )


def randomness(name: str, where: str) -> TraceError:
    """User code draws random numbers."""
    return TraceError(
        f"{shown(name)} is called inside the function",
        where=where,
        why="the numbers would be drawn once, while tracing, and stay the same in every call",
        do=replacement("numpy.random.draw"),
        code="E_TRACE_RANDOM",
    )


def unknown_attribute(kind: str, name: str, where: str) -> tuple[str, dict[str, str]]:
    """Return the text of a missing attribute: the arguments of a `GradcError`."""
    modules = {"np": np, "np.linalg": np.linalg}
    spelled = [
        f"{module}.{name}(x)" for module, real in modules.items() if callable(getattr(real, name, None))
    ]
    advice = spelled[0] if spelled else "a NumPy function of the array, or reshape and indexing"
    if name in _KNOWN_ATTRIBUTES:
        advice = replacement(name)
    return f"a traced value has no attribute {name}", {
        "where": where,
        "why": f"the value is {kind}: it has the attributes of an array that need no concrete elements",
        "do": advice,
        "code": "E_TRACE_ATTRIBUTE",
    }


_KNOWN_ATTRIBUTES = frozenset(
    (
        "item",
        "tolist",
        "tobytes",
        "nonzero",
        "argpartition",
        "partition",
        "searchsorted",
        "flat",
        "strides",
        "flags",
        "base",
        "data",
        "ptp",
        "imag",
        "fill",
    )
)


def no_axes(text: str, where: str) -> TraceError:
    """User code indexes, iterates or measures a value without axes."""
    return TraceError(
        "a traced value without axes is used as a sequence",
        where=where,
        why=f"{text}: it stands for a single number",
        do="np.reshape(x, (1,)) gives it an axis",
        code="E_TRACE_SCALAR",
    )


def bad_output(x: object, name: str) -> TraceError:
    """Refuse a result that is no array."""
    return TraceError(
        f"{name} returns a value of type {type(x).__name__}",
        why="results are arrays, numbers, and tuples, lists and dictionaries of these",
        do="return the arrays; has_aux=True allows other results beside the first",
        code="E_TRACE_OUTPUT",
    )


def large_container(what: str, count: int, limit: int) -> TraceError:
    """Refuse to capture a large list of numbers."""
    return TraceError(
        f"the function reads {what}, a container of {count} elements",
        why=f"each element would be checked at every call; containers up to {limit} elements are taken",
        do="make it an array: np.asarray(...)",
        code="E_TRACE_CONTAINER",
    )


def changed_container(argument: str, function: str) -> TraceError:
    """Return the error for a list or dictionary argument that the function changed."""
    return TraceError(
        f"{function} changes the container {argument}, one of its arguments",
        why="the function works on a copy while it is traced; the caller's container would keep its old contents",
        do=f"make a new one: {argument} = {{**{argument}, 'key': value}} or [*{argument}, value]",
        code="E_TRACE_CONTAINER",
    )


def leaked(x: object, where: str) -> TraceError:
    """Refuse a value of a trace that has ended or that runs elsewhere."""
    return TraceError(
        "a traced value of another trace is used",
        where=where,
        why=f"{x!r} was kept from an earlier call, or comes from another function that is being traced",
        do="pass the value as an argument, or return it",
        code="E_TRACE_LEAK",
    )


def out_inside(name: str, where: str) -> TraceError:
    """Refuse arrays for the gradient in a call that is being traced."""
    return TraceError(
        f"{name}(..., out=...) cannot be used while a function is traced",
        where=where,
        why="a traced gradient is no memory: there is nothing yet to write to the arrays",
        do="leave out= away and use what the call returns",
        code="E_TRACE_OUT",
    )


def kernel_inside(name: str, where: str) -> TraceError:
    """Refuse a method that is about a kernel, of a function that is being traced."""
    return TraceError(
        f"{name}.at, check, inspect, kernel and compile cannot be used while a function is traced",
        where=where,
        why="they are about kernels, and while tracing there is none",
        do="use them outside; grad, value_and_grad, vjp, jvp, jacobian, hessian and hvp work inside",
        code="E_TRACE_KERNEL",
    )
