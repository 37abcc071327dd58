"""Stand-ins of builtins: `len`, `min`, `max`, `sum`, and the number classes `float` and `int`."""

from __future__ import annotations

import builtins
import functools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

from gradc.ir.types import DType
from gradc.lang.emit import Value
from gradc.lang.operands import REAL, contains_traced
from gradc.lang.sizes import Extent, Tracer, combine
from gradc.lang.traced import TracedArray, TracedScalar, is_traced


def builtin_stand_ins(trace: Tracer) -> dict[str, Any]:
    """Return the builtins that traced values need, by name."""
    return {
        "len": lambda x: _len(trace, x),
        "min": functools.partial(_extreme, trace, builtins.min, np.minimum, np.min),
        "max": functools.partial(_extreme, trace, builtins.max, np.maximum, np.max),
        "sum": functools.partial(_sum, trace),
        "float": cast_class(trace, float),
        "int": cast_class(trace, int),
    }


def _len(trace: Tracer, x: Any) -> Any:
    if type(x) is TracedArray:
        return trace.extent(trace.shape_of(x)[0])
    return builtins.len(x)


def _extreme(
    trace: Tracer,
    python: Callable[..., Any],
    pairwise: np.ufunc,
    whole: Callable[..., Any],
    *args: Any,
    **kwargs: Any,
) -> Any:
    """`min` and `max`; NaN wins, as in NumPy."""
    frame = sys._getframe(1)
    items = args
    if len(args) == 1 and not kwargs:
        if type(args[0]) is TracedArray:
            return trace.function(whole, (args[0],), {"axis": 0}, frame)
        items = tuple(args[0])
    if kwargs or not any(is_traced(item) for item in items):
        return python(items, **kwargs) if len(args) == 1 and not kwargs else python(*args, **kwargs)
    return functools.reduce(lambda a, b: _weakly(trace, python, pairwise, a, b, frame), items)


def _weakly(
    trace: Tracer, python: Callable[..., Any], ufunc: np.ufunc, a: Any, b: Any, frame: FrameType
) -> Any:
    """Apply a ufunc of two values; the result is a Python number where both are."""
    result = trace.ufunc(ufunc, "__call__", (a, b), {}, frame)
    kinds = [x._content.weak if type(x) is TracedScalar else type(x) for x in (a, b)]
    if type(result) is not TracedScalar or not all(kind in (float, int, Extent) for kind in kinds):
        return result
    weak = float if float in kinds else int
    parts = [trace.known(x) for x in (a, b)]
    known = combine(python, *parts) if None not in parts else None  # pyright: ignore[reportArgumentType]
    content = result._content
    return TracedScalar(trace, Value(content.name, content.dtype, (), weak), hint=result._hint, known=known)


def _sum(trace: Tracer, iterable: Any, /, start: Any = 0) -> Any:
    if type(iterable) is TracedArray and type(start) is int and start == 0:
        return trace.function(np.sum, (iterable,), {"axis": 0}, sys._getframe(1))
    items: Any = iterable
    return builtins.sum(items, start)


class CastMeta(type):
    """The class of stand-ins for number classes: they call, compare and test as what they stand for."""

    __gradc_real__: type
    _convert: Callable[..., Any]

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Convert a traced value, or call the class itself."""
        if args and (is_traced(args[0]) or type(args[0]) is Extent or contains_traced(args[0])):
            return cls._convert(args[0], sys._getframe(1))
        return cls.__gradc_real__(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.__gradc_real__)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(getattr(subclass, REAL, subclass), cls.__gradc_real__)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.__gradc_real__ or getattr(other, REAL, None) is cls.__gradc_real__

    def __hash__(cls) -> int:
        return hash(cls.__gradc_real__)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.__gradc_real__, name)


def cast_class(trace: Tracer, real: type) -> type:
    """Return the stand-in of a number class; as a dtype NumPy takes it for the class that it stands for."""
    convert = {float: _to_float, int: _to_int}.get(real, functools.partial(_to_scalar_type, real))
    # NumPy's abstract classes (np.floating) are no dtypes; they are only tested against.
    concrete = real in (float, int) or real().dtype is not None if not _is_abstract(real) else False
    namespace: dict[str, Any] = {
        REAL: real,
        "_convert": staticmethod(functools.partial(convert, trace)),
        "__doc__": real.__doc__,
        "__module__": real.__module__,
    }
    if concrete:
        namespace["dtype"] = np.dtype(real)
    return CastMeta(real.__name__, (), namespace)


def _is_abstract(real: type) -> bool:
    return real in (np.generic, np.number, np.inexact, np.floating, np.integer, np.signedinteger) or real in (
        np.unsignedinteger,
        np.complexfloating,
        np.flexible,
        np.character,
    )


def _to_float(trace: Tracer, x: Any, frame: FrameType) -> Any:
    """``float(x)``: the traced number as a Python float."""
    if type(x) is Extent:
        return trace.operate("mul", x, 1.0, frame)
    if type(x) is not TracedScalar:
        raise trace.intercept("float()", x, frame)
    trace.enter(frame)
    value = trace.emit.cast(x._content, DType.F64)
    known = combine(float, x._known) if x._known else None
    return TracedScalar(trace, Value(value.name, value.dtype, (), float), hint=x._hint, known=known)


def _to_int(trace: Tracer, x: Any, frame: FrameType) -> Any:
    """``int(x)``: an integer stays traced, a float only has a number where it is known."""
    if type(x) is Extent or (type(x) is TracedScalar and x._content.weak is int):
        return x
    if type(x) is not TracedScalar:
        raise trace.intercept("int()", x, frame)
    return int(trace.number("int()", x, frame))


def _to_scalar_type(real: type, trace: Tracer, x: Any, frame: FrameType) -> Any:
    """``np.float64(x)`` and its like."""
    return trace.function(real, (x,), {}, frame)
