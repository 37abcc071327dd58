"""Kernels that launch many tasks, emitted from their text statement by statement.

Numba's front end takes a millisecond for every statement and writes hundreds of instructions to count references to
arrays, which LLVM then has to remove.  Here an array that a kernel makes is given back after the last statement that
names it, and arguments are their caller's.  Types and calls are Numba's (`gradc_runtime.kernel_types`).
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import callconv, cgutils, types

from gradc_runtime import arrays
from gradc_runtime.kernel_types import (
    Typed,
    constant,
    indices,
    is_conversion,
    is_new,
    leading,
)
from gradc_runtime.part_sums import PartSum, adder, part_sum

# Statements of a kernel that leaves the work to tasks, from which on LLVM does not optimise it: what its calls take is
# small beside what they do, and LLVM would take a second for the registers of hundreds of arrays.
LONG = 100

Value = Any  # of LLVM


def emit_kernel(context: Any, builder: ir.IRBuilder, made: Typed, arguments: Sequence[Value]) -> None:
    """Write the instructions of a kernel into the function that is being built; it returns as Numba's do."""
    _Kernel(context, builder, made, arguments).emit()
    builder.ret(callconv.RETCODE_OK)


def emit_task(
    context: Any,
    builder: ir.IRBuilder,
    made: Typed,
    arguments: Sequence[Value],
    mark: Callable[[int], None],
) -> None:
    """Write the instructions of a task, whose arguments are the kernel's; `mark` is told the lines of statements."""
    task = _Kernel(context, builder, made, arguments)
    task.mark = mark
    task.emit()


# --- instructions -------------------------------------------------------------------------------------------


