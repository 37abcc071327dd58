"""Python functions that programs call by number.

A number stands for a function for as long as the process lives; kernels that hold one cannot be exported.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Function = Callable[..., Any]

_functions: list[Function] = []
_mapped: dict[int, int] = {}
_lock = threading.Lock()


def register(function: Function) -> int:
    """Keep a function and return its number, which is at least 1."""
    with _lock:
        _functions.append(function)
        return len(_functions)


def mapped(number: int) -> int:
    """Return the number of the function that does for every element of a leading axis what `number` does."""
    with _lock:
        found = _mapped.get(number)
    if found is None:
        found = register(_over_axis(_functions[number - 1]))
        with _lock:
            found = _mapped.setdefault(number, found)
    return found


def _over_axis(function: Function) -> Function:
    def each(*arguments: Any) -> Any:
        results = [function(*(argument[at] for argument in arguments)) for at in range(len(arguments[0]))]
        if not results:
            return None
        if isinstance(results[0], tuple):
            return tuple(np.stack(column) for column in zip(*results, strict=True))
        return np.stack(results)

    return each


def call(
    number: int, name: str, arguments: Sequence[Any], dtypes: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> tuple[Any, ...]:
    """Call a function and return its results as new arrays of the declared dtypes and shapes.

    Raises
    ------
    ValueError
        It returned another number of results, or one of another shape.
    """
    returned = _functions[number - 1](*arguments)
    if returned is None and shapes and all(0 in shape for shape in shapes):  # mapped over no element
        return tuple(np.zeros(shape, dtype) for dtype, shape in zip(dtypes, shapes, strict=True))
    results = returned if isinstance(returned, tuple) else (returned,)
    if len(results) != len(dtypes):
        raise ValueError(f"the external function {name} returned {len(results)} results, not {len(dtypes)}")
    found = []
    for position, (result, dtype, shape) in enumerate(zip(results, dtypes, shapes, strict=True)):
        array = np.array(result, dtype, order="C")
        if array.shape != tuple(shape):
            found_shape, wanted = array.shape, tuple(shape)
            what = f"result {position} of the external function {name}"
            raise ValueError(f"{what} has shape {found_shape}, declared is {wanted}")
        found.append(array[()])
    return tuple(found)
