"""Finding the launch plan of a kernel for a GPU (`gradc.explain.kernels.launch_plan`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gradc.explain.kernels.launch_plan import BANDWIDTH, Choice, Plan, Step
from gradc.explain.kernels.ptx import translated
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.loop.count import count
from gradc.ir.loop.footprint import footprint
from gradc.ir.loop.nodes import (
    Allocate,
    Apply,
    CheckIndices,
    Clear,
    Contract,
    Expr,
    Extent,
    Kernel,
    Launch,
    Library,
    Load,
    Number,
    Parts,
    Statement,
    Var,
    Width,
)
from gradc.ir.loop.runs import value_of
from gradc.ir.loop.show import show_expression
from gradc.ir.loop.sizes import numbers_of, types_of
from gradc.ir.loop.walk import subexpressions
from gradc.ir.stages import Stages
from gradc.ir.tensors import TensorType

LONGEST = 48  # characters of a formula
WAITING = ("cholesky", "external", "inv", "solve", "solve_triangular")  # operations of the library that wait


def plan(stages: Stages, arguments: Mapping[str, Any], bandwidth: float = BANDWIDTH) -> Plan:
    """Find what the host does for arguments of these shapes.

    Parameters
    ----------
    stages : Stages
        Of a compilation for a GPU.
    arguments : mapping of name to array or number
        One for every parameter; of arrays only the shapes count.
    bandwidth : float
        GB/s.

    Raises
    ------
    DeviceError
        The package for CUDA is not installed: it decides how loops are cut.
    """
    kernel = stages.kernel
    with translated(stages):
        from gradc_runtime.cuda_host import parts_of, width_of  # noqa: PLC0415  (the compiler for CUDA)
    numbers = numbers_of(kernel, arguments, parts_of, width_of)
    types = types_of(kernel)
    known = _Known(kernel, types, numbers)
    steps = [step for statement in kernel.body for step in known.steps(statement)]
    given = [p.name for p in kernel.parameters if p.rank]
    back = [*dict.fromkeys(kernel.results), *(p.name for p in kernel.parameters if p.written)]
    before = [Step("copy in", ", ".join(given), written=known.bytes(given))] if given else []
    behind = [Step("copy back", ", ".join(back), read=known.bytes(back), waits=True)] if back else []
    temporaries = known.temporaries()
    size: Size = 0
    for name in temporaries:
        size = extents.add(size, known.size(name))
    known.used.update(dict.fromkeys(extents.symbols(size)))
    return Plan(
        kernel.name,
        (*before, *steps, *behind),
        known.sizes(),
        known.choices(),
        known.bytes(given),
        known.bytes(dict.fromkeys(kernel.results)),
        known.bytes(temporaries),
        len(temporaries),
        extents.show(size),
        bandwidth,
    )


def grids(stages: Stages) -> dict[str, str]:
    """How many blocks every launch has, as a formula in the extents and in what the host chooses."""
    meanings = _meanings(stages.kernel)
    launches = (statement for statement in stages.kernel.body if isinstance(statement, Launch))
    return {launch.name: show_formula(launch.blocks, meanings) for launch in launches}


def _meanings(kernel: Kernel) -> dict[str, Expr]:
    """The extents that are computed from others."""
    return {s.name: s.value for s in kernel.body if isinstance(s, Extent) and not isinstance(s.value, Load)}


class _Known:
    """A kernel with the types of its arrays and the values of its extents."""

    def __init__(self, kernel: Kernel, types: Mapping[str, TensorType], numbers: Mapping[str, int]) -> None:
        self.kernel = kernel
        self.types = types
        self.numbers = numbers
        self.meanings = _meanings(kernel)
        self.used: dict[str, None] = {}  # names in formulas

    # --- sizes ------------------------------------------------------------------------------------------

    def size(self, name: str) -> Size:
        type_ = self.types[name]
        return extents.mul(type_.dtype.numpy.itemsize, extents.product(type_.shape))

    def bytes(self, names: Iterable[str]) -> int:
        return sum(extents.evaluate(self.size(name), self.numbers) for name in names if name in self.types)

    def temporaries(self) -> list[str]:
        """The arrays that a call makes and does not return."""
        found: list[str] = []
        for statement in self.kernel.body:
            match statement:
                case Allocate(tensor):
                    found.append(tensor)
                case Library(outs):
                    found += outs
                case _:
                    pass
        return [name for name in found if name not in self.kernel.results]

    def sizes(self) -> dict[str, int]:
        bound = (s for s in self.kernel.body if isinstance(s, Extent) and isinstance(s.value, Load))
        return {extent.name: self.numbers[extent.name] for extent in bound}

    def choices(self) -> tuple[Choice, ...]:
        """What names in formulas stand for that are no extents of arguments, in order."""
        found: list[Choice] = []
        for statement in reversed(self.kernel.body):  # what one stands for names what stands before it
            match statement:
                case Parts(name, extent) if name in self.used:
                    what = f"parts of a loop over {self.formula(extent)}"
                case Width(name, extent) if name in self.used:
                    what = f"threads that share a row of {self.formula(extent)}"
                case Extent(name, value) if name in self.used and name in self.meanings:
                    what = self.formula(value)
                case _:
                    continue
            found.append(Choice(name, self.numbers[name], what))
        return tuple(reversed(found))

    # --- steps ------------------------------------------------------------------------------------------

    def steps(self, statement: Statement) -> Iterator[Step]:
        match statement:
            case Launch(name, blocks=blocks, threads=threads):
                yield self.launch(statement, name, blocks, threads)
            case Allocate(tensor, zeroed=True) | Clear(tensor):
                yield Step("clear", tensor, written=self.touched(statement)[1])
            case CheckIndices(tensor):
                yield Step("check", tensor, read=self.bytes([tensor]), waits=True)
            case Library(outs, operation):
                read, written = self.touched(statement)
                name, waits = f"{operation} {', '.join(outs)}", operation in WAITING
                operations = self.operations(statement)
                yield Step("library", name, read=read, written=written, operations=operations, waits=waits)
            case Contract(out):
                read, written = self.touched(statement)
                operations = self.operations(statement)
                yield Step("library", f"cuBLAS {out}", read=read, written=written, operations=operations)
            case _:
                return

    def launch(self, launch: Launch, name: str, blocks: Expr, threads: int) -> Step:
        many = int(value_of(blocks, self.numbers))
        read, written = self.touched(launch)
        operations = self.operations(launch)
        return Step("launch", name, self.formula(blocks), many, threads, read, written, operations)

    def touched(self, statement: Statement) -> tuple[int, int]:
        """Bytes that a statement reads and writes."""
        found = footprint((statement,), self.types, self.numbers)
        read, written = (
            sum(many * self.types[name].dtype.numpy.itemsize for name, many in elements.items())
            for elements in (found.read, found.written)
        )
        return read, written

    def operations(self, statement: Statement) -> int:
        """Weighted operations of a statement."""
        return extents.evaluate(count((statement,), self.types).operations, self.numbers)

    # --- formulas ---------------------------------------------------------------------------------------

    def formula(self, expression: Expr) -> str:
        """Show an extent in the extents of the arguments and in what the host chooses, or else by the next names."""
        text, meanings = show_formula(expression, self.meanings), self.meanings
        if len(text) > LONGEST:
            expression, meanings = _resolved(expression, meanings), {}
            text = show_formula(expression, meanings)
        self.used.update(dict.fromkeys(_names(expression, meanings)))
        return text


def _resolved(expression: Expr, meanings: Mapping[str, Expr]) -> Expr:
    return meanings.get(expression.name, expression) if isinstance(expression, Var) else expression


def _names(expression: Expr, meanings: Mapping[str, Expr]) -> Iterator[str]:
    """The names that the formula of an expression shows."""
    waiting = [expression]
    while waiting:
        for found in subexpressions(waiting.pop()):
            if isinstance(found, Var) and found.name in meanings:
                waiting.append(meanings[found.name])
            elif isinstance(found, Var):
                yield found.name


_SIGNS = {
    "add": (" + ", 1),
    "sub": (" - ", 1),
    "mul": ("*", 2),
    "le": (" <= ", 0),
    "lt": (" < ", 0),
    "eq": (" == ", 0),
}
_CALLED = {"minimum": "min", "maximum": "max"}


def show_formula(expression: Expr, meanings: Mapping[str, Expr], strength: int = 0) -> str:
    """Show an expression of whole numbers; of names the meanings, where they have some."""
    match expression:
        case Var(name) if name in meanings:
            return show_formula(meanings[name], meanings, strength)
        case Apply("floor_divide", (Apply("add", (many, Number(rest))), Number(size))) if rest == size - 1:
            return f"ceil({show_formula(many, meanings, 2)} / {size})"
        case Apply("floor_divide", (left, right)):
            return f"floor({show_formula(left, meanings, 2)} / {show_formula(right, meanings, 3)})"
        case Apply(function, arguments) if function in _CALLED:
            inner = ", ".join(show_formula(argument, meanings) for argument in arguments)
            return f"{_CALLED[function]}({inner})"
        case Apply(function, (left, right)) if function in _SIGNS:
            sign, own = _SIGNS[function]
            behind = own + (function == "sub")
            text = f"{show_formula(left, meanings, own)}{sign}{show_formula(right, meanings, behind)}"
            return f"({text})" if own < strength else text
        case Apply("select", (condition, yes, no)):
            arms = show_formula(yes, meanings), show_formula(no, meanings)
            text = f"{arms[0]} if {show_formula(condition, meanings)} else {arms[1]}"
            return f"({text})" if strength else text
        case _:
            return show_expression(expression)
