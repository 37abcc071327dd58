"""Kernel -> the text of a Python module that Numba compiles for CUDA.

Every launch is a function that one thread runs; the function of the kernel's name runs on the host, makes room on the
device and launches them.  Statements are preceded by the equation they compute.  Same kernel, same bytes.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Sequence

from gradc.codegen.numba_cpu import comment
from gradc.codegen.printer import CALLED, Printer
from gradc.errors import CompilerBug
from gradc.ir.extents import Size, symbol
from gradc.ir.functions import FUNCTIONS, SPECIAL
from gradc.ir.index.calls import CALLS
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Barrier,
    Carry,
    CheckIndices,
    Clear,
    Combine,
    Expr,
    Extent,
    For,
    Kernel,
    Launch,
    Let,
    Library,
    Load,
    Number,
    Parts,
    Require,
    Share,
    Statement,
    Store,
    Stride,
    Update,
    When,
    Width,
    var,
)
from gradc.ir.loop.walk import every, expressions, free_names, subexpressions
from gradc.ir.tensors import TensorType
from gradc.ir.types import DType

OPERATIONS = ("sum", "prod", "max", "min", "any", "all")

# Where the functions that a module calls come from: what is neither here nor built in is in `cuda_scalars`.
MODULES = {
    "cuda_backend": ("cuda",),
    "cuda_groups": tuple(f"group_{op}" for op in OPERATIONS),
    "cuda_host": (
        *("check_indices", "clear", "empty", "kernel", "launch"),
        *("parts_of", "scratch", "width_of", "zeros"),
    ),
    "cuda_library": tuple(CALLS),
    "cuda_numbers": ("number_of",),
    "cuda_special": tuple(sorted(SPECIAL)),
}
_MODULE_OF = {name: module for module, names in MODULES.items() for name in names}
_RESERVED = frozenset(
    (
        *keyword.kwlist,
        *keyword.softkwlist,
        *dir(builtins),
        *("np", "math", "larger", "smaller", *_MODULE_OF),
        *(name for function in FUNCTIONS.values() for name in CALLED.findall(function.kernel)),
    )
)

# How a value is combined into a total, and how tightly its text must bind.
_COMBINE = {
    "sum": ("{0} + {1}", 7),
    "prod": ("{0} * {1}", 8),
    "max": ("larger({0}, {1})", 0),
    "min": ("smaller({0}, {1})", 0),
    "any": ("{0} or {1}", 3),
    "all": ("{0} and {1}", 4),
}
_ON_INTEGERS = {"floor_divide": ("{} // {}", 7), "minimum": ("min({}, {})", 0), "maximum": ("max({}, {})", 0)}


class _Printer(Printer):
    """Expressions as Python text, with Python's own operators for indices."""

    def _spelled(self, expression: Apply) -> tuple[str, int]:
        if expression.dtype is DType.INT64 and expression.function in _ON_INTEGERS:
            spelling, strength = _ON_INTEGERS[expression.function]
            left, right = expression.arguments
            texts = (self.at(left, strength), self.at(right, strength + 1 if strength else 0))
            return spelling.format(*texts), strength or 10
        return super()._spelled(expression)


