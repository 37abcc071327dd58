"""Calls of the library operations of CUDA devices, wherever they run, compared with the table of calls."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
from tests.cuda import ptx_device

from gradc.ir.index.calls import CALLS
from gradc_runtime import cuda_driver, cuda_library
from gradc_runtime.cuda_backend import SIMULATED
from gradc_runtime.cuda_memory import copy_in, this_call

PLACES = [pytest.param(False, id="anywhere"), pytest.param(True, id="device", marks=pytest.mark.cuda)]
RTOL = {"float64": 1e-11, "float32": 2e-4}


def placed(on_device: bool, patch: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    """Run on a device, in the simulator if it is on, or else the PTX on the CPU."""
    return nullcontext() if on_device or SIMULATED else ptx_device.device(patch)


def sent(host: np.ndarray) -> Any:
    """A copy on the device."""
    return copy_in(host)


def fetched(array: Any) -> np.ndarray:
    """A copy on the processor."""
    host, stream = np.empty(tuple(array.shape), array.dtype), this_call().stream
    cuda_driver.copy_to_host(array, host, stream)
    cuda_driver.wait(stream)
    return host


def call(operation: str, *arrays: np.ndarray, **attributes: Any) -> tuple[np.ndarray, ...]:
    """What the library makes of arrays; attributes come sorted by name, as generated code prints them."""
    given = [sent(array) for array in arrays]
    found = getattr(cuda_library, operation)(*given, *(attributes[name] for name in sorted(attributes)))
    for array, before in zip(given, arrays, strict=True):
        assert fetched(array).tobytes() == before.tobytes(), "an operand was changed"
    return tuple(map(fetched, found if isinstance(found, tuple) else (found,)))


def check(operation: str, *arrays: np.ndarray, exact: bool = False, **attributes: Any) -> None:
    """The shapes, dtypes and values of the table of calls; numbers are arrays of one element."""
    with np.errstate(all="ignore"):
        meaning = CALLS[operation].numpy(*arrays, **attributes)
    rtol = 0 if exact else RTOL[arrays[0].dtype.name]
    found = call(operation, *arrays, **attributes)
    for one, expected in zip(found, meaning, strict=True):
        assert one.shape == (expected.shape or (1,))
        assert one.dtype == expected.dtype
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=1) if rtol else 0
        np.testing.assert_allclose(one.reshape(expected.shape), expected, rtol=rtol, atol=rtol * largest)
