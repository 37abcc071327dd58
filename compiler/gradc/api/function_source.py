"""The front end of Python functions: flattened arguments in, traced program out."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import optree

from gradc.api.built import Built, Inlined
from gradc.api.collector import collector_resting
from gradc.lang.annotations import annotated_extents
from gradc.lang.clone import Source as Place
from gradc.lang.signature import NAMESPACE, Flat, Signature
from gradc.lang.trace import Trace, TraceResult, trace_checked
from gradc.lang.traced import is_traced


class FunctionSource:
    """Builds programs by tracing a Python function."""

    def __init__(self, function: Callable[..., Any], signature: Signature) -> None:
        self.function = function
        self.signature = signature
        self.name = signature.name if signature.name.isidentifier() else "function"  # <lambda>
        self._annotations = [p.annotation for p in signature.python.parameters.values()]

    def with_signature(self, signature: Signature) -> FunctionSource:
        """Return the same function under another signature."""
        return FunctionSource(self.function, signature)

    def build(self, flat: Flat) -> Built:
        """Trace twice, compare, and describe how the program relates to the call."""
        specs: list[optree.PyTreeSpec] = []

        def once() -> TraceResult:
            result, spec = self._trace(flat)
            specs.append(spec)
            return result

        with collector_resting():
            result = trace_checked(once)
        count = sum(1 for kind in flat.kinds if kind.kind != "static")
        names = iter(result.program.inputs[:count])
        inputs = tuple(None if kind.kind == "static" else next(names) for kind in flat.kinds)
        wrt = {
            leaf: name
            for leaf, name in enumerate(inputs)
            if name is not None and result.program.types[name].dtype.is_float
        }
        outputs = tuple(range(len(result.program.outputs)))
        return Built(
            result.program,
            inputs,
            wrt,
            specs[0],
            outputs,
            result.hidden,
            result.captured,
            result.scalar_guards,
        )

    def inline(self, trace: Trace, values: Sequence[Any]) -> Inlined:
        """Call the function's stand-in, as user code would."""
        named = zip(values, self.signature.parameters, strict=True)
        args, kwargs = self.signature.call_arguments([_argument(trace, value, name) for value, name in named])
        return Inlined(stand_in(trace, self.function)(*args, **kwargs))

    def _trace(self, flat: Flat) -> tuple[TraceResult, optree.PyTreeSpec]:
        session = Trace(self.name)
        leaves = [self._argument(session, flat, leaf) for leaf in range(len(flat.kinds))]
        values: Any = optree.tree_unflatten(flat.spec, leaves)
        args, kwargs = self.signature.call_arguments(values)
        outputs = session.run(self.function, args, kwargs)
        found, spec = optree.tree_flatten(outputs, namespace=NAMESPACE)
        program = session.finish(found)
        guards = tuple(session.scalar_guards)
        return TraceResult(program, outputs, session.hidden, session.captured, guards), spec

    def _argument(self, session: Trace, flat: Flat, leaf: int) -> Any:
        kind, value, name = flat.kinds[leaf], flat.values[leaf], flat.names[leaf]
        match kind.kind:
            case "static":
                return value
            case "float":
                return session.argument(name, _dtype(kind.dtype), kind="float")
            case "int":
                return session.argument(name, _dtype(kind.dtype), kind="int", value=value)
            case _:
                given = annotated_extents(self._annotations[flat.owners[leaf]], flat.paths[leaf])
                shape = session.sizes(name, value.shape, given)
                return session.argument(name, _dtype(kind.dtype), shape)


def stand_in(trace: Trace, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what user code inside the trace would call; a function made there stands for itself."""
    made_here = isinstance(function, types.FunctionType) and (
        function.__globals__.get("__builtins__") is trace.stand_ins.builtins()
    )
    if made_here:
        return function
    return trace.stand_ins.of(function, Place("", lambda: function))


def _argument(trace: Trace, value: Any, name: str) -> Any:
    """Return an argument as user code would pass it: stand-ins take the place of objects such as `self`."""
    if is_traced(value) or type(value).__module__ in ("builtins", "numpy"):
        return stand_in(trace, value) if isinstance(value, types.FunctionType) else value
    return trace.stand_ins.argument(value, name)


def _dtype(dtype: Any) -> Any:
    assert dtype is not None
    return dtype
