"""gradc: a differentiation compiler.

Plain NumPy functions, SymPy expressions and index equations become programs in an index notation; a reverse pass
derives the program of the gradient; fused Numba kernels are printed from it.

Words: the *primal* is a value, its *tangent* a directional change, its *cotangent* an adjoint sensitivity; a
*gradient* is the cotangent of a scalar output; JVP and VJP are the forward and reverse linear maps; the *adjoint
program* computes cotangents; an *equation* defines a tensor by *indices*, *extents* and *accesses*; a *schedule*
says which equations share a *loop nest*; a *kernel* is what runs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradc.api.decorator import differentiate as differentiate
    from gradc.api.differentiated import Differentiated as Differentiated
    from gradc.errors import GradcError as GradcError

# Loaded when first used: `gradc --help` waits neither for SymPy nor for what tracing needs.
_HOMES = {
    "Differentiated": "gradc.api.differentiated",
    "GradcError": "gradc.errors",
    "differentiate": "gradc.api.decorator",
}

__all__ = ["Differentiated", "GradcError", "differentiate"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(home), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
