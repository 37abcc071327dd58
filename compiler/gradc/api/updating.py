"""``step.bind_update(...)``: a function whose results become the new contents of its arguments, for hot loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import optree

from gradc.api.bindable import Bindable
from gradc.api.bound import At
from gradc.api.built import Built, positions
from gradc.api.device import share_memory
from gradc.api.variant import Variant
from gradc.errors import ArgumentError
from gradc.ir.index.show import show_type
from gradc.lang.signature import NAMESPACE
from gradc.pipeline import Derivation
from gradc_runtime import backends

if TYPE_CHECKING:
    from gradc.api.core import Core
    from gradc.explain.inspection import Inspection


class Update(Protocol):
    """A call with its arguments fixed: ``step()`` returns the value and writes new contents to the arguments.

    Arrays are read where they are, so what is written to them between calls counts; numbers are as they were.

    Attributes
    ----------
    numbers : tuple of array
        Arrays without axes with the function's other numbers, as of the last call.
    """

    numbers: tuple[np.ndarray, ...]

    def inspect(self) -> Inspection:
        """Every stage of the compilation; `source` and `kernels` show what is updated where it is."""
        ...

    def __call__(self) -> float:
        """Return the first result."""
        ...


def bind_update(
    function: Core, args: tuple[Any, ...], kwargs: dict[str, Any], updates: Sequence[str]
) -> Update:
    """Bind a function that returns numbers and new contents; see `Differentiated.bind_update`."""
    variant, values, derivation = update_derivation(function, args, kwargs, updates)
    dtypes = _dtypes_of_numbers(variant, derivation.updates)
    inputs = variant.inputs(values)
    given = _trees.tree_leaves((args, kwargs), namespace=NAMESPACE)
    given += [hidden.read() for hidden in variant.built.hidden]
    named = dict(zip(variant.built.program.inputs, inputs, strict=True))
    step: Any
    if function.options.target == "cuda":
        _require_on_device(variant, named, derivation.updates)
        step = _OnDevice(variant.kernel(derivation), inputs)
    else:
        _require_own(named, derivation.updates, given)
        dispatcher = variant.dispatcher(derivation)
        numbers = [np.zeros((), dtype) for dtype in dtypes[1:]]
        step = partial(backends.load("entry").bound(dispatcher, inputs, numbers))
        step.numbers = tuple(numbers)
        step.held = inputs  # the kernel knows addresses alone
    step.inspect = lambda: At(cast(Bindable, function), args, kwargs).inspection_of(variant, derivation)
    return step


def inspect_update(
    function: Core, args: tuple[Any, ...], kwargs: dict[str, Any], updates: Sequence[str]
) -> Inspection:
    """Return every stage of the kernel that `bind_update` binds: of the arguments shapes and dtypes count alone.

    Machine code is made when its text is asked for, not before.

    Raises
    ------
    ArgumentError
        What the function returns does not fit, or its target is no compiled one.
    """
    variant, _, derivation = update_derivation(function, args, kwargs, updates)
    _dtypes_of_numbers(variant, derivation.updates)
    return At(cast(Bindable, function), args, kwargs).inspection_of(variant, derivation)


_trees: Any = optree  # its types describe trees whose leaves all have one type


def update_derivation(
    function: Core, args: tuple[Any, ...], kwargs: dict[str, Any], updates: Sequence[str]
) -> tuple[Variant, Sequence[Any], Derivation]:
    """Return the variant that serves these arguments, its leaves, and what is compiled of it."""
    variant, values, _ = function._prepare(args, kwargs)
    assert isinstance(variant, Variant)  # `Differentiated.bind_update` refuses traced arguments
    if function.options.target == "interpret":
        raise ArgumentError("only a compiled function can update its arguments", do="target='cpu'")
    return variant, values, Derivation("value", updates=tuple(_pairs(function, variant, updates)))


def _pairs(function: Core, variant: Variant, updates: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the position of an output and the input that it is the new content of."""
    built = variant.built
    program, parts = built.program, _parts(built, len(updates))
    for name, outputs in zip(updates, parts, strict=True):
        if name not in function.signature.parameters:
            known = ", ".join(function.signature.parameters)
            raise ArgumentError(f"{program.name} has no argument {name!r} to update", do=f"choose of {known}")
        leaves = positions(variant.owners, function.signature.parameters.index(name))
        if len(leaves) != len(outputs):
            raise ArgumentError(
                f"{name} has {len(leaves)} arrays, what {program.name} returns for it {len(outputs)}",
                do="return new contents in the containers of the argument",
            )
        for leaf, output in zip(leaves, outputs, strict=True):
            tensor, result = built.inputs[leaf], program.outputs[output]
            if (
                tensor is None
                or program.types[tensor] != program.types[result]
                or not program.types[result].shape
            ):
                before = "no array" if tensor is None else show_type(program.types[tensor])
                raise ArgumentError(
                    f"{variant.names[leaf]} cannot be updated",
                    why=f"it is {before}, its new content {show_type(program.types[result])}",
                    do="update arrays, and keep their shapes and dtypes",
                )
            yield output, tensor


