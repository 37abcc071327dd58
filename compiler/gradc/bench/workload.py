"""A workload: its inputs, a reference, and the same computation written for every peer.

Nothing here needs gradc: another interpreter, which has a peer but not gradc, reads it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

OURS = "gradc"  # what the others are compared with

Run = Callable[[], Any]  # computes value and gradients; what it returns holds numbers and arrays
Build = Callable[..., Run]  # takes the inputs


@dataclass(frozen=True, slots=True)
class Workload:
    """One computation and the ways to do it.

    Attributes
    ----------
    name, title : str
        What it is called on the command line, and in words.
    dtype : str
        Of every array in every way.
    inputs : callable
        Takes whether they are to be small; returns the arguments of every builder, the same every time.
    reference : callable
        Takes the inputs in float64; returns what every way must return.
    ways : mapping
        A peer, or a peer and its mode after a comma, to what builds it.
    rtol : float
        How far a way may be from the reference, as a share of the largest number of the same array.
    reference_peer : str
        What the reference needs to be installed.
    value_only : frozenset
        The ways that compute no gradient.
    notes : mapping
        What a reader has to know about a way.
    """

    name: str
    title: str
    inputs: Callable[[bool], tuple[Any, ...]]
    reference: Callable[..., Any]
    ways: Mapping[str, Build]
    dtype: str = "float64"
    rtol: float = 1e-9
    reference_peer: str = "numpy"
    value_only: frozenset[str] = frozenset()
    notes: Mapping[str, str] | None = None


def peer_of(way: str) -> str:
    """Return the peer of a way: what stands before its mode."""
    return way.partition(",")[0]


def wide(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Inputs in float64, whatever the dtype of the workload."""
    return tuple(
        item.astype(np.float64) if isinstance(item, np.ndarray) and item.dtype.kind == "f" else item
        for item in inputs
    )


def leaves(result: Any) -> Iterator[np.ndarray]:
    """Give the arrays of a result in order, as float64; tensors of other libraries are read as arrays."""
    if isinstance(result, tuple | list):
        for item in result:
            yield from leaves(item)
    elif hasattr(result, "detach"):
        yield np.asarray(result.detach().numpy(), np.float64)
    else:
        yield np.asarray(result, np.float64)


def flat(result: Any) -> np.ndarray:
    """Numbers of a result as one vector."""
    return np.concatenate([leaf.ravel() for leaf in leaves(result)])


def groups(result: Any) -> list[int]:
    """How many numbers of a result are compared together: an array, or single numbers in a row.

    Examples
    --------
    >>> groups((1.0, (np.ones(3), 2.0, 3.0)))
    [1, 3, 2]
    """
    found: list[int] = []
    joins = False
    for at, leaf in enumerate(leaves(result)):
        if joins and leaf.ndim == 0 and at > 1:
            found[-1] += 1
        else:
            found.append(leaf.size)
        joins = leaf.ndim == 0
    return found


def fault(found: np.ndarray, wanted: np.ndarray, sizes: list[int], rtol: float) -> str:
    """Say what is wrong with a result; nothing if it is right.  Where the reference is zero, only zero is right."""
    if found.size != wanted.size:
        return f"it returns {found.size} numbers, the reference {wanted.size}"
    pairs = zip(_cut(found, sizes), _cut(wanted, sizes), strict=True)
    worst = float(np.max([_error(part, right) for part, right in pairs]))  # NaN if one is
    return "" if worst <= rtol else f"it differs from the reference by {worst:.1e}, more than {rtol:.0e}"


def _error(part: np.ndarray, right: np.ndarray) -> float:
    """Return the largest difference, as a share of the largest number."""
    error, scale = (float(np.abs(array).max(initial=0.0)) for array in (part - right, right))
    return error / scale if scale else error and math.inf


def _cut(vector: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    return np.split(vector, np.cumsum(sizes)[:-1])
