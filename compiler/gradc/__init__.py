"""gradc: a differentiation compiler.

Plain NumPy functions, SymPy expressions and index equations become programs in an index notation; a reverse
pass derives the program of the gradient; fused Numba kernels are printed from it.

Words: the *primal* is a value, its *tangent* a directional change, its *cotangent* an adjoint sensitivity; a
*gradient* is the cotangent of a scalar output; JVP and VJP are the forward and reverse linear maps; the
*adjoint program* computes cotangents; an *equation* defines a tensor by *indices*, *extents* and *accesses*;
a *schedule* says which equations share a *loop nest*; a *kernel* is what runs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradc import nn as nn
    from gradc import random as random
    from gradc.api.custom_gradient import custom_gradient as custom_gradient
    from gradc.api.decorator import differentiate as differentiate
    from gradc.api.device import device as device
    from gradc.api.device import to_device as to_device
    from gradc.api.differentiated import Differentiated as Differentiated
    from gradc.api.equation_source import equation as equation
    from gradc.api.external import external as external
    from gradc.api.stop_gradient import stop_gradient as stop_gradient
    from gradc.api.thread_settings import get_num_threads as get_num_threads
    from gradc.api.thread_settings import num_threads as num_threads
    from gradc.api.thread_settings import set_num_threads as set_num_threads
    from gradc.api.vmap import vmap as vmap
    from gradc.errors import GradcError as GradcError
    from gradc.lang.annotations import boolean as boolean
    from gradc.lang.annotations import f32 as f32
    from gradc.lang.annotations import f64 as f64
    from gradc.lang.annotations import i32 as i32
    from gradc.lang.annotations import i64 as i64

# Loaded when first used: `gradc --help` waits neither for SymPy nor for what tracing needs.
_HOMES = {
    "Differentiated": "gradc.api.differentiated",
    "GradcError": "gradc.errors",
    "boolean": "gradc.lang.annotations",
    "custom_gradient": "gradc.api.custom_gradient",
    "device": "gradc.api.device",
    "differentiate": "gradc.api.decorator",
    "equation": "gradc.api.equation_source",
    "external": "gradc.api.external",
    "f32": "gradc.lang.annotations",
    "f64": "gradc.lang.annotations",
    "get_num_threads": "gradc.api.thread_settings",
    "i32": "gradc.lang.annotations",
    "i64": "gradc.lang.annotations",
    "num_threads": "gradc.api.thread_settings",
    "set_num_threads": "gradc.api.thread_settings",
    "stop_gradient": "gradc.api.stop_gradient",
    "to_device": "gradc.api.device",
    "vmap": "gradc.api.vmap",
}

__all__ = [
    "Differentiated",
    "GradcError",
    "boolean",
    "custom_gradient",
    "device",
    "differentiate",
    "equation",
    "external",
    "f32",
    "f64",
    "get_num_threads",
    "i32",
    "i64",
    "nn",
    "num_threads",
    "random",
    "set_num_threads",
    "stop_gradient",
    "to_device",
    "vmap",
]


def __getattr__(name: str) -> Any:
    if name in ("nn", "random"):
        return importlib.import_module(f"gradc.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(home), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
