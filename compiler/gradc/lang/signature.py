"""The arguments of a call: binding, containers, and which leaves are arrays, numbers or static.

A call is flattened into *leaves*.  A leaf is a floating-point or integer array, a Python float, a Python int (a
guarded run-time value unless its argument is differentiated), or static: a bool, a string, None, an enum member, a
callable, any other object.  The key of a call is the tuple of its leaves' kinds.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from gradc.errors import ArgumentError, DTypeError
from gradc.ir.types import FROM_NUMPY, DType, dtype_of

NAMESPACE = "gradc"
_trees: Any = optree  # its types describe trees whose leaves all have one type
MAX_SCALARS = 64
DLPACK_CUDA = 2  # kDLCUDA: https://dmlc.github.io/dlpack/latest/c_api.html
_OTHER = re.compile(r"[^A-Za-z0-9_]")


@dataclass(frozen=True, slots=True)
class LeafKind:
    """What a compilation needs to know about one leaf.

    `kind` is ``"array"``, ``"float"``, ``"int"`` or ``"static"``; `ones` lists the axes of extent 1, which
    broadcast and are therefore static; `value` is the static value.
    """

    kind: str
    dtype: DType | None = None
    rank: int = 0
    ones: tuple[int, ...] = ()
    value: Hashable = None
    scalar_type: bool = False  # a NumPy scalar or 0-d array: results come back as NumPy scalars
    on_device: bool = False  # an array in the memory of a GPU


FLOAT = LeafKind("float", DType.F64)
INT = LeafKind("int", DType.INT64)


def kind_of(leaf: Any, name: str, *, as_float: bool, static: bool) -> tuple[LeafKind, Any]:
    """The kind of a leaf and the value to hand to a kernel."""
    if static:
        return LeafKind("static", value=_hashable(leaf)), leaf
    kind = type(leaf)
    if kind is float:
        return FLOAT, leaf
    if kind is np.ndarray:
        return _array_kind(leaf, name)
    if kind is int:
        return (FLOAT, float(leaf)) if as_float else (INT, leaf)
    if isinstance(leaf, np.generic):
        return LeafKind("array", dtype_of(leaf.dtype, where=f"argument {name}"), scalar_type=True), leaf
    if isinstance(leaf, bool | str | enum.Enum | type(None)) or callable(leaf):
        return LeafKind("static", value=_hashable(leaf)), leaf
    if isinstance(leaf, np.ma.MaskedArray):
        raise DTypeError("a masked array is refused", where=f"argument {name}", do="pass x.filled(value)")
    if _is_on_device(leaf):
        return _device_kind(leaf, name), leaf
    return _other_kind(leaf, name)


def _other_kind(leaf: Any, name: str) -> tuple[LeafKind, Any]:
    """The kind of what may become an array; anything else is static."""
    if isinstance(leaf, np.ndarray) or hasattr(leaf, "__array__") or hasattr(leaf, "__dlpack__"):
        return _array_kind(np.asarray(leaf), name)
    if isinstance(leaf, complex):
        raise DTypeError("complex numbers are refused for now", where=f"argument {name}")
    return LeafKind("static", value=_hashable(leaf)), leaf


def _array_kind(array: np.ndarray, name: str) -> tuple[LeafKind, Any]:
    dtype = FROM_NUMPY.get(array.dtype)
    if dtype is None or not array.dtype.isnative:
        dtype = dtype_of(
            array.dtype if array.dtype.isnative else _big_endian(array, name), where=f"argument {name}"
        )
    if array.ndim == 0:
        return LeafKind("array", dtype, scalar_type=True), array[()]
    shape = array.shape
    ones = tuple(axis for axis, size in enumerate(shape) if size == 1) if 1 in shape else ()
    flags = array.flags
    if not (flags.c_contiguous and flags.aligned):
        array = np.require(array, requirements=("C", "A"))
    return LeafKind("array", dtype, len(shape), ones), array


def _is_on_device(leaf: Any) -> bool:
    """Whether an object is an array in the memory of a GPU, or of Numba's simulator of one."""
    if hasattr(leaf, "__cuda_array_interface__") or hasattr(leaf, "copy_to_host"):
        return True
    return hasattr(leaf, "__dlpack_device__") and leaf.__dlpack_device__()[0] == DLPACK_CUDA


