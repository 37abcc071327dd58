"""Index equations: a layer written as one line of index notation, whose backward pass nobody writes.

``y[n,o,p,q] = sum[c,i,j] w[o,c,i,j] * x[n,c,p+i,q+j]`` is a convolution. The ranges of the indices follow
from the shapes of the tensors: an index that stands alone on an axis runs over that axis, a window ``2*p +
i`` leaves ``p`` as many values as fit, and ``with p < 10`` fixes a range. Reading outside a tensor is an
error, unless the tensor is padded with zeros: ``pad(x, 1)[n, c, p+i, q+j]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.errors import ArgumentError, InputRefused, ShapeError
from gradc.ir.extents import Size
from gradc.lang.emit import Emitter, SizeValue, Value
from gradc.lang.equation_lowering import StatementLowering
from gradc.lang.equation_nodes import ParsedEquations, Reference, Widths
from gradc.lang.equation_parser import parse_equations
from gradc.lang.source import shorten

Padding = int | Sequence[int | tuple[int, int]]


class Equation:
    """One or several index equations, called like a function of the tensors they read.

    Attributes
    ----------
    text : str
        As written.
    parameters : tuple of str
        Tensors that are read and not defined, in order of first appearance.
    sizes : tuple of str
        Names of sizes in ``with`` clauses; given as whole numbers.
    outputs : tuple of str
        Tensors that are returned.
    """

    def __init__(
        self,
        text: str,
        *,
        pad: Mapping[str, Padding] | None = None,
        outputs: Sequence[str] | None = None,
        label: str = "equation",
    ) -> None:
        self.text = text
        self.parsed = parse_equations(text, label=label)
        self.parameters = self.parsed.parameters
        self.sizes = self.parsed.sizes
        self.outputs = _outputs(self.parsed, outputs)
        self.pad = {name: _widths(name, amount) for name, amount in (pad or {}).items()}
        for name in self.pad:
            if name not in self.parameters:
                raise ArgumentError(f"pad names {name}, which the equation does not read", do=_takes(self))

    def __repr__(self) -> str:
        text = shorten("; ".join(line.strip() for line in self.text.strip().splitlines()), 100)
        return f"equation({text!r})"

    def bind(self, arguments: Sequence[object], keywords: Mapping[str, object]) -> dict[str, object]:
        """Arguments by name: positional ones in the order of `parameters`, then `sizes`.

        Raises
        ------
        ArgumentError
            One is missing, unknown or given twice.
        """
        names = (*self.parameters, *self.sizes)
        if len(arguments) > len(names):
            raise ArgumentError(f"{len(arguments)} arguments for {len(names)} tensors", do=_takes(self))
        bound = dict(zip(names, arguments, strict=False))
        for name, value in keywords.items():
            if name not in names or name in bound:
                problem = "is given twice" if name in bound else "is not read by the equation"
                raise ArgumentError(f"{name} {problem}", where=repr(self), do=_takes(self))
            bound[name] = value
        missing = [name for name in names if name not in bound]
        if missing:
            raise ArgumentError(f"{', '.join(missing)} missing", where=repr(self), do=_takes(self))
        return bound

    def lower(self, emit: Emitter, **operands: Value | int | SizeValue | Size) -> Value | tuple[Value, ...]:
        """Emit the equations; returns the output, or a tuple where there are several.

        Raises
        ------
        ShapeError
            The shapes contradict each other, or an access would leave its tensor.
        InputRefused
            The range of an index does not follow from the shapes.
        """
        bound = self.bind((), operands)
        tensors = {name: _tensor(name, bound[name]) for name in self.parameters}
        sizes = {name: _size(name, bound[name]) for name in self.sizes}
        for statement in self.parsed.statements:
            lowering = StatementLowering(self.parsed.source, statement, emit, tensors, sizes, self.pad)
            tensors[statement.target] = lowering.run()
        results = tuple(tensors[name] for name in self.outputs)
        return results[0] if len(results) == 1 else results


def equation(
    text: str, *, pad: Mapping[str, Padding] | None = None, outputs: Sequence[str] | None = None
) -> Equation:
    """Compile index notation.

    Parameters
    ----------
    text : str
        Equations separated by new lines or ``;``.
    pad : mapping of tensor name to amount, optional
        Zeros around a tensor, in its own coordinates as with ``np.pad``: a number pads every axis that is
        accessed through a window (``p + i``); a sequence holds one number or ``(before, after)`` per axis.
    outputs : sequence of str, optional
        What to return; without it every tensor that no later equation reads.

    Raises
    ------
    InputRefused
        The text is malformed; the message has carets under the place.

    Examples
    --------
    >>> equation("y[i] = sum[j] w[i, j] * x[j]").parameters
    ('w', 'x')
    """
    return Equation(text, pad=pad, outputs=outputs)


def _outputs(parsed: ParsedEquations, chosen: Sequence[str] | None) -> tuple[str, ...]:
    defined = [statement.target for statement in parsed.statements]
    if chosen is not None:
        for name in chosen:
            if name not in defined:
                raise ArgumentError(
                    f"{name} is not defined by the equations", do=f"one of {', '.join(defined)}"
                )
        return tuple(chosen)
    read = {n.name for statement in parsed.statements for n in statement.nodes if isinstance(n, Reference)}
    return tuple(name for name in defined if name not in read)


def _takes(self: Equation) -> str:
    return f"it takes {', '.join((*self.parameters, *self.sizes))}"


def _widths(name: str, amount: Padding) -> Widths:
    amounts = [amount] if isinstance(amount, int) else list(amount)
    widths = tuple(
        (item, item) if isinstance(item, int) else (int(item[0]), int(item[1])) for item in amounts
    )
    if any(width < 0 for pair in widths for width in pair):
        raise InputRefused(f"the padding of {name} is negative", do="read a slice of the tensor instead")
    return widths


def _tensor(name: str, value: object) -> Value:
    if isinstance(value, Value):
        return value
    raise ArgumentError(f"{name} is a {type(value).__name__}, not a tensor", do="pass an array")


def _size(name: str, value: object) -> Size:
    if isinstance(value, SizeValue):
        return value.size
    if isinstance(value, bool) or not isinstance(value, Size):
        raise ArgumentError(
            f"{name} is the size of a range and must be a whole number", why=f"it is {value!r}"
        )
    if isinstance(value, int) and value < 0:
        raise ShapeError(f"the size {name} is {value}")
    return value


__all__ = ["Equation", "equation"]
