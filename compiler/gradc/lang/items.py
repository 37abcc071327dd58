"""Arrays as things with parts: carrying out calls, views, indexing, and assignment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from gradc.errors import DTypeError, GradcError, ShapeError
from gradc.lang import refusals
from gradc.lang.dispatch import Dispatch
from gradc.lang.emit import Value
from gradc.lang.operands import REAL, contains_traced, index_parts, needs_equations
from gradc.lang.operations import masked
from gradc.lang.operations.assignment import set_item
from gradc.lang.operations.indexing import get_item
from gradc.lang.operations.lift import Handler
from gradc.lang.operations.masked import MaskedValue
from gradc.lang.sizes import combine
from gradc.lang.traced import (
    Captive,
    Content,
    Literal,
    Traced,
    TracedArray,
    TracedScalar,
    View,
    is_array,
    is_traced,
)
from gradc.lang.views import Undo, WriteBack, index_key

Arguments = tuple[object, ...]
Options = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Operation:
    """A NumPy call in both worlds: `concrete` for arrays that are known, `handler` for equations."""

    key: object
    concrete: Callable[..., Any]
    handler: Handler | None


class Items(Dispatch):
    """Calls on contents, views, indexing and assignment."""

    # --- calls ------------------------------------------------------------------------------------------

    def invoke(self, operation: Operation, args: Arguments, kwargs: Options) -> Any:
        """Carry out a call on concrete arrays, or emit its equations."""
        out = kwargs.get("out")
        if out is not None:
            return self._into(operation, args, kwargs, out)
        if not needs_equations(args) and not needs_equations(tuple(kwargs.values())):
            return self._concretely(operation, args, kwargs)
        weak, known = self._python_result(operation, args)
        result = self._emitted(operation, args, kwargs)
        return self.wrap(result, weak=weak, known=known) if weak else self.wrap(result)

    def _emitted(self, operation: Operation, args: Arguments, kwargs: Options) -> object:
        lifted = [self.argument_tree(arg) for arg in args]
        options = {name: self.argument_tree(arg) for name, arg in kwargs.items()}
        if any(isinstance(arg, MaskedValue) for arg in lifted):
            return masked.call(self.emit, operation.key, operation.handler, lifted, options)  # pyright: ignore[reportArgumentType]
        assert operation.handler is not None
        return self.called(operation.handler, lifted, options)

    def _concretely(self, operation: Operation, args: Arguments, kwargs: Options) -> Any:
        given = tuple(self.concrete_tree(arg) for arg in args)
        options = {name: self.concrete_tree(arg) for name, arg in kwargs.items()}
        return self.literal_tree(operation.concrete(*given, **options))

    def concrete_tree(self, x: Any) -> Any:
        """Return an argument with known arrays as `ndarray`s and stand-in classes as what they stand for."""
        if type(x) is TracedArray:
            content = x._now()
            assert isinstance(content, Literal)
            return content.array
        if isinstance(x, list | tuple) and not hasattr(x, "_fields"):
            items = [self.concrete_tree(item) for item in x]
            return tuple(items) if isinstance(x, tuple) else items
        return getattr(x, REAL) if isinstance(x, type) and hasattr(x, REAL) else x

    def literal_tree(self, result: Any) -> Any:
        """Wrap the result of a concrete call; arrays are copied, so that views are tracked by us alone."""
        if isinstance(result, np.ndarray):
            return self.literal(result.copy() if result.base is not None else result)
        if isinstance(result, list | tuple):
            items = [self.literal_tree(item) for item in result]
            return type(result)(*items) if hasattr(result, "_fields") else type(result)(items)
        return result

    def _python_result(self, operation: Operation, args: Arguments) -> tuple[type | None, Any]:
        """Return what a `math` function of known numbers gives: a Python number that may be known as well."""
        if getattr(operation.key, "__module__", "") != "math" or any(
            type(arg) is TracedArray or isinstance(arg, list | tuple) for arg in args
        ):
            return None, None
        name = getattr(operation.key, "__name__", "")
        weak = int if name in ("floor", "ceil", "trunc") else bool if name.startswith("is") else float
        parts = [self.known(arg) for arg in args]
        if None in parts:
            return weak, None
        return weak, combine(operation.concrete, *parts)  # pyright: ignore[reportArgumentType]

    def _into(self, operation: Operation, args: Arguments, kwargs: Options, out: Any) -> object:
        """Carry out a call with ``out=``: an assignment to an array made in the function."""
        target = out[0] if isinstance(out, tuple) and len(out) == 1 else out
        if type(target) is not TracedArray:
            raise self.poisoned(refusals.frozen_write("the array given as out=", self.where()))
        rest = {name: option for name, option in kwargs.items() if name != "out"}
        self.store_at(target, Ellipsis, self.invoke(operation, args, rest))
        return target

    # --- views ------------------------------------------------------------------------------------------

    def apply(self, operation: Operation, content: Content, args: Arguments, kwargs: Options) -> Content:
        """Apply a view function to a content of either kind."""
        if isinstance(content, Literal):
            options = {name: self.concrete_tree(arg) for name, arg in kwargs.items()}
            return Literal(
                operation.concrete(content.array, *map(self.concrete_tree, args), **options).copy()
            )
        options = {name: self.argument_tree(arg) for name, arg in kwargs.items()}
        assert operation.handler is not None
        value = self.value_of(content)
        return self.called(operation.handler, (value, *map(self.argument_tree, args)), options)  # pyright: ignore[reportReturnType]

    def view(
        self, operation: Operation, base: TracedArray, args: Arguments, kwargs: Options, undo: Undo | None
    ) -> Any:
        """Call a function that returns a view: remember the base unless nobody may write to it."""
        if needs_equations((args, tuple(kwargs.values()))) and isinstance(base._now(), Literal):
            self.value_of(base._now())
        result = self.wrap_content(self.apply(operation, base._now(), args, kwargs))
        if type(result) is not TracedArray:
            return result
        result._frozen = base._frozen
        if not base._frozen:
            back = None if undo is None else undo(self.shape_of(base), args, kwargs)
            reshaped = back is not None and back.function is np.reshape
            keeps = operation.key in (np.squeeze, "squeeze", np.expand_dims)
            certain = not reshaped or keeps or base._contiguous
            result._view = View(
                base,
                lambda content: self.apply(operation, content, args, kwargs),
                None if back is None else self._undoing(back),
                None,
                certain,
                base._version,
            )
            result._contiguous = reshaped and base._contiguous
        return result

    def _undoing(self, back: WriteBack) -> Callable[[Content, Content], Content]:
        """Return the function that brings the content of a view into the form of its base."""
        operation = Operation(back.function, back.function, self.handler(back.function))
        return lambda whole, part: self.apply(operation, part, back.arguments, {})

    def wrap_content(self, content: Content) -> Any:
        """Return a content as user code sees it."""
        return self.literal(content.array) if isinstance(content, Literal) else self.wrap(content)

    def _split(self, operation: Operation, base: TracedArray, args: Arguments, kwargs: Options) -> Any:
        """Several views at once: they can be read after a write to the base, not written."""
        parts = self.invoke(operation, (base, *args), kwargs)
        for part in parts:
            if type(part) is TracedArray:
                part._frozen = base._frozen
                if not base._frozen:
                    part._view = View(base, _unreadable, None, None, False, base._version)
        return parts

    def uncertain_view(self) -> GradcError:
        """Return the error for reading or writing a view that gradc does not follow."""
        return self.poisoned(refusals.view_write(self.where()))

    def copied(self, value: Traced) -> Any:
        """``value.copy()``."""
        content = value._now()
        if isinstance(content, Literal):
            return self.literal(content.array.copy(), content.recipe)
        if type(value) is TracedScalar:
            return TracedScalar(self, content, hint=value._hint, known=value._known)  # pyright: ignore[reportArgumentType]
        if isinstance(content, MaskedValue):
            return value
        result = TracedArray(self, self.value_of(content), hint=value._hint)
        result._contiguous = True
        return result

    # --- indexing ---------------------------------------------------------------------------------------

    def get(self, array: TracedArray, index: Any, frame: FrameType) -> Any:
        """``array[index]``."""
        self.enter(frame)
        try:
            return self.get_at(array, index)
        except GradcError as error:
            raise self.located(error, array, index) from None

    def get_at(self, array: TracedArray, index: Any) -> Any:
        """``array[index]`` at the present place."""
        result = self.wrap_content(self._item(array._now(), index))
        key = index_key(index)
        if type(result) is TracedArray and key is not None:
            result._frozen = array._frozen
            if not array._frozen:
                result._view = View(
                    array,
                    lambda content: self._item(content, index),
                    lambda whole, part: self._with_item(whole, index, part, array._hint),
                    key,
                    True,
                    array._version,
                )
                result._contiguous = array._contiguous and not (isinstance(index, tuple) or _strided(index))
        return result

    def _item(self, content: Content, index: Any) -> Content:
        if isinstance(content, Literal) and not needs_equations((index_parts(index),)):
            picked = content.array[self.concrete_tree(index)]
            # A scalar of a known array is a known number.
            return Literal(np.array(picked)) if isinstance(picked, np.ndarray) else Literal(picked)
        return get_item(self.emit, self.value_of(content), self.index_tree(index, content))

    def index_tree(self, index: Any, content: Content) -> Any:
        """Lift the traced parts of an index expression; a concrete mask becomes the positions it selects."""
        if isinstance(index, tuple):
            parts: list[Any] = []
            for part in index:
                lifted = self._index_part(part, content, sum(part is not None for part in parts))
                parts += lifted if isinstance(lifted, list) else [lifted]
            return tuple(parts)
        lifted = self._index_part(index, content, 0)
        return tuple(lifted) if isinstance(lifted, list) else lifted

    def _index_part(self, part: Any, content: Content, at: int) -> Any:
        if isinstance(part, slice):
            return slice(*(self._slice_bound(bound) for bound in (part.start, part.stop, part.step)))
        if type(part) is TracedArray and isinstance(part._now(), Literal):
            part = part._now().array  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(part, list) and not contains_traced(part):
            part = np.asarray(part) if part else np.zeros(0, int)
        if is_array(part) and part.dtype == bool and part.ndim:
            self._covered(part, content, at)
            return [self.value_of(Literal(positions)) for positions in np.nonzero(part)]
        return self.argument_tree(part)

    def _covered(self, mask: np.ndarray, content: Content, at: int) -> None:
        """Fix the extents of the axes that a concrete mask covers."""
        shape = self.emit.shape(self.value_of(content))[at : at + mask.ndim]
        for size, extent in zip(shape, mask.shape, strict=False):
            self.emit.solver.unify(size, extent, "a mask has the extents of the axes that it covers")

    def _slice_bound(self, bound: Any) -> Any:
        if type(bound) is TracedScalar and bound._known is not None:
            return self.pin(bound._known)
        return self.argument_tree(bound)

    def store(self, array: TracedArray, index: Any, new: object, frame: FrameType) -> None:
        """``array[index] = new``."""
        self.enter(frame)
        try:
            view = new._view if type(new) is TracedArray else None
            key = index_key(index)
            if view is not None and view.base is array and key is not None and view.key == key:
                new._now()  # pyright: ignore[reportAttributeAccessIssue]
                return  # ``array[index] += ...`` has written through the view already
            self.store_at(array, index, new)
        except GradcError as error:
            raise self.located(error, array, index, new) from None

    def store_at(self, array: TracedArray, index: Any, new: object) -> None:
        """``array[index] = new`` at the present place."""
        if array._frozen:
            raise self.poisoned(refusals.frozen_write(array._hint, self.where()))
        array._replace(self._with_item(array._now(), index, new, array._hint))

    def _with_item(self, content: Content, index: Any, new: Any, hint: str = "") -> Content:
        if type(new) is TracedArray:
            new = new._now()
        if isinstance(new, Literal):
            new = new.array
        traced = is_traced(new) or isinstance(new, Value | Captive | MaskedValue) or contains_traced(new)
        if isinstance(content, Literal) and not traced and not needs_equations((index_parts(index),)):
            changed = content.array.copy()
            changed[self.concrete_tree(index)] = new
            return Literal(changed)
        if isinstance(new, Captive):
            new = self.value_of(new)
        value = self.value_of(content, hint)
        if is_array(index) and index.dtype == bool:
            where: Any = self.value_of(Literal(index))
        else:
            where = self.index_tree(index, content)
        self.mark = len(self.emit.builder.equations)
        result = set_item(self.emit, value, where, self.argument_tree(new))
        return self.named(result, hint) if hint else result

    def augment(self, name: str, target: TracedArray, other: object, frame: FrameType) -> object:
        """``target += other`` and its relatives: the array itself changes, and what it is a view of."""
        self.enter(frame)
        try:
            if target._frozen:
                raise self.poisoned(refusals.frozen_write(target._hint, self.where()))
            result = self.operate(name, target, other, frame)
            if result is NotImplemented:
                return NotImplemented
            target._replace(self._fitted(target, result))
            return target
        except GradcError as error:
            raise self.located(error, target, other) from None

    def _fitted(self, target: TracedArray, result: Any) -> Content:
        """Return the result of an augmented assignment in the dtype and shape of its target."""
        dtype, shape = self.dtype_of(target), self.shape_of(target)
        if not isinstance(result, Traced):
            raise ShapeError(
                "the result of an augmented assignment is no array", do="assign the result instead"
            )
        found = self.dtype_of(result)
        if not np.can_cast(found.numpy, dtype.numpy, "same_kind"):
            raise DTypeError(
                f"an array of dtype {dtype} cannot take a result of dtype {found} in place",
                do="convert the array first, or write y = y + x",
            )
        content = result._now()
        if isinstance(content, Literal) and content.array.shape == shape:
            return Literal(content.array.astype(dtype.numpy))
        value = self.emit.cast(self.value_of(content), dtype)
        return self.emit.broadcast_to(value, shape)

    def iterate(self, array: TracedArray) -> Iterator[object]:
        """Return the items along the first axis; their number is specialised."""
        frame = sys._getframe(1)
        names = self.places.unpacked(frame)
        count = self.specialise(self.shape_of(array)[0], frame)
        for position in range(count):
            self.enter(sys._getframe(1))
            if position < len(names):
                self.place = self.places.named(self.place, names[position])
            yield self.get_at(array, position)


def _unreadable(content: Content) -> Content:
    return content


def _strided(index: object) -> bool:
    return isinstance(index, slice) and index.step not in (None, 1)


__all__ = ["Arguments", "Items", "Operation", "Options"]
