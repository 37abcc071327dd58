"""Stand-ins: what takes the place of modules, functions, builtins and captured data in a cloned function."""

from __future__ import annotations

import builtins
import functools
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from enum import Enum
from typing import Any

import numpy as np

from gradc.errors import TraceError
from gradc.lang import operations, refusals
from gradc.lang.builtin_standins import builtin_stand_ins, cast_class
from gradc.lang.captured import FrozenDict, FrozenList, FrozenNamespace
from gradc.lang.clone import ClonedFunction, Source
from gradc.lang.inlined import Inlined
from gradc.lang.objects import Mirrors
from gradc.lang.operands import contains_traced
from gradc.lang.operations.randoms import CREATION as DRAWN
from gradc.lang.provenance import TRACED_MODULES, as_method, is_library
from gradc.lang.replacements import public_name
from gradc.lang.sizes import Extent, Tracer
from gradc.lang.traced import is_traced

_CONTAINERS = (list, tuple, dict, set, frozenset, deque, types.MappingProxyType)
_LEAVES = 2000  # captured containers hold at most as many elements
_SCALARS = (bool, int, float, complex, str, bytes, type(None), Enum, np.generic)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, np.ufunc, type)
_GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)
# What NumPy leaves uninitialised is zero here, so that two traces agree.
_INITIALISED: dict[Callable[..., Any], Callable[..., Any]] = {
    np.empty: np.zeros,
    np.empty_like: np.zeros_like,
}
# Arrays that an equation says as well as a list of numbers does.
_STRUCTURED = frozenset((np.eye, np.identity, np.tri, np.arange, *DRAWN))


