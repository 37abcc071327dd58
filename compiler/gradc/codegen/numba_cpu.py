"""Kernel -> the text of a Python module that Numba compiles for the CPU.

The module is plain Python over NumPy arrays: without a compiler it runs too, only slowly.  Statements are
preceded by the equation they compute.  Same kernel, same bytes.
"""

from __future__ import annotations

import re
from typing import assert_never

from gradc.codegen import lanes
from gradc.codegen.blocks import Block, finished_steps, split
from gradc.codegen.contractions import contraction
from gradc.codegen.module import COMBINE, Module, numpy_name, reserved
from gradc.errors import CompilerBug
from gradc.ir.functions import SPECIAL
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Barrier,
    Carry,
    CheckIndices,
    Clear,
    Clock,
    Combine,
    Contract,
    Extent,
    For,
    Kernel,
    Launch,
    Let,
    Library,
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
    When,
    Width,
)
from gradc.ir.loop.walk import every, expressions, free_names
from gradc.ir.types import DType

# Where the functions that a module calls come from: what is neither here nor built in is in `scalars`.
MODULES = {
    "arrays": ("empty", "zeros", "local", "clear", "clear_rows"),
    "clock": ("nanoseconds",),
    "contraction_kernel": ("contract", "add_contraction"),
    "external": ("external",),
    "library": ("check_indices", "reshape", "affine_scan", "argsort", "arg_extreme"),
    "linalg": (
        *("solve", "inv", "solve_triangular", "cholesky"),
        *("slogdet", "det", "cofactor"),
    ),
    "matmul": ("product",),
    "reduce": ("plus", "larger", "smaller"),
    "lanes": ("over_lanes", "run_lanes"),
    "straight_line": ("straight_line",),
    "tasks": ("parts_of", "run_tasks", "start_of", "task"),
    "special": tuple(sorted(SPECIAL)),
}
_MODULE_OF = {name: module for module, names in MODULES.items() for name in names}
_RESERVED = reserved("workspace", "totals", *_MODULE_OF)
_COMBINE = {**COMBINE, "sum": ("plus({0}, {1})", 0)}


