"""Mathematics as plain text: ``∂L/∂W_jk = Σ_i 2 (p_ik - y_ik) h_ij``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradc.explain.mathematics.printing import (
    ATOM,
    FACTOR,
    MULTIPLIED,
    RAISED,
    Printer,
    Text,
    decimal,
    every,
    simple_factor,
)
from gradc.explain.mathematics.symbols import ACCENTS, GREEK, spelled
from gradc.explain.mathematics.tree import (
    Apply,
    Expression,
    Number,
    Place,
    Product,
    Reduction,
)

_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
SIGNS = {
    "lt": " < ",
    "le": " ≤ ",
    "gt": " > ",
    "ge": " ≥ ",
    "eq": " = ",
    "ne": " ≠ ",
    "logical_and": " ∧ ",
    "logical_or": " \N{LOGICAL OR} ",
    "logical_xor": " ⊕ ",
}
REDUCTIONS = {
    "sum": "Σ",
    "prod": "Π",
    "any": "\N{N-ARY LOGICAL OR}",
    "all": "⋀",
    "arg_max": "argmax",
    "arg_min": "argmin",
}
CALLED = {
    "sqrt": "√",
    "cbrt": "∛",
    "sign": "sgn",
    "heaviside": "H",
    "maximum": "max",
    "minimum": "min",
    "expit": "σ",
    "erfinv": "erf⁻¹",
    "ndtr": "Φ",
    "ndtri": "Φ⁻¹",
    "normal_density": "φ",
    "gamma": "Γ",
    "digamma": "ψ",
    "dsinc": "sinc'",
}
_AROUND = {"abs": ("|", "|"), "floor": ("⌊", "⌋"), "ceil": ("⌈", "⌉")}
_AFTER = {"transpose": "ᵀ", "inverse_transpose": "⁻ᵀ"}


def plain_name(name: str) -> str:
    """A name as plain text.

    Examples
    --------
    >>> plain_name("alpha"), plain_name("w1"), plain_name("x_dot"), plain_name("logits")
    ('α', 'w1', 'ẋ', 'logits')
    """
    parts = spelled(name)
    letter = GREEK.get(parts.letter, parts.letter)
    if parts.accent:
        if len(letter) > 1 or parts.word:
            return name
        letter += ACCENTS[parts.accent]
        return _composed(letter) + parts.number
    return letter + name[len(parts.letter) :]


def _composed(text: str) -> str:
    import unicodedata  # noqa: PLC0415

    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True, slots=True)
class UnicodePrinter(Printer):
    """Plain text with Greek letters, superscripts and signs."""

    def name(self, tensor: str, indices: str = "") -> Text:
        """A symbol; that of a derivative binds like a quotient."""
        symbol = self.symbols.of(tensor)
        name = plain_name(symbol.name)
        if indices:
            braces = "_" in name or not indices.isalpha()
            name += f"_{{{indices}}}" if braces else f"_{indices}"
        if symbol.numerator:
            return f"∂{plain_name(symbol.numerator)}/∂{name}", MULTIPLIED
        return name, ATOM

    def size_name(self, name: str) -> str:
        """The symbol of an extent."""
        return plain_name(name)

    def indices(self, places: Sequence[Place]) -> str:
        """Letters side by side; anything longer with commas."""
        return every(self.place(place) for place in places)

    def number(self, value: float) -> Text:
        """A nonnegative number."""
        return ("∞" if math.isinf(value) else decimal(value)), ATOM

    def constant(self, name: str) -> Text:
        """A constant that has a letter."""
        return GREEK[name], ATOM

    def bracketed(self, text: str) -> str:
        """Text in round brackets."""
        return f"({text})"

    def juxtaposed(self, factors: Sequence[str]) -> str:
        """Factors with spaces; a dot before a number."""
        text = factors[0]
        for factor in factors[1:]:
            text += (" · " if factor[0].isdigit() else " ") + factor
        return text

    def fraction(self, above: Expression, below: Expression) -> Text:
        """``a b / (c d)``."""
        over = self.at(above, FACTOR if _ends_in_sum(above) else MULTIPLIED)
        under = self.at(below, FACTOR) if simple_factor(below) else self.bracketed(self.text(below))
        return f"{over} / {under}", MULTIPLIED

    def raised(self, base: str, exponent: Expression) -> Text:
        """A superscript where the exponent is an integer."""
        if isinstance(exponent, Number) and exponent.value % 1 == 0:
            return base + str(int(exponent.value)).translate(_RAISED), RAISED
        return f"{base}^{self.at(exponent, ATOM)}", RAISED

    def compared(self, function: str) -> str:
        """The sign of a comparison or of a logical function."""
        return SIGNS[function]

    def negated(self, condition: str) -> str:
        """The opposite of a condition."""
        return f"¬{condition}"

    def indicator(self, condition: str) -> str:
        """1 where a condition holds, else 0."""
        return f"[{condition}]"

    def reduced(self, function: str, variables: Sequence[str], body: str) -> str:
        """``Σ_ij a_ij``."""
        letters = every(variables)
        letters = letters if letters.isalpha() else f"{{{letters}}}"
        return f"{REDUCTIONS.get(function, function)}_{letters} {body}"

    def cases(self, rows: Sequence[tuple[str, str]], otherwise: str) -> Text:
        """``{a if c; b otherwise}``."""
        shown = "; ".join(f"{value} if {condition}" for value, condition in rows)
        return f"{{{shown}; {otherwise} otherwise}}", ATOM

    def called(self, expression: Apply) -> Text:
        """A function of arguments."""
        function = expression.function
        inside = self.arguments(expression)
        if function in _AROUND and not any(sign in inside for sign in _AROUND[function]):
            before, after = _AROUND[function]
            return f"{before}{inside}{after}", ATOM
        if function in _AFTER:
            return self.at(expression.arguments[0], ATOM) + _AFTER[function], RAISED
        note = f"_{{{'×'.join(self.size(size)[0] for size in expression.note)}}}" if expression.note else ""
        return f"{CALLED.get(function, function)}{note}({inside})", ATOM


def _ends_in_sum(expression: Expression) -> bool:
    """Whether what follows an expression could be read as part of it."""
    last = expression.above[-1] if isinstance(expression, Product) and expression.above else expression
    return isinstance(last, Reduction)
