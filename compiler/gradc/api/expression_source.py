"""Front ends that need no tracing: SymPy expressions and parsed text, evaluated elementwise like a ufunc."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import optree

from gradc.api.built import LEAF, Built, Inlined
from gradc.errors import ArgumentError
from gradc.ir.extents import Size, symbol
from gradc.ir.index.build import Builder
from gradc.ir.types import DType
from gradc.lang.emit import Emitter, Value
from gradc.lang.signature import Flat, LeafKind, Signature
from gradc.lang.unify import ExtentSolver

if TYPE_CHECKING:
    from gradc.lang.session import Trace

# How a function that has no name of its own is made again: pickling refers to it by its formula.
MadeBy: TypeAlias = tuple[Callable[..., tuple[Callable[..., Any], Any]], tuple[Any, ...]]
Lower: TypeAlias = Callable[[Emitter, dict[str, Value]], Value | list[Value]]


class ExpressionSource:
    """Builds programs from a formula over named arguments.

    `lower` emits the formula on the argument tensors.  With `scalar` every argument stands for a number:
    arguments that are arrays broadcast against each other, and gradients are elementwise derivatives in the
    broadcast shape.
    """

    def __init__(self, name: str, arguments: Sequence[str], lower: Lower, *, scalar: bool) -> None:
        self.name = name
        self.arguments = tuple(arguments)
        self.lower = lower
        self.scalar = scalar
        self.made_by: MadeBy | None = None

    def with_signature(self, signature: Signature) -> ExpressionSource:
        """Return itself: an expression's meaning does not depend on what is differentiated."""
        return self

    def build(self, flat: Flat) -> Built:
        """Return the program for arguments of these kinds."""
        emit = Emitter(Builder(self.name), ExtentSolver(extent_hints(flat)))
        refuse_static(flat, self.name)
        inputs = [declare(emit, name, kind) for name, kind in zip(flat.names, flat.kinds, strict=True)]
        operands, elementwise = self._operands(emit, inputs)
        result = self.lower(emit, dict(zip(self.arguments, operands, strict=True)))
        outputs = self._outputs(emit, result, operands, elementwise)
        several: Any = [0] * len(outputs)
        spec = optree.tree_structure(several) if isinstance(result, list) else LEAF
        wrt = {at: value.name for at, value in enumerate(operands) if inputs[at].dtype.is_float}
        names = tuple(value.name for value in inputs)
        program = emit.finish(outputs)
        return Built(program, names, wrt, spec, tuple(range(len(outputs))), elementwise=elementwise)

    def inline(self, trace: Trace, values: Sequence[Any]) -> Inlined:
        """Emit the formula on traced values."""
        from gradc.api.inline import lifted, wrapped  # noqa: PLC0415  (tracing loads SciPy)

        emit = trace.emit
        operands, elementwise = self._operands(emit, [lifted(trace, value) for value in values])
        result = self.lower(emit, dict(zip(self.arguments, operands, strict=True)))
        outputs = [wrapped(trace, value) for value in self._outputs(emit, result, operands, elementwise)]
        names = tuple(value.name for value in operands) if elementwise else ()
        return Inlined(outputs if isinstance(result, list) else outputs[0], names, elementwise)

    def _operands(self, emit: Emitter, inputs: Sequence[Value]) -> tuple[list[Value], bool]:
        """Arguments as floating-point tensors, of one shape where the formula is elementwise."""
        operands = [_floating(emit, value) for value in inputs]
        elementwise = self.scalar and any(value.shape for value in operands)
        if elementwise:
            shape = emit.broadcast_shape([emit.shape(value) for value in operands])
            operands = [emit.reindex(value, shape, emit.aligned(value, shape).indices) for value in operands]
        return operands, elementwise

    def _outputs(
        self, emit: Emitter, result: Value | list[Value], operands: Sequence[Value], elementwise: bool
    ) -> list[Value]:
        outputs = result if isinstance(result, list) else [result]
        return (
            [emit.broadcast_to(value, emit.shape(operands[0])) for value in outputs]
            if elementwise
            else outputs
        )


def refuse_static(flat: Flat, name: str) -> None:
    """Arguments of formulas are numbers and arrays."""
    for argument, kind in zip(flat.names, flat.kinds, strict=True):
        if kind.kind == "static":
            raise ArgumentError(
                f"argument {argument} of {name} must be a number or an array", why=f"it is {kind.value!r}"
            )


def _floating(emit: Emitter, value: Value) -> Value:
    """Integer arguments of a formula count as floats."""
    return value if value.dtype.is_float or value.dtype.is_bool else emit.cast(value, DType.F64)


def extent_hints(flat: Flat) -> dict[str, int]:
    """Return the values that the extents of arguments have in a call."""
    return {
        f"{name}_n{axis}": size
        for name, kind, value in zip(flat.names, flat.kinds, flat.values, strict=True)
        if kind.kind == "array"
        for axis, size in enumerate(value.shape)
    }


