"""Give a kernel arrays of the caller's to write its results to.

kernel f(x) -> v, x_bar                 kernel f_into(x, out x_bar) -> v
allocate x_bar[n] zeroed      ->        require x_bar.shape[0] == n
...                                     clear x_bar
...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    Allocate,
    Clear,
    Contract,
    Expr,
    For,
    Kernel,
    Parameter,
    Product,
    Require,
    Statement,
    Store,
)
from gradc.ir.loop.walk import every, names_in
from gradc.ir.names import INDEX_NAMES, NameSupply
from gradc.ir.types import DType


def into(kernel: Kernel, outs: Sequence[Parameter]) -> Kernel:
    """Make results parameters, which the kernel writes instead of returning arrays of its own.

    Requires: `kernel` is valid; `outs` are results of it that are arrays, with their types.
    Ensures: the same values; what is left of the results is returned, in one tuple.
    """
    return _Into(kernel, outs).kernel()


class _Into:
    def __init__(self, kernel: Kernel, outs: Sequence[Parameter]) -> None:
        self.before = kernel
        self.outs = {out.name: replace(out, written=True) for out in outs}
        self.filled: set[str] = set()
        loops = {statement.index for statement in every(kernel.body) if isinstance(statement, For)}
        used = names_in(kernel.body) | loops
        self.names = NameSupply((*used, *(p.name for p in kernel.parameters), *kernel.results, kernel.name))
        self.letters = free_letters(kernel.body)

    def kernel(self) -> Kernel:
        before, parameters = self.before, list(self.before.parameters)
        body = [new for statement in before.body for new in self._statement(statement)]
        for name, out in self.outs.items():
            if name in self.filled:
                parameters.append(out)
            else:  # functions of the library, and products of batches, return arrays that they make themselves
                parameters.append(replace(out, name=self.names.fresh(f"{name}_out")))
                body += self._copied(parameters[-1], name)
        results = tuple(name for name in before.results if name not in self.outs)
        written = ", ".join(parameter.name for parameter in parameters if parameter.written)
        header = (
            *before.header[:1],
            f"Written to, and sharing memory with nothing else: {written}.",
            *before.header[1:],
        )
        return Kernel(f"{before.name}_into", tuple(parameters), tuple(body), results, header)

    def _statement(self, statement: Statement) -> Iterator[Statement]:
        """What takes the place of a statement; `filled` notes the results that are written where they belong."""
        match statement:
            case Allocate(name, _, shape, zeroed) if name in self.outs:
                self.filled.add(name)
                yield from _fits(name, shape)
                if zeroed:
                    yield Clear(name)
            case Product(name) if name in self.outs:
                self.filled.add(name)
                yield from self._product(statement)
            case _:
                yield statement

    def _product(self, product: Product) -> Iterator[Statement]:
        """A matrix product as a contraction, which takes an array to write to."""
        first = "k i" if product.transpose_left else "i k"
        second = "j k" if product.transpose_right else "k j"
        rows, summed = (extent_of(product.left, first.index(letter) // 2) for letter in "ik")
        columns = extent_of(product.right, second.index("j") // 2)
        yield from _fits(product.out, (rows, columns))
        texts = (product.left, first, product.right, second)
        yield Contract(product.out, "i j", *texts, (rows, columns, summed), False, note=product.note)

    def _copied(self, out: Parameter, name: str) -> Iterator[Statement]:
        """Copy a result to its place."""
        yield from _fits(out.name, tuple(extent_of(name, axis) for axis in range(out.rank)))
        yield copy_loops(name, out, self.letters)


def free_letters(body: Sequence[Statement]) -> list[str]:
    """Names for the indices of further loops: those of loops that are there, and those that nothing has."""
    loops = {statement.index for statement in every(body) if isinstance(statement, For)}
    used = names_in(body)
    return [name for name in INDEX_NAMES if name in loops or name not in used]


def copy_loops(source: str, target: Parameter, letters: Sequence[str]) -> Statement:
    """The loops that copy an array to one of the same dtype and shape."""
    at = tuple(nodes.var(letter) for letter in letters[: target.rank])
    nest: Statement = Store(target.name, at, nodes.load(source, at, target.dtype))
    for axis, index in reversed(list(enumerate(at))):
        nest = For(index.name, extent_of(source, axis), (nest,))
    return nest


def extent_of(tensor: str, axis: int) -> Expr:
    """The extent of an axis of an array."""
    return nodes.load(f"{tensor}.shape", (nodes.number(axis),), DType.INT64)


def _fits(name: str, shape: Sequence[Expr]) -> Iterator[Require]:
    """Refuse an array of another shape: what is written would lie outside it."""
    for axis, extent in enumerate(shape):
        message = f"the array for {name} has another shape than the result"
        yield Require(nodes.apply("eq", extent_of(name, axis), extent), message)
