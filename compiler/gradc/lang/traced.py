"""The values that stand for arrays and numbers while a function is traced.

A traced value is no `ndarray`: it takes part in NumPy through ``__array_ufunc__``, ``__array_function__``
and Python's operators, and refuses by name everything that needs a number.  There are two classes, because
NumPy takes an object with ``__len__`` or ``__getitem__`` for a sequence and hides our message behind its
own: `TracedScalar` has no axes and lacks them, `TracedArray` has at least one axis.

The methods do no more than find the trace: what they mean is in `gradc.lang.dispatch`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from gradc.errors import TraceError
from gradc.ir.extents import show
from gradc.lang.emit import Value
from gradc.lang.operations.masked import MaskedValue
from gradc.lang.sizes import Known, Tracer


class TracedAttributeError(TraceError, AttributeError):
    """An array attribute that a traced value does not have.  Fix: the NumPy call that the message names."""


@dataclass(slots=True)
class Literal:
    """An array whose elements are known while tracing; `recipe` emits it where an equation can say it."""

    array: np.ndarray
    recipe: Callable[[], Value] | None = None
    value: Value | None = None


@dataclass(slots=True)
class Captive:
    """An array of the user's that the function captured; it becomes an input when it is first used."""

    array: np.ndarray
    name: str
    read: Callable[[], np.ndarray]
    value: Value | None = None


Content = Value | Literal | Captive | MaskedValue


@dataclass(slots=True)
class View:
    """Shared memory, functionally: `forward` reads the view off its base, `backward` writes it back.

    `backward` takes the contents of the base and of the view and gives the new content of the base; it is
    None for views that cannot be written.  `key` tells views by different indices apart.  `certain` is False
    where NumPy may have made a copy instead, depending on the layout: then writing to either side is refused.
    """

    base: TracedArray
    forward: Callable[[Content], Content]
    backward: Callable[[Content, Content], Content] | None
    key: object = None
    certain: bool = True
    seen: int = 0


def _operator(name: str) -> Callable[[Any, Any], Any]:
    def method(self: Traced, other: object) -> object:
        return self._trace.operate(name, self, other, sys._getframe(1))

    return method


def _reflected(name: str) -> Callable[[Any, Any], Any]:
    def method(self: Traced, other: object) -> object:
        return self._trace.operate(name, other, self, sys._getframe(1))

    return method


def _unary(name: str) -> Callable[[Any], Any]:
    def method(self: Traced) -> object:
        return self._trace.unary(name, self, sys._getframe(1))

    return method


def _augmented(name: str) -> Callable[[Any, Any], Any]:
    def method(self: TracedArray, other: object) -> object:
        return self._trace.augment(name, self, other, sys._getframe(1))

    return method


def _intercepted(kind: str) -> Callable[..., Any]:
    def method(self: Traced, *arguments: object, **options: object) -> object:
        raise self._trace.intercept(kind, self, sys._getframe(1))

    return method


