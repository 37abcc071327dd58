"""Where a traced operation stands in the user's source, and which variable its result goes to.

Both are read off the innermost frame of user code: the line for messages and `Origin`, and the instruction
that follows the running one, because ``y = a * b`` stores the result in ``y`` next.  Each instruction is
decoded once per trace, so that a loop pays two dictionary look-ups per operation.
"""

from __future__ import annotations

import ast
import dis
import linecache
import os
import sys
import sysconfig
import types
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Any

from gradc.ir.index.nodes import Origin
from gradc.lang.pieces import characters, piece_of_line, positions, show_origin

_CACHE = dis.opmap.get("CACHE", -1)
_STORES = frozenset(dis.opmap[name] for name in ("STORE_FAST", "STORE_DEREF"))
_STORE_NAMES = frozenset(dis.opmap[name] for name in ("STORE_NAME", "STORE_GLOBAL"))
# From Python 3.13 on a store is fused with the load or store after it; the first name is in the high bits.
_FUSED = frozenset(
    dis.opmap[name] for name in ("STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST") if name in dis.opmap
)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the user's source; `hint` is the variable that takes the result, or empty.

    `at` is the offset of the instruction in `code`: what it computes is looked up for messages only.
    """

    origin: Origin
    hint: str
    code: _Code | None = None
    at: int = 0

    def show(self) -> str:
        """Show the line, with carets below the expression where Python knows which part of the line it is."""
        known = self.code
        piece = piece_of_line(known.code, self.at, self.origin, known.source) if known is not None else None
        return show_origin(self.origin, piece)


@dataclass(slots=True)
class _Code:
    """What is known of one code object; it is kept so that its ``id`` stays its own."""

    code: types.CodeType
    raw: bytes
    variables: tuple[str, ...]
    file: str
    starts: list[int]  # offsets at which a line begins; asking a frame for its line walks the whole table
    lines: list[int]
    source: list[str]  # the file's lines, asked for once
    places: dict[int, Place] = field(default_factory=dict)

    @classmethod
    def of(cls, code: types.CodeType, context: dict[str, Any], file: str) -> _Code:
        """Read what the decoding needs off a code object; `context` is its globals."""
        table = [(start, line) for start, _, line in code.co_lines() if line is not None]
        starts, lines = [start for start, _ in table], [line for _, line in table]
        source = linecache.getlines(code.co_filename, context)
        return cls(code, code.co_code, variable_names(code), file, starts, lines, source)

    def origin(self, at: int) -> Origin:
        """Return the place of the instruction at an offset."""
        line = self.lines[max(0, bisect_right(self.starts, at) - 1)]
        return Origin(self.file, line, self.source[line - 1].strip() if 0 < line <= len(self.source) else "")


class Places:
    """Finds the user's place for one trace; file names are relative to `folder`, never absolute."""

    def __init__(self, folder: str = "") -> None:
        self.folder = folder
        self._codes: dict[int, _Code] = {}

    def of(self, frame: types.FrameType | None) -> Place:
        """Return the place of the innermost user frame at or above `frame`."""
        frame = user_frame(frame)
        if frame is None:
            return NOWHERE
        code = frame.f_code
        known = self._codes.get(id(code))
        if known is None:
            known = self._codes[id(code)] = self._code(code, frame.f_globals)
        at = frame.f_lasti
        found = known.places.get(at)
        if found is None:
            found = known.places[at] = Place(known.origin(at), _stored_next(known, at), known, at)
        return found

    def _code(self, code: types.CodeType, context: dict[str, Any]) -> _Code:
        return _Code.of(code, context, self.relative(code.co_filename))

    def at(self, code: types.CodeType, at: int, context: dict[str, Any]) -> Place:
        """Return the place of the instruction at an offset of code that is not running; `context` is its globals."""
        known = self._code(code, context)
        return Place(known.origin(at), "", known, at)

    def unpacked(self, frame: types.FrameType | None) -> tuple[str, ...]:
        """Return the variables of ``a, b, c = ...`` where `frame` is unpacking into plain ones."""
        frame = user_frame(frame)
        if frame is None:
            return ()
        raw, at, variables = frame.f_code.co_code, frame.f_lasti, variable_names(frame.f_code)
        names: list[str] = []
        if raw[at] == dis.opmap["UNPACK_SEQUENCE"]:
            count, at = raw[at + 1], _next(raw, at)
            while len(names) < count and at < len(raw) and raw[at] in _STORES:
                names.append(_named(variables, raw[at + 1]))
                at += 2
        return tuple(names)

    @staticmethod
    def named(place: Place, hint: str) -> Place:
        """`place` with another variable to take the result."""
        return Place(place.origin, hint, place.code, place.at)

    def relative(self, path: str) -> str:
        """`path` as messages and programs show it."""
        inside = self.folder and path.startswith(self.folder + os.sep)
        return path[len(self.folder) + 1 :] if inside else os.path.basename(path)


NOWHERE = Place(Origin("", 0), "")


def _stored_next(known: _Code, at: int) -> str:
    """Return the plain name that the next instruction stores to."""
    raw, code = known.raw, known.code
    at = _next(raw, at)
    if at >= len(raw):
        return ""
    opcode, argument = raw[at], raw[at + 1]
    # `EXTENDED_ARG` precedes names beyond the 256th: they give no hints.
    if opcode in _STORES:
        return _named(known.variables, argument)
    if opcode in _FUSED:
        return _named(known.variables, argument >> 4)
    return code.co_names[argument] if opcode in _STORE_NAMES else ""


