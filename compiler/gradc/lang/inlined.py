"""The stand-in of a callable that knows how to be traced: a decorated function, `stop_gradient`, ..."""

from __future__ import annotations

import sys
from typing import Any

from gradc.lang.clone import Tracer


class Inlined:
    """Calls ``__gradc_inline__`` of the callable; its methods are those of ``__gradc_inside__``.

    In a mirrored class it binds as the callable itself would.
    """

    def __init__(self, trace: Tracer, inner: Any) -> None:
        self._trace = trace
        self._inner = inner

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Let the callable trace itself."""
        self._trace.enter(sys._getframe(1))
        return self._inner.__gradc_inline__(self._trace, args, kwargs)

    def _inside(self) -> Any:
        """Return the callable as it is inside the trace, where it has such a form."""
        inside = getattr(self._inner, "__gradc_inside__", None)
        return self._inner if inside is None else inside(self._trace)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inside(), name)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        inside = self._inside()
        return self if instance is None else inside.__get__(instance, owner)

    def __repr__(self) -> str:
        return repr(self._inner)


__all__ = ["Inlined"]
