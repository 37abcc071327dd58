"""The cloned function: the same code object with its own globals, closure cells, defaults and builtins.

In the clone, names that stand for NumPy, SciPy, `math`, some builtins, captured data and plain user
functions are replaced by stand-ins (`gradc.lang.standins`), recursively.  Nothing global is patched: line
numbers, breakpoints and other threads are not disturbed.  A function that assigns a global or an outer
variable is refused when it is called, because the assignment would happen while tracing only.
"""

from __future__ import annotations

import dis
import functools
import re
import types
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gradc.lang import refusals
from gradc.lang.provenance import variable_names
from gradc.lang.sizes import Tracer


def _opcodes(*names: str) -> frozenset[int]:
    return frozenset(dis.opmap[name] for name in names if name in dis.opmap)


_LOADS = _opcodes("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_GLOBAL_WRITES = _opcodes("STORE_GLOBAL", "DELETE_GLOBAL")
_CELL_WRITES = _opcodes("STORE_DEREF", "DELETE_DEREF")
_LOAD_GLOBAL = dis.opmap["LOAD_GLOBAL"]
_NAMED = _LOADS | _GLOBAL_WRITES | _CELL_WRITES


@dataclass(frozen=True, slots=True)
class Source:
    """Where a captured value is read: `what` names it to the user, `read` reads it again.

    Two sources with one `key` always read the same value.
    """

    what: str
    read: Callable[[], Any]
    path: Hashable = None

    @property
    def key(self) -> Hashable:
        """What identifies the source within a trace."""
        return self.what if self.path is None else self.path

    @property
    def hint(self) -> str:
        """The end of `what` as a plain name, for an input: ``cfg.w["a"]`` gives ``w_a``."""
        return re.sub(r"\W+", "_", re.split(r"[. ](?![^\[]*\])", self.what)[-1]).strip("_")

    def attribute(self, name: str) -> Source:
        """Return the source of an attribute of this value."""
        what = f"{self.what}.{name}" if self.what else name
        return Source(what, lambda: getattr(self.read(), name), (self.key, name))

    def item(self, key: object) -> Source:
        """Return the source of an item of this value."""
        return Source(f"{self.what}[{key!r}]", lambda: self.read()[key], (self.key, "item", key))


class Replacer(Protocol):
    """What gives the stand-ins: `gradc.lang.standins.StandIns`."""

    trace: Tracer

    def of(self, value: Any, source: Source) -> Any:
        """Return what takes the place of `value`."""
        ...

    def mirrored(self, cls: type) -> type:
        """Return what takes the place of a class in its methods."""
        ...

    def builtins(self) -> dict[str, Any]:
        """Return the builtins of cloned functions."""
        ...


@dataclass(frozen=True, slots=True)
class Scan:
    """What a code object and the code nested in it do with names from outside."""

    loads: tuple[str, ...]
    global_writes: tuple[str, ...]
    outer_writes: tuple[str, ...]


@functools.lru_cache(maxsize=4096)
def scan(code: types.CodeType) -> Scan:
    """Names that `code` loads from its globals, assigns there, and assigns in the scopes around it."""
    loads: dict[str, None] = {}
    global_writes: dict[str, None] = {}
    outer_writes: dict[str, None] = {}
    pending = [(code, frozenset(code.co_freevars))]
    while pending:
        current, outer = pending.pop()
        for _, opcode, name in _named_instructions(current):
            if opcode in _LOADS:
                loads[name] = None
            elif opcode in _GLOBAL_WRITES:
                global_writes[name] = None
            elif name in outer:
                outer_writes[name] = None
        for constant in current.co_consts:
            if isinstance(constant, types.CodeType):
                # A free variable of nested code is ours, or one of the scopes around the clone.
                pending.append((constant, outer & frozenset(constant.co_freevars)))
    return Scan(tuple(loads), tuple(global_writes), tuple(outer_writes))


def _named_instructions(code: types.CodeType) -> Iterator[tuple[int, int, str]]:
    """Instructions on globals and cells, by offset, with their names; ten times as fast as `dis.get_instructions`."""
    raw, variables = code.co_code, variable_names(code)
    extended = 0
    for at in range(0, len(raw), 2):
        opcode, argument = raw[at], raw[at + 1] | extended
        extended = argument << 8 if opcode == dis.EXTENDED_ARG else 0
        if opcode in _CELL_WRITES:
            yield at, opcode, variables[argument]
        elif opcode in _NAMED:
            # The lowest bit of LOAD_GLOBAL says whether a NULL is pushed beside the value.
            yield at, opcode, code.co_names[argument >> 1 if opcode == _LOAD_GLOBAL else argument]


class ClonedFunction:
    """A plain user function to be called while tracing; its clone is made at the first call."""

    def __init__(self, stand_ins: Replacer, function: types.FunctionType, source: Source) -> None:
        self._stand_ins = stand_ins
        self._function = function
        self._source = source
        self._clone: types.FunctionType | None = None

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Call the clone."""
        if self._clone is None:
            self._clone = clone(self._stand_ins, self._function)
        return self._clone(*args, **kwargs)

    @property
    def original(self) -> types.FunctionType:
        """The function that this stands for."""
        return self._function

    def __get__(self, instance: object, owner: type | None = None) -> object:
        return self if instance is None else types.MethodType(self, instance)

    def __getattr__(self, name: str) -> object:
        return getattr(self._function, name)

    def __repr__(self) -> str:
        return repr(self._function)


def clone(stand_ins: Replacer, function: types.FunctionType) -> types.FunctionType:
    """Return the clone of `function` for one trace."""
    code = function.__code__
    found = scan(code)
    _check_writes(stand_ins, function, found)
    cells = tuple(types.CellType() for _ in function.__closure__ or ())
    copied = types.FunctionType(
        code,
        _globals(stand_ins, function, found.loads),
        function.__name__,
        _defaults(stand_ins, function),
        cells if function.__closure__ is not None else None,
    )
    copied.__kwdefaults__ = _keyword_defaults(stand_ins, function)
    copied.__qualname__ = function.__qualname__
    for name, cell, original in zip(code.co_freevars, cells, function.__closure__ or (), strict=True):
        _fill(stand_ins, function, name, cell, original)
    return copied


def _check_writes(stand_ins: Replacer, function: types.FunctionType, found: Scan) -> None:
    for names, kind in ((found.global_writes, "global"), (found.outer_writes, "outer variable")):
        if names:
            code, at = _write(function.__code__, names)
            where = stand_ins.trace.places.at(code, at, function.__globals__).show()
            raise stand_ins.trace.poisoned(refusals.outer_write(function, list(names), kind, where))


def _write(code: types.CodeType, names: Collection[str]) -> tuple[types.CodeType, int]:
    """Return the code, nested in `code`, and the offset of the first instruction there that assigns a name."""
    pending = [code]
    while pending:
        current = pending.pop()
        for at, opcode, name in _named_instructions(current):
            if name in names and opcode not in _LOADS:
                return current, at
        pending += (constant for constant in current.co_consts[::-1] if isinstance(constant, types.CodeType))
    return code, 0


def _globals(stand_ins: Replacer, function: types.FunctionType, loads: tuple[str, ...]) -> dict[str, Any]:
    original = function.__globals__
    copied: dict[str, Any] = {"__builtins__": stand_ins.builtins()}
    for name in ("__name__", "__package__", "__file__", "__loader__", "__spec__"):
        if name in original:
            copied[name] = original[name]
    module = original.get("__name__", "")
    for name in loads:
        if name in original:
            source = Source(name, functools.partial(original.__getitem__, name), ("global", module, name))
            copied[name] = stand_ins.of(original[name], source)
    return copied


def _fill(
    stand_ins: Replacer,
    function: types.FunctionType,
    name: str,
    cell: types.CellType,
    original: types.CellType,
) -> None:
    try:
        value = original.cell_contents
    except ValueError:  # not assigned yet: the clone meets Python's own NameError when it gets there
        return
    if name == "__class__":
        cell.cell_contents = stand_ins.mirrored(value)
        return
    source = Source(name, lambda: original.cell_contents, ("cell", id(original)))
    cell.cell_contents = stand_ins.of(value, source)


def _defaults(stand_ins: Replacer, function: types.FunctionType) -> tuple[Any, ...] | None:
    defaults = function.__defaults__
    if defaults is None:
        return None
    names = function.__code__.co_varnames[: function.__code__.co_argcount][-len(defaults) :]
    return tuple(
        stand_ins.of(
            value, Source(f"{function.__qualname__}.{name}", functools.partial(_default, function, at))
        )
        for at, (name, value) in enumerate(zip(names, defaults, strict=True))
    )


def _default(function: types.FunctionType, at: int) -> object:
    return (function.__defaults__ or ())[at]


def _keyword_defaults(stand_ins: Replacer, function: types.FunctionType) -> dict[str, Any] | None:
    defaults: Mapping[str, Any] | None = function.__kwdefaults__
    if defaults is None:
        return None
    return {
        name: stand_ins.of(
            value,
            Source(
                f"{function.__qualname__}.{name}", lambda name=name: (function.__kwdefaults__ or {})[name]
            ),
        )
        for name, value in defaults.items()
    }
