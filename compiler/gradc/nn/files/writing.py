"""From a network to the text of a network file: only what differs from the defaults is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from gradc.errors import ArgumentError
from gradc.nn.files.kinds import FAMILIES, LAYERS
from gradc.nn.files.recipe import Recipe
from gradc.nn.network import Network

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def written(network: Network, training: Recipe, weights: str) -> str:
    """Return the text of a network file; see `gradc.nn.NetworkFile.text`."""
    return "\n".join(_lines(network, training, weights)) + "\n"


def _lines(network: Network, training: Recipe, weights: str) -> Iterator[str]:
    yield "[network]"
    yield f"shape = {value_text(network.shape, 'shape')}"
    yield f"loss = {value_text(network.loss, 'the loss')}"
    if network.regulariser is not None:
        yield f"regulariser = {value_text(network.regulariser, 'the regulariser')}"
    yield f'dtype = "{network.dtype}"'
    yield f"seed = {network.seed}"
    if weights:
        yield f"weights = {value_text(weights, 'the weights')}"
    for node in network.nodes:
        yield ""
        yield "[[layer]]"
        what = f"layer {node.name}"
        if type(node.layer) not in LAYERS.types.values():
            raise _unwritable(node.layer, what)
        yield f'type = "{type(node.layer).__name__}"'
        for name, value in _changed(node.layer):
            yield f"{name} = {value_text(value, what)}"
    if training != Recipe():
        yield ""
        yield "[training]"
        for name, value in _changed(training):
            yield f"{name} = {value_text(value, f'the {name}')}"


def _changed(thing: Any) -> list[tuple[str, Any]]:
    """Return the fields of a dataclass that are not as they are by default; options of every type come last."""
    listed = sorted((field for field in fields(thing) if field.init), key=lambda field: bool(field.kw_only))
    pairs = [(field, getattr(thing, field.name)) for field in listed]
    return [(field.name, value) for field, value in pairs if not _is_default(field, value)]


def _is_default(field: Field[Any], value: object) -> bool:
    if field.default_factory is not MISSING:
        return value == field.default_factory()
    return field.default is not MISSING and type(value) is type(field.default) and value == field.default


def value_text(value: Any, what: str) -> str:
    """Write a value; `what` names its owner in a refusal."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(float(value) if isinstance(value, float) else int(value))
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case tuple() | list():
            return f"[{', '.join(value_text(item, what) for item in value)}]"
        case Mapping():
            pairs = ((key if _BARE.match(key) else json.dumps(key), item) for key, item in value.items())
            return _table((key, value_text(item, what)) for key, item in pairs)
        case _:
            return _named(value, what)


def _named(thing: Any, what: str) -> str:
    """Write what a file names by its type: a text where nothing but defaults is to be said."""
    if not any(type(thing) is found for family in FAMILIES.values() for found in family.types.values()):
        raise _unwritable(thing, what)
    kind, pairs = f'"{type(thing).__name__}"', _changed(thing)
    if not pairs:
        return kind
    return _table([("type", kind), *((name, value_text(value, what)) for name, value in pairs)])


def _table(pairs: Any) -> str:
    return "{ " + ", ".join(f"{key} = {text}" for key, text in pairs) + " }"


def _unwritable(thing: object, what: str) -> ArgumentError:
    kind = type(thing).__name__
    return ArgumentError(
        f"{what} cannot be written to a network file",
        why=f"its type is {kind}: a file holds types of gradc.nn, and no Python code",
        do="keep this network in Python; Network.save writes its weights",
    )
