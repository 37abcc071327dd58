"""Random programs over every dtype whose results are exact, so that no order of additions can change a bit.

Numbers are small multiples of one half and are clipped after every operation that lets them grow.  Extents
may be zero, integers of every width occur, tables of indices are computed as well as given, and sums run over
any axes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradc.ir.extents import Size, symbol
from gradc.ir.extents import evaluate as size_value
from gradc.ir.index.build import IDENTITY, Builder
from gradc.ir.index.nodes import Access, Affine, Const, ExtentValue, IndexValue, Lookup, Program, Reduce
from gradc.ir.index.templates import composite, placeholder
from gradc.ir.index.verify import verify
from gradc.ir.names import NameSupply
from gradc.ir.types import DType

F64, F32, I64, BOOL = DType.F64, DType.F32, DType.INT64, DType.BOOL
DTYPES = (F64, F64, F64, F32, F32, I64, DType.INT32, DType.INT8, DType.UINT8, BOOL)
SIZES: tuple[Size, ...] = (symbol("n"), symbol("m"), 1, 2, 3)
HINTS = ("x", "x_sum", "lambda", "np", "print", "maximum", "out", "i", "t", "solve", "range")
UNARY = ("copy", "neg", "abs", "sign")
BINARY = ("add", "sub", "mul", "maximum", "minimum")
COMPARISON = ("lt", "le", "gt", "ge", "eq", "ne")
_A, _B, _C = (placeholder(k) for k in range(3))
COMPOSITE = composite((_A + _B) ** 2 - _A * _C, (_A, _B, _C))


class Exact:
    """Grows a program; `extents` are the values of the symbols."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.extents = {"n": int(self.rng.choice((0, 1, 2, 3, 4))), "m": int(self.rng.choice((1, 2, 3)))}
        self.builder = Builder("exact", NameSupply(("n", "m")))
        self.inputs: dict[str, np.ndarray] = {}

    # --- choosing ---------------------------------------------------------------------------------------

    def choose(self, options: tuple) -> object:
        return options[int(self.rng.integers(len(options)))]

    def tensors(self, dtype: DType | None = None, rank: int = 0) -> list[str]:
        types = self.builder.types
        return [
            name
            for name in types
            if (dtype is None or types[name].dtype is dtype) and len(types[name].shape) >= rank
        ]

    def tensor(self, dtype: DType | None = None, rank: int = 0) -> str:
        found = self.tensors(dtype, rank)[-8:]
        if not found:
            size = tuple(self.choose(SIZES) for _ in range(max(rank, 1)))
            return self.input(dtype or F64, size)  # type: ignore[arg-type]
        return str(self.choose(tuple(found)))

    def shape(self, name: str) -> tuple[Size, ...]:
        return self.builder.types[name].shape

    def dtype(self, name: str) -> DType:
        return self.builder.types[name].dtype

    def sizes(self, shape: tuple[Size, ...]) -> tuple[int, ...]:
        return tuple(size_value(size, self.extents) for size in shape)

    # --- inputs and small steps -------------------------------------------------------------------------

    def input(self, dtype: DType, shape: tuple[Size, ...]) -> str:
        name = self.builder.input(str(self.choose(HINTS)), dtype, shape)
        sizes = self.sizes(shape)
        if dtype.is_float:
            values = self.rng.integers(-5, 6, sizes) / 2
        else:
            values = self.rng.integers(
                0 if dtype in (BOOL, DType.UINT8) else -3, 2 if dtype is BOOL else 4, sizes
            )
        self.inputs[name] = np.asarray(values, dtype.numpy)
        return name

    def table(self, extent: Size, shape: tuple[Size, ...]) -> str | None:
        """An input of indices into an axis of `extent`, or such indices computed from it."""
        size = size_value(extent, self.extents)
        if size == 0:
            return None
        dtype = DType.INT32 if self.rng.random() < 0.3 else I64
        name = self.builder.input("table", dtype, shape)
        self.inputs[name] = np.asarray(self.rng.integers(-size, size, self.sizes(shape)), dtype.numpy)
        if self.rng.random() < 0.5:
            zero = Const(0, dtype)
            return self.builder.pointwise("add", name, zero, name="index")
        return name

    def clip(self, name: str) -> str:
        dtype = self.dtype(name)
        if dtype.is_bool:
            return name
        top = self.builder.pointwise("minimum", name, Const(4, dtype))
        low = Const(0 if dtype is DType.UINT8 else -4, dtype)
        return self.builder.pointwise("maximum", top, low)

    def cast(self, name: str, dtype: DType) -> str:
        own = self.dtype(name)
        if not dtype.is_float and not dtype.is_bool and not own.is_bool:
            name = self.clip(name)
            if dtype is DType.UINT8 and own is not dtype:
                name = self.builder.pointwise("abs", name)
        shape = self.shape(name)
        return self.builder.assign("copy", (self.builder.access(name),), shape, dtype)


