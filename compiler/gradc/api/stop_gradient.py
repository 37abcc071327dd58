"""`stop_gradient`."""

from __future__ import annotations

import sys
from typing import Any

import optree

from gradc.lang.signature import NAMESPACE, register_dataclasses


def stop_gradient(x: Any) -> Any:
    """Return `x` as a constant: derivatives do not pass through it.

    Parameters
    ----------
    x : array, number, or nested containers of these

    Returns
    -------
    Any
        `x` itself outside traced functions; inside, the same values without derivative.

    Examples
    --------
    >>> import gradc
    >>> f = gradc.differentiate(lambda x: x * gradc.stop_gradient(x), target="interpret")
    >>> f(3.0), f.grad(3.0)
    (np.float64(9.0), 3.0)
    """
    if "gradc.lang.session" not in sys.modules:  # nothing was ever traced
        return x
    from gradc.api.inline import thawed, trace_of  # noqa: PLC0415  (tracing loads SciPy)

    if trace_of(x) is None:
        return x
    register_dataclasses(x)
    return optree.tree_map(_stopped, thawed(x), namespace=NAMESPACE)


def _stopped(leaf: Any) -> Any:
    from gradc.api.inline import wrapped  # noqa: PLC0415
    from gradc.lang.emit import Value  # noqa: PLC0415
    from gradc.lang.traced import is_traced  # noqa: PLC0415

    if not is_traced(leaf):
        return leaf
    trace = leaf._trace
    trace.enter(sys._getframe(1))
    value = trace.output(leaf)
    if not value.dtype.is_float:
        return leaf
    stopped = trace.emit.elementwise("stop_gradient", value)
    return wrapped(trace, Value(stopped.name, stopped.dtype, stopped.shape, value.weak), trace.place.hint)
