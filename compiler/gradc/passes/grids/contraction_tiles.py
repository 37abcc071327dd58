"""Which tile of a result a block of threads computes, and into how many parts a long sum is cut.

A tile is chosen by what is known of the extents: how much of it lies within the result, and whether there are enough
tiles for all multiprocessors of a device.  Where that hangs on extents that only a call knows there are two kernels,
and the call takes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import Expr, Number
from gradc.ir.types import DType
from gradc.passes.grids.contraction_numbers import ONE, ceiling, most, quotient
from gradc.passes.grids.contraction_places import Space, Variable
from gradc.passes.grids.numbers import least
from gradc.passes.loops.work import product

BUSY = 128  # blocks that keep a device at work: about as many as it has multiprocessors
WHOLE = 1024  # terms of a sum that is never cut, if the number is known
SUMMED = 256  # terms that a part of a sum has at least: fewer are not worth a second launch
PARTS = 64  # of a sum, at most

# What an extent is taken for that only a call knows: in the larger and in the smaller kernel, and in the sum.
_MANY, _FEW, _TERMS = 65536, 128, 256
_REGISTERS = 256  # bytes of sums that a thread keeps in registers


@dataclass(frozen=True, slots=True)
class Tile:
    """``rows x columns`` elements of the result, of which a thread has ``own_rows x own_columns``.

    `depth` terms of all sums are in shared memory at a time; the products for `unrolled` of them stand one after the
    other in the text.  `speed` is the share of multiplications among the instructions of the innermost loop.
    """

    rows: int
    columns: int
    depth: int
    own_rows: int
    own_columns: int
    speed: float = 1.0
    unrolled: int = 1

    @property
    def threads(self) -> int:
        """How many threads a block has."""
        return self.rows * self.columns // (self.own_rows * self.own_columns)

    def fits(self, dtype: DType) -> bool:
        """Whether the sums of a thread fit its registers."""
        return self.own_rows * self.own_columns * dtype.numpy.itemsize <= _REGISTERS


# Blocks of 256 threads: more of a tile in registers means fewer reads of shared memory for each product, and so speed;
# narrow tiles waste less of results with few rows or columns, and small ones give more blocks.
TILES = (
    Tile(128, 128, 8, 8, 8, 0.80, unrolled=8),
    Tile(128, 64, 8, 8, 4, 0.72, unrolled=8),
    Tile(64, 128, 8, 4, 8, 0.72, unrolled=8),
    Tile(64, 64, 8, 4, 4, 0.59, unrolled=8),
    Tile(128, 32, 8, 4, 4, 0.57, unrolled=8),
    Tile(32, 128, 8, 4, 4, 0.57, unrolled=8),
    Tile(64, 32, 8, 4, 2, 0.45, unrolled=8),
    Tile(32, 64, 8, 2, 4, 0.45, unrolled=8),
    Tile(128, 16, 16, 4, 2, 0.40, unrolled=8),
    Tile(16, 128, 16, 2, 4, 0.40, unrolled=8),
    Tile(32, 32, 16, 2, 2, 0.30, unrolled=8),
    Tile(64, 16, 16, 2, 2, 0.28, unrolled=8),
    Tile(16, 64, 16, 2, 2, 0.28, unrolled=8),
    Tile(16, 16, 32, 1, 1, 0.14, unrolled=8),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The tiles to take: of two, the first where it has `enough` blocks; and into how many `parts` to cut the sum.

    Without `parts` the extents decide.
    """

    tiles: tuple[Tile, ...]
    parts: Expr | None = None
    enough: int = BUSY


def plan_of(space: Space, dtype: DType) -> Plan:
    """The tile for these extents, or two: for many rows or columns, and for few.

    The one for many is the faster one before it has blocks for all multiprocessors.
    """
    large, small = (_best(space, dtype, guess) for guess in (_MANY, _FEW))
    if large is small:
        return Plan((large,))
    return Plan((large, small), enough=min(BUSY, ceil(BUSY * small.speed / large.speed)))


def _best(space: Space, dtype: DType, guess: int) -> Tile:
    batch, rows, columns = (_about(group, guess) for group in (space.batch, space.rows, space.columns))
    terms = product([variable.extent for variable in space.summed])
    whole = isinstance(terms, Number) and terms.value <= WHOLE
    parts = 1 if whole else max(1, min(PARTS, _about(space.summed, _TERMS) // SUMMED))

    def speed(tile: Tile) -> float:
        down, across = -(-rows // tile.rows), -(-columns // tile.columns)
        used = rows * columns / (down * tile.rows * across * tile.columns) if rows * columns else 1.0
        return tile.speed * used * min(1.0, batch * down * across * parts / BUSY)

    return max((tile for tile in TILES if tile.fits(dtype)), key=speed)


def _about(variables: Sequence[Variable], guess: int) -> int:
    extents = (variable.extent for variable in variables)
    return prod(int(extent.value) if isinstance(extent, Number) else guess for extent in extents)


def parts_of(blocks: Expr, space: Space) -> Expr:
    """Into how many parts a sum is cut, so that a device with few tiles has enough to do.

    The number follows from extents alone, so that results are the same bits on every device.
    """
    terms = product([variable.extent for variable in space.summed])
    if isinstance(terms, Number) and terms.value <= WHOLE:
        return ONE
    if isinstance(blocks, Number) and int(blocks.value) > BUSY:
        return ONE
    wanted = quotient(nodes.number(2 * BUSY), most(blocks, ONE))
    worth = least(quotient(terms, nodes.number(SUMMED)), nodes.number(PARTS))
    return most(least(wanted, worth), ONE)


def are_many(blocks: Expr, many: int) -> Expr:
    """1 where there are so many blocks, else 0."""
    return least(quotient(blocks, nodes.number(many)), ONE)


def blocks_of(tile: Tile, batch: Expr, rows: Expr, columns: Expr) -> Expr:
    """How many tiles a result has."""
    tiles = nodes.apply("mul", ceiling(rows, tile.rows), ceiling(columns, tile.columns))
    return nodes.apply("mul", batch, tiles)
