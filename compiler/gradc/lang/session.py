"""One tracing session: arguments, what the function reads from outside, and the program that results.

`Trace.argument` makes the traced values that stand for arguments, `Trace.run` calls the
clone of a function with them, `Trace.finish` gives the program.  Arrays that the function reads from outside
become *hidden* inputs, read again at every call; Python numbers that it reads from outside are *captured* and
checked at every call.

    trace = Trace("loss")
    x = trace.argument("x", DType.F64, trace.sizes("x", (5,)))
    program = trace.finish([trace.run(function, (x,), {})])
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradc.errors import GradcError
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.build import Builder
from gradc.ir.index.nodes import Program
from gradc.ir.types import DType, dtype_of
from gradc.lang import refusals
from gradc.lang.calls import Calls
from gradc.lang.clone import Source
from gradc.lang.emit import Emitter, SizeValue, Value
from gradc.lang.operands import REAL
from gradc.lang.outside import Captured, Hidden
from gradc.lang.provenance import Places, raised_at
from gradc.lang.sizes import Extent, known_argument
from gradc.lang.standins import StandIns
from gradc.lang.traced import (
    Captive,
    Literal,
    Traced,
    TracedArray,
    TracedMasked,
    TracedScalar,
    is_array,
    is_traced,
)
from gradc.lang.unify import ExtentSolver

MANY_EQUATIONS = 20_000


class UnrolledWarning(UserWarning):
    """A Python loop was unrolled into very many equations.  Fix: array operations instead of the loop."""


@dataclass(slots=True)
class _Kept:
    """A literal array that is an input already."""

    array: np.ndarray
    bytes: bytes
    value: Value


@dataclass(slots=True)
class _State:
    hidden: list[Hidden] = field(default_factory=list)
    captured: dict[Hashable, Captured] = field(default_factory=dict)
    kept: dict[int, _Kept] = field(default_factory=dict)
    literals: int = 0


class Trace(Calls):
    """One tracing session.

    Parameters
    ----------
    name : str
        Name of the program.
    folder : str, optional
        The folder of the user's file; places in the program are relative to it.
    solver : ExtentSolver, optional
        Holds what is known of extents.
    """

    def __init__(
        self, name: str = "program", *, folder: str = "", solver: ExtentSolver | None = None
    ) -> None:
        super().__init__(Emitter(Builder(name), solver or ExtentSolver()), Places(folder))
        self._state = _State()
        self.stand_ins = StandIns(self)

    @property
    def solver(self) -> ExtentSolver:
        """What is known of extents."""
        return self.emit.solver

    @property
    def hidden(self) -> tuple[Hidden, ...]:
        """The inputs that the user does not pass, in order of first use."""
        return tuple(self._state.hidden)

    @property
    def captured(self) -> tuple[Captured, ...]:
        """The Python values that the function read from outside."""
        return tuple(self._state.captured.values())

    # --- arguments --------------------------------------------------------------------------------------

    def sizes(
        self, name: str, shape: Sequence[int], names: Sequence[str | int | None] = ()
    ) -> tuple[Size, ...]:
        """Return the extents of an argument; 1 is static, `names` gives a symbol or fixes a number."""
        result: list[Size] = []
        for axis, extent in enumerate(shape):
            given = names[axis] if axis < len(names) else None
            if extent == 1 or isinstance(given, int):
                result.append(extent)
                continue
            symbol = given or f"{name}_n{axis}"
            known = self.solver.hints.setdefault(symbol, extent)
            if known != extent:
                raise GradcError(
                    f"the extent {symbol} is {known} and {extent}",
                    where=f"axis {axis} of {name}",
                    do="pass arrays that agree, or use two names",
                )
            result.append(extents.symbol(symbol))
        return tuple(result)

    def argument(
        self,
        name: str,
        dtype: DType,
        shape: tuple[Size, ...] = (),
        *,
        kind: str = "array",
        value: int | None = None,
    ) -> Traced:
        """Return the traced value of one argument.

        `kind` is ``"array"`` for arrays and NumPy scalars, ``"float"`` and ``"int"`` for Python numbers,
        which are weak in promotion; `value` is the present value of an int, which Python code may look at.
        """
        declared = self.emit.input(name, dtype, shape)
        if kind == "array":
            return (TracedArray if shape else TracedScalar)(self, declared, frozen=True, hint=name)
        weak = {"float": float, "int": int}[kind]
        known = known_argument(name, value) if value is not None else None
        return TracedScalar(self, Value(declared.name, dtype, (), weak), frozen=True, hint=name, known=known)

    # --- arrays from outside ----------------------------------------------------------------------------

    def captive(self, array: np.ndarray, name: str, read: Callable[[], np.ndarray]) -> object:
        """Stand for a captured array, which becomes an input of the program when it is first used."""
        if array.ndim == 0:
            self.capture(name, lambda: read()[()], array[()], ("number", name))
            return array[()]
        dtype_of(array.dtype, where=name)
        return TracedArray(self, Captive(array, name, read), frozen=True, hint=name)

    def capture(self, what: str, read: Callable[[], object], value: object, key: Hashable) -> None:
        """Note a Python value that the program relies on; one `key` is noted once."""
        self._state.captured.setdefault(key, Captured(what, read, value))

    def declare(self, content: Literal | Captive, hint: str) -> Value:
        """Bring a concrete array into the program: as an equation where one says it, else as an input."""
        dtype = dtype_of(content.array.dtype, where=self.where())
        if isinstance(content, Captive):
            name = content.name.rpartition(".")[2]
            return self._hidden(
                name, dtype, self.sizes(self._free(name), content.array.shape), content.read, False
            )
        if content.recipe is not None:
            return content.recipe()
        uniform = _uniform(content.array)
        if uniform is not None:
            return self.emit.constant(uniform, dtype, content.array.shape)
        return self._literal_input(content.array, dtype, hint)

    def _literal_input(self, array: np.ndarray, dtype: DType, hint: str) -> Value:
        """Return the input for a literal array; the same array with the same elements is one input."""
        kept = self._state.kept.get(id(array))
        if kept is not None and kept.bytes == array.tobytes():
            return kept.value
        fixed = np.array(array)
        fixed.flags.writeable = False
        self._state.literals += 1
        name = hint or f"c{self._state.literals}"
        value = self._hidden(name, dtype, array.shape, lambda: fixed, True)
        self._state.kept[id(array)] = _Kept(array, array.tobytes(), value)
        return value

    def _hidden(
        self, name: str, dtype: DType, shape: tuple[Size, ...], read: Callable[[], np.ndarray], literal: bool
    ) -> Value:
        value = self.emit.input(name, dtype, shape)
        self._state.hidden.append(Hidden(value.name, read, literal))
        return value

    def _free(self, name: str) -> str:
        """Return a name whose extents are not taken by another array's."""
        taken = {symbol.rpartition("_n")[0] for symbol in self.solver.hints}
        candidate, number = name, 2
        while candidate in taken:
            candidate, number = f"{name}_{number}", number + 1
        return candidate

    def argument_tree(self, x: Any) -> Any:
        """Lift the traced values in the arguments of a call and replace stand-ins by what they stand for."""
        kind = type(x)
        if kind in (TracedScalar, TracedArray):
            if x._trace is not self:
                raise self.poisoned(refusals.leaked(x, self.where()))
            return self.value_of(x._now())
        if isinstance(x, list | tuple):
            items = [self.argument_tree(item) for item in x]
            return tuple(items) if isinstance(x, tuple) else items
        if kind is Extent:
            return SizeValue(x._size)
        if kind is TracedMasked:
            return x._content
        if is_array(x):
            return self.lifted(self._foreign_operand(x))
        if isinstance(x, type) and hasattr(x, REAL):
            return getattr(x, REAL)
        return x

    # --- running ----------------------------------------------------------------------------------------

    def run(
        self, function: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> Any:
        """Call the clone of `function`; returns what it returns."""
        code = getattr(function, "__code__", None)
        if not self.places.folder:
            self.places.folder = os.path.dirname(code.co_filename) if code is not None else ""
        cloned = self.stand_ins.of(function, Source("", lambda: function))
        parameters = code.co_varnames if code is not None else ()
        given = [
            self.stand_ins.argument(arg, parameters[at] if at < len(parameters) else f"argument {at + 1}")
            for at, arg in enumerate(args)
        ]
        named = {name: self.stand_ins.argument(arg, name) for name, arg in kwargs.items()}
        try:
            result = cloned(*given, **named)
        except GradcError as error:
            raise self.poison or error from None
        except Exception as error:
            raise self._translated(error) from error
        if self.poison is not None:
            raise self.poison
        changed = self.stand_ins.changed_argument()
        if changed:
            raise refusals.changed_container(changed, self.emit.builder.name)
        return result

    def _translated(self, error: Exception) -> Exception:
        """Our error where user code or NumPy wrapped it in another one."""
        link: BaseException | None = error
        while link is not None and self.poison is not None:
            if link is self.poison:
                return self.poison
            link = link.__cause__ or link.__context__
        if isinstance(error, TypeError) and "TracedScalar" in str(error):
            self.enter(raised_at(error))
            return refusals.no_axes(str(error), self.where())
        return error

    def finish(self, outputs: Sequence[object], *, name: str = "out") -> Program:
        """Return the program that computes `outputs`; they may be constants.

        No output is an input or another output, so every result is an array of its own.
        """
        values: list[Value] = []
        taken = set(self.emit.builder.inputs)
        for output in outputs:
            value = self.output(output)
            if value.name in taken:
                self.mark = len(self.emit.builder.equations)
                value = self.emit.reindex(value, self.emit.shape(value), tuple(range(len(value.shape))))
            taken.add(value.name)
            values.append(value)
        count = len(self.emit.builder.equations)
        if count > MANY_EQUATIONS:
            warnings.warn(
                f"{self.emit.builder.name} became {count} equations: a Python loop was unrolled; use array "
                "operations over the whole axis instead",
                UnrolledWarning,
                stacklevel=2,
            )
        return self.emit.finish(values)

    def output(self, x: object) -> Value:
        """One result as a tensor of the program."""
        if is_traced(x):
            return self.value_of(x._now())  # pyright: ignore[reportAttributeAccessIssue]
        if type(x) is Extent:
            return self.emit.size_value(x._size)  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(x, bool | int | float | np.generic):
            array = np.asarray(x)
            return self.emit.constant(array.item(), dtype_of(array.dtype))
        if isinstance(x, np.ndarray):
            return self.value_of(Literal(x))
        raise refusals.bad_output(x, self.emit.builder.name)


def _uniform(array: np.ndarray) -> Any:
    """Return the one value that all elements of an array have, bit for bit; None where they differ."""
    if array.size == 0:
        return False if array.dtype == bool else array.dtype.type(0).item()
    first = array.flat[0]
    return first.item() if array.tobytes() == np.full(array.shape, first, array.dtype).tobytes() else None
