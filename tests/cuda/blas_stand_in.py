"""The binding of cuBLAS without cuBLAS: BLAS's matrix product from its definition, on memory of the processor.

It takes what the binding takes, addresses and all, and refuses what BLAS refuses.
"""

from __future__ import annotations

import ctypes
import enum
import sys
from typing import Any

import numpy as np
import pytest

from gradc_runtime import cuda_blas


class Operation(enum.IntEnum):
    N = 0
    T = 1


class PointerMode(enum.IntEnum):
    HOST = 0
    DEVICE = 1


class Math(enum.IntEnum):
    DEFAULT_MATH = 0
    TF32_TENSOR_OP_MATH = 3


class AtomicsMode(enum.IntEnum):
    NOT_ALLOWED = 0
    ALLOWED = 1


class Failure(Exception):
    """What the library reports."""


class StandIn:
    """The module, with what was called; `failure` is raised by the next product, or by the next handle."""

    Operation, PointerMode, Math, AtomicsMode = Operation, PointerMode, Math, AtomicsMode
    cuBLASError = Failure  # noqa: N815 (the binding's name)

    def __init__(self) -> None:
        self.handles: dict[int, dict[str, int]] = {}
        self.destroyed: list[int] = []
        self.calls: list[str] = []
        self.streams: list[tuple[int, int]] = []
        self.failure: Exception | None = None
        self.no_handle: list[Exception] = []

    def create(self) -> int:
        if self.no_handle:
            raise self.no_handle.pop()
        handle = 1000 + len(self.handles)
        self.handles[handle] = {}
        return handle

    def destroy(self, handle: int) -> None:
        self.destroyed.append(handle)

    def set_pointer_mode(self, handle: int, mode: int) -> None:
        self.handles[handle]["pointers"] = mode

    def set_math_mode(self, handle: int, mode: int) -> None:
        self.handles[handle]["math"] = mode

    def set_atomics_mode(self, handle: int, mode: int) -> None:
        self.handles[handle]["atomics"] = mode

    def set_stream(self, handle: int, stream: int) -> None:
        self.streams.append((handle, stream))

    def sgemm_64(self, *given: Any) -> None:
        self._plain("sgemm", np.float32, *given)

    def dgemm_64(self, *given: Any) -> None:
        self._plain("dgemm", np.float64, *given)

    def sgemm_strided_batched_64(self, *given: Any) -> None:
        self._batch("sgemm_strided_batched", np.float32, *given)

    def dgemm_strided_batched_64(self, *given: Any) -> None:
        self._batch("dgemm_strided_batched", np.float64, *given)

    def _plain(self, name: str, kind: Any, handle: int, *given: Any) -> None:
        self._started(name, handle)
        _gemm(kind, *given)

    def _batch(self, name: str, kind: Any, handle: int, *given: Any) -> None:
        self._started(name, handle)
        *sizes, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc, stride_c, many = given
        for at in range(many):
            x, y, z = (
                place + at * stride * np.dtype(kind).itemsize
                for place, stride in ((a, stride_a), (b, stride_b), (c, stride_c))
            )
            _gemm(kind, *sizes, alpha, x, lda, y, ldb, beta, z, ldc)

    def _started(self, name: str, handle: int) -> None:
        assert self.handles[handle] == {"pointers": PointerMode.HOST, "math": 0, "atomics": 0}
        assert handle not in self.destroyed
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        self.calls.append(name)


def _gemm(kind: Any, *given: Any) -> None:
    """``C = alpha op(A) op(B) + beta C`` of matrices by columns: C of m x n, op(A) of m x k, op(B) of k x n."""
    turn_a, turn_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc = given
    assert all(type(value) is int for value in given)
    rows_a, rows_b = (k if turn_a else m), (n if turn_b else k)
    if min(m, n, k) < 0 or lda < max(1, rows_a) or ldb < max(1, rows_b) or ldc < max(1, m):
        raise Failure("CUBLAS_STATUS_INVALID_VALUE (7)")
    first = _columns(kind, a, rows_a, m if turn_a else k, lda)
    second = _columns(kind, b, rows_b, k if turn_b else n, ldb)
    result = _columns(kind, c, m, n, ldc)
    scale, keep = (_columns(kind, number, 1, 1, 1)[0, 0] for number in (alpha, beta))
    made = scale * ((first.T if turn_a else first) @ (second.T if turn_b else second))
    result[...] = made if keep == 0 else made + keep * result  # what is not kept is not read


def _columns(kind: Any, address: int, rows: int, columns: int, leading: int) -> np.ndarray:
    """The matrix at an address, of which a column begins `leading` elements behind the one before it."""
    item = np.dtype(kind).itemsize
    size = leading * (columns - 1) + rows if rows and columns else 0
    memory: Any = (ctypes.c_char * (size * item)).from_address(address)
    return np.lib.stride_tricks.as_strided(
        np.frombuffer(memory, kind), (rows, columns), (item, leading * item)
    )


def installed(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Put it in the place of the library, with no handle yet."""
    found = StandIn()
    monkeypatch.setattr(cuda_blas, "_library", lambda: found)
    monkeypatch.setattr(cuda_blas, "_idle", [])
    return found


def removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a device, as far as it is asked for, and no binding."""
    monkeypatch.setattr(cuda_blas, "SIMULATED", False)
    monkeypatch.setattr(cuda_blas, "_address", id)
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublas", None)
