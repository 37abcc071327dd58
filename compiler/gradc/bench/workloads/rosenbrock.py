"""The chained Rosenbrock function: short vectors for the cost of a call, long ones for memory."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradc.bench import native
from gradc.bench.frameworks import (
    Written,
    casadi_ways,
    gradc_bound,
    gradc_way,
    heyoka_way,
    jax_way,
    pytensor_way,
    torch_ways,
)
from gradc.bench.workload import Run, Workload

SOURCE = """
double rosenbrock(long n, const double *restrict x, double *restrict g) {
    double total = 0;
    g[0] = -400 * (x[1] - x[0] * x[0]) * x[0] - 2 * (1 - x[0]);
    #pragma omp parallel for simd reduction(+:total) if(n > 100000)
    for (long i = 1; i < n; i++) {
        double before = x[i] - x[i - 1] * x[i - 1], along = 1 - x[i - 1];
        total += 100 * before * before + along * along;
        double next = i + 1 < n ? x[i + 1] - x[i] * x[i] : 0, rest = i + 1 < n ? 1 - x[i] : 0;
        g[i] = 200 * before - 400 * next * x[i] - 2 * rest;
    }
    return total;
}
"""


def inputs(count: int, small: bool) -> tuple[Any, ...]:
    """Return a vector around the valley."""
    return (np.random.default_rng(1).uniform(-1.5, 1.5, min(count, 20) if small else count),)


def loss(x):
    """As arrays with slices take it."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def by_hand(x: np.ndarray) -> Any:
    """NumPy."""
    across, along = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    gradient = np.zeros_like(x)
    gradient[1:] = 200 * across
    gradient[:-1] -= 400 * across * x[:-1] + 2 * along
    return np.sum(100 * across**2 + along**2), gradient


def of_library(library: Any) -> Callable[..., Any]:
    """JAX, PyTorch and PyTensor write it like NumPy."""
    return loss


def _casadi(casadi: Any, x: Any) -> Any:
    return casadi.sum1(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def _heyoka(heyoka: Any, *x: Any) -> Any:
    terms = [100 * (b - a**2.0) ** 2.0 + (1 - a) ** 2.0 for a, b in itertools.pairwise(x)]
    return heyoka.sum(terms)


def _c(x: np.ndarray) -> Run:
    found = native.function(SOURCE, "rosenbrock")
    found.argtypes = [ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    gradient = np.zeros_like(x)
    return Written(partial(found, x.size, x.ctypes.data, gradient.ctypes.data), gradient, keep=x)


def workload(count: int) -> Workload:
    """For a number of elements; compilers of scalar programs take part while it is not too long for them."""
    scalar = {
        **casadi_ways(_casadi),
        "heyoka": heyoka_way(_heyoka),
    }
    return Workload(
        name=f"rosenbrock-{count}",
        title=f"chained Rosenbrock function of {count} elements",
        inputs=partial(inputs, count),
        reference=by_hand,
        ways={
            "gradc": gradc_way(loss),
            "gradc, bound": gradc_bound(loss),
            "numpy": lambda x: partial(by_hand, x),
            "jax": jax_way(of_library, 1),
            **torch_ways(of_library, 1),
            "pytensor": pytensor_way(of_library, 1),
            **(scalar if count <= 1000 else {}),
            "c": _c,
        },
        notes={"c": "a call through ctypes, to arrays in place"},
    )


WORKLOADS = (workload(10), workload(1_000), workload(1_000_000))
