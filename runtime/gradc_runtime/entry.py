"""C functions that Python calls: they read the arguments, run a kernel's machine code, and make the results.

Numba's dispatcher finds out the types of the arguments of every call, and goes by their types through a table of
signatures.  A kernel has one signature, so that a function for just that one only has to look whether the arguments
are of it: a call costs a tenth of a microsecond.  Any other call is passed on to the function's fallback as it is.

    call(arguments...)   C-contiguous arrays of the kernel's dtypes and Python floats in, results out
    bound()              arguments at fixed addresses in, a number out, the kernel's other numbers to fixed addresses
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
import sys
import sysconfig
from collections.abc import Callable, Sequence
from functools import cache
from types import MethodType
from typing import Any

import numpy as np
from numba.core import types

from gradc_runtime import entry_code
from gradc_runtime.linking import address_of
from gradc_runtime.machine_code import provide_emitted
from gradc_runtime.numba_backend import compiling

Array = Any

_FASTCALL, _NOARGS = 0x80 | 0x2, 0x4  # calling conventions: METH_FASTCALL | METH_KEYWORDS, and METH_NOARGS


@cache
def available() -> bool:
    """Whether this Python lays objects out as compiled code expects it: CPython with its lock, on 64 bits."""
    usual = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
    return usual and struct.calcsize("P") == 8 and object.__basicsize__ == 16 and sys.byteorder == "little"


# --- functions of Python ------------------------------------------------------------------------------------


class _Definition(ctypes.Structure):
    """CPython's ``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    )


class _Self(tuple[Any, ...]):
    """What a function of ours is a method of: its fallback, its words, and all that must live as long as it does."""

    __slots__ = ()

    @property
    def owner(self) -> Any:
        """What the fallback is a method of; its own fallback may be machine code too."""
        owner = getattr(self[0], "__self__", None)
        return owner.owner if isinstance(owner, _Self) else owner

    @property
    def gradc_method(self) -> Any:
        """The method that the function stands for."""
        return MethodType(getattr(type(self.owner), self[-1].name.decode()), self.owner)

    def __reduce__(self) -> Any:
        """A function is pickled as an attribute of this: the owner has one of the same name."""
        if self.owner is None:
            raise TypeError("a bound call holds addresses of this process: bind again where it is needed")
        return _itself, (self.owner,)


def _itself(owner: Any) -> Any:
    return owner


def call(
    dispatcher: Any,
    fallback: Callable[..., Any],
    name: str,
    documentation: str,
    tree: Any,
    numbers: tuple[int, ...],
) -> Any:
    """A function that calls a kernel's machine code, and `fallback` with arguments that are not the kernel's.

    Parameters
    ----------
    dispatcher
        The compiled kernel, with its one signature.
    fallback : callable
        What serves all other calls: arguments of other types, array extents of 1, shapes that the kernel refuses.
    name, documentation : str
        What Python shows of the function; the name is that of the method it stands for.
    tree : int or tuple
        What is returned: a result of the kernel by its number, or a tuple of such.  All are in it, in their order.
    numbers : tuple of int
        The results that become numbers of NumPy's; the others are arrays or floats.

    Returns
    -------
    builtin_function_or_method or None
        None where the kernel has arguments or results of other kinds, or Python lays objects out in another way.
    """
    (result,) = dispatcher.overloads.values()
    arguments, returned = result.signature.args, result.signature.return_type
    known = all(isinstance(kind, types.Array) or kind == types.float64 for kind in arguments)
    if not available() or not known or not all(map(entry_code.can_be_made, entry_code.flat(returned))):
        return None
    described = repr(("call", arguments, returned, tree, numbers))
    address = _address(
        described, lambda builder, context: entry_code.Call(builder, context, result, tree, numbers).emit()
    )
    words = struct.pack("<q", _machine_code(result))
    return _function(address, name, _FASTCALL, documentation, (fallback, words, dispatcher))


def bound(dispatcher: Any, arguments: Sequence[Array], numbers: Sequence[Array]) -> Any:
    """A function without arguments: the kernel's first result for `arguments`, the others stored in `numbers`.

    `numbers` are floating-point arrays without axes.  All arrays must live and stay where they are for as long as the
    function does; it does not hold them.
    """
    (result,) = dispatcher.overloads.values()
    dtypes = [number.dtype.name for number in numbers]
    described = repr(("bound", result.signature.args, result.signature.return_type, dtypes))
    address = _address(
        described, lambda builder, context: entry_code.Bound(builder, context, result, dtypes).emit()
    )
    words = [_machine_code(result)]
    for value in (*arguments, *numbers):
        array = np.asarray(value)
        if isinstance(value, np.ndarray):
            words += [value.ctypes.data, *value.shape]
        elif array.dtype.kind == "f":
            words.append(int(np.float64(value).view(np.int64)))
        else:
            words.append(int(value))
    return _function(address, "step", _NOARGS, "", (None, struct.pack(f"<{len(words)}q", *words), dispatcher))


def _machine_code(result: Any) -> int:
    return result.library.get_pointer_to_function(result.fndesc.llvm_func_name)


def _function(address: int, name: str, flags: int, documentation: str, own: tuple[Any, ...]) -> Any:
    text = f"{name}(*args, **kwargs)\n--\n\n{documentation}"
    definition = _Definition(name.encode(), address, flags, text.encode())
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    return make(ctypes.addressof(definition), _Self((*own, definition)), None)


def _address(described: str, emit: Callable[[Any, Any], None]) -> int:
    """The address of the function for a signature, which many kernels share; compiled if it is not kept."""
    symbol = f"gradc_entry_{hashlib.sha256(described.encode()).hexdigest()[:32]}"
    with compiling:
        entry_code.define_symbols()
        provide_emitted(symbol, entry_code.KIND, emit)
        return address_of(symbol)
