"""Kernel -> the text of a Python module that Numba compiles for CUDA.

Every launch is a function that one thread runs; the function of the kernel's name runs on the host, makes room on the
device and launches them.  Statements are preceded by the equation they compute.  Same kernel, same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from gradc.codegen.contractions import contraction
from gradc.codegen.module import Module, comment, numpy_name, reserved
from gradc.codegen.printer import Printer
from gradc.codegen.signs import Signs
from gradc.errors import CompilerBug
from gradc.ir.extents import Size, symbol
from gradc.ir.functions import SPECIAL
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
    Contract,
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

MANY = 256  # bytes of an array of a thread, in registers where the compiler can
RESIDENT = 512  # threads that a multiprocessor shall take at once: then each has 128 registers

# Where the functions that a module calls come from: what is neither here nor built in is in `cuda_scalars`.
MODULES = {
    "cuda_backend": ("cuda",),
    "cuda_blas": ("add_contraction", "contract"),
    "cuda_groups": tuple(f"group_{op}" for op in OPERATIONS),
    "cuda_host": (
        *("clear", "empty", "kernel", "launch"),
        *("parts_of", "scratch", "width_of", "zeros"),
    ),
    "cuda_indices": ("check_indices", "checked"),
    "cuda_library": tuple(CALLS),
    "cuda_numbers": ("number_of",),
    "cuda_special": tuple(sorted(SPECIAL)),
}
_MODULE_OF = {name: module for module, names in MODULES.items() for name in names}
_RESERVED = reserved("larger", "smaller", "quotient", *_MODULE_OF)
_ON_INTEGERS = {"floor_divide": ("{} // {}", 7), "minimum": ("min({}, {})", 0), "maximum": ("max({}, {})", 0)}


class _Printer(Printer):
    """Expressions as Python text, with Python's own operators for indices."""

    signs: Signs | None = None  # in a launch

    def _spelled(self, expression: Apply) -> tuple[str, int]:
        if expression.dtype is DType.INT64 and expression.function in _ON_INTEGERS:
            left, right = expression.arguments
            if self._is_unsigned(expression):
                self.used["quotient"] = None
                return f"quotient({self.text(left)}, {self.text(right)})", 10
            spelling, strength = _ON_INTEGERS[expression.function]
            texts = (self.at(left, strength), self.at(right, strength + 1 if strength else 0))
            return spelling.format(*texts), strength or 10
        return super()._spelled(expression)

    def _is_unsigned(self, expression: Apply) -> bool:
        """Whether a quotient is one of unsigned numbers, at half the cost; by a literal both are cheap."""
        if self.signs is None or expression.function != "floor_divide":
            return False
        left, right = expression.arguments
        return (
            not isinstance(right, Number)
            and self.signs.is_nonnegative(left)
            and self.signs.is_nonnegative(right)
        )


