"""The library operations that generated modules call on a CUDA device; they mean what the CPU's mean.

Arrays are C-contiguous and lie on the device, and so do results, which are new ones; a result that is a number
is an array of one element.  Operations in `ON_HOST` wait for the device and run on the processor, on copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc_runtime import cuda_driver
from gradc_runtime.cuda_driver import DeviceArray
from gradc_runtime.cuda_families import copied, flat, result, viewed
from gradc_runtime.cuda_linalg import cholesky as cholesky
from gradc_runtime.cuda_linalg import cofactor as cofactor
from gradc_runtime.cuda_linalg import det as det
from gradc_runtime.cuda_linalg import inv as inv
from gradc_runtime.cuda_linalg import slogdet as slogdet
from gradc_runtime.cuda_linalg import solve as solve
from gradc_runtime.cuda_linalg import solve_triangular as solve_triangular
from gradc_runtime.cuda_memory import this_call
from gradc_runtime.cuda_scan import affine_scan as affine_scan
from gradc_runtime.cuda_sorting import arg_extreme as arg_extreme
from gradc_runtime.cuda_sorting import argsort as argsort
from gradc_runtime.external import external as on_processor

Array = Any

ON_HOST = ("external",)


def reshape(x: Any, shape: tuple[int, ...], *, view: bool = False) -> Array:
    """Return the same elements in C order.

    With `view`, in the memory of `x`: not for what the caller gets, which would change with an argument or with
    the next call, to which the memory of temporaries goes.  Without it, in new memory where results stay on the
    device.

    `x` is an array, or a number of NumPy's or Python's.
    """
    if not isinstance(x, DeviceArray):
        return _sent(np.asarray(x), shape)
    if view or not this_call().stay:
        return viewed(x, shape or (1,))
    out = result(shape, x.dtype)
    copied.each(x.size, flat(x), flat(out))
    return out


def external(*arguments: Any) -> Any:
    """Call a registered function on the processor, on copies of arrays; see `gradc_runtime.external`.

    It waits for the device.  Arrays without axes and numbers are numbers to the function.
    """
    given = [_fetched(argument) if isinstance(argument, DeviceArray) else argument for argument in arguments]
    found = on_processor(*given)
    if isinstance(found, tuple):
        return tuple(_sent(np.asarray(one), np.shape(one)) for one in found)
    return _sent(np.asarray(found), np.shape(found))


def _fetched(x: Array) -> Any:
    host, stream = np.empty(tuple(x.shape), x.dtype), this_call().stream
    cuda_driver.copy_to_host(x, host, stream)
    cuda_driver.wait(stream)
    return host[()]


def _sent(host: np.ndarray, shape: tuple[int, ...]) -> Array:
    out = result(shape, host.dtype)
    cuda_driver.copy_to_device(np.ascontiguousarray(host).reshape(tuple(out.shape)), out, this_call().stream)
    return out
