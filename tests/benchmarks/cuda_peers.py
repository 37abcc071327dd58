"""The ways to compute something on a GPU: gradc's, and those of PyTorch and JAX where they are and see the GPU."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np
from cuda_measuring import Run, Way, synchronize
from cuda_tasks import Computation, Ours
from cuda_training import STEPS, TORCH, Training, jax_step

import gradc

PACKAGES = (
    *("gradc", "numba", "numba-cuda", "cuda-bindings", "nvmath-python", "nvidia-cublas"),
    *("numpy", "torch", "jax", "jaxlib"),
)


def versions() -> dict[str, str]:
    """The packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


# --- libraries ----------------------------------------------------------------------------------------------


@cache
def torch_module() -> tuple[Any, str]:
    """PyTorch, or why it takes no part; its float32 is float32."""
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        return None, f"not installed ({error})"
    if not torch.cuda.is_available():
        return None, "it sees no GPU"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    return torch, ""


@cache
def jax_module() -> tuple[Any, str]:
    """JAX, or why it takes no part; its float32 is float32, and it leaves memory to the others."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        jax = importlib.import_module("jax")
    except ImportError as error:
        return None, f"not installed ({error})"
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        jax.devices("gpu")
    except RuntimeError as error:
        return None, f"it sees no GPU ({' '.join(str(error).split())})"
    return jax, ""


@cache
def without_cublas() -> str:
    """Why products by cuBLAS take no part."""
    if importlib.import_module("gradc_runtime.cuda_backend").SIMULATED:
        return "the simulator has none"
    return "" if find_spec("nvmath") is not None else "not installed: pip install 'gradc[cublas]'"


def absent(ours_only: bool) -> dict[str, str]:
    """Why libraries take no part."""
    found = {"PyTorch": "not asked for", "JAX": "not asked for"}
    if not ours_only:
        found = {"PyTorch": torch_module()[1], "JAX": jax_module()[1]}
    found["cuBLAS"] = without_cublas()
    return {name: why for name, why in found.items() if why}


def numbers(results: Any) -> list[np.ndarray]:
    """Results of any library as NumPy arrays, one after the other."""
    if isinstance(results, tuple | list):
        return [array for part in results for array in numbers(part)]
    if hasattr(results, "copy_to_host"):
        return [results.copy_to_host()]
    return [results.detach().cpu().numpy() if hasattr(results, "detach") else np.asarray(results)]


def _placed(ours: Ours) -> Any:
    return gradc.to_device(ours.arguments)


def our_way(ours: Ours) -> Way:
    """A function of gradc on arrays of the device."""
    return Way(ours.name, partial(_placed, ours), ours.run, synchronize, numbers)


# --- computations -------------------------------------------------------------------------------------------


def computing(found: Computation, ours_only: bool) -> list[Way]:
    """All ways of a computation, gradc's first."""
    ways = [our_way(ours) for ours in found.ours if not (ours.needs and without_cublas())]
    torch, jax = (None, None) if ours_only else (torch_module()[0], jax_module()[0])
    if torch is not None and found.with_torch is not None:
        for name, compiled in (("PyTorch, eager", False), ("PyTorch, compiled", True)):
            place = partial(_tensors, torch, found.inputs)
            build = partial(_torch_run, torch, found, compiled)
            ways.append(Way(name, place, build, lambda _: torch.cuda.synchronize(), numbers))
    if jax is not None:
        place = partial(_arrays, jax, found.inputs)
        ways.append(Way("JAX", place, partial(_jax_run, jax, found), jax.block_until_ready, numbers))
    return ways


def _tensors(torch: Any, inputs: Sequence[np.ndarray]) -> list[Any]:
    return [torch.tensor(array, device="cuda") for array in inputs]


def _torch_run(torch: Any, found: Computation, compiled: bool, tensors: list[Any]) -> Run:
    assert found.with_torch is not None
    function = found.with_torch(torch)
    function = torch.compile(function, dynamic=False) if compiled else function
    if not found.count:
        return partial(function, *tensors)
    wanted = [tensor.requires_grad_() for tensor in tensors[: found.count]]
    grad = torch.autograd.grad

    def run() -> Any:
        value = function(*tensors)
        return value, grad(value, wanted)

    return run


def _arrays(jax: Any, inputs: Sequence[np.ndarray]) -> list[Any]:
    return jax.block_until_ready([jax.numpy.asarray(array) for array in inputs])


def _jax_run(jax: Any, found: Computation, arrays: list[Any]) -> Run:
    function = found.with_jax(jax)
    if found.count:
        function = jax.value_and_grad(function, argnums=tuple(range(found.count)))
    return partial(jax.jit(function), *arrays)


def fault_of_results(found: Computation, way: Way, run: Run, result: Any) -> str:
    """What is wrong with the results of a first call."""
    return found.fault(way.host(result))


# --- training -----------------------------------------------------------------------------------------------


def training(found: Training, ours_only: bool) -> list[Way]:
    """All ways of a training step, gradc's first."""
    ways = [our_way(found.ours)]
    torch, jax = (None, None) if ours_only else (torch_module()[0], jax_module()[0])
    if torch is not None:
        ways += [
            _stepping(name, partial(make, torch, found), torch.cuda.synchronize)
            for name, make in TORCH.items()
        ]
    if jax is not None:
        ways.append(_stepping("JAX", partial(jax_step, jax, found), jax.block_until_ready, True))
    return ways


def _stepping(name: str, make: Callable[[], Run], wait: Callable[..., None], of_result: bool = False) -> Way:
    return Way(name, lambda: None, lambda _: make(), wait if of_result else lambda _: wait(), numbers)


def fault_of_losses(found: Training, way: Way, run: Run, result: Any) -> str:
    """What is wrong with the losses of the first steps."""
    losses = [float(way.host(result)[0])]
    losses += [float(way.host(run())[0]) for _ in range(STEPS - 1)]
    return found.fault(losses)
