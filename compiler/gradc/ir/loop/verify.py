"""Is a kernel well formed?  All faults are reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from gradc.errors import GradcError, VerifyError
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.functions import FUNCTIONS, Result, result_dtype
from gradc.ir.index.calls import CALLS
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Barrier,
    Carry,
    CheckIndices,
    Clear,
    Clock,
    Combine,
    Contract,
    Convert,
    Expr,
    Extent,
    For,
    From,
    Kernel,
    Launch,
    Let,
    Library,
    Load,
    Number,
    Parts,
    Product,
    Require,
    Share,
    Statement,
    Store,
    Stride,
    Tasks,
    Update,
    Var,
    When,
    Width,
    number,
)
from gradc.ir.loop.show import show_expression, show_statement
from gradc.ir.loop.verify_grid import grid_faults
from gradc.ir.loop.walk import Compound, expressions
from gradc.ir.types import DType
from gradc_runtime.contraction import positions, roles_of

REDUCTIONS = ("sum", "prod", "max", "min", "any", "all")


def verify(kernel: Kernel) -> Kernel:
    """Return `kernel` unchanged, or raise `VerifyError` with every fault.

    A well-formed kernel defines every name once, before it is used and within the loop that uses it or around
    it; gives every function operands of one dtype and every element of a tensor as many int64 indices as it
    has axes; writes only to tensors that it allocated or was given for that; combines only into scalars that it has
    started; and has in a launch what a thread can do and nowhere else what only a thread can do.
    """
    checker = _Checker()
    for parameter in kernel.parameters:
        name, rank, written = parameter.name, parameter.rank, parameter.written
        checker.define(f"parameter {name}", name, parameter.dtype, rank, allocated=written)
        if written and not rank:
            checker.problems.append(f"parameter {name}: a number cannot be written")
    checker.block(kernel.body)
    for name in kernel.results:
        if name not in checker.names:
            checker.problems.append(f"result {name} is not defined")
    if checker.problems:
        raise VerifyError(f"kernel {kernel.name}", checker.problems)
    return kernel


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a name stands for: `rank` is None for a scalar.  Built by `infer` of a call, hence the order."""

    dtype: DType
    shape: tuple[Size, ...] | None
    allocated: bool = False
    constant: bool = False


_Sizes = Extent | For | CheckIndices | Clear | Width | Launch | Stride
_Change = Update | Carry | Combine
_Scalar = _Sizes | _Change | Require | When | Let | Store | AddTo | Share | Barrier


