"""A function of the user's as a workload; a child process makes it again from what the command line says."""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gradc.api.differentiated import Differentiated
from gradc.bench.frameworks import Explained
from gradc.bench.workload import Run, Workload
from gradc.command import answers
from gradc.command.request import Request
from gradc.command.run import prepared
from gradc.errors import InputRefused

PEERS = ("gradc", "interpreter", "numpy", "jax")


def arguments_of(request: Request) -> dict[str, Any]:
    """What `workload` takes, ready for JSON."""
    return {
        "name": request.spec,
        "at": list(request.at),
        "shape": list(request.shape),
        "inputs": None if request.inputs is None else str(request.inputs),
        "seed": request.seed,
    }


def workload(name: str, at: list[str], shape: list[str], inputs: str | None, seed: int) -> Workload:
    """Return the function with its arguments, and the ways to compute it.

    Raises
    ------
    InputRefused
        The function is not there, or an argument has no value.
    """
    request = Request(
        spec=name,
        expr=None,
        at=tuple(at),
        shape=tuple(shape),
        inputs=None if inputs is None else Path(inputs),
        seed=seed,
        target="cpu",
    )

    function, found = prepared(request, draw=False, examples=None)

    def given(small: bool) -> tuple[Any, ...]:
        return function.signature.python.bind(**found.arguments).args

    interpreted = function.with_options(target="interpret")
    return Workload(
        name=function.signature.name,
        title=name,
        inputs=given,
        reference=lambda *args: ours(interpreted, *args)(),
        reference_peer="interpreter",
        dtype="as given",
        rtol=1e-3 if any(_is_narrow(item) for item in given(False)) else 1e-8,
        value_only=frozenset(("numpy",)),
        ways={
            "gradc": partial(ours, function),
            "interpreter": partial(ours, interpreted),
            "numpy": lambda *args: partial(function.__wrapped__, *args),
            "jax": partial(_jax, function),
        },
        notes={
            "gradc": "value and gradient, compiled",
            "interpreter": "value and gradient, equation by equation in NumPy: the reference",
            "numpy": "the function itself: the value alone",
            "jax": "value and gradient of the same function with jax.numpy in the place of np",
        },
    )


def _is_narrow(item: Any) -> bool:
    return getattr(item, "dtype", None) == np.float32


class _Step:
    """Value and gradient; the gradient's containers are opened outside the time."""

    def __init__(self, step: Run) -> None:
        self.step = step

    def __call__(self) -> Any:
        """Run once; the arrays of the gradient in the order of their names."""
        value, gradient = self.step()
        return value, _leaves(gradient)


class _OurStep(Explained):
    """The same for gradc, whose kernel can be profiled."""

    def __call__(self) -> Any:
        """Run once; the arrays of the gradient in the order of their names."""
        value, gradient = self.step()
        return value, _leaves(gradient)


def ours(function: Differentiated[..., Any], *args: Any) -> Run:
    """Value and gradient by gradc."""
    return _OurStep(partial(function.value_and_grad, *args), function.at(*args))


def _leaves(gradient: Any) -> list[Any]:
    return [item for _, item in sorted(answers.flat({"": gradient}).items())]


def _jax(function: Differentiated[..., Any], *args: Any) -> Run:
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    names = list(function.signature.python.parameters)
    numbers = tuple(names.index(name) for name in function.signature.wrt)
    wrt = numbers[0] if function.signature.bare else numbers
    step = jax.jit(jax.value_and_grad(_with_jax(function.__wrapped__, jax), argnums=wrt))
    placed = jax.tree.map(
        lambda leaf: jax.numpy.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, args
    )
    wait = jax.block_until_ready
    return _Step(lambda: wait(step(*placed)))


def _with_jax(function: Callable[..., Any], jax: Any) -> Callable[..., Any]:
    """Return a copy of a function whose globals have JAX's modules in the place of NumPy's and SciPy's."""
    if not isinstance(function, types.FunctionType):
        raise InputRefused("only a plain function runs on JAX")
    special = importlib.import_module("scipy.special")
    instead = {id(np): jax.numpy, id(special): jax.scipy.special}
    changed = {name: instead.get(id(value), value) for name, value in function.__globals__.items()}
    return types.FunctionType(
        function.__code__, changed, function.__name__, function.__defaults__, function.__closure__
    )
