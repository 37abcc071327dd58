"""Functions mapped over an axis of their arguments, without a loop.

The function is traced once, on tensors that lack the mapped axis; `gradc.autodiff.batch` then gives every
equation that depends on one of them a leading axis.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import optree

from gradc.api.decorator import differentiate
from gradc.errors import ArgumentError, ShapeError
from gradc.lang.provenance import as_method
from gradc.lang.signature import NAMESPACE, Signature, signature_of

if TYPE_CHECKING:
    from gradc.api.differentiated import Differentiated
    from gradc.ir.extents import Size
    from gradc.ir.index.nodes import Program
    from gradc.lang.emit import Value
    from gradc.lang.session import Trace

Axes = Any  # an int, None, or containers of these like the arguments'


def vmap(
    function: Callable[..., Any], in_axes: Axes = 0, out_axes: Axes = 0, **options: Any
) -> Differentiated[..., Any]:
    """Map a function over an axis of its arguments.

    Parameters
    ----------
    function : callable
        A NumPy function, a differentiated function, or one of its methods: ``vmap(loss.grad)`` gives the
        gradient of every example.
    in_axes : int, None, or one of these per argument
        The axis of each argument to map over; None for arguments that every call gets whole.  For a
        container one entry serves all of its leaves, or a container of the same form holds one per leaf.
    out_axes : int, None, or containers of these like the result's
        Where the mapped axis appears in the results; None for results that do not depend on it.
    **options
        Options of `differentiate` for the mapped function.

    Returns
    -------
    Differentiated
        Takes the arguments of `function` and is differentiable itself.

    Raises
    ------
    ArgumentError
        Nothing is mapped, or an argument does not have the axis.
    ShapeError
        The mapped axes have different extents.

    Examples
    --------
    >>> import numpy as np, gradc
    >>> x = np.arange(6.0).reshape(3, 2)
    >>> norms = gradc.vmap(lambda row: np.sqrt(row @ row), target="interpret")
    >>> norms(x).round(3)
    array([1.   , 3.606, 6.403])
    """
    function = as_method(function)
    wrt = options.pop("wrt", _option(function, "given"))
    static = options.pop("static", tuple(_option(function, "static") or ()))
    return differentiate(Mapped(function, in_axes, out_axes), wrt=wrt, static=static, **options)


def _option(function: Any, name: str) -> Any:
    """Return what a differentiated function, or the one behind a method, was told about its arguments."""
    owner = getattr(function, "__self__", function)
    signature = getattr(owner, "signature", None)
    return getattr(signature, name) if isinstance(signature, Signature) else None


class Mapped:
    """What `vmap` gives to `differentiate`: a function that can only be traced."""

    def __init__(self, function: Callable[..., Any], in_axes: Axes, out_axes: Axes) -> None:
        self.function = function
        self.in_axes = in_axes
        self.out_axes = out_axes
        self.__name__ = f"mapped_{getattr(function, '__name__', 'function')}"
        self.__qualname__ = self.__name__
        self.__module__ = getattr(function, "__module__", __name__)
        self.__signature__ = signature_of(function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Only inside a trace; `differentiate` makes the function that is called outside."""
        from gradc.api.inline import trace_of  # noqa: PLC0415

        trace = trace_of((args, kwargs))
        if trace is None:
            raise ArgumentError(f"{self.__name__} has no mapped argument", do="map over an axis of an array")
        return self.__gradc_inline__(trace, args, kwargs)

    def __gradc_inline__(self, trace: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bound = self.__signature__.bind(*args, **kwargs)
        return _Mapping(trace, self).run(bound)


class _Mapping:
    """One call inside a trace."""

    def __init__(self, trace: Trace, mapped: Mapped) -> None:
        self.trace = trace
        self.mapped = mapped
        self.extent: Size | None = None
        self.placeholders: list[str] = []
        self.sources: list[Value] = []  # the mapped arguments, mapped axis first

    def run(self, bound: inspect.BoundArguments) -> Any:
        """Trace the function once, then give its equations the mapped axis."""
        from gradc.api.function_source import stand_in  # noqa: PLC0415
        from gradc.api.inline import thawed  # noqa: PLC0415
        from gradc.ir.index.splice import detach  # noqa: PLC0415
        from gradc.lang.written import with_extents  # noqa: PLC0415

        trace, builder = self.trace, self.trace.emit.builder
        names = list(bound.arguments)
        for name, axes in zip(names, self._axes(bound.signature, names), strict=True):
            bound.arguments[name] = self._element_of(name, thawed(bound.arguments[name]), axes)
        if self.extent is None:
            raise ArgumentError(
                f"{self.mapped.__name__} maps over no argument",
                do="give an axis in in_axes",
                where=trace.where(),
            )
        start = len(builder.equations)
        result = stand_in(trace, self.mapped.function)(*bound.args, **bound.kwargs)
        leaves, spec = optree.tree_flatten(result, namespace=NAMESPACE)
        outputs = [trace.output(leaf) for leaf in leaves]
        program = detach(builder, start, self.placeholders, [value.name for value in outputs])
        results = self._batched(with_extents(program, trace.solver), outputs)
        axes = _spread(self.mapped.out_axes, result, "out_axes")
        moved = [self._placed(value, whole, axis) for (value, whole), axis in zip(results, axes, strict=True)]
        return optree.tree_unflatten(spec, moved)  # pyright: ignore[reportArgumentType]

    # --- arguments --------------------------------------------------------------------------------------

    def _axes(self, signature: inspect.Signature, names: Sequence[str]) -> Sequence[Axes]:
        """One entry of `in_axes` per parameter."""
        axes = self.mapped.in_axes
        kinds = [signature.parameters[name].kind for name in names]
        if isinstance(axes, list | tuple) and inspect.Parameter.VAR_POSITIONAL in kinds:
            first = kinds.index(inspect.Parameter.VAR_POSITIONAL)
            axes = [*axes[:first], tuple(axes[first:]), *[0] * (len(names) - first - 1)]
        if axes is None or isinstance(axes, int):
            return [axes] * len(names)
        if isinstance(axes, dict):
            unknown = [name for name in axes if name not in names]
            if unknown:
                raise ArgumentError(f"in_axes names {unknown[0]}, which is no argument", do=", ".join(names))
            return [axes.get(name) for name in names]
        if len(axes) < len(names):
            raise ArgumentError(
                f"in_axes has {len(axes)} entries for {len(names)} arguments",
                where=self.mapped.__name__,
                do=f"give one per argument: {', '.join(names)}; None for those that are not mapped",
            )
        return list(axes)[: len(names)]

    def _element_of(self, name: str, argument: Any, axes: Axes) -> Any:
        """Return the argument of one call: its mapped leaves without the mapped axis."""
        if axes is None:
            return argument
        leaves, spec = optree.tree_flatten(argument, namespace=NAMESPACE)
        chosen = _spread(axes, argument, f"in_axes of {name}")
        elements = [self._element(name, leaf, axis) for leaf, axis in zip(leaves, chosen, strict=True)]
        return optree.tree_unflatten(spec, elements)  # pyright: ignore[reportArgumentType]

    def _element(self, name: str, leaf: Any, axis: int | None) -> Any:
        from gradc.api.inline import lifted, placeholder, wrapped  # noqa: PLC0415

        if axis is None:
            return leaf
        trace, emit = self.trace, self.trace.emit
        rank: int = getattr(leaf, "ndim", 0)
        if not -rank <= axis < rank:
            raise ArgumentError(
                f"argument {name} has no axis {axis} to map over",
                where=trace.where(),
                why=f"it has {rank} axes",
                do="give None in in_axes for an argument that is not mapped",
            )
        value = lifted(trace, leaf)
        shape = emit.shape(value)
        first = axis % rank
        self._join(name, shape[first])
        order = (first, *(at for at in range(rank) if at != first))
        source = value if first == 0 else emit.transpose(value, order)
        element = placeholder(trace, name, value.dtype, (*shape[:first], *shape[first + 1 :]))
        self.placeholders.append(element.name)
        self.sources.append(source)
        return wrapped(trace, element, name, frozen=True)

    def _join(self, name: str, extent: Size) -> None:
        """All mapped axes have one extent."""
        if self.extent is None:
            self.extent = extent
            return
        one = [size for size in (self.extent, extent) if size == 1]
        if len(one) == 1:
            raise ShapeError(
                f"the mapped axis of {name} has extent {extent}, that of an earlier argument {self.extent}",
                where=self.trace.where(),
            )
        self.extent = self.trace.solver.unify(
            self.extent, extent, f"{self.mapped.__name__} maps over both axes"
        )

    # --- results ----------------------------------------------------------------------------------------

    def _batched(self, program: Program, outputs: Sequence[Value]) -> list[tuple[Value, bool]]:
        """Return the results, and which of them have the mapped axis (first)."""
        from gradc.autodiff.batch import batch, batched_names  # noqa: PLC0415
        from gradc.ir.index.splice import splice  # noqa: PLC0415
        from gradc.lang.emit import Value  # noqa: PLC0415

        assert self.extent is not None
        extent = self.trace.solver.resolve(self.extent)
        affected = batched_names(program, self.placeholders)
        batched = batch(program, self.placeholders, extent)
        sources = [value.name for value in self.sources]
        builder = self.trace.emit.builder
        names = splice(builder, batched, dict(zip(self.placeholders, sources, strict=True)))
        results = []
        for value in outputs:
            name = names.get(value.name, value.name)
            type_ = builder.types[name]
            results.append((Value(name, type_.dtype, type_.shape), value.name in affected))
        return results

    def _placed(self, value: Value, whole: bool, axis: int | None) -> Any:
        """Return a result with the mapped axis where `out_axes` wants it."""
        from gradc.api.inline import wrapped  # noqa: PLC0415

        trace, emit = self.trace, self.trace.emit
        shape = emit.shape(value)
        if axis is None:
            if whole:
                raise ArgumentError(
                    f"a result of {self.mapped.__name__} depends on the mapped axis",
                    where=trace.where(),
                    do="give it an axis in out_axes",
                )
            return wrapped(trace, value)
        if not whole:
            assert self.extent is not None
            shape = (self.extent, *shape)
            value = emit.reindex(value, shape, tuple(range(1, len(shape))))
        rank = len(shape)
        if not -rank <= axis < rank:
            raise ArgumentError(
                f"out_axes is {axis} for a result with {rank} axes",
                where=trace.where(),
                do=f"use 0 to {rank - 1}",
            )
        order = list(range(1, rank))
        order.insert(axis % rank, 0)
        return wrapped(trace, value if axis % rank == 0 else emit.transpose(value, order))


def _spread(axes: Axes, tree: Any, what: str) -> list[int | None]:
    """One axis per leaf of `tree`; an axis for a container serves all of its leaves."""
    try:
        spread = optree.tree_map(
            lambda axis, branch: optree.tree_map(lambda leaf: _Axis(axis), branch, namespace=NAMESPACE),
            axes,
            tree,
            none_is_leaf=True,
            namespace=NAMESPACE,
        )
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"{what} does not have the form of what it is for", why=str(error)) from None
    found: list[Any] = optree.tree_leaves(spread, namespace=NAMESPACE)
    return [item.axis for item in found]


class _Axis:
    """An axis as a leaf: None is no leaf."""

    def __init__(self, axis: int | None) -> None:
        if axis is not None and type(axis) is not int:
            raise ArgumentError(f"an axis is an int or None, not {axis!r}")
        self.axis = axis