def _device_kind(array: Any, name: str) -> LeafKind:
    """The kind of an array on a GPU, which stays there.

    Source: https://nvidia.github.io/numba-cuda/user/cuda_array_interface.html
    """
    found = getattr(array, "__cuda_array_interface__", None)
    known = str(array.dtype).rpartition(".")[2] if found is None else found["typestr"]  # torch.float32, <f4
    shape = tuple(array.shape)
    ones = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return LeafKind(
        "array", dtype_of(np.dtype(known), where=f"argument {name}"), len(shape), ones, on_device=True
    )


def _big_endian(array: np.ndarray, name: str) -> np.dtype:
    raise DTypeError(
        f"a big-endian array ({array.dtype.str}) is refused",
        where=f"argument {name}",
        do=f"{name}.astype({name}.dtype.newbyteorder('='))",
    )


def _hashable(value: Any) -> Hashable:
    """Static values are compared by value where they can be hashed, else by identity."""
    try:
        hash(value)
    except TypeError:
        return ("object", id(value))
    return (type(value), value)


class Signature:
    """The parameters of a user's function.

    Parameters
    ----------
    function : callable
        The user's function; annotations may name extents (``x: f64["N", 3]``).
    wrt : str, sequence of str, or None
        The arguments to differentiate; None is every floating-point argument.
    static : sequence of str
        Arguments that are part of a kernel's identity.
    numbers_are_floats : bool
        Every Python int counts as a float (formulas).
    """

    def __init__(
        self,
        function: Callable[..., Any],
        wrt: str | int | Sequence[str | int] | None,
        static: Sequence[str],
        *,
        numbers_are_floats: bool = False,
    ) -> None:
        self.function = function
        self.given = wrt
        self.python = signature_of(function)
        self.name = getattr(function, "__name__", "function")
        self.parameters = tuple(self.python.parameters)
        self.kinds = tuple(parameter.kind for parameter in self.python.parameters.values())
        self.static = frozenset(static)
        free = [name for name in self.parameters if name not in self.static]
        self.bare = isinstance(wrt, str | int) or (wrt is None and len(free) == 1)
        self.wrt = self._names(wrt)
        all_named = wrt is not None or len(free) == 1 or numbers_are_floats
        self.named = frozenset(self.wrt) if all_named else frozenset()
        self.positional = all(
            kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for kind in self.kinds
        )
        for name in (*self.static, *self.wrt):
            if name not in self.parameters:
                raise ArgumentError(
                    f"{self.name} has no argument {name!r}",
                    why=f"its arguments are {', '.join(self.parameters)}",
                )

    def _names(self, wrt: str | int | Sequence[str | int] | None) -> tuple[str, ...]:
        if wrt is None:
            return tuple(name for name in self.parameters if name not in self.static)
        chosen = (wrt,) if isinstance(wrt, str | int) else tuple(wrt)
        return tuple(self.parameters[item] if isinstance(item, int) else item for item in chosen)

    def as_method(self) -> Signature:
        """The signature with the first parameter, the instance, static."""
        return Signature(self.function, self.given, (self.parameters[0], *self.static))

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Values of all parameters in order, defaults filled in."""
        if not kwargs and self.positional and len(args) == len(self.parameters):
            return args
        try:
            bound = self.python.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"{self.name}: {error}", do=f"call {self.name}{self.python}") from None
        bound.apply_defaults()
        return tuple(bound.arguments[name] for name in self.parameters)

    def call_arguments(self, values: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """`values`, one per parameter, as positional and keyword arguments of the user's function."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for name, kind, value in zip(self.parameters, self.kinds, values, strict=True):
            if kind is inspect.Parameter.VAR_POSITIONAL:
                args.extend(value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                kwargs.update(value)
            elif kind is inspect.Parameter.KEYWORD_ONLY:
                kwargs[name] = value
            else:
                args.append(value)
        return tuple(args), kwargs


_SAME_ARGUMENTS = ("grad", "value_and_grad", "vjp", "jacobian", "hessian")


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The parameters of a callable; ``loss.grad`` has those of ``loss``."""
    owner = getattr(getattr(function, "__self__", None), "signature", None)
    if isinstance(owner, Signature) and getattr(function, "__name__", "") in _SAME_ARGUMENTS:
        return owner.python
    try:
        return inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise ArgumentError(
            f"{function!r} has no signature", why=str(error), do="wrap it: lambda x: f(x)"
        ) from None


@dataclass(frozen=True, slots=True)
class Flat:
    """The leaves of a call: `kinds` and kernel `values`, `owner` the parameter of each leaf, `spec` the containers.

    `paths` has the keys that lead to each leaf inside its argument.
    """

    kinds: tuple[LeafKind, ...]
    values: tuple[Any, ...]
    owners: tuple[int, ...]
    names: tuple[str, ...]
    paths: tuple[tuple[Any, ...], ...]
    spec: optree.PyTreeSpec


def flatten(signature: Signature, values: tuple[Any, ...]) -> Flat:
    """Flatten nested containers of arguments into leaves."""
    register_dataclasses(values)
    leaves, spec = _trees.tree_flatten(values, namespace=NAMESPACE)
    paths = _trees.tree_paths(values, namespace=NAMESPACE)
    kinds, converted, owners, names = [], [], [], dict[str, None]()
    for leaf, path in zip(leaves, paths, strict=True):
        owner = signature.parameters[path[0]]
        name = _own_name("_".join((owner, *(str(part) for part in path[1:]))), names)
        kind, value = kind_of(leaf, name, as_float=owner in signature.named, static=owner in signature.static)
        kinds.append(kind)
        converted.append(value)
        owners.append(path[0])
        names[name] = None
    _refuse_long_lists(signature, kinds, owners)
    inner = tuple(tuple(path[1:]) for path in paths)
    return Flat(tuple(kinds), tuple(converted), tuple(owners), tuple(names), inner, spec)


def _own_name(path: str, taken: Container[str]) -> str:
    """Return a name for a leaf that no other has, fit for generated code: keys of dictionaries may be any text."""
    plain = _OTHER.sub("_", path)
    name = plain = plain if plain[:1].isalpha() else f"argument{plain}"
    number = 1
    while name in taken:
        number += 1
        name = f"{plain}_{number}"
    return name


def _refuse_long_lists(signature: Signature, kinds: Sequence[LeafKind], owners: Sequence[int]) -> None:
    for owner, name in enumerate(signature.parameters):
        scalars = sum(
            1 for kind, at in zip(kinds, owners, strict=True) if at == owner and kind.kind in ("float", "int")
        )
        if scalars > MAX_SCALARS:
            raise ArgumentError(
                f"argument {name} is a container of {scalars} separate numbers",
                why="each number of a list is an argument of its own",
                do=f"pass np.asarray({name})",
            )


def register_dataclasses(value: Any) -> None:
    """Make the dataclass instances in nested containers containers; their fields are the children, in order."""
    stack = [value]
    while stack:
        item = stack.pop()
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            register_dataclass(type(item))
            stack.extend(getattr(item, field.name) for field in dataclasses.fields(item))
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)


_registered: set[type] = set()


def register_dataclass(cls: type) -> None:
    """Tell optree once how to take a dataclass apart."""
    if cls in _registered:
        return
    names = tuple(field.name for field in dataclasses.fields(cls))

    def take_apart(instance: Any) -> tuple[tuple[Any, ...], None, tuple[str, ...]]:
        return tuple(getattr(instance, name) for name in names), None, names

    def put_together(_: None, children: Sequence[Any]) -> Any:
        return cls(**dict(zip(names, children, strict=True)))

    _trees.register_pytree_node(cls, take_apart, put_together, namespace=NAMESPACE)
    _registered.add(cls)