class Traced:
    """What both kinds of traced values share."""

    __slots__ = ("_content", "_frozen", "_hint", "_trace")
    __array_priority__ = 1000.0

    def __init__(self, trace: Tracer, content: Content, *, frozen: bool = False, hint: str = "") -> None:
        self._trace = trace
        self._content = content
        self._frozen = frozen
        self._hint = hint

    def _now(self) -> Content:
        """Return the present content."""
        return self._content

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **options: object) -> object:
        return self._trace.ufunc(ufunc, method, inputs, options, sys._getframe(1))

    def __array_function__(
        self,
        function: Callable[..., object],
        types: object,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> object:
        return self._trace.function(function, args, kwargs, sys._getframe(1))

    __add__, __radd__ = _operator("add"), _reflected("add")
    __sub__, __rsub__ = _operator("sub"), _reflected("sub")
    __mul__, __rmul__ = _operator("mul"), _reflected("mul")
    __truediv__, __rtruediv__ = _operator("div"), _reflected("div")
    __floordiv__, __rfloordiv__ = _operator("floor_divide"), _reflected("floor_divide")
    __mod__, __rmod__ = _operator("mod"), _reflected("mod")
    __matmul__, __rmatmul__ = _operator("matmul"), _reflected("matmul")
    __and__, __rand__ = _operator("and"), _reflected("and")
    __or__, __ror__ = _operator("or"), _reflected("or")
    __xor__, __rxor__ = _operator("xor"), _reflected("xor")
    __lshift__, __rlshift__ = _operator("lshift"), _reflected("lshift")
    __rshift__, __rrshift__ = _operator("rshift"), _reflected("rshift")
    __divmod__, __rdivmod__ = _operator("divmod"), _reflected("divmod")
    __rpow__ = _reflected("pow")
    __lt__, __le__, __gt__, __ge__ = _operator("lt"), _operator("le"), _operator("gt"), _operator("ge")
    __eq__, __ne__ = _operator("eq"), _operator("ne")
    __neg__, __abs__, __invert__ = _unary("neg"), _unary("abs"), _unary("invert")

    def __pow__(self, other: object, modulus: object = None) -> object:
        if modulus is not None:
            raise self._trace.intercept("three-argument pow", self, sys._getframe(1))
        return self._trace.operate("pow", self, other, sys._getframe(1))

    def __pos__(self) -> object:
        return self.copy()

    def __round__(self, digits: int | None = None) -> object:
        return self._trace.method("round", self, () if digits is None else (digits,), {}, sys._getframe(1))

    __trunc__, __floor__, __ceil__ = _unary("trunc"), _unary("floor"), _unary("ceil")

    __float__, __int__, __index__ = _intercepted("float()"), _intercepted("int()"), _intercepted("an index")
    __bool__, __complex__ = _intercepted("a truth value"), _intercepted("complex()")
    __hash__ = _intercepted("hash()")
    __array__ = _intercepted("a concrete array")

    def __repr__(self) -> str:
        shape = self._trace.shape_of(self)
        axes = f"[{', '.join(show(size) for size in shape)}]" if shape else ""
        return f"<traced {self._trace.dtype_of(self).short}{axes}>"

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __copy__(self) -> object:
        return self.copy()

    def __deepcopy__(self, memo: object) -> object:
        return self.copy()

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._trace.attribute(self, name, sys._getframe(1))

    # --- what NumPy arrays answer without computing -----------------------------------------------------

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype."""
        return self._trace.dtype_of(self).numpy

    @property
    def shape(self) -> tuple[object, ...]:
        """The shape; symbolic axes are `Extent`s."""
        return tuple(self._trace.extent(size) for size in self._trace.shape_of(self))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self._trace.shape_of(self))

    @property
    def size(self) -> object:
        """The number of elements."""
        return self._trace.element_count(self)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> object:
        """Bytes of all elements."""
        return self.size * self.itemsize  # pyright: ignore[reportOperatorIssue]

    @property
    def real(self) -> Traced:
        """The value itself: traced values are real."""
        return self

    def copy(self, order: str = "C") -> Any:
        """Return a new value that shares nothing."""
        return self._trace.copied(self)

    def conj(self) -> Traced:
        """Return the value itself: traced values are real."""
        return self

    conjugate = conj


class TracedScalar(Traced):
    """A traced number without axes: a Python float or int, a NumPy scalar, or a 0-d array."""

    __slots__ = ("_known",)
    _content: Value

    def __init__(
        self,
        trace: Tracer,
        content: Value,
        *,
        frozen: bool = False,
        hint: str = "",
        known: Known | None = None,
    ) -> None:
        self._trace = trace
        self._content = content
        self._frozen = frozen
        self._hint = hint
        self._known = known

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleVariableOverride, reportIncompatibleMethodOverride]
        return self._content.weak or self._content.dtype.numpy.type

    def __float__(self) -> float:
        return float(self._trace.number("float()", self, sys._getframe(1)))

    def __int__(self) -> int:
        return int(self._trace.number("int()", self, sys._getframe(1)))

    def __bool__(self) -> bool:
        return bool(self._trace.number("a truth value", self, sys._getframe(1)))

    def __index__(self) -> int:
        known = self._trace.number("an index", self, sys._getframe(1))
        if not isinstance(known, int):
            raise TypeError("a float cannot be used as an index")
        return known

    def __hash__(self) -> int:
        return hash(self._trace.number("hash()", self, sys._getframe(1)))

    @property
    def T(self) -> Traced:  # noqa: N802 (NumPy's name)
        """The value itself: there is nothing to transpose."""
        return self


class TracedArray(Traced):
    """A traced array with at least one axis.

    Writing replaces the content; `version` counts writes, so that views notice.
    """

    __slots__ = ("_contiguous", "_version", "_view")

    def __init__(
        self,
        trace: Tracer,
        content: Content,
        *,
        frozen: bool = False,
        hint: str = "",
        view: View | None = None,
    ) -> None:
        super().__init__(trace, content, frozen=frozen, hint=hint)
        self._version = 0
        self._view = view
        self._contiguous = isinstance(content, Value) and len(content.shape) == 1

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleVariableOverride, reportIncompatibleMethodOverride]
        return np.ndarray

    def _now(self) -> Content:
        view = self._view
        if view is not None:
            content = view.base._now()
            if view.seen != view.base._version:
                if not view.certain:
                    raise self._trace.uncertain_view()
                self._content = view.forward(content)
                view.seen = view.base._version
                self._version += 1
        return self._content

    def _replace(self, content: Content) -> None:
        """Write the whole array, and through it the array that it is a view of."""
        view = self._view
        if view is not None:
            if view.backward is None or not view.certain:
                raise self._trace.uncertain_view()
            view.base._replace(view.backward(view.base._now(), content))
            view.seen = view.base._version
        self._content = content
        self._version += 1

    __iadd__, __isub__ = _augmented("add"), _augmented("sub")
    __imul__, __itruediv__ = _augmented("mul"), _augmented("div")
    __ifloordiv__, __imod__ = _augmented("floor_divide"), _augmented("mod")
    __ipow__, __imatmul__ = _augmented("pow"), _augmented("matmul")
    __iand__, __ior__, __ixor__ = _augmented("and"), _augmented("or"), _augmented("xor")
    __ilshift__, __irshift__ = _augmented("lshift"), _augmented("rshift")
    __contains__ = _intercepted("the `in` operator")

    def __len__(self) -> int:
        return self._trace.specialise(self._trace.shape_of(self)[0], sys._getframe(1))

    def __iter__(self) -> Iterator[object]:
        return self._trace.iterate(self)

    def __reversed__(self) -> Iterator[object]:
        return reversed(list(self._trace.iterate(self)))

    def __getitem__(self, index: object) -> object:
        return self._trace.get(self, index, sys._getframe(1))

    def __setitem__(self, index: object, new: object) -> None:
        self._trace.store(self, index, new, sys._getframe(1))

    @property
    def T(self) -> object:  # noqa: N802 (NumPy's name)
        """All axes reversed."""
        return self._trace.method("transpose", self, (), {}, sys._getframe(1))

    @property
    def mT(self) -> object:  # noqa: N802 (NumPy's name)
        """The last two axes exchanged."""
        return self._trace.method("swapaxes", self, (-1, -2), {}, sys._getframe(1))


class TracedMasked(Traced):
    """``x[mask]`` with a traced mask: elements in unknown number, to be reduced or assigned."""

    __slots__ = ()

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleVariableOverride, reportIncompatibleMethodOverride]
        return np.ndarray

    def __repr__(self) -> str:
        return f"<traced {self._trace.dtype_of(self).short}[mask]>"

    def __len__(self) -> int:
        raise self._trace.intercept("len()", self, sys._getframe(1))

    def __iter__(self) -> Iterator[object]:
        raise self._trace.intercept("iteration", self, sys._getframe(1))

    def __getitem__(self, index: object) -> object:
        raise self._trace.intercept("indexing", self, sys._getframe(1))


def is_traced(x: object) -> bool:
    """Whether `x` is a traced value, whatever ``isinstance`` says."""
    return type(x) in (TracedScalar, TracedArray, TracedMasked)


def is_array(x: Any) -> TypeGuard[np.ndarray]:
    """Whether `x` is a NumPy array and not a traced value, which `isinstance` cannot tell."""
    return isinstance(x, np.ndarray) and not is_traced(x)
