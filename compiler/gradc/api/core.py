"""Serving calls: from arguments to a variant, from kernel results back to the caller's containers."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import optree

from gradc.api.built import LEAF, Built, Source, positions
from gradc.api.variant import Variant
from gradc.autodiff.activity import useful
from gradc.errors import ArgumentError, GradcWarning
from gradc.ir.types import FROM_NUMPY
from gradc.lang.signature import FLOAT, NAMESPACE, Flat, LeafKind, Signature, flatten
from gradc.pipeline import Derivation, Options

if TYPE_CHECKING:
    from gradc.api.inline import InlineVariant
    from gradc.lang.session import Trace

    AnyVariant = Variant | InlineVariant

_CONCRETE = frozenset((float, int, bool, str, np.ndarray, np.float64, np.float32, type(None)))
MAX_VARIANTS = 16
WARN_AT = 8


class CacheInfo(NamedTuple):
    """How often calls were served: variants traced, kernels compiled."""

    variants: int
    kernels: int


class Core:
    """The variants of one function; looks them up, builds them, and shapes their results."""

    def __init__(self, source: Source, signature: Signature, options: Options) -> None:
        self.source = source
        self.signature = signature
        self.options = options
        self.has_aux = False
        self._trace: Trace | None = None  # set in copies that stand for the function inside a trace
        self._variants: dict[tuple[Any, ...], list[Variant]] = {}
        self._lock = threading.RLock()
        self._direct: set[Any] = set()  # what machine code serves without Python: variants and derivations
        self._plain = signature.positional and not signature.static

    def cache_info(self) -> CacheInfo:
        """How many variants were traced and kernels compiled so far."""
        variants = [variant for found in self._variants.values() for variant in found]
        return CacheInfo(len(variants), sum(len(variant.loaded) for variant in variants))

    # --- preparing --------------------------------------------------------------------------------------

    def _prepare(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[AnyVariant, Sequence[Any], Flat | None]:
        """Find the variant that serves a call, and its leaves; no `Flat` where there are no containers."""
        if self._plain and not kwargs and len(args) == len(self.signature.parameters):
            key = fast_key(args)
            if key is not None:
                found = self._variants.get(key)
                if found is not None:
                    for variant in found:
                        if not variant.guarded or variant.matches(args):
                            return variant, args, None
        trace = self._tracing(args, kwargs)
        if trace is not None:
            variant = self._inside(trace, args, kwargs)
            return variant, (), variant.flat
        flat = flatten(self.signature, self.signature.bind(args, kwargs))
        key = _key_of(flat)
        for variant in self._variants.get(key, ()):
            if variant.matches(flat.values):
                return variant, flat.values, flat
        return self._build(key, flat), flat.values, flat

    def _tracing(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace | None:
        """Return the trace that a call is part of; None for a call on arrays and numbers."""
        trace = self._trace
        if trace is None and not (_CONCRETE.issuperset(map(type, args)) and not kwargs):
            from gradc.api.inline import trace_of  # noqa: PLC0415  (tracing loads SciPy)

            trace = trace_of((args, kwargs))
        if trace is not None:
            trace.enter(sys._getframe(1))
        return trace

    def _inside(self, trace: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]) -> InlineVariant:
        from gradc.api.inline import InlineVariant  # noqa: PLC0415

        values = self.signature.bind(args, kwargs)
        variant = InlineVariant(trace, self.source, self.signature, self.options, values)
        variant.built = self._with_aux(variant.built)
        return variant

    def _with_aux(self, built: Built) -> Built:
        return built.with_aux() if self.has_aux else built

    def _build(self, key: tuple[Any, ...], flat: Flat) -> Variant:
        with self._lock:
            known = self._variants.get(key, [])
            for variant in known:
                if variant.matches(flat.values):
                    return variant
            self._require_place(flat)
            variant = Variant(self._with_aux(self.source.build(flat)), flat, self.options)
            self._variants[key] = [*known, variant][-MAX_VARIANTS:]
            self._warn_about_variants()
            return variant

    def _require_place(self, flat: Flat) -> None:
        """Refuse arrays on a GPU where kernels run elsewhere."""
        for name, kind in zip(flat.names, flat.kinds, strict=True):
            if kind.on_device and self.options.target != "cuda":
                raise ArgumentError(
                    f"{name} is in the memory of a GPU",
                    where=f"call of {self.signature.name}",
                    why=f"its kernels are for target={self.options.target!r}",
                    do='decorate with target="cuda", or copy the array to the host',
                )

    def _warn_about_variants(self) -> None:
        variants = [variant for found in self._variants.values() for variant in found]
        if len(variants) != WARN_AT:
            return
        changing = [
            name
            for at, name in enumerate(variants[-1].names)
            if len({variant.kinds[at] for variant in variants if at < len(variant.kinds)}) > 1
        ]
        cause = f"argument {', '.join(changing)} keeps changing" if changing else "its guards keep failing"
        warnings.warn(
            f"{self.signature.name} was compiled {WARN_AT} times: {cause}; see cache_info()", stacklevel=5
        )

    def _run(
        self, variant: AnyVariant, derivation: Derivation, values: Sequence[Any], extra: Sequence[Any] = ()
    ) -> tuple[Any, ...]:
        kernel = variant.kernel(derivation)
        try:
            results = kernel(*variant.inputs(values), *extra)
        except ValueError:
            mismatch = variant.explain_mismatch(values)
            if mismatch is None:
                raise
            raise mismatch from None
        if isinstance(results[-1], tuple):  # a compiled kernel returns gradients as a tuple of their own
            return (*results[:-1], *results[-1])
        return results

    # --- results ----------------------------------------------------------------------------------------

    def _leaves(self, variant: AnyVariant) -> tuple[int, ...]:
        """Return the floating-point leaves of the arguments in `wrt`, in order."""
        found = variant.wrt_leaves
        if found is None:
            found = []
            for name in self.signature.wrt:
                owner = self.signature.parameters.index(name)
                of_argument = [leaf for leaf in positions(variant.owners, owner) if leaf in variant.built.wrt]
                if not of_argument and name in self.signature.named:
                    raise ArgumentError(
                        f"argument {name} of {self.signature.name} is not floating point: it has no gradient",
                        why=f"wrt=({', '.join(map(repr, self.signature.wrt))})",
                        do="pass it as floats, or leave it out of wrt",
                    )
                found += of_argument
            if not found:
                raise ArgumentError(
                    f"{self.signature.name} has no floating-point argument to differentiate",
                    why=", ".join(
                        f"{n} is {k.kind if k.dtype is None else k.dtype}"
                        for n, k in zip(variant.names, variant.kinds, strict=True)
                    ),
                    do="pass floats, or name the arguments in wrt=",
                )
            found = variant.wrt_leaves = tuple(found)
            self._warn_about_independence(variant, found)
        return found

    def _warn_about_independence(self, variant: AnyVariant, leaves: Sequence[int]) -> None:
        """Warn of a gradient that is zero because the argument is not used: the trace was lost on the way."""
        program = variant.built.program
        reached = useful(program, program.outputs)
        unused = [variant.names[leaf] for leaf in leaves if variant.built.wrt[leaf] not in reached]
        if unused:
            warnings.warn(
                f"{self.signature.name} does not depend on {', '.join(unused)}: the gradient is zero",
                GradcWarning,
                stacklevel=4,
            )

    def _gradients(
        self, variant: AnyVariant, leaves: Sequence[int], results: Sequence[Any], flat: Flat | None
    ) -> Any:
        """Gradients in the containers of the arguments; None stands for arguments that have none."""
        typed = [variant.like_leaf(leaf, result) for leaf, result in zip(leaves, results, strict=True)]
        return self._containers(dict(zip(leaves, typed, strict=True)), flat)

    def _containers(self, by_leaf: dict[int, Any], flat: Flat | None) -> Any:
        """One item per leaf, in the containers of the arguments in `wrt`."""
        trees = []
        for name in self.signature.wrt:
            owner = self.signature.parameters.index(name)
            if flat is None:
                trees.append(by_leaf.get(owner))
                continue
            own = [by_leaf.get(leaf) for leaf in positions(flat.owners, owner)]
            child = flat.spec.child(owner)
            trees.append(own[0] if child == LEAF else optree.tree_unflatten(child, own))
        return trees[0] if self.signature.bare else tuple(trees)

    def _directions(self, variant: AnyVariant, leaves: Sequence[int], tangents: Any) -> list[Any]:
        """Tangents as kernel arguments, one per differentiated leaf."""
        given = tangents if not self.signature.bare else (tangents,)
        found = optree.tree_leaves(given, namespace=NAMESPACE)  # pyright: ignore[reportArgumentType]
        if len(found) != len(leaves):
            raise ArgumentError(
                f"{len(found)} tangents for {len(leaves)} differentiated arguments",
                do="give tangents in the structure that grad returns",
            )
        names = variant.argument_inputs(leaves)
        types = variant.built.program.types
        return [
            variant.operand(tangent, types[name].dtype, name, "tangent")
            for tangent, name in zip(found, names, strict=True)
        ]


def fast_key(args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return the key of a call whose arguments are plain floats and well-behaved arrays; None otherwise."""
    key = []
    for leaf in args:
        kind = type(leaf)
        if kind is float:
            key.append(kind)
        elif kind is np.ndarray:
            flags = leaf.flags
            shape = leaf.shape
            if (
                not shape
                or 1 in shape
                or not (flags.c_contiguous and flags.aligned)
                or leaf.dtype not in FROM_NUMPY
            ):
                return None
            key.append((leaf.dtype, len(shape)))
        else:
            return None
    return tuple(key)


