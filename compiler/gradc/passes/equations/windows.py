"""Sums into windows that overlap become sums over what reaches a place, from an array with zeros around it.

The input gradient of a depthwise convolution is no matrix product, so that no contraction is worth calling.  A loop
nest that adds to places which overlap finds no vectors along the channels; one that sums for each place does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gradc.ir.extents import Size
from gradc.ir.index.contraction import is_contraction
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Equation,
    Index,
    Lookup,
    Program,
    TensorType,
    affine,
    fixed,
    outputs_of,
    terms_of,
)
from gradc.ir.index.rewrite import compose_all
from gradc.ir.index.templates import template
from gradc.ir.names import NameSupply

SHORT = 8  # elements of a window along an axis: LLVM writes loops over them out


@dataclass(frozen=True, slots=True)
class _Window:
    """``target[position + factor * offset]``: indices of an equation, and what the target's axis is."""

    axis: int
    position: int
    factor: int
    offset: int


def without_overlaps(program: Program) -> Program:
    """Gather what products add to short windows that move by one element.

    Requires: `program` is valid.  Ensures: the same sums in another order, with zeros among them (a *rounding* pass;
    what a zero meets that is infinite becomes NaN).

        x_bar[n, p + i, g] += y_bar[n, p, g] * w[g, i]           with i < 3
        ->   around[n, p + 2, g] += y_bar[n, p, g];  x_bar[n, p, g] += around[n, p - i + 2, g] * w[g, i]
    """
    written = [name for equation in program.equations for name in outputs_of(equation)]
    types = dict(program.types)
    names = NameSupply(tuple(types))
    equations: list[Equation] = []
    for equation in program.equations:
        windows = _windows(equation, types) if isinstance(equation, Accumulate) else ()
        moved = _moved(equation, windows) if windows and written.count(outputs_of(equation)[0]) == 1 else None
        if moved is None or not isinstance(equation, Accumulate):
            equations.append(equation)
            continue
        around = names.fresh(f"{moved.tensor}_around")
        padding, found = _gathered(equation, windows, moved, around, types)
        equations += [padding, found]
    return replace(program, equations=tuple(equations), types=types)


def _windows(equation: Accumulate, types: dict[str, TensorType]) -> tuple[_Window, ...]:
    """The windows that an equation adds to; none where it is a contraction, or adds elsewhere, too."""
    if not types[equation.out].dtype.is_float or is_contraction(equation):
        return ()
    found: list[_Window] = []
    seen: set[int] = set()
    for axis, (index, size) in enumerate(zip(equation.target, types[equation.out].shape, strict=True)):
        if index == fixed(0) and size == 1:
            continue
        at = [index] if isinstance(index, int) and equation.space[index] == size else None
        window = None if at else _window(equation, axis, index, size)
        at = [window.position, window.offset] if window else at
        if at is None or seen & set(at):
            return ()
        seen.update(at)
        found += [window] if window else []
    return tuple(found) if any(equation.space[window.offset] != 1 for window in found) else ()


def _window(equation: Accumulate, axis: int, index: Index, size: Size) -> _Window | None:
    terms, offset = ((), 0) if isinstance(index, Lookup) else terms_of(index)
    if len(terms) != 2 or offset != 0:
        return None
    for (one, position), (factor, within) in (terms, terms[::-1]):
        few, many = equation.space[within], equation.space[position]
        if one != 1 or not isinstance(few, int) or few > SHORT:
            continue
        if isinstance(many, int) and many < factor * few:  # most of what is read would be zeros
            continue
        if many + factor * (few - 1) == size:
            return _Window(axis, position, factor, within)
    return None


def _moved(equation: Equation, windows: tuple[_Window, ...]) -> Access | None:
    """The factor that the positions run over, whole; None if the other one has no channel in common with it."""
    if not isinstance(equation, Accumulate) or equation.template.name != "mul":
        return None
    positions = {window.position for window in windows}
    offsets = {window.offset for window in windows}
    factors = [operand for operand in equation.operands if isinstance(operand, Access)]
    moved = [access for access in factors if positions & set(_used(access))]
    if len(factors) != 2 or len(moved) != 1:
        return None
    (found,) = moved
    (other,) = (access for access in factors if access is not found)
    bare = [index for index in found.indices if isinstance(index, int)]
    whole = len(set(bare)) == len(bare) == len(found.indices) and positions <= set(bare)
    channels = {at for at in bare if at in equation.target and equation.space[at] != 1} & set(_used(other))
    return found if whole and channels and not offsets & set(bare) else None


def _used(access: Access) -> Iterator[int]:
    for index in access.indices:
        for inner in index.indices if isinstance(index, Lookup) else (index,):
            yield from (position for _, position in terms_of(inner)[0])


def _gathered(
    equation: Accumulate,
    windows: tuple[_Window, ...],
    moved: Access,
    around: str,
    types: dict[str, TensorType],
) -> tuple[Accumulate, Accumulate]:
    """The copy with zeros around it, and the sum from it; `types` gets the copy's."""
    inside = types[moved.tensor].shape
    shape, target = list(inside), list[Index](range(len(inside)))
    places: list[Index] = list(range(len(equation.space)))
    space = list(equation.space)
    for window in windows:
        few = space[window.offset]
        assert isinstance(few, int)
        axis, reach = moved.indices.index(window.position), window.factor * (few - 1)
        shape[axis] = inside[axis] + 2 * reach
        target[axis] = affine({axis: 1}, reach)
        places[window.position] = affine({window.position: 1, window.offset: -window.factor}, reach)
        space[window.position] = types[equation.out].shape[window.axis]
    types[around] = replace(types[moved.tensor], shape=tuple(shape))
    read = (Access(moved.tensor, tuple(range(len(inside)))),)
    padding = Accumulate(around, inside, tuple(target), template("copy"), read, equation.origin)
    indices = compose_all(moved.indices, tuple(places))
    assert indices is not None
    ends: dict[int, Index] = {window.axis: window.position for window in windows}
    found = replace(
        equation,
        space=tuple(space),
        target=tuple(ends.get(axis, index) for axis, index in enumerate(equation.target)),
        operands=tuple(
            Access(around, indices) if operand is moved else operand for operand in equation.operands
        ),
    )
    return padding, found
