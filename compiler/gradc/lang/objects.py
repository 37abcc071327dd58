"""Stand-ins of captured objects: ``self`` and configuration objects, with live attributes and cloned methods.

For each class of the user's a mirror is made whose functions are clones; an object's stand-in is an
instance of a subclass of the mirror that reads attributes off the real object.  Arrays among them become
hidden inputs, numbers are captured, writing is refused.
"""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

from gradc.errors import TraceError
from gradc.lang import refusals
from gradc.lang.clone import ClonedFunction, Replacer, Source
from gradc.lang.inlined import Inlined
from gradc.lang.provenance import is_library

_SKIPPED = frozenset(
    (
        *("__dict__", "__weakref__", "__slots__", "__new__", "__init__", "__getattribute__", "__setattr__"),
        *(
            "__delattr__",
            "__init_subclass__",
            "__class_getitem__",
            "__set_name__",
            "__reduce__",
            "__reduce_ex__",
        ),
        *("__getattr__", "__del__"),
    )
)


class Mirrors:
    """The mirrored classes and objects of one trace."""

    def __init__(self, stand_ins: Replacer) -> None:
        self._stand_ins = stand_ins
        self._classes: dict[type, type] = {}

    def known(self, cls: type) -> type:
        """Return the mirror of `cls` where one was made, else `cls`."""
        return self._classes.get(cls, cls)

    def of(self, value: Any, source: Source) -> Any:
        """Return the stand-in of an object, or the object itself where its class is not the user's."""
        cls = type(value)
        plain = (
            cls.__flags__ & (1 << 9)
            and object.__new__ is cls.__new__
            and not isinstance(value, BaseException)
        )
        if is_library(cls.__module__) or not plain or issubclass(cls, type):
            return value
        mirror = self._mirror(cls)
        namespace = {
            "__slots__": (),
            "__getattribute__": _reader(self._stand_ins, value, source),
            "__setattr__": _writer(self._stand_ins, source),
            "__delattr__": _writer(self._stand_ins, source),
        }
        return object.__new__(type(cls.__name__, (mirror,), namespace))

    def _mirror(self, cls: type) -> type:
        found = self._classes.get(cls)
        if found is not None:
            return found
        if is_library(cls.__module__):
            return cls
        bases = tuple(self._mirror(base) for base in cls.__bases__)
        namespace: dict[str, Any] = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
        for name, raw in vars(cls).items():
            replaced = None if name in _SKIPPED else self._member(cls, name, raw)
            if replaced is not None:
                namespace[name] = replaced
        mirror = self._classes[cls] = type(cls.__name__, bases, namespace)
        return mirror

    def _member(self, cls: type, name: str, raw: Any) -> Any:
        """Mirror a class attribute: functions are cloned, data is captured; None to leave it out."""
        if isinstance(raw, types.FunctionType):
            return self._cloned(cls, name, raw)
        if callable(getattr(raw, "__gradc_inline__", None)):
            return Inlined(self._stand_ins.trace, raw)
        if isinstance(raw, staticmethod | classmethod):
            function = raw.__func__
            plain = isinstance(function, types.FunctionType)
            return type(raw)(self._cloned(cls, name, function)) if plain else None
        if isinstance(raw, property) and isinstance(raw.fget, types.FunctionType):
            return property(self._cloned(cls, name, raw.fget))
        if isinstance(raw, functools.cached_property):
            return property(self._cloned(cls, name, raw.func))
        if name.startswith("__") or isinstance(raw, types.MemberDescriptorType | types.GetSetDescriptorType):
            return None
        return _ClassAttribute(self._stand_ins, cls, name)

    def _cloned(self, cls: type, name: str, function: Any) -> ClonedFunction:
        return ClonedFunction(
            self._stand_ins, function, Source(f"{cls.__qualname__}.{name}", lambda: function)
        )


class _ClassAttribute:
    """Data of a class, read off the real one."""

    def __init__(self, stand_ins: Replacer, cls: type, name: str) -> None:
        self._stand_ins = stand_ins
        self._class = cls
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> object:
        value = getattr(self._class, self._name)
        source = Source(self._class.__qualname__, lambda: self._class, ("class", id(self._class)))
        return self._stand_ins.of(value, source.attribute(self._name))


def _reader(stand_ins: Replacer, value: Any, source: Source) -> Any:
    real = type(value)

    def __getattribute__(self: Any, name: str) -> Any:  # noqa: N807 (it becomes the method of that name)
        if name == "__class__":
            return real
        own = getattr(value, "__dict__", {})
        for cls in type(self).__mro__:
            if name in cls.__dict__ and cls is not object:
                found = cls.__dict__[name]
                if isinstance(found, property) or name not in own:
                    return found.__get__(self, type(self)) if hasattr(type(found), "__get__") else found
                break
        return stand_ins.of(getattr(value, name), source.attribute(name))

    return __getattribute__


def _writer(stand_ins: Replacer, source: Source) -> Any:
    def refuse(self: Any, name: str, *new: object) -> None:
        raise _written(stand_ins, f"{source.hint or 'self'}.{name}")

    return refuse


def _written(stand_ins: Replacer, name: str) -> TraceError:
    trace = stand_ins.trace
    trace.enter(sys._getframe(2))
    return trace.poisoned(refusals.captured_write(name, trace.where()))