def _parts(built: Built, count: int) -> list[tuple[int, ...]]:
    """Return the outputs that stand for each updated argument: those of the last results."""
    spec = built.out_spec
    if spec.type is not tuple or spec.num_children <= count:
        raise ArgumentError(
            f"{built.program.name} returns no numbers and {count} new contents",
            why=f"it returns {spec}",
            do="return (value, new content of the first argument in updates=, ...)",
        )
    sizes = [spec.child(at).num_leaves for at in range(spec.num_children)]
    ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
    return [built.outputs[end - size : end] for size, end in zip(sizes[-count:], ends[-count:], strict=True)]


def _dtypes_of_numbers(variant: Variant, pairs: Sequence[tuple[int, str]]) -> list[np.dtype]:
    """Return the dtypes of the outputs that update nothing, which are floating-point numbers."""
    program = variant.built.program
    updated = {position for position, _ in pairs}
    if len(updated) != len(pairs) or len({name for _, name in pairs}) != len(pairs):
        raise ArgumentError(
            f"{program.name} returns one array for two arguments, or an argument is named twice",
            do="return a new content for each argument in updates=",
        )
    left = [program.types[name] for at, name in enumerate(program.outputs) if at not in updated]
    if not left or any(type_.shape or not type_.dtype.is_float for type_ in left):
        shown = ", ".join(map(show_type, left)) or "nothing"
        raise ArgumentError(
            f"{program.name} must return floating-point numbers beside new contents",
            why=f"it returns {shown}",
            do="return (value, new content, ...), numbers first",
        )
    return [np.dtype(type_.dtype.numpy) for type_ in left]


class _OnDevice:
    """An `Update` of arrays on a GPU: it returns before the step is done, and its numbers stay there as well."""

    def __init__(self, run: Callable[..., Sequence[Any]], inputs: Sequence[Any]) -> None:
        self._run = run
        self._inputs = inputs
        self.numbers: tuple[Any, ...] = ()

    def __call__(self) -> Any:
        """Return the first result, an array on the device that `float` waits for and reads."""
        first, *others = self._run(*self._inputs)
        self.numbers = tuple(others)
        return first


def _require_on_device(variant: Variant, inputs: dict[str, Any], pairs: Sequence[tuple[int, str]]) -> None:
    """Refuse arrays that are not on a device, and those that are updated in the memory of others."""
    updated = {name for _, name in pairs}
    arrays = [(name, value) for name, value in inputs.items() if np.shape(value)]
    for at, (name, value) in enumerate(arrays):
        if isinstance(value, np.ndarray):
            raise ArgumentError(
                f"{name} cannot be bound",
                where=f"call of {variant.built.program.name}",
                why="it is not in the memory of the GPU, and would be copied there at every call",
                do="bind gradc.to_device(array)",
            )
        for other, second in arrays[:at]:
            if (name in updated or other in updated) and share_memory(value, second):
                raise ArgumentError(f"{name} and {other} share memory", do="update arrays of their own")


def _require_own(inputs: dict[str, Any], pairs: Sequence[tuple[int, str]], given: Sequence[Any]) -> None:
    """Refuse arrays that cannot be read and written in place."""
    updated = {name for _, name in pairs}
    for name, value in inputs.items():
        if isinstance(value, np.ndarray) and not any(value is array for array in given):
            raise ArgumentError(
                f"{name} cannot be bound",
                why="it is read where it is, and a call would copy it: its layout or dtype is another one",
                do="give C-contiguous arrays of the dtype that the function takes",
            )
        if name in updated and not value.flags.writeable:
            raise ArgumentError(f"{name} cannot be written", do="update an array that is not read-only")
    arrays = [(name, value) for name, value in inputs.items() if isinstance(value, np.ndarray)]
    for at, (name, value) in enumerate(arrays):
        for other, second in arrays[:at]:
            if (name in updated or other in updated) and np.shares_memory(value, second):
                raise ArgumentError(f"{name} and {other} share memory", do="update arrays of their own")
