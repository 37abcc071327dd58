"""Arguments in nested containers: their leaves with names, and the way back.

Tuples, lists, dicts, namedtuples and dataclasses are containers; everything else is a leaf.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

Items = list[tuple[str, Any]]


def children(value: Any) -> Items | None:
    """The parts of a container with their names as Python writes them; None for a leaf."""
    if isinstance(value, dict):
        return [(f"[{key!r}]", item) for key, item in value.items()]
    if hasattr(value, "_fields"):
        return [(f".{name}", getattr(value, name)) for name in value._fields]
    if isinstance(value, tuple | list):
        return [(f"[{at}]", item) for at, item in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f".{part.name}", getattr(value, part.name)) for part in dataclasses.fields(value)]
    return None


def rebuilt(value: Any, parts: Sequence[Any]) -> Any:
    """A container like `value` with other parts."""
    if isinstance(value, dict):
        return type(value)(zip(value, parts, strict=True))
    if hasattr(value, "_fields"):
        return type(value)(*parts)
    if isinstance(value, tuple | list):
        return type(value)(parts)
    return dataclasses.replace(
        value, **dict(zip((f.name for f in dataclasses.fields(value)), parts, strict=True))
    )


def leaves(value: Any, name: str = "") -> Items:
    """All leaves, depth first, with their names: ``w['a'][0]``."""
    parts = children(value)
    if parts is None:
        return [(name, value)]
    return [leaf for part, item in parts for leaf in leaves(item, name + part)]


def with_leaves(value: Any, given: Sequence[Any]) -> Any:
    """A tree like `value` with other leaves, taken from `given` in order."""
    remaining = iter(given)

    def build(node: Any) -> Any:
        parts = children(node)
        return next(remaining) if parts is None else rebuilt(node, [build(item) for _, item in parts])

    return build(value)


class Flattened:
    """A check of functions of containers, as one of functions of their leaves."""

    def __init__(
        self, arguments: Sequence[Any], names: Sequence[str] | None, wrt: Sequence[str] | None
    ) -> None:
        self.arguments = list(arguments)
        own = [f"arg{at}" for at in range(len(self.arguments))] if names is None else list(names)
        if len(own) != len(self.arguments):
            raise ValueError(
                f"names {own} must be one different name for each of {len(self.arguments)} arguments"
            )
        unknown = [name for name in wrt or () if name not in own]
        if unknown:
            raise ValueError(f"wrt names {unknown}, which are not arguments; the arguments are {own}")
        found = {name: leaves(value, name) for name, value in zip(own, self.arguments, strict=True)}
        items = [leaf for name in own for leaf in found[name]]
        self.values = [value for _, value in items]
        self.names = [name for name, _ in items]
        self.wrt = None if wrt is None else [leaf for name in wrt for leaf, value in found[name]]
        self.chosen = own if wrt is None else list(wrt)
        self.own = own

    def function(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """`f` as a function of the leaves."""

        def of_leaves(*given: Any) -> Any:
            return f(*with_leaves(self.arguments, given))

        return of_leaves

    def gradient(self, found: Any) -> list[Any]:
        """The leaves of a gradient: of one container, or of a sequence with one tree for each name of `wrt`."""
        trees = [self.arguments[self.own.index(name)] for name in self.chosen]
        alone = len(trees) == 1 and _shape(found) == _shape(trees[0])
        return [value for _, value in leaves([found] if alone else list(found))]


def _shape(value: Any) -> Any:
    """The containers of a tree, without its leaves."""
    parts = children(value)
    return None if parts is None else [(name, _shape(item)) for name, item in parts]
