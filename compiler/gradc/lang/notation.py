"""A contraction that is refused, in index notation: ``out[i, j] = sum[k] x[i, k] * w[k, j]``."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.errors import ShapeError
from gradc.ir.names import INDEX_NAMES


def index_names(terms: Sequence[tuple[str, str]], output: str) -> dict[str, str]:
    """Name the labels of a contraction as equations do; letters keep the names that the user gave them."""
    labels = dict.fromkeys((*output, *(label for _, labels in terms for label in labels)))
    if all(label.isascii() and label.isalpha() for label in labels):
        return {label: label for label in labels}
    return dict(zip(labels, INDEX_NAMES, strict=False))


def show_contraction(terms: Sequence[tuple[str, str]], output: str) -> str:
    """Show a sum of products as an equation.

    Parameters
    ----------
    terms : sequence of tuple of str
        Each operand's name, and a label for each of its axes.
    output : str
        The labels of the result; the others are summed.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> show_contraction([("x", "ik"), ("w", "kj")], "ij")
    'out[i, j] = sum[k] x[i, k] * w[k, j]'
    """
    names = index_names(terms, output)
    summed = [label for label in names if label not in output]

    def access(tensor: str, labels: str) -> str:
        return f"{tensor}[{', '.join(names[label] for label in labels)}]" if labels else tensor

    total = f"sum[{', '.join(names[label] for label in summed)}] " if summed else ""
    return f"{access('out', output)} = {total}{' * '.join(access(*term) for term in terms)}"


def with_equation(error: ShapeError, terms: Sequence[tuple[str, str]], output: str) -> ShapeError:
    """Add the equation of a contraction to the reason why its extents do not agree."""
    error.why += f"\n    {show_contraction(terms, output)}"
    return error
