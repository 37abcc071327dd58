"""The machine code of entries: LLVM instructions that read Python's objects, call a kernel, and make its results."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.np.numpy_support import as_dtype

Value = Any  # of LLVM

_BYTE, _INT, _WORD = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_DOUBLE, _SINGLE = ir.DoubleType(), ir.FloatType()
_OBJECT = _BYTE.as_pointer()
_TUPLE: Any = types.BaseTuple

# Where things are in objects, in bytes from their start: NumPy and CPython do not change them within a version.
_TYPE, _DATA, _RANK, _SHAPE, _DTYPE, _FLAGS = 8, 16, 24, 32, 56, 64
_WANTED_FLAGS = 0x1 | 0x100  # C-contiguous and aligned
_NEW, _SCALAR = 94, 60  # PyArray_NewFromDescr and PyArray_Scalar in NumPy's table of functions

_COPIED = 1 << 13  # bytes of a result: a smaller one is copied to memory of NumPy's, which comes cheaper
_LONG = 256  # elements of all arguments: from here on other Python threads may run meanwhile
_NUMBERS = (
    "float64",
    "float32",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "bool",
)


@cache
def define_symbols() -> None:
    """Give what entries need of Python and NumPy, and Python does not export, a symbol."""
    capsule = import_module("numpy._core._multiarray_umath")._ARRAY_API
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(pointer(capsule, None), ctypes.POINTER(ctypes.c_void_p))
    addresses = {
        "array_type": id(np.ndarray),
        "float_type": id(float),
        "new_array": table[_NEW] or 0,
        "scalar": table[_SCALAR] or 0,
        **{f"dtype_{name}": id(np.dtype(name)) for name in _NUMBERS},
    }
    for name, address in addresses.items():
        llvmlite.binding.add_symbol(f"gradc_python_{name}", address)


# ``symbol(self, arguments, count, names)``: how Python calls a C function.
KIND = ir.FunctionType(_OBJECT, [_OBJECT, _OBJECT.as_pointer(), _WORD, _OBJECT])


def flat(kind: Any) -> list[Any]:
    """The types in nested tuples."""
    return [one for part in kind.types for one in flat(part)] if isinstance(kind, _TUPLE) else [kind]


def can_be_made(kind: Any) -> bool:
    """Whether there is a Python object for a result of this type."""
    return isinstance(kind, types.Array) or kind in (types.float64, types.float32)


class Entry:
    """The instructions of one function."""

    def __init__(self, builder: ir.IRBuilder, context: Any, result: Any) -> None:
        self.builder = builder
        self.context = context
        self.arguments, self.returned = result.signature.args, result.signature.return_type
        self.own, self.given, self.count, self.names = builder.function.args

    def c(self, name: str, returns: Any, *values: Value) -> Value:
        """Call a C function."""
        kind = ir.FunctionType(returns, [value.type for value in values])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), values)

    def symbol(self, name: str) -> Value:
        """An address that `define_symbols` has named."""
        module, name = self.builder.module, f"gradc_python_{name}"
        return module.globals.get(name) or ir.GlobalVariable(module, _BYTE, name)

    def at(self, object_: Value, offset: int, kind: Any) -> Value:
        """What stands some bytes from the start of an object."""
        place = self.builder.gep(object_, [_WORD(offset)])
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()))

    def words(self) -> Value:
        """The address of the words in what the function is a method of."""
        found = self.c("PyBytes_AsString", _OBJECT, self.c("PyTuple_GetItem", _OBJECT, self.own, _WORD(1)))
        return self.builder.bitcast(found, _WORD.as_pointer())

    def array(self, kind: Any, data: Value, shape: Sequence[Value]) -> tuple[Value, Value]:
        """An array as the kernel takes it, which nobody owns, and how many elements it has."""
        builder, native = self.builder, self.context.make_array(kind)(self.context, self.builder)
        item = _WORD(as_dtype(kind.dtype).itemsize)
        strides, count = [], _WORD(1)
        for extent in reversed(shape):
            strides.append(builder.mul(count, item))
            count = builder.mul(count, extent)
        native.data = builder.bitcast(data, native.data.type)
        native.nitems, native.itemsize = count, item
        native.shape = cgutils.pack_array(builder, shape)
        native.strides = cgutils.pack_array(builder, strides[::-1])
        native.meminfo, native.parent = ir.Constant(native.meminfo.type, None), ir.Constant(_OBJECT, None)
        return native._getvalue(), count

    def kernel(self, address: Value, arguments: Sequence[Value], elements: Value | None) -> tuple[Any, Value]:
        """Call the kernel; other threads may run meanwhile if there are many `elements`."""
        builder, context = self.builder, self.context
        kind = context.call_conv.get_function_type(self.returned, self.arguments)
        function = builder.inttoptr(address, kind.as_pointer())
        thread = cgutils.alloca_once_value(builder, ir.Constant(_OBJECT, None))
        many = builder.icmp_signed(">", elements, _WORD(_LONG)) if elements is not None else None
        if many is not None:
            with builder.if_then(many):
                builder.store(self.c("PyEval_SaveThread", _OBJECT), thread)
        status, found = context.call_conv.call_function(
            builder, function, self.returned, self.arguments, arguments
        )
        if many is not None:
            with builder.if_then(many):
                self.c("PyEval_RestoreThread", ir.VoidType(), builder.load(thread))
        return status, found

    def wide(self, number: Value) -> Value:
        """A number as a float64."""
        return number if number.type == _DOUBLE else self.builder.fpext(number, _DOUBLE)

    def parts(self, kind: Any, value: Value) -> list[tuple[Any, Value]]:
        """The leaves of nested tuples, with their types."""
        if not isinstance(kind, _TUPLE):
            return [(kind, value)]
        values = cgutils.unpack_tuple(self.builder, value)
        return [part for pair in zip(kind.types, values, strict=True) for part in self.parts(*pair)]


class Call(Entry):
    """The function that looks at its arguments and makes new results."""

    def __init__(
        self, builder: ir.IRBuilder, context: Any, result: Any, tree: Any, numbers: Sequence[int]
    ) -> None:
        super().__init__(builder, context, result)
        self.tree, self.numbers = tree, numbers
        self.slow = builder.append_basic_block("slow")

    def emit(self) -> None:
        """Emit everything."""
        builder = self.builder
        here = builder.icmp_signed("==", self.count, _WORD(len(self.arguments)))
        self.require(builder.and_(here, cgutils.is_null(builder, self.names)))
        values, elements = [], None
        for at, kind in enumerate(self.arguments):
            object_ = builder.load(builder.gep(self.given, [_WORD(at)]))
            if isinstance(kind, types.Array):
                value, count = self.read_array(object_, kind)
                elements = count if elements is None else builder.add(elements, count)
            else:
                self.require_type(object_, "float_type")
                value = self.c("PyFloat_AsDouble", _DOUBLE, object_)
            values.append(value)
        status, found = self.kernel(builder.load(self.words()), values, elements)
        self.require(status.is_ok)
        builder.ret(self.results(found))
        builder.position_at_end(self.slow)
        fallback = self.c("PyTuple_GetItem", _OBJECT, self.own, _WORD(0))
        builder.ret(self.c("PyObject_Vectorcall", _OBJECT, fallback, self.given, self.count, self.names))

    def require(self, condition: Value) -> None:
        """Leave the call to the fallback unless the condition holds."""
        going = self.builder.append_basic_block("going")
        self.builder.cbranch(condition, going, self.slow)
        self.builder.position_at_end(going)

    def require_type(self, object_: Value, name: str) -> None:
        """Leave the call to the fallback unless the object is of just this type."""
        found = self.at(object_, _TYPE, _OBJECT)
        self.require(self.builder.icmp_unsigned("==", found, self.symbol(name)))

    def read_array(self, object_: Value, kind: Any) -> tuple[Value, Value]:
        """An argument that is an array as the kernel takes it, and how many elements it has."""
        builder = self.builder
        self.require_type(object_, "array_type")
        wanted = _INT(_WANTED_FLAGS)
        rank = builder.icmp_signed("==", self.at(object_, _RANK, _INT), _INT(kind.ndim))
        dtype = self.symbol(f"dtype_{_name(kind.dtype)}")
        same = builder.icmp_unsigned("==", self.at(object_, _DTYPE, _OBJECT), dtype)
        flags = builder.icmp_signed("==", builder.and_(self.at(object_, _FLAGS, _INT), wanted), wanted)
        self.require(builder.and_(rank, builder.and_(same, flags)))
        places = self.at(object_, _SHAPE, _WORD.as_pointer())
        shape = [builder.load(builder.gep(places, [_WORD(axis)])) for axis in range(kind.ndim)]
        for extent in shape:  # an extent of 1 may be stretched, which is another program
            self.require(builder.icmp_signed("!=", extent, _WORD(1)))
        return self.array(kind, self.at(object_, _DATA, _OBJECT), shape)

    # --- results --------------------------------------------------------------------------------------

    def results(self, found: Value) -> Value:
        """The Python objects of all results, in the tuples that the caller expects."""
        made = [
            self.number(kind, value) if at in self.numbers else self.made(kind, value)
            for at, (kind, value) in enumerate(self.parts(self.returned, found))
        ]
        failed = ir.IntType(1)(0)
        for object_ in made:
            failed = self.builder.or_(failed, cgutils.is_null(self.builder, object_))
        with self.builder.if_then(failed, likely=False):
            for object_ in made:
                self.c("Py_DecRef", ir.VoidType(), object_)
            self.builder.ret(ir.Constant(_OBJECT, None))
        return self.contained(self.tree, made)

    def contained(self, tree: Any, made: Sequence[Value]) -> Value:
        """An object by its number, or a tuple of such."""
        return (
            made[tree] if isinstance(tree, int) else self.tuple([self.contained(part, made) for part in tree])
        )

    def tuple(self, objects: Sequence[Value]) -> Value:
        """A tuple that owns the objects."""
        made = self.c("PyTuple_New", _OBJECT, _WORD(len(objects)))
        with self.builder.if_then(cgutils.is_null(self.builder, made), likely=False):
            for object_ in objects:
                self.c("Py_DecRef", ir.VoidType(), object_)
            self.builder.ret(ir.Constant(_OBJECT, None))
        for at, object_ in enumerate(objects):
            self.c("PyTuple_SetItem", _INT, made, _WORD(at), object_)
        return made

    def number(self, kind: Any, value: Value) -> Value:
        """A scalar of NumPy's."""
        place = self.builder.bitcast(cgutils.alloca_once_value(self.builder, value), _OBJECT)
        dtype = self.symbol(f"dtype_{_name(kind)}")
        return self.c("gradc_python_scalar", _OBJECT, place, dtype, ir.Constant(_OBJECT, None))

    def made(self, kind: Any, value: Value) -> Value:
        """An array, or a float."""
        if isinstance(kind, types.Array):
            return self.made_array(kind, value)
        return self.c("PyFloat_FromDouble", _OBJECT, self.wide(value))

    def made_array(self, kind: Any, value: Value) -> Value:
        """A NumPy array of the elements of the kernel's, or one that holds on to its memory."""
        builder, context = self.builder, self.context
        array = context.make_array(kind)(context, builder, value=value)
        dtype, owner = self.symbol(f"dtype_{_name(kind.dtype)}"), self.symbol("array_type")
        nothing, size = ir.Constant(_OBJECT, None), builder.mul(array.nitems, array.itemsize)
        made = cgutils.alloca_once_value(builder, nothing)
        small = builder.icmp_signed("<", size, _WORD(_COPIED))
        with builder.if_else(small) as (copied, kept):
            with copied:
                self.c("Py_IncRef", ir.VoidType(), dtype)  # what makes the array takes it over
                shape = builder.bitcast(cgutils.alloca_once_value(builder, array.shape), _OBJECT)
                given = (owner, dtype, _INT(kind.ndim), shape, nothing, nothing, _INT(0), nothing)
                new = self.c("gradc_python_new_array", _OBJECT, *given)
                with builder.if_then(cgutils.is_not_null(builder, new), likely=True):
                    target = self.at(new, _DATA, _OBJECT)
                    cgutils.raw_memcpy(builder, target, builder.bitcast(array.data, _OBJECT), size, 1)
                builder.store(new, made)
            with kept:
                place = builder.bitcast(cgutils.alloca_once_value(builder, value), _OBJECT)
                given = (place, owner, _INT(kind.ndim), _INT(1), dtype)
                builder.store(self.c("NRT_adapt_ndarray_to_python_acqref", _OBJECT, *given), made)
        context.nrt.decref(builder, kind, value)
        return builder.load(made)


