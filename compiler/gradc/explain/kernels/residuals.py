"""Residuals: the values of the function itself that its derivatives read, and how they get there.

How a value gets there is read off the final kernel and the schedule, not guessed from shapes:

* ``"array"``: the kernel has an array that holds it.  That is one of the same name, or the one that the statement
  which carries the value's equation stores to (a pass may have given every thread or every strip a copy).
* ``"recomputed"``: it has no array, and the schedule runs its equation more than once: what the derivative reads is
  not the first of these times.
* ``"register"``: anything else, a local variable of the loop, or of the kernel where the value is a number.

Which tensors are values of the function is a matter of the programs: those of the traced program keep their names; of
what the derivation adds, a tensor is one of the derivative if it depends on a seed, has the name of a cotangent or
tangent, or reads one that is.  What passes add belongs to the function where its results need it, or where it copies
a value of the function.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradc.explain.figures import abridged
from gradc.explain.kernels.contents import arrays_of_tensors, in_tasks
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.nodes import Assign, Equation, Program, outputs_of, reads_of
from gradc.ir.index.show import show_type
from gradc.ir.loop.sizes import types_of
from gradc.ir.loop.workspace import THREADS
from gradc.ir.schedule import Leaf, Node, Schedule
from gradc.ir.stages import Stages
from gradc.ir.tensors import TensorType

_DERIVATIVE = re.compile(r".*_(bar|dot)(_\d+)?")


@dataclass(frozen=True, slots=True)
class Residual:
    """A value of the function that its derivatives read.

    Attributes
    ----------
    name, type : str
        The tensor of the optimised program, and its type: ``f64[n, 10]``.
    how : str
        ``"array"``, ``"register"`` or ``"recomputed"``.
    readers : tuple of str
        The tensors of the derivative whose equations read it.
    size : int or Polynomial
        Bytes of its array, in extents of the kernel; 0 where there is none.  ``threads`` stands for how many threads
        there are, where each has an array of its own.
    array : str
        The kernel's name for the array; empty where there is none.
    bytes : str
        The size as a product of the array's extents.
    """

    name: str
    how: str
    type: str
    readers: tuple[str, ...]
    size: Size = 0
    array: str = ""
    bytes: str = ""


def residuals(stages: Stages) -> tuple[Residual, ...]:
    """The values of the function that its derivatives read, in program order.

    Parameters
    ----------
    stages : Stages
        Of any derivation; there are none for ``"value"``.

    Returns
    -------
    tuple of Residual
        Arguments are left out: they are there anyway.

    Examples
    --------
    >>> import numpy as np
    >>> from gradc import differentiate
    >>> stages = differentiate(lambda x: np.square(x - x.mean()).sum()).at(np.ones(3)).inspect().stages
    >>> sorted({found.how for found in residuals(stages)})
    ['recomputed', 'register']
    """
    program, derived = stages.optimised, derivative_tensors(stages)
    read_by: dict[str, dict[str, None]] = {}
    for equation in program.equations:
        readers = [name for name in outputs_of(equation) if name in derived]
        for name in reads_of(equation) if readers else ():
            if name not in derived:
                read_by.setdefault(name, {}).update(dict.fromkeys(readers))
    types = types_of(stages.kernel)
    arrays = arrays_of_tensors(stages, types)
    again = _computed_again(program, stages.schedule, derived)
    own = in_tasks(stages.kernel)
    found = []
    for name in (name for equation in program.equations for name in outputs_of(equation)):
        if name not in read_by:
            continue
        text, readers = show_type(program.types[name]), tuple(read_by.pop(name))
        if name in arrays:
            array = arrays[name]
            size, formula = _bytes_of(types[array], array in own)
            found.append(Residual(name, "array", text, readers, size, array, formula))
        else:
            found.append(Residual(name, "recomputed" if name in again else "register", text, readers))
    return tuple(found)


def _bytes_of(type_: TensorType, of_a_thread: bool) -> tuple[Size, str]:
    """The size of an array, multiplied out, and as a product that shows its axes."""
    factors = (type_.dtype.numpy.itemsize, *((extents.symbol(THREADS),) if of_a_thread else ()), *type_.shape)
    texts = (extents.show(factor) for factor in factors)
    return extents.product(factors), "*".join(f"({text})" if " " in text else text for text in texts)


# --- which tensors belong to the derivative -----------------------------------------------------------------


def derivative_tensors(stages: Stages) -> set[str]:
    """The tensors of the optimised program that belong to derivatives: cotangents, tangents, what is made of them."""
    stable = set(stages.stable.types)
    derived = {name for name in stages.adjoint.inputs if name not in stable}
    for equation in stages.adjoint.equations:
        for name in outputs_of(equation):
            if name not in stable and _is_derived(equation, name, derived):
                derived.add(name)
    known = stable | set(stages.adjoint.types)
    needed = _needed_for_results(stages)
    for equation in stages.optimised.equations:
        reads = reads_of(equation)
        for name in outputs_of(equation):
            late = name not in known and name not in needed and not _is_copy(equation)
            if late or not derived.isdisjoint(reads):
                derived.add(name)
    return derived & set(stages.optimised.types)


def _is_derived(equation: Equation, name: str, derived: set[str]) -> bool:
    """Whether an equation that the derivation adds is one of the derivative; a constant among them is a seed."""
    reads = reads_of(equation)
    constant = isinstance(equation, Assign) and equation.template.is_copy and not reads
    return constant or bool(_DERIVATIVE.fullmatch(name)) or not derived.isdisjoint(reads)


def _is_copy(equation: Equation) -> bool:
    return isinstance(equation, Assign) and equation.template.is_copy and bool(reads_of(equation))


def _needed_for_results(stages: Stages) -> set[str]:
    """What the function's own results depend on, in the optimised program."""
    results = {name for name in stages.stable.outputs if name in stages.optimised.types}
    needed = set(results)
    for equation in reversed(stages.optimised.equations):
        if not needed.isdisjoint(outputs_of(equation)):
            needed.update(reads_of(equation))
    return needed


