"""`differentiate` itself."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ParamSpec, TypeVar, overload

from gradc.api.built import Source
from gradc.api.differentiated import Differentiated
from gradc.errors import ArgumentError
from gradc.lang.provenance import as_method
from gradc.lang.signature import Signature
from gradc.pipeline import Options

P = ParamSpec("P")
R = TypeVar("R")
Wrt = str | int | Sequence[str | int] | None

RESERVED = ("of", "order", "seed", "out", "target")


@overload
def differentiate(function: Callable[P, R], /) -> Differentiated[P, R]: ...
@overload
def differentiate(
    *,
    wrt: Wrt = None,
    static: Sequence[str] = (),
    check: bool = False,
    has_aux: bool = False,
    target: str = "cpu",
    products: str = "own",
    stabilise: bool = True,
) -> Callable[[Callable[P, R]], Differentiated[P, R]]: ...
@overload
def differentiate(function: Any, /, **options: Any) -> Differentiated[..., Any]: ...


def differentiate(function: Any = None, /, **options: Any) -> Any:
    """Give a function its derivatives.

    Parameters
    ----------
    function : callable, SymPy expression, or a list or Matrix of expressions
        A function written in plain NumPy, or an expression with ``args=(x, y, ...)``: symbols, indexed bases
        and matrix symbols, without it all that occur, sorted by name.
    wrt : str, int, or sequence of these, optional
        The arguments to differentiate.  One name gives a bare gradient, several a tuple in that order;
        without it every floating-point argument counts: bare if the function has one parameter, else a tuple.
    static : sequence of str, optional
        Arguments that are part of the kernel's identity; bools, strings and callables always are.
    check : bool, optional
        Run the gradient check at the first call and raise if it fails.
    has_aux : bool, optional
        The function returns ``(value, aux)``; the value alone is differentiated, and the aux comes back
        beside it: ``value_and_grad`` gives ``((value, aux), gradient)``.
    target : {"cpu", "cuda", "interpret"}, optional
        Numba kernels for the processor or for a GPU, or the slow interpreter.
    products : {"own", "cublas"}, optional
        Who multiplies matrices on a GPU: the kernels, or NVIDIA's library (``pip install 'gradc[cublas]'``).
    stabilise : bool, optional
        Replace spellings that overflow or cancel by stable ones, and leave out what a causal mask removes.

    Returns
    -------
    Differentiated
        Callable like `function`, with ``grad``, ``value_and_grad``, ``vjp``, ``jvp``, ``jacobian``,
        ``hessian``, ``hvp``, ``check``, ``inspect`` and ``kernel``.

    Raises
    ------
    ArgumentError
        For a name that is no argument, or an argument named like an option.

    Examples
    --------
    >>> import numpy as np
    >>> from gradc import differentiate
    >>> @differentiate(target="interpret")
    ... def f(x, y, z):
    ...     return (x + y) * z
    >>> f.value_and_grad(-2.0, 5.0, -4.0)
    (np.float64(-12.0), (-4.0, -4.0, 3.0))
    """
    if function is None:
        return functools.partial(_make, options=options)
    return _make(function, options=options)


def _make(function: Any, options: dict[str, Any]) -> Any:
    function = as_method(function)
    if isinstance(function, staticmethod | classmethod):
        return type(function)(_make(function.__func__, options))
    if isinstance(function, types.FunctionType | types.MethodType) or hasattr(function, "__gradc_inline__"):
        return _from_function(function, options)
    if isinstance(function, list | tuple) or type(function).__module__.partition(".")[0] == "sympy":
        return _from_expression(function, options)
    return _from_object(function, options)


def _from_object(function: Any, options: dict[str, Any]) -> Any:
    """Callables of other kinds, SymPy classes of the user's own, and stand-ins, inside a traced function."""
    from gradc.lang.clone import ClonedFunction  # noqa: PLC0415
    from gradc.lang.equations import Equation  # noqa: PLC0415
    from gradc.lang.expressions import is_expression  # noqa: PLC0415

    if isinstance(function, ClonedFunction):
        return _from_function(function.original, options)
    if isinstance(function, Equation):
        from gradc.api.equation_source import equation_function  # noqa: PLC0415

        return equation_function(function, **options)
    if is_expression(function):
        return _from_expression(function, options)
    if callable(function):
        return _from_function(function, options)
    raise ArgumentError(
        f"differentiate takes a function, not a {type(function).__name__}",
        do="pass a NumPy function, a SymPy expression with args=(x, y), or gradc.equation(...)",
    )


def _from_function(function: Callable[..., Any], options: dict[str, Any]) -> Differentiated[..., Any]:
    from gradc.api.function_source import FunctionSource  # noqa: PLC0415

    chosen = _split(options)
    signature = Signature(function, chosen.wrt, chosen.static)
    clash = [name for name in signature.parameters if name in RESERVED]
    if clash:
        raise ArgumentError(
            f"{signature.name} has an argument named {clash[0]!r}, which is the name of an option",
            do=f"rename the argument; the reserved names are {', '.join(RESERVED)}",
        )
    return _made(FunctionSource(function, signature), signature, function, chosen)


def _from_expression(expression: Any, options: dict[str, Any]) -> Differentiated[..., Any]:
    from gradc.api.expression_source import expression_function  # noqa: PLC0415

    arguments = options.get("args")
    chosen = _split({name: value for name, value in options.items() if name != "args"})
    function, source = expression_function(expression, arguments)
    signature = Signature(function, chosen.wrt, (), numbers_are_floats=True)
    return _made(source, signature, function, chosen)


def _made(
    source: Source, signature: Signature, function: Callable[..., Any], chosen: _Chosen
) -> Differentiated[..., Any]:
    made = Differentiated(source, signature, function, chosen.options)
    made.checked = not chosen.check
    made.has_aux = chosen.has_aux
    return made


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The options of `differentiate`, told apart."""

    wrt: Wrt
    static: tuple[str, ...]
    check: bool
    has_aux: bool
    options: Options


def _split(options: dict[str, Any]) -> _Chosen:
    options = dict(options)
    wrt, static = options.pop("wrt", None), options.pop("static", ())
    check, has_aux = options.pop("check", False), options.pop("has_aux", False)
    known = {field.name for field in fields(Options)}
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ArgumentError(
            f"differentiate has no option {unknown[0]!r}",
            why=f"its options are wrt, static, check, has_aux, {', '.join(sorted(known))}",
            do="args=(x, y) is for SymPy expressions" if unknown[0] == "args" else "",
        )
    static = (static,) if isinstance(static, str) else tuple(static)
    return _Chosen(wrt, static, check, has_aux, Options(**options))
