"""Random examples and targets that fit a network: what a gradient check and a look at the kernels need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, GradcError
from gradc.nn.network import Network


def drawn(network: Network, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return examples and targets as `Network.data_of` does.

    Parameters
    ----------
    network : Network
        Examples are normal numbers, or rows of its Embedding; targets are the first that its loss takes of labels,
        normal numbers, zeros and ones, and distributions over the last axis.
    count : int
        How many.
    seed : int
        Of the random numbers.

    Returns
    -------
    tuple of array
        Examples and targets, the first axis counting them.
    """
    rng = np.random.default_rng(seed)
    rows = network.rows
    shape = (count, *network.shape)
    x = rng.normal(size=shape) if rows is None else rng.integers(0, rows, shape)
    for y in _targets(network, rng, (count, *network.output)):
        try:
            return network.data_of(x, y)
        except GradcError:
            continue
    raise ArgumentError(
        f"no targets can be drawn for {network.loss!r}", do="give examples and targets with --inputs data.npz"
    )


def _targets(network: Network, rng: np.random.Generator, shape: tuple[int, ...]) -> Iterator[Any]:
    """Yield targets of all kinds that losses take."""
    if network.loss.target_kind == "labels":
        yield rng.integers(0, shape[-1], shape[:-1])
        return
    yield rng.normal(size=shape)
    yield rng.integers(0, 2, shape)
    parts = rng.uniform(size=shape)
    yield parts / parts.sum(axis=-1, keepdims=True)
