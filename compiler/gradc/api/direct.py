"""Calls that machine code answers without any Python, once one of their kind has been answered with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optree

from gradc.api.built import LEAF
from gradc.api.core import MAX_VARIANTS, Core, fast_key
from gradc.api.variant import Variant
from gradc.pipeline import Derivation
from gradc_runtime import backends

if TYPE_CHECKING:
    from gradc.api.core import AnyVariant

Tree = Any  # tuples, in one another, of the numbers of results: what a call returns

# By derivation: the method that machine code stands for.  Calls of that go to an attribute with ``_`` before its
# name, so that whoever holds the method is served too.
SERVED = {
    "value": "__call__",
    "grad": "grad",
    "value_and_grad": "value_and_grad",
    "jacobian": "jacobian",
    "hessian": "hessian",
}


def serve_directly(
    function: Core,
    variant: AnyVariant,
    derivation: Derivation,
    leaves: Sequence[int],
    call: tuple[tuple[Any, ...], Mapping[str, Any]],
) -> None:
    """Let machine code answer further calls of this kind; the function serves all others."""
    served, (args, kwargs) = (variant, derivation), call
    if (
        not isinstance(variant, Variant)
        or not (variant.is_direct and function._plain)
        or kwargs
        or fast_key(args) is None
        or served in function._direct
        or len(function._direct) >= MAX_VARIANTS
    ):
        return
    tree = _tree(function, variant, derivation, leaves)
    if tree is None:
        return
    function._direct.add(served)
    name = SERVED[derivation.of]
    entry = backends.load("entry").call(
        variant.dispatcher(derivation),
        getattr(function, f"_{derivation.of}"),
        name,
        getattr(type(function), name).__doc__,
        tree,
        _numbers(variant, derivation),
    )
    if entry is not None:
        setattr(function, f"_{derivation.of}", entry)
        if name == derivation.of:
            setattr(function, name, entry)


def _numbers(variant: Variant, derivation: Derivation) -> tuple[int, ...]:
    """The results that are NumPy's numbers; derivatives are Python's."""
    if derivation.of not in ("value", "value_and_grad"):
        return ()
    program = variant.built.program
    return tuple(at for at, name in enumerate(program.outputs) if not program.types[name].shape)


def _tree(function: Core, variant: Variant, derivation: Derivation, leaves: Sequence[int]) -> Tree | None:
    """What a call returns; None where that is not the kernel's results, as they come, in tuples."""
    built, bare, width = variant.built, function.signature.bare, len(leaves)
    if derivation.of != "value" and width != len(function.signature.wrt):
        return None

    def row(first: int) -> Tree:
        """The derivatives by all arguments, from a result on."""
        return first if bare else tuple(range(first, first + width))

    value = _contained(built.out_spec, built.outputs)
    match derivation.of:
        case "value":
            tree = value
        case "grad":
            tree = row(0)
        case "value_and_grad":
            tree = value, row(len(built.program.outputs))
        case "jacobian":
            types = [built.program.types[built.program.outputs[at]] for at in built.value_outputs]
            if not all(type_.dtype.is_float for type_ in types):
                return None
            tree = _contained(built.value_spec, [row(width * at) for at in range(len(types))])
        case _:
            tree = row(0) if bare else tuple(row(width * at) for at in range(width))
    found = _in(tree)
    return tree if found == list(range(len(found))) else None


def _contained(spec: Any, parts: Sequence[Tree]) -> Any:
    return parts[0] if spec == LEAF else optree.tree_unflatten(spec, parts)


def _in(tree: Any) -> list[int]:
    """The numbers in tuples, in order; -1 for any other container."""
    if isinstance(tree, int):
        return [tree]
    return [number for part in tree for number in _in(part)] if type(tree) is tuple else [-1]
