"""How the tensors, sizes and indices of a program are called: letters, Greek names, accents, subscripts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from gradc.explain.mathematics import tree
from gradc.explain.mathematics.tree import (
    Affine,
    Expression,
    IndexNumber,
    LookedUp,
    Place,
    Reduction,
    Tensor,
    Variable,
)
from gradc.ir.extents import Size
from gradc.ir.index.nodes import Accumulate, Assign, Program
from gradc.ir.names import INDEX_NAMES

GREEK = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "epsilon": "ϵ",
    "varepsilon": "ε",
    "zeta": "ζ",
    "eta": "η",
    "theta": "θ",
    "iota": "ι",
    "kappa": "κ",
    "lambda": "λ",
    "mu": "μ",
    "nu": "ν",
    "xi": "ξ",
    "pi": "π",
    "rho": "ρ",
    "sigma": "σ",
    "tau": "τ",
    "upsilon": "υ",
    "phi": "ϕ",
    "varphi": "φ",
    "chi": "χ",
    "psi": "ψ",
    "omega": "ω",
    "Gamma": "Γ",
    "Delta": "Δ",
    "Theta": "Θ",
    "Lambda": "Λ",
    "Xi": "Ξ",
    "Pi": "Π",
    "Sigma": "Σ",
    "Upsilon": "\N{GREEK CAPITAL LETTER UPSILON}",
    "Phi": "Φ",
    "Psi": "Ψ",
    "Omega": "Ω",
}
ACCENTS = {"bar": "\N{COMBINING MACRON}", "dot": "\N{COMBINING DOT ABOVE}"}
ACCENTS |= {"hat": "\N{COMBINING CIRCUMFLEX ACCENT}", "tilde": "\N{COMBINING TILDE}"}
WIDE_ACCENTS = {"bar": "overline", "dot": "dot", "hat": "widehat", "tilde": "widetilde"}

ANONYMOUS = re.compile(r"v[0-9]+\Z")
_DIGITS = re.compile(r"(.*[^0-9_])_?([0-9]+)\Z")
_OUTPUT_LETTERS = ("L", "J", "E", "C", "Q")


@dataclass(frozen=True, slots=True)
class Spelled:
    """A name taken apart: ``x2_dot`` is ``x`` with number 2 and a dot."""

    letter: str
    number: str = ""
    word: str = ""
    accent: str = ""


def spelled(name: str) -> Spelled:
    """Take a name apart.

    Examples
    --------
    >>> spelled("w1_bar")
    Spelled(letter='w', number='1', word='', accent='bar')
    """
    head, _, last = name.rpartition("_")
    if head and last in ACCENTS:
        inner = spelled(head)
        return Spelled(inner.letter, inner.number, inner.word, last) if not inner.accent else Spelled(name)
    digits = _DIGITS.match(name)
    if digits:
        return Spelled(digits[1], digits[2])
    head, _, word = name.partition("_")
    if word and "_" not in word and word.isalnum() and (len(head) == 1 or head in GREEK):
        return Spelled(head, "", word)
    return Spelled(name)


@dataclass(frozen=True, slots=True)
class Symbol:
    """What a tensor is called: a name, or the derivative of `numerator` with respect to a name."""

    name: str
    numerator: str = ""


@dataclass(frozen=True, slots=True)
class Symbols:
    """The symbols of the tensors of a program, and letters for its indices.

    `letters` prefers a letter for the first, second, ... index over an extent, so that an axis has the same
    letter in every line.
    """

    tensors: Mapping[str, Symbol]
    letters: Mapping[Size, tuple[str, ...]] = field(default_factory=dict)
    supply: tuple[str, ...] = INDEX_NAMES

    def of(self, name: str) -> Symbol:
        """Return the symbol of a tensor; its name where it has no other."""
        return self.tensors.get(name) or Symbol(name)

    def named(self, expressions: Iterable[Expression]) -> dict[int, str]:
        """Return a letter for every variable in expressions, by its number."""
        found = dict.fromkeys(variable for expression in expressions for variable in _variables(expression))
        used: set[str] = set()
        names: dict[int, str] = {}
        reserved = {letter for variable in found for letter in self.letters.get(variable.size, ())}
        for variable in found:
            own = self.letters.get(variable.size, ())
            free = (letter for letter in (*own, *self.supply) if letter not in used)
            fallback = (letter for letter in self.supply if letter not in used and letter not in reserved)
            first = next((letter for letter in own if letter not in used), None)
            letter = first or next(fallback, None) or next(free)
            names[variable.number] = letter
            used.add(letter)
        return names


def _variables(expression: Expression) -> Iterator[Variable]:
    for node in tree.nodes(expression):
        match node:
            case Tensor(_, places):
                for place in places or ():
                    yield from _placed(place)
            case IndexNumber(place):
                yield from _placed(place)
            case Reduction(_, variables):
                yield from variables
            case _:
                pass


def _placed(place: Place) -> Iterator[Variable]:
    if isinstance(place, LookedUp):
        for inner in place.places:
            yield from _placed(inner)
    elif isinstance(place, Affine):
        yield from (variable for _, variable in place.terms)


def symbols(program: Program, tensors: Mapping[str, Symbol] | None = None) -> Symbols:
    """Return the symbols of a program: `tensors` where given, and letters for axes, those of its inputs first."""
    shown = tensors or {}
    taken = {shown[name].name if name in shown else name for name in program.types}
    supply = tuple(letter for letter in INDEX_NAMES if letter not in taken)
    spaces = (item.space for item in program.equations if isinstance(item, Assign | Accumulate))
    shapes = chain((program.types[name].shape for name in program.inputs), spaces)
    return Symbols(shown, _letters(shapes, supply), supply)


def _letters(shapes: Iterable[tuple[Size, ...]], supply: tuple[str, ...]) -> dict[Size, tuple[str, ...]]:
    """Give letters to the extents of shapes in order; an extent has as many as one shape repeats it."""
    letters = iter([letter for letter in supply if len(letter) == 1])
    found: dict[Size, tuple[str, ...]] = {}
    for shape in shapes:
        for at, size in enumerate(shape):
            if isinstance(size, int) and size == 1:
                continue
            if shape[:at].count(size) >= len(found.get(size, ())):
                letter = next(letters, None)
                if letter is None:
                    return found
                found[size] = (*found.get(size, ()), letter)
    return found


def output_symbol(program: Program) -> str:
    """Return what the first output is called: its name, or a letter that is free where it has none.

    Requires: the program has an output.
    """
    out = program.outputs[0]
    if not ANONYMOUS.match(out):
        return out
    return next((letter for letter in _OUTPUT_LETTERS if letter not in program.types), out)
