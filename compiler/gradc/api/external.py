"""Functions that cannot be traced: called at run time, with types and a pullback that the user gives."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.errors import ArgumentError
from gradc.lang.annotations import ArrayType, annotated_extents
from gradc.lang.signature import signature_of
from gradc_runtime import registry

if TYPE_CHECKING:
    from gradc.ir.extents import Size
    from gradc.ir.tensors import TensorType
    from gradc.lang.emit import Value
    from gradc.lang.session import Trace

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

Result = ArrayType | Sequence[ArrayType] | Callable[..., ArrayType | Sequence[ArrayType]]


class External:
    """A function that programs call and do not look into; see `external`."""

    __name__: str

    def __init__(self, function: Callable[..., Any], result: Result, vjp: Callable[..., Any] | None) -> None:
        functools.update_wrapper(self, function, updated=())
        self._function = function
        self._result = result
        self._parameters = signature_of(function).parameters
        refused = [p.name for p in self._parameters.values() if p.kind not in _POSITIONAL]
        if refused:
            raise ArgumentError(
                f"the external function {self.__name__} has the parameter {refused[0]}",
                why="an external function takes a fixed number of positional arguments",
                do="wrap it: lambda x, y: f(x, option=y)",
            )
        self._number = registry.register(function)
        pullback = None if vjp is None else _Pullback(self.__name__, vjp, len(self._parameters))
        self._pullback = registry.register(pullback) if pullback is not None else 0

    def __repr__(self) -> str:
        return f"<external {self.__name__}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        from gradc.api.inline import trace_of  # noqa: PLC0415  (tracing loads SciPy)

        trace = trace_of((args, kwargs))
        if trace is not None:
            return self.__gradc_inline__(trace, args, kwargs)
        return self._function(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __gradc_inline__(self, trace: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from gradc.api.inline import wrapped  # noqa: PLC0415

        bound = inspect.Signature(list(self._parameters.values())).bind(*args, **kwargs)
        bound.apply_defaults()
        values = [trace.output(_number(argument, self.__name__)) for argument in bound.args]
        several, results = self._types(trace, values)
        attributes: dict[str, Any] = {f"shape_{at}": type_.shape for at, type_ in enumerate(results)}
        attributes["dtypes"] = " ".join(type_.dtype.value for type_ in results)
        attributes |= {"name": self.__name__, "number": self._number, "pullback": self._pullback}
        outputs = [wrapped(trace, value) for value in trace.emit.call("external", values, attributes)]
        return tuple(outputs) if several else outputs[0]

    # --- result types -----------------------------------------------------------------------------------

    def _types(self, trace: Trace, values: Sequence[Value]) -> tuple[bool, list[TensorType]]:
        """Whether there are several results, and their types."""
        from gradc.ir.tensors import TensorType  # noqa: PLC0415

        shapes = [trace.emit.shape(value) for value in values]
        declared: Any = self._result
        if callable(declared) and not isinstance(declared, ArrayType):
            declared = declared(*(tuple(trace.extent(size) for size in shape) for shape in shapes))
        several = not isinstance(declared, ArrayType)
        known = self._named(trace, shapes)
        found = []
        for type_ in declared if several else (declared,):
            if not isinstance(type_, ArrayType):
                raise ArgumentError(
                    f"the result of {self.__name__} is declared as {type_!r}",
                    do='declare result=gradc.f64["N", 3], or a function of the shapes of the arguments',
                )
            sizes = tuple(self._size(extent, known) for extent in type_.extents or ())
            found.append(TensorType(type_.dtype, sizes))
        return several, found

    def _named(self, trace: Trace, shapes: Sequence[tuple[Size, ...]]) -> dict[str, Size]:
        """Return the extents that annotations of the parameters name."""
        known: dict[str, Size] = {}
        for parameter, shape in zip(self._parameters.values(), shapes, strict=False):
            for extent, size in zip(annotated_extents(parameter.annotation), shape, strict=False):
                reason = f"the annotation of {parameter.name} in {self.__name__}"
                if isinstance(extent, str):
                    known[extent] = trace.solver.unify(known.get(extent, size), size, reason)
                elif isinstance(extent, int):
                    trace.solver.unify(extent, size, reason)
        return known

    def _size(self, extent: Any, known: dict[str, Size]) -> Size:
        from gradc.lang.sizes import size_of  # noqa: PLC0415

        size = known.get(extent) if isinstance(extent, str) else size_of(extent)
        if size is None:
            raise ArgumentError(
                f"the result of {self.__name__} has the extent {extent!r}, which nothing gives",
                why=f"the annotations of its parameters name {', '.join(known) or 'none'}",
                do='annotate, def f(x: gradc.f64["N"]), or compute it: result=lambda x: gradc.f64[x[0]]',
            )
        return size


class _Pullback:
    """A user's ``vjp(cotangent, *arguments)`` as programs call it: one result per floating-point argument."""

    def __init__(self, name: str, vjp: Callable[..., Any], arguments: int) -> None:
        self.name = name
        self.vjp = vjp
        self.arguments = arguments

    def __call__(self, *given: Any) -> tuple[Any, ...]:
        count = len(given) - self.arguments
        cotangents, arguments = given[:count], given[count:]
        found = self.vjp(cotangents[0] if count == 1 else cotangents, *arguments)
        results = found if isinstance(found, tuple | list) else (found,)
        if len(results) != len(arguments):
            raise ArgumentError(
                f"the vjp of {self.name} returned {len(results)} cotangents for {len(arguments)} arguments",
                do="return one per argument, None for zero",
            )
        pairs = zip(results, arguments, strict=True)
        return tuple(
            np.zeros_like(argument) if result is None else result
            for result, argument in pairs
            if np.asarray(argument).dtype.kind == "f"
        )


def _number(argument: Any, name: str) -> Any:
    if isinstance(argument, str | type(None)) or callable(argument):
        raise ArgumentError(
            f"the external function {name} was called with {argument!r}",
            why="its arguments are arrays and numbers",
            do=f"bind the others first: gradc.external(functools.partial({name}, ...), result=...)",
        )
    return argument


def external(
    function: Callable[..., Any], *, result: Result, vjp: Callable[..., Any] | None = None
) -> External:
    """Make a function that cannot be traced callable inside traced functions.

    Parameters
    ----------
    function : callable
        Called at run time with NumPy arrays and numbers.
    result : ArrayType, a sequence of these, or callable
        The type of each result: ``gradc.f64`` for a number, ``gradc.f64["N", 3]`` where an annotation of a
        parameter names ``N``, or a function of the shapes of the arguments: ``lambda x: gradc.f64[x[0]]``.
    vjp : callable, optional
        ``vjp(cotangent, *arguments)`` returns one cotangent per argument (bare for one argument, None for
        zero); with several floating-point results the cotangent is a tuple.  It is an external function too,
        so it has no derivative.

    Returns
    -------
    callable
        Has the parameters of `function`.  Programs that call it cannot be exported.

    Examples
    --------
    >>> import numpy as np, gradc
    >>> ranks = gradc.external(lambda x: np.cumsum(x), result=lambda x: gradc.f64[x[0]],
    ...                        vjp=lambda y_bar, x: np.cumsum(y_bar[::-1])[::-1])
    >>> f = gradc.differentiate(lambda x: (ranks(x) ** 2).sum(), target="interpret")
    >>> f.grad(np.array([1.0, 2.0]))
    array([8., 6.])
    """
    return External(function, result, vjp)