# --- steps --------------------------------------------------------------------------------------------------


def unary(grow: Exact) -> None:
    name = grow.tensor()
    if grow.dtype(name).is_bool:
        grow.builder.pointwise("logical_not", name)
    elif grow.dtype(name).is_float and grow.rng.random() < 0.3:
        grow.builder.pointwise(
            str(grow.choose(("floor", "ceil", "rint", "trunc", "isnan", "isfinite"))), name
        )
    else:
        grow.clip(grow.builder.pointwise(str(grow.choose(UNARY)), name))


def binary(grow: Exact) -> None:
    """Two tensors, the second broadcast along axes of the first or adding axes of its own."""
    first = grow.tensor()
    dtype = grow.dtype(first)
    second = grow.tensor(dtype)
    space, positions = list(grow.shape(first)), []
    for size in grow.shape(second):
        free = [at for at, extent in enumerate(space) if extent is size or extent == size]
        free = [at for at in free if at not in positions]
        if not free:
            space.append(size)
            free = [len(space) - 1]
        positions.append(int(grow.rng.choice(free)))
    if len(space) > 4:
        return
    functions = BINARY if not dtype.is_bool else ("logical_and", "logical_or", "logical_xor", "eq", "ne")
    function = str(grow.choose(functions if grow.rng.random() < 0.7 else COMPARISON))
    compared = function in COMPARISON or dtype.is_bool
    operands = (grow.builder.access(first), Access(second, tuple(positions)))
    out = grow.builder.assign(function, operands, tuple(space), BOOL if compared else dtype)
    grow.clip(out)


def division(grow: Exact) -> None:
    """Quotients rounded down and remainders, of floats and integers of both signs, by nonzero numbers."""
    name = grow.tensor(grow.choose((F64, F32, I64, DType.INT32, DType.UINT8)))  # type: ignore[arg-type]
    dtype = grow.dtype(name)
    divisor = Const(int(grow.choose((3, 2, 1) if dtype is DType.UINT8 else (-3, -2, 2, 3))), dtype)  # type: ignore[call-overload]
    grow.builder.pointwise(str(grow.choose(("floor_divide", "mod"))), name, divisor)


def choice(grow: Exact) -> None:
    name = grow.tensor(grow.choose((F64, F32, I64, DType.INT8)))  # type: ignore[arg-type]
    dtype = grow.dtype(name)
    condition = grow.builder.pointwise("gt", name, Const(0, dtype))
    other = grow.builder.pointwise("neg", name)
    grow.clip(grow.builder.pointwise("select", condition, name, other))


def combined(grow: Exact) -> None:
    name = grow.tensor(grow.choose((F64, F32)))  # type: ignore[arg-type]
    grow.clip(grow.builder.pointwise(COMPOSITE, name, Const(0.5, grow.dtype(name)), name))


def conversion(grow: Exact) -> None:
    name = grow.tensor()
    grow.cast(name, grow.choose(DTYPES))  # type: ignore[arg-type]


def reduction(grow: Exact) -> None:
    """Any reduction over any axes, in any order."""
    name = grow.tensor(None, 1)
    dtype, shape = grow.dtype(name), grow.shape(name)
    order = [int(axis) for axis in grow.rng.permutation(len(shape))]
    rank = int(grow.rng.integers(len(shape)))
    space = tuple(shape[axis] for axis in order)
    ops = ("any", "all", "max", "min") if dtype.is_bool else ("sum", "sum", "prod", "max", "min")
    op = str(grow.choose(ops))
    if op in ("max", "min") and 0 in grow.sizes(space[rank:]):
        op = "any" if dtype.is_bool else "sum"
    access = Access(name, tuple(order.index(axis) for axis in range(len(shape))))
    body = "copy" if dtype.is_bool or dtype is DType.UINT8 else str(grow.choose(("copy", "neg", "abs")))
    grow.clip(grow.builder.assign(body, (access,), space, dtype, rank=rank, reduce=Reduce(op, dtype)))


