"""Printing answers: text for people, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import GradcError
from gradc.explain.gates import Gate, number

SCHEMA = 1


def plain(value: Any) -> Any:
    """A value as JSON: nested lists, shortest round-trip floats, NaN and infinities as strings."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def to_json(answer: dict[str, Any]) -> str:
    """One JSON document."""
    return json.dumps({"schema": SCHEMA, **plain(answer)}, allow_nan=False)


def node(gate: Gate) -> dict[str, Any]:
    """A gate as JSON."""
    return {
        "name": gate.name,
        "formula": gate.formula,
        "inputs": list(gate.inputs),
        "value": gate.value,
        "gradient": gate.gradient,
        "line": gate.line,
    }


def show_gradient(value: Any, gradient: dict[str, Any]) -> str:
    """Value and gradient, one line each."""
    width = max((len(name) for name in gradient), default=0)
    rows = [f"value = {_shown(value)}", "gradient:"]
    rows += [f"  {name:{width}} = {_shown(item)}" for name, item in gradient.items()]
    return "\n".join(rows)


def _shown(value: Any) -> str:
    array = np.asarray(value)
    if array.ndim == 0:
        return repr(array.item())
    return np.array2string(array, threshold=20, precision=6) if array.size <= 20 else number(value)


def error_json(error: GradcError) -> str:
    """A refusal as JSON."""
    detail = {"what": error.what, "where": error.where, "why": error.why, "do": error.do, "code": error.code}
    return to_json({"error": detail})


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Two aligned columns."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:{width}}  {text}" for name, text in rows)
