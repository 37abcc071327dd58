"""Naming the equation that a kernel computes wrongly.

The generated module runs as plain Python too.  Run with every assignment watched, it shows what it makes of
each tensor, to be held against the interpreter: of an array its elements, of a scalar inside loops the values
it takes, in whatever order the loops visit them.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from gradc.checking.blame import Fault
from gradc.errors import GradcError
from gradc.ir.index.bound import BoundedNumbers
from gradc.ir.index.evaluate import Interpreter
from gradc.ir.index.nodes import Accumulate, Equation, Program, outputs_of
from gradc.ir.index.show import show_equation

Array = Any
_PART = re.compile(
    r"_parts?(_\d+)?\Z"
)  # what one part of a loop sums is the whole sum where there is one part
LOOSE = 1e-6  # of the largest element; where no bound on the rounding is known
REFUSALS = (ArithmeticError, GradcError, IndexError, NameError, TypeError, ValueError)


def misprinted(program: Program, source: str, function: str, inputs: Mapping[str, Array]) -> Fault | None:
    """The first equation of `program` that a module's `function` computes wrongly as plain Python.

    None if there is none, or if the module does not run that way.
    """
    try:
        found = watched(source, function, [inputs[name] for name in program.inputs], set(program.types))
    except REFUSALS:
        return None
    return first_difference(program, inputs, found)


def first_difference(
    program: Program, inputs: Mapping[str, Array], found: Mapping[str, Sequence[Array]]
) -> Fault | None:
    """The first equation whose tensor is not what the interpreter says; `found` may lack tensors.

    For each tensor `found` has the values that it was seen to take: one array, or scalars in any order.
    """
    expected = Interpreter(BoundedNumbers()).run(program, inputs)
    for equation in _last_of_each(program):
        for name in outputs_of(equation):
            if not found.get(name) or not program.types[name].dtype.is_float:
                continue
            wrong = _difference(found[name], expected[name].value, expected[name].error)
            if wrong is not None:
                return Fault(_shown(program, equation), equation.origin, *wrong)
    return None


def _shown(program: Program, equation: Equation) -> str:
    """The text of an equation; of several contributions to one tensor nobody knows which is wrong."""
    text = show_equation(equation)
    count = sum(outputs_of(other) == outputs_of(equation) for other in program.equations)
    return (
        text
        if count == 1
        else f"{outputs_of(equation)[0]}, of {count} contributions the last of which is {text},"
    )


def watched(
    source: str, function: str, arguments: Sequence[Array], tensors: Set[str]
) -> dict[str, list[Array]]:
    """Run a generated module's function as plain Python; return the values that its variables took.

    A variable that is none of the `tensors` counts as the one of which it is a part.

    Of a variable that is added to, only the totals count.  Of an array that is every value stored into it, and
    the array as it is in the end; of one that is added to, the array alone.
    """
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and (node.name == function or _is_task(node)):
            node.body = _instrumented(node.body)
    values: dict[str, list[Array]] = {}

    def watch(name: str, value: Array, total: bool) -> None:
        kept = values.setdefault(name if name in tensors else _PART.sub("", name), [])
        if total and kept:
            kept[-1] = value
        else:
            kept.append(value)

    namespace: dict[str, Any] = {"_watch": watch}
    exec(compile(ast.fix_missing_locations(tree), "<kernel>", "exec"), namespace)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        namespace[function](*arguments)
    return values


def _is_task(node: ast.FunctionDef) -> bool:
    return any(isinstance(found, ast.Name) and found.id == "task" for found in node.decorator_list)


def _instrumented(statements: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Follow every assignment to a variable by a report of its value."""
    result: list[ast.stmt] = []
    for statement in statements:
        result.append(statement)
        if isinstance(statement, ast.For | ast.If):
            statement.body = _instrumented(statement.body)
            statement.orelse = _instrumented(statement.orelse)
        for name, text, total in _assigned(statement):
            result += ast.parse(f"_watch({name!r}, {text}, {total})").body
    return result


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, str, bool]]:
    """What a statement assigns to: the variable, the text of the place, and whether its old value counts."""
    if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id, statement.target.id, True
    if not isinstance(statement, ast.Assign):
        return
    read = {
        ast.unparse(node) for node in ast.walk(statement.value) if isinstance(node, ast.Name | ast.Subscript)
    }
    for target in statement.targets:
        for node in target.elts if isinstance(target, ast.Tuple) else [target]:
            text = ast.unparse(node)
            if isinstance(node, ast.Name):
                yield text, text, text in read
            elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and text not in read:
                yield node.value.id, text, False


def _last_of_each(program: Program) -> list[Equation]:
    """The equations that complete a tensor, in order."""
    last: dict[str, int] = {}
    for number, equation in enumerate(program.equations):
        last.update(dict.fromkeys(outputs_of(equation), number))
    return [
        equation
        for number, equation in enumerate(program.equations)
        if not isinstance(equation, Accumulate) or last[equation.out] == number
    ]


def _difference(seen: Sequence[Array], expected: Array, error: Array) -> tuple[float, float] | None:
    """The worst pair of what was seen and what was expected; None where they agree."""
    arrays = [value for value in seen if isinstance(value, np.ndarray) and value.ndim]
    truth = np.asarray(expected, np.float64)
    errors = np.broadcast_to(np.asarray(error, np.float64), truth.shape)
    if arrays and arrays[-1].shape == truth.shape:
        return _worst(np.asarray(arrays[-1], np.float64).ravel(), truth.ravel(), errors.ravel())
    if arrays:  # a buffer for some of the elements at a time
        seen = [value for value in seen if np.ndim(value) == 0]
        if not seen:
            return None
    order = np.argsort(truth, axis=None)
    truth, errors = truth.ravel()[order], errors.ravel()[order]
    values = np.sort(np.asarray(seen, np.float64))
    if values.size == truth.size:
        return _worst(values, truth, errors)
    if not truth.size:
        return None
    # Computed again inside other loops: every value must be one of those expected.
    places = np.searchsorted(truth, values)
    near = [np.clip(places + shift, 0, truth.size - 1) for shift in (-1, 0)]
    off = [np.abs(values - truth[at]) for at in near]
    nearest = np.where(off[0] < off[1], near[0], near[1])
    return _worst(values, truth[nearest], errors[nearest])


def _worst(mine: np.ndarray, truth: np.ndarray, error: np.ndarray) -> tuple[float, float] | None:
    scale = float(np.max(np.abs(truth[np.isfinite(truth)]), initial=0.0))
    allowed = np.where(np.isfinite(error), 2 * error, LOOSE * scale)
    with np.errstate(invalid="ignore"):
        same = (mine == truth) | (np.isnan(mine) & np.isnan(truth)) | (np.abs(mine - truth) <= allowed)
        excess = np.where(same, -np.inf, np.abs(mine - truth) - allowed)
    if same.all():
        return None
    worst = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
    return float(mine[worst]), float(truth[worst])
