"""Elementary functions in a compiled loop: ours, which vectorise, against NumPy's and the C library's."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from measuring import Row, Way, measure, show_machine
from numba import njit
from scipy import special

from gradc_runtime import vecmath

# name, what NumPy or SciPy computes, what Numba's loop calls in the C library
FUNCTIONS: tuple[tuple[str, Any, Any], ...] = (
    ("exp", np.exp, math.exp),
    ("exp2", np.exp2, np.exp2),
    ("expm1", np.expm1, math.expm1),
    ("expit", special.expit, None),
    ("tanh", np.tanh, math.tanh),
    ("sinh", np.sinh, math.sinh),
    ("cosh", np.cosh, math.cosh),
    ("log", np.log, math.log),
    ("log2", np.log2, np.log2),
    ("log10", np.log10, math.log10),
    ("log1p", np.log1p, math.log1p),
    ("softplus", lambda x: np.logaddexp(x, 0), None),
    ("sin", np.sin, math.sin),
    ("cos", np.cos, math.cos),
    ("tan", np.tan, math.tan),
    ("arcsin", np.arcsin, math.asin),
    ("arccos", np.arccos, math.acos),
    ("arctan", np.arctan, math.atan),
    ("erf", special.erf, math.erf),
    ("erfc", special.erfc, math.erfc),
    ("cbrt", np.cbrt, np.cbrt),
)
BINARY: tuple[tuple[str, Any, Any], ...] = (
    ("power", np.power, math.pow),
    ("arctan2", np.arctan2, math.atan2),
    ("logaddexp", np.logaddexp, None),
)


def loop(function: Any) -> Callable[..., Any]:
    @njit(error_model="numpy")
    def kernel(x: Any, out: Any) -> Any:
        for i in range(x.size):
            out[i] = function(x[i])
        return out

    return kernel


def loop_of_two(function: Any) -> Callable[..., Any]:
    @njit(error_model="numpy")
    def kernel(x: Any, y: Any, out: Any) -> Any:
        for i in range(x.size):
            out[i] = function(x[i], y[i])
        return out

    return kernel


def ways(row: tuple[str, Any, Any], operands: tuple[np.ndarray, ...]) -> list[Way]:
    name, array_function, scalar = row
    compiled = loop if len(operands) == 1 else loop_of_two
    results = [np.empty_like(operands[0]) for _ in range(3)]
    # ufuncs write into `out`, as the loops do
    out = {"out": results[0]} if isinstance(array_function, np.ufunc) else {}
    found = [Way("NumPy", lambda: array_function(*operands, **out))]
    ours = compiled(getattr(vecmath, name))
    found.append(Way("ours", lambda: ours(*operands, results[1])))
    if scalar is not None:
        library = compiled(scalar)
        found.append(Way("C library", lambda: library(*operands, results[2])))
    return found


def run(small: bool = False) -> dict[str, list[Row]]:
    rng = np.random.default_rng(0)
    size = 100 if small else 4096
    tables = {}
    for dtype, rtol in ((np.float64, 1e-13), (np.float32, 2e-6)):
        x, y = rng.uniform(0.01, 0.99, (2, size)).astype(dtype)
        for row in (*FUNCTIONS[:4], BINARY[0]) if small else (*FUNCTIONS, *BINARY):
            operands = (x, y) if row in BINARY else (x,)
            title = f"{row[0]}, {size} elements, {np.dtype(dtype).name}"
            tables[title] = measure(ways(row, operands), rtol=rtol, rounds=2 if small else 15)
        if small:
            break
    return tables


def show_per_element(tables: dict[str, list[Row]]) -> None:
    """Print nanoseconds per element, one line for each function and dtype."""
    for title, rows in tables.items():
        name, elements, dtype = title.split(", ")
        per = 1e9 / int(elements.split()[0])
        times = ", ".join(f"{row.name} {row.seconds * per:.2f}" for row in rows)
        print(f"{name:10} {dtype}: {times} ns")


if __name__ == "__main__":
    show_machine()

    show_per_element(run())
