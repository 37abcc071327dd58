"""Factors of matrices on a CUDA device, and systems with triangles: kernels of `gradc_runtime.cuda_linalg`.

Matrices are worked on in panels of 32 columns.  A panel is one block's, with some barriers for every column;
what lies beyond it is every thread's, a product of 32 terms for each element.  All matrices of a batch are in
the same launches, of which there are a few for every panel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradc_runtime.cuda_backend import cuda, device_function
from gradc_runtime.cuda_families import THREADS, family, threads_for
from gradc_runtime.cuda_groups import group_max, group_min
from gradc_runtime.cuda_math import sqrt

Array = Any
Number = Any

PANEL = 32  # columns


class View(NamedTuple):
    """Matrices in an array: where the first one starts, and the steps to the next matrix, row and column."""

    elements: Array
    first: int
    matrix: int
    row: int
    column: int

    def at(self, row: int, column: int) -> View:
        """What lies below and to the right of an element, and the element."""
        return self._replace(first=self.first + row * self.row + column * self.column)

    def transposed(self) -> View:
        """Rows as columns."""
        return self._replace(row=self.column, column=self.row)

    def upwards(self, rows: int) -> View:
        """The last row first."""
        return self._replace(first=self.first + (rows - 1) * self.row, row=-self.row)

    def backwards(self, n: int) -> View:
        """The last row and column first: an upper triangle as a lower one."""
        return self.upwards(n).transposed().upwards(n).transposed()


# To a kernel a view `a` is its elements and the numbers ``a_first``, ``a_matrix``, ``a_row``, ``a_column``.
VIEW = "T[::1], int64, int64, int64, int64"


def panels(n: int) -> list[tuple[int, int]]:
    """The first column of each panel, and the one behind its last."""
    return [(first, min(first + PANEL, n)) for first in range(0, n, PANEL)]


# --- triangular systems -------------------------------------------------------------------------------------


def substitute(t: View, x: View, batch: int, n: int, columns: int, unit: bool) -> None:
    """Replace `x` by ``t^-1 x`` where `t` is lower triangular, with `unit` of ones on its diagonal."""
    for first, last in panels(n):
        many = last - first
        corner, rows = t.at(first, first), x.at(first, 0)
        _solve_panel.each(batch * columns, corner, rows, many, unit, columns)
        if last < n:
            below = (t.at(last, first), rows)
            subtract_product(x.at(last, 0), *below, batch, n - last, columns, many)


def subtract_product(c: View, x: View, y: View, batch: int, rows: int, columns: int, many: int) -> None:
    """Subtract from every matrix of `c` a product of `many` columns of `x` with `many` rows of `y`."""
    _subtract_product.each(batch * rows * columns, c, x, y, rows, columns, many)


@family(f"{VIEW}, {VIEW}, int64, boolean, int64, int64")
def _solve_panel(
    t: Array,
    t_first: int,
    t_matrix: int,
    t_row: int,
    t_column: int,
    x: Array,
    x_first: int,
    x_matrix: int,
    x_row: int,
    x_column: int,
    many: int,
    unit: bool,
    columns: int,
    size: int,
) -> None:
    """Solve a triangular system in place, each column of the right-hand side by one thread."""
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        triangle = t_first + p // columns * t_matrix
        right = x_first + p // columns * x_matrix + p % columns * x_column
        for j in range(many):
            value = x[right + j * x_row]
            if not unit:
                value /= t[triangle + j * (t_row + t_column)]
                x[right + j * x_row] = value
            for i in range(j + 1, many):
                x[right + i * x_row] -= t[triangle + i * t_row + j * t_column] * value


@family(f"{VIEW}, {VIEW}, {VIEW}, int64, int64, int64, int64")
def _subtract_product(
    c: Array,
    c_first: int,
    c_matrix: int,
    c_row: int,
    c_column: int,
    x: Array,
    x_first: int,
    x_matrix: int,
    x_row: int,
    x_column: int,
    y: Array,
    y_first: int,
    y_matrix: int,
    y_row: int,
    y_column: int,
    rows: int,
    columns: int,
    many: int,
    size: int,
) -> None:
    """Subtract from each element its terms, in order."""
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        column, row, matrix = p % columns, p // columns % rows, p // columns // rows
        place = c_first + matrix * c_matrix + row * c_row + column * c_column
        left = x_first + matrix * x_matrix + row * x_row
        right = y_first + matrix * y_matrix + column * y_column
        value = c[place]
        for _ in range(many):
            value -= x[left] * y[right]
            left += x_column
            right += y_row
        c[place] = value


# --- exchanged rows -----------------------------------------------------------------------------------------


def exchange(
    x: View, pivots: Array, places: range, batch: int, columns: int, hole: tuple[int, int] = (0, 0)
) -> None:
    """Exchange rows, one after the other, with those that `pivots` says.

    There are `columns` columns; a hole is the first of those that are left alone, and how many they are.
    """
    given = (pivots.size // batch, places.start, places.step, len(places), *hole, columns)
    _exchange.each(batch * columns, x, pivots, *given)


@family(f"{VIEW}, int64[::1], int64, int64, int64, int64, int64, int64, int64, int64")
def _exchange(
    x: Array,
    x_first: int,
    x_matrix: int,
    x_row: int,
    x_column: int,
    pivots: Array,
    n: int,
    start: int,
    step: int,
    many: int,
    hole: int,
    skipped: int,
    columns: int,
    size: int,
) -> None:
    """Exchange the elements of a column, by one thread."""
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        matrix, column = p // columns, p % columns
        if column >= hole:
            column += skipped
        top = x_first + matrix * x_matrix + column * x_column
        for k in range(many):
            row = start + k * step
            here, there = top + row * x_row, top + pivots[matrix * n + row] * x_row
            value = x[here]
            x[here] = x[there]
            x[there] = value


# --- triangular factors -------------------------------------------------------------------------------------


def eliminate(a: View, pivots: Array, batch: int, n: int) -> None:
    """Replace `a` by factors: a lower triangle with ones on its diagonal, not stored, and an upper one.

    The pivot is the largest element of its column, the first one of several, and NaN before all; `pivots` says
    with which row each has been exchanged.  Below and behind a pivot of zero all is NaN.
    """
    for first, last in panels(n):
        many, rest = last - first, n - last
        _eliminate_panel.run(batch, threads_for(n - first), a.elements, pivots, n, first, last)
        if many < n:
            exchange(a, pivots, range(first, last), batch, n - many, (first, many))
        if rest:
            right = a.at(first, last)
            _solve_panel.each(batch * rest, a.at(first, first), right, many, True, rest)
            subtract_product(a.at(last, last), a.at(last, first), right, batch, rest, rest, many)


@family("T[::1], int64[::1], int64, int64, int64")
def _eliminate_panel(matrices: Array, pivots: Array, n: int, first: int, last: int) -> None:
    """Make factors of some columns: a block for each matrix."""
    sizes, places = cuda.shared.array(THREADS, np.float64), cuda.shared.array(THREADS, np.int64)
    matrix, thread, threads = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x
    top = matrix * n * n
    for j in range(first, last):
        largest, row = -1.0, n
        for i in range(j + thread, n, threads):
            size = np.float64(abs(matrices[top + i * n + j]))
            if size > largest or (size != size and largest == largest):
                largest, row = size, i
        found = group_max(sizes, largest, threads)
        row = group_min(places, row if largest == found or largest != largest else n, threads)
        cuda.syncthreads()  # a group of one warp is no barrier
        for column in range(first + thread, last, threads):
            here, there = top + j * n + column, top + row * n + column
            value = matrices[here]
            matrices[here] = matrices[there]
            matrices[there] = value
        if thread == 0:
            pivots[matrix * n + j] = row
        cuda.syncthreads()
        pivot = matrices[top + j * n + j]
        for i in range(j + 1 + thread, n, threads):  # rows among which the thread looks for the next pivot
            factor = matrices[top + i * n + j] / pivot
            matrices[top + i * n + j] = factor
            for column in range(j + 1, last):
                matrices[top + i * n + column] -= factor * matrices[top + j * n + column]


def root(a: View, failed: Array, batch: int, n: int) -> None:
    """Replace the lower triangle of `a` by its Cholesky factor; what is above means nothing afterwards.

    A pivot that is not positive sets the flag `failed`; NaN is none.
    """
    for first, last in panels(n):
        _root_panel.run(batch, threads_for(n - first), a.elements, failed, n, first, last)
        if last < n:
            left = a.at(last, first)
            subtract_product(
                a.at(last, last), left, left.transposed(), batch, n - last, n - last, last - first
            )


@family("T[::1], int32[::1], int64, int64, int64")
def _root_panel(matrices: Array, failed: Array, n: int, first: int, last: int) -> None:
    """Make some columns of Cholesky factors: a block for each matrix."""
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    top = cuda.blockIdx.x * n * n
    for j in range(first, last):
        pivot = matrices[top + j * n + j]
        diagonal = sqrt(pivot)
        for i in range(j + 1 + thread, n, threads):
            matrices[top + i * n + j] /= diagonal
        cuda.syncthreads()
        if thread == 0:
            matrices[top + j * n + j] = diagonal
            if pivot <= 0:
                failed[0] = 1
        for i in range(j + 1 + thread, n, threads):
            factor = matrices[top + i * n + j]
            for column in range(j + 1, min(last, i + 1)):
                matrices[top + i * n + column] -= factor * matrices[top + column * n + j]
        cuda.syncthreads()


# --- factors with exchanged rows and columns ----------------------------------------------------------------


def eliminate_completely(a: View, rows: Array, columns: Array, batch: int, n: int) -> None:
    """Replace `a` by factors ``l d u``: triangles with ones on their diagonals, not stored, and a diagonal.

    The pivot is the largest element of all that is left, so that no element of `l` and `u` is larger than 1;
    `rows` and `columns` say what has been exchanged.  What is left behind the rank is zero.  One block works on
    a matrix, in about ``n^3`` steps that 256 threads share.
    """
    _eliminate_completely.run(batch, threads_for(n * n), a.elements, rows, columns, n)


@family("T[::1], int64[::1], int64[::1], int64")
def _eliminate_completely(matrices: Array, rows: Array, columns: Array, n: int) -> None:
    """Make factors of matrices: a block for each."""
    sizes, places = cuda.shared.array(THREADS, np.float64), cuda.shared.array(THREADS, np.int64)
    matrix, thread, threads = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x
    top = matrix * n * n
    for j in range(n):
        left, largest, place = n - j, -1.0, n * n
        for p in range(thread, left * left, threads):
            size = np.float64(abs(matrices[top + (j + p // left) * n + j + p % left]))
            if size > largest or (size != size and largest == largest):
                largest, place = size, p
        found = group_max(sizes, largest, threads)
        place = group_min(places, place if largest == found or largest != largest else n * n, threads)
        row, column = j + place // left, j + place % left
        cuda.syncthreads()  # a group of one warp is no barrier
        _exchange_lines(matrices, top + j * n, top + row * n, 1, thread, n, threads)
        cuda.syncthreads()
        _exchange_lines(matrices, top + j, top + column, n, thread, n, threads)
        if thread == 0:
            rows[matrix * n + j], columns[matrix * n + j] = row, column
        cuda.syncthreads()
        if found != 0:
            _eliminate_corner(matrices, top + j * (n + 1), n, left, thread, threads)


@device_function
def _exchange_lines(
    elements: Array, here: int, there: int, step: int, thread: int, n: int, threads: int
) -> None:
    """Exchange two rows or columns."""
    for k in range(thread, n, threads):
        value = elements[here + k * step]
        elements[here + k * step] = elements[there + k * step]
        elements[there + k * step] = value


@device_function
def _eliminate_corner(elements: Array, corner: int, n: int, left: int, thread: int, threads: int) -> None:
    """Eliminate below a pivot, then divide what is right of it."""
    pivot = elements[corner]
    for i in range(1 + thread, left, threads):
        elements[corner + i * n] /= pivot
    cuda.syncthreads()
    rest = left - 1
    for p in range(thread, rest * rest, threads):
        i, column = 1 + p // rest, 1 + p % rest
        elements[corner + i * n + column] -= elements[corner + i * n] * elements[corner + column]
    cuda.syncthreads()
    for column in range(1 + thread, left, threads):
        elements[corner + column] /= pivot