@dataclass(slots=True)
class _Checker:
    """Walks statements; `names` are those in scope, `problems` what was found, `around` the launch we are in."""

    names: dict[str, _Kind] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    around: Launch | Tasks | None = None
    launches: set[str] = field(default_factory=set)

    def define(
        self,
        where: str,
        name: str,
        dtype: DType,
        rank: int,
        *,
        allocated: bool = False,
        constant: bool = False,
    ) -> None:
        if name in self.names:
            self.problems.append(f"{where}: defines {name} a second time")
        shape = tuple(extents.symbol(f"{name}.{axis}") for axis in range(rank)) if rank else None
        self.names[name] = _Kind(dtype, shape, allocated, constant)

    # --- statements -------------------------------------------------------------------------------------

    def block(self, statements: Sequence[Statement]) -> None:
        """Check statements in order; loops nest as deep as a tensor has axes, so recursion is safe here."""
        for statement in statements:
            where = show_statement(statement)
            found = list(grid_faults(statement, self.around))
            if isinstance(statement, Allocate | Product | Contract | Library | Parts | Tasks | Clock):
                found += self.whole(statement)
            else:
                found += self.scalar(statement)
            self.problems += [f"{where}: {fault}" for fault in found]
            self.defined(where, statement)
            if isinstance(statement, Compound):
                self.inside(where, statement)

    def inside(self, where: str, statement: Compound) -> None:
        """Check the body, whose names are its own."""
        outside, around = dict(self.names), self.around
        match statement:
            case For(index) | Stride(index):
                self.define(where, index, DType.INT64, 0, constant=True)
            case Launch(name, block, thread):
                self.apart(where, statement, (block, thread))
                if name in self.launches:
                    self.problems.append(f"{where}: there is another launch {name}")
                self.launches.add(name)
            case Tasks(part=part, first=first, many=many):
                self.apart(where, statement, (part, first, many))
            case When():
                pass
            case _:
                assert_never(statement)
        self.block(statement.body)
        self.names, self.around = outside, around

    def apart(self, where: str, statement: Launch | Tasks, numbers: Sequence[str]) -> None:
        """Enter a body that changes no scalar around it, with the numbers that say which one it is."""
        for name in numbers:
            self.define(where, name, DType.INT64, 0)
        for name, kind in self.names.items():
            if kind.shape is None:
                self.names[name] = replace(kind, constant=True)
        self.around = statement

    def defined(self, where: str, statement: Statement) -> None:
        """Define what the statement defines beyond its own body."""
        match statement:
            case Extent(name, value):
                self.define(where, name, value.dtype, 0, constant=True)
            case Let(name, value):
                self.define(where, name, value.dtype, 0)
            case Parts(name) | Width(name):
                self.define(where, name, DType.INT64, 0, constant=True)
            case Allocate(tensor, dtype, shape) | Share(tensor, dtype, shape):
                self.define(where, tensor, dtype, len(shape), allocated=True)
            case Product():
                self.product_result(where, statement)
            case Library():
                self.library_results(where, statement)
            case _:
                pass

    def scalar(self, statement: _Scalar) -> Iterator[str]:
        """Faults of statements about scalars and elements."""
        match statement:
            case Extent() | For() | CheckIndices() | Clear() | Width() | Launch() | Stride():
                yield from self.size_faults(statement)
            case Require(condition) | When(condition):
                yield from self.typed_faults(condition, DType.BOOL)
            case Let(_, value):
                yield from self.faults(value)
            case Update() | Carry() | Combine():
                yield from self.change_faults(statement)
            case Store(tensor, indices, value):
                yield from self.store_faults(tensor, indices, value)
            case AddTo(tensor, indices, op, value):
                yield from self.store_faults(tensor, indices, value)
                yield from _reduction_faults(op, value.dtype)
            case Share() | Barrier():
                pass
            case _:
                assert_never(statement)

    def size_faults(self, statement: _Sizes) -> Iterator[str]:
        if isinstance(statement, Clear):
            yield from self.writing_faults(statement.tensor)
            kind = self.names.get(statement.tensor)
            if statement.unless and kind and len(kind.shape or ()) != 1 + len(statement.unless):
                yield f"rows of {statement.tensor} do not have {len(statement.unless)} axes"
        for value in expressions(statement):
            yield from self.index_faults(value)
        if isinstance(statement, CheckIndices):
            yield from self.table_faults(statement.tensor)

    def change_faults(self, statement: _Change) -> Iterator[str]:
        kind = self.names.get(statement.name)
        if isinstance(statement, Combine):
            yield from self.index_faults(statement.width)
            dtype = kind.dtype if kind else None
        else:
            yield from self.faults(statement.value)
            dtype = statement.value.dtype
        if dtype is not None and not isinstance(statement, Carry):
            yield from _reduction_faults(statement.op, dtype)
        if kind is None:
            yield f"{statement.name} has not been started"
        elif kind.shape is not None or kind.constant:
            yield f"{statement.name} is not an accumulator"
        elif kind.dtype is not dtype:
            yield f"{statement.name} is {kind.dtype!r}, the value {dtype!r}"

    def store_faults(self, tensor: str, indices: Sequence[Expr], value: Expr) -> Iterator[str]:
        if tensor in self.names:
            yield from self.writing_faults(tensor)
        yield from self.element_faults(tensor, indices, value.dtype)
        yield from self.faults(value)

    def writing_faults(self, tensor: str) -> Iterator[str]:
        kind = self.names.get(tensor)
        if kind is None or not kind.allocated:
            yield f"{tensor} is not defined" if kind is None else f"{tensor} was not allocated"

    def table_faults(self, tensor: str) -> Iterator[str]:
        kind = self.names.get(tensor)
        if kind is None:
            yield f"{tensor} is not defined"
        elif kind.dtype.is_float or kind.dtype.is_bool:
            yield f"{tensor} holds {kind.dtype!r}, not indices"

    # --- whole tensors ----------------------------------------------------------------------------------

    def whole(
        self, statement: Allocate | Product | Contract | Library | Parts | Tasks | Clock
    ) -> Iterator[str]:
        """Faults of statements about whole tensors and whole loops."""
        match statement:
            case Allocate(_, _, shape):
                for size in shape:
                    yield from self.index_faults(size)
            case Parts() | Tasks():
                for value in expressions(statement):
                    yield from self.index_faults(value)
            case Product(_, left, right):
                yield from self.product_faults(left, right)
            case Contract():
                yield from self.contraction_faults(statement)
            case Library():
                yield from self.library_faults(statement)
            case Clock(tensor):
                yield from self.store_faults(tensor, (number(statement.position),), number(0))

    def library_faults(self, statement: Library) -> Iterator[str]:
        yield from (f"{name} is not defined" for name in statement.ins if name not in self.names)
        for _, value in statement.attributes:
            for size in value if isinstance(value, tuple) else ():
                yield from self.index_faults(size)
        if statement.operation not in CALLS:
            yield f"unknown operation {statement.operation}"

    def product_faults(self, left: str, right: str) -> Iterator[str]:
        first, second = self.names.get(left), self.names.get(right)
        if first is None or second is None:
            yield from (f"{name} is not defined" for name in (left, right) if name not in self.names)
            return
        if first.dtype is not second.dtype or not first.dtype.is_float:
            yield f"operands of dtypes {first.dtype!r} and {second.dtype!r}"
        if {len(first.shape or ()), len(second.shape or ())} != {2}:
            yield f"{left} and {right} are not matrices"

    def contraction_faults(self, statement: Contract) -> Iterator[str]:
        texts = (statement.target, statement.first, statement.second)
        reads = [positions(text) for text in texts]
        letters = {letter for read in reads for terms, _ in read for _, letter in terms}
        if len(letters) != len(statement.extents):
            yield f"{len(statement.extents)} extents for the indices {' '.join(sorted(letters))}"
        if roles_of(reads, statement.add and statement.again is None) is None:
            yield "the indices make no contraction"
        for found in expressions(statement):
            yield from self.typed_faults(found, DType.BOOL if found is statement.again else DType.INT64)
        kinds = [self.names.get(name) for name in (statement.out, statement.left, statement.right)]
        names = (statement.out, statement.left, statement.right)
        for name, kind, view, read in zip(names, kinds, statement.views, reads, strict=True):
            if kind is None:
                yield f"{name} is not defined"
                continue
            rank = len(read) + sum(not isinstance(at, From) for at in view)
            if kind.shape is None or len(kind.shape) != rank:
                yield f"{name} is read at {rank} positions"
        if len({kind.dtype for kind in kinds if kind is not None}) > 1:
            yield "operands and result differ in dtype"
        if kinds[0] is not None and not kinds[0].allocated:
            yield f"{statement.out} was not allocated"

    def product_result(self, where: str, statement: Product) -> None:
        first = self.names.get(statement.left)
        if first is not None:
            self.define(where, statement.out, first.dtype, 2)

    def library_results(self, where: str, statement: Library) -> None:
        """Define the results; their types follow from the table of calls."""
        ins = tuple(self.names.get(name) for name in statement.ins)
        if statement.operation not in CALLS or None in ins:
            return
        typed = tuple(_Kind(kind.dtype, kind.shape or ()) for kind in ins if kind is not None)
        try:
            results = CALLS[statement.operation].infer(typed, dict(statement.attributes))  # pyright: ignore[reportArgumentType]  # kinds are types of tensors as far as `infer` looks
        except GradcError as error:
            self.problems.append(f"{where}: {error.what}")
            return
        if len(results) != len(statement.outs):
            self.problems.append(f"{where}: {len(results)} results for {len(statement.outs)} names")
        for name, result in zip(statement.outs, results, strict=False):
            self.define(where, name, result.dtype, len(result.shape))

    # --- expressions ------------------------------------------------------------------------------------

    def index_faults(self, expression: Expr) -> Iterator[str]:
        return self.typed_faults(expression, DType.INT64)

    def typed_faults(self, expression: Expr, dtype: DType) -> Iterator[str]:
        yield from self.faults(expression)
        if expression.dtype is not dtype:
            yield f"{show_expression(expression)} is {expression.dtype!r}, not {dtype!r}"

    def faults(self, expression: Expr) -> Iterator[str]:
        """Faults of an expression; expressions are as small as templates, so recursion is safe here."""
        match expression:
            case Var(name, dtype):
                kind = self.names.get(name)
                if kind is None:
                    yield f"{name} is not defined"
                elif kind.shape is not None or kind.dtype is not dtype:
                    axes = "" if kind.shape is None else "[...]"
                    yield f"{name} is read as {dtype!r} and is {kind.dtype!r}{axes}"
            case Number(value, dtype):
                if isinstance(value, float) != dtype.is_float or isinstance(value, bool) != dtype.is_bool:
                    yield f"{value!r} is not a number of dtype {dtype!r}"
            case Load(tensor, indices, dtype):
                yield from self.element_faults(tensor, indices, dtype)
            case Convert(argument, _):
                yield from self.faults(argument)
            case Apply():
                for argument in expression.arguments:
                    yield from self.faults(argument)
                yield from _application_faults(expression)
            case _:
                assert_never(expression)

    def element_faults(self, tensor: str, indices: Sequence[Expr], dtype: DType) -> Iterator[str]:
        for index in indices:
            yield from self.index_faults(index)
        if tensor.endswith(".shape"):
            yield from self.extent_faults(tensor.removesuffix(".shape"), indices)
            return
        kind = self.names.get(tensor)
        if kind is None or kind.shape is None:
            yield f"{tensor} is not {'defined' if kind is None else 'an array'}"
        elif len(kind.shape) != len(indices):
            yield f"{tensor} has {len(kind.shape)} axes and {len(indices)} indices"
        elif kind.dtype is not dtype:
            yield f"{tensor} is {kind.dtype!r}, the element {dtype!r}"

    def extent_faults(self, tensor: str, indices: Sequence[Expr]) -> Iterator[str]:
        kind = self.names.get(tensor)
        axes = range(len(kind.shape or ())) if kind else range(0)
        if not (len(indices) == 1 and isinstance(indices[0], Number) and indices[0].value in axes):
            yield f"{tensor} has no such axis"


