"""What this machine does at most, measured: the roofs under which the loops of a kernel stay.

The measurements are pieces of one kernel in the loop IR, compiled and timed as kernels that measure themselves
are: chains of additions and products, contractions, every elementary function that is asked for, and
``y = x + a * z`` over arrays of several sizes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradc.codegen.numba_cpu import module_text
from gradc.ir.functions import FUNCTIONS
from gradc.ir.loop import nodes
from gradc.ir.loop.count import CONTRACTION, Key, weight_of
from gradc.ir.loop.nodes import Allocate, Contract, Expr, For, Kernel, Let, Parameter, Statement, Store, Tasks
from gradc.ir.types import DType
from gradc.passes.loops.clocks import with_clocks
from gradc_runtime import backends, thread_count
from gradc_runtime.artifact import KernelArtifact

ARITHMETIC, TRIAD, LAUNCH = "arithmetic", "triad", "launch"
CHAIN = 4  # additions and as many products, each of the result of the one before
NEAR = 1024  # elements of each thread that stay in its first-level cache
SIDE = 384  # rows, columns and depth of a contraction
SIZES = (1 << 17, 1 << 20, 1 << 22, 1 << 24, 1 << 27)  # bytes of the three arrays of a triad together
REPEATS = 200
MOVED = 1 << 25  # bytes of a triad at least
WORK = 1 << 40  # operations that a loop is said to have: no launch counts as stalled
RUNS = 12

F64, F32 = DType.F64, DType.F32


@dataclass(frozen=True, slots=True)
class Roofs:
    """What is possible on this many threads, per second.

    Attributes
    ----------
    rates : mapping
        By function and type: applications a second; `CONTRACTION` is a multiply-add, `ARITHMETIC` an addition or
        a product in a loop.
    bandwidths : tuple of (bytes, bytes a second)
        What a loop over arrays of so many bytes together reads and writes, in ascending order.
    launch : float
        Seconds that it takes to start and to end a loop.
    """

    threads: int
    rates: Mapping[Key, float]
    bandwidths: tuple[tuple[int, float], ...]
    launch: float

    def bandwidth(self, held: float) -> float:
        """Bytes a second of a loop whose arrays hold so many bytes: interpolated between the sizes measured."""
        sizes = [size for size, _ in self.bandwidths]
        rates = [rate for _, rate in self.bandwidths]
        return float(np.exp(np.interp(np.log(max(held, 1.0)), np.log(sizes), np.log(rates))))

    @property
    def memory(self) -> float:
        """Bytes a second of arrays that no cache holds."""
        return self.bandwidths[-1][1]

    @property
    def cache(self) -> float:
        """Bytes a second of arrays that stay in a cache near the processor."""
        return max(rate for _, rate in self.bandwidths)

    def or_better(self, other: Roofs) -> Roofs:
        """The best of two measurements: what disturbs one only makes it slower."""
        return replace(
            self,
            rates={key: max(rate, other.rates[key]) for key, rate in self.rates.items()},
            bandwidths=tuple(map(max, self.bandwidths, other.bandwidths)),
            launch=min(self.launch, other.launch),
        )


class Machine:
    """Measures this machine: on one thread, and on several.

    Parameters
    ----------
    keys : collection of (function, dtype)
        The functions to measure, beside arithmetic of their types and memory.
    """

    def __init__(self, threads: int, keys: Collection[Key]) -> None:
        numba_backend = backends.load("numba")
        self._threads = threads
        self._probes = _Probes(threads, sorted(keys, key=str))
        kernel = with_clocks(self._probes.kernel())
        parameters = tuple((p.name, p.dtype.value, p.rank) for p in kernel.parameters)
        artifact = KernelArtifact(kernel.name, module_text(kernel), parameters, ())
        self._run = numba_backend.compile_kernel(numba_backend.load(artifact))

    def measured(self) -> tuple[Roofs, Roofs]:
        """Measure once: a quarter of a second."""
        wanted = thread_count.wanted()
        try:
            return self._probes.measured(self._run, 1), self._probes.measured(self._run, self._threads)
        finally:
            thread_count.want(wanted)


class _Probes:
    """The measurements as one kernel: `amounts` are what each of its pieces does, for one part."""

    def __init__(self, threads: int, keys: Sequence[Key]) -> None:
        self.keys = keys
        self.dtypes = [dtype for dtype in (F64, F32) if any(key[1] is dtype for key in keys)]
        self.length = {F64: max(SIZES[-1] // 24, NEAR * threads), F32: max(NEAR * threads, SIDE * SIDE)}
        self.amounts: list[tuple[str, DType, float]] = []
        self.body: list[Statement] = []
        self.arrays: list[str] = []  # results, so that no measurement of something else frees them

    def kernel(self) -> Kernel:
        near = Let("near", nodes.apply("mul", nodes.var("parts"), nodes.number(NEAR)))
        self._probe(LAUNCH, F64, 1.0, near, self._tasks(nodes.var("near"), ()))
        for dtype in (F64, F32):
            length = f"length_{dtype.short}"  # not a literal: such arrays do not come from the pool
            self.body.append(Let(length, nodes.number(self.length[dtype])))
            self._allocate(f"out_{dtype.short}", dtype, nodes.var(length))
        for at, size in enumerate(SIZES):
            self._triad(at, size)
        for dtype in self.dtypes:
            self._near(ARITHMETIC, dtype, _chain(dtype), 2 * CHAIN)
        for name, dtype in self.keys:
            if name == CONTRACTION:
                self._contraction(dtype)
            elif weight_of(name) > 1:
                self._near(name, dtype, _application(name, dtype), 1)
        parameters = [Parameter("parts", DType.INT64, 0)]
        for dtype in (F64, F32):
            short = dtype.short
            parameters += [Parameter(f"{name}_{short}", dtype, 1) for name in ("x", "z")]
            parameters += [Parameter(f"{name}_{short}", dtype, 2) for name in ("left", "right")]
            parameters.append(Parameter(f"a_{short}", dtype, 0))
        return Kernel("roofs", tuple(parameters), tuple(self.body), tuple(self.arrays))

    def _probe(self, name: str, dtype: DType, amount: float, *statements: Statement) -> None:
        self.amounts.append((name, dtype, amount))
        self.body += statements

    def _allocate(self, name: str, dtype: DType, *shape: Expr) -> None:
        self.body.append(Allocate(name, dtype, shape))
        self.arrays.append(name)

    def _near(self, name: str, dtype: DType, value: Expr, operations: int) -> None:
        """A value of elements that stay in the first-level cache, over and over."""
        inner = Store(f"out_{dtype.short}", (nodes.var("i"),), value)
        tasks = self._tasks(nodes.var("near"), _repeated(inner, nodes.number(REPEATS)))
        self._probe(name, dtype, NEAR * REPEATS * operations, tasks)

    def _triad(self, number: int, size: int) -> None:
        here = (nodes.var("i"),)
        x, z = (nodes.load(f"{name}_f64", here, F64) for name in ("x", "z"))
        value = nodes.apply("add", x, nodes.apply("mul", nodes.var("a_f64", F64), z))
        times, extent, repeats = max(1, MOVED // size), f"extent_{number}", f"times_{number}"
        given = (Let(extent, nodes.number(size // 24)), Let(repeats, nodes.number(times)))
        inner = _repeated(Store("out_f64", here, value), nodes.var(repeats))
        self._probe(TRIAD, F64, size * times, *given, self._tasks(nodes.var(extent), inner))

    def _contraction(self, dtype: DType) -> None:
        short, side = dtype.short, nodes.number(SIDE)
        product = f"product_{short}"
        self._allocate(product, dtype, side, side)
        names = (product, "i j", f"left_{short}", "i k", f"right_{short}", "k j")
        self._probe(CONTRACTION, dtype, float(SIDE**3), Contract(*names, (side,) * 3, add=False))

    def _tasks(self, extent: Expr, body: tuple[Statement, ...]) -> Tasks:
        parts, name = nodes.var("parts"), f"probe_{len(self.amounts)}"
        return Tasks(name, "part", parts, nodes.number(WORK), extent, "first", "many", body)

    # --- running ----------------------------------------------------------------------------------------

    def measured(self, run: Any, threads: int) -> Roofs:
        """The best of several runs."""
        thread_count.want(threads)
        arguments: list[Any] = [threads]
        for dtype in (F64, F32):
            kind = dtype.numpy.type
            vector, matrix = np.full(self.length[dtype], 0.7, kind), np.full((SIDE, SIDE), 0.7, kind)
            arguments += [vector, vector, matrix, matrix, kind(0.5)]
        spans = []
        for _ in range(RUNS):
            thread_count.forget_stalls()
            spans.append(np.diff(run(*arguments)[-1]))
        seconds = np.maximum(np.min(spans, axis=0), 1) * 1e-9
        rates: dict[Key, float] = {}
        bandwidths: list[tuple[int, float]] = []
        for (name, dtype, amount), taken in zip(self.amounts, seconds.tolist(), strict=True):
            if name == TRIAD:
                bandwidths.append((SIZES[len(bandwidths)], amount / taken))
            elif name != LAUNCH:
                rates[name, dtype] = amount * (1 if name == CONTRACTION else threads) / taken
        return Roofs(threads, rates, tuple(bandwidths), float(seconds[0]))


def _repeated(statement: Statement, times: Expr) -> tuple[Statement, ...]:
    """A statement for every index of a part, as often as that."""
    index = Let("i", nodes.apply("add", nodes.var("first"), nodes.var("step")))
    return (For("again", times, (For("step", nodes.var("many"), (index, statement)),)),)


def _chain(dtype: DType) -> Expr:
    """Additions and products, each of the result of the one before."""
    factor = nodes.var(f"a_{dtype.short}", dtype)
    value: Expr = nodes.load(f"x_{dtype.short}", (nodes.var("i"),), dtype)
    for _ in range(CHAIN):
        value = nodes.apply("add", nodes.apply("mul", value, factor), factor)
    return value


def _application(name: str, dtype: DType) -> Expr:
    argument = nodes.load(f"x_{dtype.short}", (nodes.var("i"),), dtype)
    return nodes.apply(name, *([argument] * FUNCTIONS[name].arity))
