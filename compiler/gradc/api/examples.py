"""Arguments of given types, for compiling a function without calling it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError
from gradc.ir.types import DType
from gradc.lang.annotations import ArrayType, annotated_type
from gradc.lang.signature import Signature

_FIRST = 5  # extents that stand for any: different, and not 1, which is static


def examples(
    signature: Signature, types: Sequence[Any], named: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of the given types; annotations and defaults serve where none is given."""
    try:
        bound = signature.python.bind_partial(*types, **named)
    except TypeError as error:
        raise ArgumentError(f"compile of {signature.name}: {error}") from None
    sizes: dict[str, int] = {}
    for name, parameter in signature.python.parameters.items():
        given = bound.arguments.get(name, inspect.Parameter.empty)
        if given is inspect.Parameter.empty:
            given = annotated_type(parameter.annotation)
            if given is None and parameter.default is not inspect.Parameter.empty:
                continue
            if given is None:
                raise ArgumentError(
                    f"compile of {signature.name} needs the type of {name}",
                    do=f'give gradc.f64["N", 3] or annotate it: {name}: gradc.f64["N", 3]',
                )
        bound.arguments[name] = _example(given, sizes)
    ordered = {name: bound.arguments[name] for name in signature.python.parameters if name in bound.arguments}
    bound.arguments = ordered  # pyright: ignore[reportAttributeAccessIssue]
    return bound.args, bound.kwargs


def _example(type_: Any, sizes: dict[str, int]) -> Any:
    """Return a value of a type; what is no type is the value itself."""
    if isinstance(type_, type) and type_ in (float, int):
        return type_(1)
    if not isinstance(type_, ArrayType):
        return type_
    if type_.extents is None:
        return 1.0 if type_.dtype is DType.F64 else type_.dtype.numpy.type(1)
    shape = []
    for extent in type_.extents:
        key = extent if isinstance(extent, str) else f" {len(sizes)}"
        shape.append(extent if isinstance(extent, int) else sizes.setdefault(key, _FIRST + len(sizes)))
    return np.ones(shape, type_.dtype.numpy)
