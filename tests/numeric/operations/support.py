"""Run the handler of a NumPy call and compare with the call itself: values, dtypes and gradients."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradc.autodiff.vjp import gradient
from gradc.ir.extents import Size, symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Program
from gradc.ir.index.verify import verify
from gradc.ir.types import dtype_of
from gradc.lang.emit import Emitter, Value
from gradc.lang.operations import CREATION, FUNCTIONS, UFUNCS, key_of
from gradc.lang.unify import ExtentSolver

Handler = Callable[..., Any]
MODULES = ("numpy", "scipy", "math")


def handler_for(function: Callable[..., Any]) -> Handler:
    key = key_of(function)
    for table in (UFUNCS, FUNCTIONS, CREATION):
        if key in table:
            return table[key]
    raise KeyError(key)


@dataclass(frozen=True)
class Case:
    """One call: arrays among the arguments, lists included, become inputs of the program."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-13
    smooth: bool = True  # whether a comparison with central differences is meaningful

    def __str__(self) -> str:
        name = getattr(self.function, "__name__", str(self.function))
        kinds = "-".join(describe(argument) for argument in self.arguments)
        return f"{name}({kinds}{''.join(f',{k}={describe(v)}' for k, v in self.options.items())})"


def call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Case:
    """Write a case as the call it stands for."""
    return Case(function, arguments, options)


def kinked(function: Callable[..., Any], *arguments: Any, **options: Any) -> Case:
    """Write a case without meaningful differences."""
    return Case(function, arguments, options, smooth=False)


def describe(x: Any) -> str:
    """Name a parameter of a test: the same in every process, so no addresses and no numbers drawn."""
    if isinstance(x, np.ndarray):
        return f"{x.dtype.char}{'x'.join(map(str, x.shape)) or '0d'}"
    if isinstance(x, list | tuple):
        return f"[{' '.join(describe(item) for item in x)}]"
    if isinstance(x, dict):
        return ",".join(f"{name}={describe(value)}" for name, value in x.items())
    return getattr(x, "__name__", str(x))


class Recorder:
    """Replaces arrays by inputs of a program, one array that occurs twice by one input.

    Extents other than 1 are symbols unless `static`.
    """

    def __init__(self, static: bool) -> None:
        self.static = static
        self.emit = Emitter(Builder("case"), ExtentSolver())
        self.inputs: dict[str, np.ndarray] = {}
        self.known: dict[int, Value] = {}

    def lifted(self, x: Any) -> Any:
        if isinstance(x, np.ndarray):
            return self.input(x)
        if isinstance(x, list | tuple):
            return type(x)(self.lifted(item) for item in x)
        return x

    def input(self, array: np.ndarray) -> Value:
        known = self.known.get(id(array))
        if known is not None:
            return known
        name = f"x{len(self.inputs)}"
        shape: list[Size] = []
        for axis, extent in enumerate(array.shape):
            if self.static or extent == 1:
                shape.append(extent)
                continue
            self.emit.solver.hints[f"{name}_n{axis}"] = extent
            shape.append(symbol(f"{name}_n{axis}"))
        self.inputs[name] = array
        value = self.known[id(array)] = self.emit.input(name, dtype_of(array.dtype), tuple(shape))
        return value

    def finish(self, outputs: Sequence[Value]) -> Program:
        return verify(self.emit.finish(outputs))


def leaves(tree: Any) -> list[Any]:
    return [leaf for item in tree for leaf in leaves(item)] if isinstance(tree, list | tuple) else [tree]


def reference(case: Case) -> Any:
    """Return what plain NumPy gives; `math` is called with Python numbers."""
    arguments = case.arguments
    if getattr(case.function, "__module__", "") == "math" and case.function is not math.prod:
        arguments = _numbers(arguments)
    return case.function(*arguments, **case.options)


def _numbers(x: Any) -> Any:
    if isinstance(x, list | tuple):
        return type(x)(_numbers(item) for item in x)
    return x.tolist() if isinstance(x, np.ndarray) else x


def trace(case: Case, recorder: Recorder) -> Any:
    """Run the handler of the case."""
    options = {name: recorder.lifted(value) for name, value in case.options.items()}
    return handler_for(case.function)(recorder.emit, *recorder.lifted(case.arguments), **options)


