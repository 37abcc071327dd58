"""Black-Scholes: the sum of a million call prices, and its five gradients."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradc.bench import native
from gradc.bench.frameworks import (
    Written,
    casadi_map,
    gradc_way,
    heyoka_way,
    jax_way,
    pytensor_way,
    torch_ways,
)
from gradc.bench.workload import Run, Workload

# The normal distribution after Hart, algorithm 5666: without branches, so that the compiler vectorises it.
SOURCE = """
#include <math.h>
static inline REAL cdf(REAL x, REAL bell) {
    REAL a = FABS(x);
    REAL p = (REAL)3.52624965998911e-02 * a + (REAL)0.700383064443688;
    p = p * a + (REAL)6.37396220353165; p = p * a + (REAL)33.912866078383;
    p = p * a + (REAL)112.079291497871; p = p * a + (REAL)221.213596169931;
    p = p * a + (REAL)220.206867912376;
    REAL q = (REAL)8.83883476483184e-02 * a + (REAL)1.75566716318264;
    q = q * a + (REAL)16.064177579207; q = q * a + (REAL)86.7807322029461;
    q = q * a + (REAL)296.564248779674; q = q * a + (REAL)637.333633378831;
    q = q * a + (REAL)793.826512519948; q = q * a + (REAL)440.413735824752;
    REAL tail = bell * p / q;
    return x > 0 ? 1 - tail : tail;
}
double prices(long n, const REAL *restrict s, const REAL *restrict k, const REAL *restrict r,
              const REAL *restrict v, const REAL *restrict t, REAL *restrict gs, REAL *restrict gk,
              REAL *restrict gr, REAL *restrict gv, REAL *restrict gt) {
    double total = 0;
    #pragma omp parallel for simd reduction(+:total) schedule(static)
    for (long i = 0; i < n; i++) {
        REAL root = SQRT(t[i]), wide = v[i] * root;
        REAL d1 = (LOG(s[i] / k[i]) + (r[i] + v[i] * v[i] / 2) * t[i]) / wide, d2 = d1 - wide;
        REAL bell1 = EXP(-d1 * d1 / 2), bell2 = EXP(-d2 * d2 / 2);
        REAL n1 = cdf(d1, bell1), n2 = cdf(d2, bell2), later = EXP(-r[i] * t[i]), due = k[i] * later;
        REAL vega = s[i] * bell1 * (REAL)0.3989422804014327;
        total += s[i] * n1 - due * n2;
        gs[i] = n1;
        gk[i] = -later * n2;
        gr[i] = due * t[i] * n2;
        gv[i] = vega * root;
        gt[i] = vega * v[i] / (2 * root) + r[i] * due * n2;
    }
    return total;
}
"""
_DOUBLE = "#define REAL double\n#define FABS fabs\n#define SQRT sqrt\n#define LOG log\n#define EXP exp\n"
_SINGLE = "#define REAL float\n#define FABS fabsf\n#define SQRT sqrtf\n#define LOG logf\n#define EXP expf\n"


def inputs(dtype: str, small: bool) -> tuple[Any, ...]:
    """Spot, strike, rate, volatility, time."""
    rng, count = np.random.default_rng(2), 50 if small else 1_000_000
    bounds = ((80, 120), (80, 120), (0.01, 0.05), (0.1, 0.5), (0.2, 2))
    return tuple(rng.uniform(low, high, count).astype(dtype) for low, high in bounds)


def of_parts(log: Any, sqrt: Any, exp: Any, cdf: Any) -> Callable[..., Any]:
    """One price, or many, from these functions."""

    def price(s, k, r, v, t):
        d1 = (log(s / k) + (r + v * v / 2) * t) / (v * sqrt(t))
        d2 = d1 - v * sqrt(t)
        return s * cdf(d1) - k * exp(-r * t) * cdf(d2)

    return price


def for_gradc() -> Callable[..., Any]:
    """As written for gradc; SciPy is imported here, because an interpreter for a peer may not have it."""
    ndtr = importlib.import_module("scipy.special").ndtr

    def loss(s, k, r, v, t):
        d1 = (np.log(s / k) + (r + v * v / 2) * t) / (v * np.sqrt(t))
        d2 = d1 - v * np.sqrt(t)
        return (s * ndtr(d1) - k * np.exp(-r * t) * ndtr(d2)).sum()

    return loss


def by_hand(s: np.ndarray, k: np.ndarray, r: np.ndarray, v: np.ndarray, t: np.ndarray) -> Any:
    """NumPy and SciPy."""
    ndtr = importlib.import_module("scipy.special").ndtr
    root = np.sqrt(t)
    d1 = (np.log(s / k) + (r + v * v / 2) * t) / (v * root)
    later = np.exp(-r * t)
    n1, n2 = ndtr(d1), ndtr(d1 - v * root)
    due = k * later * n2
    vega = s * np.exp(-d1 * d1 / 2) * s.dtype.type(1 / np.sqrt(2 * np.pi))
    of_time = vega * v / (2 * root) + r * due
    return (s * n1 - due).sum(), (n1, -later * n2, t * due, vega * root, of_time)


def with_jax(jax: Any) -> Callable[..., Any]:
    """JAX."""
    jnp = jax.numpy
    price = of_parts(jnp.log, jnp.sqrt, jnp.exp, jax.scipy.special.ndtr)
    return lambda *arrays: price(*arrays).sum()


def with_torch(torch: Any) -> Callable[..., Any]:
    """PyTorch."""
    price = of_parts(torch.log, torch.sqrt, torch.exp, torch.special.ndtr)
    return lambda *arrays: price(*arrays).sum()


def with_erf(library: Any) -> Callable[..., Any]:
    """For libraries with an error function: PyTensor, CasADi, heyoka."""

    def cdf(x):
        return 0.5 * (1 + library.erf(x * 2**-0.5))

    return of_parts(library.log, library.sqrt, library.exp, cdf)


def _pytensor(tensor: Any) -> Callable[..., Any]:
    return lambda *arrays: with_erf(tensor)(*arrays).sum()


def _c(source: str, *arrays: np.ndarray) -> Run:
    found = native.function(source, "prices")
    found.argtypes = [ctypes.c_long] + [ctypes.c_void_p] * 10
    gradients = tuple(np.zeros_like(array) for array in arrays)
    addresses = [array.ctypes.data for array in (*arrays, *gradients)]
    return Written(partial(found, len(arrays[0]), *addresses), gradients, keep=arrays)


def workload(dtype: str, rtol: float) -> Workload:
    """For both dtypes; CasADi and heyoka compute in float64."""
    double = dtype == "float64"
    only_double = {
        "pytensor": pytensor_way(_pytensor, 5),
        "casadi, C, bound": casadi_map(lambda casadi, *numbers: with_erf(casadi)(*numbers)),
        "heyoka": heyoka_way(lambda heyoka, *numbers: with_erf(heyoka)(*numbers), batch=True),
    }
    return Workload(
        name="black-scholes-f64" if double else "black-scholes-f32",
        title=f"Black-Scholes, a million calls, five gradients, {dtype}",
        inputs=partial(inputs, dtype),
        reference=by_hand,
        dtype=dtype,
        rtol=rtol,
        ways={
            "gradc": lambda *arrays: gradc_way(for_gradc())(*arrays),
            "numpy": lambda *arrays: partial(by_hand, *arrays),
            "jax": jax_way(with_jax, 5, dtype),
            **torch_ways(with_torch, 5),
            **(only_double if double else {}),
            "c": partial(_c, _DOUBLE + SOURCE if double else _SINGLE + SOURCE),
        },
        notes={"c": "to arrays in place", **({"heyoka": "to arrays in place"} if double else {})},
    )


WORKLOADS = (workload("float64", 1e-9), workload("float32", 2e-5))
