"""From one loss written for a library to a way: the few lines that are the same for every workload.

A loss for a library is given as a function that takes the library and returns the loss; so no library is
imported before it is needed.  Values and gradients are left as the library returns them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gradc.bench.workload import Build, Run

Make = Callable[[Any], Callable[..., Any]]


def gradc_way(loss: Callable[..., Any], wrt: tuple[str, ...] = (), **options: Any) -> Build:
    """``loss.value_and_grad(...)``, with respect to all arguments unless told otherwise."""

    def build(*inputs: Any) -> Run:
        function = gradc_function(loss, wrt, **options)
        function.value_and_grad(*inputs)  # from now on this attribute is machine code, as in a user's loop
        return Explained(partial(function.value_and_grad, *inputs), function.at(*inputs))

    return build


def gradc_bound(loss: Callable[..., Any], wrt: tuple[str, ...] = ()) -> Build:
    """``loss.bind(...)``: the gradient is written to arrays that are made once."""

    def build(*inputs: Any) -> Run:
        step = gradc_function(loss, wrt).bind(*inputs)
        return Written(step, step.gradient)

    return build


def gradc_function(loss: Callable[..., Any], wrt: tuple[str, ...] = (), **options: Any) -> Any:
    """Differentiate a function; gradc is imported only where it is measured."""
    differentiate = importlib.import_module("gradc.api.decorator").differentiate
    return differentiate(loss, wrt=wrt or None, **options)


class Explained:
    """A call of gradc whose kernel can be profiled; `at` is the function at its arguments."""

    def __init__(self, step: Callable[[], Any], at: Any, of: str = "value_and_grad") -> None:
        self.step = step
        self._at = at
        self._of = of

    def __call__(self) -> Any:
        """Run once."""
        return self.step()

    def profile(self, rounds: int) -> tuple[dict[str, Any], str]:
        """What the kernel costs: as JSON and as text."""
        found = self._at.profile(self._of, rounds=rounds)
        return importlib.import_module("gradc.explain.profile").document(found), str(found)


class Written:
    """A call that writes the gradient to arrays: they are part of its result, but not of its time."""

    def __init__(
        self,
        step: Callable[[], Any],
        gradient: Any,
        value: Callable[[], Any] | None = None,
        keep: Any = None,
    ) -> None:
        self.step = step
        self._gradient = gradient
        self._value = value
        self._keep = keep  # what the call knows by its address

    def __call__(self) -> Any:
        """Run once and return value and gradient."""
        value = self.step()
        return (value if self._value is None else self._value()), self._gradient


def jax_way(make: Make, count: int, dtype: str = "float64") -> Build:
    """``jit(value_and_grad(loss))`` by the first `count` arguments, blocked on; arrays are on the device."""

    def build(*inputs: Any) -> Run:
        jax = jax_module(dtype)
        step = jax.jit(jax.value_and_grad(make(jax), argnums=tuple(range(count))))
        return jax_run(jax, step, inputs)

    return build


def jax_module(dtype: str) -> Any:
    """Return JAX, told whether floats have 64 bits."""
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", dtype == "float64")
    return jax


def jax_run(jax: Any, step: Callable[..., Any], inputs: Sequence[Any]) -> Run:
    """Call a compiled function and wait for its results; Python numbers stay Python numbers."""
    placed = [jax.numpy.asarray(item) if isinstance(item, np.ndarray) else item for item in inputs]
    wait = jax.block_until_ready
    return lambda: wait(step(*placed))


def torch_ways(make: Make, count: int) -> dict[str, Build]:
    """Eager mode and ``torch.compile``; inputs are tensors that are made once."""
    return {
        "torch, eager": _torch_way(make, count, compiled=False),
        "torch, compiled": _torch_way(make, count, compiled=True),
    }


def _torch_way(make: Make, count: int, *, compiled: bool) -> Build:
    def build(*inputs: Any) -> Run:
        torch = torch_module()
        loss = torch.compile(make(torch)) if compiled else make(torch)
        tensors = [torch_tensor(torch, item) for item in inputs]
        wanted = [tensor.requires_grad_() for tensor in tensors[:count]]
        grad = torch.autograd.grad

        def run() -> Any:
            value = loss(*tensors)
            return value, grad(value, wanted)

        return run

    return build


def torch_module() -> Any:
    """Return PyTorch with as many threads as OpenMP is told."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return torch


def torch_tensor(torch: Any, item: Any) -> Any:
    """An array as a tensor of its dtype; other values as float64, or as they are if whole."""
    if isinstance(item, np.ndarray):
        return torch.from_numpy(item.copy())
    return torch.tensor(item, dtype=torch.float64) if isinstance(item, float) else item


