"""What to write instead of a call that cannot be traced.

The table is only consulted for a message: by then the call has asked a traced value for a number, or NumPy
has handed us a function without a handler.
"""

from __future__ import annotations

_STACK = "np.stack([a, b, ...])"
_OUTSIDE = "compute it outside the function and pass the result as an argument"
_EXTERNAL = "gradc.external(f, result=..., vjp=...), with a derivative of your own"
_QUADRATURE = "np.trapezoid over a fixed grid, or " + _EXTERNAL
_RANDOM = "gradc.random.uniform(key, shape) with the key as an argument, or pass the numbers as an argument"
_MASK = "np.where(condition, value, 0.0), which keeps the shape"
_ITEM = "keep the traced value: arithmetic, NumPy functions and the indices of traced arrays take it as it is"

REPLACEMENTS: dict[str, str] = {
    # arrays from traced numbers
    "numpy.array": _STACK,
    "numpy.asarray": _STACK,
    "numpy.asanyarray": _STACK,
    "numpy.ascontiguousarray": _STACK,
    "numpy.fromiter": _STACK,
    "numpy.r_": "np.concatenate",
    "numpy.c_": "np.stack(..., axis=1)",
    "numpy.matrix": "a 2-d array and the @ operator",
    "numpy.vectorize": "the function itself on arrays, with np.where for its branches",
    "numpy.apply_along_axis": "the axis= argument of the NumPy function",
    "numpy.frompyfunc": "the function itself on arrays",
    # results of unknown shape or plain Python results
    "numpy.nonzero": _MASK,
    "numpy.flatnonzero": _MASK,
    "numpy.argwhere": _MASK,
    "numpy.extract": _MASK,
    "numpy.compress": _MASK,
    "numpy.unique": _OUTSIDE,
    "numpy.isscalar": "x.ndim == 0",
    "numpy.allclose": "np.all(np.abs(a - b) <= tolerance) inside np.where",
    "numpy.array_equal": "np.all(a == b) inside np.where",
    "numpy.searchsorted": _OUTSIDE,
    "numpy.digitize": _OUTSIDE,
    "numpy.histogram": _OUTSIDE,
    "numpy.bincount": "np.sum(np.where(labels == k, weights, 0.0)) for each k",
    # writing into arguments of NumPy functions
    "numpy.copyto": "a[...] = b, on an array made in the function",
    "numpy.put": "a[indices] = values, on an array made in the function",
    "numpy.place": "a = np.where(mask, values, a)",
    "numpy.putmask": "a = np.where(mask, values, a)",
    "numpy.put_along_axis": "np.where with a comparison of indices",
    "numpy.add.at": "np.sum(np.where(indices[:, None] == np.arange(n), values[:, None], 0.0), axis=0)",
    "numpy.fill_diagonal": "a = np.where(np.eye(n, dtype=bool), value, a)",
    # decompositions without a rule
    "numpy.linalg.eig": "np.linalg.eigh of a symmetric matrix, or " + _EXTERNAL,
    "numpy.linalg.eigh": _EXTERNAL,
    "numpy.linalg.eigvals": _EXTERNAL,
    "numpy.linalg.eigvalsh": _EXTERNAL,
    "numpy.linalg.svd": _EXTERNAL,
    "numpy.linalg.qr": _EXTERNAL,
    "numpy.linalg.pinv": "np.linalg.solve(a.T @ a, a.T)",
    "numpy.linalg.lstsq": "np.linalg.solve(a.T @ a, a.T @ b)",
    "numpy.linalg.matrix_rank": _OUTSIDE,
    "numpy.linalg.cond": _OUTSIDE,
    # SciPy
    "scipy.integrate.quad": _QUADRATURE,
    "scipy.integrate.fixed_quad": _QUADRATURE,
    "scipy.integrate.solve_ivp": "a loop of explicit steps, or " + _EXTERNAL,
    "scipy.integrate.odeint": "a loop of explicit steps, or " + _EXTERNAL,
    "scipy.optimize.minimize": "differentiate the objective: minimize(loss.value_and_grad, x0, jac=True)",
    "scipy.optimize.root": _EXTERNAL,
    "scipy.optimize.brentq": _EXTERNAL,
    "scipy.interpolate.interp1d": "np.interp",
    "scipy.spatial.distance.cdist": "np.sqrt(np.sum((a[:, None] - b[None]) ** 2, axis=-1))",
    "scipy.spatial.distance.pdist": (
        "np.sqrt(np.sum((a[i] - a[j]) ** 2, axis=-1)) with i, j = np.triu_indices(n, 1)"
    ),
    "scipy.linalg.expm": _EXTERNAL,
    "scipy.linalg.svd": _EXTERNAL,
    "scipy.linalg.eigh": _EXTERNAL,
    "scipy.linalg.lu": "np.linalg.solve, or np.linalg.slogdet",
    "scipy.linalg.lu_factor": "np.linalg.solve",
    "scipy.stats.multivariate_normal.logpdf": "np.linalg.slogdet and np.linalg.solve",
    "scipy.special.comb": "scipy.special.gammaln",
    # Python
    "float": _ITEM,
    "int": "np.floor, np.round or .astype(int) on the array",
    "complex": "the real and the imaginary part as two arrays",
    "bool": "np.where",
    "range": "an int argument or x.shape[0]; array operations over the whole axis need no loop",
    "sorted": "np.sort",
    "any": "np.any",
    "all": "np.all",
    "max": "np.maximum(a, b), or np.max of an array",
    "min": "np.minimum(a, b), or np.min of an array",
    "filter": "np.where",
    "math.prod": "np.prod",
    "item": _ITEM,
    "tolist": "keep the array, or unpack it: a, b = x",
    "tobytes": _OUTSIDE,
    "nonzero": _MASK,
    "argpartition": "np.argsort",
    "partition": "np.sort",
    "searchsorted": _OUTSIDE,
    "flat": "x.ravel()",
    "strides": "x.shape; the layout of a traced array is not known",
    "flags": "x.shape; the layout of a traced array is not known",
    "base": "x.copy(); the layout of a traced array is not known",
    "data": "the array itself",
    "ptp": "x.max() - x.min()",
    "imag": "np.zeros_like(x): traced values are real",
    "fill": "x[...] = value",
}