class _Module:
    """One module under construction."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.renamed: dict[str, str] = {}
        self.taken = set(_RESERVED)
        self.printer = _Printer(self.rename)
        self.lines: list[str] = []
        self.functions: list[str] = []
        self.kinds = _kinds(kernel)
        self.groups: dict[
            DType, str
        ] = {}  # the arrays in which the groups of a launch combine, by their dtype
        self.dtypes: dict[str, DType] = {}  # of the numbers of a launch

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
        for statement in self.kernel.body:
            self._on_host(statement)
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
        names = sorted(n for n in used if "." not in n and n != "np" and not hasattr(builtins, n))
        imports = ["import numpy as np"] if "np" in used else []
        for module in sorted({_MODULE_OF.get(name, "cuda_scalars") for name in names}):
            found = ", ".join(name for name in names if _MODULE_OF.get(name, "cuda_scalars") == module)
            imports.append(f"from gradc_runtime.{module} import {found}")
        return [*lines, "", *imports] if imports else lines

    def _line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def _use(self, *names: str) -> None:
        self.printer.used.update(dict.fromkeys(names))

    # --- launches ---------------------------------------------------------------------------------------

    def _launch(self, launch: Launch, depth: int) -> None:
        """Print a launch, and aside the function of a thread."""
        self._use("launch", "kernel", "cuda")
        given = free_names(launch)
        name = self.rename(launch.name)
        arguments = ", ".join(map(self.rename, given))
        blocks = self.printer.text(launch.blocks)
        outer, self.lines, self.groups = self.lines, [], {}
        read = {part for s in every(launch.body) for e in expressions(s) for part in subexpressions(e)}
        for index, where in ((launch.block, "blockIdx"), (launch.thread, "threadIdx")):
            if var(index) in read:
                self._line(1, f"{self.rename(index)} = cuda.{where}.x")
        self._groups(launch)
        self._body(launch.body, 1)
        body, self.lines = self.lines, outer
        signature = ", ".join(self.kinds[name] for name in given)
        self.functions += ["", "", f'@kernel("{signature}")', f"def {name}({arguments}):", *body]
        self._line(
            depth, f"launch({', '.join((name, blocks, str(launch.threads), *map(self.rename, given)))})"
        )

    def _groups(self, launch: Launch) -> None:
        """Make the shared arrays in which the threads of a block combine numbers."""
        dtypes = {s.name: s.value.dtype for s in every(launch.body) if isinstance(s, Let)}
        combined = [s for s in every(launch.body) if isinstance(s, Combine)]
        for dtype in dict.fromkeys(dtypes[statement.name] for statement in combined):
            self._use("np")
            name = self.groups[dtype] = self.rename(f"group_{dtype.short}")
            self._line(1, f"{name} = cuda.shared.array({launch.threads}, np.{_numpy_name(dtype)})")
        self.dtypes = dtypes

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

    def _statement(self, statement: Statement, depth: int) -> None:
        match statement:
            case Extent(name, value) | Let(name, value) | Carry(name, value):
                self._line(depth, f"{self.rename(name)} = {self.printer.text(value)}")
            case Update(name, op, value):
                target = self.rename(name)
                self._line(depth, f"{target} = {self._combined(op, target, value)}")
            case Store() | AddTo():
                self._write(statement, depth)
            case For(index, extent, body):
                self._line(depth, f"for {self.rename(index)} in range({self.printer.text(extent)}):")
                self._body(body, depth + 1)
            case Stride(index, first, extent, step, body):
                bounds = ", ".join(self.printer.text(value) for value in (first, extent, step))
                self._line(depth, f"for {self.rename(index)} in range({bounds}):")
                self._body(body, depth + 1)
            case When(condition, body):
                self._line(depth, f"if {self.printer.text(condition)}:")
                self._body(body, depth + 1)
            case _:
                self._of_block(statement, depth)

    def _of_block(self, statement: Statement, depth: int) -> None:
        """Statements about what the threads of a block have in common, or each for itself."""
        match statement:
            case Barrier():
                self._line(depth, "cuda.syncthreads()")
            case Combine(name, op, width):
                self._use(f"group_{op}")
                target, scratch = self.rename(name), self.groups[self.dtypes[name]]
                self._line(depth, f"{target} = group_{op}({scratch}, {target}, {self.printer.text(width)})")
            case Share(tensor, dtype, shape):
                self._array("shared", tensor, dtype, shape, depth)
            case Allocate(tensor, dtype, shape, local=True):
                sizes = [int(size.value) for size in shape if isinstance(size, Number)]
                self._array("local", tensor, dtype, sizes, depth)
            case _:
                raise CompilerBug(f"{type(statement).__name__} is no statement of a thread", stage="codegen")

    def _on_host(self, statement: Statement, depth: int = 1) -> None:
        match statement:
            case Launch():
                self._launch(statement, depth)
            case Let(name, Load(tensor)):
                self._use("number_of")
                self._line(depth, f"{self.rename(name)} = number_of({self.rename(tensor)})")
            case Allocate(tensor, dtype, shape, zeroed):
                self._allocate(tensor, dtype, shape, zeroed, depth)
            case Clear(tensor):
                self._use("clear")
                given = ", ".join((self.rename(tensor), *map(self.printer.text, expressions(statement))))
                self._line(depth, f"clear({given})")
            case Require(condition, message):
                self._line(depth, f"if not ({self.printer.text(condition)}):")
                self._line(depth + 1, f"raise ValueError({comment(message)!r})")
            case CheckIndices(tensor, extent):
                self._use("check_indices")
                self._line(depth, f"check_indices({self.rename(tensor)}, {self.printer.text(extent)})")
            case Parts(name, extent, work, size):
                self._use("parts_of")
                given = ", ".join(self.printer.text(value) for value in (extent, work, size))
                self._line(depth, f"{self.rename(name)} = parts_of({given})")
            case Width(name, extent, most):
                self._use("width_of")
                self._line(depth, f"{self.rename(name)} = width_of({self.printer.text(extent)}, {most})")
            case Library():
                self._library(statement, depth)
            case _:
                self._statement(statement, depth)

    def _write(self, statement: Store | AddTo, depth: int) -> None:
        places = ", ".join(self.printer.text(index) for index in statement.indices)
        element, value = f"{self.rename(statement.tensor)}[{places}]", statement.value
        if isinstance(statement, Store):
            self._line(depth, f"{element} = {self.printer.text(value)}")
        elif statement.op == "sum":
            self._line(depth, f"{element} += {self.printer.text(value)}")
        else:
            self._line(depth, f"{element} = {self._combined(statement.op, element, value)}")

    def _combined(self, op: str, target: str, value: Expr) -> str:
        spelling, strength = _COMBINE[op]
        self._use(*CALLED.findall(spelling))
        return self.printer.wrapped(
            spelling.format(target, self.printer.at(value, strength)), op, value.dtype
        )

    def _array(self, where: str, tensor: str, dtype: DType, shape: Sequence[int], depth: int) -> None:
        self._use("np")
        size = str(shape[0]) if len(shape) == 1 else str(tuple(shape))
        array = f"cuda.{where}.array({size}, np.{_numpy_name(dtype)})"
        self._line(depth, f"{self.rename(tensor)} = {array}")

    def _allocate(self, tensor: str, dtype: DType, shape: Sequence[Expr], zeroed: bool, depth: int) -> None:
        """Make an array: a result is a new one, a temporary comes out of the workspace."""
        is_result = tensor in self.kernel.results
        make = "scratch" if not is_result else "zeros" if zeroed else "empty"
        self._use("np", make)
        sizes = ", ".join(self.printer.text(size) for size in shape) + ("," if len(shape) == 1 else "")
        self._line(depth, f"{self.rename(tensor)} = {make}(({sizes}), np.{_numpy_name(dtype)})")
        if zeroed and not is_result:
            self._use("clear")
            self._line(depth, f"clear({self.rename(tensor)})")

    def _library(self, statement: Library, depth: int) -> None:
        outs = ", ".join(self.rename(name) for name in statement.outs)
        arguments = [self.rename(name) for name in statement.ins]
        for _, value in statement.attributes:
            if isinstance(value, tuple):
                comma = "," if len(value) == 1 else ""
                arguments.append(f"({', '.join(self.printer.text(size) for size in value)}{comma})")
            else:
                arguments.append(repr(value))
        if statement.operation == "reshape" and not _may_change(self.kernel, statement):
            arguments.append("view=True")
        self._use(statement.operation)
        self._line(depth, f"{outs} = {statement.operation}({', '.join(arguments)})")
        for name in statement.outs:
            if "[" not in self.kinds[name]:
                self._use("number_of")
                self._line(depth, f"{self.rename(name)} = number_of({self.rename(name)})")


def _may_change(kernel: Kernel, statement: Library) -> bool:
    """Whether a view would show what is written to an array later, or be a result that the caller changes."""
    updated = any(parameter.updated for parameter in kernel.parameters)
    return updated or bool({*statement.outs, *statement.ins} & {*kernel.results})


def _kinds(kernel: Kernel) -> dict[str, str]:
    """What every name of the host is to Numba: ``float32[:, ::1]``, ``int64``."""
    types = {p.name: TensorType(p.dtype, _axes(p.rank)) for p in kernel.parameters}
    for statement in kernel.body:
        match statement:
            case Allocate(tensor, dtype, shape):
                types[tensor] = TensorType(dtype, _axes(len(shape)))
            case Extent(name) | Parts(name) | Width(name):
                types[name] = TensorType(DType.INT64, ())
            case Let(name, value):
                types[name] = TensorType(value.dtype, ())
            case Library():
                ins = tuple(types[name] for name in statement.ins)
                results = CALLS[statement.operation].infer(ins, dict(statement.attributes))  # pyright: ignore[reportArgumentType]  # of shapes only the length counts here
                types.update(zip(statement.outs, results, strict=True))
            case _:
                pass
    return {name: _kind(type_.dtype, len(type_.shape)) for name, type_ in types.items()}


def _axes(rank: int) -> tuple[Size, ...]:
    return tuple(symbol(f"axis_{axis}") for axis in range(rank))


def _kind(dtype: DType, rank: int) -> str:
    name = "boolean" if dtype is DType.BOOL else dtype.value
    return f"{name}[{', '.join([':'] * (rank - 1) + ['::1'])}]" if rank else name


def _numpy_name(dtype: DType) -> str:
    return "bool_" if dtype is DType.BOOL else dtype.value


def module_text(kernel: Kernel) -> str:
    """Return the source of the module that defines `kernel`, of which all loops are launches."""
    return _Module(kernel).text()
