"""Calls of NumPy functions and array methods on traced values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np

from gradc.errors import GradcError
from gradc.ir.types import DType
from gradc.lang import operations, refusals
from gradc.lang.emit import Value
from gradc.lang.items import Arguments, Items, Operation, Options
from gradc.lang.operations import masked
from gradc.lang.traced import (
    Traced,
    TracedArray,
    TracedAttributeError,
    TracedMasked,
    TracedScalar,
    is_traced,
)
from gradc.lang.views import SAME, SPLITS, VIEW_FUNCTIONS, VIEW_METHODS


class Calls(Items):
    """Functions, methods and attributes."""

    # --- functions --------------------------------------------------------------------------------------

    def ufunc(
        self, ufunc: np.ufunc, method: str, inputs: Arguments, options: Options, frame: FrameType
    ) -> object:
        """``ufunc(*inputs)`` or one of its methods."""
        self.enter(frame)
        try:
            concrete = ufunc if method == "__call__" else getattr(ufunc, method)
            if method == "at":
                raise self.poisoned(refusals.unsupported(ufunc, self.where(), method=method))
            return self.invoke(Operation(ufunc, concrete, self.handler(ufunc, method)), inputs, options)
        except GradcError as error:
            raise self.located(error, *inputs, options) from None

    def function(
        self, function: Callable[..., object], args: Arguments, kwargs: Options, frame: FrameType
    ) -> Any:
        """Call a NumPy, SciPy or `math` function."""
        self.enter(frame)
        try:
            operation = Operation(function, function, self.handler(function))
            first, rest, options = _split_first(args, kwargs)
            if type(first) is not TracedArray:
                return self.invoke(operation, args, kwargs)
            if function in SAME and self._keeps(first, rest, options):
                return first
            undo = VIEW_FUNCTIONS.get(function, ...)
            if undo is not ... and not (function is np.diag and first.ndim == 1):
                return self.view(operation, first, rest, options, undo)
            if function in SPLITS:
                return self._split(operation, first, rest, options)
            return self.invoke(operation, args, kwargs)
        except GradcError as error:
            raise self.located(error, *args, kwargs) from None

    def method(self, name: str, value: Traced, args: Arguments, kwargs: Options, frame: FrameType) -> Any:
        """Call an array method."""
        self.enter(frame)
        try:
            operation = Operation(name, _concrete_method(name), operations.METHODS.get(name))
            if name == "astype" and kwargs.get("copy") is False and self._keeps(value, args, {}):
                return value
            undo = VIEW_METHODS.get(name, ...)
            if undo is not ... and type(value) is TracedArray:
                return self.view(operation, value, args, kwargs, undo)
            return self.invoke(operation, (value, *args), kwargs)
        except GradcError as error:
            raise self.located(error, value, *args, kwargs) from None

    def _keeps(self, value: Traced, args: Arguments, kwargs: Options) -> bool:
        """Whether ``np.asarray(value, dtype)`` and its like give the array itself."""
        dtype = self.concrete_tree(args[0] if args else kwargs.get("dtype"))
        return dtype is None or np.dtype(dtype) == value.dtype

    # --- attributes -------------------------------------------------------------------------------------

    def attribute(self, value: Traced, name: str, frame: FrameType) -> object:
        """Return an attribute that the class does not define: an array method, or an error."""
        own = _OWN_METHODS.get(name)
        if own is not None and type(value) is not TracedMasked:
            return lambda *args, **kwargs: own(self, value, *args, **kwargs)
        known = masked.REDUCTIONS if type(value) is TracedMasked else operations.METHODS
        if name in known:
            return lambda *args, **kwargs: self.method(name, value, args, kwargs, sys._getframe(1))
        self.enter(frame)
        what, details = refusals.unknown_attribute(repr(value), name, self.where())
        raise TracedAttributeError(what, **details)

    def item(self, value: Traced, *index: int) -> object:
        """``value.item()``: the one element as a Python number."""
        self.enter(sys._getframe(2))
        if type(value) is TracedArray:
            picked: Any = (
                self.get_at(value, index)
                if index
                else self.method("reshape", value, ((),), {}, sys._getframe(2))
            )
        else:
            picked = value
        if not is_traced(picked):
            return picked.item() if isinstance(picked, np.generic) else picked
        dtype: DType = picked._content.dtype
        weak = bool if dtype.is_bool else float if dtype.is_float else int
        widened = self.emit.cast(
            picked._content, DType.F64 if weak is float else DType.INT64 if weak is int else dtype
        )
        return TracedScalar(self, Value(widened.name, widened.dtype, (), weak), known=picked._known)

    def tolist(self, value: Any) -> object:
        """``value.tolist()``: nested lists of Python numbers."""
        if type(value) is not TracedArray:
            return self.item(value)
        parts: Iterator[Any] = iter(value)
        return [self.tolist(part) if is_traced(part) else part.item() for part in parts]

    def fill(self, value: Any, number: object) -> None:
        """``value.fill(number)``."""
        self.store(value, Ellipsis, number, sys._getframe(2))

    def sort_in_place(self, value: Any, axis: int = -1) -> None:
        """``value.sort()``, which changes the array itself."""
        frame = sys._getframe(2)
        self.store(value, Ellipsis, self.function(np.sort, (value, axis), {}, frame), frame)


_OWN_METHODS: dict[str, Callable[..., object]] = {
    "item": Calls.item,
    "tolist": Calls.tolist,
    "fill": Calls.fill,
    "sort": Calls.sort_in_place,
}


def _split_first(args: Arguments, kwargs: Options) -> tuple[object, Arguments, Options]:
    """Return the array that a function is about, by position or by name, and the other arguments."""
    if args:
        return args[0], args[1:], kwargs
    options = dict(kwargs)
    name = next(iter(options), None)
    return (options.pop(name) if name else None), (), options


def _concrete_method(name: str) -> Callable[..., object]:
    return lambda array, *args, **kwargs: getattr(array, name)(*args, **kwargs)


__all__ = ["Calls"]