class _Kernel:
    """The instructions of a kernel."""

    def __init__(self, context: Any, builder: ir.IRBuilder, made: Typed, arguments: Sequence[Value]) -> None:
        self.context = context
        self.builder = builder
        self.made = made
        self.kinds, self.variables = made.kinds, made.variables
        self.is_kernel = made.returns != types.none
        self.mark: Callable[[int], None] = lambda line: None
        parameters = [argument.arg for argument in made.function.args.args]
        self.arguments = dict(zip(parameters, arguments, strict=True))
        self.arrays: dict[str, Value] = {}
        self.places: dict[str, Value] = {}
        self.alive: list[str] = []  # arrays that the kernel has made and not given back
        self.is_long = False
        self.passing: list[Value] = []  # arrays that the current statement alone uses
        self.made_of: dict[str, list[ast.expr]] = {}  # the extents of arrays that the kernel has made
        for name, value in self.arguments.items():
            if isinstance(self.variables[name], types.Array):
                self.arrays[name] = value
            else:
                self.write(name, value)

    def emit(self) -> None:
        """Emit all statements; what a kernel returns goes where its caller wants it."""
        *body, last = self.made.function.body
        if not isinstance(last, ast.Return):
            body.append(last)
        elif _leaves_the_work_to_tasks(body):
            self.is_long = is_long(self.made)
            attributes = ("optnone", "noinline") if self.is_long else ("optsize",)
            for attribute in attributes:
                self.builder.function.attributes.add(attribute)
            if self.is_long:
                self.put_in_memory(self.arrays)
        uses = [
            {node.id for node in ast.walk(s) if isinstance(node, ast.Name)} for s in self.made.function.body
        ]
        ends = {name: at for at, names in enumerate(uses) for name in names}
        for at, statement in enumerate(body):
            self.statement(statement)
            self.end_of_statement()
            for name in [name for name in self.alive if ends[name] == at]:
                self.give_back(self.array(name))
                self.alive.remove(name)
        if isinstance(last, ast.Return):
            assert last.value is not None
            self.leave(last.value, self.made.returns, self.builder.function.args[0])
        self.end_of_statement()
        for name in self.alive:
            self.give_back(self.array(name))
        if self.is_long:
            arrays.drop_unused_loads(self.builder.function)

    def leave(self, node: ast.expr, kind: Any, place: Value) -> None:
        """Write what the kernel returns to memory; the caller gives arrays back."""
        builder = self.builder
        match node:
            case ast.Tuple(elts=parts):
                for at, (part, of) in enumerate(zip(parts, kind.types, strict=True)):
                    self.leave(part, of, cgutils.gep_inbounds(builder, place, 0, at))
                return
            case ast.Name(id=name) if name in self.alive:
                self.alive.remove(name)
                found = self.array(name)
            case ast.Name(id=name) if name in self.arrays:
                found = self.array(name)
                self.context.nrt.incref(builder, kind, found)
            case _:
                found = self.context.cast(builder, self.value(node, kept=True), self.kinds[node], kind)
        if found.type != place.type.pointee:  # truths are bytes in memory
            found = self.context.get_return_value(builder, kind, found)
        builder.store(found, place)

    def end_of_statement(self) -> None:
        """Give back what the statement alone used."""
        for value in self.passing:
            self.give_back(value)
        self.passing.clear()

    def put_in_memory(self, names: Iterable[str]) -> None:
        """Let the descriptions of arrays lie in memory."""
        for name in names:
            arrays.place_of(self.builder, self.arrays[name])

    def array(self, name: str) -> Value:
        """The description of an array."""
        value = self.arrays[name]
        if not self.is_long:
            return value
        return arrays.described_at(self.builder, arrays.place_of(self.builder, value))

    def give_back(self, array: Value) -> None:
        arrays.give_back(self.builder, array)

    # --- statements -----------------------------------------------------------------------------------

    def statement(self, statement: ast.stmt) -> None:
        self.mark(statement.lineno)
        match statement:
            case ast.Assign(targets=[target], value=value):
                self.note_extents(target, value)
                self.assign(target, types.unliteral(self.kinds[value]), self.value(value, kept=True))
            case ast.AugAssign(target=ast.Subscript() as target, value=value):
                found = self.called(statement, [target, value])
                self.put(target, self.made.calls[statement][1].return_type, found)
            case ast.Expr(value=value):
                if not isinstance(value, ast.Constant):
                    self.value(value)
            case ast.For() if self.is_kernel and (found := self.sum_of_parts(statement)) is not None:
                self.add_parts(found)
            case ast.For(target=ast.Name(id=index), iter=ast.Call(args=[extent]), body=body):
                with cgutils.for_range(self.builder, self.converted(extent, types.intp)) as loop:
                    self.write(index, loop.index)
                    for inner in body:
                        self.statement(inner)
            case ast.If(test=test, body=[ast.Raise(exc=ast.Call(args=[ast.Constant(value=text)]))]):
                with self.builder.if_then(self.value(test), likely=False):
                    self.refuse(str(text))
            case _:
                raise AssertionError(ast.dump(statement))

    def sum_of_parts(self, loop: ast.For) -> PartSum | None:
        """What the parts of a task have left, if a loop adds that up in floating point."""
        found = part_sum(loop, self.made_of)
        if found is None or self.variables[found.total].dtype not in (types.float32, types.float64):
            return None
        return found if self.variables[found.copies].dtype == self.variables[found.total].dtype else None

    def add_parts(self, found: PartSum) -> None:
        """Call what adds the copies of an array to it."""
        word, kind = ir.IntType(64), self.variables[found.total]
        adder(kind.dtype.bitwidth)  # defines the symbol
        total, copies = (
            arrays.data_and_shape(self.builder, self.variables[name], self.array(name))
            for name in (found.total, found.copies)
        )
        places = [self.builder.ptrtoint(data, word) for data, _ in (total, copies)]
        size = functools.reduce(self.builder.mul, total[1])
        declared = ir.FunctionType(ir.VoidType(), [word] * 4)
        symbol = f"gradc_add_parts_{kind.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(self.builder.module, declared, symbol)
        self.builder.call(function, [*places, copies[1][0], size])

    def refuse(self, message: str) -> None:
        """Raise ValueError."""
        self.context.call_conv.set_static_user_exc(self.builder, ValueError, (message,))
        for value in (*map(self.array, self.alive), *self.passing):
            self.give_back(value)
        self.builder.ret(callconv.RETCODE_USEREXC)

    def note_extents(self, target: ast.expr, value: ast.expr) -> None:
        match target, value:
            case ast.Name(id=name), ast.Call(
                func=ast.Name(id="empty" | "zeros" | "local"), args=[ast.Tuple(elts=extents), _]
            ):
                self.made_of[name] = extents
            case _:
                pass

    def assign(self, target: ast.expr, kind: Any, value: Value) -> None:
        match target:
            case ast.Name(id=name) if isinstance(kind, types.Array):
                self.arrays[name] = value
                self.alive.append(name)
                if self.is_long:
                    self.put_in_memory([name])
            case ast.Name(id=name):
                self.write(name, value)
            case ast.Tuple(elts=targets):
                parts = cgutils.unpack_tuple(self.builder, value)
                for one, part, found in zip(targets, kind.types, parts, strict=True):
                    self.assign(one, part, found)
            case ast.Subscript():
                self.put(target, kind, value)
            case _:
                raise AssertionError(ast.dump(target))

    def write(self, name: str, value: Value) -> None:
        """Give a scalar variable a value."""
        if name not in self.places:
            with self.builder.goto_entry_block():
                self.places[name] = self.builder.alloca(self.context.get_value_type(self.variables[name]))
        self.builder.store(value, self.places[name])

    def put(self, target: ast.Subscript, found: Any, value: Value) -> None:
        """Store a number of type `found` as an element."""
        kind = self.kinds[target]
        value = self.context.cast(self.builder, value, types.unliteral(found), kind)
        self.context.pack_value(self.builder, kind, value, self.element(target))

    # --- expressions ----------------------------------------------------------------------------------

    def value(self, node: ast.expr, *, kept: bool = False) -> Value:
        """The value of an expression; a new array is given back behind the statement unless it is `kept`."""
        found = self.computed(node)
        if is_new(node) and not kept and isinstance(self.kinds[node], types.Array):
            self.passing.append(found)
        return found

    def computed(self, node: ast.expr) -> Value:
        builder, context = self.builder, self.context
        match node:
            case ast.Constant(value=value):
                return self.literal(value)
            case ast.Name(id=name) if name in self.arrays:
                return self.array(name)
            case ast.Name(id=name) if name in self.places:
                return builder.load(self.places[name])
            case ast.Name() | ast.Attribute(value=ast.Name(id="np" | "math")):
                return self.literal(constant(node, self.made.globals))
            case ast.Attribute(value=value, attr="T"):
                return arrays.transposed(builder, self.value(value))
            case ast.Tuple(elts=parts):
                return context.make_tuple(builder, self.kinds[node], [self.value(part) for part in parts])
            case ast.Subscript(
                value=ast.Attribute(value=array, attr="shape"), slice=ast.Constant(value=int(axis))
            ):
                return self.builder.extract_value(self.value(array), [arrays.SHAPE_FIELD, axis])
            case ast.Subscript() if isinstance(self.kinds[node], types.Array):
                first, begins = leading(node.slice)
                places = [self.converted(place, types.intp) for place in first]
                kind = context.get_value_type(self.kinds[node])
                return arrays.part_of(builder, self.value(node.value), kind, places, begins)
            case ast.Subscript():
                return context.unpack_value(builder, self.kinds[node], self.element(node))
            case _:
                return self.operation(node)

    def operation(self, node: ast.expr) -> Value:
        """The result of an operator or a call."""
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.builder.not_(self.value(operand))
            case ast.BoolOp(op=op, values=values):
                return self.joined(isinstance(op, ast.And), values)
            case ast.UnaryOp(operand=operand):
                return self.called(node, [operand])
            case ast.BinOp(left=left, right=right) | ast.Compare(left=left, comparators=[right]):
                return self.called(node, [left, right])
            case ast.IfExp():
                return self.chosen(node)
            case ast.Call(func=function, args=[argument]) if is_conversion(self.kinds[function]):
                return self.converted(argument, self.kinds[node])
            case ast.Call(args=[ast.Tuple(elts=shape), *_]) if make := self.maker(node):
                extents = [self.converted(extent, types.intp) for extent in shape]
                return arrays.array_of(self.context, self.builder, self.kinds[node], extents, make)
            case ast.Call(args=arguments):
                return self.called(node, arguments)
            case _:
                raise AssertionError(ast.dump(node))

    def maker(self, node: ast.Call) -> arrays.Maker | None:
        """What makes the array that a call of `gradc_runtime.arrays` returns; None for other calls."""
        function, _ = self.made.calls[node]
        return arrays.makers.get(getattr(function, "typing_key", None))

    def literal(self, value: Any) -> Value:
        """A constant; one that is no number is all in its type."""
        if isinstance(value, bool):
            return ir.IntType(1)(value)
        if isinstance(value, int):
            return ir.IntType(64)(value)
        return ir.DoubleType()(value) if isinstance(value, float) else self.context.get_dummy_value()

    def converted(self, node: ast.expr, kind: Any) -> Value:
        """The value of an expression as one of another type."""
        return self.context.cast(self.builder, self.value(node), self.kinds[node], kind)

    def called(self, node: ast.AST, operands: Sequence[ast.expr]) -> Value:
        """Call what Numba has chosen."""
        function, found = self.made.calls[node]
        given = [self.converted(*pair) for pair in zip(operands, found.args, strict=False)]
        left_out = found.args[len(given) :]
        given += [self.context.get_constant_generic(self.builder, kind, kind.value) for kind in left_out]
        result = self.context.get_function(function, found)(self.builder, given)
        return self.context.cast(self.builder, result, found.return_type, types.unliteral(found.return_type))

    def joined(self, every: bool, values: Sequence[ast.expr]) -> Value:
        """``and`` or ``or`` of truths; the later ones are looked at where they count."""
        builder = self.builder
        result = cgutils.alloca_once(builder, ir.IntType(1))
        builder.store(self.value(values[0]), result)
        for value in values[1:]:
            so_far = builder.load(result)
            with builder.if_then(so_far if every else builder.not_(so_far)):
                builder.store(self.value(value), result)
        return builder.load(result)

    def chosen(self, node: ast.IfExp) -> Value:
        """The value of one arm; the other one is not computed."""
        builder, kind = self.builder, self.kinds[node]
        result = cgutils.alloca_once(builder, self.context.get_value_type(kind))
        with builder.if_else(self.value(node.test)) as arms:
            for arm, entered in zip((node.body, node.orelse), arms, strict=True):
                with entered:
                    builder.store(self.context.cast(builder, self.value(arm), self.kinds[arm], kind), result)
        return builder.load(result)

    def element(self, node: ast.Subscript) -> Value:
        """The address of an element."""
        places = [self.converted(at, types.intp) for at in indices(node.slice)]
        array, kind = self.value(node.value), self.kinds[node.value]
        data, shape = arrays.data_and_shape(self.builder, kind, array)
        strides = [
            self.builder.extract_value(array, [arrays.STRIDES_FIELD, axis]) for axis in range(kind.ndim)
        ]
        return cgutils.get_item_pointer2(
            self.context, self.builder, data, shape, strides, kind.layout, places, wraparound=True
        )


def is_long(made: Typed) -> bool:
    """Whether a kernel is glue between tasks that LLVM had better not optimise, nor what calls it."""
    *body, _ = made.function.body
    return len(body) >= LONG and _leaves_the_work_to_tasks(body)


def _leaves_the_work_to_tasks(body: Sequence[ast.stmt]) -> bool:
    """Whether the kernel's own loops do no more than add up what the parts of tasks have left."""
    counts: set[str] = set()
    launches = False
    for statement in body:
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Name(id="run_tasks"))):
                launches = True
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id="parts_of"))):
                counts.add(name)
            case ast.For(iter=ast.Call(args=[ast.Name(id=extent)])) if extent in counts:
                pass
            case ast.For():
                return False
            case _:
                pass
    return launches
