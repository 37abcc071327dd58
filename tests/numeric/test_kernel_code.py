"""Kernels that are emitted from their text compute what the text says, and leave no memory behind."""

import gc
import re
import sys
import threading
import time
import weakref
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from numba.core import types

import gradc
from gradc.codegen.numba_cpu import module_text
from gradc.passes.loops.clocks import with_clocks
from gradc_runtime import memory, numba_backend, task_code, tasks
from gradc_runtime.artifact import KernelArtifact
from gradc_runtime.kernel_function import typed_kernel
from gradc_runtime.kernel_types import Typed
from gradc_runtime.numba_backend import Loaded, compile_kernel, load

HEAD = """
import math
from ast import AST as Odd
import numpy as np
from gradc_runtime.arrays import empty, local, zeros
from gradc_runtime.linalg import slogdet
from gradc_runtime.matmul import product
from gradc_runtime.reduce import plus
from gradc_runtime.scalars import exp
from gradc_runtime.tasks import parts_of, run_tasks, start_of, task


@task
def double(part, parts, n, x, y):
    first = start_of(part, parts, n)
    for step in range(start_of(part + 1, parts, n) - first):
        y[first + step] = 2.0 * x[first + step]


def kernel(x, a, s):
    n = x.shape[0]
"""
LAUNCH = "    y = empty((n,), np.float64)\n    run_tasks(double, 1, n, n, x, y)\n"
CHECK = "    if not (s > 0.0):\n        raise ValueError('not positive')\n"
PARAMETERS = (("x", "float64", 1), ("a", "float64", 2), ("s", "float64", 0))
BODIES: dict[str, str] = {
    "numbers": "    t = -s + n * 2.5 - 3 / (s - 0.25)\n    u = np.float32(t) ** 2\n    y[0] += u\n    return y, t",
    "a choice": (
        "    t = x[n] if n < 0 else exp(s) if s > 0.0 and not n == 7 or math.isinf(s) else np.inf\n    return t, y"
    ),
    "a loop": (
        "    t = 0.0\n    for i in range(n):\n        t = plus(t, x[i])\n"
        "        for j in range(a.shape[1]):\n            y[i] += a[i, j]\n    return t, (y, a)"
    ),
    "products": "    p = product(a.T, a)\n    q = product(product(a, p).T, a)\n    return p, q, y",
    "tuples": "    sign, size = slogdet(product(a.T, a))\n    return size, y, sign",
    "the last element": "    y[-1] += y[n - 4]\n    return y, a[-1, -3]",
    "bare arrays": "    z = np.zeros((2, 3))\n    z[1, 2] = s\n    return z, y, x",
    "arrays for a moment": "    return product(a, a.T)[0, 1] + zeros((n,), np.float64)[0], a.T[1, 0], product(a, a.T)",
    "an array twice": "    return y, (y, y[0]), x, x[1]",
    "truths": "    t = s > 0.0\n    u = True if t and n > 0 else False\n    y[0] = np.float64(u)\n    return y, t, u",
}
LEFT: dict[str, str] = {
    "an array in a loop": (
        "    for i in range(n):\n        z = zeros((n,), np.float64)\n        y[i] = z[i]\n    return y"
    ),
    "an array for a moment in a loop": "    for i in range(n):\n        y[i] = product(a, a)[0, 0]\n    return y",
    "another name of an array": "    z = y\n    return y, z",
    "a choice of arrays": "    z = y if n > 2 else x\n    return y, z",
    "a choice of results": "    return y if n > 2 else x",
    "arrays in a tuple": "    z, t = (y, s)\n    return y, z, t",
    "another type": "    t = 1\n    t = 2.5\n    return y, t",
    "rows of a turned matrix": "    t = a.T[1][2]\n    return y, t",
    "an array defined again": "    y = zeros((n,), np.float64)\n    return y",
    "an array in an arm": "    t = product(a, a)[0, 0] if n > 9 else 0.0\n    return y, t",
    "another operator": "    t = n << 2\n    return y, t",
    "another loop": "    for i in range(n):\n        y[i] = 0.0\n    else:\n        y[0] = 1.0\n    return y",
    "what Numba does not know": "    return y, Odd",
    "another statement": "    while y[0] > 10.0:\n        y[0] = 0.5 * y[0]\n    return y",
    "a keyword": "    z = np.sum(y, axis=0)\n    return y, z",
    "an unknown name": "    return y, unknown",
}


def made(body: str) -> Loaded:
    return load(KernelArtifact("kernel", f"{HEAD}{body}\n", PARAMETERS, ()))


def inputs() -> tuple[np.ndarray, np.ndarray, float]:
    return np.arange(1.0, 5.0), np.arange(12.0).reshape(4, 3) ** 2 % 7, 0.75


