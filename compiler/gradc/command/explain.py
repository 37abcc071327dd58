"""``gradc explain``: the derivation of a gradient with numbers, gate by gate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradc.command import answers
from gradc.command.documents import to_json
from gradc.command.request import Answer, Request
from gradc.command.run import prepared
from gradc.errors import InputRefused
from gradc.explain.mathematics.derivation import Contribution, Derivation, Step, derivation
from gradc.explain.mathematics.showing import show_derivation

STYLES = ("plain", "latex")
LISTED_ELEMENTS = 100  # of an array in JSON; larger arrays are given by shape, range and mean


def explain(request: Request, style: str, as_json: bool) -> Answer:
    """Derive a gradient step by step.

    Everything is computed by the interpreter, whatever the target: nothing is compiled.

    Parameters
    ----------
    request : Request
        The function and its arguments.
    style : {"plain", "latex"}
        How formulas are written.
    as_json : bool
        Give the steps as one JSON document.

    Returns
    -------
    Answer
        The derivation, then the value and the gradient.

    Raises
    ------
    InputRefused
        The style is unknown, or arguments are missing or wrong.
    ShapeError
        The value is no number.
    """
    if style not in STYLES:
        raise InputRefused(f"--style {style!r} is unknown", do=f"use one of {', '.join(STYLES)}")
    function, found = prepared(replace(request, target="interpret"), draw=False)
    value, gradient = function.value_and_grad(**found.arguments)
    names = function.signature.wrt
    by_name = {names[0]: gradient} if function.signature.bare else dict(zip(names, gradient, strict=True))
    program, inputs = function.at(**found.arguments).program_and_inputs()
    derived = derivation(program, inputs, stable=function.options.stabilise)
    if as_json:
        head = {"value": value, "gradient": answers.flat(by_name), "left_out": derived.left_out}
        return Answer(to_json({**head, "steps": _document(derived)}))
    text = show_derivation(derived, style)
    return Answer(f"{found.note()}{text}\n{answers.show_gradient(value, by_name)}")


def _document(derived: Derivation) -> list[dict[str, Any]]:
    return [_step(step) for step in derived.steps]


def _step(step: Step) -> dict[str, Any]:
    return {
        "gate": step.gate,
        "equation": {"plain": step.equation.plain, "latex": step.equation.latex},
        "value": _measured(step.value),
        "upstream": _measured(step.upstream),
        "line": step.line,
        "replaced": step.replaced or None,
        "contributions": [_contribution(part) for part in step.contributions],
    }


def _contribution(part: Contribution) -> dict[str, Any]:
    local = {"plain": part.local.plain, "latex": part.local.latex} if part.local else None
    return {
        "operand": part.operand,
        "position": part.position,
        "local": local,
        "local_value": None if part.local_value is None else _measured(part.local_value),
        "formula": {"plain": part.formula.plain, "latex": part.formula.latex},
        "value": _measured(part.value),
        "total": _measured(part.total),
    }


def _measured(value: Any) -> Any:
    array = np.asarray(value)
    if array.size <= LISTED_ELEMENTS:
        return value
    return {"shape": list(array.shape), "range": [array.min(), array.max()], "mean": array.mean()}
