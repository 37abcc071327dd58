"""Gradient checkers compared: which right derivatives they reject, and which wrong ones they pass.

Every checker meets the same smooth functions at the same points, with the true derivative and with that
derivative changed by a small share.  PyTorch, JAX and numdifftools take part where they are installed
(``pip install torch==2.13.0 jax numdifftools``).
"""

import importlib
import importlib.util
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gradc_runtime.gradcheck import check_gradient

sys.path.insert(0, str(Path(__file__).parent.parent))  # the catalogue is the one that the tests use
from tests.gradcheck.catalogue import CATALOGUE, Pair

FAULTS = (1e-2, 1e-3, 1e-4, 1e-6, 1e-8)
Checker = Callable[[Callable[[float], float], float, float], bool]  # (f, x, claim) -> accepted


def gradc_accepts(f: Callable[[float], float], x: float, claim: float) -> bool:
    return bool(check_gradient(f, [claim], [x]))


def scipy_accepts(f: Callable[[float], float], x: float, claim: float) -> bool:
    """Within ten times the error that ``scipy.differentiate`` estimates."""
    from scipy.differentiate import derivative  # noqa: PLC0415

    found = derivative(np.vectorize(f, otypes=[float]), x)
    return bool(abs(found.df - claim) <= 10 * found.error + 1e-300)


def numdifftools_accepts(f: Callable[[float], float], x: float, claim: float) -> bool:
    """Within ten times the error that numdifftools estimates."""
    numdifftools = importlib.import_module("numdifftools")

    found = numdifftools.Derivative(f, full_output=True)(x)
    return bool(abs(found.estimate - claim) <= 10 * found.error_estimate + 1e-300)


def torch_accepts(f: Callable[[float], float], x: float, claim: float) -> bool:
    """``torch.autograd.gradcheck`` with its default step and tolerances."""
    torch = importlib.import_module("torch")

    class Claimed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, at):
            return torch.tensor(f(float(at)), dtype=torch.float64)

        @staticmethod
        def backward(ctx, bar):
            return bar * claim

    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    return bool(torch.autograd.gradcheck(Claimed.apply, (at,), raise_exception=False))


def jax_accepts(f: Callable[[float], float], x: float, claim: float) -> bool:
    """``jax.test_util.check_grads`` with its default tolerances, in float64."""
    jax = importlib.import_module("jax")
    check_grads = importlib.import_module("jax.test_util").check_grads

    jax.config.update("jax_enable_x64", True)
    shape = jax.ShapeDtypeStruct((), np.float64)

    @jax.custom_vjp
    def claimed(at):
        return jax.pure_callback(lambda t: np.float64(f(float(t))), shape, at)

    claimed.defvjp(lambda at: (claimed(at), None), lambda _, bar: (bar * claim,))
    try:
        check_grads(claimed, (np.float64(x),), order=1, modes=["rev"])
    except AssertionError:
        return False
    finally:
        jax.clear_caches()  # every function here is a new one
    return True


def classroom_accepts(f: Callable[[float], float], x: float, claim: float) -> bool:
    """Centred difference with step 1e-6, relative error below 1e-4: the usual advice in lectures."""
    numeric = (f(x + 1e-6) - f(x - 1e-6)) / 2e-6
    return abs(numeric - claim) <= 1e-4 * max(abs(numeric), abs(claim))


CHECKERS: dict[str, tuple[Checker, str]] = {
    "gradc": (gradc_accepts, ""),
    "PyTorch gradcheck": (torch_accepts, "torch"),
    "JAX check_grads": (jax_accepts, "jax"),
    "numdifftools, error x 10": (numdifftools_accepts, "numdifftools"),
    "scipy.differentiate, error x 10": (scipy_accepts, "scipy"),
    "step 1e-6, tolerance 1e-4": (classroom_accepts, ""),
}


def total(f: Callable[[float], float]) -> Callable[[float], float]:
    """`f` with nan where it has no value, as checkers of arrays expect."""

    def value(x: float) -> float:
        try:
            found = f(x)
        except (ArithmeticError, ValueError):
            return math.nan
        return math.nan if isinstance(found, complex) else found

    return value


def judged(checker: Checker, pair: Pair, claim: float) -> bool:
    """Whether a claim is accepted."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return checker(total(pair.f), pair.x, claim)


def score(checker: Checker, pairs: list[tuple[Pair, float]]) -> tuple[int, list[int]]:
    """How many right derivatives are rejected, and how many faults of each size are caught."""
    rejected = sum(not judged(checker, pair, truth) for pair, truth in pairs)
    caught = [
        sum(not judged(checker, pair, truth * (1 + fault)) for pair, truth in pairs) for fault in FAULTS
    ]
    return rejected, caught


def main() -> None:
    pairs = [(pair, float(pair.truth)) for pair in CATALOGUE]
    assert all(math.isfinite(truth) for _, truth in pairs)
    print(f"{len(pairs)} derivatives, right and changed by a share\n")
    print(f"{'':34}{'right,':>9}" + "wrong, caught at a share of".rjust(44))
    print(f"{'':34}{'rejected':>9}" + "".join(f"{fault:>9.0e}" for fault in FAULTS))
    for name, (checker, package) in CHECKERS.items():
        if package and importlib.util.find_spec(package) is None:
            print(f"{name:34}{'not installed':>20}")
            continue
        rejected, caught = score(checker, pairs)
        print(f"{name:34}{rejected:>9}" + "".join(f"{count:>9}" for count in caught), flush=True)
        if name == "gradc":
            assert rejected == 0
            assert caught[:3] == [len(pairs)] * 3
            assert caught[3] >= 0.99 * len(pairs)


if __name__ == "__main__":
    main()
