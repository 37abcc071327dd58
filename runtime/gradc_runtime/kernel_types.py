"""The types in the text of a kernel: what `gradc_runtime.kernel_code` needs to emit it without Numba's front end.

Generated kernels are written in a few words of Python: scalars and elements, loops over ranges, calls, and checks of
their arguments.  A variable keeps its type; an array is made once, outside loops and choices.  What
calls and operators mean is Numba's: it is asked for the signature of each.
"""

from __future__ import annotations

import ast
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numba.core import errors, types
from numba.core.registry import cpu_target

from gradc_runtime import arrays
from gradc_runtime.opaque import OpaqueType

Kind = Any  # of Numba's types

_TUPLE: Any = types.BaseTuple
_TURNED: dict[str, Any] = {"C": "F", "F": "C"}  # the layouts of transposed matrices
OPERATORS: Mapping[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitXor: operator.xor,
    ast.USub: operator.neg,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


# Signatures by what is called with which types.
_resolved: dict[tuple[Kind, tuple[Kind, ...]], Any] = {}


class WithText(ABC):
    """What stands for a function in the module of a kernel, and is given the text of it where that is at hand."""

    text: ast.FunctionDef | None = None

    @property
    def lines(self) -> int:
        """How long the text is."""
        return (self.text.end_lineno or 0) - self.text.lineno if self.text else 0

    @abstractmethod
    def begin(self, context: Any, given: Sequence[Kind]) -> None:
        """Begin to compile it for the call of a kernel, whose arguments have the types `given`."""


class OtherText(Exception):
    """The text has something in it that is left to Numba."""


@dataclass(slots=True, eq=False)
class Typed:
    """A function with the types of its expressions, and what its calls and operators call."""

    function: ast.FunctionDef
    globals: Mapping[str, Any]
    variables: dict[str, Kind]
    kinds: dict[ast.AST, Kind] = field(default_factory=dict)
    calls: dict[ast.AST, tuple[Kind, Any]] = field(default_factory=dict)
    returns: Kind = types.none

    @property
    def name(self) -> str:
        """What the function is called."""
        return self.function.name


def functions_of(source: str, names: Sequence[str]) -> dict[str, ast.FunctionDef]:
    """Functions in the text of a module, whose other parts are not read: they may be long."""
    lines = source.splitlines(keepends=True)
    begins = [at for at, line in enumerate(lines) if not line[0].isspace() and not line.startswith(")")]
    found: dict[str, ast.FunctionDef] = {}
    for first, last in zip(begins, [*begins[1:], len(lines)], strict=True):
        name = lines[first].removeprefix("def ").partition("(")[0]
        if lines[first].startswith("def ") and name in names:
            (node,) = ast.parse("".join(lines[first:last])).body
            assert isinstance(node, ast.FunctionDef)
            found[name] = ast.increment_lineno(node, first)
    return found


def read_with_tasks(source: str, function: Callable[..., Any]) -> ast.FunctionDef:
    """The text of a kernel in that of its module, before Numba is asked for types; the tasks are given theirs."""
    context: Any = cpu_target.typing_context
    context.refresh()  # what was declared since Numba compiled last
    tasks = {name: found for name, found in function.__globals__.items() if isinstance(found, WithText)}
    texts = functions_of(source, [function.__name__, *tasks])
    for name, task in tasks.items():
        task.text = texts[name]
    return texts[function.__name__]


def typed(function: ast.FunctionDef, namespace: Mapping[str, Any], arguments: Sequence[Kind]) -> Typed | None:
    """The types in a function that takes these arguments; None where it is left to Numba."""
    names = [argument.arg for argument in function.args.args]
    made = Typed(function, namespace, dict(zip(names, arguments, strict=True)))
    try:
        _Typing(made).run()
    except (OtherText, errors.NumbaError):
        return None
    return made


def begin_tasks(context: Any, made: Typed) -> None:
    """Begin with the tasks, the longest first: threads work on them while the rest is emitted."""
    calls = [found.args for _, found in made.calls.values() if _is_launch(found.args)]
    for given in sorted(calls, key=lambda given: given[0].made.lines, reverse=True):
        given[0].made.begin(context, given)


def _is_launch(given: Sequence[Any]) -> bool:
    return bool(given) and isinstance(given[0], OpaqueType) and isinstance(given[0].made, WithText)


class _Typing:
    """A walk over the statements of a function."""

    def __init__(self, made: Typed) -> None:
        self.made = made
        self.context: Any = cpu_target.typing_context
        kind_of = self.context.resolve_value_type
        # Made as the kernels' other arrays are: Numba compiles its functions anew for every rank and type.
        self.of_numpy = {kind_of(np.empty): kind_of(arrays.empty), kind_of(np.zeros): kind_of(arrays.zeros)}
        self.depth = 0  # of loops and choices: what is in one may run often or never, and makes no arrays

    def run(self) -> None:
        *body, last = self.made.function.body
        for statement in body:
            self.statement(statement)
        if not isinstance(last, ast.Return):
            self.statement(last)
        elif last.value is None:
            raise OtherText(last)
        else:
            self.made.returns = types.unliteral(self.kind(last.value))
            if not self.is_returned_whole(last.value):
                raise OtherText(last)

    def is_returned_whole(self, node: ast.expr) -> bool:
        """Whether the arrays in a result are new, or stand there by their names."""
        if isinstance(node, ast.Tuple):
            return all(map(self.is_returned_whole, node.elts))
        return isinstance(node, ast.Name) or is_new(node) or not has_array(self.made.kinds[node])

    # --- statements -----------------------------------------------------------------------------------

    def statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=[target], value=value):
                kind = self.kind(value)
                if has_array(kind) and not is_new(value):
                    raise OtherText(statement)
                self.assign(target, kind)
            case ast.AugAssign(target=ast.Subscript() as target, op=op, value=value):
                self.call(statement, operator_of(op), [self.kind(target), self.kind(value)])
            case ast.Expr(value=ast.Call() as call):
                if self.kind(call) != types.none:
                    raise OtherText(statement)
            case ast.Expr(value=ast.Constant()):
                pass
            case ast.For(
                target=ast.Name(id=index),
                iter=ast.Call(func=ast.Name(id="range"), args=[extent]),
                orelse=[],
            ):
                self.kind(extent)
                self.define(index, types.intp)
                with self.inside():
                    for inner in statement.body:
                        self.statement(inner)
            case ast.If(
                test=test,
                body=[ast.Raise(exc=ast.Call(func=ast.Name(id="ValueError"), args=[ast.Constant()]))],
                orelse=[],
            ):
                self.truth(test)
            case _:
                raise OtherText(statement)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """What may run often or never."""
        self.depth += 1
        yield
        self.depth -= 1

    def assign(self, target: ast.expr, kind: Kind) -> None:
        match target:
            case ast.Name(id=name):
                self.define(name, types.unliteral(kind))
            case ast.Tuple(elts=targets) if isinstance(kind, _TUPLE) and len(targets) == len(kind.types):
                for one, part in zip(targets, kind.types, strict=True):
                    self.assign(one, part)
            case ast.Subscript():
                self.kind(target)
            case _:
                raise OtherText(target)

    def define(self, name: str, kind: Kind) -> None:
        """Note the type of a variable; it never changes, and arrays are defined once, outside loops."""
        is_new_array = isinstance(kind, types.Array) and not self.depth and name not in self.made.variables
        is_number = isinstance(kind, types.Number | types.Boolean)
        if self.made.variables.setdefault(name, kind) != kind or not (is_number or is_new_array):
            raise OtherText(name)

    # --- expressions ----------------------------------------------------------------------------------

    def kind(self, node: ast.expr) -> Kind:
        """The type of an expression; its parts are typed on the way."""
        found = self.made.kinds[node] = self.found(node)
        return found

    def truth(self, node: ast.expr) -> Kind:
        if types.unliteral(self.kind(node)) != types.boolean:
            raise OtherText(node)
        return types.boolean

    def found(self, node: ast.expr) -> Kind:
        match node:
            case ast.Constant(value=value):
                return types.float64 if isinstance(value, float) else types.literal(value)
            case ast.Name(id=name) if name in self.made.variables:
                return self.made.variables[name]
            case ast.Name() | ast.Attribute(value=ast.Name(id="np" | "math")):
                return self.meant(node)
            case ast.Attribute(value=value, attr="T") if not self.depth:
                kind = self.kind(value)
                if not isinstance(kind, types.Array) or kind.ndim != 2:
                    raise OtherText(node)
                return types.Array(kind.dtype, 2, _TURNED.get(kind.layout, "A"), not kind.mutable)
            case ast.Tuple(elts=parts):
                return _TUPLE.from_types([types.unliteral(self.kind(part)) for part in parts])
            case ast.Subscript():
                return self.element(node)
            case ast.Call(func=function, args=arguments, keywords=[]):
                given = [self.kind(argument) for argument in arguments]
                called = self.kind(function)
                if called in self.of_numpy and isinstance(arguments[0], ast.Tuple):
                    called = self.of_numpy[called]
                return called.instance_type if is_conversion(called) else self.call(node, called, given)
            case _:
                return self.operation(node)

    def operation(self, node: ast.expr) -> Kind:
        """The type of what an operator gives."""
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.truth(operand)
            case ast.BoolOp(values=values):
                self.truth(values[0])
                with self.inside():
                    for value in values[1:]:
                        self.truth(value)
                return types.boolean
            case ast.UnaryOp(op=op, operand=operand):
                return self.call(node, operator_of(op), [self.kind(operand)])
            case (
                ast.BinOp(left=left, op=op, right=right)
                | ast.Compare(left=left, ops=[op], comparators=[right])
            ):
                return self.call(node, operator_of(op), [self.kind(left), self.kind(right)])
            case ast.IfExp(test=test, body=first, orelse=second):
                self.truth(test)
                with self.inside():
                    arms = [types.unliteral(self.kind(arm)) for arm in (first, second)]
                return self.known(node, self.context.unify_types(*arms))
            case _:
                raise OtherText(node)

    def meant(self, node: ast.expr) -> Kind:
        """The type of what a name means that is no variable."""
        value = constant(node, self.made.globals)
        try:
            return self.context.resolve_value_type(value)
        except ValueError:
            raise OtherText(node) from None

    def element(self, node: ast.Subscript) -> Kind:
        """The type of an element of an array, or of an extent."""
        match node:
            case ast.Subscript(
                value=ast.Attribute(value=array, attr="shape"), slice=ast.Constant(value=int())
            ):
                self.kind(array)
                return types.intp
            case ast.Subscript(value=array, slice=place):
                kind, (places, begins) = self.kind(array), leading(place)
                if not isinstance(kind, types.Array) or not all(map(self.is_whole, places)):
                    raise OtherText(node)
                if len(places) == kind.ndim and not begins:
                    return kind.dtype
                if len(places) > kind.ndim or kind.layout != "C":
                    raise OtherText(node)
                # Neighbours in memory: a part of the array that nobody has to give back.
                return types.Array(
                    kind.dtype, kind.ndim - len(places) + begins, "C", readonly=not kind.mutable
                )
        raise OtherText(node)

    def is_whole(self, node: ast.expr) -> bool:
        return isinstance(types.unliteral(self.kind(node)), types.Integer)

    def call(self, node: ast.AST, function: Any, given: Sequence[Kind]) -> Kind:
        """The type of what a call returns; Numba chooses the implementation."""
        called = function if isinstance(function, types.Type) else self.context.resolve_value_type(function)
        found = self.signature(node, called, tuple(given))
        parameters = found.pysig.parameters.values() if found.pysig else ()
        any_number = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
        left_out = all(isinstance(kind, types.Omitted) for kind in found.args[len(given) :])
        if any_number or not left_out or (self.depth and isinstance(found.return_type, types.Array)):
            raise OtherText(node)
        self.made.calls[node] = called, found
        return types.unliteral(found.return_type)

    def signature(self, node: ast.AST, called: Kind, given: tuple[Kind, ...]) -> Any:
        """What Numba chooses, which takes its time; types of tasks are not kept, nor their kernels with them."""
        found = _resolved.get((called, given))
        if found is None:
            found = self.known(node, self.context.resolve_function_type(called, given, {}))
            if not any(isinstance(kind, OpaqueType) for kind in given):
                _resolved[called, given] = found
        return found

    @staticmethod
    def known(node: ast.AST, found: Any) -> Any:
        if found is None:
            raise OtherText(node)
        return found


