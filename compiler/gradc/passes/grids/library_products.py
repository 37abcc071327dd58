"""Which products and contractions a library of matrix products carries out, and the call that each becomes.

    product z = x @ w          rows = x.shape[0]
                        ->     columns = w.shape[1]
                               allocate z[rows, columns]
                               contract z[i j] = x[i k] * w[k j] over (rows, columns, x.shape[1])

What follows such a product has a launch of its own: the library knows no epilogues but its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from gradc.ir.loop.nodes import Contract, Product, Statement
from gradc.ir.loop.sizes import size_of
from gradc.ir.tensors import TensorType
from gradc_runtime.matrix_products import Run, runs_of


def is_for_library(statement: Statement, types: Mapping[str, TensorType]) -> bool:
    """Whether a statement is a batch of products of matrices, all of whose arrays have strides for that."""
    if isinstance(statement, Product):
        return types[statement.left].dtype.is_float
    if not isinstance(statement, Contract) or any(statement.views) or statement.again is not None:
        return False
    found = runs_of((statement.target, statement.first, statement.second))
    if found is None or not types[statement.left].dtype.is_float:
        return False
    letters = sorted({letter for runs in found for run in runs for letter in run.letters})
    sizes = dict(zip(letters, map(size_of, statement.extents), strict=True))
    names = (statement.out, statement.left, statement.right)
    return all(
        sizes[letter] == types[name].shape[axis]
        for at, (name, runs) in enumerate(zip(names, found, strict=True))
        for axis, letter in _whole(runs, every=at == 0)
    )


def _whole(runs: tuple[Run, ...], *, every: bool) -> list[tuple[int, str]]:
    """The axes, and their letters, that must have no elements but those that are used: several count as one."""
    return [
        (axis, letter)
        for run in runs
        for axis, letter in enumerate(run.letters, run.first)
        if every or axis > run.first
    ]
