"""What follows a product and looks at each of its elements alone is done where the element is computed.

    product z = x @ w                              launch z_tiles:
    for i < n:                                         ...
        for j < m:                        ->           z_value = the sum
            h[i, j] = tanh(z[i, j] + b[j])             h[i, j] = tanh(z_value + b[j])

Bias, activation and mask then cost no pass over memory, and a product that nobody else reads is never stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import Contract, Expr, For, Kernel, Load, Product, Statement, Store
from gradc.ir.loop.rewrite import rebuilt, with_values
from gradc.ir.loop.walk import every, expressions, tensors, touched
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.grids.contraction_results import Epilogue
from gradc.passes.grids.dependence import chain, effects


@dataclass(frozen=True, slots=True)
class Joined:
    """A product and the loops over its elements, by their positions in a kernel."""

    product: int
    loops: int
    is_kept: bool  # whether somebody else reads the product


def joined(kernel: Kernel, shapes: Mapping[str, tuple[Expr, ...]]) -> dict[int, Joined]:
    """Return which loops a product takes into its launch, by their position; every product takes one nest at most."""
    found: dict[int, Joined] = {}
    taken: set[int] = set()
    for at, statement in enumerate(kernel.body):
        if not isinstance(statement, For):
            continue
        for before in range(at - 1, -1, -1):
            made = kernel.body[before]
            if (
                isinstance(made, Product | Contract)
                and before not in taken
                and _fits(kernel, before, at, shapes)
            ):
                found[at] = Joined(before, at, _is_read(kernel, made.out, (before, at)))
                taken.add(before)
                break
    return found


def epilogue_of(loop: For, out: str, *, is_kept: bool, dtype: DType, names: NameSupply) -> Epilogue:
    """The loops as statements about one element of the product `out`."""
    loops = _nest(loop)
    indices = tuple(nodes.var(inner.index) for inner in loops)
    value = nodes.var(names.fresh(f"{out}_value"), dtype)

    def seen(expression: Expr) -> Expr:
        if isinstance(expression, Load) and expression.tensor == out:
            return value
        return rebuilt(expression, seen)

    body = [with_values(statement, seen) for statement in loops[-1].body]
    if is_kept:
        body.insert(0, Store(out, indices, value))
    return Epilogue(value.name, tuple(inner.index for inner in loops), tuple(body))


def _fits(kernel: Kernel, before: int, at: int, shapes: Mapping[str, tuple[Expr, ...]]) -> bool:
    """Whether the loops go once over the elements of the product, and may run in its place, or it in theirs."""
    product, loop = kernel.body[before], kernel.body[at]
    assert isinstance(product, Product | Contract)
    assert isinstance(loop, For)
    if isinstance(product, Contract) and (product.add or any(product.views)):
        return False
    loops, kinds = chain(loop, lambda *_: False)
    if not loops or set(kinds.values()) - {"own"} or any(isinstance(s, For) for s in loops[-1].body):
        return False
    if tuple(inner.extent for inner in loops) != shapes.get(product.out) or len(loops) != len(_nest(loop)):
        return False
    found = effects((loop,))
    here = tuple(nodes.var(inner.index) for inner in loops)
    if found.totals or product.out in found.written or found.places.get(product.out) is None:
        return False
    if any(place != here for place in found.places[product.out]):
        return False
    if found.written & {product.left, product.right}:
        return False
    between = kernel.body[before + 1 : at]
    written = {name for statement in every(between) for name in _written(statement)}
    return not written & {product.left, product.right} and not any(
        product.out in _touched(statement) for statement in every(between)
    )


def _nest(loop: For) -> list[For]:
    found = [loop]
    while len(found[-1].body) == 1 and isinstance(found[-1].body[0], For):
        found.append(found[-1].body[0])
    return found


def _is_read(kernel: Kernel, tensor: str, but: Sequence[int]) -> bool:
    """Whether statements other than those at the positions touch an array, or it is a result."""
    others = (s for at, s in enumerate(kernel.body) if at not in but and not isinstance(s, nodes.Allocate))
    return tensor in kernel.results or any(tensor in _touched(s) for s in every(tuple(others)))


def _touched(statement: Statement) -> set[str]:
    return {*touched(statement), *(name for e in expressions(statement) for name in tensors(e))}


def _written(statement: Statement) -> set[str]:
    """The arrays of which a statement changes elements."""
    names = (getattr(statement, slot, None) for slot in ("tensor", "out"))
    return {name for name in (*names, *getattr(statement, "outs", ())) if isinstance(name, str)}
