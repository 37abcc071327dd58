"""Captured containers: they can be read while tracing, not changed."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradc.lang import refusals
from gradc.lang.sizes import Tracer


def _refused(method: str) -> Callable[..., Any]:
    def refuse(self: Any, *args: object, **kwargs: object) -> object:
        trace: Tracer = self._gradc_trace
        trace.enter(sys._getframe(1))
        raise trace.poisoned(refusals.captured_write(self._gradc_what, trace.where()))

    refuse.__name__ = method
    return refuse


class FrozenList(list):
    """A captured list."""

    def __init__(self, trace: Tracer, what: str, items: Sequence[Any]) -> None:
        super().__init__(items)
        self._gradc_trace = trace
        self._gradc_what = what

    append, extend, insert = _refused("append"), _refused("extend"), _refused("insert")
    remove, pop, clear = _refused("remove"), _refused("pop"), _refused("clear")
    sort, reverse = _refused("sort"), _refused("reverse")
    __setitem__, __delitem__ = _refused("__setitem__"), _refused("__delitem__")
    __iadd__, __imul__ = _refused("__iadd__"), _refused("__imul__")


class FrozenDict(dict):
    """A captured dictionary; `attribute` gives attributes that a subclass of dict has beside its items."""

    def __init__(
        self, trace: Tracer, what: str, items: Mapping[Any, Any], attribute: Callable[[str], Any]
    ) -> None:
        super().__init__(items)
        self._gradc_trace = trace
        self._gradc_what = what
        self._gradc_attribute = attribute

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._gradc_attribute(name)

    update, pop, popitem, clear = _refused("update"), _refused("pop"), _refused("popitem"), _refused("clear")
    setdefault = _refused("setdefault")
    __setitem__, __delitem__ = _refused("__setitem__"), _refused("__delitem__")
    __ior__ = _refused("__ior__")


class FrozenNamespace(types.SimpleNamespace):
    """A captured `types.SimpleNamespace`."""

    def __init__(self, trace: Tracer, what: str, items: Mapping[str, Any]) -> None:
        super().__init__(**items)
        vars(self).update(_gradc_trace=trace, _gradc_what=what)

    __setattr__, __delattr__ = _refused("__setattr__"), _refused("__delattr__")
