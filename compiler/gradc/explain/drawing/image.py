"""A scene that can be saved and shown in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from os import PathLike
from pathlib import Path

from gradc.errors import InputRefused
from gradc.explain.drawing.png import png
from gradc.explain.drawing.scene import Scene
from gradc.explain.drawing.svg import svg
from gradc.explain.files import write_whole


class Image:
    """A picture, made when it is asked for."""

    formats: tuple[str, ...] = (".svg", ".png")

    def __init__(self, make: Callable[[], Scene]) -> None:
        self._make = make

    @cached_property
    def scene(self) -> Scene:
        """Shapes and their places."""
        return self._make()

    @property
    def svg(self) -> str:
        """The picture as SVG, in light or dark as the reader prefers."""
        return svg(self.scene)

    @property
    def png(self) -> bytes:
        """The picture as PNG; needs matplotlib."""
        return png(self.scene)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the picture; the file's suffix says how.  The file is written whole or not at all.

        Raises
        ------
        InputRefused
            Another suffix than those in `formats`, or a place that cannot be written.
        """
        found = require_format(path, self.formats)
        write_whole(found, self._content(found.suffix.lower()))
        return found

    def _content(self, suffix: str) -> bytes:
        return self.png if suffix == ".png" else self.svg.encode()

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<picture: {self.scene.title}; .save('picture.svg')>"


def require_format(path: str | PathLike[str], formats: tuple[str, ...]) -> Path:
    """Return the path of a picture, refusing a suffix that says no format."""
    found = Path(path)
    if found.suffix.lower() not in formats:
        given = f"{found.suffix} file" if found.suffix else "file without a suffix"
        raise InputRefused(f"a picture is no {given}", do=f"end the name in one of {', '.join(formats)}")
    return found
