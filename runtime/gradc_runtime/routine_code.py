"""LLVM instructions of a routine, from its text.

Every variable has one type, that of the first value it is given, and a place on the stack, which LLVM turns into
registers.  Anything beyond the little language that `gradc_runtime.routines` describes is an error that names the line.
"""

from __future__ import annotations

import ast
import linecache
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, NoReturn

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import _Intrinsic

from gradc_runtime.instructions import is_below

WORD, TRUTH = ir.IntType(64), ir.IntType(1)
_NAMED: dict[str, Any] = {"int": WORD, "bool": TRUTH, "None": ir.VoidType()}
_NUMBA = {
    WORD: types.intp,
    TRUTH: types.boolean,
    ir.DoubleType(): types.float64,
    ir.FloatType(): types.float32,
}
_COMPARED = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}

_OPERATORS: dict[Any, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}

Value = Any  # of LLVM, or a tuple of such


class Routine:
    """A function in the language of `gradc_runtime.routines`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__name__

    def __call__(self, *arguments: Any) -> Any:
        """Run it as Python."""
        return self.function(*arguments)

    @cached_property
    def tree(self) -> ast.FunctionDef:
        """Its text."""
        code = self.function.__code__
        return _functions_in(code.co_filename)[code.co_firstlineno]

    @cached_property
    def names(self) -> Mapping[str, Any]:
        """What names mean that are not its variables."""
        inner = self.function.__code__.co_freevars
        cells = [cell.cell_contents for cell in self.function.__closure__ or ()]
        return {**self.function.__globals__, **dict(zip(inner, cells, strict=True))}


@cache
def _functions_in(file: str) -> dict[int, ast.FunctionDef]:
    """The functions in a file by their first lines: it is read once for all of them."""
    found: dict[int, ast.FunctionDef] = {}
    left: list[ast.stmt] = ast.parse("".join(linecache.getlines(file))).body
    while left:
        node = left.pop()
        left += getattr(node, "body", []) + getattr(node, "orelse", [])
        if isinstance(node, ast.FunctionDef):
            found[min(part.lineno for part in (node, *node.decorator_list))] = node
    return found


def kind_of(routine: Routine) -> ir.FunctionType:
    """The C type of a routine, from its annotations."""
    arguments = [_annotated(routine, argument.annotation) for argument in routine.tree.args.args]
    return ir.FunctionType(_annotated(routine, routine.tree.returns), arguments)


def _annotated(routine: Routine, node: ast.expr | None) -> Any:
    match node:
        case ast.Name(id=name) if name in _NAMED:
            return _NAMED[name]
        case ast.Constant(value=None):
            return ir.VoidType()
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=parts)):
            return ir.LiteralStructType([_annotated(routine, part) for part in parts])
        case _:
            raise TypeError(
                f"routine {routine.name}: annotate every argument and the result: int, bool or None"
            )


def emit(builder: ir.IRBuilder, context: Any, routine: Routine) -> None:
    """Write the body of a routine into the function that is being built, and the routines that it calls beside it."""
    _Emitter(builder, context, routine, {}).emit()


class _Emitter:
    """The instructions of one routine; `others` has the functions that stand in the module already."""

    def __init__(
        self, builder: ir.IRBuilder, context: Any, routine: Routine, others: dict[int, ir.Function]
    ) -> None:
        self.builder = builder
        self.context = context
        self.routine = routine
        self.others = others
        self.places: dict[str, Any] = {}
        self.loops: list[tuple[Any, Any]] = []  # where `continue` and `break` of the loops around lead to
        self.line = 0

    def emit(self) -> None:
        """Write the whole body."""
        tree = self.routine.tree
        for argument, value in zip(tree.args.args, self.builder.function.args, strict=True):
            self.write(argument.arg, value)
        self.block(tree.body[1:] if ast.get_docstring(tree) else tree.body)
        if not self.builder.block.is_terminated:
            if isinstance(self.builder.function.function_type.return_type, ir.VoidType):
                self.builder.ret_void()
            else:
                self.builder.unreachable()

    def wrong(self, what: str) -> NoReturn:
        file = self.routine.function.__code__.co_filename
        raise TypeError(f"routine {self.routine.name}, {file}:{self.line}: {what}")

    # --- statements -----------------------------------------------------------------------------------

    def block(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            if self.builder.block.is_terminated:
                return
            self.line = statement.lineno
            self.statement(statement)

    def statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=[target], value=value):
                self.assign(target, self.value(value))
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                self.write(name, self.binary(op, self.read(name), self.value(value)))
            case ast.Expr(value=ast.Call() as call):
                self.call(call)
            case ast.Return(value=value):
                self.returned(value)
            case ast.If():
                self.branch(statement)
            case ast.For(
                target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=bounds), orelse=[]
            ):
                self.count(name, bounds, statement.body)
            case ast.While(test=test, body=body, orelse=[]):
                self.loop(lambda: self.truth(test), body, lambda: None)
            case ast.Continue() | ast.Break():
                self.builder.branch(self.loops[-1][isinstance(statement, ast.Break)])
            case _:
                if not isinstance(statement, ast.Pass):
                    self.wrong(f"{ast.unparse(statement)!r} is not in the language of routines")

    def returned(self, value: ast.expr | None) -> None:
        if value is None:
            self.builder.ret_void()
            return
        found, kind = self.value(value), self.builder.function.function_type.return_type
        if isinstance(found, tuple):
            packed: Any = ir.Constant(kind, ir.Undefined)
            for at, part in enumerate(found):
                packed = self.builder.insert_value(packed, part, at)
            found = packed
        if found.type != kind:
            self.wrong(f"{found.type} is returned, not {kind}")
        self.builder.ret(found)

    def branch(self, statement: ast.If) -> None:
        builder = self.builder
        then, after = builder.append_basic_block("then"), builder.append_basic_block("after")
        other = builder.append_basic_block("else") if statement.orelse else after
        builder.cbranch(self.truth(statement.test), then, other)
        for block, body in ((then, statement.body), (other, statement.orelse)):
            if body:
                builder.position_at_end(block)
                self.block(body)
                if not builder.block.is_terminated:
                    builder.branch(after)
        builder.position_at_end(after)

    def count(self, name: str, bounds: Sequence[ast.expr], body: Sequence[ast.stmt]) -> None:
        """A loop over a range; a step that is no number is positive."""
        values = [self.value(bound) for bound in bounds]
        start, stop = (WORD(0), values[0]) if len(values) == 1 else values[:2]
        step = values[2] if len(values) == 3 else WORD(1)
        down = isinstance(step, ir.Constant) and step.constant < 0
        counter = cgutils.alloca_once(self.builder, WORD)
        self.builder.store(start, counter)

        def goes_on() -> Value:
            return self.builder.icmp_signed(">" if down else "<", self.builder.load(counter), stop)

        def follow() -> None:
            self.builder.store(self.builder.add(self.builder.load(counter), step), counter)

        self.loop(goes_on, body, follow, lambda: self.write(name, self.builder.load(counter)))

    def loop(
        self,
        goes_on: Callable[[], Value],
        body: Sequence[ast.stmt],
        follow: Callable[[], None],
        enter: Callable[[], None] = lambda: None,
    ) -> None:
        builder = self.builder
        test, inside, following, after = (
            builder.append_basic_block(name) for name in ("test", "body", "next", "after")
        )
        builder.branch(test)
        builder.position_at_end(test)
        builder.cbranch(goes_on(), inside, after)
        builder.position_at_end(inside)
        self.loops.append((following, after))
        enter()
        self.block(body)
        self.loops.pop()
        if not builder.block.is_terminated:
            builder.branch(following)
        builder.position_at_end(following)
        follow()
        builder.branch(test)
        builder.position_at_end(after)

    # --- variables ------------------------------------------------------------------------------------

    def assign(self, target: ast.expr, value: Value) -> None:
        match target:
            case ast.Name(id=name) if not isinstance(value, tuple):
                self.write(name, value)
            case ast.Tuple(elts=targets) if isinstance(value, tuple):
                for one, part in zip(targets, value, strict=True):
                    self.assign(one, part)
            case _:
                self.wrong(f"{ast.unparse(target)!r} takes no such value")

    def write(self, name: str, value: Value) -> None:
        if value is None:
            self.wrong(f"{name} is given nothing")
        if name not in self.places:
            with self.builder.goto_entry_block():
                self.places[name] = self.builder.alloca(value.type)
        place = self.places[name]
        if place.type.pointee != value.type:
            self.wrong(f"{name} was {place.type.pointee} before and is {value.type} now")
        self.builder.store(value, place)

    def read(self, name: str) -> Value:
        return (
            self.builder.load(self.places[name]) if name in self.places else self.literal(self.meaning(name))
        )

    def meaning(self, name: str) -> Any:
        if name not in self.routine.names:
            self.wrong(f"{name!r} has no value here")
        return self.routine.names[name]

    # --- expressions ----------------------------------------------------------------------------------

    def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=value):
                return self.literal(value)
            case ast.Name(id=name):
                return self.read(name)
            case ast.Tuple(elts=parts):
                return tuple(self.value(part) for part in parts)
            case ast.Call():
                return self.call(node)
            case _:
                return self.operation(node)

    def operation(self, node: ast.expr) -> Value:
        match node:
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(op, self.value(left), self.value(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.binary(ast.Sub(), WORD(0), self.value(operand))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.builder.not_(self.truth(operand))
            case ast.BoolOp(op=op, values=[first, *rest]):
                return self.joined(isinstance(op, ast.And), first, rest)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.compared(op, self.value(left), self.value(right))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.chosen(self.truth(test), lambda: self.value(body), lambda: self.value(orelse))
            case _:
                self.wrong(f"{ast.unparse(node)!r} is not in the language of routines")

    def literal(self, value: Any) -> Value:
        if isinstance(value, bool):
            return TRUTH(value)
        if isinstance(value, int):
            return WORD(value)
        if isinstance(value, np.floating):
            return (ir.DoubleType() if value.dtype == np.float64 else ir.FloatType())(float(value))
        self.wrong(f"{value!r} is no number")

    def truth(self, node: ast.expr) -> Value:
        found = self.value(node)
        if found.type != TRUTH:
            self.wrong(f"{ast.unparse(node)!r} is neither true nor false")
        return found

    def binary(self, op: ast.operator, left: Value, right: Value) -> Value:
        builder = self.builder
        if left.type != right.type:
            self.wrong(f"{left.type} and {right.type} do not go together")
        if type(op) not in _OPERATORS or left.type == TRUTH:
            self.wrong(f"{type(op).__name__} of {left.type} is not in the language of routines")
        if left.type == WORD and isinstance(left, ir.Constant) and isinstance(right, ir.Constant):
            return WORD(_OPERATORS[type(op)](left.constant, right.constant))
        simple = {ast.Add: (builder.add, builder.fadd), ast.Sub: (builder.sub, builder.fsub)}
        simple[ast.Mult] = (builder.mul, builder.fmul)
        if type(op) in simple:
            return simple[type(op)][left.type != WORD](left, right)
        if left.type != WORD:
            self.wrong("// and % are of whole numbers")
        rest = builder.srem(left, right)  # has the sign of `left`, where Python's has that of `right`
        below = is_below(builder, rest, right)
        if isinstance(op, ast.Mod):
            return builder.select(below, builder.add(rest, right), rest)
        return builder.sub(builder.sdiv(left, right), builder.zext(below, WORD))

    def compared(self, op: ast.cmpop, left: Value, right: Value) -> Value:
        if left.type != right.type or type(op) not in _COMPARED:
            self.wrong(f"{left.type} and {right.type} do not compare")
        compare = self.builder.icmp_signed
        if left.type not in (WORD, TRUTH):  # a number that is none is unequal to all
            unequal = isinstance(op, ast.NotEq)
            compare = self.builder.fcmp_unordered if unequal else self.builder.fcmp_ordered
        return compare(_COMPARED[type(op)], left, right)

    def joined(self, every: bool, first: ast.expr, rest: Sequence[ast.expr]) -> Value:
        """``and``, ``or``: what comes later is looked at only where it counts."""
        found = self.truth(first)
        for node in rest:
            arms = (lambda node=node: self.truth(node)), (lambda: TRUTH(not every))
            found = self.chosen(found, *(arms if every else arms[::-1]))
        return found

    def chosen(self, test: Value, then: Callable[[], Value], other: Callable[[], Value]) -> Value:
        """The value of one arm; the other one is not computed."""
        builder = self.builder
        blocks = [builder.append_basic_block(name) for name in ("one", "other", "both")]
        builder.cbranch(test, *blocks[:2])
        found, ends = [], []
        for block, arm in zip(blocks[:2], (then, other), strict=True):
            builder.position_at_end(block)
            value = arm()
            found.append(value if isinstance(value, tuple) else (value,))
            ends.append(builder.block)
            builder.branch(blocks[2])
        builder.position_at_end(blocks[2])
        merged = []
        for pair in zip(*found, strict=True):
            if pair[0].type != pair[1].type:
                self.wrong(f"{pair[0].type} or {pair[1].type}: the arms differ")
            phi = builder.phi(pair[0].type)
            for part, end in zip(pair, ends, strict=True):
                phi.add_incoming(part, end)
            merged.append(phi)
        return tuple(merged) if len(merged) > 1 else merged[0]

    # --- calls ----------------------------------------------------------------------------------------

    def call(self, node: ast.Call) -> Value:
        """Call an instruction of the runtime, a routine, or a symbol."""
        given = [self.value(argument) for argument in node.args]
        if not isinstance(node.func, ast.Name) or node.keywords:
            self.wrong(f"{ast.unparse(node)!r} is not in the language of routines")
        name = node.func.id
        if name in ("min", "max"):
            return self.extreme("<" if name == "min" else ">", given)
        function = self.meaning(name)
        if isinstance(function, _Intrinsic):
            return self.instruction(function, given)
        if isinstance(function, types.ExternalFunction):
            return self.symbol(function, given)
        if not isinstance(function, Routine):
            self.wrong(f"{name} is no routine")
        found = self.builder.call(self.routine_beside(function), given)
        if isinstance(found.type, ir.LiteralStructType):
            return tuple(self.builder.extract_value(found, at) for at in range(len(found.type)))
        return None if isinstance(found.type, ir.VoidType) else found

    def extreme(self, sign: str, given: Sequence[Value]) -> Value:
        found = given[0]
        for other in given[1:]:
            if found.type != WORD or other.type != WORD:
                self.wrong("min and max are of whole numbers")
            found = self.builder.select(self.builder.icmp_signed(sign, other, found), other, found)
        return found

    def instruction(self, function: Any, given: Sequence[Value]) -> Value:
        kinds = [_NUMBA[value.type] for value in given]
        signature, generate = function._defn(self.context.typing_context, *kinds)
        found = generate(self.context, self.builder, signature, given)
        return None if signature.return_type == types.none else found

    def symbol(self, function: Any, given: Sequence[Value]) -> Value:
        """Call what has a symbol; whole numbers are made as wide as it wants them."""
        signature = function.sig
        wanted = [self.context.get_value_type(kind) for kind in signature.args]
        nothing = signature.return_type == types.none
        returned = ir.VoidType() if nothing else self.context.get_value_type(signature.return_type)
        declared = ir.FunctionType(returned, wanted)
        target = cgutils.get_or_insert_function(self.builder.module, declared, function.symbol)
        values = [
            self.builder.trunc(value, kind) if value.type == WORD and value.type != kind else value
            for value, kind in zip(given, wanted, strict=True)
        ]
        found = self.builder.call(target, values)
        if nothing:
            return None
        return self.builder.sext(found, WORD) if found.type == ir.IntType(32) else found

    def routine_beside(self, routine: Routine) -> ir.Function:
        """The function of another routine in this module."""
        if id(routine) not in self.others:
            module = self.builder.module
            name = module.get_unique_name(routine.name)
            function = self.others[id(routine)] = ir.Function(module, kind_of(routine), name)
            function.linkage = "private"
            if "optsize" in self.builder.function.attributes:
                function.attributes.add("optsize")
            builder = ir.IRBuilder(function.append_basic_block("entry"))
            _Emitter(builder, self.context, routine, self.others).emit()
        return self.others[id(routine)]