def check_value(case: Case, *, static: bool = False) -> None:
    """Compare with plain NumPy: structure, shapes, dtypes, values."""
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        expected = leaves(reference(case))
    recorder = Recorder(static)
    result = leaves(trace(case, recorder))
    assert all(isinstance(leaf, Value) for leaf in result)
    found = evaluate(recorder.finish(result), recorder.inputs)
    assert len(found) == len(expected)
    for leaf, one, other in zip(result, found, expected, strict=True):
        compare(leaf, one, other, case)


def compare(leaf: Value, found: Any, expected: Any, case: Case) -> None:
    """Equal up to rounding; where NumPy would compute in float16, gradc computes in float32."""
    if isinstance(expected, bool | int | float) and not isinstance(expected, np.generic):
        assert leaf.weak is type(expected), "math returns Python numbers"
    other = np.asarray(expected)
    half = other.dtype == np.float16
    other = other.astype(np.float32) if half else other
    assert np.shape(found) == other.shape
    assert np.asarray(found).dtype == other.dtype
    single = other.dtype == np.float32
    tolerance = 2e-3 if half else max(case.tolerance, 4e-6) if single else case.tolerance
    np.testing.assert_allclose(found, other, rtol=tolerance, atol=tolerance)


def check_gradient(case: Case) -> None:
    """Compare the gradient of a weighted sum with central differences of plain NumPy."""
    rng = np.random.default_rng(7)
    recorder = Recorder(static=False)
    result = [leaf for leaf in leaves(trace(case, recorder)) if leaf.dtype.is_float]
    sources = [name for name, array in recorder.inputs.items() if array.dtype == np.float64]
    weights = [
        rng.uniform(0.5, 1.5, np.shape(leaf))
        for leaf in leaves(reference(case))
        if np.asarray(leaf).dtype.kind == "f"
    ]
    loss = _loss(recorder, result, weights)
    program = verify(gradient(recorder.finish([loss]), sources))
    found = evaluate(program, recorder.inputs)[1:]
    for name, one in zip(sources, found, strict=True):
        np.testing.assert_allclose(
            one, _differences(case, recorder.inputs[name], weights), rtol=2e-6, atol=2e-7
        )


def _loss(recorder: Recorder, result: list[Value], weights: list[np.ndarray]) -> Value:
    emit, total = recorder.emit, None
    assert len(result) == len(weights) > 0
    for leaf, weight in zip(result, weights, strict=True):
        product = emit.elementwise("mul", leaf, recorder.input(weight))
        part = emit.reduce("sum", product, range(len(emit.shape(product))))
        total = part if total is None else emit.elementwise("add", total, part)
    assert total is not None
    return emit.cast(total, dtype_of(np.float64))


def _differences(case: Case, source: np.ndarray, weights: list[np.ndarray], step: float = 1e-6) -> np.ndarray:
    """Move one element of `source` at a time; the arguments hold `source` itself, so it is moved in place."""

    def outputs() -> list[np.ndarray]:
        found = leaves(reference(case))
        return [np.array(leaf, np.float64) for leaf in found if np.asarray(leaf).dtype.kind == "f"]

    result = np.empty_like(source)
    for place in np.ndindex(source.shape):
        kept = source[place]
        ends = []
        for moved in (kept + step, kept - step):
            source[place] = moved
            ends.append(outputs())
        source[place] = kept
        result[place] = sum(
            float(((high - low) * weight).sum()) for high, low, weight in zip(*ends, weights, strict=True)
        ) / (2 * step)
    return result


def differentiable(case: Case) -> bool:
    """Whether some float64 array is given and some floating-point result comes out."""
    if not case.smooth or not any(
        x.dtype == np.float64
        for x in leaves([*case.arguments, *case.options.values()])
        if isinstance(x, np.ndarray)
    ):
        return False
    return any(np.asarray(leaf).dtype.kind == "f" for leaf in leaves(reference(case)))


def uncovered(tables: Iterable[dict[Hashable, Handler]], cases: Iterable[Case]) -> list[str]:
    """Names of the handlers that no case exercises; handlers that only refuse are tested for that."""
    known = {key_of(case.function) for case in cases}
    return [
        str(getattr(key, "__name__", key))
        for table in tables
        for key, handler in table.items()
        if key not in known and getattr(handler, "__name__", "") != "refused"
    ]


def refusing(tables: Iterable[dict[Hashable, Handler]]) -> list[Handler]:
    return [h for table in tables for h in table.values() if getattr(h, "__name__", "") == "refused"]
