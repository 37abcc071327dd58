"""The slow interpreter that *defines* the loop IR: a walk over the statements with NumPy scalars.

Every operation has NumPy's meaning in the dtype of its operands; sums are added in loop order.  What compiled
code would not notice is an error here: an index out of range, a read of an element that nobody has written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, assert_never

import numpy as np

from gradc.errors import ArgumentError, CompilerBug, GradcError, GuardFailed
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.calls import CALLS
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Carry,
    CheckIndices,
    Clear,
    Clock,
    Contract,
    Convert,
    Expr,
    Extent,
    For,
    From,
    Kernel,
    Let,
    Library,
    Load,
    Number,
    Parts,
    Product,
    Require,
    Statement,
    Store,
    Tasks,
    Update,
    Var,
    View,
    number,
)
from gradc.ir.loop.show import show_expression, show_statement
from gradc.ir.loop.walk import expressions
from gradc_runtime.contraction import add_contraction, contract, elements_of

LIMIT = 10**7

Array = Any  # ndarray or NumPy scalar

COMBINE: dict[str, str] = {
    "sum": "add",
    "prod": "mul",
    "max": "maximum",
    "min": "minimum",
    "any": "logical_or",
    "all": "logical_and",
}

PARTS = 3  # of a loop that may run in parts, where it is that long


def evaluate(kernel: Kernel, inputs: Mapping[str, Array], *, limit: int = LIMIT) -> tuple[Array, ...]:
    """Return the results of `kernel`.

    Parameters
    ----------
    inputs : mapping of name to array
        One array or scalar per parameter, of the declared dtype and rank; those for results are written to.
    limit : int
        How many statements may run.

    Raises
    ------
    GuardFailed, IndexError
        Where the kernel itself refuses its arguments.
    CompilerBug
        Where the kernel does what compiled code would not notice.
    """
    machine = _Machine(limit)
    for parameter in kernel.parameters:
        value = np.asarray(inputs[parameter.name])
        if value.dtype != parameter.dtype.numpy or value.ndim != parameter.rank:
            raise ArgumentError(
                f"{parameter.name} is {value.dtype} with {value.ndim} axes",
                why=f"{kernel.name} takes {parameter.dtype.value} with {parameter.rank} axes",
            )
        machine.values[parameter.name] = value[()]
        if parameter.written:
            machine.written[parameter.name] = np.full(value.shape, parameter.updated)
    with np.errstate(all="ignore"):
        machine.run(kernel.body)
    for parameter in kernel.parameters:
        machine.complete(parameter.name)
    return tuple(machine.complete(name) for name in kernel.results)


def number_of(expression: Expr, values: Mapping[str, Array]) -> Array:
    """Return the value of an expression, given those of the names in it."""
    machine = _Machine(0)
    machine.values.update(values)
    return machine.scalar(expression)


class _Machine:
    """The values of all names, and for arrays which elements have been written."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.steps = 0
        self.values: dict[str, Array] = {}
        self.written: dict[str, np.ndarray] = {}

    def complete(self, name: str) -> Array:
        """Return a whole tensor, of which every element must have been written."""
        written = self.written.get(name)
        if written is not None and not written.all():
            raise CompilerBug(f"{name} is used before every element of it is written")
        return self.values[name]

    # --- statements -------------------------------------------------------------------------------------

    def run(self, statements: Sequence[Statement]) -> None:
        """Run statements in order; loops nest as deep as a tensor has axes, so recursion is safe here."""
        self.steps += len(statements)
        if self.steps > self.limit:
            raise GradcError(
                f"the interpreter stopped after {self.limit} statements",
                do="use smaller arrays, or a larger limit",
            )
        for statement in statements:
            self.statement(statement)

    def statement(self, statement: Statement) -> None:
        match statement:
            case Extent(name, value) | Let(name, value) | Carry(name, value):
                self.values[name] = self.scalar(value)
            case Update(name, op, value):
                self.values[name] = _function(COMBINE[op])(self.values[name], self.scalar(value))
            case Store(tensor, indices, value):
                self.store(statement, tensor, indices, self.scalar(value))
            case AddTo(tensor, indices, op, value):
                total = self.element(statement, tensor, indices)
                self.store(statement, tensor, indices, _function(COMBINE[op])(total, self.scalar(value)))
            case For(index, extent, body):
                for position in range(int(self.scalar(extent))):
                    self.values[index] = np.int64(position)
                    self.run(body)
            case Require(condition, message):
                if not self.scalar(condition):
                    raise GuardFailed(message)
            case _:
                self.whole(statement)

    def whole(
        self,
        statement: CheckIndices | Allocate | Clear | Parts | Tasks | Product | Contract | Library | Clock,
    ) -> None:
        """Statements about whole tensors and whole loops."""
        match statement:
            case Parts(name, extent):
                self.values[name] = np.int64(min(PARTS, int(self.scalar(extent))))
            case Tasks():
                self.tasks(statement)
            case CheckIndices():
                self.check(statement)
            case Allocate(tensor, dtype, shape, zeroed):
                sizes = tuple(int(self.scalar(size)) for size in shape)
                self.values[tensor] = np.zeros(sizes, dtype.numpy)
                self.written[tensor] = np.full(sizes, zeroed)
            case Clear():
                self.clear(statement)
            case Product():
                self.values[statement.out] = self.product(statement)
            case Contract():
                self.contraction(statement)
            case Library():
                self.library(statement)
            case Clock(tensor, position):
                self.store(statement, tensor, (number(position),), np.int64(self.steps))
            case _:
                assert_never(statement)

    def check(self, statement: CheckIndices) -> None:
        table, size = np.asarray(self.complete(statement.tensor)), self.scalar(statement.extent)
        if not ((table >= -size) & (table < size)).all():
            raise IndexError("an index is out of range")

    def library(self, statement: Library) -> None:
        options = {name: self.attribute(value) for name, value in statement.attributes}
        given = (self.complete(name) for name in statement.ins)
        results = CALLS[statement.operation].numpy(*given, **options)
        self.values.update(zip(statement.outs, (np.asarray(result)[()] for result in results), strict=True))

    def tasks(self, statement: Tasks) -> None:
        """Run the parts, the last one first: they may run in any order."""
        count, extent = int(self.scalar(statement.count)), int(self.scalar(statement.extent))
        for part in reversed(range(count)):
            first = extent * part // count
            numbers = (part, first, extent * (part + 1) // count - first)
            for name, value in zip((statement.part, statement.first, statement.many), numbers, strict=True):
                self.values[name] = np.int64(value)
            self.run(statement.body)

    def attribute(self, value: bool | int | str | tuple[Expr, ...]) -> bool | int | str | tuple[int, ...]:
        return tuple(int(self.scalar(size)) for size in value) if isinstance(value, tuple) else value

    def clear(self, statement: Clear) -> None:
        rows = [int(self.scalar(value)) for value in expressions(statement)]
        place = slice(rows[0], sum(rows)) if rows else ...
        self.values[statement.tensor][place] = 0
        self.written[statement.tensor][place] = True

    def product(self, statement: Product) -> Array:
        left, right = self.complete(statement.left), self.complete(statement.right)
        return (left.T if statement.transpose_left else left) @ (
            right.T if statement.transpose_right else right
        )

    def contraction(self, statement: Contract) -> None:
        """Carry it out as the uncompiled kernel does; every element of a result without `add` is written."""
        names = (statement.out, statement.left, statement.right)
        texts = (statement.target, statement.first, statement.second)
        places = [self.place(statement, *given) for given in zip(names, statement.views, strict=True)]
        extents = tuple(int(self.scalar(size)) for size in statement.extents)
        add = statement.add and (statement.again is None or bool(self.scalar(statement.again)))
        elements = elements_of(texts, extents)
        for at, name in enumerate(names):
            written = self.written.get(name)
            if written is not None and (at or add) and not written[places[at]][elements[at]].all():
                raise CompilerBug(
                    f"{name} is used before every element of it is written", why=_text(statement)
                )
        out, left, right = (self.values[name][place] for name, place in zip(names, places, strict=True))
        meaning = add_contraction if add else contract
        meaning(out, statement.target, left, statement.first, right, statement.second, extents)
        self.written[statement.out][places[0]][elements[0]] = True

    def place(self, where: Statement, tensor: str, view: View) -> tuple[int | slice, ...]:
        """What a view is of a tensor."""
        starts = [int(self.scalar(at.start if isinstance(at, From) else at)) for at in view]
        shape = self.values[tensor].shape
        ends = [size + isinstance(at, From) for at, size in zip(view, shape, strict=False)]
        if any(not 0 <= start < end for start, end in zip(starts, ends, strict=True)):
            raise CompilerBug(f"{tensor}{starts} is outside shape {shape}", why=_text(where))
        return tuple(
            slice(s, None) if isinstance(at, From) else s for s, at in zip(starts, view, strict=True)
        )

    # --- elements ---------------------------------------------------------------------------------------

    def position(self, where: Statement | Expr, tensor: str, indices: Sequence[Expr]) -> tuple[int, ...]:
        position = tuple(int(self.scalar(index)) for index in indices)
        shape = self.values[tensor].shape
        if len(position) != len(shape) or any(
            not 0 <= at < size for at, size in zip(position, shape, strict=True)
        ):
            raise CompilerBug(f"{tensor}{list(position)} is outside shape {shape}", why=_text(where))
        return position

    def element(self, where: Statement | Expr, tensor: str, indices: Sequence[Expr]) -> Array:
        if tensor.endswith(".shape"):
            return np.int64(self.values[tensor.removesuffix(".shape")].shape[int(self.scalar(indices[0]))])
        position = self.position(where, tensor, indices)
        if tensor in self.written and not self.written[tensor][position]:
            raise CompilerBug(f"{tensor}{list(position)} is read before it is written", why=_text(where))
        return self.values[tensor][position]

    def store(self, where: Statement, tensor: str, indices: Sequence[Expr], value: Array) -> None:
        position = self.position(where, tensor, indices)
        if tensor not in self.written:
            raise CompilerBug(f"{tensor} is written to and was not allocated", why=_text(where))
        self.values[tensor][position] = value
        self.written[tensor][position] = True

    # --- expressions ------------------------------------------------------------------------------------

    def scalar(self, expression: Expr) -> Array:
        """Return a NumPy scalar of the expression's dtype; only the chosen arm of a select is computed."""
        match expression:
            case Var(name, _):
                value = self.values[name]
            case Number(literal, dtype):
                value = dtype.numpy.type(literal)
            case Load(tensor, indices, _):
                value = self.element(expression, tensor, indices)
            case Convert(argument, dtype):
                value = self.scalar(argument).astype(dtype.numpy)
            case Apply("select", (condition, yes, no), _):
                value = self.scalar(yes if self.scalar(condition) else no)
            case Apply(function, arguments, _):
                value = _function(function)(*[self.scalar(argument) for argument in arguments])
            case _:
                assert_never(expression)
        if value.dtype != expression.dtype.numpy:
            raise CompilerBug(f"{_text(expression)} is {value.dtype}, not {expression.dtype.value}")
        return value


def _text(where: Statement | Expr) -> str:
    if isinstance(where, Var | Number | Load | Apply | Convert):
        return show_expression(where)
    return show_statement(where)


@cache
def _function(name: str) -> Callable[..., Array]:
    """Return the NumPy meaning of an inventory function, on scalars."""
    from scipy import special  # noqa: PLC0415  (0.2 s that most processes never need)

    from gradc.ir.index import special_functions  # noqa: PLC0415

    function = FUNCTIONS[name]
    names = ", ".join(f"a{position}" for position in range(function.arity))
    body = function.numpy.format(*(f"a{position}" for position in range(function.arity)))
    namespace = {"np": np, "sp": special, **special_functions.NUMPY}
    meaning = eval(f"lambda {names}: {body}", namespace)
    return lambda *arguments: np.asarray(meaning(*arguments))[()]