class _Module(Module):
    """A module for CUDA under construction."""

    modules = _MODULE_OF
    usual = "cuda_scalars"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel, _RESERVED)
        self.printer: _Printer = _Printer(self.rename)
        self.signs = Signs(every(kernel.body))
        self.kinds = _kinds(kernel)
        self.dtypes: dict[str, DType] = {}  # of the numbers of a launch
        self.groups: dict[DType, str] = {}  # where its groups combine them, by dtype
        self.sums: frozenset[str] = frozenset()  # where a thread adds up products of tiles

    def print_kernel(self) -> None:
        for statement in self.kernel.body:
            self._on_host(statement, 1)

    # --- launches ---------------------------------------------------------------------------------------

    def _launch(self, launch: Launch, depth: int) -> None:
        """Print a launch, and aside the function of a thread."""
        self.use("launch", "kernel", "cuda")
        given = free_names(launch)
        name = self.rename(launch.name)
        arguments = ", ".join(map(self.rename, given))
        blocks = self.printer.text(launch.blocks)
        outer, self.lines, self.groups, self.printer.signs = self.lines, [], {}, self.signs
        read = {part for s in every(launch.body) for e in expressions(s) for part in subexpressions(e)}
        for index, where in ((launch.block, "blockIdx"), (launch.thread, "threadIdx")):
            if var(index) in read:
                self.line(1, f"{self.rename(index)} = cuda.{where}.x")
        is_tiled = any(isinstance(statement, Share) for statement in every(launch.body))
        self.sums = frozenset(array.tensor for array in _own(launch) if is_tiled)
        self._groups(launch)
        self.body(launch.body, 1)
        body, self.lines, self.printer.signs = self.lines, outer, None
        signature = ", ".join(self.kinds[name] for name in given)
        head = f'@kernel("{signature}"{_bounds(launch)})'
        self.functions += ["", "", head, f"def {name}({arguments}):", *body]
        self.line(
            depth, f"launch({', '.join((name, blocks, str(launch.threads), *map(self.rename, given)))})"
        )

    def _groups(self, launch: Launch) -> None:
        """Make the shared arrays in which the threads of a block combine numbers."""
        dtypes = {s.name: s.value.dtype for s in every(launch.body) if isinstance(s, Let)}
        combined = [s for s in every(launch.body) if isinstance(s, Combine)]
        for dtype in dict.fromkeys(dtypes[statement.name] for statement in combined):
            self.use("np")
            name = self.groups[dtype] = self.rename(f"group_{dtype.short}")
            self.line(1, f"{name} = cuda.shared.array({launch.threads}, np.{numpy_name(dtype)})")
        self.dtypes = dtypes

    # --- statements -------------------------------------------------------------------------------------

    def statement(self, statement: Statement, depth: int) -> None:
        self.signs.note(statement)
        match statement:
            case Extent() | Let() | Carry() | Update() | Store() | AddTo():
                self.assign(statement, depth)
            case For(index, extent, body):
                self.inside(f"for {self.rename(index)} in range({self.printer.text(extent)})", body, depth)
            case Stride(index, first, extent, step, body):
                bounds = ", ".join(self.printer.text(value) for value in (first, extent, step))
                self.inside(f"for {self.rename(index)} in range({bounds})", body, depth)
            case When(condition, body):
                self.inside(f"if {self.printer.text(condition)}", body, depth)
            case _:
                self._of_block(statement, depth)

    def is_contraction(self, statement: AddTo) -> bool:
        return statement.tensor in self.sums and _is_product(statement.value)

    def combined(self, op: str, target: str, value: Expr | str) -> str:
        """A total with one more value in it; a product is added in one operation, as on the CPU, and only there."""
        if op == "sum" and isinstance(value, Apply) and _is_product(value):
            return f"cuda.fma({', '.join(map(self.printer.text, value.arguments))}, {target})"
        return super().combined(op, target, value)

    def _of_block(self, statement: Statement, depth: int) -> None:
        """Statements about what the threads of a block have in common, or each for itself."""
        match statement:
            case Barrier():
                self.line(depth, "cuda.syncthreads()")
            case Combine(name, op, width):
                self.use(f"group_{op}")
                target, scratch = self.rename(name), self.groups[self.dtypes[name]]
                self.line(depth, f"{target} = group_{op}({scratch}, {target}, {self.printer.text(width)})")
            case Share(tensor, dtype, shape):
                self._array("shared", tensor, dtype, shape, depth)
            case Allocate(tensor, dtype, shape, local=True):
                sizes = [int(size.value) for size in shape if isinstance(size, Number)]
                self._array("local", tensor, dtype, sizes, depth)
            case _:
                raise CompilerBug(f"{type(statement).__name__} is no statement of a thread", stage="codegen")

    def _on_host(self, statement: Statement, depth: int) -> None:
        self.signs.note(statement)
        match statement:
            case Launch():
                self._launch(statement, depth)
            case Let(name, Load(tensor)):
                self.use("number_of")
                self.line(depth, f"{self.rename(name)} = number_of({self.rename(tensor)})")
            case Allocate(tensor, dtype, shape, zeroed):
                self._allocate(tensor, dtype, shape, zeroed, depth)
            case Clear(tensor):
                self.use("clear")
                given = ", ".join((self.rename(tensor), *map(self.printer.text, expressions(statement))))
                self.line(depth, f"clear({given})")
            case CheckIndices(tensor, extent) if not _is_seen_later(self.kernel, statement):
                self.use("checked")
                table = self.rename(tensor)
                self.line(depth, f"{table} = checked({table}, {self.printer.text(extent)})")
            case Require() | CheckIndices() | Parts():
                self.prepare(statement, depth)
            case Width(name, extent, most):
                self.use("width_of")
                self.line(depth, f"{self.rename(name)} = width_of({self.printer.text(extent)}, {most})")
            case Library():
                self._library(statement, depth)
            case Contract():
                self._contract(statement, depth)
            case _:
                self.statement(statement, depth)

    def _array(self, where: str, tensor: str, dtype: DType, shape: Sequence[int], depth: int) -> None:
        self.use("np")
        size = str(shape[0]) if len(shape) == 1 else str(tuple(shape))
        # Rows that start at 16 bytes let a thread read neighbours at once.
        wide = len(shape) > 1 and shape[-1] * dtype.numpy.itemsize % 16 == 0
        more = ", alignment=16" if where == "shared" and wide else ""
        array = f"cuda.{where}.array({size}, np.{numpy_name(dtype)}{more})"
        self.line(depth, f"{self.rename(tensor)} = {array}")

    def _allocate(self, tensor: str, dtype: DType, shape: Sequence[Expr], zeroed: bool, depth: int) -> None:
        """Make an array: a result is a new one, a temporary comes out of the workspace."""
        is_result = tensor in self.kernel.results
        make = "scratch" if not is_result else "zeros" if zeroed else "empty"
        self.use("np", make)
        self.line(depth, f"{self.rename(tensor)} = {make}({self.shape(shape)}, np.{numpy_name(dtype)})")
        if zeroed and not is_result:
            self.use("clear")
            self.line(depth, f"clear({self.rename(tensor)})")

    def _contract(self, statement: Contract, depth: int) -> None:
        """Print the call of a library that multiplies matrices."""
        self.use("add_contraction" if statement.add else "contract")
        if statement.note:
            self.line(depth, f"# {comment(statement.note)}")
        self.line(depth, contraction(statement, self.printer, self.rename, ""))

    def _library(self, statement: Library, depth: int) -> None:
        is_view = statement.operation == "reshape" and not _may_change(self.kernel, statement)
        self.line(depth, self.call(statement, *(("view=True",) if is_view else ())))
        for name in statement.outs:
            if "[" not in self.kinds[name]:
                self.use("number_of")
                self.line(depth, f"{self.rename(name)} = number_of({self.rename(name)})")


