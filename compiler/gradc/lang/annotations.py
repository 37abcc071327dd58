"""Array types for annotations: ``x: f64["N", 3]`` names or fixes extents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from gradc.errors import ArgumentError
from gradc.ir.types import DType


@dataclass(frozen=True, slots=True)
class ArrayType:
    """An element type and, once indexed, the extents: a string names one, an int fixes one, ``...`` is any.

    Examples
    --------
    >>> f64["N", 3]
    f64['N', 3]
    """

    dtype: DType
    extents: tuple[str | int | None, ...] | None = None

    def __getitem__(self, extents: Any) -> ArrayType:
        given = extents if isinstance(extents, tuple) else (extents,)
        for extent in given:
            if not (extent is None or (isinstance(extent, str | int) and not isinstance(extent, bool))):
                raise ArgumentError(
                    f"{extent!r} is no extent", do='name it, fix it or leave it open: f64["N", 3, None]'
                )
        return replace(self, extents=given)

    def __repr__(self) -> str:
        inner = "" if self.extents is None else f"[{', '.join(map(repr, self.extents))}]"
        return f"{self.dtype.short}{inner}"


f64 = ArrayType(DType.F64)
f32 = ArrayType(DType.F32)
i64 = ArrayType(DType.INT64)
i32 = ArrayType(DType.INT32)
boolean = ArrayType(DType.BOOL)

Extents: TypeAlias = tuple[str | int | None, ...]


def annotated_type(annotation: Any) -> ArrayType | None:
    """The array type that an annotation gives; None for annotations of other kinds."""
    if isinstance(annotation, str):
        annotation = _evaluated(annotation)
    return annotation if isinstance(annotation, ArrayType) else None


def annotated_extents(annotation: Any, path: Sequence[Any] = ()) -> Extents:
    """The extents that an annotation gives; nothing for annotations of other kinds.

    Parameters
    ----------
    annotation : object
        An array type, or for a container a mapping from keys to annotations: ``p: {"w": f64["N", 3]}``.
    path : sequence
        The keys that lead to an array in a container.
    """
    for key in path:
        annotation = annotation.get(key) if isinstance(annotation, Mapping) else None
    type_ = annotated_type(annotation)
    return type_.extents or () if type_ is not None else ()


def _evaluated(text: str) -> ArrayType | None:
    """An annotation that ``from __future__ import annotations`` made a string; only array types are understood."""
    head, bracket, rest = text.partition("[")
    found = {"f64": f64, "f32": f32, "i64": i64, "i32": i32, "bool": boolean}.get(head.rpartition(".")[2])
    if found is None or not bracket:
        return found
    parts = [part.strip() for part in rest.rstrip("]").split(",")]
    return found[
        tuple(
            None if part == "None" else int(part) if part.isdigit() else part.strip("'\"") for part in parts
        )
    ]