def pytensor_way(make: Make, count: int) -> Build:
    """Make a function of value and gradients in PyTensor's Numba mode; inputs are trusted, outputs borrowed."""

    def build(*inputs: Any) -> Run:
        pytensor = importlib.import_module("pytensor")
        tensor = importlib.import_module("pytensor.tensor")
        arrays = [np.asarray(item) for item in inputs]
        symbols = [tensor.TensorType(array.dtype, (None,) * array.ndim)() for array in arrays]
        value = make(tensor)(*symbols)
        found = pytensor.grad(value, symbols[:count])
        outputs = [pytensor.Out(item, borrow=True) for item in (value, *found)]
        step = pytensor.function(symbols, outputs, mode="NUMBA", on_unused_input="ignore")
        step.trust_input = True
        return partial(step, *arrays)

    return build


def casadi_ways(make: Callable[..., Any]) -> dict[str, Build]:
    """Value and gradient as one CasADi function, in its virtual machine and as compiled C.

    `make` takes CasADi and a symbol for each input and returns the value; every input counts.  The calls read
    and write buffers that are made once: CasADi's fastest way to be called from Python.
    """
    return {
        "casadi, bound": partial(_casadi_way, make, False),
        "casadi, C, bound": partial(_casadi_way, make, True),
    }


def _casadi_way(make: Callable[..., Any], compiled: bool, *inputs: Any) -> Run:
    casadi = importlib.import_module("casadi")
    arrays = [np.ascontiguousarray(item, np.float64) for item in inputs]
    symbols = [casadi.SX.sym(f"x{at}", array.size) for at, array in enumerate(arrays)]
    value = make(casadi, *symbols)
    gradients = [casadi.densify(casadi.gradient(value, symbol)) for symbol in symbols]
    function = casadi.Function("step", symbols, [value, *gradients])
    if compiled:
        function = casadi_compiled(casadi, function)
    return casadi_bound(function, arrays, [np.zeros(()), *(np.zeros(array.shape) for array in arrays)])


def casadi_compiled(casadi: Any, function: Any) -> Any:
    """Return a CasADi function as the machine code of its C code."""
    native = importlib.import_module("gradc.bench.native")
    generator = casadi.CodeGenerator("generated")
    generator.add(function)
    return casadi.external(function.name(), str(native.library(generator.dump())))


def casadi_bound(function: Any, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> Written:
    """Bind a CasADi function to arrays in place."""
    buffer, evaluate = function.buffer()
    for at, array in enumerate(arrays):
        buffer.set_arg(at, array.data)
    for at, array in enumerate(outputs):
        buffer.set_res(at, array.data)
    keep = (buffer, function, arrays, outputs)
    return Written(evaluate, list(outputs[1:]), lambda: outputs[0].sum(), keep)


def casadi_map(make: Callable[..., Any]) -> Build:
    """Value and gradient of one element, mapped over vectors of one length by compiled C; the sum is the value."""

    def build(*inputs: np.ndarray) -> Run:
        casadi = importlib.import_module("casadi")
        symbols = [casadi.SX.sym(f"x{at}") for at in range(len(inputs))]
        value = make(casadi, *symbols)
        gradients = [casadi.densify(casadi.gradient(value, symbol)) for symbol in symbols]
        function = casadi.Function("one", symbols, [value, *gradients]).map(inputs[0].size)
        outputs = [np.zeros(inputs[0].shape) for _ in range(1 + len(inputs))]
        return casadi_bound(casadi_compiled(casadi, function), inputs, outputs)

    return build


def heyoka_way(make: Callable[..., Any], *, batch: bool = False) -> Build:
    """Value and derivatives as one compiled function of heyoka.

    `make` takes heyoka and a symbol for each number.  With `batch` inputs are vectors of one length, and the
    function runs over their elements in parallel, its value being the sum.
    """

    def build(*inputs: Any) -> Run:
        heyoka = importlib.import_module("heyoka")
        given = np.array(inputs) if batch else np.concatenate([np.ravel(item) for item in inputs])
        symbols = [heyoka.make_vars(f"x{at}") for at in range(len(given))]
        value = make(heyoka, *symbols)
        tensors = heyoka.diff_tensors([value], diff_args=symbols, diff_order=1)
        step = heyoka.cfunc([value, *tensors.gradient], symbols)
        out = np.zeros((1 + len(given), *given.shape[1:]))
        return Written(partial(step, given, outputs=out), out[1:], lambda: out[0].sum())

    return build