def _next(raw: bytes, at: int) -> int:
    """Return the offset of the instruction after the one at `at`."""
    at += 2
    while at < len(raw) and raw[at] == _CACHE:
        at += 2
    return at


def variable_names(code: types.CodeType) -> tuple[str, ...]:
    """Names of the local variables in the order in which instructions number them."""
    cells = [name for name in code.co_cellvars if name not in code.co_varnames]
    return (*code.co_varnames, *cells, *code.co_freevars)


def _named(variables: tuple[str, ...], number: int) -> str:
    return variables[number] if number < len(variables) else ""


# --- libraries ---------------------------------------------------------------------------------------------

# Modules whose functions are replaced in cloned functions, and those that are run as they are.
TRACED_MODULES = frozenset(("numpy", "scipy", "math"))
_LIBRARIES = TRACED_MODULES | frozenset(
    (
        *("gradc", "gradc_runtime", "sympy", "numba", "llvmlite", "mpmath", "optree"),
        *("pandas", "sklearn", "matplotlib", "torch", "jax", "pytest", "_pytest"),
    )
)


# Of gradc's own modules those that are written on its public interface, in plain NumPy.
_WRITTEN_AS_USERS_DO = ("gradc.nn", "gradc.bench.workloads")


def is_library(module: str | None) -> bool:
    """Whether code of this module is run as it is: libraries and the standard library."""
    root = (module or "").partition(".")[0]
    if any(module == own or (module or "").startswith(f"{own}.") for own in _WRITTEN_AS_USERS_DO):
        return False
    return root in _LIBRARIES or (root in sys.stdlib_module_names and root != "__main__")


# --- frames -------------------------------------------------------------------------------------------------


@cache
def _users_folders() -> tuple[str, ...]:
    spec = find_spec("gradc")
    home = os.path.dirname(spec.origin) if spec is not None and spec.origin else ""
    return tuple(os.path.join(home, *name.split(".")[1:]) + os.sep for name in _WRITTEN_AS_USERS_DO)


@cache
def _library_folders() -> tuple[str, ...]:
    found = [sysconfig.get_paths()["stdlib"] + os.sep]
    for package in ("gradc", "numpy", "scipy"):
        spec = find_spec(package)
        if spec is not None and spec.origin:
            found.append(os.path.dirname(spec.origin) + os.sep)
    return tuple(found)


_kinds: dict[
    str, bool
] = {}  # file name -> whether it is user code; file names are few and never change sides


def is_user_file(path: str) -> bool:
    """Whether code of this file counts as the user's: not gradc, NumPy, SciPy or the standard library."""
    found = _kinds.get(path)
    if found is None:
        stdlib, *packages = _library_folders()
        own = path.startswith(tuple(packages)) and not path.startswith(_users_folders())
        library = own or path.startswith("<frozen")
        library = library or (path.startswith(stdlib) and "site-packages" not in path[len(stdlib) :])
        found = _kinds[path] = not library
    return found


def user_frame(frame: types.FrameType | None) -> types.FrameType | None:
    """Return the innermost frame of user code at or above `frame`."""
    while frame is not None:
        path = frame.f_code.co_filename
        known = _kinds.get(path)
        if known if known is not None else is_user_file(path):
            return frame
        frame = frame.f_back
    return None


def library_call(frame: types.FrameType | None) -> str:
    """Return the dotted name of the library function that user code called on the way to `frame`."""
    below: types.FrameType | None = None
    while frame is not None and not is_user_file(frame.f_code.co_filename):
        if "gradc" not in frame.f_globals.get("__name__", "").split("."):
            below = frame
        frame = frame.f_back
    if below is None:
        return ""
    return f"{below.f_globals.get('__name__', '')}.{below.f_code.co_qualname}"


def running_call(frame: types.FrameType) -> ast.Call | None:
    """Return the call that `frame` is executing, from the columns that Python keeps per instruction."""
    expression = running_expression(frame)
    if expression is None:
        return None
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError:
        return None
    return tree if isinstance(tree, ast.Call) else None


def running_expression(frame: types.FrameType) -> str | None:
    """Return the source text of the expression that `frame` is executing."""
    found = positions(frame.f_code, frame.f_lasti)
    if found is None:
        return None
    first, last, start, end = found
    path, context = frame.f_code.co_filename, frame.f_globals
    lines = [linecache.getline(path, number, context) for number in range(first, last + 1)]
    if not lines or not all(lines):
        return None
    lines[-1] = lines[-1][: characters(lines[-1], end)]
    lines[0] = lines[0][characters(lines[0], start) :]
    return "".join(lines)


def called_object(frame: types.FrameType, node: ast.expr) -> object:
    """Return what a dotted name stands for in `frame`; None where that is unknown."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    found: object = frame.f_locals.get(node.id, frame.f_globals.get(node.id, frame.f_builtins.get(node.id)))
    for name in reversed(names):
        found = getattr(found, name, None)
    return found


def raised_at(error: BaseException) -> types.FrameType | None:
    """Return the innermost user frame through which an exception went."""
    link, found = error.__traceback__, None
    while link is not None:
        if is_user_file(link.tb_frame.f_code.co_filename):
            found = link.tb_frame
        link = link.tb_next
    return found


def as_method(function: Any) -> Any:
    """Return the method that machine code stands for (`gradc_runtime.entry`), and anything else as it is."""
    if not isinstance(function, types.BuiltinFunctionType):
        return function
    return getattr(function.__self__, "gradc_method", function)
