"""``np.einsum``: subscripts read into labels, operands contracted pairwise."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.errors import ShapeError
from gradc.lang.emit import Emitter, Value
from gradc.lang.operations import lift
from gradc.lang.operations.lift import ArrayLike
from gradc.lang.operations.sizes import static

# Axes that an ellipsis stands for get characters that no subscript can contain, counted from the last one.
_ELLIPSIS = "".join(map(chr, range(0x2460, 0x2480)))
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def einsum(
    emit: Emitter,
    *operands: object,
    out: None = None,
    optimize: object = False,
    dtype: object = None,
    order: str = "K",
    casting: str = "safe",
) -> Value:
    """Sum of products in Einstein's notation; how it is contracted is gradc's choice."""
    lift.only_default("np.einsum", out=out)
    subscripts, arrays = _arguments(emit, operands)
    values = [lift.array(emit, array) for array in arrays]
    wanted = lift.dtype(dtype)
    if wanted is not None:
        values = [emit.cast(value, wanted) for value in values]
    terms, result = _labels(subscripts, [len(emit.shape(value)) for value in values])
    return _contracted(emit, list(zip(values, terms, strict=True)), result)


# --- reading ------------------------------------------------------------------------------------------------


def _arguments(emit: Emitter, operands: Sequence[object]) -> tuple[str, list[ArrayLike]]:
    """Subscripts and arrays of both calling forms: a string first, or lists of integers in between."""
    if operands and isinstance(operands[0], str):
        return operands[0].replace(" ", ""), list(operands[1:])  # pyright: ignore[reportReturnType]
    if len(operands) < 2:
        raise ShapeError("einsum takes subscripts and operands", do='write np.einsum("ij,jk->ik", a, b)')
    pairs = len(operands) // 2
    text = ",".join(_letters(emit, operands[2 * at + 1]) for at in range(pairs))
    if len(operands) % 2:
        text += "->" + _letters(emit, operands[-1])
    return text, [operands[2 * at] for at in range(pairs)]  # pyright: ignore[reportReturnType]


def _letters(emit: Emitter, entries: object) -> str:
    if not isinstance(entries, list | tuple):
        raise ShapeError("einsum without subscripts takes a list of integers after each operand")
    return "".join(
        "..." if entry is Ellipsis else _LETTERS[static(emit, entry, "an einsum label")] for entry in entries
    )


def _labels(subscripts: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Labels of each operand and of the result, ellipses expanded."""
    given, arrow, wanted = subscripts.partition("->")
    terms = given.split(",")
    if len(terms) != len(ranks):
        raise _malformed(subscripts, f"{len(terms)} groups of subscripts for {len(ranks)} operands")
    expanded = [_expanded(subscripts, term, rank) for term, rank in zip(terms, ranks, strict=True)]
    dots = max((label for term in expanded for label in term if label in _ELLIPSIS), default="")
    broadcast = _ELLIPSIS[: _ELLIPSIS.index(dots) + 1][::-1] if dots else ""
    if not arrow:
        every = "".join(expanded)
        once = sorted(label for label in set(every) if every.count(label) == 1 and label not in _ELLIPSIS)
        return expanded, broadcast + "".join(once)
    result = wanted.replace("...", broadcast)
    if len(set(result)) != len(result) or any(label not in "".join(expanded) for label in result):
        raise _malformed(subscripts, "the result must name labels of the operands, each once")
    if broadcast and broadcast not in result:
        raise _malformed(subscripts, "the result must keep the axes of the ellipsis")
    return expanded, result


def _expanded(subscripts: str, term: str, rank: int) -> str:
    head, dots, tail = term.partition("...")
    if not all(label.isascii() and label.isalpha() for label in head + tail):
        raise _malformed(subscripts, f"{term!r} holds something else than letters and one ellipsis")
    hidden = rank - len(head) - len(tail)
    if hidden < 0 or (hidden and not dots):
        raise _malformed(subscripts, f"{term!r} names {len(head) + len(tail)} axes of an array with {rank}")
    return head + _ELLIPSIS[:hidden][::-1] + tail


def _malformed(subscripts: str, why: str) -> ShapeError:
    return ShapeError(
        f"einsum does not take {subscripts!r}", why=why, do='write np.einsum("ij,jk->ik", a, b)'
    )


# --- contracting --------------------------------------------------------------------------------------------

Term = tuple[Value, str]


def _contracted(emit: Emitter, terms: list[Term], result: str) -> Value:
    """Contract pairs, the one with the smallest result first, until one operand is left."""
    if len(terms) > 1:
        terms = [_summed(emit, term, _needed(terms, (at,), result)) for at, term in enumerate(terms)]
    while len(terms) > 2:
        pairs = [(i, j) for j in range(len(terms)) for i in range(j)]
        first, second = min(pairs, key=lambda pair: _cost(terms, pair, result))
        kept = _kept(terms, (first, second), result)
        product = emit.contract([terms[first], terms[second]], kept)
        rest = [term for at, term in enumerate(terms) if at not in (first, second)]
        terms = [*rest[:first], (product, kept), *rest[first:]]
    if len(terms) == 1 and terms[0][1] == result:
        return terms[0][0]
    return emit.contract(terms, result)


def _needed(terms: Sequence[Term], chosen: tuple[int, ...], result: str) -> set[str]:
    others = (labels for at, (_, labels) in enumerate(terms) if at not in chosen)
    return set(result).union(*others)


def _kept(terms: Sequence[Term], chosen: tuple[int, ...], result: str) -> str:
    """Labels of the chosen operands that the rest of the contraction needs, in order of appearance."""
    needed = _needed(terms, chosen, result)
    labels = dict.fromkeys("".join(terms[at][1] for at in chosen))
    return "".join(label for label in labels if label in needed)


def _cost(terms: Sequence[Term], pair: tuple[int, int], result: str) -> tuple[int, int, int, int]:
    """Axes of the product, axes of the loop; then the leftmost pair."""
    labels = set(terms[pair[0]][1] + terms[pair[1]][1])
    return len(_kept(terms, pair, result)), len(labels), pair[1], pair[0]


def _summed(emit: Emitter, term: Term, needed: set[str]) -> Term:
    """Sum the labels of one operand that nothing else names: before the product that is cheaper."""
    labels = term[1]
    if all(label in needed for label in labels):
        return term
    kept = "".join(label for label in dict.fromkeys(labels) if label in needed)
    return emit.contract([term], kept), kept


__all__ = ["einsum"]
