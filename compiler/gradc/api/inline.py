"""Functions with derivatives inside a traced function: their programs become part of the outer one.

An `InlineVariant` serves one call on traced values as a `Variant` serves a call on arrays: the function is
traced into the outer program, its equations are taken out as a program of their own and derived, and what is
new is spliced in.  Differentiated arguments are copies of the caller's tensors, so a derivative sees the
argument and nothing that the function reads of the same tensor in another way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from gradc.api.built import Built, Inlined, Source
from gradc.api.variant import EVERY_OUTPUT
from gradc.errors import ArgumentError
from gradc.ir.extents import Size
from gradc.ir.index.nodes import Program
from gradc.ir.index.splice import segment, splice
from gradc.ir.types import DType
from gradc.lang.captured import FrozenDict, FrozenList
from gradc.lang.emit import Value
from gradc.lang.session import Trace
from gradc.lang.signature import FLOAT, INT, NAMESPACE, Flat, LeafKind, Signature, register_dataclasses
from gradc.lang.sizes import Extent
from gradc.lang.traced import TracedArray, TracedScalar, is_traced
from gradc.lang.written import with_extents
from gradc.passes.equations.stabilise import stabilise
from gradc.pipeline import DERIVATIONS, Derivation, Options

# --- traced values ------------------------------------------------------------------------------------------


def trace_of(values: Any) -> Trace | None:
    """Return the trace that some value in nested containers belongs to; None where all is concrete."""
    stack = [values]
    while stack:
        item = stack.pop()
        kind = type(item)
        if is_traced(item) or kind is Extent:
            return item._trace
        if kind in (tuple, list) or isinstance(item, list | tuple):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif dataclasses.is_dataclass(item.__class__):
            stack.extend(getattr(item, field.name, None) for field in dataclasses.fields(item.__class__))
    return None


def wrapped(trace: Trace, value: Value, hint: str = "", *, frozen: bool = False) -> Any:
    """Return a tensor of the program as user code sees it."""
    return (TracedArray if value.shape else TracedScalar)(trace, value, frozen=frozen, hint=hint)


def placeholder(trace: Trace, hint: str, dtype: DType, shape: tuple[Size, ...]) -> Value:
    """Return a tensor that no equation defines; who makes it takes out what depends on it."""
    return Value(trace.emit.builder.declare(hint, dtype, shape), dtype, shape)


def is_floating(leaf: Any, *, numbers: bool) -> bool:
    """Whether a leaf has a derivative; `numbers` counts Python ints too."""
    if is_traced(leaf):
        return np.dtype(leaf.dtype).kind == "f"
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.dtype.kind == "f"
    return type(leaf) is float or (numbers and type(leaf) is int)


def lifted(trace: Trace, leaf: Any) -> Value:
    """Return a leaf as a tensor of the program; a Python int counts as a float."""
    if type(leaf) in (int, float):
        constant = trace.emit.constant(float(leaf), DType.F64)
        return Value(constant.name, constant.dtype, (), float)
    return trace.output(leaf)


def thawed(tree: Any) -> Any:
    """Containers in which stand-ins of containers are replaced by plain ones, which can be flattened."""
    cls: Any = tree.__class__
    if isinstance(tree, FrozenList) or cls in (list, tuple):
        return (tuple if cls is tuple else list)(map(thawed, tree))
    if isinstance(tree, FrozenDict) or cls is dict:
        return {key: thawed(item) for key, item in tree.items()}
    if dataclasses.is_dataclass(cls):
        plain: Any = object.__new__(cls)  # pyright: ignore[reportArgumentType]
        for field in dataclasses.fields(cls):
            object.__setattr__(plain, field.name, thawed(getattr(tree, field.name)))
        return plain
    return tree


def flatten_traced(signature: Signature, values: Sequence[Any]) -> tuple[list[Any], optree.PyTreeSpec, Flat]:
    """Return the leaves of a call with traced values, their container, and the description of the call."""
    thawed_values: Any = tuple(thawed(value) for value in values)
    register_dataclasses(thawed_values)
    leaves, spec = optree.tree_flatten(thawed_values, namespace=NAMESPACE)
    paths = optree.tree_paths(thawed_values, namespace=NAMESPACE)
    owners = tuple(path[0] for path in paths)
    names = tuple("_".join((signature.parameters[path[0]], *map(str, path[1:]))) for path in paths)
    kinds = tuple(_kind(leaf) for leaf in leaves)
    return leaves, spec, Flat(kinds, tuple(leaves), owners, names, ((),) * len(leaves), spec)


def _kind(leaf: Any) -> LeafKind:
    if type(leaf) is TracedScalar and leaf._content.weak in (float, int):
        return FLOAT if leaf._content.weak is float else INT
    if is_traced(leaf):
        trace: Trace = leaf._trace  # pyright: ignore[reportAssignmentType]
        return LeafKind("array", trace.dtype_of(leaf), leaf.ndim, scalar_type=not leaf.ndim)
    if type(leaf) in (float, int):
        return FLOAT if type(leaf) is float else INT
    return LeafKind("static")


# --- one call -----------------------------------------------------------------------------------------------


class InlineVariant:
    """One call of a differentiated function inside a trace; has what `Core` asks of a `Variant`."""

    is_direct = False

    def __init__(
        self, trace: Trace, source: Source, signature: Signature, options: Options, values: Sequence[Any]
    ) -> None:
        self.trace = trace
        self.options = options
        leaves, spec, self.flat = flatten_traced(signature, values)
        self.kinds, self.names, self.owners = self.flat.kinds, self.flat.names, self.flat.owners
        self.wrt_leaves: tuple[int, ...] | None = None
        inputs: list[str | None] = [None] * len(leaves)
        for at, leaf in enumerate(leaves):
            parameter = signature.parameters[self.owners[at]]
            wanted = parameter in signature.wrt and parameter not in signature.static
            if wanted and is_floating(leaf, numbers=parameter in signature.named):
                leaves[at] = self._placeholder(leaf, self.names[at])
                inputs[at] = leaves[at]._content.name
        self.start = len(trace.emit.builder.equations)
        result = source.inline(trace, optree.tree_unflatten(spec, leaves))  # pyright: ignore[reportArgumentType]
        self.built = self._built(tuple(inputs), result.outputs, result)

    def _placeholder(self, leaf: Any, name: str) -> Any:
        """Return a copy of a tensor, with respect to which the function is differentiated."""
        trace = self.trace
        value = lifted(trace, leaf)
        shape = trace.emit.shape(value)
        trace.mark = len(trace.emit.builder.equations)
        copied = trace.named(trace.emit.reindex(value, shape, tuple(range(len(shape)))), name)
        copied = Value(copied.name, copied.dtype, shape, value.weak)
        return wrapped(trace, copied, name, frozen=True)

    def _built(self, inputs: tuple[str | None, ...], outputs: Any, result: Inlined) -> Built:
        trace = self.trace
        found, spec = optree.tree_flatten(outputs, namespace=NAMESPACE)
        values = [trace.output(leaf) for leaf in found]
        placeholders = [name for name in inputs if name is not None]
        builder = trace.emit.builder
        program = segment(builder, self.start, placeholders, [value.name for value in values])
        program = with_extents(program, trace.solver)
        wrt = {at: name for at, name in enumerate(inputs) if name is not None}
        if result.operands:
            wrt = {at: result.operands[at] for at in wrt}
        return Built(program, inputs, wrt, spec, tuple(range(len(values))), elementwise=result.elementwise)

    # --- what `Core` asks of a variant ------------------------------------------------------------------

    def inputs(self, values: Sequence[Any]) -> list[Any]:
        """Nothing: the arguments are part of the program already."""
        return []

    def explain_mismatch(self, values: Sequence[Any]) -> None:
        """Nothing: what does not fit is an error of the trace."""
        return

    def gradient_inputs(self, leaves: Sequence[int]) -> tuple[str, ...]:
        """Return the tensors to differentiate for the given leaves."""
        return tuple(self.built.wrt[leaf] for leaf in leaves)

    def argument_inputs(self, leaves: Sequence[int]) -> tuple[str, ...]:
        """Return the arguments themselves, for derivatives in their own shapes."""
        return tuple(name for name in (self.built.inputs[leaf] for leaf in leaves) if name is not None)

    def like_output(self, at: int, result: Any) -> Any:
        """Return the output itself: it has its dtype."""
        return result

    def like_leaf(self, leaf: int, result: Any) -> Any:
        """Return a gradient in the type of its argument: that of a Python float is weak in promotion."""
        if self.kinds[leaf] not in (FLOAT, INT) or result._content.shape:
            return result
        content = result._content
        return wrapped(self.trace, Value(content.name, content.dtype, (), float))

    def kernel(self, derivation: Derivation) -> Callable[..., tuple[Any, ...]]:
        """Return the function that adds a derivation's equations to the trace and returns its outputs."""

        def emit(*extra: Value) -> tuple[Any, ...]:
            return tuple(wrapped(self.trace, value) for value in self.derived(derivation, extra))

        return emit

    def derived(self, derivation: Derivation, extra: Sequence[Value]) -> list[Value]:
        """Splice in a derived program whose additional inputs are `extra`."""
        trace = self.trace
        program = self.built.value_program if derivation.of in EVERY_OUTPUT else self.built.program
        stable = stabilise(program)[0] if self.options.stabilise else program
        derived: Program = DERIVATIONS[derivation.of](stable, derivation.wrt)
        names = [value.name for value in extra]
        bound = dict(zip(derived.inputs[len(program.inputs) :], names, strict=True))
        builder = trace.emit.builder
        new = splice(builder, derived, bound, known=program)
        outputs = [new.get(name, name) for name in derived.outputs]
        return [Value(name, builder.types[name].dtype, builder.types[name].shape) for name in outputs]

    def operand(self, value: Any, dtype: DType, like: str, what: str) -> Value:
        """Return a cotangent or tangent as a tensor of the shape of tensor `like`."""
        trace = self.trace
        found = trace.emit.cast(lifted(trace, value), dtype)
        shape, own = self.built.program.types[like].shape, trace.emit.shape(found)
        if len(shape) != len(own):
            raise ArgumentError(
                f"the {what} has {len(own)} axes, {like} has {len(shape)}", where=trace.where()
            )
        for first, second in zip(shape, own, strict=True):
            trace.solver.unify(first, second, f"a {what} has the shape of {like}")
        return found