def _reduction_faults(op: str, dtype: DType) -> Iterator[str]:
    if op not in REDUCTIONS:
        yield f"unknown reduction {op}"
    elif op in ("any", "all") and not dtype.is_bool:
        yield f"{op} of {dtype!r}"


def _application_faults(expression: Apply) -> Iterator[str]:
    name, arguments = expression.function, expression.arguments
    if name not in FUNCTIONS or len(arguments) != FUNCTIONS[name].arity:
        yield f"{name} is no function of {len(arguments)} arguments"
        return
    function, dtypes = FUNCTIONS[name], [argument.dtype for argument in arguments]
    if name == "select" and not dtypes.pop(0).is_bool:
        yield "the condition of select is not bool"
    if len(set(dtypes)) > 1:
        yield f"operands of {name} of different dtypes: {', '.join(map(repr, dtypes))}"
    if expression.dtype is not result_dtype(function, dtypes[-1]):
        yield f"{name} of {dtypes[-1]!r} is not {expression.dtype!r}"
    if function.result in (Result.FLOAT, Result.WIDE) and not dtypes[-1].is_float:
        yield f"{name} of {dtypes[-1]!r}, which is no floating-point dtype"
    if function.result is Result.INTEGER and dtypes[-1] is not DType.INT64:
        yield f"{name} of {dtypes[-1]!r}, which is not int64"
    if function.result is Result.LOGICAL and not dtypes[-1].is_bool:
        yield f"{name} of {dtypes[-1]!r}, which is not bool"
