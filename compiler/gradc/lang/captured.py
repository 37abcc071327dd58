"""Captured containers: they can be read while tracing, not changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradc.lang import refusals

if TYPE_CHECKING:
    from gradc.lang.session import Trace


def _refused(method: str) -> Callable[..., Any]:
    def refuse(self: Any, *args: object, **kwargs: object) -> object:
        trace: Trace = self._gradc_trace
        trace.enter(sys._getframe(1))
        raise trace.poisoned(refusals.captured_write(self._gradc_what, trace.where()))

    refuse.__name__ = method
    return refuse


class FrozenList(list):
    """A captured list."""

    def __init__(self, trace: Trace, what: str, items: Sequence[Any]) -> None:
        super().__init__(items)
        self._gradc_trace = trace
        self._gradc_what = what

    append, extend, insert = _refused("append"), _refused("extend"), _refused("insert")
    remove, pop, clear = _refused("remove"), _refused("pop"), _refused("clear")
    sort, reverse = _refused("sort"), _refused("reverse")
    __setitem__, __delitem__ = _refused("__setitem__"), _refused("__delitem__")
    __iadd__, __imul__ = _refused("__iadd__"), _refused("__imul__")


class FrozenDict(dict):
    """A captured dictionary."""

    def __init__(self, trace: Trace, what: str, items: Mapping[Any, Any]) -> None:
        super().__init__(items)
        self._gradc_trace = trace
        self._gradc_what = what

    update, pop, popitem, clear = _refused("update"), _refused("pop"), _refused("popitem"), _refused("clear")
    setdefault = _refused("setdefault")
    __setitem__, __delitem__ = _refused("__setitem__"), _refused("__delitem__")
    __ior__ = _refused("__ior__")
