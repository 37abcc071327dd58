"""Kernels with their arguments bound: one integer goes in, a number comes out.

A table of 64-bit words holds the addresses and extents of the arrays and the bits of the scalars, arguments first, then
the arrays that receive the gradients.  What a call costs in Python does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

from gradc_runtime import machine_code
from gradc_runtime.numba_backend import Loaded, compiling
from gradc_runtime.simd import copy_bytes, element_access

Array = Any
_numba: Any = numba  # what Numba exports is more than its types say


def table_of(arguments: Sequence[Array], outputs: Sequence[Array]) -> np.ndarray:
    """The words of a call; whoever holds the table must hold the arrays too."""
    words: list[Any] = []
    for value in (*arguments, *outputs):
        array = np.asarray(value)
        if isinstance(value, np.ndarray):
            words += [value.ctypes.data, *value.shape]
        elif array.dtype.kind == "f":
            words.append(np.float64(value).view(np.int64))
        else:
            words.append(int(value))
    return np.array(words, np.int64)


def compile_prebound(loaded: Loaded, dispatcher: Any, count: int) -> Any:
    """The function of the address of a table, for a kernel of one value and `count` gradients."""
    (result,) = dispatcher.overloads.values()
    source = _source(loaded.artifact.name, result.signature.args, result.signature.return_type, count)
    load, _ = element_access(0)
    number, store = element_access(64)
    namespace: dict[str, Any] = {
        "__name__": f"gradc_prebound_{loaded.artifact.key[:16]}",
        "carray": _numba.carray,
        "copy_bytes": copy_bytes,
        "kernel": dispatcher,
        "np": np,
        "number": number,
        "pointer": _pointer,
        "store": store,
        "word": load,
    }
    exec(compile(source, f"<gradc prebound {loaded.artifact.name}>", "exec"), namespace)
    key = machine_code.key_of("prebound", loaded.artifact.key, str(count))
    with compiling:
        bound: Any = numba.njit(error_model="numpy", nogil=True)(namespace["prebound"])
        if not machine_code.kept_kernel(key, bound, (types.intp,)):
            bound.compile((types.intp,))
            if not loaded.calls_out:
                machine_code.keep_kernel(key, f"{loaded.artifact.name} (bound)", bound)
        bound.disable_compile()
    return bound


@intrinsic
def _pointer_intrinsic(typing: Any, address: Any) -> Any:
    """An address as a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(types.intp), generate


_pointer: Any = _pointer_intrinsic


class _Words:
    """Texts that read the table, word by word."""

    def __init__(self) -> None:
        self.at = 0

    def next(self, read: str = "word") -> str:
        self.at += 8
        return f"{read}(table + {self.at - 8})"


def _source(name: str, arguments: Sequence[Any], returned: Any, count: int) -> str:
    """The text of the function: arguments from the table, the call, gradients to their places."""
    words = _Words()
    lines = ["def prebound(table):", f'    """{name} with its arguments in a table."""']
    given = []
    for at, kind in enumerate(arguments):
        lines.append(f"    a{at} = {_read(kind, words)}")
        given.append(f"a{at}")
    gradients = list(returned.types)[1:]
    if count > 1:
        (gradients,) = [list(part.types) for part in gradients]
    names = [f"g{at}" for at in range(count)]
    targets = f"({', '.join(names)},)" if count > 1 else names[0]
    lines.append(f"    value, {targets} = kernel({', '.join(given)})")
    for gradient, kind in zip(names, gradients, strict=True):
        place = words.next()
        if isinstance(kind, types.Array):
            shape = [words.next() for _ in range(kind.ndim)]
            fits = " or ".join(f"{gradient}.shape[{axis}] != {size}" for axis, size in enumerate(shape))
            lines += [
                f"    if {fits}:",
                "        raise ValueError('an output has not the shape of the gradient')",
                f"    copy_bytes({place}, {gradient}.ctypes.data, {gradient}.size * {gradient}.itemsize)",
            ]
        else:
            lines.append(f"    store({place}, np.float64({gradient}))")
    # The last use of the gradients: Numba frees an array after it, whatever holds its address.
    sizes = [f"{g}.size" for g, kind in zip(names, gradients, strict=True) if isinstance(kind, types.Array)]
    lines.append(f"    return value + 0 * ({' + '.join(sizes)})" if sizes else "    return value")
    return "\n".join(lines) + "\n"


def _read(kind: Any, words: _Words) -> str:
    if isinstance(kind, types.Array):
        address = words.next()
        shape = ", ".join(words.next() for _ in range(kind.ndim))
        return f"carray(pointer({address}), ({shape},), np.{_numpy_name(kind.dtype)})"
    if isinstance(kind, types.Float):
        return f"np.{kind.name}({words.next('number')})"
    if isinstance(kind, types.Boolean):
        return f"{words.next()} != 0"
    return f"np.{kind.name}({words.next()})"


def _numpy_name(kind: Any) -> str:
    return "bool_" if isinstance(kind, types.Boolean) else kind.name