class StandIns:
    """The stand-ins of one trace."""

    def __init__(self, trace: Tracer) -> None:
        self.trace = trace
        self._memo: dict[Hashable, tuple[object, Any]] = {}
        self._builtins: dict[str, Any] | None = None
        self._mirrors = Mirrors(self)
        # Containers that were passed as arguments: name, the copy that the function sees, its first contents.
        self._containers: list[tuple[str, Any, tuple[Any, ...]]] = []

    def of(self, value: Any, source: Source) -> Any:
        """Return what takes the place of `value`; data is noted as captured."""
        if is_traced(value) or type(value) is Extent:
            return value
        if isinstance(value, _SCALARS):
            self.trace.capture(source.what, source.read, value, source.key)
            return value
        # Functions stay what they are; data is read again at its place, where other data may be then.
        key = id(value) if isinstance(value, _FUNCTIONS) else (id(value), source.key)
        kept = self._memo.get(key)
        if kept is not None:
            return kept[1]
        found = self._data(value, source)
        if found is NotImplemented:
            found = self._callable(value, source)
        return self._memo.setdefault(key, (value, found))[1]

    def argument(self, value: Any, what: str) -> Any:
        """Return what takes the place of an argument: the caller knows its data, which is not captured."""
        if is_traced(value) or isinstance(value, _SCALARS):
            return value
        if type(value) is list:
            copy = [self.argument(item, what) for item in value]
            self._containers.append((what, copy, tuple(copy)))
            return copy
        if type(value) is tuple:
            return tuple(self.argument(item, what) for item in value)
        if isinstance(value, tuple):
            return type(value)(*(self.argument(item, what) for item in value))
        if type(value) is dict:
            entries = {key: self.argument(item, what) for key, item in value.items()}
            self._containers.append((what, entries, tuple(entries.items())))
            return entries
        return self.of(value, Source(what, lambda: value, ("argument", id(value))))

    def changed_argument(self) -> str:
        """Return the name of a list or dictionary argument that the function changed; empty if there is none."""
        for what, copy, before in self._containers:
            after = tuple(copy.items() if isinstance(copy, dict) else copy)
            if len(after) != len(before) or any(
                not _same_entry(a, b) for a, b in zip(after, before, strict=True)
            ):
                return what
        return ""

    def mirrored(self, cls: type) -> type:
        """Return the class that takes the place of `cls` in methods of captured objects."""
        return self._mirrors.known(cls)

    # --- data -------------------------------------------------------------------------------------------

    def _data(self, value: Any, source: Source) -> Any:
        if isinstance(value, np.ndarray):
            return value if value.dtype == object else self.trace.captive(value, source.hint, source.read)
        if isinstance(value, _GENERATORS):
            return Refusing(self.trace, f"the random generator {source.hint}")
        if isinstance(value, types.SimpleNamespace):
            items = {name: self.of(item, source.attribute(name)) for name, item in vars(value).items()}
            return FrozenNamespace(self.trace, source.what, items)
        if isinstance(value, _CONTAINERS):
            return self._container(value, source)
        return NotImplemented

    def _container(self, value: Any, source: Source) -> Any:
        if len(value) > _LEAVES:
            raise self.trace.poisoned(refusals.large_container(source.what, len(value), _LEAVES))
        if isinstance(value, set | frozenset):
            self.trace.capture(source.what, source.read, value.copy(), source.key)
            return value
        if isinstance(value, dict | types.MappingProxyType):
            keys = tuple(value)
            what = f"the keys of {source.what}"
            self.trace.capture(what, lambda: tuple(source.read()), keys, (source.key, "keys"))
            items = {key: self.of(item, source.item(key)) for key, item in value.items()}
            return FrozenDict(
                self.trace, source.what, items, lambda name: self._attribute(value, source, name)
            )
        what = f"the length of {source.what}"
        self.trace.capture(what, lambda: len(source.read()), len(value), (source.key, "length"))
        members = [self.of(item, source.item(at)) for at, item in enumerate(value)]
        if isinstance(value, list | deque):
            return FrozenList(self.trace, source.what, members)
        return type(value)(*members) if hasattr(value, "_fields") else tuple(members)

    def _attribute(self, value: Any, source: Source, name: str) -> Any:
        """Return an attribute of a dictionary that has some, such as scikit-learn's `Bunch`."""
        return self.of(getattr(value, name), source.attribute(name))

    # --- callables and modules --------------------------------------------------------------------------

    def _callable(self, value: Any, source: Source) -> Any:
        value = as_method(value)
        if isinstance(value, types.ModuleType):
            return self.module(value, source)
        if callable(value) and callable(getattr(value, "__gradc_inline__", None)):
            return Inlined(self.trace, value)
        if isinstance(value, type):
            return self._class(value)
        if self._in_tables(value):
            return Function(self.trace, value)
        unwrapped = _unwrapped(value)
        if unwrapped is not None:
            return self.of(unwrapped, Source(source.what, lambda: _unwrapped(source.read())))
        function = self._function(value, source)
        return self._mirrors.of(value, source) if function is NotImplemented else function

    def _function(self, value: Any, source: Source) -> Any:
        if isinstance(value, types.FunctionType):
            if is_library(value.__module__):
                return self._library_function(value)
            return ClonedFunction(self, value, source)
        if isinstance(value, types.MethodType):
            return self._bound(value, source)
        if isinstance(value, functools.partial):
            return self._partial(value, source)
        root = type(value).__module__.partition(".")[0]
        if callable(value) and (root == "builtins" or root in TRACED_MODULES):
            return self._library_function(value)
        return NotImplemented

    def _in_tables(self, value: Any) -> bool:
        if not callable(value):
            return False
        key = operations.key_of(value)
        return key in operations.UFUNCS or key in operations.FUNCTIONS or key in operations.CREATION

    def _library_function(self, value: Any) -> Any:
        """Stand for a function of NumPy, SciPy or `math`; other libraries' are taken as they are."""
        module = public_name(value)
        if module.startswith(("numpy.random", "random.")):
            return Refusing(self.trace, public_name(value))
        roots = (module.partition(".")[0], type(value).__module__.partition(".")[0])
        return Function(self.trace, value) if not TRACED_MODULES.isdisjoint(roots) else value

    def _class(self, value: type) -> Any:
        if value in (float, int) or (value.__module__ == "numpy" and issubclass(value, np.generic)):
            return cast_class(self.trace, value)
        return value

    def _bound(self, value: types.MethodType, source: Source) -> Any:
        owner = value.__self__
        if isinstance(owner, types.ModuleType | type) or is_library(type(owner).__module__):
            return self._library_function(value)
        stand_in = self.of(owner, Source("self", lambda: source.read().__self__))
        return types.MethodType(self.of(value.__func__, source.attribute("__func__")), stand_in)

    def _partial(self, value: functools.partial[Any], source: Source) -> Any:
        function = self.of(value.func, source.attribute("func"))
        args = [self.of(arg, source.attribute("args").item(at)) for at, arg in enumerate(value.args)]
        options = source.attribute("keywords")
        kwargs = {name: self.of(arg, options.item(name)) for name, arg in value.keywords.items()}
        return functools.partial(function, *args, **kwargs)

    def module(self, module: types.ModuleType, source: Source) -> Any:
        """Return the stand-in of a module; modules that cannot meet traced values stand for themselves."""
        name = module.__name__
        if name == "random" or name.startswith("numpy.random"):
            return Refusing(self.trace, name)
        if name.partition(".")[0] not in (*TRACED_MODULES, "gradc") and is_library(name):
            return module
        return Module(self, module, source)

    def builtins(self) -> dict[str, Any]:
        """Return the builtins of cloned functions."""
        if self._builtins is None:
            self._builtins = {**vars(builtins), **builtin_stand_ins(self.trace), "__import__": self._import}
        return self._builtins

    def _import(
        self,
        name: str,
        globals: dict[str, Any] | None = None,
        locals: dict[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """``import`` inside a function: the module is imported as ever, and its stand-in returned."""
        module = __import__(name, globals, locals, fromlist or (), level)
        return self.of(module, Source(name, lambda: sys.modules[module.__name__]))


def _unwrapped(value: Any) -> Any:
    """Return the function inside a Numba dispatcher or `functools.lru_cache`; None for anything else."""
    inner = getattr(value, "py_func", None)
    if inner is None and type(value).__name__ == "_lru_cache_wrapper":
        inner = value.__wrapped__
    return inner if isinstance(inner, types.FunctionType) else None


def _same_entry(new: Any, old: Any) -> bool:
    """Whether an element of a list, or a key and value of a dictionary, is the very same object as before."""
    if isinstance(new, tuple) and isinstance(old, tuple) and len(new) == len(old) == 2:
        return new[0] == old[0] and new[1] is old[1]
    return new is old


class Module:
    """The stand-in of a module: its members are replaced as they are asked for."""

    def __init__(self, stand_ins: StandIns, module: types.ModuleType, source: Source) -> None:
        self._stand_ins = stand_ins
        self._module = module
        self._source = source
        self._library = is_library(module.__name__)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if self._library and (isinstance(value, _SCALARS) or value is None):
            return value  # np.pi, np.newaxis: constants of the library are not captured
        found = self._stand_ins.of(value, self._source.attribute(name))
        library_method = isinstance(value, types.MethodType) and self._library
        if self._library and not isinstance(value, np.ndarray) and not library_method:
            self.__dict__[name] = found
        return found

    def __repr__(self) -> str:
        return repr(self._module)


class Function:
    """The stand-in of a library function: traced when it meets traced values, carried out otherwise."""

    def __init__(self, trace: Tracer, function: Callable[..., Any]) -> None:
        self._trace = trace
        self._function = function
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Trace the call, or carry it out."""
        trace, function = self._trace, self._function
        frame = sys._getframe(1)
        if _meets_traced(args, kwargs):
            return self._traced(args, kwargs, frame)
        trace.enter(frame)
        concrete = _INITIALISED.get(function, function)
        options = {name: trace.concrete_tree(arg) for name, arg in kwargs.items()}
        result = concrete(*(trace.concrete_tree(arg) for arg in args), **options)
        if function in _STRUCTURED and isinstance(result, np.ndarray) and result.dtype != object:
            handler: Callable[..., Any] = operations.CREATION[function]
            return trace.literal(result, lambda: handler(trace.emit, *args, **options))
        return trace.literal_tree(result)

    def _traced(self, args: tuple[Any, ...], kwargs: dict[str, Any], frame: types.FrameType) -> Any:
        trace, function = self._trace, self._function
        if isinstance(function, np.ufunc):
            return trace.ufunc(function, "__call__", args, kwargs, frame)
        if not trace.knows(function) and not _meets_arrays(args, kwargs):
            # Only extents: the function gets their numbers, which specialises them.
            trace.enter(frame)
            return trace.literal_tree(function(*args, **kwargs))
        result = trace.function(function, args, kwargs, frame)
        if function in operations.CREATION and is_traced(result):
            return trace.made(result)
        return result

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._function, name)
        if name.startswith("_") or not callable(value):
            return value
        return self._trace.stand_ins.of(value, Source(name, lambda: value))  # np.add.reduce, norm.cdf

    def __repr__(self) -> str:
        return repr(self._function)


def _meets_traced(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return contains_traced(args) or (bool(kwargs) and contains_traced(tuple(kwargs.values())))


def _meets_arrays(args: Any, kwargs: dict[str, Any]) -> bool:
    def found(x: Any) -> bool:
        if isinstance(x, list | tuple):
            return any(found(item) for item in x)
        return is_traced(x)

    return found(args) or any(found(x) for x in kwargs.values())


class Refusing:
    """The stand-in of a source of random numbers: every call says what to do instead."""

    def __init__(self, trace: Tracer, name: str) -> None:
        self._trace = trace
        self._name = name

    def __getattr__(self, name: str) -> Refusing:
        if name.startswith("__"):
            raise AttributeError(name)
        return Refusing(self._trace, f"{self._name}.{name}")

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Refuse."""
        self._trace.enter(sys._getframe(1))
        raise self._refusal()

    def _refusal(self) -> TraceError:
        return self._trace.poisoned(refusals.randomness(self._name, self._trace.where()))


__all__ = ["Function", "Inlined", "Module", "Refusing", "StandIns"]