def contraction(grow: Exact) -> None:
    """A sum of products: matrices, vectors and batches in any order of axes."""
    dtype = grow.choose((F64, F64, F32, I64))
    first, second = grow.tensor(dtype, 1), grow.tensor(dtype, 1)  # type: ignore[arg-type]
    left, right = grow.shape(first), grow.shape(second)
    pairs = [(a, b) for a, size in enumerate(left) for b, other in enumerate(right) if size == other]
    if not pairs or len(left) + len(right) > 6:
        return
    a, b = pairs[int(grow.rng.integers(len(pairs)))]
    others = [(c, d) for c, d in pairs if c != a and d != b][:1] if grow.rng.random() < 0.4 else []
    batch = others[:1]
    kept = [axis for axis in range(len(left)) if axis != a]
    rest = [axis for axis in range(len(right)) if axis != b and axis not in [d for _, d in batch]]
    outer = [("left", axis) for axis in kept] + [("right", axis) for axis in rest]
    leading = [("left", c) for c, _ in batch]
    free = [item for item in outer if item not in leading]
    shuffled = [free[int(at)] for at in grow.rng.permutation(len(free))]
    order = leading + shuffled
    rank = len(order)
    at_left = {axis: at for at, (side, axis) in enumerate(order) if side == "left"} | {a: rank}
    at_right = {axis: at for at, (side, axis) in enumerate(order) if side == "right"} | {b: rank}
    at_right |= {d: at_left[c] for c, d in batch}
    space = (*((left if side == "left" else right)[axis] for side, axis in order), left[a])
    one = Access(first, tuple(at_left[axis] for axis in range(len(left))))
    two = Access(second, tuple(at_right[axis] for axis in range(len(right))))
    reduce = Reduce("sum", dtype)  # type: ignore[arg-type]
    grow.clip(grow.builder.assign("mul", (one, two), space, dtype, rank=rank, reduce=reduce))  # type: ignore[arg-type]


def view(grow: Exact) -> None:
    """A transposition, reversal, diagonal, stride, window or repetition."""
    name = grow.tensor(None, 1)
    dtype, shape = grow.dtype(name), grow.shape(name)
    last = len(shape) - 1
    body, space = IDENTITY[last], shape
    match grow.choose(("transpose", "reverse", "diagonal", "window", "repeat", "pick", "stride")):
        case "transpose":
            indices, space = IDENTITY[last + 1][::-1], shape[::-1]
        case "reverse":
            indices = (*body, Affine(((-1, last),), shape[last] - 1))
        case "diagonal" if last and shape[-1] == shape[-2]:
            indices, space = (*body, last - 1), shape[:-1]
        case "window" if shape[last] == 3:
            indices, space = (*body, Affine(((1, last), (1, last + 1)), 0)), (*shape[:-1], 2, 2)
        case "stride" if shape[last] == 3:
            indices, space = (*body, Affine(((2, last),), 0)), (*shape[:-1], 2)
        case "pick" if size_value(shape[last], grow.extents):
            indices, space = (*body, Affine((), shape[last] - 1)), shape[:-1]
        case _ if last < 3:
            indices, space = IDENTITY[last + 1], (*shape, 2)
        case _:
            return
    grow.builder.assign("copy", (Access(name, indices),), space, dtype)


def gather(grow: Exact) -> None:
    """Elements by a table of indices or by one index."""
    name = grow.tensor(None, 1)
    shape = grow.shape(name)
    axis = int(grow.rng.integers(len(shape)))
    single = grow.rng.random() < 0.4
    size = grow.choose(SIZES)
    table = grow.table(shape[axis], () if single else (size,))  # type: ignore[arg-type]
    if table is None:
        return
    rest = [other for other in range(len(shape)) if other != axis]
    space = (*(() if single else (size,)), *(shape[other] for other in rest))
    offset = 0 if single else 1
    indices: list = [0] * len(shape)
    for at, other in enumerate(rest):
        indices[other] = at + offset
    indices[axis] = Lookup(table, () if single else (0,))
    grow.builder.assign("copy", (Access(name, tuple(indices)),), space, grow.dtype(name))  # type: ignore[arg-type]


def accumulation(grow: Exact) -> None:
    """Contributions to one tensor: scattered, shifted, projected."""
    name = grow.tensor(grow.choose((F64, F64, F32, I64, DType.INT32)), 1)  # type: ignore[arg-type]
    dtype, shape = grow.dtype(name), grow.shape(name)
    rank = len(shape)
    out = grow.builder.declare("total", dtype, shape)
    access = grow.builder.access(name)
    body = composite(_A + _B, (_A, _B))
    table = grow.table(shape[0], (2,)) if grow.rng.random() < 0.5 else None
    if table is not None:
        rest = tuple(range(1, rank))
        lookup = (Lookup(table, (0,)), *rest)
        grow.builder.accumulate(out, body, (Access(name, lookup), Const(1, dtype)), (2, *shape[1:]), lookup)
    if grow.rng.random() < 0.6 and grow.sizes(shape)[-1] > 0:
        shorter, shifted = (*shape[:-1], shape[-1] - 1), (*IDENTITY[rank - 1], Affine(((1, rank - 1),), 1))
        grow.builder.accumulate(out, body, (access, Access(name, shifted)), shorter, shifted)
    if grow.rng.random() < 0.5:
        extra = Access(name, IDENTITY[rank])
        grow.builder.accumulate(out, body, (extra, Const(1, dtype)), (*shape, 2), IDENTITY[rank])
    grow.builder.accumulate(out, body, (access, access), shape, IDENTITY[rank])
    grow.clip(out)