# --- what is computed again ---------------------------------------------------------------------------------


def _computed_again(program: Program, schedule: Schedule, derived: set[str]) -> set[str]:
    """The tensors of which a derivative reads another computation than the first one."""
    first: dict[str, int] = {}
    seen: dict[str, list[tuple[int, tuple[int, ...]]]] = {}
    found: set[str] = set()
    for at, (leaf, path) in enumerate(_places(schedule.body)):
        equation = program.equations[leaf.equation]
        reads = reads_of(equation) if not derived.isdisjoint(outputs_of(equation)) else ()
        for name in reads if leaf.role not in ("start", "finish") else ():
            visible = [number for number, around in seen.get(name, ()) if path[: len(around)] == around]
            if visible and visible[-1] != first[name]:
                found.add(name)
        if leaf.role == "compute":
            (name,) = outputs_of(equation)
            first.setdefault(name, at)
            seen.setdefault(name, []).append((at, path))
    return found


def _places(nodes: Sequence[Node]) -> Iterator[tuple[Leaf, tuple[int, ...]]]:
    """All leaves with the loops around them, in execution order."""
    stack: list[tuple[Node, tuple[int, ...]]] = [(node, ()) for node in reversed(nodes)]
    while stack:
        node, path = stack.pop()
        if isinstance(node, Leaf):
            yield node, path
        else:
            stack += [(child, (*path, node.id)) for child in reversed(node.body)]


# --- text ---------------------------------------------------------------------------------------------------

LONGEST = 72  # characters of a formula that stands in a sentence
_HOW = {"array": "array", "register": "register", "recomputed": "computed again"}


def show_residuals(stages: Stages, found: Sequence[Residual] | None = None) -> str:
    """A table of the residuals, what they take together, and the arguments that derivatives read.

    Parameters
    ----------
    stages : Stages
        Of any derivation.
    found : sequence of Residual, optional
        What `residuals` found, where it is known already.
    """
    rows = residuals(stages) if found is None else found
    name = stages.kernel.name
    arguments = _arguments_read(stages)
    if not rows:
        lines = [f"{name}: the derivatives read none of the function's own values."]
        return "\n".join([*lines, *arguments]) + "\n"
    table = [("value", "type", "kept as", "bytes", "read by")]
    for row in rows:
        array = f" {row.array}" if row.array not in ("", row.name) else ""
        table.append((row.name, row.type, _HOW[row.how] + array, row.bytes, ", ".join(row.readers)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in table]
    body = [lines[0], *abridged(lines[1:], "values")]
    head = f"{name}: what the derivatives read of the function's own values"
    chosen = _chosen_sizes(stages, rows)
    return "\n".join([head, "", *body, "", _total(rows), *chosen, *arguments]) + "\n"


def _chosen_sizes(stages: Stages, rows: Sequence[Residual]) -> list[str]:
    """A line on the symbols that are no extents of arguments."""
    shapes = (type_.shape for type_ in stages.optimised.types.values())
    known = {name for shape in shapes for size in shape for name in extents.symbols(size)}
    used = dict.fromkeys(name for row in rows for name in extents.symbols(row.size) if name not in known)
    return [f"The kernel chooses when it runs: {', '.join(sorted(used))}."] if used else []


def _total(rows: Sequence[Residual]) -> str:
    counts = {how: sum(row.how == how for row in rows) for how in _HOW}
    arrays = {row.array: row.size for row in rows if row.array}
    total: Size = 0
    for size in arrays.values():
        total = extents.add(total, size)
    parts = []
    if arrays:
        text = extents.show(total)
        size = f" of {text} bytes together" if len(text) <= LONGEST else ""
        parts.append(f"{_many(len(arrays), 'array')}{size}")
    if counts["register"]:
        parts.append(f"{_many(counts['register'], 'value')} in registers, never stored")
    if counts["recomputed"]:
        parts.append(f"{_many(counts['recomputed'], 'value')} computed again instead of kept")
    return f"{'; '.join(parts)}."


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _arguments_read(stages: Stages) -> list[str]:
    derived = derivative_tensors(stages)
    read = {
        name
        for equation in stages.optimised.equations
        if not derived.isdisjoint(outputs_of(equation))
        for name in reads_of(equation)
    }
    listed = [name for name in stages.stable.inputs if name in read]
    what = "argument" if len(listed) == 1 else "arguments"
    return [f"They also read the {what} {', '.join(listed)}."] if listed else []
