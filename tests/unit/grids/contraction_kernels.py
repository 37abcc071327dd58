"""Kernels that are one contraction, and what they must compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.machine import Machine, Steps
from gradc.ir.loop.nodes import (
    Contract,
    Expr,
    Kernel,
    Parameter,
    number,
    var,
)
from gradc.ir.loop.verify import verify
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.grids.contraction_places import Reading, Space, Variable, space_of
from gradc.passes.grids.contraction_results import Epilogue
from gradc.passes.grids.contraction_tiles import Plan, Tile
from gradc.passes.grids.contractions import Tensors, contraction_launches
from gradc_runtime.contraction import add_contraction, contract, positions

LITTLE = Tile(8, 4, 2, 1, 1)
SMALL = Tile(8, 8, 2, 2, 1)
DEEP = Tile(16, 8, 4, 2, 2, unrolled=2)
BROAD = Tile(32, 32, 2, 8, 4)

Texts = tuple[str, str, str]


def letters_of(texts: Sequence[str]) -> list[str]:
    return sorted({letter for text in texts for terms, _ in positions(text) for _, letter in terms})


def shapes_of(texts: Sequence[str], extents: Sequence[int], more: int = 0) -> list[tuple[int, ...]]:
    """The smallest shapes, the result with `more` elements on every axis."""
    sizes = dict(zip(letters_of(texts), extents, strict=True))

    def size(terms: Sequence[tuple[int, str]], offset: int) -> int:
        last = offset + sum(factor * (sizes[letter] - 1) for factor, letter in terms if factor > 0)
        return last + 1 if all(sizes[letter] for _, letter in terms) else 0

    found = [tuple(size(*position) for position in positions(text)) for text in texts]
    return [tuple(axis + more for axis in found[0]), *found[1:]]


def kernel_of(
    texts: Texts,
    extents: Sequence[int],
    shapes: Sequence[tuple[int, ...]],
    dtype: DType = DType.F64,
    *,
    add: bool = False,
    symbolic: str = "",
    plan: Plan | None = None,
    epilogue: Epilogue | None = None,
) -> Kernel:
    """A kernel that is one contraction; the extents of `symbolic` letters are arguments."""
    names = ("out", "left", "right")
    parameters = [Parameter(name, dtype, len(shape)) for name, shape in zip(names, shapes, strict=True)]
    parameters[0] = Parameter("out", dtype, len(shapes[0]), written=True, updated=True)
    sizes: list[Expr] = []
    for letter, extent in zip(letters_of(texts), extents, strict=True):
        if letter in symbolic:
            parameters.append(Parameter(f"n_{letter}", DType.INT64, 0))
        sizes.append(var(f"n_{letter}") if letter in symbolic else number(extent))
    known = {} if symbolic else {"out": tuple(map(number, shapes[0]))}
    supply = NameSupply((*(parameter.name for parameter in parameters), "value", "at_row", "at_column"))
    statement = Contract("out", texts[0], "left", texts[1], "right", texts[2], tuple(sizes), add)
    tensors = Tensors(supply, dict.fromkeys(names, dtype), known)
    body = contraction_launches(statement, tensors, plan=plan, epilogue=epilogue)
    return verify(Kernel("k", tuple(parameters), tuple(body), ("out",)))


def number_of(expression: Expr, values: dict[str, int]) -> int:
    """The value of an extent."""
    machine = Machine(Steps(0))
    machine.values.update({name: np.int64(value) for name, value in values.items()})
    return int(machine.scalar(expression))


def inputs_of(
    texts: Texts, extents: Sequence[int], shapes: Sequence[tuple[int, ...]], dtype: DType
) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    arrays = [random.normal(size=shape).astype(dtype.numpy) for shape in shapes]
    sizes = {f"n_{letter}": np.asarray(size) for letter, size in zip(letters_of(texts), extents, strict=True)}
    return {**dict(zip(("out", "left", "right"), arrays, strict=True)), **sizes}


def assert_same(
    texts: Texts,
    extents: Sequence[int],
    *,
    tile: Tile = SMALL,
    parts: Expr | None = None,
    dtype: DType = DType.F64,
    add: bool = False,
    symbolic: str = "",
    more: int = 0,
) -> Kernel:
    """Compare a contraction in launches with what it means."""
    shapes = shapes_of(texts, extents, more)
    made = kernel_of(texts, extents, shapes, dtype, add=add, symbolic=symbolic, plan=Plan((tile,), parts))
    given = inputs_of(texts, extents, shapes, dtype)
    want = given["out"].copy()
    meaning = add_contraction if add else contract
    meaning(want, texts[0], given["left"], texts[1], given["right"], texts[2], tuple(extents))
    (got,) = evaluate(made, {parameter.name: given[parameter.name] for parameter in made.parameters})
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 if dtype is DType.F32 else 1e-12)
    return made


def space_for(texts: Texts, extents: Sequence[int], more: int = 0) -> Space:
    target, *operands = (positions(text) for text in texts)
    sizes = {k: number(n) for k, n in zip(letters_of(texts), extents, strict=True)}
    shape = tuple(map(number, shapes_of(texts, extents, more)[0]))
    return space_of(
        "out", target, (Reading("left", operands[0]), Reading("right", operands[1])), sizes, shape
    )


def names_of(variables: Sequence[Variable]) -> str:
    return " ".join(variable.name for variable in variables)
