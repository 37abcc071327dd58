"""`gradc.random`: numbers that are functions of a key and of an element's place, extents symbolic or not."""

from __future__ import annotations

import numpy as np

from gradc import random
from gradc.errors import ShapeError
from gradc.ir.extents import Polynomial, Size
from gradc.ir.types import DType
from gradc.lang.emit import Arg, Emitter, SizeValue, Value
from gradc.lang.operations import lift
from gradc.lang.operations.lift import ArrayLike, SizeLike, Table


def _key(key: object) -> Arg:
    """Return a key, or a number folded into one, as an operand."""
    if isinstance(key, SizeValue | Polynomial):
        return key if isinstance(key, SizeValue) else SizeValue(key)
    if not isinstance(key, Value):
        return random.checked_key(key)
    if key.shape:
        raise ShapeError("a key is one integer, not an array", do="draw for each, or use gradc.vmap")
    if key.dtype.is_float or key.dtype.is_bool:
        raise random.refused_key(key.dtype.value)
    return key


def _uniform(emit: Emitter, key: object, shape: tuple[Size, ...], dtype: DType) -> Value:
    bits = random.BITS[dtype]
    drawn = emit.cast(emit.random_bits(_key(key), bits, shape), dtype)
    return emit.elementwise("mul", drawn, 2.0**-bits)


def uniform(
    emit: Emitter, key: object, shape: SizeLike | tuple[SizeLike, ...] = (), dtype: object = np.float64
) -> Value:
    """`gradc.random.uniform`."""
    return _uniform(emit, key, lift.shape(shape), random.float_dtype(dtype))


def uniform_like(emit: Emitter, key: object, x: ArrayLike) -> Value:
    """`gradc.random.uniform_like`."""
    value = lift.array(emit, x)
    return _uniform(emit, key, emit.shape(value), random.like_dtype(value.dtype))


def normal(
    emit: Emitter, key: object, shape: SizeLike | tuple[SizeLike, ...] = (), dtype: object = np.float64
) -> Value:
    """`gradc.random.normal`."""
    bits = emit.random_bits(_key(key), random.NORMAL_BITS, lift.shape(shape))
    odd = emit.elementwise("add", emit.elementwise("mul", bits, 2), 1)
    between = emit.elementwise("mul", emit.cast(odd, DType.F64), 2.0 ** -(random.NORMAL_BITS + 1))
    return emit.cast(emit.elementwise("ndtri", between), random.float_dtype(dtype))


def bernoulli(emit: Emitter, key: object, p: ArrayLike, shape: SizeLike | tuple[SizeLike, ...] = ()) -> Value:
    """`gradc.random.bernoulli`."""
    sizes, probability = lift.shape(shape), lift.argument(emit, p)
    if isinstance(probability, Value):
        probability = emit.broadcast_to(probability, sizes)
    elif not isinstance(probability, SizeValue):
        random.checked_probability(probability)
    return emit.elementwise("lt", _uniform(emit, key, sizes, DType.F64), probability)


def fold_in(emit: Emitter, key: object, data: object) -> Value:
    """`gradc.random.fold_in`."""
    number = _key(data)
    counter: Arg
    if isinstance(number, int):
        counter = random.folded(number)
    else:
        counter = emit.elementwise("sub", -1, number, dtype=DType.INT64)
    return emit.elementwise("random_bits", _key(key), counter, random.WHOLE, dtype=DType.INT64)


def split(emit: Emitter, key: object, n: SizeLike = 2) -> Value:
    """`gradc.random.split`."""
    counter = emit.elementwise("sub", -1, emit.index_values((lift.size(n),), 0))
    return emit.elementwise("random_bits", _key(key), counter, random.WHOLE, dtype=DType.INT64)


CREATION: Table = {
    random.uniform: uniform,
    random.uniform_like: uniform_like,
    random.normal: normal,
    random.bernoulli: bernoulli,
    random.fold_in: fold_in,
    random.split: split,
}
