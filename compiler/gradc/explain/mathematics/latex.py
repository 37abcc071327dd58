r"""Mathematics as LaTeX: ``\frac{\partial L}{\partial W_{jk}} = \sum_{i} 2 (p_{ik} - y_{ik}) h_{ij}``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradc.explain.mathematics.printing import (
    ATOM,
    MULTIPLIED,
    RAISED,
    Printer,
    Text,
    decimal,
    every,
)
from gradc.explain.mathematics.symbols import GREEK, WIDE_ACCENTS, spelled
from gradc.explain.mathematics.tree import Apply, Expression, Place

SIGNS = {
    "lt": " < ",
    "le": r" \le ",
    "gt": " > ",
    "ge": r" \ge ",
    "eq": " = ",
    "ne": r" \ne ",
    "logical_and": r" \land ",
    "logical_or": r" \lor ",
    "logical_xor": r" \oplus ",
}
REDUCTIONS = {
    "sum": r"\sum",
    "prod": r"\prod",
    "max": r"\max",
    "min": r"\min",
    "any": r"\bigvee",
    "all": r"\bigwedge",
    "arg_max": r"\operatorname*{arg\,max}",
    "arg_min": r"\operatorname*{arg\,min}",
}
CALLED = {
    **{name: "\\" + name for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{name: "\\" + name for name in ("arcsin", "arccos", "arctan", "log", "exp", "det")},
    "log2": r"\log_{2}",
    "log10": r"\log_{10}",
    "sign": r"\operatorname{sgn}",
    "heaviside": "H",
    "maximum": r"\max",
    "minimum": r"\min",
    "expit": r"\sigma",
    "erfinv": r"\operatorname{erf}^{-1}",
    "ndtr": r"\Phi",
    "ndtri": r"\Phi^{-1}",
    "normal_density": r"\varphi",
    "gamma": r"\Gamma",
    "digamma": r"\psi",
    "dsinc": r"\operatorname{sinc}'",
}
_AROUND = {
    "abs": (r"\left|", r"\right|"),
    "floor": (r"\left\lfloor ", r"\right\rfloor"),
    "ceil": (r"\left\lceil ", r"\right\rceil"),
    "sqrt": (r"\sqrt{", "}"),
    "cbrt": (r"\sqrt[3]{", "}"),
}
_AFTER = {"transpose": r"^{\top}", "inverse_transpose": r"^{-\top}"}
_ORDERED = {"polygamma": r"\psi", "sinc_derivative": r"\operatorname{sinc}"}  # f(n, x): the n-th derivative
_TALL = (r"\frac", r"\sum", r"\prod", r"\begin", r"\left", r"\max_", r"\min_")
_ROW, _TIMES = r" \\ ", r" \times "
SHORT = 40  # characters of an exponent of e; longer ones are arguments of exp


def latex_name(name: str, indices: str = "") -> str:
    r"""A name in LaTeX, with indices.

    Examples
    --------
    >>> print(latex_name("W", "jk"), latex_name("w1", "j"), latex_name("alpha"), latex_name("x_dot"))
    W_{jk} w_{1,j} \alpha \dot{x}
    """
    parts = spelled(name)
    letter = _letter(parts.letter)
    if parts.accent:
        wide = len(parts.letter) > 1 and parts.letter not in GREEK
        letter = f"\\{WIDE_ACCENTS[parts.accent] if wide else parts.accent}{{{letter}}}"
    below = ",".join(text for text in (parts.number, _upright(parts.word), indices) if text)
    return f"{letter}_{{{below}}}" if below else letter


def _letter(name: str) -> str:
    if len(name) == 1:
        return name
    return f"\\{name}" if name in GREEK else _upright(name)


def _upright(word: str) -> str:
    return f"\\mathrm{{{_escaped(word)}}}" if word else ""


def _escaped(word: str) -> str:
    return word.replace("_", r"\_")


@dataclass(frozen=True, slots=True)
class LatexPrinter(Printer):
    """LaTeX for mathematics mode; needs nothing but amsmath."""

    def name(self, tensor: str, indices: str = "") -> Text:
        """A symbol; the power of a derivative needs brackets."""
        symbol = self.symbols.of(tensor)
        name = latex_name(symbol.name, indices)
        if symbol.numerator:
            return rf"\frac{{\partial {latex_name(symbol.numerator)}}}{{\partial {name}}}", RAISED
        return name, ATOM

    def size_name(self, name: str) -> str:
        """The symbol of an extent: ``x_n0`` is the size of axis 0 of ``x``."""
        tensor, axis, number = name.rpartition("_n")
        if axis and tensor and number.isdigit():
            return f"n_{{{latex_name(tensor)},{number}}}"
        return latex_name(name)

    def indices(self, places: Sequence[Place]) -> str:
        """Letters side by side; anything longer with commas."""
        return every(self.place(place) for place in places)

    def number(self, value: float) -> Text:
        """A nonnegative number."""
        if math.isinf(value):
            return r"\infty", ATOM
        if math.isnan(value):
            return r"\mathrm{NaN}", ATOM
        mantissa, e, exponent = decimal(value).partition("e")
        if not e:
            return mantissa, ATOM
        power = f"10^{{{int(exponent)}}}"
        return (power, RAISED) if mantissa == "1" else (rf"{mantissa} \cdot {power}", MULTIPLIED)

    def constant(self, name: str) -> Text:
        """A constant that has a letter."""
        return f"\\{name}", ATOM

    def bracketed(self, text: str) -> str:
        """Round brackets, of the height of what is in them."""
        tall = any(sign in text for sign in _TALL)
        return rf"\left({text}\right)" if tall else f"({text})"

    def juxtaposed(self, factors: Sequence[str]) -> str:
        """Factors with spaces; a dot before a number."""
        text = factors[0]
        for factor in factors[1:]:
            text += (
                r" \cdot " if factor[0].isdigit() else r" \, " if _word_after(text, factor) else " "
            ) + factor
        return text

    def fraction(self, above: Expression, below: Expression) -> Text:
        """A fraction."""
        return rf"\frac{{{self.text(above)}}}{{{self.text(below)}}}", MULTIPLIED

    def raised(self, base: str, exponent: Expression) -> Text:
        """A superscript."""
        return f"{base}^{{{self.text(exponent)}}}", RAISED

    def compared(self, function: str) -> str:
        """The sign of a comparison or of a logical function."""
        return SIGNS[function]

    def negated(self, condition: str) -> str:
        """The opposite of a condition."""
        return rf"\lnot {condition}"

    def indicator(self, condition: str) -> str:
        """1 where a condition holds, else 0."""
        return rf"\left[{condition}\right]"

    def reduced(self, function: str, variables: Sequence[str], body: str) -> str:
        """A reduction with its variables below it."""
        return f"{REDUCTIONS[function]}_{{{every(variables)}}} {body}"

    def cases(self, rows: Sequence[tuple[str, str]], otherwise: str) -> Text:
        """Values with their conditions."""
        shown = [rf"{value} & \text{{if }} {condition}" for value, condition in rows]
        shown.append(rf"{otherwise} & \text{{otherwise}}")
        return rf"\begin{{cases}} {_ROW.join(shown)} \end{{cases}}", MULTIPLIED

    def called(self, expression: Apply) -> Text:
        """A function of arguments."""
        function = expression.function
        inside = self.arguments(expression)
        if function == "exp" and len(inside) <= SHORT and not any(sign in inside for sign in _TALL):
            return f"e^{{{inside}}}", RAISED
        if function in _AROUND:
            before, after = _AROUND[function]
            return f"{before}{inside}{after}", ATOM
        if function in _AFTER:
            return self.at(expression.arguments[0], ATOM) + _AFTER[function], RAISED
        if function in _ORDERED:
            order, argument = expression.arguments
            return f"{_ORDERED[function]}^{{({self.text(order)})}}{self.bracketed(self.text(argument))}", ATOM
        note = (
            f"_{{{_TIMES.join(self.size(size)[0] for size in expression.note)}}}" if expression.note else ""
        )
        name = CALLED.get(function) or rf"\operatorname{{{_escaped(function)}}}"
        return f"{name}{note}{self.bracketed(inside)}", ATOM


def _word_after(text: str, factor: str) -> bool:
    """Whether two factors would look like one word: after an upright name, or before one."""
    return text.rpartition(" ")[2].startswith((r"\mathrm", r"\overline{\mathrm")) or factor.startswith(
        (r"\mathrm", r"\overline{\mathrm")
    )