class _Module(Module):
    """A module for the CPU under construction."""

    combine = _COMBINE
    modules = _MODULE_OF
    usual = "scalars"

    def __init__(self, kernel: Kernel, share: bool) -> None:
        super().__init__(kernel, _RESERVED)
        self.share = share
        self.tasks: dict[str, str] = {}  # the functions of tasks, by their text without names
        self.blocks = 0
        self.beside = ""  # how many parts run beside the one that is printed
        self.ranks = _float_arrays(kernel)

    # --- blocks -----------------------------------------------------------------------------------------

    def print_kernel(self) -> None:
        """Print the body, and aside the functions that long scalar blocks and tasks become."""
        parts = split(self.kernel)
        blocks = [part for part in parts if isinstance(part, Block)]
        self.blocks = len(blocks)
        if not blocks:
            self.body(self.kernel.body, 1)
            return
        self.use("straight_line", "np")
        self.line(1, f"workspace = np.empty({max(1, sum(len(block.kept) for block in blocks))})")
        run: list[Statement] = []
        for part in parts:
            if isinstance(part, Block):
                self.body(run, 1)
                run = []
                self.functions += self._block(part, blocks.index(part) + 1)
            else:
                run.append(part)
        self.body(run, 1)

    def _block(self, block: Block, number: int) -> list[str]:
        """Print the call of a block; returns its function: readable statements under their data."""
        arguments = ", ".join((*(self.rename(name) for name in (*block.arrays, *block.scalars)), "workspace"))
        self.line(1, f"block_{number}({arguments})")
        for name in block.used:
            self.line(1, f"{self.rename(name)} = workspace[{block.kept[name]}]")
        outer, self.lines = self.lines, []
        for name, slot in block.given.items():
            self.line(1, f"{self.rename(name)} = workspace[{slot}]")
        self.body(block.statements, 1)
        for name, slot in block.kept.items():
            self.line(1, f"workspace[{slot}] = {self.rename(name)}")
        body, self.lines = self.lines, outer
        head = [
            f"STEPS_{number} = (",
            *(f"    {step!r}," for step in finished_steps(block)),
            ")",
            "",
            "",
            f"@straight_line(STEPS_{number})",
            f"def block_{number}({arguments}):",
            '    """Compiled from the steps above; this text is their meaning, and runs uncompiled."""',
        ]
        return ["", "", *head, *body]

    def _lanes(self, made: lanes.Lanes, depth: int) -> None:
        """Print the call of a loop over lanes; aside, one iteration of it under its data."""
        self.use("over_lanes", "run_lanes")
        self.blocks += 1
        number, totals = self.blocks, self.rename(f"totals_{self.blocks}") if made.sums else "None"
        given = [self.rename(name) for name in (*made.arrays, *made.scalars)]
        first = "0" if made.first is None else self.printer.text(made.first)
        index, comma = self.rename(made.index), "," if len(given) == 1 else ""
        many = self.printer.text(made.extent)
        if made.sums:
            self.use("np")
            self.line(depth, f"{totals} = np.zeros({len(made.sums)})")
        self.line(depth, f"run_lanes(block_{number}, {first}, {many}, {totals}, ({', '.join(given)}{comma}))")
        for at, name in enumerate(made.sums):
            target = self.rename(name)
            self.line(depth, f"{target} = {self.combined('sum', target, f'{totals}[{at}]')}")
        outer, self.lines = self.lines, []
        for name in made.sums:
            self.line(1, f"{self.rename(name)} = 0.0")
        self.body(made.statements, 1)
        for at, name in enumerate(made.sums):
            self.line(1, f"totals[{at}] += {self.rename(name)}")
        body, self.lines = self.lines, outer
        self.functions += [
            "",
            "",
            f"STEPS_{number} = (",
            *(f"    {step!r}," for step in lanes.finished_steps(made)),
            ")",
            "",
            "",
            f"@over_lanes(STEPS_{number})",
            f"def block_{number}({', '.join((index, 'totals', *given))}):",
            '    """One iteration, compiled from the steps above; this text is their meaning, and runs uncompiled."""',
            *body,
        ]

    def _tasks(self, tasks: Tasks, depth: int) -> None:
        """Print the call of tasks, and aside their function, unless an earlier one differs from it in names alone."""
        self.use("task", "run_tasks", "start_of")
        part, count, name = self.rename(tasks.part), self.printer.text(tasks.count), self.rename(tasks.name)
        extent, first = self.printer.text(tasks.extent), self.rename(tasks.first)
        given = [self.rename(used) for used in free_names(tasks)]
        outer, self.lines, self.beside = self.lines, [], count
        self.line(1, f"# One part of a loop over {extent}.")
        self.line(1, f"{first} = start_of({part}, {count}, {extent})")
        self.line(1, f"{self.rename(tasks.many)} = start_of({part} + 1, {count}, {extent}) - {first}")
        self.body(tasks.body, 1)
        body, self.lines, self.beside = self.lines, outer, ""
        head = f"{name}({', '.join((part, count, *given))})"
        code = (head.removeprefix(name), *(line for line in body if not line.lstrip().startswith("#")))
        equal = self.tasks.setdefault(_without_names("\n".join(code)), name) if self.share else name
        if equal is name:
            self.functions += ["", "", "@task", f"def {head}:", *body]
        work = self.printer.text(tasks.work)
        self.line(depth, f"run_tasks({', '.join((equal, count, work, *given))})")

    # --- statements -------------------------------------------------------------------------------------

    def statement(self, statement: Statement, depth: int) -> None:
        match statement:
            case Extent() | Let() | Carry() | Update() | Store() | AddTo():
                self.assign(statement, depth)
            case Require() | CheckIndices() | Parts():
                self.prepare(statement, depth)
            case For(index, extent, body):
                made = lanes.lanes(statement, self.ranks)
                if made is not None:
                    self._lanes(made, depth)
                    return
                self.inside(f"for {self.rename(index)} in range({self.printer.text(extent)})", body, depth)
            case Width() | Launch() | Share() | Stride() | When() | Barrier() | Combine():
                raise CompilerBug(f"{type(statement).__name__} is a statement of a device", stage="codegen")
            case _:
                self._whole(statement, depth)

    def _allocate(self, statement: Allocate, depth: int) -> None:
        make = "local" if statement.local else "zeros" if statement.zeroed else "empty"
        self.use("np")
        dtype = f", np.{numpy_name(statement.dtype)}"
        if all(isinstance(size, Number) for size in statement.shape) and not statement.local:
            make, dtype = f"np.{make}", "" if statement.dtype is DType.F64 else dtype
        else:
            self.use(make)
        self.line(depth, f"{self.rename(statement.tensor)} = {make}({self.shape(statement.shape)}{dtype})")
        if statement.local and statement.zeroed:
            self._clear(Clear(statement.tensor), depth)

    def _clear(self, statement: Clear, depth: int) -> None:
        rows = [self.printer.text(value) for value in expressions(statement)]
        if statement.unless:
            rows.append(repr(statement.unless))
        function = "clear_rows" if rows else "clear"
        self.use(function)
        self.line(depth, f"{function}({', '.join((self.rename(statement.tensor), *rows))})")

    def _product(self, statement: Product, depth: int) -> None:
        left, right = self.rename(statement.left), self.rename(statement.right)
        left += ".T" if statement.transpose_left else ""
        right += ".T" if statement.transpose_right else ""
        self.use("product")
        self.line(depth, f"{self.rename(statement.out)} = product({left}, {right})")

    def _whole(
        self, statement: Allocate | Clear | Tasks | Product | Contract | Library | Clock, depth: int
    ) -> None:
        match statement:
            case Allocate():
                self._allocate(statement, depth)
            case Clear():
                self._clear(statement, depth)
            case Tasks():
                self._tasks(statement, depth)
            case Product():
                self._product(statement, depth)
            case Contract():
                self.use("add_contraction" if statement.add else "contract")
                self.line(depth, contraction(statement, self.printer, self.rename, self.beside))
            case Library():
                self.line(depth, self.call(statement))
            case Clock(tensor, position):
                self.use("nanoseconds")
                self.line(depth, f"{self.rename(tensor)}[{position}] = nanoseconds()")
            case _:
                assert_never(statement)


def _float_arrays(kernel: Kernel) -> dict[str, int]:
    """The ranks of the float64 arrays of a kernel."""
    made = [statement for statement in every(kernel.body) if isinstance(statement, Allocate)]
    return {
        **{p.name: p.rank for p in kernel.parameters if p.rank and p.dtype is DType.F64},
        **{statement.tensor: len(statement.shape) for statement in made if statement.dtype is DType.F64},
    }


_BLOCK = re.compile(r"block_\d+")
_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*")


def _without_names(code: str) -> str:
    """Code with its own names replaced by numbers, in order of first use."""
    numbers: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        name = found[0]
        return (
            name
            if name in _RESERVED or _BLOCK.fullmatch(name)
            else numbers.setdefault(name, f"n{len(numbers)}")
        )

    return _NAME.sub(number, code)


def module_text(kernel: Kernel, *, share: bool = True) -> str:
    """Return the source of the module that defines `kernel`.

    With `share`, tasks that differ in names alone are one function, under the names and notes of the first:
    a deep network then compiles as fast as one of its layers.
    """
    return _Module(kernel, share).text()
