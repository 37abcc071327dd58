"""Kernel -> the text of a Python module that Numba compiles for the CPU.

The module is plain Python over NumPy arrays: without a compiler it runs too, only slowly.  Statements are
preceded by the equation they compute.  Same kernel, same bytes.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Sequence
from typing import assert_never

from gradc.codegen import lanes
from gradc.codegen.blocks import Block, finished_steps, split
from gradc.codegen.contractions import contraction
from gradc.codegen.printer import CALLED, Printer
from gradc.errors import CompilerBug
from gradc.ir.functions import FUNCTIONS, SPECIAL
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
    Expr,
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
_RESERVED = frozenset(
    (
        *keyword.kwlist,
        *keyword.softkwlist,
        *dir(builtins),
        *("np", "math", "workspace", "totals", *_MODULE_OF),
        *(name for function in FUNCTIONS.values() for name in CALLED.findall(function.kernel)),
    )
)

# How a value is combined into a total, and how tightly its text must bind.
_COMBINE = {
    "sum": ("plus({0}, {1})", 0),
    "prod": ("{0} * {1}", 8),
    "max": ("larger({0}, {1})", 0),
    "min": ("smaller({0}, {1})", 0),
    "any": ("{0} or {1}", 3),
    "all": ("{0} and {1}", 4),
}


class _Module:
    """One module under construction."""

    def __init__(self, kernel: Kernel, share: bool) -> None:
        self.kernel = kernel
        self.share = share
        self.tasks: dict[str, str] = {}  # the functions of tasks, by their text without names
        self.renamed: dict[str, str] = {}
        self.taken = set(_RESERVED)
        self.printer = Printer(self.rename)
        self.lines: list[str] = []
        self.blocks = 0
        self.beside = ""  # how many parts run beside the one that is printed
        self.ranks = _float_arrays(kernel)
        self.functions: list[str] = []  # the lines of the functions that long blocks and tasks become

    def rename(self, name: str) -> str:
        """Return a name that shadows nothing the module uses."""
        head, dot, rest = name.partition(".")
        found = self.renamed.get(head)
        if found is None:
            found = head
            while found in self.taken:
                found += "_"
            self.taken.add(found)
            self.renamed[head] = found
        return found + dot + rest

    def text(self) -> str:
        parameters = ", ".join(self.rename(parameter.name) for parameter in self.kernel.parameters)
        self._parts()
        results = self._results()
        parts = [
            *self._head(),
            *self.functions,
            "",
            "",
            f"def {self.kernel.name}({parameters}):",
            *self.lines,
        ]
        return "\n".join((*parts, f"    return {results}")) + "\n"

    def _results(self) -> str:
        """What the function returns, gradients as a tuple of their own."""
        names = [self.rename(name) for name in self.kernel.results]
        if self.kernel.nested > 1:
            inner = ", ".join(names[-self.kernel.nested :])
            names = [*names[: -self.kernel.nested], f"({inner})"]
        return f"({names[0]},)" if len(names) == 1 else ", ".join(names) or "()"

    def _head(self) -> list[str]:
        quoted = [comment(line).replace("\\", "\\\\") for line in self.kernel.header or (self.kernel.name,)]
        lines = ['"""' + quoted[0], *quoted[1:], '"""']
        used = self.printer.used
        if any(name.startswith("math.") for name in used):
            lines += ["", "import math"]
        names = sorted(
            name for name in used if "." not in name and name != "np" and not hasattr(builtins, name)
        )
        imports = ["import numpy as np"] if "np" in used else []
        for module in sorted({_MODULE_OF.get(name, "scalars") for name in names}):
            found = ", ".join(name for name in names if _MODULE_OF.get(name, "scalars") == module)
            imports.append(f"from gradc_runtime.{module} import {found}")
        return [*lines, "", *imports] if imports else lines

    # --- blocks -----------------------------------------------------------------------------------------

    def _parts(self) -> None:
        """Print the body, and aside the functions that long scalar blocks and tasks become."""
        parts = split(self.kernel)
        blocks = [part for part in parts if isinstance(part, Block)]
        self.blocks = len(blocks)
        if not blocks:
            self._body(self.kernel.body, 1)
            return
        self.printer.used["straight_line"] = self.printer.used["np"] = None
        self._line(1, f"workspace = np.empty({max(1, sum(len(block.kept) for block in blocks))})")
        run: list[Statement] = []
        for part in parts:
            if isinstance(part, Block):
                self._body(run, 1)
                run = []
                self.functions += self._block(part, blocks.index(part) + 1)
            else:
                run.append(part)
        self._body(run, 1)

    def _block(self, block: Block, number: int) -> list[str]:
        """Print the call of a block; returns its function: readable statements under their data."""
        arguments = ", ".join((*(self.rename(name) for name in (*block.arrays, *block.scalars)), "workspace"))
        self._line(1, f"block_{number}({arguments})")
        for name in block.used:
            self._line(1, f"{self.rename(name)} = workspace[{block.kept[name]}]")
        outer, self.lines = self.lines, []
        for name, slot in block.given.items():
            self._line(1, f"{self.rename(name)} = workspace[{slot}]")
        self._body(block.statements, 1)
        for name, slot in block.kept.items():
            self._line(1, f"workspace[{slot}] = {self.rename(name)}")
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
        self.printer.used.update(dict.fromkeys(("over_lanes", "run_lanes", "np")))
        self.blocks += 1
        number, totals = self.blocks, self.rename(f"totals_{self.blocks}")
        given = [self.rename(name) for name in (*made.arrays, *made.scalars)]
        first = "0" if made.first is None else self.printer.text(made.first)
        index, comma = self.rename(made.index), "," if len(given) == 1 else ""
        many = self.printer.text(made.extent)
        self._line(depth, f"{totals} = np.zeros({len(made.sums)})")
        self._line(
            depth, f"run_lanes(block_{number}, {first}, {many}, {totals}, ({', '.join(given)}{comma}))"
        )
        for at, name in enumerate(made.sums):
            target = self.rename(name)
            self._line(depth, f"{target} = {self._combined('sum', target, f'{totals}[{at}]')}")
        outer, self.lines = self.lines, []
        for name in made.sums:
            self._line(1, f"{self.rename(name)} = 0.0")
        self._body(made.statements, 1)
        for at, name in enumerate(made.sums):
            self._line(1, f"totals[{at}] += {self.rename(name)}")
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
        self.printer.used.update(dict.fromkeys(("task", "run_tasks", "start_of")))
        part, count, name = self.rename(tasks.part), self.printer.text(tasks.count), self.rename(tasks.name)
        extent, first = self.printer.text(tasks.extent), self.rename(tasks.first)
        given = [self.rename(used) for used in free_names(tasks)]
        outer, self.lines, self.beside = self.lines, [], count
        self._line(1, f"# One part of a loop over {extent}.")
        self._line(1, f"{first} = start_of({part}, {count}, {extent})")
        self._line(1, f"{self.rename(tasks.many)} = start_of({part} + 1, {count}, {extent}) - {first}")
        self._body(tasks.body, 1)
        body, self.lines, self.beside = self.lines, outer, ""
        head = f"{name}({', '.join((part, count, *given))})"
        code = (head.removeprefix(name), *(line for line in body if not line.lstrip().startswith("#")))
        equal = self.tasks.setdefault(_without_names("\n".join(code)), name) if self.share else name
        if equal is name:
            self.functions += ["", "", "@task", f"def {head}:", *body]
        work = self.printer.text(tasks.work)
        self._line(depth, f"run_tasks({', '.join((equal, count, work, *given))})")

    # --- statements -------------------------------------------------------------------------------------

    def _body(self, statements: Sequence[Statement], depth: int) -> None:
        """Print statements; a note that several statements share is printed once."""
        last = ""
        for statement in statements:
            note = getattr(statement, "note", "")
            if note and note != last:
                self._line(depth, f"# {comment(note)}")
                last = note
            self._statement(statement, depth)

    def _line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def _statement(self, statement: Statement, depth: int) -> None:
        match statement:
            case Extent(name, value) | Let(name, value) | Carry(name, value):
                self._line(depth, f"{self.rename(name)} = {self.printer.text(value)}")
            case Require(condition, message):
                self._line(depth, f"if not ({self.printer.text(condition)}):")
                self._line(depth + 1, f"raise ValueError({comment(message)!r})")
            case CheckIndices(tensor, extent):
                self.printer.used["check_indices"] = None
                self._line(depth, f"check_indices({self.rename(tensor)}, {self.printer.text(extent)})")
            case Update(name, op, value):
                target = self.rename(name)
                self._line(depth, f"{target} = {self._combined(op, target, value)}")
            case Store() | AddTo():
                self._write(statement, depth)
            case For(index, extent, body):
                made = lanes.lanes(statement, self.ranks)
                if made is not None:
                    self._lanes(made, depth)
                    return
                self._line(depth, f"for {self.rename(index)} in range({self.printer.text(extent)}):")
                self._body(body, depth + 1)
            case Width() | Launch() | Share() | Stride() | When() | Barrier() | Combine():
                raise CompilerBug(f"{type(statement).__name__} is a statement of a device", stage="codegen")
            case _:
                self._whole(statement, depth)

    def _write(self, statement: Store | AddTo, depth: int) -> None:
        element, value = self._element(statement.tensor, statement.indices), statement.value
        if isinstance(statement, Store):
            self._line(depth, f"{element} = {self.printer.text(value)}")
        elif statement.op == "sum":
            self._line(depth, f"{element} += {self.printer.text(value)}")
        else:
            self._line(depth, f"{element} = {self._combined(statement.op, element, value)}")

    def _combined(self, op: str, target: str, value: Expr | str) -> str:
        spelling, strength = _COMBINE[op]
        self.printer.used.update(dict.fromkeys(CALLED.findall(spelling)))
        if isinstance(value, str):
            return spelling.format(target, value)
        return self.printer.wrapped(
            spelling.format(target, self.printer.at(value, strength)), op, value.dtype
        )

    def _allocate(self, statement: Allocate, depth: int) -> None:
        shape = ", ".join(self.printer.text(size) for size in statement.shape)
        comma = "," if len(statement.shape) == 1 else ""
        make = "local" if statement.local else "zeros" if statement.zeroed else "empty"
        self.printer.used["np"] = None
        dtype = f", np.{_numpy_name(statement.dtype.value)}"
        if all(isinstance(size, Number) for size in statement.shape) and not statement.local:
            make, dtype = f"np.{make}", "" if statement.dtype.value == "float64" else dtype
        else:
            self.printer.used[make] = None
        self._line(depth, f"{self.rename(statement.tensor)} = {make}(({shape}{comma}){dtype})")
        if statement.local and statement.zeroed:
            self._clear(Clear(statement.tensor), depth)

    def _clear(self, statement: Clear, depth: int) -> None:
        rows = [self.printer.text(value) for value in expressions(statement)]
        function = "clear_rows" if rows else "clear"
        self.printer.used[function] = None
        self._line(depth, f"{function}({', '.join((self.rename(statement.tensor), *rows))})")

    def _element(self, tensor: str, indices: Sequence[Expr]) -> str:
        return f"{self.rename(tensor)}[{', '.join(self.printer.text(index) for index in indices)}]"

    def _product(self, statement: Product, depth: int) -> None:
        left, right = self.rename(statement.left), self.rename(statement.right)
        left += ".T" if statement.transpose_left else ""
        right += ".T" if statement.transpose_right else ""
        self.printer.used["product"] = None
        self._line(depth, f"{self.rename(statement.out)} = product({left}, {right})")

    def _whole(
        self, statement: Allocate | Clear | Parts | Tasks | Product | Contract | Library | Clock, depth: int
    ) -> None:
        match statement:
            case Allocate():
                self._allocate(statement, depth)
            case Clear():
                self._clear(statement, depth)
            case Parts(name, extent, work, size):
                self.printer.used["parts_of"] = None
                given = ", ".join(self.printer.text(value) for value in (extent, work, size))
                self._line(depth, f"{self.rename(name)} = parts_of({given})")
            case Tasks():
                self._tasks(statement, depth)
            case Product():
                self._product(statement, depth)
            case Contract():
                self.printer.used["add_contraction" if statement.add else "contract"] = None
                self._line(depth, contraction(statement, self.printer, self.rename, self.beside))
            case Library():
                self._library(statement, depth)
            case Clock(tensor, position):
                self.printer.used["nanoseconds"] = None
                self._line(depth, f"{self.rename(tensor)}[{position}] = nanoseconds()")
            case _:
                assert_never(statement)

    def _library(self, statement: Library, depth: int) -> None:
        outs = ", ".join(self.rename(name) for name in statement.outs)
        arguments = [self.rename(name) for name in statement.ins]
        for _, value in statement.attributes:
            if isinstance(value, tuple):
                comma = "," if len(value) == 1 else ""
                arguments.append(f"({', '.join(self.printer.text(size) for size in value)}{comma})")
            else:
                arguments.append(repr(value))
        self.printer.used[statement.operation] = None
        self._line(depth, f"{outs} = {statement.operation}({', '.join(arguments)})")


def _float_arrays(kernel: Kernel) -> dict[str, int]:
    """The ranks of the float64 arrays of a kernel."""
    made = [statement for statement in every(kernel.body) if isinstance(statement, Allocate)]
    return {
        **{p.name: p.rank for p in kernel.parameters if p.rank and p.dtype is DType.F64},
        **{statement.tensor: len(statement.shape) for statement in made if statement.dtype is DType.F64},
    }


def _numpy_name(dtype: str) -> str:
    return "bool_" if dtype == "bool" else dtype


def comment(text: str) -> str:
    """Printable ASCII on one line: what goes into a comment or a docstring of a generated module."""
    return "".join(character if " " <= character <= "~" else "?" for character in text).replace('"""', "'''")


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