def _key_of(flat: Flat) -> tuple[Any, ...]:
    """Return the key of any call; equal to `fast_key` where that gives one."""
    kinds = tuple(_kind_key(kind) for kind in flat.kinds)
    simple = flat.spec.num_leaves == flat.spec.num_children and all(
        child == LEAF for child in flat.spec.children()
    )
    return kinds if simple else (*kinds, flat.spec)


def _kind_key(kind: LeafKind) -> Any:
    if kind.kind == "array" and kind.rank and not kind.ones and kind.dtype is not None:
        return (kind.dtype.numpy, kind.rank)
    return float if kind is FLOAT else kind


def outputs_tree(variant: AnyVariant, results: Sequence[Any], *, value_only: bool = False) -> Any:
    """Return the results in the containers that the function returns; only the value's with `value_only`."""
    built = variant.built
    outputs, spec = (built.outputs, built.out_spec)
    if value_only:
        outputs, spec = built.value_outputs, built.value_spec
    leaves = [variant.like_output(at, results[at]) for at in outputs]
    return leaves[0] if spec == LEAF else optree.tree_unflatten(spec, leaves)


def matching(variant: AnyVariant, cotangent: Any) -> list[Any]:
    """Cotangent leaves as kernel arguments, of the outputs' dtypes and shapes."""
    built = variant.built
    leaves, spec = optree.tree_flatten(cotangent, namespace=NAMESPACE)
    if spec != built.value_spec:
        raise ArgumentError(
            "the cotangent has another container than the value",
            why=f"{spec} and {built.value_spec}",
            do="give one cotangent per leaf of the value, in its container",
        )
    by_output: dict[int, Any] = {}
    for at, leaf in zip(built.value_outputs, leaves, strict=True):
        name = built.program.outputs[at]
        dtype = built.program.types[name].dtype
        if dtype.is_float:
            by_output[at] = variant.operand(leaf, dtype, name, "cotangent")
    return [by_output[at] for at in sorted(by_output)]