def declare(emit: Emitter, name: str, kind: LeafKind) -> Value:
    """Declare the input for an argument; extents of 1 are static."""
    shape: tuple[Size, ...] = tuple(
        1 if axis in kind.ones else symbol(f"{name}_n{axis}") for axis in range(kind.rank)
    )
    return emit.input(name, kind.dtype or DType.F64, shape)


def made_up_function(name: str, arguments: Sequence[str], doc: str) -> Callable[..., Any]:
    """Return a function object that carries the signature of a formula."""

    def function(*args: Any) -> Any:
        raise ArgumentError(
            f"{name} has no Python function behind it",
            do="call the differentiated object, without GRADC_DISABLE",
        )

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature([inspect.Parameter(argument, kind) for argument in arguments])  # pyright: ignore[reportFunctionMemberAccess]
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def parameter_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names for a signature: those that Python does not take become ``v1``, ``v2``, ..."""
    taken = {name for name in names if _is_plain(name)}
    result: list[str] = []
    for number, name in enumerate(names, 1):
        if not _is_plain(name):
            while f"v{number}" in taken:
                number += len(names)
            name = f"v{number}"
            taken.add(name)
        result.append(name)
    return tuple(result)


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


# --- text ---------------------------------------------------------------------------------------------------


def text_function(text: str, name: str = "expression") -> tuple[Callable[..., Any], ExpressionSource]:
    """Return the function and source of an expression given as text; its variables are the arguments."""
    from gradc.lang.formula import lower_formula  # noqa: PLC0415
    from gradc.lang.parser import parse_expression  # noqa: PLC0415

    parsed = parse_expression(text)

    def lower(emit: Emitter, inputs: dict[str, Value]) -> Value:
        return lower_formula(parsed, emit, inputs)

    source = ExpressionSource(name, parsed.variables, lower, scalar=True)
    source.made_by = text_function, (text, name)
    return made_up_function(name, parsed.variables, text), source


# --- SymPy --------------------------------------------------------------------------------------------------


def expression_function(
    expression: Any, arguments: Sequence[Any] | None
) -> tuple[Callable[..., Any], ExpressionSource]:
    """Return the function and source of a SymPy expression, a list of them or a Matrix.

    `arguments` are its symbols, indexed bases and matrix symbols; without it, those that occur, sorted by
    name.
    """
    import sympy  # noqa: PLC0415

    from gradc.lang.expressions import read_expression  # noqa: PLC0415

    symbols = _occurring(expression) if arguments is None else tuple(arguments)
    names = parameter_names([str(getattr(item, "name", item)) for item in symbols])

    def lower(emit: Emitter, inputs: dict[str, Value]) -> Value | list[Value]:
        by_symbol: Mapping[Any, Value] = dict(zip(symbols, (inputs[name] for name in names), strict=True))
        return read_expression(expression, symbols, emit, by_symbol)

    parts = expression if isinstance(expression, list | tuple) else (expression,)
    numbers = all(getattr(part, "is_scalar", True) and not hasattr(part, "shape") for part in parts)
    scalar = numbers and all(isinstance(item, sympy.Symbol) for item in symbols)
    source = ExpressionSource("expression", names, lower, scalar=scalar)
    source.made_by = expression_function, (expression, symbols)
    return made_up_function("expression", names, _short(expression)), source


def _short(expression: Any) -> str:
    from gradc.lang.sympy_reader import shown  # noqa: PLC0415

    parts = expression if isinstance(expression, list | tuple) else (expression,)
    return ", ".join(shown(part) for part in parts)


def _occurring(expression: Any) -> tuple[Any, ...]:
    """Return the arguments that an expression needs, sorted by name."""
    import sympy  # noqa: PLC0415

    parts = expression if isinstance(expression, list | tuple) else (expression,)
    found: dict[Any, None] = {}
    for part in map(sympy.sympify, parts):
        tensors = _tensors(part)
        sizes: set[Any] = set()
        for tensor in tensors:
            sizes.update(
                *(getattr(size, "free_symbols", ()) for size in getattr(tensor, "shape", None) or ())
            )
        labels = {getattr(tensor, "label", None) for tensor in tensors}
        plain = {item for item in part.free_symbols if isinstance(item, sympy.Symbol) and not _is_index(item)}
        found.update(dict.fromkeys((*tensors, *(plain - sizes - labels))))
    return tuple(sorted(found, key=lambda item: (str(item.name), type(item).__name__)))


def _tensors(part: Any) -> set[Any]:
    import sympy  # noqa: PLC0415

    elements = part if isinstance(part, sympy.MatrixBase) else [part]
    kinds = (sympy.IndexedBase, sympy.MatrixSymbol)
    return {tensor for element in elements for kind in kinds for tensor in element.atoms(kind)}


def _is_index(item: Any) -> bool:
    import sympy  # noqa: PLC0415

    return isinstance(item, sympy.Idx)
