"""(Program, Schedule) -> Kernel: loop nests with every decision already taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from gradc.errors import CompilerBug
from gradc.ir.extents import Size
from gradc.ir.index.contraction import classify, reading
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Affine,
    Assemble,
    Assign,
    Call,
    Const,
    Equation,
    ExtentValue,
    Index,
    IndexValue,
    Lookup,
    Operand,
    Program,
    outputs_of,
    terms_of,
)
from gradc.ir.index.show import show_equation
from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    CheckIndices,
    Contract,
    Expr,
    For,
    Kernel,
    Let,
    Library,
    Parameter,
    Product,
    Statement,
    Store,
    Update,
    Var,
)
from gradc.ir.names import INDEX_NAMES, NameSupply
from gradc.ir.schedule import Leaf, Node, Schedule, Storage, leaves
from gradc.ir.types import DType
from gradc.lowering.freeze import freeze
from gradc.lowering.sizes import combination, entry, plus, size_of, symbols_of


class _Lowering:
    def __init__(self, program: Program, schedule: Schedule) -> None:
        self.program = program
        self.schedule = schedule
        symbols = tuple(dict.fromkeys(symbols_of(program)))
        self.names = NameSupply((*program.types, *symbols))
        self.loop_names: dict[int, str] = {}
        self.loop_stack: list[str] = []
        self.not_loops = frozenset((*program.types, *symbols, "t"))  # "t": the hint of `_bind`
        self.accumulators: dict[str, str] = {}
        self.allocated: set[str] = set(program.inputs)
        self.complete: set[str] = set(program.inputs)  # what needs no loop any more
        self.checked: set[tuple[str, Size]] = set()
        self.positions: dict[Expr, Var] = {}  # look-ups of the equation at hand
        self.out: list[Statement] = []

    # --- the whole --------------------------------------------------------------------------------------

    def kernel(self, name: str, header: tuple[str, ...]) -> Kernel:
        self.out.extend(entry(self.program))
        for node in self.schedule.body:
            self._prepare(node)
            self._node(node)
            for leaf in leaves((node,)):
                self.complete.update(outputs_of(self.program.equations[leaf.equation]))
        parameters = tuple(
            Parameter(name, self.program.types[name].dtype, len(self.program.types[name].shape))
            for name in self.program.inputs
        )
        return Kernel(name, parameters, tuple(self.out), self.program.outputs, header)

    def _prepare(self, node: Node) -> None:
        """Allocate the arrays that a top-level node fills and check the look-up tables it reads."""
        for leaf in leaves((node,)):
            equation = self.program.equations[leaf.equation]
            if leaf.role in ("product", "call", "start", "finish"):
                continue
            self.out.extend(self._checks(equation))
            (name,) = outputs_of(equation)
            if name not in self.allocated:
                op = equation.reduce.op if isinstance(equation, Assign) and equation.reduce else "sum"
                self._allocate(name, op)

    def _allocate(self, name: str, op: str) -> None:
        """Make room for a tensor; one that is accumulated in memory starts at the neutral element of `op`."""
        storage, type_ = self.storage(name), self.program.types[name]
        if storage.kind == "array":
            shape = tuple(size_of(type_.shape[axis]) for axis in storage.axes)
            neutral = nodes.neutral(op, type_.dtype)
            from_zero = neutral is nodes.number(type_.dtype.numpy.type(0).item(), type_.dtype)
            self.out.append(Allocate(name, type_.dtype, shape, storage.zeroed and from_zero))
            if storage.zeroed and not from_zero:
                self._fill(name, shape, neutral)
            self.allocated.add(name)
        elif storage.zeroed:
            self.out.append(Let(name, nodes.number(type_.dtype.numpy.type(0).item(), type_.dtype)))
            self.allocated.add(name)

    def _fill(self, name: str, shape: tuple[Expr, ...], value: Expr) -> None:
        loops = [loop for loop in INDEX_NAMES if loop not in self.not_loops][: len(shape)]
        nest: Statement = Store(name, tuple(nodes.var(loop) for loop in loops), value)
        for loop, extent in zip(reversed(loops), reversed(shape), strict=True):
            nest = For(loop, extent, (nest,))
        self.out.append(nest)

    def _checks(self, equation: Equation) -> Iterator[CheckIndices]:
        """Check whole tables of indices; `_index` checks what is made in the loop that uses it."""
        if not isinstance(equation, Assign | Accumulate):
            return
        accesses = [operand for operand in equation.operands if isinstance(operand, Access)]
        if isinstance(equation, Accumulate):
            accesses.append(Access(equation.out, equation.target))
        for access in accesses:
            for axis, index in enumerate(access.indices):
                if isinstance(index, Lookup):
                    size = self.program.types[access.tensor].shape[axis]
                    if (index.tensor, size) not in self.checked and index.tensor in self.complete:
                        self.checked.add((index.tensor, size))
                        yield CheckIndices(index.tensor, size_of(size))

    # --- nodes ------------------------------------------------------------------------------------------

    def _node(self, node: Node) -> None:
        if isinstance(node, Leaf):
            self._leaf(node)
            return
        name = self._loop_name()
        self.loop_names[node.id] = name
        self.loop_stack.append(name)
        outer, self.out = self.out, []
        for child in node.body:
            self._node(child)
        body, self.out = tuple(self.out), outer
        self.loop_stack.pop()
        self.out.append(For(name, size_of(node.extent), body))

    def _loop_name(self) -> str:
        for name in INDEX_NAMES:
            if name not in self.loop_stack and name not in self.not_loops:
                return name
        return self.names.fresh("index")

    def _leaf(self, leaf: Leaf) -> None:
        equation = self.program.equations[leaf.equation]
        match equation:
            case Assign() if leaf.role == "product":
                self.out.append(self._product(equation))
            case Assign() | Accumulate() if leaf.role == "contract":
                self.out.append(self._contraction(equation))
            case Assign() | Accumulate():
                self._equation(leaf, equation)
            case Assemble():
                self._part(leaf, equation)
            case Call():
                self._call(equation)
            case _:
                assert_never(equation)

    def _equation(self, leaf: Leaf, equation: Assign | Accumulate) -> None:
        note = show_equation(equation)
        type_ = self.program.types[equation.out]
        if isinstance(equation, Assign) and equation.reduce and equation.reduce.acc is not type_.dtype:
            acc = equation.reduce.acc
            raise CompilerBug(f"{equation.out} is {type_.dtype!r} and accumulated in {acc!r}", stage="passes")
        if leaf.role == "start":
            assert isinstance(equation, Assign)
            assert equation.reduce is not None
            self._let(self._accumulator(equation), nodes.neutral(equation.reduce.op, type_.dtype), "")
            return
        if leaf.role == "finish":
            assert isinstance(equation, Assign)
            if self.storage(equation.out).kind == "array":
                value = nodes.var(self._accumulator(equation), type_.dtype)
                self.out.append(Store(equation.out, self._own_indices(equation, leaf), value, ""))
            return
        self.positions.clear()
        value = nodes.convert(self._body(equation, leaf), type_.dtype)
        match leaf.role:
            case "compute":
                self._define(equation, leaf, value, note)
            case "update":
                assert isinstance(equation, Assign)
                assert equation.reduce is not None
                self.out.append(Update(self._accumulator(equation), equation.reduce.op, value, note))
            case "add":
                self._add(equation, leaf, value, note)
            case _:
                raise CompilerBug(f"unknown role {leaf.role} in a schedule")

    def _define(self, equation: Assign | Accumulate, leaf: Leaf, value: Expr, note: str) -> None:
        if self.storage(equation.out).kind == "scalar":
            self._let(equation.out, value, note)
        else:
            self.out.append(Store(equation.out, self._own_indices(equation, leaf), value, note))

    def _add(self, equation: Assign | Accumulate, leaf: Leaf, value: Expr, note: str) -> None:
        op = equation.reduce.op if isinstance(equation, Assign) and equation.reduce else "sum"
        if self.storage(equation.out).kind == "scalar":
            self.out.append(Update(equation.out, op, value, note))
            return
        if isinstance(equation, Accumulate):
            shape = self.program.types[equation.out].shape
            indices = tuple(
                self._index(i, leaf, size) for i, size in zip(equation.target, shape, strict=True)
            )
        else:
            indices = self._own_indices(equation, leaf)
        self.out.append(AddTo(equation.out, indices, op, value, note))

    def _let(self, name: str, value: Expr, note: str) -> None:
        self.out.append(Let(name, value, note))

    def _bind(self, value: Expr) -> Var:
        name = self.names.fresh("t")
        self.out.append(Let(name, value))
        return nodes.var(name, value.dtype)

    def _bind_position(self, position: Expr) -> Var:
        self.positions[position] = self._bind(position)
        return self.positions[position]

    def _accumulator(self, equation: Assign) -> str:
        """Return the local variable that sums; the tensor's own name where the tensor is a scalar."""
        out = equation.out
        if self.storage(out).kind == "array" and out not in self.accumulators:
            self.accumulators[out] = self.names.fresh(f"{out}_sum")
        return self.accumulators.get(out, out)

    # --- bodies and indices -----------------------------------------------------------------------------

    def _body(self, equation: Assign | Accumulate, leaf: Leaf) -> Expr:
        operands = [self._operand(operand, leaf) for operand in equation.operands]
        return freeze(equation.template, operands, self._bind)

    def _operand(self, operand: Operand, leaf: Leaf) -> Expr:
        match operand:
            case Access(tensor, indices):
                return self._load(tensor, indices, leaf)
            case Const(value, dtype):
                return nodes.number(dtype.numpy.type(value).item(), dtype)
            case IndexValue(index):
                return self._affine(index, leaf)
            case ExtentValue(size):
                return size_of(size)
            case _:
                assert_never(operand)

    def _load(self, tensor: str, indices: tuple[Index, ...], leaf: Leaf) -> Expr:
        type_ = self.program.types[tensor]
        storage = self.storage(tensor)
        if storage.kind == "scalar":
            return nodes.var(tensor, type_.dtype)
        kept = tuple(self._index(indices[axis], leaf, type_.shape[axis]) for axis in storage.axes)
        return nodes.load(tensor, kept, type_.dtype)

    def _own_indices(self, equation: Assign | Accumulate, leaf: Leaf) -> tuple[Expr, ...]:
        return tuple(self._loop_index(leaf, axis) for axis in self.storage(equation.out).axes)

    def _loop_index(self, leaf: Leaf, position: int) -> Expr:
        """Return the loop variable of an index; an index of extent 1 has no loop and is 0."""
        loop = leaf.loops[position]
        return nodes.var(self.loop_names[loop]) if loop else nodes.number(0)

    def _index(self, index: Index, leaf: Leaf, extent: Size) -> Expr:
        if not isinstance(index, Lookup):
            return self._affine(index, leaf)
        position = nodes.convert(self._load(index.tensor, index.indices, leaf), DType.INT64)
        if not isinstance(position, Var):
            position = (
                self.positions[position] if position in self.positions else self._bind_position(position)
            )
        if index.tensor not in self.complete:
            self.out.append(CheckIndices(position.name, size_of(extent)))
        wrapped = nodes.apply("add", position, size_of(extent))
        return nodes.apply("select", nodes.apply("lt", position, nodes.number(0)), wrapped, position)

    def _affine(self, index: int | Affine, leaf: Leaf) -> Expr:
        terms, offset = terms_of(index)
        loops = ((coefficient, self._loop_index(leaf, position)) for coefficient, position in terms)
        return plus(combination(loops), offset)

    def storage(self, name: str) -> Storage:
        """Where a tensor lives; inputs are whole arrays or scalars."""
        found = self.schedule.storage.get(name)
        if found is not None:
            return found
        rank = len(self.program.types[name].shape)
        return Storage("array", tuple(range(rank))) if rank else Storage("scalar")

    # --- whole-tensor operations ------------------------------------------------------------------------

    def _part(self, leaf: Leaf, equation: Assemble) -> None:
        offset: Size = 0
        for name in equation.parts[: leaf.part]:
            offset = offset + self.program.types[name].shape[equation.axis]
        part = equation.parts[leaf.part]
        rank = len(self.program.types[part].shape)
        value = self._load(part, tuple(range(rank)), leaf)
        indices: list[Expr] = [self._loop_index(leaf, axis) for axis in range(rank)]
        indices[equation.axis] = plus(indices[equation.axis], offset)
        note = show_equation(equation) if leaf.part == 0 else ""
        self.out.append(Store(equation.out, tuple(indices), value, note))

    def _product(self, equation: Assign) -> Product:
        parts = classify(equation)
        assert parts is not None
        left, right = (operand for operand in equation.operands if isinstance(operand, Access))
        (k,) = parts.summed
        # out[n, m] is the transpose of what the classification calls rows and columns.
        if parts.rows > parts.columns:
            left, right = right, left
        turned = left.indices[0] == k, right.indices[0] != k
        return Product(equation.out, left.tensor, right.tensor, *turned, show_equation(equation))

    def _contraction(self, equation: Assign | Accumulate) -> Contract:
        where = reading(equation)
        assert where is not None
        left, right = (operand for operand in equation.operands if isinstance(operand, Access))
        extents = tuple(size_of(size) for size in equation.space if size != 1)  # letters go by position
        add, note = isinstance(equation, Accumulate), show_equation(equation)
        texts = (where.target, left.tensor, where.first, right.tensor, where.second)
        return Contract(equation.out, *texts, extents, add, note=note)

    def _call(self, equation: Call) -> None:
        attributes = tuple(
            (name, tuple(size_of(size) for size in value) if isinstance(value, tuple) else value)
            for name, value in equation.attributes
        )
        self.out.append(
            Library(equation.outs, equation.operation, equation.ins, attributes, show_equation(equation))
        )


def lower(program: Program, schedule: Schedule, *, name: str, header: Sequence[str] = ()) -> Kernel:
    """Return the kernel that computes `program` in the order of `schedule`.

    Requires: `schedule` covers `program`.  Ensures: the same values as the program's, sums reordered.
    """
    return _Lowering(program, schedule).kernel(name, tuple(header))
