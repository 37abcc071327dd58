"""Calling BLAS and LAPACK from compiled code, without Numba's own wrappers and their seconds of compilation.

SciPy's compiled routines enter as named symbols of the linker, not as addresses in the code, so a kernel that
uses them can be kept in Numba's cache; importing this module defines the symbols.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import alloca_once_value, get_or_insert_function
from numba.extending import get_cython_function_address, intrinsic
from numba.np.arrayobj import populate_array

LARGEST = 2**31 - 1
NO, YES, RIGHT, UPPER, LOWER, ALL = (np.uint8(ord(letter)) for letter in "NTRULA")

_VOID, _INT32, _INT64 = ir.VoidType(), ir.IntType(32), ir.IntType(64)


def routine(library: str, name: str) -> Any:
    """Return an intrinsic that calls SciPy's ``<library>.<name>`` with a tuple of arguments.

    An array goes as the address of its first element, ``(array, offset)`` as that of another element,
    `numpy.uint8` as a letter, other integers as 32 bits: ValueError if one does not fit.  For
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
    if isinstance(kind, types.Tuple | types.UniTuple):
        start = _address(context, builder, kind.types[0], builder.extract_value(value, 0))
        return builder.gep(start, [builder.extract_value(value, 1)])
    if kind in (types.int64, types.uint64):
        with builder.if_then(builder.icmp_signed(">", value, ir.Constant(_INT64, LARGEST)), likely=False):
            message = "an axis is too long for BLAS and LAPACK"
            context.call_conv.return_user_exc(builder, ValueError, (message,))
        value = builder.trunc(value, _INT32)
    return alloca_once_value(builder, value)


def by_dtype(library: str, name: str) -> dict[Any, Any]:
    """Return a routine in single and double precision, by Numba's dtype."""
    return {types.float32: routine(library, f"s{name}"), types.float64: routine(library, f"d{name}")}


def _flat(typing_context: Any, array: Any) -> Any:
    """View a C-contiguous array as one with a single axis; compiles faster than ``array.reshape(-1)``."""
    result = types.Array(array.dtype, 1, "C", readonly=not array.mutable)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        source = context.make_array(array)(context, builder, arguments[0])
        view = context.make_array(result)(context, builder)
        shape, strides = [source.nitems], [source.itemsize]
        populate_array(view, source.data, shape, strides, source.itemsize, source.meminfo, source.parent)
        value = view._getvalue()
        context.nrt.incref(builder, result, value)
        return value

    return result(array), generate


flat: Any = intrinsic(_flat)  # the first parameter is not for callers
