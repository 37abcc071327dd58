"""`differentiate` itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, ParamSpec, TypeVar, overload

from gradc.api.differentiated import Differentiated
from gradc.errors import ArgumentError
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
    target: str = "cpu",
    stabilise: bool = True,
) -> Callable[[Callable[P, R]], Differentiated[P, R]]: ...
@overload
def differentiate(function: Any, /, **options: Any) -> Differentiated[..., Any]: ...


def differentiate(function: Any = None, /, **options: Any) -> Any:
    """Give a function its derivatives.

    Parameters
    ----------
    function : callable, SymPy expression, or a list or Matrix of expressions
        A function written in plain NumPy, or an expression with ``args=(x, y, ...)``.
    wrt : str, int, or sequence of these, optional
        The arguments to differentiate.  One name gives a bare gradient, several a tuple in that order; without it
        every floating-point argument counts: bare if the function has one parameter, else a tuple.
    static : sequence of str, optional
        Arguments that are part of the kernel's identity; bools, strings and callables always are.
    check : bool, optional
        Run the gradient check at the first call and raise if it fails.
    target : {"cpu", "interpret"}, optional
        Numba kernels, or the slow interpreter.
    stabilise : bool, optional
        Replace spellings that overflow or cancel by stable ones.

    Returns
    -------
    Differentiated
        Callable like `function`, with ``grad``, ``value_and_grad``, ``vjp``, ``jvp``, ``jacobian``, ``hessian``,
        ``hvp``, ``check``, ``inspect`` and ``kernel``.

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
    if isinstance(function, staticmethod | classmethod):
        return type(function)(_make(function.__func__, options))
    if not callable(function) or not (inspect.isfunction(function) or inspect.ismethod(function)):
        return _from_expression(function, options)
    return _from_function(function, options)


def _from_function(function: Callable[..., Any], options: dict[str, Any]) -> Differentiated[..., Any]:
    from gradc.api.function_source import FunctionSource  # noqa: PLC0415

    wrt, static, check, compile_options = _split(options)
    signature = Signature(function, wrt, static)
    clash = [name for name in signature.parameters if name in RESERVED]
    if clash:
        raise ArgumentError(
            f"{signature.name} has an argument named {clash[0]!r}, which is the name of an option",
            do=f"rename the argument; the reserved names are {', '.join(RESERVED)}",
        )
    made = Differentiated(FunctionSource(function, signature), signature, function, compile_options)
    made.checked = not check
    return made


def _from_expression(expression: Any, options: dict[str, Any]) -> Differentiated[..., Any]:
    from gradc.api.expression_source import expression_function  # noqa: PLC0415

    arguments = options.pop("args", None)
    wrt, _, check, compile_options = _split(options)
    function, source = expression_function(expression, arguments)
    signature = Signature(function, wrt, (), numbers_are_floats=True)
    made = Differentiated(source, signature, function, compile_options)
    made.checked = not check
    return made


def _split(options: dict[str, Any]) -> tuple[Wrt, Sequence[str], bool, Options]:
    options = dict(options)
    wrt = options.pop("wrt", None)
    static = options.pop("static", ())
    check = options.pop("check", False)
    known = {field.name for field in fields(Options)}
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ArgumentError(
            f"differentiate has no option {unknown[0]!r}",
            why=f"its options are wrt, static, check, {', '.join(known)}",
        )
    return wrt, (static,) if isinstance(static, str) else tuple(static), check, Options(**options)
