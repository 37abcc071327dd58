"""What the modules of all targets have in common: names, heads, results, and statements about single elements."""

from __future__ import annotations

import builtins
import keyword
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import assert_never

from gradc.codegen.printer import CALLED, Printer
from gradc.ir.functions import FUNCTIONS
from gradc.ir.loop.nodes import (
    AddTo,
    Carry,
    CheckIndices,
    Expr,
    Extent,
    Kernel,
    Let,
    Library,
    Parts,
    Require,
    Statement,
    Store,
    Update,
)
from gradc.ir.types import DType

_OTHER = re.compile(r"[^ -~]")  # what is not printable ASCII

# How a value is combined into a total, and how tightly its text must bind.
COMBINE: Mapping[str, tuple[str, int]] = {
    "sum": ("{0} + {1}", 7),
    "prod": ("{0} * {1}", 8),
    "max": ("larger({0}, {1})", 0),
    "min": ("smaller({0}, {1})", 0),
    "any": ("{0} or {1}", 3),
    "all": ("{0} and {1}", 4),
}


def reserved(*names: str) -> frozenset[str]:
    """Return the names that nothing in a module may have: Python's, those of functions in kernels, and `names`."""
    functions = (name for function in FUNCTIONS.values() for name in CALLED.findall(function.kernel))
    return frozenset((*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "math", *names, *functions))


class Module(ABC):
    """A module under construction; a target says how statements are printed that not every one has.

    `combine` is how its functions combine numbers, `modules` where in the runtime a function is, `usual` where one is
    that `modules` lacks.
    """

    combine = COMBINE
    modules: Mapping[str, str] = {}
    usual = ""

    def __init__(self, kernel: Kernel, taken: Collection[str]) -> None:
        self.kernel = kernel
        self.renamed: dict[str, str] = {}
        self.taken = set(taken)
        self.printer = Printer(self.rename)
        self.lines: list[str] = []
        self.functions: list[str] = []  # the lines of the functions that the kernel's own calls

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
        """The whole module."""
        parameters = ", ".join(self.rename(parameter.name) for parameter in self.kernel.parameters)
        self.print_kernel()
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

    def print_kernel(self) -> None:
        """Print the body of the kernel to `lines`, and to `functions` what it calls."""
        self.body(self.kernel.body, 1)

    @abstractmethod
    def statement(self, statement: Statement, depth: int) -> None:
        """Print one statement."""

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
        for module in sorted({self.modules.get(name, self.usual) for name in names}):
            found = ", ".join(name for name in names if self.modules.get(name, self.usual) == module)
            imports.append(f"from gradc_runtime.{module} import {found}")
        return [*lines, "", *imports] if imports else lines

    # --- statements -------------------------------------------------------------------------------------

    def use(self, *names: str) -> None:
        """Import functions."""
        self.printer.used.update(dict.fromkeys(names))

    def line(self, depth: int, text: str) -> None:
        """Add a line."""
        self.lines.append("    " * depth + text)

    def body(self, statements: Sequence[Statement], depth: int) -> None:
        """Print statements; a note that several statements share is printed once."""
        last = ""
        for statement in statements:
            note = getattr(statement, "note", "")
            if note and note != last:
                self.line(depth, f"# {comment(note)}")
                last = note
            self.statement(statement, depth)

    def assign(self, statement: Extent | Let | Carry | Update | Store | AddTo, depth: int) -> None:
        """Print what a number or an element becomes."""
        match statement:
            case Extent(name, value) | Let(name, value) | Carry(name, value):
                text = f"{self.rename(name)} = {self.printer.text(value)}"
            case Store(tensor, indices, value):
                text = f"{self.element(tensor, indices)} = {self.printer.text(value)}"
            case AddTo(tensor, indices, "sum", value) if not self.is_contraction(statement):
                text = f"{self.element(tensor, indices)} += {self.printer.text(value)}"
            case AddTo(tensor, indices, op, value):
                target = self.element(tensor, indices)
                text = f"{target} = {self.combined(op, target, value)}"
            case Update(name, op, value):
                target = self.rename(name)
                text = f"{target} = {self.combined(op, target, value)}"
            case _:
                assert_never(statement)
        self.line(depth, text)

    def is_contraction(self, statement: AddTo) -> bool:
        """Whether a product is added to the sum of a contraction, as `combined` prints it."""
        return False

    def prepare(self, statement: Require | CheckIndices | Parts, depth: int) -> None:
        """Print what comes before loops: that arguments fit, and how many parts a loop has."""
        match statement:
            case Require(condition, message):
                self.line(depth, f"if not ({self.printer.text(condition)}):")
                self.line(depth + 1, f"raise ValueError({comment(message)!r})")
            case CheckIndices(tensor, extent):
                self.use("check_indices")
                self.line(depth, f"check_indices({self.rename(tensor)}, {self.printer.text(extent)})")
            case Parts(name, extent, work, size):
                self.use("parts_of")
                given = ", ".join(self.printer.text(value) for value in (extent, work, size))
                self.line(depth, f"{self.rename(name)} = parts_of({given})")
            case _:
                assert_never(statement)

    def inside(self, head: str, body: Sequence[Statement], depth: int) -> None:
        """Print a statement with a body."""
        self.line(depth, f"{head}:")
        self.body(body, depth + 1)

    def element(self, tensor: str, indices: Sequence[Expr]) -> str:
        """``x[i, j]``."""
        return f"{self.rename(tensor)}[{', '.join(self.printer.text(index) for index in indices)}]"

    def combined(self, op: str, target: str, value: Expr | str) -> str:
        """A total with one more value in it."""
        spelling, strength = self.combine[op]
        self.use(*CALLED.findall(spelling))
        if isinstance(value, str):
            return spelling.format(target, value)
        return self.printer.wrapped(
            spelling.format(target, self.printer.at(value, strength)), op, value.dtype
        )

    def call(self, statement: Library, *more: str) -> str:
        """``solve(a, b)``, and the names of its results."""
        arguments = [self.rename(name) for name in statement.ins]
        for _, value in statement.attributes:
            arguments.append(self.shape(value) if isinstance(value, tuple) else repr(value))
        self.use(statement.operation)
        outs = ", ".join(self.rename(name) for name in statement.outs)
        return f"{outs} = {statement.operation}({', '.join((*arguments, *more))})"

    def shape(self, sizes: Sequence[Expr]) -> str:
        """``(n, 3)``, ``(n,)``."""
        comma = "," if len(sizes) == 1 else ""
        return f"({', '.join(self.printer.text(size) for size in sizes)}{comma})"


def numpy_name(dtype: DType) -> str:
    """The name of a dtype in NumPy."""
    return "bool_" if dtype is DType.BOOL else dtype.value


def comment(text: str) -> str:
    """Printable ASCII on one line: what goes into a comment or a docstring of a generated module."""
    return _OTHER.sub("?", text).replace('"""', "'''")
