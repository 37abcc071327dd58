"""Check a gradient against differences whose error is bounded by computation, not by a chosen tolerance.

A tolerance that suits one function hides faults in another: here every comparison carries a bound on the
error of its own numeric side, and a bound too wide to mean something is INCONCLUSIVE, never PASS.

Method: centred differences with Richardson extrapolation and propagated round-off, Shanks' transformation at
edges, difference-table noise (Moré and Wild, "Estimating computational noise", 2011). Of the estimates, the
tightest one that nothing from smaller steps contradicts is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradc_runtime.gradcheck_arguments import Arguments
from gradc_runtime.gradcheck_estimate import Line
from gradc_runtime.gradcheck_judge import slope
from gradc_runtime.gradcheck_report import Entry, GradientCheckError, Report, Verdict
from gradc_runtime.gradcheck_search import Comparisons, Progress, flawed
from gradc_runtime.gradcheck_trees import Flattened, children, leaves

__all__ = ["Entry", "GradientCheckError", "Report", "Verdict", "check_gradient", "derivative"]


def derivative(
    f: Callable[[Any], Any], x: Any, direction: Any = None, *, side: int = 0
) -> tuple[float, float]:
    """Differentiate a real function numerically along a direction, with a bound on the error.

    Parameters
    ----------
    f : callable
        A function of one argument that returns a real scalar. Where it raises ArithmeticError or ValueError
        away from `x` it counts as undefined.
    x : float, array, or nested containers of them
        The point. It is copied and never written to.
    direction : like x, optional
        The derivative of ``f(x + t * direction)`` at ``t = 0`` is taken; for a float the default is 1.
    side : {0, 1, -1}
        Both sides, or the slope towards positive or negative `t` only.

    Returns
    -------
    value, bound : float
        The derivative and a bound on its error. A bound of infinity means that the value is not to be
        trusted: a kink or jump, an infinite slope, noise, or f(x) not finite.

    Raises
    ------
    ValueError
        If `side` is not 0, 1 or -1, or `direction` has not the form of `x`.
    TypeError
        If `f` does not return a real scalar.

    Notes
    -----
    The bound is computed from the function's values. It held at every point of a catalogue; for a function
    whose trouble lies between the points looked at, no bound from values can be a proof.

    Examples
    --------
    >>> import math
    >>> import numpy as np
    >>> value, bound = derivative(math.sin, 1.0)
    >>> abs(value - math.cos(1.0)) <= bound < 1e-10
    True
    >>> derivative(abs, 0.0)
    (0.0, inf)
    >>> value, bound = derivative(lambda x: np.sum(x**3), np.array([1.0, 2.0]), np.array([1.0, -1.0]))
    >>> abs(value - -9.0) <= bound < 1e-9
    True
    """
    if side not in (0, 1, -1):
        raise ValueError(f"side is {side!r}; it must be 0 (both), 1 (right) or -1 (left)")
    if direction is None and np.ndim(x) == 0 and children(x) is None:
        line = Line(f, float(x), abs(float(x)))
    else:
        line = _line_along(f, x, direction)
    if not np.isfinite(line.value) or not np.isfinite(line.origin):
        return float("nan"), float("inf")
    value, bound = slope(line, side)
    return value, bound


def _line_along(f: Callable[[Any], Any], x: Any, direction: Any) -> Line:
    """Return f on the line through `x`, which may be nested containers."""
    if direction is None:
        raise ValueError("x is no single number: give the direction to differentiate along")
    flat = Flattened([x], ["x"], None)
    moves = [np.asarray(v, np.float64) for _, v in leaves(direction, "x")]
    if [np.shape(value) for value in flat.values] != [v.shape for v in moves]:
        shapes = [np.shape(value) for value in flat.values], [v.shape for v in moves]
        raise ValueError(f"x has parts of shapes {shapes[0]} and direction {shapes[1]}; they must agree")
    values = [np.array(value, np.float64) if np.ndim(value) else float(value) for value in flat.values]
    point = Arguments(flat.function(f), None, values, flat.names, None)
    sizes = [(point.typical(at), float(np.max(np.abs(v), initial=0.0))) for at, v in enumerate(moves)]
    scale = min((typical / length for typical, length in sizes if typical and length), default=0.0)
    return point.along({at: v.ravel() for at, v in enumerate(moves)}, scale)


def check_gradient(
    f: Callable[..., Any],
    gradient: Callable[..., Any] | Sequence[Any],
    arguments: Any,
    *,
    wrt: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    probes: int = 3,
    seed: int = 0,
    elements: int = 64,
    wide: Callable[..., Any] | None = None,
    trace: Callable[..., Mapping[str, Any]] | None = None,
    rounding: Mapping[str, float] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check the gradient of a scalar function of arrays and floats.

    Up to `elements` elements, every element of an argument is checked by itself. A larger argument is checked
    along a random direction and at its first and last element, and all arguments together along `probes`
    random directions; when a direction fails, the guilty elements are searched for and named. Shape and dtype
    of the gradient are compared with the argument's, the inputs must come back with the same bits, and a
    second call must give the same bits.

    Parameters
    ----------
    f : callable
        `f(*arguments)` returns a real scalar. An exception at the given arguments propagates;
        ArithmeticError and ValueError at displaced ones count as "undefined there".
    gradient : callable or sequence
        `gradient(*arguments)`, or its result: one array or float for each name of `wrt`, in that order. With
        a single name it may be the bare array.
    arguments : sequence, or one array
        The point: arrays, floats, and nested tuples, lists, dicts, namedtuples or dataclasses of them, whose
        gradients come in the same containers. It is copied and never written to.
    wrt : sequence of str, optional
        Arguments the gradient is taken to; by default all of floating dtype.
    names : sequence of str, optional
        Names of the arguments; by default `arg0`, `arg1`, ...
    probes : int
        Random directions of all arguments together where one of them is large, ±Uniform(0.5, 1.5) in every
        element, seeded by `(seed, name, probe)`. With several arguments each large one has one of its own.
    seed : int
        Seed of the directions.
    elements : int
        Largest size of an argument that is checked element by element.
    wide : callable, optional
        The same function in float64, for arguments of a shorter float; it receives their float64 copies.
    trace : callable, optional
        The choices that f makes: `trace(*arguments)` returns a mapping from the name of each `if`, `max`,
        `abs`, ... to an array (or number) that is the same as long as f makes the same choice, such as
        `x > 0` or `np.argmax(x)`. Steps across a kink are then left out, and the report names the choice.
    rounding : mapping, optional
        By the names in the report: how far the elements of a gradient may be off by rounding, beyond some eps of
        their own size. A gradient that is a sum in which large terms cancel is nothing but rounding.
    progress : callable, optional
        `progress(done, planned, what)` is called after every comparison, for a display of progress.

    Returns
    -------
    Report
        True only if every verdict is PASS, KINK-OK or EDGE.

    Raises
    ------
    TypeError
        If `f` does not return a real scalar, or an argument to differentiate is not a real float.
    ValueError
        If `names`, `wrt` or the number of gradients do not fit the arguments.

    Notes
    -----
    A function computed in float32 is never differenced: its rounding drowns its slope. For float32 arguments
    the differences are taken of `wide`, or without it of `f` called with float64 copies; if `f` is then seen
    to round to less than float64 the verdict is INCONCLUSIVE. A float32 gradient is allowed 72 of its eps,
    relative to the larger of the element and the argument's root mean square gradient; along a direction the
    allowance grows as the root of the number of elements.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([1.0, -2.0, 3.0])
    >>> report = check_gradient(lambda x: float(np.sum(x**3)), lambda x: [3 * x**2], [x], names=["x"])
    >>> bool(report)
    True
    >>> wrong = check_gradient(lambda x: float(np.sum(x**3)), [np.array([3.0, 12.0, 26.9])], [x], names=["x"])
    >>> [(entry.argument, entry.index, str(entry.verdict)) for entry in wrong.entries if entry.index == (2,)]
    [('x', (2,), 'WRONG')]
    """
    if not isinstance(arguments, tuple | list):
        arguments = [arguments]
    if any(children(argument) is not None for argument in arguments):
        flat = Flattened(arguments, names, wrt)
        return check_gradient(
            flat.function(f),
            _of_leaves(flat, gradient),
            flat.values,
            wrt=flat.wrt,
            names=flat.names,
            probes=probes,
            seed=seed,
            elements=elements,
            wide=None if wide is None else flat.function(wide),
            trace=None if trace is None else flat.function(trace),
            rounding=rounding,
            progress=progress,
        )
    point = Arguments(f, wide, arguments, names, wrt, trace)
    flaws, gradients = point.settle(gradient)
    entries = [flawed(flaw) for flaw in flaws]
    if point.usable:
        options = {"probes": probes, "seed": seed, "elements": elements}
        entries += Comparisons(point, gradients, rounding or {}, **options, progress=progress).run()
        entries += [flawed(flaw) for flaw in point.final_changes()]
    return Report(tuple(entries), point.evaluations, seed)


def _of_leaves(flat: Flattened, gradient: Callable[..., Any] | Sequence[Any]) -> Any:
    """Return the gradient with respect to leaves, from one with respect to containers."""
    if not callable(gradient):
        return flat.gradient(gradient)
    whole = flat.function(gradient)
    return lambda *given: flat.gradient(whole(*given))
