"""Contractions that are products of matrices, as a library of such products is called for them.

    z[i, j] = sum[k] x[i, k] * w[k, j]         z[b, i, j] = sum[k] x[b, i, k] * w[b, j, k]

Rows and columns of the result, terms of the sum and a batch of such products each lie along one stride of memory in
every tensor.  Neighbouring indices that do the same count as one: ``x[b, t, k] * w[k, j]`` has ``b * t`` rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from math import prod

from gradc_runtime.contraction import positions

Texts = tuple[str, str, str]
Shape = tuple[int, ...]

# What an index does, by whether the result, the left and the right operand have it.
_ROLES = {
    (True, True, True): "batch",
    (True, True, False): "rows",
    (True, False, True): "columns",
    (False, True, True): "terms",
}


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring axes of a tensor, from `first` to before `end`, whose indices do the same."""

    role: str
    letters: str
    first: int
    end: int


@lru_cache(maxsize=4096)
def runs_of(texts: Texts) -> tuple[tuple[Run, ...], ...] | None:
    """Return the runs of the result, the left and the right operand; None where these are no products of matrices.

    `texts` are their positions, as in `gradc_runtime.contraction`.
    """
    out, left, right = words = [_letters(text) for text in texts]
    letters = dict.fromkeys("".join(words))
    roles = {letter: _ROLES.get((letter in out, letter in left, letter in right)) for letter in letters}
    if not {"rows", "columns", "terms"} <= set(roles.values()) <= set(_ROLES.values()):
        return None
    found: list[tuple[Run, ...]] = []
    orders: dict[str, str] = {}
    for word in words:
        runs: list[Run] = []
        for role, group in groupby(word, lambda letter: roles[letter] or ""):
            same, first = "".join(group), runs[-1].end if runs else 0
            runs.append(Run(role, same, first, first + len(same)))
        differs = any(orders.setdefault(run.role, run.letters) != run.letters for run in runs)
        if differs or runs[-1].role == "batch":  # neighbours in memory belong to several matrices
            return None
        found.append(tuple(runs))
    return tuple(found)


def _letters(text: str) -> str:
    """One letter for each axis, or nothing where a position is not an index, or two are the same."""
    found = positions(text)
    if any(len(terms) != 1 or terms[0][0] != 1 or offset for terms, offset in found):
        return ""
    letters = [letter for ((_, letter),), _ in found]
    return "".join(letters) if len(set(letters)) == len(letters) else ""


# --- calls --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gemm:
    """A call in BLAS's terms, in which neighbours in memory stand in a column: C = A B, of each `many`.

    A, m by k, is the left operand or, if `swapped`, the right one; B, k by n, is the other.  What is `turned` lies in
    memory as its transpose.  `leading` and `strides` are the distances of columns and of matrices in A, B and C.
    """

    swapped: bool
    turned: tuple[bool, bool]
    m: int
    n: int
    k: int
    leading: tuple[int, int, int]
    strides: tuple[int, int, int]
    many: int


@lru_cache(maxsize=4096)
def gemm_of(texts: Texts, shapes: tuple[Shape, Shape, Shape], extents: Shape) -> Gemm:
    """Return the call for C-contiguous arrays of these shapes, and indices of these extents by their letters.

    Raises
    ------
    ValueError
        The contraction is no product of matrices, or the arrays have no strides for it.
    """
    found = runs_of(texts)
    if found is None:
        raise ValueError(f"{' '.join(map(repr, texts))} are no products of matrices")
    sizes = dict(zip(sorted({*"".join(run.letters for runs in found for run in runs)}), extents, strict=True))
    for at, (text, runs, shape) in enumerate(zip(texts, found, shapes, strict=True)):
        if not _fits(runs, shape, sizes, whole=at == 0):
            raise ValueError(f"an array of shape {shape} is no matrix at {text!r} for the extents {sizes}")
    out, *operands = found
    swapped = out[-1].role == "columns"
    inner, outer = ("columns", "rows") if swapped else ("rows", "columns")
    first, second = reversed(operands) if swapped else operands
    chosen = (first, second, out)
    placed = [shapes[2], shapes[1]] if swapped else [shapes[1], shapes[2]]
    count = {role: prod(sizes[letter] for letter in letters) for role, letters in _groups(found).items()}
    steps = [_steps(runs, shape) for runs, shape in zip(chosen, (*placed, shapes[0]), strict=True)]
    return Gemm(
        swapped=swapped,
        turned=(first[-1].role != inner, second[-1].role != "terms"),
        m=count[inner],
        n=count[outer],
        k=count["terms"],
        leading=(steps[0][0], steps[1][0], steps[2][0]),
        strides=(steps[0][1], steps[1][1], steps[2][1]),
        many=count.get("batch", 1),
    )


def _fits(runs: tuple[Run, ...], shape: Shape, sizes: dict[str, int], *, whole: bool) -> bool:
    """Whether indices are those of axes, and all that there are of a `whole` array or behind the first of a run."""
    if len(shape) != runs[-1].end:
        return False
    for run in runs:
        for axis, letter in enumerate(run.letters, run.first):
            if sizes[letter] > shape[axis] or (sizes[letter] < shape[axis] and (whole or axis > run.first)):
                return False
    return True


def _groups(found: tuple[tuple[Run, ...], ...]) -> dict[str, str]:
    return {run.role: run.letters for runs in found for run in runs}


def _steps(runs: tuple[Run, ...], shape: Shape) -> tuple[int, int]:
    """The distances of columns and of matrices."""
    steps = {run.role: prod(shape[run.end :]) for run in runs}
    batch = steps.pop("batch", 0)
    return max(steps.values()), batch
