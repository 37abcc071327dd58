"""Kernels that apply spellings of the inventory to arrays, and where they run."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from tests.cuda.ptx_machine import Machine

from gradc.ir.functions import FUNCTIONS, imports_of
from gradc_runtime.cuda_backend import SIMULATED, cuda, ptx

OPERANDS = ("a", "b", "c")
# Functions that compute float32 in float64, if only in a branch: each has a kernel of its own.
IN_DOUBLE = ("sin", "cos", "tan", "sinc_derivative", "digamma", "polygamma")


def families(names: Sequence[str], size: int = 10) -> list[tuple[str, ...]]:
    """Put functions that take the same number of operands together, so that fewer kernels are compiled."""
    alone = [(name,) for name in names if name in IN_DOUBLE]
    for arity in (1, 2):
        rest = [name for name in names if name not in IN_DOUBLE and FUNCTIONS[name].arity == arity]
        alone += [tuple(rest[start : start + size]) for start in range(0, len(rest), size)]
    return alone


def kernel(spellings: Sequence[str], arity: int) -> Callable[..., None]:
    """A kernel that stores spelling k of ``a``, ``b``, ... at element i in ``out[k, i]``."""
    names = OPERANDS[:arity]
    source = [
        f"def kernel({', '.join(f'{name}_in' for name in names)}, out):",
        "    for i in range(cuda.grid(1), out.shape[1], cuda.gridsize(1)):",
        *(f"        {name} = {name}_in[i]" for name in names),
        *(f"        out[{k}, i] = {spelling.format(*names)}" for k, spelling in enumerate(spellings)),
    ]
    scope: dict[str, Any] = {"cuda": cuda, "np": np}
    for spelling in spellings:
        for module, name in imports_of(spelling):
            if module != "np":
                loaded = importlib.import_module(module.replace("gradc_runtime.", "gradc_runtime.cuda_"))
                scope[name or module] = getattr(loaded, name) if name else loaded
    exec("\n".join(source), scope)
    return scope["kernel"]


@cache
def text_of(
    spellings: tuple[str, ...], dtypes: tuple[str, ...], out: str, capability: tuple[int, int] = (8, 0)
) -> str:
    """The PTX of a kernel."""
    signature = ", ".join((*(f"{dtype}[::1]" for dtype in dtypes), f"{out}[:, ::1]"))
    return ptx(kernel(spellings, len(dtypes)), f"void({signature})", capability)


@cache
def machine(spellings: tuple[str, ...], dtypes: tuple[str, ...], out: str) -> Machine:
    return Machine(text_of(spellings, dtypes, out))


def run(
    spellings: Sequence[str], operands: Sequence[np.ndarray], dtype: Any, *, device: bool = False
) -> np.ndarray:
    """Run a kernel: in the simulator if that is on, else on a device or as PTX on the CPU."""
    out = np.empty((len(spellings), operands[0].size), dtype)
    if SIMULATED or device:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of few threads, and of copies of arrays on the host
            cuda.jit(kernel(spellings, len(operands)))[1, 1 if SIMULATED else 64](*operands, out)
    else:
        dtypes = tuple(operand.dtype.name for operand in operands)
        machine(tuple(spellings), dtypes, out.dtype.name).run(*operands, out)
    return out


def spellings_of(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(FUNCTIONS[name].kernel for name in names)
