"""A derivation as text: one block per gate, from the output to the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.explain.mathematics.derivation import SMALL, Contribution, Derivation, Step
from gradc.explain.mathematics.latex import LatexPrinter
from gradc.explain.mathematics.symbols import Symbols

_DIGITS = 6
WIDEST = 64  # characters of a formula beside which numbers are aligned


def show_derivation(derivation: Derivation, style: str = "plain") -> str:
    """Return a derivation as text.

    Parameters
    ----------
    derivation : Derivation
        The steps.
    style : {"plain", "latex"}
        How formulas are written.

    Returns
    -------
    str
        Plain text with one block per gate, or one ``aligned`` environment.
    """
    laws = dict.fromkeys(step.replaced for step in derivation.steps if step.replaced)
    marks = {law: at for at, law in enumerate(laws, 1)}
    if style == "latex":
        return _latex(derivation)
    blocks = [_block(step, marks.get(step.replaced)) for step in derivation.steps]
    if derivation.left_out:
        blocks.insert(derivation.gap, f"... {derivation.left_out} gates left out ...\n")
    legend = [f"  [{mark}] {law}" for law, mark in marks.items()]
    if legend:
        legend.insert(0, "replaced by a stable form in the compiled program:")
        blocks.append("\n".join(legend) + "\n")
    return "\n".join(blocks)


def measured(value: Any) -> str:
    """Return a number with six digits, a small array in full, and the shape, range and mean of a large one.

    Examples
    --------
    >>> measured(np.float64(1) / 3), measured(np.array([0.5, 2.0])), measured(np.arange(8.0))
    ('0.333333', '[0.5, 2]', '[8] from 0 to 7, mean 3.5')
    """
    array = np.asarray(value)
    if array.ndim == 0:
        return f"{array.item():.{_DIGITS}g}" if array.dtype.kind == "f" else str(array.item())
    if array.size <= SMALL:
        text = np.array2string(
            array, separator=", ", formatter={"float_kind": lambda item: f"{item:.{_DIGITS}g}"}
        )
        return text.replace("\n", "")
    shape = list(array.shape)
    low, high = array.min(), array.max()
    return f"{shape} from {low:.4g} to {high:.4g}, mean {array.mean():.4g}"


def _signed(value: Any) -> str:
    text = measured(value)
    return f"({text})" if text.startswith("-") else text


# --- plain text ---------------------------------------------------------------------------------------------


def _block(step: Step, mark: int | None) -> str:
    marked = f"   [{mark}]" if mark else ""
    values = (step.value, step.upstream, *(part.value for part in step.contributions))
    if any(np.ndim(value) for value in values) or not all(map(_is_scalar, step.contributions)):
        return "\n".join(_array_lines(step, marked)) + "\n"
    return "\n".join(_scalar_lines(step, marked)) + "\n"


def _is_scalar(part: Contribution) -> bool:
    return part.local_value is not None and np.ndim(part.local_value) == 0


def _scalar_lines(step: Step, marked: str) -> list[str]:
    """Return a gate of numbers: local derivative, upstream gradient times it, and the sum."""
    lines = [
        f"{step.equation} = {measured(step.value)}   upstream {step.symbol} = {measured(step.upstream)}{marked}"
    ]
    rows: list[tuple[str, str]] = []
    for part in step.contributions:
        number = measured(part.local_value)
        local = str(part.local)
        several = sum(other.operand == part.operand for other in step.contributions) > 1
        lead = f"operand {part.position + 1}: " if several else ""
        local += "" if local.endswith(f" = {number}") else f" = {number}"
        product = f"{_signed(step.upstream)} · {_signed(part.local_value)} = {measured(part.value)}"
        rows.append(
            (lead + local, f"{part.symbol} = {product}" if part.before is None else f"adds {product}")
        )
        if part.before is not None:
            total = f"{measured(part.before)} + {_signed(part.value)} = {measured(part.total)}"
            rows.append(("", f"{part.symbol} = {total}"))
    width = max((len(left) for left, _ in rows), default=0)
    return lines + [f"    {left:{width}}   {right}" for left, right in rows]


def _array_lines(step: Step, marked: str) -> list[str]:
    """Return a gate with arrays: formulas, and beside them numbers or shapes."""
    rows = [(f"{step.equation}{marked}", measured(step.value))]
    rows.append((f"    upstream {step.symbol}", measured(step.upstream)))
    for part in step.contributions:
        if part.local is not None:
            known = part.local_value is not None and not _is_constant(part)
            rows.append((f"    {part.local}", measured(part.local_value) if known else ""))
        added = "   (added)" if part.before is not None else ""
        rows.append((f"    {part.formula}{added}", measured(part.value)))
        if part.before is not None:
            rows.append((f"    {part.symbol} in sum", measured(part.total)))
    width = min(WIDEST, max(len(left) for left, _ in rows))
    return [f"{left:{width}}   {right}".rstrip() for left, right in rows]


def _is_constant(part: Contribution) -> bool:
    """Whether the local derivative is a number, which its formula shows."""
    return str(part.local).rpartition(" = ")[2].lstrip("-").replace(".", "").isdigit()


def _is_number_of_numbers(step: Step, part: Contribution) -> bool:
    numbers = (step.upstream, part.local_value, part.value)
    return part.local_value is not None and all(np.ndim(item) == 0 for item in numbers)


# --- LaTeX --------------------------------------------------------------------------------------------------


def _latex(derivation: Derivation) -> str:
    rows: list[str] = []
    for at, step in enumerate(derivation.steps):
        if derivation.left_out and at == derivation.gap:
            rows.append(rf"& \quad\vdots \quad \text{{{derivation.left_out} gates left out}}")
        left, _, right = step.equation.latex.partition(" = ")
        rows.append(rf"{left} &= {right} && {_value(step.value)}")
        for part in step.contributions:
            rows += _latex_rows(step, part)
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}\n"


def _latex_rows(step: Step, part: Contribution) -> Sequence[str]:
    rows: list[str] = []
    if part.local is not None:
        left, _, right = part.local.latex.partition(" = ")
        number = "" if part.local_value is None else _value(part.local_value)
        rows.append(rf"\quad {left} &= {right} && {number}")
    left, relation, right = part.formula.latex.partition("= ")
    if _is_number_of_numbers(step, part):
        right += rf" = {_signed_number(step.upstream)} \cdot {_signed_number(part.local_value)}"
    relation = r"\mathrel{+}=" if part.before is not None or "{+}" in left else "="
    rows.append(
        rf"\quad {left.removesuffix(chr(92) + 'mathrel{+}').rstrip()} &{relation} {right} && {_value(part.value)}"
    )
    if part.before is not None:
        total = (
            f"{_signed_number(part.before)} + {_signed_number(part.value)}"
            if np.ndim(part.value) == 0
            else ""
        )
        shown = total or r"\text{the sum of these contributions}"
        rows.append(rf"\quad {part.symbol.latex} &= {shown} && {_value(part.total)}")
    return rows


def _value(value: Any) -> str:
    """Return a value in LaTeX: a number, or the shape and range of an array."""
    array = np.asarray(value)
    if array.ndim == 0:
        return f"= {_number(value)}"
    return rf"\text{{{measured(value)}}}"


def _number(value: Any) -> str:
    array = np.asarray(value)
    if array.dtype.kind == "b":
        return rf"\text{{{array.item()}}}"
    if np.isnan(array):
        return r"\mathrm{NaN}"
    rounded = float(f"{array.item():.{_DIGITS}g}")
    text = LatexPrinter(Symbols({})).number(abs(rounded))[0]
    return f"-{text}" if rounded < 0 else text


def _signed_number(value: Any) -> str:
    text = _number(value)
    return f"({text})" if text.startswith("-") else text