def equal(found: Any, wanted: Any) -> None:
    if isinstance(wanted, tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            equal(one, other)
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def emitting(loaded: Loaded) -> Typed | None:
    artifact = loaded.artifact
    return typed_kernel(artifact.source, loaded.function, numba_backend.signature(artifact))


@pytest.mark.parametrize("name", BODIES)
def test_emitted_kernels_compute_what_their_text_says(name: str):
    loaded = made(LAUNCH + BODIES[name])
    assert emitting(loaded) is not None
    equal(compile_kernel(loaded)(*inputs()), loaded.function(*inputs()))


@pytest.mark.parametrize("name", LEFT)
def test_other_text_is_left_to_numba(name: str):
    assert emitting(made(LAUNCH + LEFT[name])) is None


@pytest.mark.parametrize(("error", "is_emitted"), [("ValueError", True), ("IndexError", False)])
def test_only_checks_of_values_are_emitted(error: str, is_emitted: bool):
    check = f"    if not (n > 2):\n        raise {error}('few')\n"
    assert (emitting(made(f"{check}{LAUNCH}    return y")) is not None) == is_emitted


def test_kernels_that_read_the_clock_are_emitted():
    def mixture(means, x):
        return np.log(np.exp(-np.square(x[:, None, :] - means).sum(axis=2)).sum(axis=1)).sum()

    at = gradc.differentiate(mixture).at(np.ones((7, 3)), np.ones((20_000, 3)))
    timed = with_clocks(at.inspect().stages.kernel)
    parameters = tuple((p.name, p.dtype.value, p.rank) for p in timed.parameters)
    assert emitting(load(KernelArtifact(timed.name, module_text(timed), parameters, ()))) is not None


def test_kernels_without_tasks_are_left_to_numba():
    assert emitting(made("    return n")) is None


def test_what_generated_kernels_say_is_emitted():
    def network(x, w, v, y):
        h = np.maximum(x @ w, 0)
        scores = h @ v
        scores = scores - scores.max(axis=1, keepdims=True)
        return (np.log(np.exp(scores).sum(axis=1)) - (scores * y).sum(axis=1)).mean()

    rng = np.random.default_rng(0)
    args = [rng.standard_normal(shape) for shape in ((9, 5), (5, 4), (4, 3), (9, 3))]
    loss = gradc.differentiate(network, wrt=("w", "v"))
    source = loss.inspect(*args).source
    name = "network_value_and_grad"
    loaded = load(KernelArtifact(name, source, tuple((p, "float64", 2) for p in "xwvy"), ()))
    assert emitting(loaded) is not None
    assert loss.check(*args)


@pytest.mark.skipif(not memory.POOLED, reason="the pool of memory is Linux's")
@pytest.mark.parametrize(
    ("body", "refused", "held"),
    [
        ("    z = zeros((n,), np.float64)\n    y[0] = z[0]\n    return y, x", False, 2),
        ("    z = zeros((n,), np.float64)\n    return y, x, y, x, x[0], z[0]", False, 2),
        ("    y[0] = zeros((n,), np.float64)[0]\n    return s", False, 2),
        ("    return zeros((n,), np.float64)[0], zeros((n,), np.float64)", False, 2),
        (f"    z = zeros((n,), np.float64)\n    z[0] = 1.0\n{CHECK}    return z", True, 1),
        (CHECK.replace("s > 0.0", "s + zeros((n,), np.float64)[0] > 0.0") + "    return y[0]", True, 2),
    ],
)
def test_arrays_are_given_back_and_arguments_are_not_kept(body: str, refused: bool, held: int):
    kernel = compile_kernel(made(LAUNCH + body))
    x, a = np.arange(200_000.0), np.ones((300, 200))
    before = sys.getrefcount(x), sys.getrefcount(a)
    memory.clear_pool()
    kernel(x, a, 1.0)
    kept = memory.kept_bytes()
    assert kept // x.nbytes == held
    for _ in range(3):
        with pytest.raises(ValueError, match="not positive") if refused else nullcontext():
            kernel(x, a, -1.0)
    assert memory.kept_bytes() == kept
    assert (sys.getrefcount(x), sys.getrefcount(a)) == before
    memory.clear_pool()


def test_refused_arguments_are_given_back():
    check = "    if not (a.shape[0] == n and n > 2):\n        raise ValueError('axis 0 of a must have extent n')\n"
    kernel = compile_kernel(made(f"{check}{LAUNCH}    return y"))
    x, a = np.arange(4.0), np.ones((5, 3))
    before = sys.getrefcount(x), sys.getrefcount(a)
    for _ in range(3):
        with pytest.raises(ValueError, match="axis 0 of a must have extent n"):
            kernel(x, a, 1.0)
    assert (sys.getrefcount(x), sys.getrefcount(a)) == before
    np.testing.assert_array_equal(kernel(x, a[:4], 1.0), 2.0 * x)


def test_what_was_written_for_llvm_does_not_outlive_the_compilation(monkeypatch: pytest.MonkeyPatch):
    written: list[weakref.ref[Any]] = []

    def watched(builder: Any, *given: Any) -> Any:
        written.append(weakref.ref(builder.function))
        return task_code.to_table(builder, *given)

    monkeypatch.setattr(tasks, "to_table", watched)
    kernel = compile_kernel(made(f"{LAUNCH}    return y, 2"))
    gc.collect()
    assert written
    assert all(found() is None for found in written)
    np.testing.assert_array_equal(kernel(*inputs())[0], 2.0 * inputs()[0])


def test_other_threads_run_while_a_kernel_does():
    steps = "    for i in range(30_000_000):\n        y[0] = 0.5 * y[0] + 1.0\n    return y"
    kernel = compile_kernel(made(LAUNCH + steps))
    began, ended = threading.Event(), threading.Event()
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        began.set()
        while not ended.is_set():
            time.sleep(0.001)
            ticks += 1

    other = threading.Thread(target=tick)
    other.start()
    assert began.wait(10)
    before = ticks
    kernel(*inputs())
    during = ticks - before
    ended.set()
    other.join()
    assert during > 5


def test_the_dispatcher_is_that_of_the_text():
    loaded = made(f"{LAUNCH}    return y, 1")
    dispatcher = compile_kernel(loaded)
    assert dispatcher.py_func is loaded.function
    assert isinstance(dispatcher.signatures[0][0], types.Array)
    assert numba_backend.readable(dispatcher) is dispatcher


def test_only_kernels_that_leave_the_work_to_tasks_are_optimised_for_size():
    adding = "    total = 0.0\n    for i in range(n):\n        total = plus(total, y[i])\n    return y, total"
    parts = adding.replace(
        "    for i in range(n)", "    parts = parts_of(n, 9, 0)\n    for i in range(parts)"
    )
    for body, small in ((adding, False), (parts, True)):
        (listing,) = compile_kernel(made(LAUNCH + body)).inspect_llvm().values()
        assert ("optsize" in listing) == small


# --- tasks --------------------------------------------------------------------------------------------------

TASK = """
from gradc_runtime.arrays import clear, clear_rows
from gradc_runtime.contraction_kernel import add_contraction, contract
from gradc_runtime.reduce import larger
from gradc_runtime.scalars import maximum, power


@task
def rows(part, parts, n, x, a, y, wide):
    first = start_of(part, parts, n)
    many = start_of(part + 1, parts, n) - first
{body}


def kernel(x, a, s):
    n = x.shape[0]
    y = zeros((n, 3), np.float64)
    wide = zeros((2, n, 3, 2), np.float32)
    run_tasks(rows, 2, n, n, x, a, y, wide)
    return y, wide
"""
TASKS: dict[str, str] = {
    "elements": (
        "    for i in range(many):\n        for j in range(3):\n"
        "            y[first + i, j] += a[first + i, j] * x[first + i]"
    ),
    "a variable that goes on": (
        "    total = 0.0\n    for i in range(many):\n        total = plus(total, x[first + i])\n"
        "        y[first + i, 1] = total\n    y[first, 0] = total"
    ),
    "numbers of other types": (
        "    for i in range(many):\n        t = np.float32(x[first + i]) / np.float32(3.0)\n"
        "        u = 0.0 if t <= np.float32(0.5) else np.float64(t)\n        y[first + i, 2] = u if u > 0.7 else -u\n"
        "        wide[part, i, 0, 1] = t"
    ),
    "the largest": (
        "    top = -np.inf\n    for i in range(many):\n        for j in range(a.shape[1]):\n"
        "            top = larger(top, a[first + i, j])\n    y[first, 0] = maximum(top, 4.5)"
    ),
    "arrays of its own": (
        "    z = empty((many, 3), np.float64)\n    t = np.zeros((2,))\n    clear(z)\n    t[1] = 2.0\n"
        "    for i in range(many):\n        z[i, -1] = x[first + i]\n    for i in range(many):\n"
        "        y[first + i, 0] = z[i, 2] + t[1] + t[-2]"
    ),
    "rows of arrays": (
        "    z = empty((many, 3), np.float64)\n"
        "    contract(z, 'i j', a[first:], 'i k', a, 'j k', (many, 3, 3), parts)\n"
        "    add_contraction(wide[part], 'i j k', wide[part, 1:], 'i j l', wide[1 - part, 1, 0:], 'l k', "
        "(1, 1, 2, 2), parts)\n"
        "    add_contraction(y[first:], 'i j', z, 'i k', a[1:], 'k j', (many, 3, 3), parts, False)"
    ),
    "extents of rows": (
        "    y[first, 0] = np.float64(a[1:].shape[0] + 10 * wide[part, 3:].shape[0] + 100 * wide[part].shape[1])"
    ),
    "rows that are cleared": (
        "    for i in range(many):\n        y[first + i, 0] = 1.0\n        y[first + i, 1] = 1.0\n"
        "    clear_rows(y, first, many)\n    y[first, 2] = 1.0"
    ),
}
TASKS_LEFT: dict[str, str] = {
    "nothing returned": "    y[first, 0] = x[first]\n    return",
    "an array in a loop": (
        "    for i in range(many):\n        z = np.zeros((2,))\n        z[1] = x[first + i]\n"
        "        y[first + i, 0] = z[0] + z[1]"
    ),
    "a slice that ends": "    y[first, 0] = a[0:2].shape[0]",
    "a branch": "    for i in range(many):\n        if x[first + i] > 2.0:\n            y[first + i, 0] = 1.0",
}


def task_results(body: str, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, Any, Any]:
    """Whether the task was left to Numba, what the kernel returns, and what its text returns."""
    left: list[str] = []

    def watched(context: Any, library: Any, function: Any, kinds: Any) -> Any:
        left.append(function.__name__)
        return task_code_by_numba(context, library, function, kinds)

    task_code_by_numba = task_code._by_numba
    monkeypatch.setattr(task_code, "_by_numba", watched)
    head = HEAD[: HEAD.index("@task")]
    loaded = load(KernelArtifact("kernel", head + TASK.format(body=body), PARAMETERS, ()))
    x, a, s = inputs()
    a = np.ascontiguousarray(np.linspace(-2, 3, 12).reshape(4, 3))
    found = compile_kernel(loaded)(x, a, s)
    return left == ["rows"], found, loaded.function(x, a, s)


@pytest.mark.parametrize("name", TASKS)
def test_emitted_tasks_compute_what_their_text_says(name: str, monkeypatch: pytest.MonkeyPatch):
    left, found, wanted = task_results(TASKS[name], monkeypatch)
    assert not left
    equal(found, wanted)
    assert np.any(wanted[0])


@pytest.mark.parametrize("name", TASKS_LEFT)
def test_tasks_of_other_text_are_left_to_numba(name: str, monkeypatch: pytest.MonkeyPatch):
    left, found, wanted = task_results(TASKS_LEFT[name], monkeypatch)
    assert left
    equal(found, wanted)


@pytest.mark.parametrize("indent", ["", "for i in range(1):\n        "], ids=["emitted", "left to Numba"])
def test_memory_that_a_task_lacks_is_an_error(indent: str, monkeypatch: pytest.MonkeyPatch):
    body = f"    {indent}z = empty((many + 2**45, 2**45), np.float64)\n    y[first, 0] = z[0, 0]"
    with pytest.raises(MemoryError, match="smaller arguments"):
        task_results(body, monkeypatch)


@pytest.mark.parametrize("way", ["", "if n > 0:\n        "], ids=["emitted", "left to Numba"])
def test_an_error_in_a_task_is_that_of_its_kernel(way: str, monkeypatch: pytest.MonkeyPatch):
    body = f"    {way}y[first, 0] = power(n, part - 1)"
    with pytest.raises(ValueError, match="negative"):
        task_results(body, monkeypatch)


@pytest.mark.skipif(not memory.POOLED, reason="the pool of memory is Linux's")
def test_tasks_give_their_arrays_back(monkeypatch: pytest.MonkeyPatch):
    body = "    z = empty((many, 50_000), np.float64)\n    z[0, 0] = 1.0\n    y[first, 0] = z[0, 0]"
    memory.clear_pool()
    left, found, wanted = task_results(body, monkeypatch)
    assert not left
    equal(found, wanted)
    assert memory.kept_bytes() // (2 * 50_000 * 8) in (1, 2)  # one after the other, or both at once
    memory.clear_pool()


def test_long_kernels_are_glue_that_is_not_optimised():
    adding = (
        "    parts = parts_of(n, 9, 0)\n    y[0] = {at}.0\n    z_{at} = empty((n,), np.float64)\n"
        "    run_tasks(double, 1, n, n, y, z_{at})\n"
    )
    few = "".join(adding.format(at=at) for at in range(3))
    many = "".join(adding.format(at=at) for at in range(30))
    for body, long in ((few, False), (many, True)):
        loaded = made(f"{LAUNCH}{body}    return y, z_1, z_2")
        kernel = compile_kernel(loaded)
        (listing,) = kernel.inspect_llvm().values()
        assert ("optnone" in listing) == long
        loads = re.findall(r"^ +(%\S+) = load \{", listing, re.MULTILINE)
        assert all(len(re.findall(rf"{re.escape(load)}\b", listing)) > 1 for load in loads)
        equal(kernel(*inputs()), loaded.function(*inputs()))
