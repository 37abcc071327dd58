"""What a machine offers for CUDA, told without failing where it offers nothing."""

from __future__ import annotations

import importlib

from gradc_runtime.cuda_errors import CudaError


def describe() -> list[tuple[str, str]]:
    """What there is for kernels on CUDA devices, or what is missing and how to get it."""
    try:
        backend = importlib.import_module("gradc_runtime.cuda_backend")
        devices = importlib.import_module("gradc_runtime.cuda_driver")
    except CudaError as error:
        return [("CUDA", _line(error))]
    rows = [("CUDA", f"numba-cuda {backend.installed()}")]
    if backend.SIMULATED:
        return [*rows, ("CUDA simulator", "on: kernels are Python; for devices unset NUMBA_ENABLE_CUDASIM")]
    try:
        rows.append(("CUDA driver", f"for CUDA {devices.driver_version()}"))
        rows += [(f"CUDA device {number}", devices.device_row(number)) for number in range(devices.count())]
    except CudaError as error:
        rows.append(("CUDA driver", _line(error)))
    return rows


def _line(error: CudaError) -> str:
    """An error on one line."""
    return f"{error.what} ({error.why}): {error.do}" if error.why else f"{error.what}: {error.do}"
