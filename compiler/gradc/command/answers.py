"""Printing answers: text for people, parts of JSON documents for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradc.explain.gates import Gate, number

SHOWN_ELEMENTS = 20


def node(gate: Gate) -> dict[str, Any]:
    """Return a gate as JSON; of an array the shape and the range."""
    return {
        "name": gate.name,
        "formula": gate.formula,
        "inputs": list(gate.inputs),
        **_measured("value", gate.value),
        **_measured("gradient", gate.gradient),
        "line": gate.line,
        "replaced": gate.replaced or None,
    }


def _measured(key: str, value: Any) -> dict[str, Any]:
    array = np.asarray(value)
    if value is None or array.ndim == 0:
        return {key: value}
    bounds = [array.min(), array.max()] if array.size else None
    return {key: {"shape": list(array.shape), "range": bounds}}


def show_gradient(value: Any, gradient: Mapping[str, Any]) -> str:
    """Value and gradient, one line each; nested gradients under their dotted names."""
    flat = list(_leaves(gradient, ""))
    width = max((len(name) for name, _ in flat), default=0)
    rows = [shown("value = ", value), "gradient:"]
    rows += [shown(f"  {name:{width}} = ", item) for name, item in flat]
    return "\n".join(rows)


def _leaves(value: Any, prefix: str) -> list[tuple[str, Any]]:
    """Return the arrays and numbers of nested containers with their dotted names."""
    inner: Mapping[str, Any]
    if isinstance(value, Mapping):
        inner = value
    elif hasattr(value, "_asdict"):
        inner = value._asdict()
    elif hasattr(value, "__dataclass_fields__"):
        inner = {name: getattr(value, name) for name in value.__dataclass_fields__}
    elif isinstance(value, list | tuple):
        inner = {str(position): item for position, item in enumerate(value)}
    else:
        return [] if value is None else [(prefix, value)]
    dot = f"{prefix}." if prefix else ""
    return [leaf for name, item in inner.items() for leaf in _leaves(item, f"{dot}{name}")]


def flat(gradient: Mapping[str, Any]) -> dict[str, Any]:
    """Nested gradients by their dotted names."""
    return dict(_leaves(gradient, ""))


def shown(lead: str, value: Any) -> str:
    """Show a value after `lead`: a small array in full, a large one by shape and range."""
    array = np.asarray(value)
    if array.ndim == 0:
        return f"{lead}{array[()]}"
    if array.size > SHOWN_ELEMENTS:
        return f"{lead}{number(value)}"
    text = np.array2string(array, precision=6, separator=", ")
    return lead + text.replace("\n", "\n" + " " * len(lead))


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Two aligned columns."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:{width}}  {text}" for name, text in rows)