def operator_of(node: ast.AST) -> Callable[..., Any]:
    """The function that an operator stands for."""
    found = OPERATORS.get(type(node))
    if found is None:
        raise OtherText(node)
    return found


def has_array(kind: Kind) -> bool:
    """Whether values of a type are arrays or hold some."""
    return isinstance(kind, types.Array) or (isinstance(kind, _TUPLE) and any(map(has_array, kind.types)))


def is_new(node: ast.expr) -> bool:
    """Whether an array that an expression stands for is its own, and has to be given back."""
    return isinstance(node, ast.Call)


def is_conversion(called: Kind) -> bool:
    """Whether a call makes a number of another type of its only argument."""
    return isinstance(called, types.NumberClass)


def indices(place: ast.expr) -> Sequence[ast.expr]:
    """The indices in brackets."""
    return place.elts if isinstance(place, ast.Tuple) else [place]


def leading(place: ast.expr) -> tuple[list[ast.expr], bool]:
    """The indices in brackets, and whether the last one is where a slice begins that goes on to the end."""
    places = list(indices(place))
    match places[-1]:
        case ast.Slice(lower=ast.expr() as first, upper=None, step=None):
            return [*places[:-1], first], True
        case ast.Slice():
            raise OtherText(place)
        case _:
            return places, False


def constant(node: ast.expr, namespace: Mapping[str, Any]) -> Any:
    """What a name means that is no variable, or an attribute of such a name."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        module = namespace.get(node.value.id)
        if isinstance(module, ModuleType) and hasattr(module, node.attr):
            return getattr(module, node.attr)
    if isinstance(node, ast.Name) and node.id in namespace:
        return namespace[node.id]
    raise OtherText(node)
