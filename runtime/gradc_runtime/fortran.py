"""Calling BLAS and LAPACK from compiled code, without Numba's own wrappers and their seconds of compilation.

SciPy's compiled routines enter as named symbols of the linker, so a kernel that uses them can be kept in Numba's
cache; importing this module defines the symbols.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import alloca_once_value, get_or_insert_function
from numba.extending import get_cython_function_address, intrinsic

LARGEST = 2**31 - 1  # integers of these routines have 32 bits
NO, YES, LEFT, RIGHT, UPPER, LOWER, ALL = (np.uint8(ord(letter)) for letter in "NTLRULA")

_VOID, _INT32 = ir.VoidType(), ir.IntType(32)


def routine(library: str, name: str) -> Any:
    """An intrinsic that calls SciPy's ``<library>.<name>`` with a tuple of arguments.

    Arrays go as the address of their first element, `numpy.uint8` as a letter, other integers as 32 bits.  For
    ``cython_lapack`` the last argument, ``info``, is left out and returned.
    """
    symbol = f"gradc_{name}"
    address = get_cython_function_address(f"scipy.linalg.{library}", name)
    llvmlite.binding.add_symbol(symbol, address)
    with_info = library == "cython_lapack"

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        addresses = [
            _address(context, builder, kind, builder.extract_value(arguments[0], position))
            for position, kind in enumerate(signature.args[0].types)
        ]
        info = alloca_once_value(builder, ir.Constant(_INT32, 0))
        if with_info:
            addresses.append(info)
        function_type = ir.FunctionType(_VOID, [address.type for address in addresses])
        builder.call(get_or_insert_function(builder.module, function_type, symbol), addresses)
        return builder.load(info)

    def call(typing_context: Any, arguments: Any) -> Any:
        """Call the routine."""
        return types.int32(arguments), generate

    return intrinsic(call)


def _address(context: Any, builder: ir.IRBuilder, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.Array):
        return context.make_array(kind)(context, builder, value).data
    if isinstance(kind, types.Integer) and kind.bitwidth != 8:
        value = builder.trunc(value, _INT32) if kind.bitwidth > 32 else value
    return alloca_once_value(builder, value)


def by_dtype(library: str, name: str) -> dict[Any, Any]:
    """A routine in single and double precision, by Numba's dtype."""
    return {types.float32: routine(library, f"s{name}"), types.float64: routine(library, f"d{name}")}
