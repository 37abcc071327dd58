"""Functions whose derivative the user writes.

The value is traced and carries no derivative of its own.  The pullback ``x_bar = P(y_bar)`` is traced on
placeholders; being linear it can be transposed, and ``s = P^T(x)`` is a tensor whose derivative is the
user's.  The result is ``attach_gradient(value, s)``: the value of the one with the derivative of the other,
in both modes and at any order, because ``P^T`` reads what the pullback depends on through passive copies.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import optree

from gradc.api.pickling import by_name
from gradc.errors import ArgumentError, NoDerivativeRule, ShapeError
from gradc.lang.signature import NAMESPACE

if TYPE_CHECKING:
    from gradc.ir.index.nodes import Program
    from gradc.lang.emit import Value
    from gradc.lang.session import Trace


class CustomGradient:
    """A function that returns ``(value, pullback)``; see `custom_gradient`."""

    __name__: str

    def __init__(self, function: Callable[..., tuple[Any, Callable[[Any], Any]]]) -> None:
        functools.update_wrapper(self, function, updated=())  # pyright: ignore[reportArgumentType]
        self._function = function
        self._trace: Trace | None = None

    def __repr__(self) -> str:
        return f"<custom gradient {self.__name__}{inspect.signature(self._function)}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the value."""
        from gradc.api.inline import trace_of  # noqa: PLC0415  (tracing loads SciPy)

        trace = self._trace or trace_of((args, kwargs))
        if trace is not None:
            return _Attachment(trace, self._function).run(args, kwargs)
        return _pair(self._function(*args, **kwargs), self.__name__)[0]

    def __gradc_inline__(self, trace: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.__gradc_inside__(trace)(*args, **kwargs)

    def __gradc_inside__(self, trace: Trace) -> CustomGradient:
        twin = CustomGradient(self._function)
        twin._trace = trace
        return twin

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> tuple[Any, ...]:
        return by_name, (self._function.__module__, self._function.__qualname__)


def custom_gradient(function: Callable[..., tuple[Any, Callable[[Any], Any]]]) -> CustomGradient:
    """Let a function bring its own derivative.

    Parameters
    ----------
    function : callable
        Returns ``(value, pullback)``.  ``pullback(cotangent)`` takes a cotangent in the container of the
        value and returns one cotangent per argument: a tuple, or the bare cotangent of a single argument.
        None stands for zero, and belongs to arguments that are not floating point.  The pullback must be
        linear in the cotangent.

    Returns
    -------
    callable
        Takes the arguments of `function` and returns the value; inside differentiated functions it has the
        derivative that the pullback gives, in reverse and forward mode and at any order.

    Raises
    ------
    ShapeError
        A cotangent does not have the shape of its argument.
    NoDerivativeRule
        The pullback is not linear in the cotangent, so there is no derivative that it could be the transpose
        of.

    Examples
    --------
    >>> import numpy as np, gradc
    >>> @gradc.custom_gradient
    ... def through(x):
    ...     return np.round(x), lambda y_bar: y_bar
    >>> f = gradc.differentiate(lambda x: through(x) ** 2, target="interpret")
    >>> f(1.7), f.grad(1.7)
    (np.float64(4.0), 4.0)
    """
    return CustomGradient(function)


def _pair(result: Any, name: str) -> tuple[Any, Callable[[Any], Any]]:
    if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
        raise ArgumentError(
            f"{name} has a custom gradient and does not return (value, pullback)",
            why=f"it returned a {type(result).__name__}",
            do="return value, pullback, where pullback(cotangent) gives one cotangent per argument",
        )
    return result


class _Attachment:
    """One call inside a trace."""

    def __init__(self, trace: Trace, function: Callable[..., Any]) -> None:
        self.trace = trace
        self.function = function
        self.name = getattr(function, "__name__", "function")

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the value with the derivative attached."""
        from gradc.api.function_source import stand_in  # noqa: PLC0415
        from gradc.api.inline import is_floating, wrapped  # noqa: PLC0415

        trace = self.trace
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        result = stand_in(trace, self.function)(*args, **kwargs)
        value, pullback = _pair(result, self.name)
        leaves, spec = optree.tree_flatten(value, namespace=NAMESPACE)
        floating = [at for at, leaf in enumerate(leaves) if is_floating(leaf, numbers=False)]
        outputs = [trace.output(leaves[at]) for at in floating]
        attached = self._attached(outputs, floating, leaves, spec, pullback, bound)
        for at, new in zip(floating, attached, strict=True):
            leaves[at] = wrapped(trace, new, trace.place.hint)
        return optree.tree_unflatten(spec, leaves)  # pyright: ignore[reportArgumentType]

    def _attached(
        self,
        outputs: Sequence[Value],
        floating: Sequence[int],
        leaves: Sequence[Any],
        spec: optree.PyTreeSpec,
        pullback: Callable[[Any], Any],
        bound: inspect.BoundArguments,
    ) -> list[Value]:
        from gradc.api.inline import placeholder, wrapped  # noqa: PLC0415
        from gradc.ir.index.splice import detach  # noqa: PLC0415
        from gradc.lang.written import with_extents  # noqa: PLC0415

        trace, emit = self.trace, self.trace.emit
        builder = emit.builder
        seeds = [placeholder(trace, f"{value.name}_bar", value.dtype, emit.shape(value)) for value in outputs]
        given: list[Any] = [None] * len(leaves)
        for at, seed in zip(floating, seeds, strict=True):
            given[at] = wrapped(trace, seed, seed.name)
        start = len(builder.equations)
        cotangents = pullback(optree.tree_unflatten(spec, given))  # pyright: ignore[reportArgumentType]
        pairs = self._paired(cotangents, bound)
        names = [seed.name for seed in seeds]
        program = detach(builder, start, names, [cotangent.name for _, cotangent in pairs])
        program = with_extents(program, trace.solver)
        self._require_linear(program, names)
        surrogates = self._surrogates(program, names, [argument for argument, _ in pairs])
        return [self._attach(value, name) for value, name in zip(outputs, surrogates, strict=True)]

    def _attach(self, value: Value, surrogate: str) -> Value:
        from gradc.lang.emit import Value  # noqa: PLC0415

        emit = self.trace.emit
        still = emit.elementwise("stop_gradient", value)
        found = Value(surrogate, value.dtype, emit.shape(value))
        attached = emit.elementwise("attach_gradient", still, found)
        return Value(attached.name, attached.dtype, attached.shape, value.weak)

    def _paired(self, cotangents: Any, bound: inspect.BoundArguments) -> list[tuple[Value, Value]]:
        """Pair the floating-point leaves of the arguments with their cotangents, in the leaves' dtypes."""
        from gradc.api.inline import is_floating, thawed  # noqa: PLC0415

        arguments = list(bound.arguments.items())
        given = (cotangents,) if len(arguments) == 1 and not _is_single(cotangents) else cotangents
        if not isinstance(given, tuple | list) or len(given) != len(arguments):
            count = len(given) if isinstance(given, tuple | list) else 1
            raise ArgumentError(
                f"the pullback of {self.name} returned {count} cotangents for {len(arguments)} arguments",
                where=self.trace.where(),
                do=f"return one per argument: {', '.join(name for name, _ in arguments)}; None for zero",
            )
        pairs: list[tuple[Value, Value]] = []
        for (name, argument), cotangent in zip(arguments, given, strict=True):
            if cotangent is None:
                continue
            own = optree.tree_leaves(thawed(argument), namespace=NAMESPACE)
            found = optree.tree_leaves(cotangent, none_is_leaf=True, namespace=NAMESPACE)
            if len(own) != len(found):
                raise ArgumentError(
                    f"the pullback of {self.name} returned another container for {name}",
                    where=self.trace.where(),
                    why=f"{name} has {len(own)} leaves, its cotangent {len(found)}",
                )
            pairs += [
                (self.trace.output(x), self._cotangent(x, g, name))
                for x, g in zip(own, found, strict=True)
                if g is not None and is_floating(x, numbers=False)
            ]
        return pairs

    def _cotangent(self, argument: Any, cotangent: Any, name: str) -> Value:
        trace, emit = self.trace, self.trace.emit
        x, g = trace.output(argument), trace.output(cotangent)
        own, found = emit.shape(x), emit.shape(g)
        problem = f"the pullback of {self.name} returned a cotangent of another shape than {name}"
        shapes = f"{name} is {_shown(own)}, its cotangent is {_shown(found)}"
        do = f"sum or reshape it to the shape of {name}"
        if len(own) != len(found):
            raise ShapeError(problem, where=trace.where(), why=shapes, do=do)
        try:
            for first, second in zip(own, found, strict=True):
                trace.solver.unify(first, second)
        except ShapeError:
            raise ShapeError(problem, where=trace.where(), why=shapes, do=do) from None
        return emit.cast(g, x.dtype)

    def _require_linear(self, program: Program, seeds: Sequence[str]) -> None:
        from gradc.autodiff.linear import first_nonlinear  # noqa: PLC0415
        from gradc.ir.index.show import show_equation  # noqa: PLC0415
        from gradc.passes.equations.simplify import dead_code  # noqa: PLC0415

        found = first_nonlinear(dead_code(program), seeds)
        if found is None:
            return
        shown = f"{found} does not depend on it" if isinstance(found, str) else show_equation(found)
        raise NoDerivativeRule(
            f"the pullback of {self.name} is not linear in the cotangent",
            where=self.trace.where(),
            why=shown,
            do="a pullback multiplies the cotangent by derivatives, sums and moves it, nothing else",
            code="E_PULLBACK_NOT_LINEAR",
        )

    def _surrogates(
        self, program: Program, seeds: Sequence[str], arguments: Sequence[Value]
    ) -> tuple[str, ...]:
        """Return the transpose of the pullback, applied to the arguments."""
        from gradc.autodiff.vjp import vjp  # noqa: PLC0415
        from gradc.ir.index.nodes import reads_of  # noqa: PLC0415
        from gradc.ir.index.splice import splice  # noqa: PLC0415
        from gradc.passes.equations.simplify import dead_code  # noqa: PLC0415

        builder = self.trace.emit.builder
        transposed = vjp(program, seeds)
        extra = transposed.inputs[len(program.inputs) :]
        names = dict(zip(extra, (value.name for value in arguments), strict=True))
        # Equations of the pullback itself are linear in the seed: the transpose reads none of them.
        wanted = dead_code(replace(transposed, outputs=transposed.outputs[len(program.outputs) :]))
        read = dict.fromkeys(name for equation in wanted.equations for name in reads_of(equation))
        for name in read:
            if name in program.inputs and program.types[name].dtype.is_float:
                names[name] = builder.pointwise("passive", name)
        names = splice(builder, wanted, names)
        return tuple(names[name] for name in wanted.outputs)


def _is_single(cotangents: Any) -> bool:
    """Whether a pullback of one argument returned a tuple of one cotangent."""
    return type(cotangents) is tuple and len(cotangents) == 1


def _shown(shape: Sequence[Any]) -> str:
    return f"[{', '.join(map(str, shape))}]"