class Bound(Entry):
    """The function that reads its arguments from words, and stores numbers, of these dtypes, where words say."""

    def __init__(self, builder: ir.IRBuilder, context: Any, result: Any, dtypes: Sequence[str]) -> None:
        super().__init__(builder, context, result)
        self.dtypes = dtypes

    def emit(self) -> None:
        """Emit everything."""
        builder = self.builder
        self.place, self.at_word = self.words(), 0
        address = self.word()
        values, elements = [], None
        for kind in self.arguments:
            value, count = self.read(kind)
            values.append(value)
            if count is not None:
                elements = count if elements is None else builder.add(elements, count)
        status, found = self.kernel(address, values, elements)
        with builder.if_then(status.is_error, likely=False):
            python = self.context.get_python_api(builder)
            self.context.call_conv.raise_error(builder, python, status)
            builder.ret(ir.Constant(_OBJECT, None))
        value, *numbers = [self.wide(part) for _, part in self.parts(self.returned, found)]
        for number, dtype in zip(numbers, self.dtypes, strict=True):
            stored = number if dtype == "float64" else builder.fptrunc(number, _SINGLE)
            builder.store(stored, builder.inttoptr(self.word(), stored.type.as_pointer()))
        builder.ret(self.c("PyFloat_FromDouble", _OBJECT, value))

    def word(self) -> Value:
        """The next word."""
        self.at_word += 1
        return self.builder.load(self.builder.gep(self.place, [_WORD(self.at_word - 1)]))

    def read(self, kind: Any) -> tuple[Value, Value | None]:
        """An argument, and how many elements it has if it is an array."""
        word = self.word()
        if isinstance(kind, types.Array):
            shape = [self.word() for _ in range(kind.ndim)]
            return self.array(kind, self.builder.inttoptr(word, _OBJECT), shape)
        native = self.context.get_value_type(kind)
        if kind == types.boolean:
            return self.builder.icmp_signed("!=", word, _WORD(0)), None
        if isinstance(kind, types.Float):
            number = self.builder.bitcast(word, _DOUBLE)
            return (number if native == _DOUBLE else self.builder.fptrunc(number, native)), None
        return (word if native == _WORD else self.builder.trunc(word, native)), None


def _name(kind: Any) -> str:
    """The name of a NumPy dtype."""
    return "bool" if isinstance(kind, types.Boolean) else kind.name