def total(grow: Exact) -> None:
    """Two contributions to a scalar."""
    name = grow.tensor(grow.choose((F64, I64)), 1)  # type: ignore[arg-type]
    dtype, shape = grow.dtype(name), grow.shape(name)
    out = grow.builder.declare("scalar", dtype, ())
    body = composite(_A + _B, (_A, _B))
    for _ in range(2):
        grow.builder.accumulate(out, body, (grow.builder.access(name), Const(1, dtype)), shape, ())
    grow.clip(out)


def assembly(grow: Exact) -> None:
    name = grow.tensor(None, 1)
    shape = grow.shape(name)
    axis = int(grow.rng.integers(len(shape)))
    one = (*shape[:axis], 1, *shape[axis + 1 :])
    constant = grow.builder.constant(1, grow.dtype(name), one)
    other = grow.builder.assign("copy", (grow.builder.access(name),), shape, grow.dtype(name))
    grow.builder.assemble(axis, (name, constant, other))


def position(grow: Exact) -> None:
    """Index values and extents as numbers."""
    size = grow.choose(SIZES)
    index = grow.builder.assign("copy", (IndexValue(Affine(((2, 0),), 1)),), (size,), I64)  # type: ignore[arg-type]
    extent = grow.builder.assign("copy", (ExtentValue(size + 1),), (), I64)  # type: ignore[operator]
    grow.clip(grow.builder.pointwise("mul", index, extent))


def library(grow: Exact) -> None:
    match grow.choose(("reshape", "affine_scan", "argsort", "arg_extreme")):
        case "reshape":
            name = grow.tensor(None, 2)
            first, second, *rest = grow.shape(name)
            grow.builder.call("reshape", (name,), {"shape": (first * second, *rest)})  # type: ignore[operator]
        case "affine_scan":
            name = grow.tensor(grow.choose((F64, F32)), 1)  # type: ignore[arg-type]
            axis = int(grow.rng.integers(len(grow.shape(name))))
            sign = grow.builder.pointwise("sign", name)
            attributes = {"axis": axis, "reverse": bool(grow.rng.random() < 0.5)}
            grow.clip(grow.builder.call("affine_scan", (sign, name), attributes)[0])
        case "argsort":
            name = grow.tensor(None, 1)
            axis = int(grow.rng.integers(len(grow.shape(name))))
            grow.builder.call("argsort", (name,), {"axis": axis})
        case _:
            name = grow.tensor(None, 1)
            axis = int(grow.rng.integers(len(grow.shape(name))))
            if grow.sizes(grow.shape(name))[axis]:
                attributes = {"axis": axis, "largest": bool(grow.rng.random() < 0.5)}
                grow.builder.call("arg_extreme", (name,), attributes)


STEPS: tuple[Callable[[Exact], None], ...] = (
    unary,
    binary,
    binary,
    division,
    choice,
    combined,
    conversion,
    reduction,
    reduction,
    contraction,
    view,
    view,
    gather,
    accumulation,
    total,
    assembly,
    position,
    library,
)


def program(
    seed: int, length: int = 8, steps: tuple[Callable[[Exact], None], ...] = STEPS
) -> tuple[Program, dict[str, np.ndarray]]:
    """A random exact program and its inputs."""
    grow = Exact(seed)
    grow.input(F64, SIZES[:2])  # binds the symbols
    for _ in range(3):
        shape = tuple(grow.choose(SIZES) for _ in range(int(grow.rng.integers(4))))
        grow.input(grow.choose(DTYPES), shape)  # type: ignore[arg-type]
    for _ in range(length):
        steps[int(grow.rng.integers(len(steps)))](grow)
    made = [name for name in grow.builder.types if name not in grow.builder.inputs]
    chosen = [name for name in made if grow.rng.random() < 0.3] or made[-1:]
    return verify(grow.builder.finish(tuple(chosen))), grow.inputs