# Whole modules, by the longest prefix that fits.
MODULES: dict[str, str] = {
    "numpy.random": _RANDOM,
    "random": _RANDOM,
    "numpy.fft": _EXTERNAL,
    "numpy.ma": "np.where, with the mask as an array of its own",
    "numpy.linalg": _EXTERNAL,
    "scipy.fft": _EXTERNAL,
    "scipy.signal": "np.convolve, or " + _EXTERNAL,
    "scipy.sparse": "the dense array, or " + _EXTERNAL,
    "scipy.integrate": _QUADRATURE,
    "scipy.optimize": _EXTERNAL,
    "scipy.interpolate": "np.interp, or " + _EXTERNAL,
    "scipy.stats": "the formula of the density, with scipy.special functions",
    "scipy": _EXTERNAL,
    "math": "the NumPy function of that name",
    "numpy": "NumPy functions on arrays, or " + _EXTERNAL,
}


def replacement(*names: str) -> str:
    """Return what to write instead of the first of `names` (dotted names of a call) that the tables know."""
    for name in names:
        found = REPLACEMENTS.get(name)
        if found is not None:
            return found
    for name in names:
        while "." in name:
            name = name.rpartition(".")[0]
            if name in MODULES:
                return MODULES[name]
    return _ITEM if not names else _EXTERNAL


def public_name(function: object) -> str:
    """Return the dotted name of a callable as users write it: private modules left out."""
    name = getattr(function, "__name__", type(function).__name__)
    name = getattr(function, "__qualname__", name) if not isinstance(function, type) else name
    module = getattr(function, "__module__", None) or "numpy" * (type(function).__name__ == "ufunc")
    parts = [part for part in module.split(".") if not part.startswith("_")]
    if not parts or parts == ["builtins"]:
        return name
    return ".".join((*parts, name))
