"""Loops over straight runs of numbers, computed for several iterations at once in the lanes of vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gradc.codegen.blocks import LONGEST
from gradc.ir.loop.nodes import AddTo, Apply, Expr, For, Let, Load, Number, Statement, Store, Update, Var
from gradc.ir.loop.straight import is_place, is_simple
from gradc.ir.types import DType

SHORTEST = 40  # statements: shorter loops LLVM vectorises by itself


@dataclass(slots=True)
class Lanes:
    """A loop from `first` on, or from 0, whose iterations are `statements`.

    `arrays` and `scalars` are what an iteration reads and writes beside its index, `sums` what it adds to, and
    `steps` its data (`gradc_runtime.lanes`).
    """

    index: str
    first: Expr | None
    extent: Expr
    statements: tuple[Statement, ...]
    arrays: list[str] = field(default_factory=list)
    scalars: list[str] = field(default_factory=list)
    sums: list[str] = field(default_factory=list)
    steps: list[tuple[object, ...]] = field(default_factory=list)


def lanes(loop: For, ranks: Mapping[str, int]) -> Lanes | None:
    """The loop for lanes, or None where it is none; `ranks` are those of the float64 arrays.

    Only loops that touch several elements of a row are taken, or long ones: of others LLVM reads whole vectors.
    """
    index, first, statements = loop.index, None, loop.body
    match statements[0] if statements else None:
        case Let(name, Apply("add", (first, Var(step, _)), DType.INT64)) if step == loop.index:
            index, statements = name, statements[1:]
        case _:
            pass
    arrays = frozenset(ranks)
    if not SHORTEST <= len(statements) <= LONGEST or not all(
        _is_straight(s, arrays, index) for s in statements
    ):
        return None
    found = Lanes(index, first, loop.extent, statements)
    if not _Linear(found).run():
        return None
    rows = any(step[0] in ("load", "store", "add_to") and _is_row(step[2]) for step in found.steps)
    return found if rows else None


def _is_row(place: object) -> bool:
    return isinstance(place, tuple) and len(place) > 1


def _is_straight(statement: Statement, arrays: frozenset[str], index: str) -> bool:
    match statement:
        case Let(_, value):
            return value.dtype in (DType.F64, DType.BOOL) and is_simple(value, arrays, index)
        case Update(_, op, value):
            return op == "sum" and value.dtype is DType.F64 and is_simple(value, arrays, index)
        case Store(tensor, indices, value):
            own = is_place(tensor, indices, arrays, index) and any(isinstance(at, Var) for at in indices)
            return own and value.dtype is DType.F64 and is_simple(value, arrays, index)
        case _:
            return False


class _Linear:
    """Turns the statements of an iteration into steps."""

    def __init__(self, made: Lanes) -> None:
        self.made = made
        self.of_name: dict[str, int] = {}
        self.of_step: dict[tuple[object, ...], int] = {}

    def run(self) -> bool:
        """Whether that could be done: sums of the loop must not be read in it."""
        for statement in self.made.statements:
            match statement:
                case Let(name, value):
                    self.of_name[name] = self.value(value)
                case Update(name, _, value) if name in self.of_name:
                    self.of_name[name] = self.emit("plus", self.of_name[name], self.value(value))
                case Update(name, _, value):
                    if name not in self.made.sums:
                        self.made.sums.append(name)
                    self.made.steps.append(("sum", self.made.sums.index(name), self.value(value)))
                case Store(tensor, indices, value):
                    # The value first: it may add steps.
                    operand = self.value(value)
                    self.made.steps.append(("store", self.array(tensor), _place(indices), operand))
                    self.of_step = {key: at for key, at in self.of_step.items() if key[0] != "load"}
                case AddTo() | _:
                    raise AssertionError("not a straight statement")
        return not set(self.made.sums) & set(self.made.scalars)

    def array(self, name: str) -> int:
        if name not in self.made.arrays:
            self.made.arrays.append(name)
        return self.made.arrays.index(name)

    def emit(self, *step: object) -> int:
        if step not in self.of_step:
            self.of_step[step] = len(self.made.steps)
            self.made.steps.append(step)
        return self.of_step[step]

    def value(self, value: Expr) -> int:
        match value:
            case Var(name, _):
                if name not in self.of_name:
                    self.made.scalars.append(name)
                    self.of_name[name] = self.emit("argument", name)
                return self.of_name[name]
            case Number(number, dtype):
                return self.emit("truth" if dtype is DType.BOOL else "constant", number, str(number))
            case Load(tensor, indices, _):
                return self.emit("load", self.array(tensor), _place(indices))
            case Apply(function, arguments, _):
                return self.emit(function, *(self.value(argument) for argument in arguments))
            case _:
                raise AssertionError("not a straight expression")


def _place(indices: Sequence[Expr]) -> tuple[int | None, ...]:
    """The index on every axis, None where it is the loop's."""
    return tuple(int(at.value) if isinstance(at, Number) else None for at in indices)


def finished_steps(made: Lanes) -> list[tuple[object, ...]]:
    """The steps with arguments numbered: arrays first, then scalars."""

    def finished(step: tuple[object, ...]) -> tuple[object, ...]:
        match step:
            case ("argument", str(name)):
                return ("argument", len(made.arrays) + made.scalars.index(name))
            case ("constant" | "truth", number, _):
                return (step[0], number)
            case _:
                return step

    return [finished(step) for step in made.steps]
