"""Data types and their promotion.  No shapes here: shapes need extents, and this module must stay tiny."""

from __future__ import annotations

from enum import Enum

import numpy as np

from gradc.errors import DTypeError


class DType(Enum):
    """A scalar type that a tensor can have; the value is the NumPy name."""

    BOOL = "bool"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    F32 = "float32"
    F64 = "float64"

    # The two questions asked of every equation are answered by attributes, not by set membership.
    is_float: bool
    is_bool: bool
    short: str
    numpy: np.dtype

    def __repr__(self) -> str:
        return self.short


for _dtype in DType:
    _dtype.numpy = np.dtype(_dtype.value)
    _dtype.is_float = _dtype.value.startswith("float")
    _dtype.is_bool = _dtype is DType.BOOL
    _dtype.short = _dtype.value.replace("float", "f").replace("uint", "u").replace("int", "i")

FROM_NUMPY: dict[np.dtype, DType] = {dtype.numpy: dtype for dtype in DType}

_REFUSED = {
    "float16": "float16 is refused for now; use .astype(np.float32)",
    "longdouble": "longdouble is refused; use .astype(np.float64)",
    "float128": "longdouble is refused; use .astype(np.float64)",
    "complex64": "complex numbers are refused for now; split into real and imaginary parts",
    "complex128": "complex numbers are refused for now; split into real and imaginary parts",
    "object": "object arrays are refused; convert to a float array first",
}


def dtype_of(dtype: object, *, where: str = "") -> DType:
    """The `DType` of a NumPy dtype, or an error that says what to use instead."""
    resolved = np.dtype(dtype)  # pyright: ignore[reportArgumentType, reportCallIssue]
    found = FROM_NUMPY.get(resolved)
    if found is not None:
        return found
    if resolved.newbyteorder("=") in FROM_NUMPY:
        raise DTypeError(
            f"a big-endian array ({resolved.str}) is refused",
            where=where,
            do="x.astype(x.dtype.newbyteorder('='))",
        )
    raise DTypeError(
        f"dtype {resolved} is not supported",
        where=where,
        do=_REFUSED.get(resolved.name, "use float64 or float32"),
    )


def promote(first: DType, second: DType) -> DType:
    """NumPy's promotion of two array dtypes."""
    if first is second:
        return first
    return FROM_NUMPY[np.promote_types(first.numpy, second.numpy)]


def promote_weak(dtype: DType, scalar: type) -> DType:
    """The dtype of an operation between an array and a Python scalar (NEP 50: Python scalars are weak)."""
    if scalar is bool or dtype.is_float:
        return dtype
    if scalar is float:
        return DType.F64
    return DType.INT64 if dtype.is_bool else dtype


def float_result(dtype: DType) -> DType:
    """The dtype in which NumPy computes a floating-point function of such an array.

    Small integers would give float16 in NumPy; gradc has no float16 and computes them in float32.
    """
    if dtype.is_float:
        return dtype
    small = dtype in (DType.BOOL, DType.INT8, DType.UINT8, DType.INT16, DType.UINT16)
    return DType.F32 if small else DType.F64
