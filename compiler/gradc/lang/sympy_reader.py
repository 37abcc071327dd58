"""Walking a SymPy expression without recursion and without SymPy arithmetic.

The object is read as it was handed over: no SymPy constructor is called, so automatic evaluation cannot
change what the user wrote. A node becomes a `Plan`: which nodes to read first, in which scope, and what to
do with the results. Results are kept by identity of node and scope, so what is shared in the expression is
computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import sympy
from sympy.tensor.indexed import Idx, Indexed, IndexedBase

from gradc.errors import InputRefused
from gradc.ir.extents import Size
from gradc.ir.types import DType
from gradc.lang.emit import Emitter, SizeValue, Value
from gradc.lang.formula import float_dtype, literal_dtype
from gradc.lang.indexed import Form, LoopIndex, Nest, Position, Product, Read, Scalar, Term, indices_of

Node: TypeAlias = Any  # SymPy is untyped
Result: TypeAlias = Value | Term


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """What names mean at a place: `detached` leaves carry no derivative, `bound` are indices of sums.

    `aliases` are the variables of a function applied to each element of a matrix.
    """

    detached: frozenset[Node] = frozenset()
    bound: Mapping[Node, Form] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[Node, tuple[Node, Scope]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Plan:
    """Nodes to read first, each in its scope, and the function of their results."""

    children: tuple[tuple[Node, Scope], ...]
    finish: Callable[..., Result]


Planner: TypeAlias = Callable[["Reader", Any, Scope], Plan]


class Reader:
    """Reads expressions onto an emitter.

    Parameters
    ----------
    emit : Emitter
    inputs : mapping of Symbol, IndexedBase or MatrixSymbol to Value
    heads : mapping of SymPy class to planner
        The closed list of what can be read.
    """

    def __init__(self, emit: Emitter, inputs: Mapping[Node, Value], heads: Mapping[type, Planner]) -> None:
        self.emit = emit
        self.inputs = inputs
        self.heads = heads
        self.dtype = float_dtype(tuple(inputs.values()))
        self.nest = Nest(emit, self.dtype)
        self.sizes: dict[Node, Size] = {}
        self.top = Scope()
        self._known: dict[tuple[int, int], tuple[Node, Scope, Result]] = {}
        self._planners: dict[type, Planner] = {}
        self._scopes: dict[tuple[int, frozenset[Node]], Scope] = {}
        self._loops = 0
        for node, value in inputs.items():
            self.declare_shape(node, value)

    # --- the walk ---------------------------------------------------------------------------------------

    def read(self, node: Node, scope: Scope | None = None) -> Result:
        """Emit an expression; children before parents, left to right."""
        start = (node, scope or self.top)
        stack: list[tuple[Node, Scope, Plan | None]] = [(*start, None)]
        while stack:
            node, scope, plan = stack.pop()
            key = (id(node), id(scope))
            if key in self._known:
                continue
            if plan is None:
                plan = self._planner(node)(self, node, scope)
                if plan.children:
                    stack.append((node, scope, plan))
                    stack.extend((child, inner, None) for child, inner in reversed(plan.children))
                    continue
            results = [self._known[id(child), id(inner)][2] for child, inner in plan.children]
            self._known[key] = (node, scope, plan.finish(*results))
        return self._known[id(start[0]), id(start[1])][2]

    def _planner(self, node: Node) -> Planner:
        kind = type(node)
        found = self._planners.get(kind)
        if found is None:
            found = next((self.heads[base] for base in kind.__mro__ if base in self.heads), None)
            if found is None:
                raise refused(node)
            self._planners[kind] = found
        return found

    # --- operations -------------------------------------------------------------------------------------

    def apply(self, function: str, *arguments: Result) -> Result:
        """Apply an inventory function, with or without indices; literals alone count as floats."""
        if any(isinstance(argument, Read | Position | Product) for argument in arguments):
            return self.nest.apply(function, *map(self.term, arguments))
        plain: tuple[Any, ...] = arguments
        return self.emit.elementwise(function, *plain, dtype=literal_dtype(function, plain, self.dtype))

    def multiply(self, left: Result, right: Result) -> Result:
        """Return the product; kept back where indices occur, so that a sum can contract it."""
        if any(isinstance(argument, Read | Position | Product) for argument in (left, right)):
            return self.nest.multiply(self.term(left), self.term(right))
        return self.apply("mul", left, right)

    def power(self, base: Result, exponent: Result) -> Result:
        """Raise to a power; a negative constant exponent is a reciprocal."""
        if isinstance(exponent, int | float) and exponent < 0:
            return self.apply("reciprocal", self.power(base, -exponent))
        if any(isinstance(argument, Read | Position | Product) for argument in (base, exponent)):
            return self.nest.power(self.term(base), self.term(exponent))
        if isinstance(base, Value) and isinstance(exponent, Value | int | float):
            return self.emit.power(base, exponent)
        return self.apply("pow", base, exponent)

    def term(self, result: Result) -> Term:
        """Return a result as a term over indices; arrays of numbers have no place beside indices."""
        if not isinstance(result, Value):
            return result
        self.scalar(result, "an expression with indices")
        return Read(result)

    def scalar(self, value: Value, beside: str) -> None:
        """Refuse an array-valued symbol where a single number is meant."""
        if value.shape:
            raise InputRefused(
                f"a symbol has an array of shape {value.shape} beside {beside}",
                why="expressions of plain symbols broadcast; those with indices or matrices do not",
                do="give the symbol a single number, or make it an IndexedBase or MatrixSymbol",
            )

    def settle(self, read: Read | Result) -> Result:
        """Return a term without free indices as a tensor."""
        if isinstance(read, Read | Product | Position) and not indices_of((read,)):
            return self.nest.close(read, ())
        return read

    def value(self, result: Result) -> Value:
        """Finish a result; free indices are refused."""
        result = self.settle(result)
        if isinstance(result, Value):
            return result
        if isinstance(result, Read | Product | Position):
            names = ", ".join(index.name for index in indices_of((result,)))
            raise InputRefused(
                f"the index {names} is not summed over",
                why="an expression has one value, not one per index",
                do="write Sum(..., (i, 0, n - 1)), or gradc.equation('y[i] = ...') for one value per index",
            )
        if isinstance(result, SizeValue):
            return self.emit.size_value(result.size, self.dtype)
        dtype = DType.BOOL if isinstance(result, bool) else self.dtype
        return self.emit.constant(result, dtype)

    # --- scopes and leaves ------------------------------------------------------------------------------

    def detach(self, scope: Scope, leaves: frozenset[Node]) -> Scope:
        """Return the scope in which `leaves` carry no derivative either."""
        detached = scope.detached | leaves
        if detached == scope.detached:
            return scope
        key = (id(scope), detached)
        if key not in self._scopes:
            self._scopes[key] = Scope(detached, scope.bound, scope.aliases)
        return self._scopes[key]

    def loop(self, name: str, size: Size) -> LoopIndex:
        """Return a new loop index."""
        self._loops += 1
        index = LoopIndex(name, self._loops)
        self.nest.extents[index] = size
        return index

    def input(self, node: Node, scope: Scope) -> Value | None:
        """Return an argument in the floating dtype of the expression (conditions stay conditions)."""
        value = self.inputs.get(node)
        if value is None and isinstance(node, IndexedBase):
            value = self.inputs.get(node.label)
        if value is None:
            return None
        if not value.dtype.is_bool:
            value = self.emit.cast(value, self.dtype)
        return self.emit.elementwise("stop_gradient", value) if node in scope.detached else value

    # --- sizes ------------------------------------------------------------------------------------------

    def declare_shape(self, node: Node, value: Value) -> None:
        """Learn sizes from the declared shape of an indexed base or matrix, and check them."""
        shape = getattr(node, "shape", None)
        if not isinstance(node, IndexedBase | sympy.MatrixSymbol) or shape is None:
            return
        if len(shape) != len(value.shape):
            raise InputRefused(
                f"{node} has {len(shape)} axes, the array for it has {len(value.shape)}",
                do="declare the shape of the array that is passed",
            )
        for declared, size in zip(shape, value.shape, strict=True):
            if isinstance(declared, sympy.Symbol) and declared not in self.sizes:
                self.sizes[declared] = size
            else:
                self.emit.solver.unify(self.size(declared), size, f"the declared shape of {node}")

    def size(self, node: Node) -> Size:
        """Return a size: whole numbers, declared sizes, sums and products of these."""
        found = self.form(node, self.top)
        assert not found.terms  # no index is bound in the outermost scope
        return found.offset

    def form(self, node: Node, scope: Scope) -> Form:
        """Read an index: whole multiples of bound indices plus sizes.  These are small: the walk recurses."""
        if isinstance(node, sympy.Integer):
            return Form((), int(node))
        if node in scope.bound:
            return scope.bound[node]
        if isinstance(node, sympy.Symbol) and node in self.sizes:
            return Form((), self.sizes[node])
        if isinstance(node, Idx):
            return self.form(node.label, scope)
        if isinstance(node, sympy.Add | sympy.Mul):
            parts = [self.form(part, scope) for part in node.args]
            combine = add_forms if isinstance(node, sympy.Add) else multiply_forms
            result = parts[0]
            for part in parts[1:]:
                result = combine(result, part, node)
            return result
        raise InputRefused(
            f"{shown(node)} cannot be a size or an index here",
            why="sizes must be known from the shapes of arrays, indices must be bound by a Sum",
            do="declare the shape, IndexedBase('A', shape=(n,)) or MatrixSymbol('A', n, m), with limits 0 "
            "and n - 1; an integer argument cannot be a limit",
        )


def add_forms(first: Form, second: Form, node: Node) -> Form:
    """Sum of two index expressions."""
    terms: dict[LoopIndex, int] = {}
    for coefficient, index in (*first.terms, *second.terms):
        terms[index] = terms.get(index, 0) + coefficient
    return Form(tuple((c, index) for index, c in terms.items() if c), first.offset + second.offset)


def multiply_forms(first: Form, second: Form, node: Node) -> Form:
    """Product of two index expressions, one of which is a constant."""
    if first.terms and second.terms:
        raise InputRefused(f"{shown(node)} is not an affine index", do="use sums of multiples of indices")
    variable, factor = (first, second.offset) if first.terms else (second, first.offset)
    if not variable.terms:
        return Form((), variable.offset * factor)
    if not isinstance(factor, int):
        raise InputRefused(f"{shown(node)} has a stride that is not a number", do="use a whole number")
    return Form(tuple((c * factor, index) for c, index in variable.terms if factor), variable.offset * factor)


# --- messages -----------------------------------------------------------------------------------------------

_SHOWN = 30


def nodes_of(node: Node, limit: int | None = None) -> list[Node]:
    """All nodes below and including `node`, each object once; at most `limit`."""
    seen: dict[int, Node] = {}
    stack = [node]
    while stack and (limit is None or len(seen) < limit):
        current = stack.pop()
        if id(current) not in seen:
            seen[id(current)] = current
            stack.extend(getattr(current, "args", ()))
    return list(seen.values())


def shown(node: Node) -> str:
    """Text of a node; only the head of a large one, because SymPy prints recursively."""
    if len(nodes_of(node, _SHOWN)) < _SHOWN:
        return str(node)
    return f"{type(node).__name__}(...)"


_REMEDIES: dict[str, tuple[str, str]] = {
    "Integral": ("an integral is not evaluated", "call .doit() first, or write a quadrature sum"),
    "Derivative": ("gradc differentiates, it does not read derivatives", "call .doit() first"),
    "Subs": ("a substitution is not carried out", "call .doit() first"),
    "Limit": ("a limit is not evaluated", "call .doit() first"),
    "DiracDelta": ("it has no value as a number", "use Heaviside, or a narrow exp(-x**2/e)/sqrt(pi*e)"),
    "ImaginaryUnit": (
        "complex numbers are not supported",
        "split the expression into real and imaginary parts",
    ),
    "ComplexInfinity": ("complex infinity is not a floating-point number", "use oo or nan"),
    "im": ("all symbols are real", "leave it out: it is 0"),
    "arg": ("all symbols are real", "use Piecewise((0, x >= 0), (pi, True))"),
    "RootSum": ("roots are complex", "call .doit() first"),
}


def refused(node: Node) -> InputRefused:
    """Build the refusal of a head that cannot be read."""
    head = type(node).__name__
    if isinstance(node, sympy.core.function.AppliedUndef):
        return InputRefused(
            f"{head} is an undefined function",
            where=shown(node),
            why="it has no value",
            do=f"replace {head} by its definition, or write the function in NumPy",
            code="E_SYMPY_HEAD",
        )
    why, do = _REMEDIES.get(
        head, ("it is not in the list of functions", "rewrite it in elementary functions")
    )
    return InputRefused(
        f"{head} cannot be compiled",
        where=shown(node) if isinstance(node, sympy.Basic) else repr(type(node)),
        why=why,
        do=do,
        code="E_SYMPY_HEAD",
    )


__all__ = ["Indexed", "Node", "Plan", "Planner", "Reader", "Result", "Scalar", "Scope", "refused", "shown"]
