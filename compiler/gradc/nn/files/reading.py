"""From the text of a network file to a network: data alone, bounded before anything is made of it.

Names in the file are compared with tables, never looked up in a module or an object.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gradc.errors import GradcError, InputRefused
from gradc.explain.figures import amount
from gradc.nn.checkpoint import bounded_content
from gradc.nn.files.kinds import (
    LAYERS,
    Family,
    Key,
    described,
    families_in,
    fits,
    keys_of,
)
from gradc.nn.files.places import Path as Place
from gradc.nn.files.places import line_of, places
from gradc.nn.files.recipe import Limits, Recipe
from gradc.nn.files.weights import load_weights
from gradc.nn.layer import Layer, Regulariser, Shape
from gradc.nn.losses import Loss
from gradc.nn.network import Network
from gradc.nn.nodes import Node, Placing, first_unread, require_all_read
from gradc.nn.optimisers import Optimiser

SHOWN = 60  # characters of what the file says that a message shows
DOTS = 64  # in a line: what the parser needs for a key grows with the square of its parts

_NETWORK = {
    key.name: key
    for key in (
        Key("shape", int | tuple[int, ...], required=True),
        Key("loss", Loss, required=True),
        Key("regulariser", Regulariser, required=False),
        Key("dtype", Literal["float32", "float64"], required=False),
        Key("seed", int, required=False),
        Key("weights", str, required=False),
    )
}
_TRAINING = {
    key.name: key
    for key in (
        Key("optimiser", Optimiser, required=False),
        Key("epochs", int, required=False),
        Key("batch", int, required=False),
        Key("seed", int, required=False),
        Key("patience", int, required=False),
        Key("validation", float, required=False),
    )
}
_TOP = ("network", "layer", "training")


def read(path: Path, limits: Limits) -> tuple[Network, Recipe, str]:
    """Return what a network file describes; see `gradc.nn.NetworkFile.read`."""
    content = bounded_content(
        path, limits.bytes, f"a network file has at most {limits.bytes}", follows_links=True
    )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputRefused(
            f"{_shown(path.name)} is no UTF-8 text",
            where=f"{_shown(path.name)}:{line}",
            do="save it as UTF-8",
        ) from None
    text = text.replace("\r\n", "\n")
    document = _Document(path, text, limits, {})
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > DOTS and not line.lstrip().startswith("#"):
            why, do = f"it may have {DOTS}", "write it in several lines"
            raise document.refused((), "there are too many dots in a line", line=number, why=why, do=do)
    try:
        parsed = _parsed(document)
        return replace(document, found=places(text)).described(parsed)
    except (RecursionError, MemoryError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else "it describes too much"
        raise document.refused((), what, do="describe a smaller network") from None


def _parsed(document: _Document) -> dict[str, Any]:
    try:
        return tomllib.loads(document.text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else document.text.count("\n") + 1
        why = re.sub(r" \(at .*\)$", "", str(error))
        raise document.refused((), "this is no TOML", line=line, why=why, do="see https://toml.io") from None
    except ValueError as error:  # of Python, which reads no whole number of thousands of digits
        raise document.refused(
            (), "a number cannot be read", why=str(error), do="give a shorter one"
        ) from None


@dataclass(frozen=True, slots=True)
class _Document:
    """A parsed file with what messages need."""

    path: Path
    text: str
    limits: Limits
    found: Mapping[Place, int]

    def refused(
        self, place: Place, what: str, *, why: str = "", do: str = "", line: int | None = None
    ) -> InputRefused:
        """Return (not raise) the error for what stands at a place of the file."""
        number = line if line is not None else line_of(self.found, place)
        lines = self.text.split("\n")
        said = lines[number - 1].strip() if number <= len(lines) else ""
        said = re.sub(r"\s+#[^\"']*$", "", said)
        shown = f": {_shown(said)}" if (said and self.found) or (line is not None and said) else ""
        layer = f", layer {place[1] + 1}" if len(place) > 1 and isinstance(place[1], int) else ""
        return InputRefused(what, where=f"{_shown(self.path.name)}:{number}{layer}{shown}", why=why, do=do)

    def described(self, parsed: Mapping[str, Any]) -> tuple[Network, Recipe, str]:
        """Return what the whole document describes."""
        for name in parsed:
            if name not in _TOP:
                raise self._unknown((name,), "a network file has no", name, _TOP)
        head = self._table(parsed, "network", required=True)
        layers = parsed.get("layer", [])
        if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
            raise self.refused(
                ("layer",), "`layer` is no array of tables", do="begin each layer with [[layer]]"
            )
        if not 1 <= len(layers) <= self.limits.layers:
            raise self.refused(
                ("layer", 0),
                f"the file has {amount(len(layers))} layers",
                why=f"it may have 1 to {self.limits.layers}",
                do="begin each layer with [[layer]]",
            )
        settings = self._values(("network",), head, _NETWORK, "[network]")
        sizes = settings["shape"] if isinstance(settings["shape"], tuple) else (settings["shape"],)
        if not sizes or min(sizes) < 1:
            raise self.refused(
                ("network", "shape"), "this is no shape of an example", do="give positive whole numbers"
            )
        weights = settings.pop("weights", "")
        built = self._layers(layers, sizes)
        recipe = self._values(
            ("training",), self._table(parsed, "training", required=False), _TRAINING, "[training]"
        )
        training = self._made(("training",), Recipe, recipe)
        network = self._made(("network",), lambda **given: Network(*built, **given), settings)
        if weights or "weights" in head:
            load_weights(network, self.path, weights, lambda what, why: self._no_weights(what, why))
        return network, training, weights

    def _layers(self, layers: list[Any], shape: Shape) -> list[Layer]:
        """Return the layers, each put in its place already, so that what does not fit is told with its line."""
        found: list[Layer] = []
        nodes: list[Node] = []
        placing = Placing(shape)
        for at, layer in enumerate(layers):
            place = ("layer", at)
            found.append(self._built(place, layer, (LAYERS,)))
            nodes.append(self._made(place, placing.add, {"layer": found[-1]}))
            shapes = [nodes[-1].output, *(made.shape for made in nodes[-1].parameters.values())]
            for size in shapes:
                self._require_bounded(place, list(size))
        unread = first_unread(nodes)
        if unread is not None:
            self._made(("layer", unread), require_all_read, {"nodes": nodes})
        return found

    def _no_weights(self, what: str, why: str) -> InputRefused:
        do = "name a safetensors file in the folder of the network file, or below it"
        return self.refused(("network", "weights"), what, why=why, do=do)

    def _table(self, parsed: Mapping[str, Any], name: str, *, required: bool) -> Mapping[str, Any]:
        found = parsed.get(name, None if required else {})
        if not isinstance(found, dict):
            what = f"there is no table [{name}]" if found is None else f"`{name}` is no table"
            raise self.refused((name,), what, do=f"write [{name}] and its keys below it")
        return found

    # --- values -------------------------------------------------------------------------------------------

    def _values(
        self, place: Place, given: Mapping[str, Any], keys: Mapping[str, Key], owner: str
    ) -> dict[str, Any]:
        """Return the values of a table by key, converted."""
        for name in given:
            if name not in keys and name != "type":
                raise self._unknown((*place, name), f"{owner} has no key", name, keys)
        for key in keys.values():
            if key.required and key.name not in given:
                raise self.refused(
                    place,
                    f"{owner} lacks the key `{key.name}`",
                    do=f"write {key.name} = ...: {described(key.hint)}",
                )
        return {
            name: self._value((*place, name), value, keys[name].hint, f"`{name}` of {owner}")
            for name, value in given.items()
            if name in keys
        }

    def _value(self, place: Place, value: Any, hint: Any, what: str) -> Any:
        """Return what a key's value stands for: a number, a tuple, or an object that it names."""
        families = families_in(hint)
        if families and (isinstance(value, dict) or (isinstance(value, str) and not fits(value, hint))):
            return self._built(place, value, families)
        if not fits(value, hint):
            raise self.refused(place, f"{what} is {_kind(value)}", do=f"give {described(hint)}")
        self._require_bounded(place, value)
        return _frozen(value)

    def _built(self, place: Place, value: Any, families: tuple[Family, ...]) -> Any:
        """Return the object that a name or a table with a `type` describes."""
        known = {name: found for family in families for name, found in family.types.items()}
        noun = " or ".join(family.noun for family in families)
        given = {"type": value} if isinstance(value, str) else value
        if not isinstance(given, dict) or "type" not in given:
            raise self.refused(
                place, f"{noun} without a type", do=f'write type = "{next(iter(known))}", or {_listed(known)}'
            )
        name = given["type"]
        if not isinstance(name, str) or name not in known:
            at = (*place, "type") if isinstance(value, dict) else place
            raise self._unknown(at, f"there is no {noun.partition(' ')[2]}", name, known)
        values = self._values(place, given, keys_of(known[name]), name)
        return self._made(place, known[name], values)

    def _made(self, place: Place, make: Callable[..., Any], values: Mapping[str, Any]) -> Any:
        """Call a constructor; what it refuses is told with the line of the key that it names."""
        try:
            return make(**values)
        except GradcError as error:
            named = (name for name in values if re.search(rf"\b{name}\b", f"{error.what} {error.why}"))
            key = next(named, None)
            at = place if key is None else (*place, key)
            parts = [error.where if isinstance(error, InputRefused) else "", error.why]
            raise self.refused(at, error.what, why="; ".join(filter(None, parts)), do=error.do) from error

    def _require_bounded(self, place: Place, value: Any) -> None:
        """Refuse numbers that are not finite or too great, and shapes of too many elements."""
        for part in value.values() if isinstance(value, dict) else [value]:
            numbers = list(_numbers(part))
            if any(not math.isfinite(number) for number in numbers if type(number) is float):
                raise self.refused(place, "a number is not finite", do="give a finite number")
            whole = [abs(number) for number in numbers if type(number) is int]
            if max(math.prod(whole), *whole, 0) > self.limits.elements:  # a 0 hides no other number
                what = "an array is too large" if isinstance(part, list) else "a number is too great"
                raise self.refused(place, what, why=f"the limit is {self.limits.elements}", do="give less")

    def _unknown(self, place: Place, what: str, name: object, known: Iterable[str]) -> InputRefused:
        listed = list(known)
        close = difflib.get_close_matches(name if isinstance(name, str) else "", listed, n=1)
        do = f"did you mean {close[0]}?" if close else f"choose of {', '.join(listed)}"
        why = f"there are {', '.join(listed)}" if close else ""
        return self.refused(place, f"{what} `{_shown(name)}`", why=why, do=do)


def _numbers(value: Any) -> Iterable[Any]:
    """Yield the numbers of nested lists and tables."""
    stack = [value]
    while stack:
        found = stack.pop()
        match found:
            case list():
                stack += found
            case dict():
                stack += found.values()
            case bool() | str():
                pass
            case _:
                yield found


def _frozen(value: Any) -> Any:
    """Turn lists into tuples."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return {key: _frozen(item) for key, item in value.items()} if isinstance(value, dict) else value


def _kind(value: Any) -> str:
    """Name a value in a message."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'the text "{_shown(value)}"'
        case int() | float():
            return _shown(value)
        case list():
            return f"the list {_shown(value)}"
        case dict():
            return "a table"
        case _:
            return f"a {type(value).__name__}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(list(names)[1:])


def _shown(value: object) -> str:
    """Show foreign text in a message: one line, printable, not endless."""
    text = str(value) if not isinstance(value, int) or abs(value) < 10**SHOWN else "a very large number"
    text = text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
    return text if text.isprintable() else ascii(text)[1:-1]
