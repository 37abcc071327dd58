"""The lecture's sigmoid neuron from five Python floats: what a call costs."""

from __future__ import annotations

import ctypes
import math
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
    torch_module,
)
from gradc.bench.workload import Run, Workload

SOURCE = """
#include <math.h>
double neuron(double w0, double x0, double w1, double x1, double w2, double *g) {
    double y = 1 / (1 + exp(-(w0 * x0 + w1 * x1 + w2))), s = y * (1 - y);
    g[0] = s * x0; g[1] = s * w0; g[2] = s * x1; g[3] = s * w1; g[4] = s;
    return y;
}
"""


def inputs(small: bool) -> tuple[Any, ...]:
    """Return the lecture's numbers."""
    return 2.0, -1.0, -3.0, -2.0, -3.0


def loss(w0, x0, w1, x1, w2):
    """As written for gradc."""
    return 1 / (1 + np.exp(-(w0 * x0 + w1 * x1 + w2)))


def by_hand(w0: float, x0: float, w1: float, x1: float, w2: float) -> Any:
    """Plain Python."""
    y = 1 / (1 + math.exp(-(w0 * x0 + w1 * x1 + w2)))
    s = y * (1 - y)
    return y, (s * x0, s * w0, s * x1, s * w1, s)


def of_library(library: Any) -> Callable[..., Any]:
    """For libraries that have an exponential of their own."""

    def neuron(w0, x0, w1, x1, w2):
        return 1 / (1 + library.exp(-(w0 * x0 + w1 * x1 + w2)))

    return neuron


def _torch(compiled: bool, *numbers: float) -> Run:
    torch = torch_module()
    neuron = torch.compile(of_library(torch)) if compiled else of_library(torch)

    def run() -> Any:
        tensors = [torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in numbers]
        value = neuron(*tensors)
        return value, torch.autograd.grad(value, tensors)

    return run


def _c(*numbers: float) -> Run:
    found = native.function(SOURCE, "neuron")
    found.argtypes = [ctypes.c_double] * 5 + [ctypes.c_void_p]
    gradient = np.zeros(5)
    return Written(partial(found, *numbers, gradient.ctypes.data), gradient)


WORKLOAD = Workload(
    name="neuron",
    title="the lecture's sigmoid neuron, called with five Python floats",
    inputs=inputs,
    reference=by_hand,
    ways={
        "gradc": gradc_way(loss),
        "gradc, bound": gradc_bound(loss),
        "numpy": lambda *numbers: partial(by_hand, *numbers),
        "jax": jax_way(lambda jax: of_library(jax.numpy), 5),
        "torch, eager": partial(_torch, False),
        "torch, compiled": partial(_torch, True),
        **casadi_ways(lambda casadi, *numbers: of_library(casadi)(*numbers)),
        "heyoka": heyoka_way(lambda heyoka, *numbers: of_library(heyoka)(*numbers)),
        "c": _c,
    },
    notes={
        "numpy": "plain Python by hand",
        "torch, eager": "tensors are made from the floats in every call",
        "torch, compiled": "tensors are made from the floats in every call",
        "c": "a call through ctypes, which costs more than the neuron",
    },
)
