"""What an operation on traced values does: lift the operands, let a handler add equations, wrap the result.

`Dispatch` is the part of a trace that traced values talk to.  Operations on arrays that are known while
tracing are carried out by NumPy itself; as soon as one operand is not known, the others become constants or
inputs of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import numpy as np

from gradc.errors import GradcError, ShapeError, TraceError
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.nodes import Access, Const, Operand
from gradc.ir.types import DType, dtype_of
from gradc.lang import operations, refusals
from gradc.lang.emit import Arg, Emitter, SizeValue, Value
from gradc.lang.operand_shapes import with_shapes
from gradc.lang.operands import (
    COMPARISONS,
    DIRECT,
    OPERATORS,
    PLAIN,
    array_of,
    contains_traced,
    is_concrete,
    is_direct,
    is_int,
    simplified,
    weak_of,
)
from gradc.lang.operations import masked
from gradc.lang.operations.lift import Handler
from gradc.lang.operations.masked import MaskedValue
from gradc.lang.pieces import show_origin
from gradc.lang.provenance import Place, Places
from gradc.lang.sizes import (
    Extent,
    Known,
    Number,
    ScalarGuard,
    combine,
    known_extent,
    known_number,
    relation,
)
from gradc.lang.traced import Captive, Content, Literal, Traced, TracedArray, TracedMasked, TracedScalar


class Dispatch:
    """The operations of one trace; `emit` adds their equations."""

    def __init__(self, emit: Emitter, places: Places) -> None:
        self.emit = emit
        self.places = places
        self.place: Place = places.of(None)
        self.poison: TraceError | None = None
        self.scalar_guards: list[ScalarGuard] = []
        self.mark = 0  # equations before the handler that is running: only newer results may be renamed
        emit.place = lambda: (self.place.origin, "")

    # --- places, refusals, numbers ----------------------------------------------------------------------

    def enter(self, frame: FrameType | None) -> None:
        """Note the user's place: the equations that follow come from there."""
        self.place = self.places.of(frame)

    def where(self) -> str:
        """Return the user's place for a message: the line, and carets below the expression."""
        return self.place.show()

    def line(self) -> str:
        """Return the user's place as one line: the reason of a guard."""
        return show_origin(self.place.origin)

    def poisoned(self, error: TraceError) -> TraceError:
        """Remember an error that user code may swallow, so that the end of the trace raises it again."""
        self.poison = self.poison or error
        return error

    def intercept(self, kind: str, value: object, frame: FrameType) -> TraceError:
        """Return the error for something that needs the number behind a traced value."""
        self.enter(frame)
        return self.poisoned(refusals.needs_number(kind, value, frame, self.where()))

    def number(self, kind: str, value: TracedScalar, frame: FrameType) -> Number:
        """Return the number behind a scalar made of extents and integer arguments; guards pin it."""
        if value._known is None:
            raise self.intercept(kind, value, frame)
        self.enter(frame)
        return self.pin(value._known)

    def pin(self, known: Known) -> Number:
        """Rely on a known number from here on."""
        reason = self.line()
        for size in known.sizes:
            self.emit.solver.specialise(size, reason)
        if known.arguments:
            guard = ScalarGuard(known.arguments, known.compute, known.number, reason)
            self.scalar_guards.append(guard)
        return known.number

    def extent(self, size: Size) -> object:
        """Return a size as user code sees it: an int where it is one."""
        size = self.emit.solver.resolve(size)
        return size if isinstance(size, int) else Extent(self, size)

    def specialise(self, size: Size, frame: FrameType) -> int:
        """Return the number behind a size, with a guard."""
        self.enter(frame)
        return self.emit.solver.specialise(size, self.line())

    def compare_sizes(self, name: str, left: Size, right: Size, frame: FrameType) -> bool:
        """Compare two sizes; the outcome becomes a guard."""
        self.enter(frame)
        solver = self.emit.solver
        outcome = bool(OPERATORS[name][1](solver.value(left), solver.value(right)))
        how, shift = relation(name, outcome)
        solver.require(left, how, extents.add(right, shift), self.line())
        return outcome

    def shape_of(self, value: Traced) -> tuple[Size, ...]:
        """Return the shape of a traced value."""
        content = value._now()
        if isinstance(content, Literal):
            return content.array.shape
        if isinstance(content, MaskedValue):
            raise masked.refused_masked("the shape")
        return self.emit.shape(self.value_of(content))

    def dtype_of(self, value: Traced) -> DType:
        """Return the dtype of a traced value."""
        content = value._now()
        return dtype_of(content.array.dtype) if isinstance(content, Literal | Captive) else content.dtype

    def element_count(self, value: Traced) -> object:
        """``value.size``."""
        return self.extent(extents.product(self.shape_of(value)))

    # --- contents ---------------------------------------------------------------------------------------

    def value_of(self, content: Content, hint: str = "") -> Value:
        """Return a content as a tensor of the program."""
        if isinstance(content, Value):
            return content
        if content.value is None:
            content.value = self.declare(content, hint)
        return content.value

    def declare(self, content: Literal | Captive, hint: str) -> Value:
        """Bring a concrete array into the program; `Trace` decides how."""
        raise NotImplementedError

    def argument_tree(self, x: Any) -> Any:
        """Return the arguments of a call with traced values lifted; `Trace` knows the kinds of arguments."""
        raise NotImplementedError

    def literal(self, array: np.ndarray, recipe: Callable[[], Value] | None = None) -> object:
        """Return a new array whose elements are known; a NumPy scalar stays one."""
        if not isinstance(array, np.ndarray) or array.ndim == 0:
            return array
        if array.dtype == object:
            raise self.poisoned(refusals.object_array(self.where()))
        found = TracedArray(self, Literal(array, recipe), hint=self.place.hint)
        found._contiguous = array.flags.c_contiguous
        return found

    def operand(self, x: Any) -> Arg | Literal | np.generic | list | tuple:
        """One operand of an operator; NotImplemented for what is no operand at all."""
        kind = type(x)
        if (kind is TracedScalar or kind is TracedArray) and x._trace is not self:
            raise self.poisoned(refusals.leaked(x, self.where()))
        if kind is TracedScalar:
            return x._content
        if kind is TracedArray:
            content = x._now()
            return content if isinstance(content, Literal) else self.value_of(content)
        if kind in PLAIN:
            return x
        if kind is Extent:
            return SizeValue(x._size)
        if kind is TracedMasked:
            return x._content
        return self._foreign_operand(x)

    def _foreign_operand(self, x: object) -> Any:
        if isinstance(x, np.ndarray):
            if x.dtype == object:
                raise self.poisoned(refusals.object_array(self.where()))
            return Literal(x) if x.ndim else x[()]
        if isinstance(x, np.generic):
            return x
        if isinstance(x, list | tuple):
            return self.argument_tree(x) if contains_traced(x) else Literal(np.asarray(x))
        if isinstance(x, PLAIN):  # an IntEnum counts as the int that it is
            return int(x) if isinstance(x, int) else float(x)
        return NotImplemented

    def lifted(self, operand: object) -> Any:
        """Return an operand without literals."""
        return self.value_of(operand) if isinstance(operand, Literal) else operand

    def made(self, result: Traced) -> Traced:
        """Return the result of a creation function: a new array in C order."""
        if type(result) is TracedArray and result._view is None and not result._frozen:
            result._contiguous = True
        return result

    def wrap(self, result: object, *, weak: type | None = None, known: Known | None = None) -> Any:
        """Return the result of a handler as user code sees it."""
        if isinstance(result, Value):
            return self._wrap_value(result, weak, known)
        if isinstance(result, SizeValue):
            return self.extent(result.size)
        if isinstance(result, MaskedValue):
            return TracedMasked(self, result)
        if isinstance(result, tuple) and hasattr(result, "_fields"):
            return type(result)(*map(self.wrap, result))
        if isinstance(result, list | tuple):
            return type(result)(map(self.wrap, result))
        return result

    def _wrap_value(self, result: Value, weak: type | None, known: Known | None) -> Traced:
        hint = self.place.hint
        if hint:
            result = self.named(result, hint)
        if result.shape:
            return TracedArray(self, result, hint=hint)
        if weak is not result.weak:
            result = Value(result.name, result.dtype, (), weak)
        return TracedScalar(self, result, hint=hint, known=known)

    def named(self, result: Value, hint: str) -> Value:
        """Give the tensor that was emitted last the name of the variable that takes it."""
        if len(self.emit.builder.equations) == self.mark:
            return result  # the handler returned an operand: it is known under its own name
        name = self.emit.builder.rename_last(result.name, hint)
        return result if name == result.name else Value(name, result.dtype, result.shape, result.weak)

    # --- operators --------------------------------------------------------------------------------------

    def operate(self, name: str, left: object, right: object, frame: FrameType) -> Any:
        """Apply a binary operator."""
        self.enter(frame)
        try:
            a, b = self.operand(left), self.operand(right)
            if a is NotImplemented or b is NotImplemented:
                return NotImplemented
            if isinstance(a, Literal) or isinstance(b, Literal):
                if is_concrete(a) and is_concrete(b):
                    return self.literal(OPERATORS[name][1](array_of(a), array_of(b)))
                a, b = self.lifted(a), self.lifted(b)
            if weak_of(a) is None or weak_of(b) is None:
                return self.wrap(self.binary(name, a, b))
            return self._weak(name, left, right, a, b)
        except GradcError as error:
            raise self.located(error, left, right) from None

    def binary(self, name: str, a: Any, b: Any) -> object:
        """Emit the equations of a binary operator on lifted operands."""
        if name in DIRECT and type(a) is Value and not a.shape and not (type(b) is Value and b.shape):
            found = self._of_numbers(name, a, b)
            if found is not None:
                return found
        a, b = simplified(a, b), simplified(b, a)
        if name in DIRECT and is_direct(a, b):
            self.mark = len(self.emit.builder.equations)
            return self.emit.elementwise(name, a, b)
        ufunc = OPERATORS[name][0]
        if isinstance(a, MaskedValue) or isinstance(b, MaskedValue):
            return masked.call(self.emit, ufunc, self.handler(ufunc), (a, b))
        return self.called(self.handler(ufunc), (a, b))

    def _of_numbers(self, name: str, a: Value, b: object) -> Value | None:
        """Take the short way for two numbers of one floating-point dtype: long scalar programs need it."""
        dtype = a.dtype
        if not dtype.is_float:
            return None
        if type(b) is Value and b.dtype is dtype:
            second: Operand = Access(b.name, ())
        elif type(b) is float and a.weak is None:
            second = Const(dtype.numpy.type(b).item(), dtype)
        else:
            return None
        result = DType.BOOL if name in COMPARISONS else dtype
        self.mark = len(self.emit.builder.equations)
        operands = (Access(a.name, ()), second)
        return Value(
            self.emit.builder.assign(name, operands, (), result, origin=self.place.origin), result, ()
        )

    def handler(self, function: Callable[..., object], method: str = "__call__") -> Handler:
        """Return the handler of a function or ufunc, or the error that says what to write instead."""
        if isinstance(function, np.ufunc):
            if method == "__call__" and function in operations.UFUNCS:
                return operations.UFUNCS[function]
            key = function if method == "__call__" else getattr(function, method)
        else:
            key = operations.key_of(function)
        found = operations.FUNCTIONS.get(key) or operations.CREATION.get(key)
        if found is None:
            raise self.poisoned(refusals.unsupported(function, self.where(), method=method))
        return found

    def knows(self, function: Callable[..., object]) -> bool:
        """Whether a function has a handler."""
        key = operations.key_of(function)
        return key in operations.FUNCTIONS or key in operations.CREATION or key in operations.UFUNCS

    def called(
        self, handler: Handler, args: Sequence[object], kwargs: Mapping[str, object] | None = None
    ) -> object:
        """Return the result of a handler, its equations marked as new."""
        self.mark = len(self.emit.builder.equations)
        return handler(self.emit, *args, **(kwargs or {}))

    def _weak(self, name: str, left: object, right: object, a: Any, b: Any) -> object:
        """Apply an operator to Python numbers: the result is a Python number too, known where both are."""
        first, second = self.known(left), self.known(right)
        known = combine(OPERATORS[name][1], first, second) if first and second else None
        if name == "divmod":
            pair = ("floor_divide", "mod")
            return tuple(self._weak(part, left, right, a, b) for part in pair)
        if name not in ("and", "or", "xor"):  # Python counts with True and False
            a, b = (self._as_number(x) for x in (a, b))
        if name == "pow" and is_int(a) and is_int(b) and (known is None or isinstance(known.number, float)):
            a = self.emit.cast(a, DType.F64) if isinstance(a, Value) else float(a) if type(a) is int else a
        result: Any = self.binary(name, a, b)
        dtype = result.dtype
        weak = bool if dtype.is_bool else float if dtype.is_float else int
        return self.wrap(result, weak=weak, known=known)

    def known(self, x: object) -> Known | None:
        """Return what is known of a Python number."""
        if type(x) is TracedScalar:
            return x._known
        if type(x) is Extent:
            return known_extent(x._size, self.emit.solver.value(x._size))
        return known_number(x)  # pyright: ignore[reportArgumentType]

    def _as_number(self, x: Any) -> Any:
        if isinstance(x, Value) and x.weak is bool:
            cast = self.emit.cast(x, DType.INT64)
            return Value(cast.name, cast.dtype, (), int)
        return int(x) if type(x) is bool else x

    def unary(self, name: str, value: Traced, frame: FrameType) -> Any:
        """Apply a unary operator."""
        self.enter(frame)
        ufunc, python = OPERATORS[name]
        content = value._now()
        if isinstance(content, Literal):
            return self.literal(ufunc(content.array))
        operand = self.value_of(content)
        known = value._known if type(value) is TracedScalar else None
        weak = operand.weak
        if weak is bool:
            operand, weak = self._as_number(operand), int
        try:
            result = self.called(self.handler(ufunc), (operand,))
        except GradcError as error:
            raise self.located(error, value) from None
        if name in ("trunc", "floor", "ceil"):
            return self.wrap(result, weak=weak)
        return self.wrap(result, weak=weak, known=combine(python, known) if known else None)

    def located(self, error: GradcError, *operands: object) -> GradcError:
        """`error` with the user's place and the shapes of the operands, unless it names a place already."""
        if not error.where:
            error.where = self.where()
            if isinstance(error, ShapeError):
                error.why = with_shapes(error.why, operands, self.emit.solver)
        return error
