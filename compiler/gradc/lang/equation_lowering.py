"""One parsed index equation becomes equations of the IR: the ranges of its indices, then its operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from gradc.errors import GradcError, InputRefused, ShapeError
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.lang.emit import Emitter, Value
from gradc.lang.equation_nodes import (
    IndexNumber,
    Literal,
    Operation,
    Reduction,
    Reference,
    Statement,
    Subscript,
    Widths,
)
from gradc.lang.formula import composed, float_dtype
from gradc.lang.indexed import Form, LoopIndex, Nest, Position, Read, Term
from gradc.lang.source import Source, Span


class StatementLowering:
    """Lowers one statement; `tensors` holds parameters and the results of earlier statements."""

    def __init__(
        self,
        source: Source,
        statement: Statement,
        emit: Emitter,
        tensors: Mapping[str, Value],
        sizes: Mapping[str, Size],
        pad: Mapping[str, Widths],
    ) -> None:
        self.source = source
        self.statement = statement
        self.emit = emit
        self.sizes = sizes
        references = [node for node in statement.nodes if isinstance(node, Reference)]
        self.nest = Nest(emit, float_dtype(tuple(tensors[node.name] for node in references)))
        self.padded: dict[tuple[str, Widths], Value] = {}
        self.values: dict[int, Value] = {}  # by identity of the reference
        for node in references:
            self.values[id(node)] = self.operand(node, tensors[node.name], node.pad or pad.get(node.name, ()))
        self.filled: set[int] = set()  # windows that reach exactly as far as their axis
        self.axes = [
            (node, axis, subscript, emit.shape(self.values[id(node)])[axis])
            for node in references
            for axis, subscript in enumerate(node.subscripts)
        ]

    def run(self) -> Value:
        """Return the tensor that the statement defines."""
        self.find_ranges()
        self.check_accesses()
        terms: list[Term] = []
        last = len(self.statement.nodes) - 1
        for at, node in enumerate(self.statement.nodes):
            name = self.statement.target if at == last else ""
            terms.append(self.term(node, terms, name))
        return self.nest.close(terms[-1], self.statement.indices, name=self.statement.target)

    # --- operands ---------------------------------------------------------------------------------------

    def operand(self, node: Reference, value: Value, pad: Widths) -> Value:
        """Return the tensor behind a reference, padded where asked; refuses a wrong number of indices."""
        rank, given = len(value.shape), len(node.subscripts)
        if rank != given:
            shape = ", ".join(extents.show(size) for size in self.emit.shape(value))
            raise self.error(
                node.span,
                f"{node.name} has {rank} {'axis' if rank == 1 else 'axes'} and is accessed with {given}",
                why=f"its shape is ({shape}{',' if rank == 1 else ''})",
                do="give one index per axis",
            )
        if not pad:
            return value
        widths = self.widths(node, pad)
        key = (node.name, widths)
        if key not in self.padded:
            self.padded[key] = self.with_zeros(value, widths)
        return self.padded[key]

    def widths(self, node: Reference, pad: Widths) -> Widths:
        """Amounts per axis; a single one counts for every axis accessed through a window."""
        if len(pad) == 1 and len(node.subscripts) != 1:
            return tuple((0, 0) if s.form.bare else pad[0] for s in node.subscripts)
        if len(pad) != len(node.subscripts):
            raise self.error(
                node.span,
                f"{len(pad)} amounts of padding for {len(node.subscripts)} axes of {node.name}",
                do=f"write one for all windows, or one per axis: pad({node.name}, 0, 1)",
            )
        return pad

    def with_zeros(self, value: Value, widths: Widths) -> Value:
        """`value` between zeros."""
        for axis, (before, after) in enumerate(widths):
            shape = self.emit.shape(value)
            parts = [value]
            if before:
                zeros = (*shape[:axis], before, *shape[axis + 1 :])
                parts.insert(0, self.emit.constant(0, value.dtype, zeros))
            if after:
                parts.append(self.emit.constant(0, value.dtype, (*shape[:axis], after, *shape[axis + 1 :])))
            value = self.emit.concatenate(parts, axis) if len(parts) > 1 else value
        return value

    # --- ranges -----------------------------------------------------------------------------------------

    def find_ranges(self) -> None:
        """Give every index its extent: stated ranges first, then indices alone on an axis, then windows."""
        ranges = self.nest.extents
        for item in self.statement.ranges:
            bound = item.bound if isinstance(item.bound, int) else self.sizes[item.bound]
            ranges.update((index, bound) for index, _ in self.statement.bound if index.name == item.name)
        stated = frozenset(ranges)
        seen: dict[LoopIndex, tuple[Reference, int]] = {}
        for node, axis, subscript, size in self.axes:
            index = subscript.form.bare
            if index is not None and index not in stated:
                ranges[index] = self.joined(index, ranges.get(index), size, seen.get(index), (node, axis))
                seen.setdefault(index, (node, axis))
        while self.solve_windows():
            pass
        for index, span in self.statement.bound:
            if index not in ranges:
                raise self.undetermined(index, span)

    def joined(
        self,
        index: LoopIndex,
        known: Size | None,
        size: Size,
        first: tuple[Reference, int] | None,
        here: tuple[Reference, int],
    ) -> Size:
        """Return the extent that two axes with the same index share."""
        if known is None or first is None:
            return size
        try:
            return self.emit.solver.unify(known, size, f"index {index.name} of an equation")
        except ShapeError:
            places = [
                f"{extents.show(self.known(extent))} in axis {axis} of {node.name}"
                for extent, (node, axis) in ((known, first), (size, here))
            ]
            raise self.error(
                here[0].span,
                f"index {index.name} would have two ranges",
                why=" and ".join(places),
                do=f"for a part of an axis, state the range: with {index.name} < ...",
            ) from None

    def known(self, size: Size) -> Size:
        """Return the number behind a size in the call being traced, where there is one."""
        size = self.emit.solver.resolve(size)
        hints = self.emit.solver.hints
        return self.emit.solver.value(size) if all(name in hints for name in extents.symbols(size)) else size

    def solve_windows(self) -> bool:
        """Find the range of one index that stands in a window whose other indices are known."""
        for _, _, subscript, size in self.axes:
            unknown = [(c, index) for c, index in subscript.form.terms if index not in self.nest.extents]
            if len(unknown) == 1 and unknown[0][0] > 0:
                self.nest.extents[unknown[0][1]] = self.window(subscript, unknown[0], size)
                self.filled.add(id(subscript))
                return True
        return False

    def window(self, subscript: Subscript, unknown: tuple[int, LoopIndex], size: Size) -> Size:
        """How many values of `unknown` keep the index inside an axis: ``(size - 1 - rest) // stride + 1``."""
        stride, index = unknown
        rest = Form(
            tuple(term for term in subscript.form.terms if term[1] is not index), subscript.form.offset
        )
        room = size - self.nest.bounds(rest)[1]
        try:
            self.emit.solver.require(room, ">=", 0, f"the window of index {index.name} fits")
        except ShapeError as error:
            raise self.error(
                subscript.span,
                f"the window is larger than its axis, which has {extents.show(self.known(size))} elements",
                why=error.what,
                do="use a smaller window, or zeros outside: pad(x, 1)[...]",
            ) from None
        return self.emit.solver.divide_down(room - 1, stride) + 1

    def undetermined(self, index: LoopIndex, span: Span) -> InputRefused:
        """Explain that a range is missing."""
        return self.source.refuse(
            span,
            f"the range of index {index.name} is not determined",
            why="it stands alone on no axis, and no window gives it away",
            do=f"state it: with {index.name} < 10",
            code="E_UNKNOWN_RANGE",
        )

    def check_accesses(self) -> None:
        """Refuse, now or by a guard, ranges that would read outside a tensor."""
        for node, axis, subscript, size in self.axes:
            reason = f"{node.name} is read inside axis {axis}"
            try:
                self.nest.require_within(
                    subscript.form, None if id(subscript) in self.filled else size, reason
                )
            except ShapeError:
                least, greatest = (extents.show(self.known(b)) for b in self.nest.bounds(subscript.form))
                raise self.error(
                    subscript.span,
                    f"{node.name} would be read outside axis {axis}",
                    why=f"this index runs from {least} to {greatest}, the axis has "
                    f"{extents.show(self.known(size))} elements",
                    do=f"state a smaller range, or read zeros outside: pad({node.name}, 1)[...]",
                ) from None

    # --- operations -------------------------------------------------------------------------------------

    def term(
        self,
        node: Literal | Reference | IndexNumber | Operation | Reduction,
        terms: list[Term],
        name: str,
    ) -> Term:
        """Return the term of one node, its arguments being done; `name` is a hint for the result."""
        match node:
            case Literal():
                return node.value
            case Reference():
                return Read(self.values[id(node)], tuple(s.form for s in node.subscripts))
            case IndexNumber():
                return Position(Form(((1, node.index),)))
            case Operation():
                return self.operation(node, tuple(terms[at] for at in node.arguments), name)
            case Reduction():
                return self.reduction(node, terms[node.body], name)
            case _:
                assert_never(node)

    def operation(self, node: Operation, arguments: tuple[Term, ...], name: str) -> Term:
        """Apply a function to terms."""
        if node.function == "mul":
            return self.nest.multiply(*arguments)
        if node.function == "pow":
            return self.nest.power(*arguments, name=name)
        try:
            return composed(
                node.function, arguments, lambda function, *a: self.nest.apply(function, *a, name=name), 0
            )
        except GradcError as error:
            error.where = error.where or self.source.show(node.span)
            raise

    def reduction(self, node: Reduction, body: Term, name: str) -> Term:
        """Reduce a term; the indices need not occur in it."""
        return self.nest.reduce(node.op, node.indices, body, name)

    def error(self, span: Span, what: str, *, why: str = "", do: str = "") -> ShapeError:
        """Build a `ShapeError` with carets."""
        return ShapeError(what, where=self.source.show(span), why=why, do=do)
