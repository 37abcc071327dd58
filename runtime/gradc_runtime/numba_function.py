"""Compiled functions as Numba knows them, for machine code that its compiler did not make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numba.core import compiler, funcdesc, registry
from numba.core.environment import Environment

Kind = Any  # a type of Numba's


def description(
    function: Callable[..., Any], arguments: Sequence[Kind], returned: Kind, unique_name: str, **kept: Any
) -> Any:
    """What Numba writes down of a function that takes and returns these types; names are made, or those `kept`."""
    return funcdesc.PythonFunctionDescriptor(
        native=True,
        modname=function.__module__,
        qualname=function.__qualname__,
        unique_name=unique_name,
        doc="",
        typemap=None,
        restype=returned,
        calltypes=None,
        args=function.__code__.co_varnames[: function.__code__.co_argcount],
        kws=(),
        argtypes=tuple(arguments),
        global_dict=function.__globals__,
        **kept,
    )


def overload(library: Any, described: Any, environment: Environment) -> Any:
    """What a dispatcher takes as one of its overloads; others' compiled code may call it."""
    target: Any = registry.cpu_target
    context = target.target_context
    entry = context.get_executable(library, described, environment)
    context.insert_user_function(entry, described, [library])
    return compiler.compile_result(
        typing_context=context.typing_context,
        target_context=context,
        entry_point=entry,
        fndesc=described,
        environment=environment,
        library=library,
        signature=described.restype(*described.argtypes),
        objectmode=False,
        lifted=(),
        reload_init=[],
        referenced_envs=(),
    )