def _is_product(value: Expr) -> bool:
    return isinstance(value, Apply) and value.function == "mul" and value.dtype.is_float


def _own(launch: Launch) -> list[Allocate]:
    """The arrays of a thread."""
    return [statement for statement in every(launch.body) if isinstance(statement, Allocate)]


def _bounds(launch: Launch) -> str:
    """Where a thread has so many numbers of its own that it would take all registers, the bounds of the launch."""
    if all(_bytes(array) < MANY for array in _own(launch)):
        return ""
    return f", launch_bounds=({launch.threads}, {max(1, RESIDENT // launch.threads)})"


def _bytes(array: Allocate) -> int:
    """The size of an array of known extents."""
    extents = (int(size.value) for size in array.shape if isinstance(size, Number))
    return prod(extents) * array.dtype.numpy.itemsize


def _is_seen_later(kernel: Kernel, check: CheckIndices) -> bool:
    """Whether it counts which array the table is: it is written later, or a result; a copy cannot take its place."""
    later = every(kernel.body[kernel.body.index(check) :])
    written = {s.tensor for s in later if isinstance(s, Store | AddTo | Clear)}
    return check.tensor in written or check.tensor in kernel.results


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


def module_text(kernel: Kernel) -> str:
    """Return the source of the module that defines `kernel`, of which all loops are launches."""
    return _Module(kernel).text()
