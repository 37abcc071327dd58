"""The point of a gradient check: its arguments, what calls there reveal, and lines through it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradc_runtime.gradcheck_estimate import EPS, Line, table_noise
from gradc_runtime.gradcheck_report import Verdict

Array = NDArray[Any]
Moved = Callable[[float], AbstractContextManager[None]]  # the arguments, moved to a point of a line
NARROW = 1e-10  # relative rounding above which a function is taken to compute in less than float64
HINT = "pass wide=, the same function in float64"


@dataclass(frozen=True, slots=True)
class Flaw:
    """A finding that is not a comparison of two slopes; `argument` is `f` for the function itself."""

    argument: str
    what: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True)
class LineTrace:
    """Which smooth piece of f the points of a line lie on; `moved` moves the arguments, `codes` reads the trace."""

    moved: Moved
    codes: Callable[[], dict[str, Array]]

    def piece(self, t: float) -> bytes:
        """Return bytes that are equal for points on the same piece."""
        with self.moved(t):
            codes = self.codes()
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(codes):
            digest.update(np.ascontiguousarray(codes[name]).tobytes())
        return digest.digest()

    def difference(self, first: float, second: float) -> str:
        """Name the first choice that f makes differently at two points; empty if there is none."""
        with self.moved(first):
            here = self.codes()
        with self.moved(second):
            there = self.codes()
        for name, codes in here.items():
            other = there[name]
            if _same_bits(codes, other):
                continue
            if other.ndim == 0 or other.shape != codes.shape:
                return name
            place = np.unravel_index(int(np.argmax(codes != other)), codes.shape)
            return f"element {[int(i) for i in place]} of {name}"
        return ""


def _copy(value: Any) -> Any:
    return value.copy(order="K") if isinstance(value, np.ndarray) else value


def _same_bits(a: Any, b: Any) -> bool:
    """Whether two arrays or scalars are equal to the bit, nan included."""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _as_scalar(result: Any) -> float:
    array = np.asarray(result)
    if array.ndim or array.dtype.kind not in "fiub":
        raise TypeError(
            f"f returned {type(result).__name__} of shape {array.shape} and dtype {array.dtype}; a "
            "gradient is checked for a function that returns one real number: reduce it, or take one element"
        )
    return float(array)


class Arguments:
    """The arguments of a check, copied, with a count of how often f was called on them."""

    def __init__(
        self,
        f: Callable[..., Any],
        wide: Callable[..., Any] | None,
        arguments: Sequence[Any],
        names: Sequence[str] | None,
        wrt: Sequence[str] | None,
        trace: Callable[..., Mapping[str, Any]] | None = None,
    ) -> None:
        self.values = [
            _copy(a) if isinstance(a, np.ndarray | np.generic | int | float) else a for a in arguments
        ]
        self.names = [f"arg{i}" for i in range(len(self.values))] if names is None else list(names)
        if len(self.names) != len(self.values) or len(set(self.names)) != len(self.names):
            raise ValueError(
                f"names {self.names} must be one different name for each of {len(self.values)} arguments"
            )
        self.positions = self._positions(wrt)
        self.evaluations = 0
        self.usable = True
        self._f = f
        self._trace = trace
        self._numeric = wide or f
        self._has_wide = wide is not None
        self._work = [self._widened(value) for value in self.values]
        self._mutates = False
        self._result_dtype = np.dtype(np.float64)

    def settle(self, gradient: Callable[..., Any] | Sequence[Any]) -> tuple[list[Flaw], dict[int, Array]]:
        """Call f and the gradient twice; return what that shows, and the usable gradients by position."""
        flaws = self._settle_function()
        if callable(gradient):
            first, changed, lain = self._called(gradient)
            flaws += self._changes(changed, "the gradient")
            second, _, _ = self._called(gradient)
            arrays = self._unpacked(first)
            for i, (a, b) in enumerate(zip(arrays, self._unpacked(second), strict=True)):
                if not _same_bits(a, b):
                    text = "the gradient differs between two calls"
                    flaws.append(
                        Flaw(self.names[self.positions[i]], "second call", Verdict.NONDETERMINISTIC, text)
                    )
        else:
            lain, arrays = gradient, self._unpacked(gradient)
        claims: dict[int, Array] = {}
        for position, array, own in zip(self.positions, arrays, self._unpacked(lain), strict=True):
            found, usable = self._form(position, array)
            flaws += found
            note = "" if found else _layout(own, np.asarray(self.values[position]))
            flaws += [Flaw(self.names[position], "layout", Verdict.PASS, note)] if note else []
            if usable:
                with np.errstate(all="ignore"):
                    claims[position] = array.astype(np.float64)
        return flaws, claims

    def coordinate(self, position: int, i: int) -> Line:
        """Return the line along element `i` (in C order) of an argument, in the coordinate itself."""
        value = self._work[position]
        if not isinstance(value, np.ndarray):
            return self._line(lambda t: self._replaced(position, t), float(value), abs(float(value)))
        flat = value.reshape(-1)  # a view: the working copy is C-contiguous
        origin = float(flat[i])

        @contextmanager
        def moved(t: float) -> Iterator[None]:
            flat[i] = t
            try:
                yield
            finally:
                flat[i] = origin

        return self._line(moved, origin, abs(origin))

    def along(self, directions: Mapping[int, Array], scale: float = 0.0) -> Line:
        """Return the line x + t*v through the arguments that have a direction `v` (in C order), at t = 0.

        `scale` is the size of t that moves them by their own size; by default `v` itself has no size.
        """
        origins = {position: np.ravel(self._work[position]).copy() for position in directions}
        moving = {position: v != 0 for position, v in directions.items()}

        def put(position: int, values: Array) -> None:
            if isinstance(self._work[position], np.ndarray):
                self._work[position].reshape(-1)[:] = values
            else:
                self._work[position] = float(values[0])

        @contextmanager
        def moved(t: float) -> Iterator[None]:
            try:
                for position, v in directions.items():
                    values = origins[position].copy()
                    np.add(values, v * t, out=values, where=moving[position])
                    put(position, values)
                yield
            finally:
                for position, values in origins.items():
                    put(position, values)

        (first, *_) = directions
        return self._line(moved, 0.0, scale or self.typical(first))

    def _line(self, moved: Moved, origin: float, scale: float) -> Line:
        """Return a line from what moves the arguments to a point of it."""

        def value(t: float) -> float:
            with moved(t):
                return self._call()

        return Line(value, origin, scale, None if self._trace is None else LineTrace(moved, self._codes))

    def _codes(self) -> dict[str, Array]:
        """Return what the trace says of the arguments as they are moved."""
        assert self._trace is not None
        with np.errstate(all="ignore"):
            return {name: np.array(codes) for name, codes in self._trace(*self._arguments()).items()}

    def direction(self, position: int, seed: int, probe: int) -> Array:
        """Draw a direction, signs mixed, the same for the same (seed, name, probe) everywhere.

        Elements much larger than typical move in proportion, lest a step vanish in their rounding.
        """
        digest = hashlib.sha256(f"{seed}/{self.names[position]}/{probe}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:16], "little"))
        x = np.ravel(self._work[position])
        v = rng.uniform(0.5, 1.5, x.size) * np.where(rng.random(x.size) < 0.5, -1.0, 1.0)
        typical = self.typical(position)
        with np.errstate(all="ignore"):
            v *= np.maximum(1.0, np.abs(x) / typical) if typical else 1.0
        return np.where(np.isfinite(x) & np.isfinite(v), v, 0.0)

    def precision(self, position: int) -> float:
        """Eps of the argument's own dtype, at least float64's."""
        return max(EPS, float(np.finfo(np.asarray(self.values[position]).dtype).eps))

    def narrow(self, position: int) -> Flaw | None:
        """Say so if the function to be differenced rounds to less than float64."""
        name = self.names[position]
        if self._result_dtype.kind == "f" and self._result_dtype.itemsize < 8:
            text = f"f returns {self._result_dtype}, which is not differenced: {HINT}"
            return Flaw(name, "precision", Verdict.INCONCLUSIVE, text)
        if self.precision(position) == EPS:
            return None
        size = np.asarray(self.values[position]).size
        line = (
            self.coordinate(position, 0)
            if size == 1
            else self.along({position: self.direction(position, 0, 0)})
        )
        level = table_noise(line, 1e-7 * max(line.scale, 1.0), 17, robust=True)
        if level is None or level <= NARROW * line.size():
            return None
        text = f"f rounds at {level / line.size():.0e} of its size: it computes in less than float64; {HINT}"
        return Flaw(name, "precision", Verdict.INCONCLUSIVE, text)

    def final_changes(self) -> list[Flaw]:
        """Name inputs that some call during the differences has changed."""
        now = [_same_bits(w, self._widened(v)) for w, v in zip(self._work, self.values, strict=True)]
        return [] if self._mutates else self._changes([i for i, same in enumerate(now) if not same], "f")

    def _positions(self, wrt: Sequence[str] | None) -> list[int]:
        kinds = [getattr(np.asarray(v).dtype, "kind", "O") for v in self.values]
        if wrt is None:
            return [i for i, kind in enumerate(kinds) if kind == "f"]
        unknown = [name for name in wrt if name not in self.names]
        if unknown:
            raise ValueError(f"wrt names {unknown}, which are not arguments; the arguments are {self.names}")
        positions = [self.names.index(name) for name in wrt]
        for i in positions:
            if kinds[i] != "f":
                dtype = np.asarray(self.values[i]).dtype
                raise TypeError(
                    f"{self.names[i]} is {dtype}; a gradient is checked for real floats: convert it"
                )
        return positions

    def _widened(self, value: Any) -> Any:
        array = np.asarray(value)
        if array.dtype.kind != "f":
            return _copy(value)
        if isinstance(value, np.ndarray):
            return np.array(value, dtype=np.float64, order="C")
        return float(value)

    def typical(self, position: int) -> float:
        """Median |x| of the elements of an argument that are neither 0 nor infinite; 0 if there are none."""
        x = np.abs(np.ravel(self._work[position]))
        x = x[np.isfinite(x) & (x > 0)]
        return float(np.median(x)) if x.size else 0.0

    def _call(self) -> float:
        self.evaluations += 1
        result = self._numeric(*self._arguments())
        return math.nan if isinstance(result, complex) else _as_scalar(result)  # (-1) ** 0.5 in Python

    def _arguments(self) -> list[Any]:
        return [_copy(w) for w in self._work] if self._mutates else self._work

    @contextmanager
    def _replaced(self, position: int, t: float) -> Iterator[None]:
        kept = self._work[position]
        self._work[position] = t
        try:
            yield
        finally:
            self._work[position] = kept

    def _called(self, function: Callable[..., Any]) -> tuple[Any, list[int], Any]:
        """Call on fresh copies; return a copy of the result, which copies were changed, and the result itself.

        A function may return the same array every time.
        """
        copies = [_copy(value) for value in self.values]
        with np.errstate(all="ignore"):
            result = function(*copies)
        kept = [_copy(item) for item in result] if isinstance(result, list | tuple) else _copy(result)
        pairs = enumerate(zip(copies, self.values, strict=True))
        return kept, [i for i, (a, b) in pairs if isinstance(a, np.ndarray) and not _same_bits(a, b)], result

    def _changes(self, changed: list[int], who: str) -> list[Flaw]:
        text = f"{who} writes to its input; a caller's data would be lost"
        return [Flaw(self.names[i], "input", Verdict.WRONG, text) for i in changed]

    def _settle_function(self) -> list[Flaw]:
        first, changed, _ = self._called(self._f)
        second, _, _ = self._called(self._f)
        self.evaluations += 2
        self._mutates = bool(changed)
        value = _as_scalar(first)
        flaws = self._changes(changed, "f")
        if not _same_bits(first, second):
            text = f"f returned {value!r}, then {_as_scalar(second)!r}, for the same arguments"
            flaws.append(Flaw("f", "second call", Verdict.NONDETERMINISTIC, text))
            self.usable = False
        if not math.isfinite(value):
            flaws.append(
                Flaw("f", "value", Verdict.UNDEFINED, f"f(x) = {value}: there is no derivative to compare")
            )
            self.usable = False
        elif self.usable:
            flaws += self._settle_numeric(value)
        return flaws

    def _settle_numeric(self, value: float) -> list[Flaw]:
        """See which dtype the function to be differenced returns, and whether it is the same function."""
        self.evaluations += 1
        with np.errstate(all="ignore"):
            result = self._numeric(*[_copy(w) for w in self._work])
        self._result_dtype = np.asarray(result).dtype
        other = _as_scalar(result)
        if abs(other - value) <= 0.05 * (abs(other) + abs(value)):
            return []
        who = "wide" if self._has_wide else "f called with float64 arguments"
        text = f"f returned {value!r} and {who} returned {other!r}: another function?"
        return [Flaw("f", "wide", Verdict.INCONCLUSIVE, text)]

    def _unpacked(self, gradient: Any) -> list[Array]:
        count = len(self.positions)
        bare = count == 1 and not isinstance(gradient, list | tuple)
        parts = [gradient] if bare else list(gradient)
        if len(parts) != count:
            wanted = [self.names[i] for i in self.positions]
            raise ValueError(
                f"the gradient has {len(parts)} parts; {count} were expected, one for each of {wanted}"
            )
        return [np.asarray(float(part) if type(part) is int else part) for part in parts]

    def _form(self, position: int, array: Array) -> tuple[list[Flaw], bool]:
        """Flaws of shape and dtype, and whether the numbers can be compared all the same."""
        expected, name = np.asarray(self.values[position]), self.names[position]
        flaws: list[Flaw] = []
        if array.shape != expected.shape:
            text = f"the gradient has shape {array.shape}, the argument {expected.shape}"
            flaws.append(Flaw(name, "shape", Verdict.WRONG, text))
        if array.dtype != expected.dtype:
            text = f"the gradient is {array.dtype}, the argument {expected.dtype}"
            flaws.append(Flaw(name, "dtype", Verdict.WRONG, text))
        return flaws, array.shape == expected.shape and array.dtype.kind in "fiub"


def _layout(array: Array, argument: Array) -> str:
    """Return what a caller should know of how a gradient lies in memory; empty where it is as the argument."""
    if array.size and 0 in [
        stride for stride, size in zip(array.strides, array.shape, strict=True) if size > 1
    ]:
        return "elements of the gradient share memory: writing to one changes others"
    orders = (array.flags.c_contiguous, array.flags.f_contiguous)
    if orders != (argument.flags.c_contiguous, argument.flags.f_contiguous):
        named = {(True, False): "in C order", (False, True): "in Fortran order", (True, True): "in one piece"}
        mine, theirs = (
            named.get(orders, "with gaps"),
            named.get((argument.flags.c_contiguous, argument.flags.f_contiguous), "with gaps"),
        )
        return f"the gradient lies {mine}, the argument {theirs}: updates run across memory"
    return ""
