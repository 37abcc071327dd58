"""Programs and their gradients as LaTeX and as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gradc.autodiff.vjp import gradient_with_cotangents, vjp
from gradc.explain.mathematics.latex import LatexPrinter
from gradc.explain.mathematics.lines import Line, Roles, compact_lines, equation_lines, full_lines
from gradc.explain.mathematics.printing import Printer
from gradc.explain.mathematics.symbols import ANONYMOUS, Symbol, Symbols, output_symbol, symbols
from gradc.explain.mathematics.unicode import UnicodePrinter
from gradc.ir.index.nodes import Equation, Program, outputs_of
from gradc.passes.equations.gather import gather

MOST_LINES = 400

Style = Literal["plain", "latex"]
PRINTERS: dict[str, type[Printer]] = {"plain": UnicodePrinter, "latex": LatexPrinter}


def latex(program: Program, *, full: bool = False) -> str:
    """Return a program as an ``aligned`` environment.

    Parameters
    ----------
    program : Program
        What to show.
    full : bool
        One line per equation; otherwise small results without a name stand in their readers.

    Returns
    -------
    str
        LaTeX for mathematics mode; of more than `MOST_LINES` lines the middle is left out.
    """
    return _aligned(_program_lines(program, "latex", full=full))


def plain(program: Program, *, full: bool = False) -> str:
    """Return a program as plain text, as `latex` does.

    Parameters
    ----------
    program : Program
        What to show.
    full : bool
        One line per equation; otherwise small results without a name stand in their readers.

    Returns
    -------
    str
        One equation a line; of more than `MOST_LINES` lines the middle is left out.
    """
    return _column(_program_lines(program, "plain", full=full))


def gradient_latex(program: Program, wrt: Sequence[str]) -> str:
    """Return a program, then the derivatives of its output, as an ``aligned`` environment.

    Parameters
    ----------
    program : Program
        The program as it was written; a single scalar output gives derivatives of it, anything else the
        cotangents of given cotangents, with bars.
    wrt : sequence of str
        The floating-point inputs whose derivatives are asked for.

    Returns
    -------
    str
        LaTeX for mathematics mode.
    """
    return _aligned(_gradient_lines(program, wrt, "latex"))


def gradient_plain(program: Program, wrt: Sequence[str]) -> str:
    """Return a program, then the derivatives of its output, as plain text.

    Parameters
    ----------
    program : Program
        The program as it was written.
    wrt : sequence of str
        The floating-point inputs whose derivatives are asked for.

    Returns
    -------
    str
        One equation a line.
    """
    return _column(_gradient_lines(program, wrt, "plain"))


def equation_latex(equation: Equation, program: Program, names: Symbols | None = None) -> str:
    r"""Return one equation of a program in LaTeX.

    Parameters
    ----------
    equation : Equation
        An equation of `program`.
    program : Program
        Where it stands.
    names : Symbols, optional
        ``symbols(program)``, made once where many equations are shown.

    Returns
    -------
    str
        Equations of one line, with ``\quad`` between them where the operation has several results.
    """
    return r" \quad ".join(equation_texts(equation, program, names or symbols(program), "latex"))


def equation_plain(equation: Equation, program: Program, names: Symbols | None = None) -> str:
    """Return one equation of a program as plain text.

    Parameters
    ----------
    equation : Equation
        An equation of `program`.
    program : Program
        Where it stands.
    names : Symbols, optional
        ``symbols(program)``, made once where many equations are shown.

    Returns
    -------
    str
        Equations of one line, with semicolons between them where the operation has several results.
    """
    return "; ".join(equation_texts(equation, program, names or symbols(program), "plain"))


def equation_texts(equation: Equation, program: Program, names: Symbols, style: str) -> list[str]:
    """Return the lines of one equation."""
    return [" ".join(_sides(line, names, style)) for line in equation_lines(equation, program.types)]


# --- lines as text ------------------------------------------------------------------------------------------

_Sides = tuple[str, str, str]
_RELATIONS = {"plain": {"=": "=", "+=": "+="}, "latex": {"=": "=", "+=": r"\mathrel{+}="}}


def _sides(line: Line, names: Symbols, style: str) -> _Sides:
    letters = names.named((*line.left, line.right))
    printer = PRINTERS[style](names, letters)
    left = ", ".join(printer.text(tensor) for tensor in line.left)
    right = printer.text(line.right)
    if len(line.left) > 1:
        left = f"({left})"
    return left, _RELATIONS[style][line.relation], right


@dataclass(frozen=True, slots=True)
class _Shown:
    """Lines as text, with the number of those left out before the line at `gap`."""

    rows: list[_Sides]
    left_out: int
    gap: int


def _shown(lines: Sequence[Line], names: Symbols, style: str) -> _Shown:
    """Print lines; of too many the middle is left out before it costs anything."""
    left_out = max(0, len(lines) - MOST_LINES)
    gap = MOST_LINES // 2 if left_out else len(lines)
    chosen = [*lines[:gap], *lines[gap + left_out :]]
    return _Shown([_sides(line, names, style) for line in chosen], left_out, gap)


def _column(shown: _Shown) -> str:
    rows = [" ".join(row) for row in shown.rows]
    if shown.left_out:
        rows.insert(shown.gap, f"... {shown.left_out} lines left out ...")
    return "\n".join(rows) + "\n"


def _aligned(shown: _Shown) -> str:
    rows = [f"{left} &{relation} {right}" for left, relation, right in shown.rows]
    if shown.left_out:
        rows.insert(shown.gap, rf"& \quad\vdots \quad \text{{{shown.left_out} lines left out}}")
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}\n"


# --- programs -----------------------------------------------------------------------------------------------


def _program_lines(program: Program, style: str, *, full: bool) -> _Shown:
    one = len(program.outputs) == 1
    names = symbols(program, {program.outputs[0]: Symbol(output_symbol(program))} if one else None)
    if full:
        return _shown(full_lines(program), names, style)
    return _shown(compact_lines(program, _roles(program)), names, style)


def _roles(program: Program) -> Roles:
    named = (name for name in program.types if not ANONYMOUS.match(name))
    return Roles(frozenset((*named, *program.outputs)))


def _gradient_lines(program: Program, wrt: Sequence[str], style: str) -> _Shown:
    both, cotangents, numerator = differentiated(program, wrt)
    own = _roles(program)
    shown = {
        cotangent: Symbol(name, numerator) if numerator else Symbol(f"{name}_bar")
        for name, cotangent in cotangents.items()
    }
    if numerator:
        shown[program.outputs[0]] = Symbol(numerator)
    derived = frozenset(both.types) - frozenset(program.types)
    of_named = frozenset(cotangents[name] for name in cotangents if not ANONYMOUS.match(name))
    kept = own.kept | frozenset(both.outputs)
    lines = compact_lines(both, Roles(kept, of_named - kept, derived))
    return _shown(lines, symbols(program, shown), style)


def differentiated(program: Program, wrt: Sequence[str]) -> tuple[Program, dict[str, str], str]:
    """Return a program followed by the equations of its cotangents, their names, and what is differentiated.

    The equations of `program` stay as they are.  The last is the symbol of the scalar output, or empty: then
    cotangents of every output are given.
    """
    (out, *others) = program.outputs
    scalar = not others and not program.types[out].shape
    if scalar:
        derived, cotangents = gradient_with_cotangents(program, wrt)
    else:
        derived = vjp(program, wrt)
        cotangents = {
            name.removesuffix("_bar"): name
            for name in derived.types
            if name not in program.types and name.removesuffix("_bar") in program.types
        }
    gathered = gather(derived)
    new = [item for item in gathered.equations if not any(out in program.types for out in outputs_of(item))]
    outputs = (*program.outputs, *derived.outputs[len(program.outputs) :])
    cotangents |= dict(zip(wrt, derived.outputs[len(program.outputs) :], strict=True))
    both = replace(gathered, equations=(*program.equations, *new), outputs=outputs)
    return both, cotangents, output_symbol(program) if scalar else ""
