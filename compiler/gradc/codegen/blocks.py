"""Cutting long runs of scalar statements out of a kernel: they are compiled from data, not by Numba's front end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Convert,
    Expr,
    Kernel,
    Let,
    Load,
    Number,
    Statement,
    Store,
    Update,
    Var,
)
from gradc.ir.loop.straight import is_place, is_simple
from gradc.ir.types import DType

SHORTEST = 300  # statements below which a block is not worth a second spelling
LONGEST = 4000  # LLVM's time grows faster than a block's length


@dataclass(slots=True)
class Block:
    """A run of statements.

    `arrays` and `scalars` are its arguments beside the workspace, `steps` its data.  `given` are the slots of the
    workspace that it reads, `kept` those that it fills; `used` are the names that statements outside blocks read.
    """

    statements: tuple[Statement, ...]
    arrays: list[str] = field(default_factory=list)
    scalars: list[str] = field(default_factory=list)
    steps: list[tuple[object, ...]] = field(default_factory=list)
    given: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)


def split(kernel: Kernel) -> list[Statement | Block]:
    """The statements of a kernel, with long runs of scalar ones grouped into blocks."""
    vectors = _vectors(kernel)
    parts = _grouped(kernel.body, vectors)
    _find_live(parts, kernel.results)
    if any(isinstance(part, Block) and _keeps_predicate(part) for part in parts):
        return list(kernel.body)
    slots: dict[str, int] = {}
    for part in parts:
        if isinstance(part, Block):
            _Linear(part, slots).run()
    return parts


def _vectors(kernel: Kernel) -> frozenset[str]:
    """The float64 arrays with one axis: elements of these a block may load and store."""
    given = [p.name for p in kernel.parameters if p.rank == 1 and p.dtype is DType.F64]
    made = [
        s.tensor
        for s in kernel.body
        if isinstance(s, Allocate) and len(s.shape) == 1 and s.dtype is DType.F64
    ]
    return frozenset((*given, *made))


def _keeps_predicate(block: Block) -> bool:
    """Whether a truth value is used after the block: the workspace holds floats only."""
    booleans = {s.name for s in block.statements if isinstance(s, Let) and s.value.dtype is DType.BOOL}
    return any(name in booleans for name in block.kept)


def _grouped(body: Sequence[Statement], vectors: frozenset[str]) -> list[Statement | Block]:
    parts: list[Statement | Block] = []
    run: list[Statement] = []
    for statement in body:
        if _is_straight(statement, vectors) and len(run) < LONGEST:
            run.append(statement)
            continue
        parts += [Block(tuple(run))] if len(run) >= SHORTEST else run
        run = []
        if _is_straight(statement, vectors):
            run.append(statement)
        else:
            parts.append(statement)
    parts += [Block(tuple(run))] if len(run) >= SHORTEST else run
    return parts


def _is_straight(statement: Statement, vectors: frozenset[str]) -> bool:
    match statement:
        case Let(_, value):
            return value.dtype in (DType.F64, DType.BOOL) and is_simple(value, vectors)
        case Update(_, op, value):
            return op == "sum" and value.dtype is DType.F64 and is_simple(value, vectors)
        case Store(tensor, indices, value) | AddTo(tensor, indices, _, value):
            plain = not isinstance(statement, AddTo) or statement.op == "sum"
            return plain and is_place(tensor, indices, vectors) and is_simple(value, vectors)
        case _:
            return False


def _names(value: Expr) -> Iterator[str]:
    match value:
        case Var(name, _):
            yield name
        case Load(_, indices, _):
            for index in indices:
                yield from _names(index)
        case Apply(_, arguments, _):
            for argument in arguments:
                yield from _names(argument)
        case Convert(argument, _):
            yield from _names(argument)
        case Number():
            return


def _read(statement: Statement) -> Iterator[str]:
    """Names that a statement of a run, or any statement after it, reads."""
    for field_name in statement.__slots__:
        yield from _read_value(getattr(statement, field_name))
    if isinstance(statement, Update):
        yield statement.name


def _read_value(value: object) -> Iterator[str]:
    if isinstance(value, Var | Number | Load | Apply | Convert):
        yield from _names(value)
    elif isinstance(value, tuple):
        for item in value:
            yield from _read_value(item)
    elif hasattr(value, "__slots__") and hasattr(value, "__dataclass_fields__"):
        yield from _read(value)  # pyright: ignore[reportArgumentType]


def _find_live(parts: Sequence[Statement | Block], results: Sequence[str]) -> None:
    """For every block the names it defines that are read after it, and which of these are read outside blocks."""
    outside, inside = set(results), set[str]()
    for part in reversed(parts):
        if not isinstance(part, Block):
            outside.update(_read(part))
            continue
        defined = dict.fromkeys(s.name for s in part.statements if isinstance(s, Let | Update))
        part.used = [name for name in defined if name in outside]
        part.kept = dict.fromkeys((name for name in defined if name in outside or name in inside), -1)
        for statement in part.statements:
            inside.update(_read(statement))


class _Linear:
    """Turns the statements of a block into steps; `slots` are the places in the workspace given out so far."""

    def __init__(self, block: Block, slots: dict[str, int]) -> None:
        self.block = block
        self.slots = slots
        self.of_name: dict[str, int] = {}
        self.of_step: dict[tuple[object, ...], int] = {}

    def run(self) -> None:
        for statement in self.block.statements:
            match statement:
                case Let(name, value):
                    self.of_name[name] = self.value(value)
                case Update(name, _, value):
                    self.of_name[name] = self.emit("plus", self.name(name), self.value(value))
                case Store(tensor, indices, value):
                    self.write("store", tensor, indices, value)
                case AddTo(tensor, indices, _, value):
                    self.write("add_to", tensor, indices, value)
                case _:
                    raise AssertionError("not a straight statement")
        for name in self.block.kept:
            slot = self.slots.setdefault(name, len(self.slots))
            self.block.kept[name] = slot
            self.block.steps.append(("store", WORKSPACE, slot, self.of_name[name]))

    def write(self, kind: str, tensor: str, indices: Sequence[Expr], value: Expr) -> None:
        self.block.steps.append((kind, ("array", self.array(tensor)), _position(indices), self.value(value)))
        self.of_step = {key: at for key, at in self.of_step.items() if key[0] != "load"}

    def array(self, name: str) -> int:
        if name not in self.block.arrays:
            self.block.arrays.append(name)
        return self.block.arrays.index(name)

    def name(self, name: str) -> int:
        if name in self.slots and name not in self.of_name:
            self.block.given[name] = self.slots[name]
            self.of_name[name] = self.emit("load", WORKSPACE, self.slots[name])
        if name not in self.of_name:
            self.block.scalars.append(name)
            self.of_name[name] = self.emit("argument", ("scalar", len(self.block.scalars) - 1))
        return self.of_name[name]

    def emit(self, *step: object) -> int:
        if step not in self.of_step:
            self.of_step[step] = len(self.block.steps)
            self.block.steps.append(step)
        return self.of_step[step]

    def value(self, value: Expr) -> int:
        match value:
            case Var(name, _):
                return self.name(name)
            case Number(number, _):
                return self.emit("constant", float(number), str(number))
            case Load(tensor, indices, _):
                return self.emit("load", ("array", self.array(tensor)), _position(indices))
            case Apply(function, arguments, _):
                return self.emit(function, *(self.value(argument) for argument in arguments))
            case _:
                raise AssertionError("not a straight expression")


def _position(indices: Sequence[Expr]) -> int:
    (index,) = indices
    assert isinstance(index, Number)
    return int(index.value)


WORKSPACE = ("workspace",)


def finished_steps(block: Block) -> list[tuple[object, ...]]:
    """The steps with arguments numbered: arrays first, then scalars, then the workspace."""
    count = len(block.arrays)
    last = count + len(block.scalars)

    def number(item: object) -> object:
        match item:
            case ("array", at):
                return at
            case ("scalar", at):
                return count + at
            case ("workspace",):
                return last
            case _:
                return item

    return [
        ("constant", step[1]) if step[0] == "constant" else tuple(number(item) for item in step)
        for step in block.steps
    ]
