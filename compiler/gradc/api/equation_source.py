"""Index equations as functions: ``gradc.equation("y[i] = sum[j] w[i, j] * x[j]")`` is a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optree

from gradc.api.built import LEAF, Built, Inlined
from gradc.api.differentiated import Differentiated
from gradc.api.expression_source import (
    MadeBy,
    declare,
    extent_hints,
    made_up_function,
    parameter_names,
)
from gradc.errors import ArgumentError
from gradc.ir.index.build import Builder
from gradc.lang.emit import Emitter, SizeValue, Value
from gradc.lang.signature import Flat, Signature
from gradc.lang.unify import ExtentSolver
from gradc.pipeline import Options

if TYPE_CHECKING:
    from gradc.lang.equations import Equation, Padding
    from gradc.lang.session import Trace


class EquationSource:
    """Builds programs from index equations; sizes of ranges are static arguments."""

    def __init__(self, equation: Equation) -> None:
        self.equation = equation
        self.name = equation.outputs[0]
        self.made_by: MadeBy = equation_parts, (equation,)

    def with_signature(self, signature: Signature) -> EquationSource:
        """Return itself: an equation's meaning does not depend on what is differentiated."""
        return self

    def build(self, flat: Flat) -> Built:
        """Return the program for arguments of these kinds."""
        emit = Emitter(Builder(self.name), ExtentSolver(extent_hints(flat)))
        operands: list[Value | int] = []
        for name, kind, value in zip(flat.names, flat.kinds, flat.values, strict=True):
            operands.append(value if kind.kind == "static" else declare(emit, name, kind))
        outputs = self._lowered(emit, operands)
        names = tuple(value.name if isinstance(value, Value) else None for value in operands)
        wrt = {
            at: value.name
            for at, value in enumerate(operands)
            if isinstance(value, Value) and value.dtype.is_float
        }
        several: Any = (0,) * len(outputs)
        spec = optree.tree_structure(several) if len(outputs) > 1 else LEAF
        program = emit.finish(outputs)
        return Built(program, names, wrt, spec, tuple(range(len(outputs))))

    def inline(self, trace: Trace, values: Sequence[Any]) -> Inlined:
        """Emit the equations on traced values."""
        from gradc.api.inline import lifted, wrapped  # noqa: PLC0415  (tracing loads SciPy)

        count = len(self.equation.parameters)
        operands: list[Any] = [lifted(trace, value) for value in values[:count]]
        operands += [_size(value) for value in values[count:]]
        outputs = [wrapped(trace, value) for value in self._lowered(trace.emit, operands)]
        return Inlined(tuple(outputs) if len(outputs) > 1 else outputs[0])

    def _lowered(self, emit: Emitter, operands: Sequence[Any]) -> list[Value]:
        names = (*self.equation.parameters, *self.equation.sizes)
        result = self.equation.lower(emit, **dict(zip(names, operands, strict=True)))
        return list(result) if isinstance(result, tuple) else [result]


def _size(value: Any) -> Any:
    """Return the size of a range inside a trace, where it may be the extent of an array."""
    from gradc.lang.sizes import Extent  # noqa: PLC0415

    return SizeValue(value._size) if type(value) is Extent else value


def equation(
    text: str,
    *,
    pad: Mapping[str, Padding] | None = None,
    outputs: Sequence[str] | None = None,
    **options: Any,
) -> Differentiated[..., Any]:
    """Compile index notation into a differentiable function of the tensors it reads.

    Parameters
    ----------
    text : str
        Equations separated by new lines or ``;``.  Indices that stand on the right only are summed by
        ``sum[...]``.
    pad : mapping of tensor name to amount, optional
        Zeros around a tensor, in its own coordinates as with ``np.pad``: a number pads every axis that is
        accessed through a window (``p + i``); a sequence holds one number or ``(before, after)`` per axis.
    outputs : sequence of str, optional
        What to return; without it every tensor that no later equation reads.
    **options
        ``wrt``, ``target``, ``products`` and ``stabilise``, as for `differentiate`.

    Returns
    -------
    Differentiated
        Takes the tensors in order of first appearance, or by name, then the sizes in ``with`` clauses.

    Raises
    ------
    InputRefused
        The text is malformed; the message has carets under the place.

    Examples
    --------
    >>> import numpy as np, gradc
    >>> product = gradc.equation("y[i] = sum[j] w[i, j] * x[j]", target="interpret")
    >>> product(w=np.eye(2), x=np.array([1.0, 2.0]))
    array([1., 2.])
    """
    from gradc.lang.equations import Equation  # noqa: PLC0415

    return equation_function(Equation(text, pad=pad, outputs=outputs), **options)


def equation_function(parsed: Equation, *, wrt: Any = None, **options: Any) -> Differentiated[..., Any]:
    """Return the differentiable function of parsed equations."""
    function, source = equation_parts(parsed)
    return Differentiated(source, Signature(function, wrt, parsed.sizes), function, Options(**options))


def equation_parts(parsed: Equation) -> tuple[Callable[..., Any], EquationSource]:
    """Return the function and source of parsed equations."""
    names = (*parsed.parameters, *parsed.sizes)
    if parameter_names(names) != names:
        raise ArgumentError(
            f"{parsed!r} reads a tensor whose name is a word of Python", do="rename the tensor"
        )
    source = EquationSource(parsed)
    return made_up_function(source.name, names, parsed.text), source
