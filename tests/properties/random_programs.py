"""Random valid programs over every kind of equation, with inputs for them.

A program is grown one equation at a time from what is there already.  Values stay of moderate size, so that a
wrong derivative is not hidden by rounding; `Case.smooth` says whether derivatives can be compared with
differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from gradc.ir.extents import Size, symbol
from gradc.ir.extents import evaluate as size_value
from gradc.ir.index.build import IDENTITY, Builder
from gradc.ir.index.nodes import (
    Access,
    Affine,
    Const,
    ExtentValue,
    IndexValue,
    Lookup,
    Operand,
    Program,
    Reduce,
)
from gradc.ir.index.templates import composite, placeholder, template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType

F64, I64, BOOL = DType.F64, DType.INT64, DType.BOOL
SIZES: tuple[Size, ...] = (symbol("n"), symbol("m"), 2)
SMOOTH = ("sin", "tanh", "expit", "softplus", "arctan", "neg", "square", "copy")
PRODUCT = composite(placeholder(0) * placeholder(1) * placeholder(2), tuple(placeholder(k) for k in range(3)))


@dataclass
class Case:
    """A program, values for its inputs, and what may be asked of it."""

    program: Program
    inputs: dict[str, np.ndarray]
    wrt: tuple[str, ...]
    smooth: bool
    library: bool

    def values(self, program: Program, names: tuple[str, ...]) -> list[np.ndarray]:
        """Random tensors of the types that `names` have in `program`, the same on every run."""
        rng = np.random.default_rng(7)
        extents: dict[str, int] = {}
        for name, value in self.inputs.items():
            for size, actual in zip(self.program.types[name].shape, value.shape, strict=True):
                if not isinstance(size, int):
                    extents[str(size)] = actual
        shapes = [tuple(size_value(size, extents) for size in program.types[name].shape) for name in names]
        return [np.asarray(rng.normal(size=shape)) for shape in shapes]


@dataclass
class Grower:
    """The program so far; `floats` are the tensors that equations may read."""

    draw: Callable[[st.SearchStrategy], object]
    builder: Builder
    floats: list[str] = field(default_factory=list)
    smooth: bool = True
    library: bool = False

    def choose(self, options: list | tuple) -> object:
        """One of the options."""
        return self.draw(st.sampled_from(options))

    def tensor(self, rank: int = 0) -> str | None:
        """A tensor with at least `rank` axes; the latest are the likeliest."""
        fitting = [name for name in self.floats if len(self.shape(name)) >= rank]
        return str(self.choose(fitting[-4:])) if fitting else None

    def shape(self, name: str) -> tuple[Size, ...]:
        """Shape of a tensor."""
        return self.builder.types[name].shape

    def add(self, body: str, operands: tuple[Operand, ...], space: tuple[Size, ...]) -> str:
        """Append an elementwise equation and offer its result."""
        name = self.builder.assign(body, operands, space, F64)
        self.floats.append(name)
        return name

    def index(self, extent: Size) -> str:
        """An integer tensor, an input, whose values index an axis of `extent` elements."""
        return self.builder.input(f"index_{extent}_{len(self.builder.inputs)}", I64, (2,))


def elementwise(grow: Grower) -> None:
    """One function of one tensor."""
    name = grow.tensor()
    assert name is not None
    grow.add(str(grow.choose(SMOOTH)), (grow.builder.access(name),), grow.shape(name))


def binary(grow: Grower) -> None:
    """Two tensors, the second broadcast along the axes of the first that have other extents."""
    first, second = grow.tensor(), grow.tensor()
    assert first is not None
    assert second is not None
    function = str(grow.choose(("add", "sub", "mul", "mul", "hypot", "logaddexp", "maximum", "minimum")))
    grow.smooth &= function not in ("maximum", "minimum", "hypot")
    space = list(grow.shape(first))
    positions = []
    for size in grow.shape(second):
        free = [at for at, extent in enumerate(space) if extent == size and at not in positions]
        if not free:
            space.append(size)
            free = [len(space) - 1]
        positions.append(free[0])
    if len(space) <= 4:
        operands = (grow.builder.access(first), Access(second, tuple(positions)))
        grow.add(function, operands, tuple(space))


def piecewise(grow: Grower) -> None:
    """A choice by a comparison with a constant away from the values that occur exactly."""
    name = grow.tensor()
    assert name is not None
    access, shape = grow.builder.access(name), grow.shape(name)
    mask = grow.builder.assign("gt", (access, Const(0.123456789, F64)), shape, BOOL)
    grow.add("select", (grow.builder.access(mask), access, Const(0.5, F64)), shape)


def contraction(grow: Grower) -> None:
    """A sum of products of two or three accesses over one or two shared indices."""
    first, second = grow.tensor(1), grow.tensor(1)
    if first is None or second is None:
        return
    left, right = grow.shape(first), grow.shape(second)
    shared = [(a, b) for a, size in enumerate(left) for b, other in enumerate(right) if size == other]
    if not shared or len(left) + len(right) > 6:
        return
    summed_left, summed_right = grow.choose(shared)  # type: ignore[misc]
    kept_left = [axis for axis in range(len(left)) if axis != summed_left]
    kept_right = [axis for axis in range(len(right)) if axis != summed_right]
    space = (*(left[a] for a in kept_left), *(right[b] for b in kept_right), left[summed_left])
    rank = len(space) - 1
    at_left = {axis: at for at, axis in enumerate(kept_left)} | {summed_left: rank}
    at_right = {axis: at + len(kept_left) for at, axis in enumerate(kept_right)} | {summed_right: rank}
    one = Access(first, tuple(at_left[axis] for axis in range(len(left))))
    two = Access(second, tuple(at_right[axis] for axis in range(len(right))))
    cubic = grow.draw(st.booleans())
    operands = (one, two, one) if cubic else (one, two)
    total = grow.builder.assign(
        PRODUCT if cubic else "mul", operands, space, F64, rank=rank, reduce=Reduce("sum", F64)
    )
    grow.add("tanh", (grow.builder.access(total),), space[:rank])


def reduction(grow: Grower) -> None:
    """Sum, product, maximum or minimum over the last axes, of a tensor or of a function of it."""
    name = grow.tensor(1)
    if name is None:
        return
    shape = grow.shape(name)
    rank = grow.draw(st.integers(0, len(shape) - 1))
    assert isinstance(rank, int)
    op, body = str(grow.choose(("sum", "prod", "max", "min"))), str(grow.choose(("copy", "sin")))
    grow.smooth &= op not in ("max", "min")
    total = grow.builder.assign(
        body, (grow.builder.access(name),), shape, F64, rank=rank, reduce=Reduce(op, F64)
    )
    grow.add("tanh", (grow.builder.access(total),), shape[:rank])


def view(grow: Grower) -> None:
    """A transpose, a reversal, a diagonal, a window or a repetition."""
    name = grow.tensor(1)
    if name is None:
        return
    shape, last = grow.shape(name), len(grow.shape(name)) - 1
    body = IDENTITY[last]
    match grow.choose(("transpose", "reverse", "diagonal", "window", "repeat", "pick")):
        case "transpose":
            grow.add("copy", (Access(name, IDENTITY[last + 1][::-1]),), shape[::-1])
        case "reverse":
            grow.add("copy", (Access(name, (*body, Affine(((-1, last),), shape[last] - 1))),), shape)
        case "diagonal" if last and shape[-1] == shape[-2]:
            grow.add("copy", (Access(name, (*body, last - 1)),), shape[:-1])
        case "window" if shape[last] == 2 and last < 3:
            index = Affine(((1, last), (-1, last + 1)), 1)
            grow.add("sin", (Access(name, (*body, index)),), (*shape[:-1], 1, 2))
        case "repeat" if last < 3:
            grow.add("sin", (Access(name, IDENTITY[last + 1]),), (*shape, 2))
        case _:
            grow.add("copy", (Access(name, (*body, Affine((), shape[last] - 1))),), shape[:-1])


def gather(grow: Grower) -> None:
    """Rows by an integer tensor, negative values and repetitions included."""
    name = grow.tensor(1)
    if name is None:
        return
    shape = grow.shape(name)
    table = grow.index(shape[0])
    rest = tuple(range(1, len(shape)))
    grow.add("copy", (Access(name, (Lookup(table, (0,)), *rest)),), (2, *shape[1:]))


def accumulation(grow: Grower) -> None:
    """Two contributions to one tensor: scattered rows, and a function of another part."""
    name = grow.tensor(1)
    if name is None:
        return
    shape = grow.shape(name)
    rank = len(shape)
    out = grow.builder.declare("total", F64, shape)
    access = grow.builder.access(name)
    if grow.draw(st.booleans()):
        table = grow.index(shape[0])
        rest = tuple(range(1, rank))
        source = Access(name, (0, *rest)) if shape[0] == 2 else Access(name, (Lookup(table, (0,)), *rest))
        target = (Lookup(table, (0,)), *rest)
        grow.builder.accumulate(out, template("sin"), (source,), (2, *shape[1:]), target)
    else:
        shorter = (*shape[:-1], shape[-1] - 1)
        shifted = (*IDENTITY[rank - 1], Affine(((1, rank - 1),), 1))
        product = template("mul")
        grow.builder.accumulate(out, product, (access, Access(name, shifted)), shorter, shifted)
    grow.builder.accumulate(out, template("tanh"), (access,), shape, IDENTITY[rank])
    grow.floats.append(out)


def assembly(grow: Grower) -> None:
    """A tensor, a function of it and a constant, one after the other along an axis."""
    name = grow.tensor(1)
    if name is None:
        return
    shape = grow.shape(name)
    axis = grow.draw(st.integers(0, len(shape) - 1))
    assert isinstance(axis, int)
    other = grow.builder.pointwise("sin", name)
    constant = grow.builder.constant(0.25, F64, (*shape[:axis], 1, *shape[axis + 1 :]))
    whole = grow.builder.assemble(axis, (name, constant, other))
    extent = grow.shape(whole)[axis]
    kept = (*shape[:axis], shape[axis], *shape[axis + 1 :])
    shifted = Affine(((1, axis),), extent - shape[axis] - 1)
    grow.add("copy", (Access(whole, (*IDENTITY[axis], shifted, *range(axis + 1, len(shape)))),), kept)


def scan(grow: Grower) -> None:
    """An affine recurrence along an axis."""
    name = grow.tensor(1)
    if name is None:
        return
    axis = grow.draw(st.integers(0, len(grow.shape(name)) - 1))
    other = grow.builder.pointwise("tanh", name)
    attributes = {"axis": axis, "reverse": bool(grow.draw(st.booleans()))}
    (out,) = grow.builder.call("affine_scan", (other, name), attributes)
    grow.floats.append(grow.builder.pointwise("tanh", out))


def flattened(grow: Grower) -> None:
    """The first two axes made one and separated again, exchanged."""
    name = grow.tensor(2)
    if name is None:
        return
    first, second, *rest = grow.shape(name)
    (flat,) = grow.builder.call("reshape", (name,), {"shape": (first * second, *rest)})
    (back,) = grow.builder.call(
        "reshape", (grow.builder.pointwise("sin", flat),), {"shape": (second, first, *rest)}
    )
    grow.floats.append(back)


def linear_algebra(grow: Grower) -> None:
    """A well-conditioned symmetric matrix made of a tensor, and one operation on it."""
    name = grow.tensor(2)
    if name is None or len(grow.shape(name)) > 3:
        return
    *batch, rows, inner = grow.shape(name)
    at = len(batch)
    left = Access(name, (*IDENTITY[at], at, at + 2))
    right = Access(name, (*IDENTITY[at], at + 1, at + 2))
    gram = grow.builder.assign(
        "mul", (left, right), (*batch, rows, rows, inner), F64, rank=at + 2, reduce=Reduce("sum", F64)
    )
    eye = grow.builder.assign("eq", (IndexValue(0), IndexValue(1)), (rows, rows), BOOL)
    shift = grow.builder.assign(
        "select", (Access(eye, (at, at + 1)), Const(2.0, F64), Const(0.0, F64)), (*batch, rows, rows), F64
    )
    matrix = grow.builder.pointwise("add", shift, grow.builder.pointwise("tanh", gram))
    operation = str(
        grow.choose(("solve", "inv", "det", "cofactor", "slogdet", "cholesky", "solve_triangular"))
    )
    grow.library = True
    two = operation in ("solve", "solve_triangular")
    attributes = {"lower": True, "transposed": bool(grow.draw(st.booleans()))}
    outs = grow.builder.call(
        operation, (matrix, name) if two else (matrix,), attributes if operation == "solve_triangular" else {}
    )
    grow.floats.append(grow.builder.pointwise("tanh", outs[-1]))


def position(grow: Grower) -> None:
    """A tensor weighted by its own index and divided by an extent."""
    name = grow.tensor(1)
    if name is None:
        return
    shape = grow.shape(name)
    weight = grow.builder.assign("copy", (IndexValue(0),), shape[:1], F64)
    extent = grow.builder.assign("copy", (ExtentValue(shape[0] + 1),), (), F64)
    ratio = grow.builder.assign("div", (Access(weight, (0,)), Access(extent, ())), shape[:1], F64)
    grow.add("mul", (Access(ratio, (0,)), grow.builder.access(name)), shape)


STEPS: tuple[Callable[[Grower], None], ...] = (
    elementwise,
    binary,
    binary,
    piecewise,
    contraction,
    contraction,
    reduction,
    view,
    view,
    gather,
    accumulation,
    assembly,
    scan,
    flattened,
    linear_algebra,
    position,
)


@st.composite
def cases(draw: Callable, steps: tuple[Callable[[Grower], None], ...] = STEPS, length: int = 6) -> Case:
    """A random program with inputs; its outputs are the last tensor and one other."""
    builder = Builder("random")
    grow = Grower(draw, builder)
    for _ in range(draw(st.integers(1, 3))):
        shape = tuple(draw(st.lists(st.sampled_from(SIZES), min_size=1, max_size=3)))
        grow.floats.append(builder.input("x", F64, shape))
    for step in draw(st.lists(st.sampled_from(steps), min_size=1, max_size=length)):
        step(grow)
    wrt = tuple(name for name in builder.inputs if builder.types[name].dtype is F64)
    other = draw(st.sampled_from(grow.floats))
    outputs = tuple(dict.fromkeys((grow.floats[-1], other)))
    program = verify(builder.finish(outputs))
    extents = {"n": draw(st.integers(1, 3)), "m": draw(st.integers(1, 2))}
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    inputs = {}
    for name in program.inputs:
        shape = tuple(size_value(size, extents) for size in program.types[name].shape)
        if program.types[name].dtype is F64:
            inputs[name] = rng.normal(size=shape)
        else:
            of = name.split("_")[1]
            extent = extents[of] if of in extents else int(of)
            inputs[name] = rng.integers(-extent, extent, shape)
    return Case(program, inputs, wrt, grow.smooth, grow.library)
