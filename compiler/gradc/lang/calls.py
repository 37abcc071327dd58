"""Calls of NumPy functions and array methods on traced values."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
            raise self.located(error) from None

    def function(
        self, function: Callable[..., object], args: Arguments, kwargs: Options, frame: FrameType
    ) -> Any:
        """A NumPy, SciPy or `math` function."""
        self.enter(frame)
        try:
            if function in SAME and is_traced(args[0]) and not any(kwargs.values()) and len(args) == 1:
                return args[0]
            operation = Operation(function, function, self.handler(function))
            undo = VIEW_FUNCTIONS.get(function, ...)
            if undo is not ... and type(args[0]) is TracedArray:
                return self.view(operation, args[0], args[1:], kwargs, undo)
            if function in SPLITS and type(args[0]) is TracedArray:
                return self._split(operation, args[0], args[1:], kwargs)
            return self.invoke(operation, args, kwargs)
        except GradcError as error:
            raise self.located(error) from None

    def method(self, name: str, value: Traced, args: Arguments, kwargs: Options, frame: FrameType) -> Any:
        """An array method."""
        self.enter(frame)
        try:
            operation = Operation(name, _concrete_method(name), operations.METHODS.get(name))
            undo = VIEW_METHODS.get(name, ...)
            if undo is not ... and type(value) is TracedArray:
                return self.view(operation, value, args, kwargs, undo)
            return self.invoke(operation, (value, *args), kwargs)
        except GradcError as error:
            raise self.located(error) from None

    # --- attributes -------------------------------------------------------------------------------------

    def attribute(self, value: Traced, name: str, frame: FrameType) -> object:
        """An attribute that the class does not define: an array method, or an error."""
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

    def tolist(self, value: Traced) -> object:
        """``value.tolist()``: nested lists of Python numbers."""
        if type(value) is not TracedArray:
            return self.item(value)
        return [self.tolist(part) if is_traced(part) else part.item() for part in value]  # pyright: ignore[reportAttributeAccessIssue]

    def fill(self, value: Traced, number: object) -> None:
        """``value.fill(number)``."""
        self.store(value, Ellipsis, number, sys._getframe(2))  # pyright: ignore[reportArgumentType]

    def sort_in_place(self, value: Traced, axis: int = -1) -> None:
        """``value.sort()``, which changes the array itself."""
        self.store(
            value, Ellipsis, self.function(np.sort, (value, axis), {}, sys._getframe(2)), sys._getframe(2)
        )  # pyright: ignore[reportArgumentType]


_OWN_METHODS: dict[str, Callable[..., object]] = {
    "item": Calls.item,
    "tolist": Calls.tolist,
    "fill": Calls.fill,
    "sort": Calls.sort_in_place,
}


def _concrete_method(name: str) -> Callable[..., object]:
    return lambda array, *args, **kwargs: getattr(array, name)(*args, **kwargs)


__all__ = ["Calls"]
