"""Nodes of parsed index equations, in A-normal form: an operation names earlier nodes by position."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from gradc.lang.indexed import Form, LoopIndex
from gradc.lang.source import Source, Span

Widths: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, an int if it is written as one."""

    value: float | int
    span: Span


@dataclass(frozen=True, slots=True)
class Subscript:
    """One index expression of an access."""

    form: Form
    span: Span


@dataclass(frozen=True, slots=True)
class Reference:
    """``name[subscripts]``; `pad` holds the amounts of ``pad(name, ...)``: one for all, or one per axis."""

    name: str
    subscripts: tuple[Subscript, ...]
    span: Span
    pad: Widths = ()


@dataclass(frozen=True, slots=True)
class IndexNumber:
    """An index used as a number."""

    index: LoopIndex
    span: Span


@dataclass(frozen=True, slots=True)
class Operation:
    """A function of the allow list applied to earlier nodes."""

    function: str
    arguments: tuple[int, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Reduction:
    """``op[indices] body``."""

    op: str
    indices: tuple[LoopIndex, ...]
    body: int
    span: Span


Node: TypeAlias = Literal | Reference | IndexNumber | Operation | Reduction


@dataclass(frozen=True, slots=True)
class Range:
    """``index < bound``: the number of values of an index, a number or the name of a size."""

    name: str
    bound: int | str
    span: Span


@dataclass(frozen=True, slots=True)
class Statement:
    """One equation; `bound` lists every index bound in it, outputs first; the last node is its value."""

    target: str
    span: Span
    indices: tuple[LoopIndex, ...]
    nodes: tuple[Node, ...]
    bound: tuple[tuple[LoopIndex, Span], ...]
    ranges: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedEquations:
    """A parsed text: its equations, the tensors and sizes it takes, in order of first appearance."""

    source: Source
    statements: tuple[Statement, ...]
    parameters: tuple[str, ...]
    sizes: tuple[str, ...] = field(default=())
