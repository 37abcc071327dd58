"""Calls from compiled code back into Python, for functions that were registered by number."""

from __future__ import annotations

from typing import Any

from numba import objmode, types
from numba.extending import overload

from gradc_runtime import registry

FIXED = 4  # dtypes, name, number, pullback; the shapes of the results follow


def external(*arguments: Any) -> Any:
    """Call a registered function.

    The arguments are those of the function, then the dtypes of the results in one string, the function's
    name and number, the number of its pullback, and one shape per result.
    """
    dtypes, ins, name, number, shapes = _split(arguments)
    results: Any = registry.call(number, name, ins, dtypes, shapes)
    return results if len(results) > 1 else results[0]


def _split(arguments: tuple[Any, ...]) -> tuple[list[str], tuple[Any, ...], str, int, tuple[Any, ...]]:
    """Return the arguments of a call by meaning; the string of dtypes is the first string."""
    at = next(position for position, argument in enumerate(arguments) if isinstance(argument, str))
    dtypes, name, number = arguments[at : at + 3]
    return dtypes.split(), arguments[:at], name, number, arguments[at + FIXED :]


@overload(external, prefer_literal=True, strict=False)
def _external(*arguments: Any) -> Any:
    at = next((p for p, argument in enumerate(arguments) if isinstance(argument, types.StringLiteral)), None)
    if at is None:
        return None
    dtypes, name, number = (argument.literal_value for argument in arguments[at : at + 3])
    declared = dtypes.split()
    ranks = [len(shape) for shape in arguments[at + FIXED :]]
    return _wrapper(number, name, declared, ranks, at)


def _wrapper(number: int, name: str, dtypes: list[str], ranks: list[int], count: int) -> Any:
    """Make a function that leaves compiled code for one call; Numba reads the result types off its source."""
    results = [f"r{position}" for position in range(len(dtypes))]
    typed = ", ".join(
        f"{result}={_spelled(dtype, rank)!r}"
        for result, dtype, rank in zip(results, dtypes, ranks, strict=True)
    )
    ins = "".join(f"arguments[{position}], " for position in range(count))
    shapes = "".join(f"arguments[{count + FIXED + position}], " for position in range(len(dtypes)))
    text = (
        "def call_external(*arguments):\n"
        f"    with objmode({typed}):\n"
        f"        {', '.join(results)}, = call({number}, {name!r}, ({ins}), {dtypes!r}, ({shapes}))\n"
        f"    return {', '.join(results)}\n"
    )
    namespace: dict[str, Any] = {"objmode": objmode, "call": registry.call}
    exec(compile(text, f"<gradc external function {number}>", "exec"), namespace)
    return namespace["call_external"]


def _spelled(dtype: str, rank: int) -> str:
    """Return a type as Numba writes it in the head of an object-mode block."""
    scalar = "boolean" if dtype == "bool" else dtype
    return f"{scalar}[{', '.join([':'] * (rank - 1) + ['::1'])}]" if rank else scalar
