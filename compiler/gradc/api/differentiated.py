"""The object that `differentiate` returns: a callable with `grad`, `value_and_grad` and the other derivatives."""

from __future__ import annotations

import functools
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar

import numpy as np
import optree

from gradc.api.built import Source, positions
from gradc.api.variant import Variant, require_scalar
from gradc.errors import ArgumentError
from gradc.ir.types import FROM_NUMPY
from gradc.lang.signature import FLOAT, NAMESPACE, Flat, LeafKind, Signature, flatten
from gradc.pipeline import Derivation, Options

if TYPE_CHECKING:
    from gradc.api.bound import At
    from gradc.explain.inspection import Inspection
    from gradc_runtime.gradcheck import Report

P = ParamSpec("P")
R = TypeVar("R")

_LEAF = optree.tree_structure(0)
MAX_VARIANTS = 16
WARN_AT = 8


class CacheInfo(NamedTuple):
    """How often calls were served: variants traced, kernels compiled."""

    variants: int
    kernels: int


class Differentiated(Generic[P, R]):
    """A function with derivatives.

    Calling it computes the value.  Every method takes the function's own arguments; see `differentiate`.
    """

    def __init__(self, source: Source, signature: Signature, function: Callable[P, R], options: Options) -> None:
        functools.update_wrapper(self, function)  # pyright: ignore[reportArgumentType]
        self.__wrapped__ = function
        self.__signature__ = signature.python
        self.source = source
        self.signature = signature
        self.options = options
        self.checked = True  # False: the first call of value_and_grad or grad runs the gradient check
        self._variants: dict[tuple[Any, ...], list[Variant]] = {}
        self._lock = threading.RLock()
        self._specs: dict[int, optree.PyTreeSpec] = {}
        self._plain = signature.positional and not signature.static

    def __repr__(self) -> str:
        return f"<differentiated {self.signature.name}{self.signature.python}>"

    # --- calls ------------------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The value, computed by a compiled kernel."""
        if os.environ.get("GRADC_DISABLE") == "1":
            return self.__wrapped__(*args, **kwargs)
        variant, values, flat = self._prepare(args, kwargs)
        results = self._run(variant, Derivation("value"), values)
        return _outputs(variant, results, flat)

    def grad(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """The gradient: bare if `wrt` is one name or the function has one parameter, else a tuple in that order."""
        variant, values, flat = self._prepare(args, kwargs)
        require_scalar(variant.built, "grad")
        leaves = self._leaves(variant)
        results = self._run(variant, Derivation("grad", variant.gradient_inputs(leaves)), values)
        return self._gradients(variant, leaves, results, flat)

    def value_and_grad(self, *args: P.args, **kwargs: P.kwargs) -> tuple[R, Any]:
        """``(value, gradient)`` from one fused kernel."""
        variant, values, flat = self._prepare(args, kwargs)
        require_scalar(variant.built, "value_and_grad")
        leaves = self._leaves(variant)
        results = self._run(variant, Derivation("value_and_grad", variant.gradient_inputs(leaves)), values)
        count = len(variant.built.program.outputs)
        return _outputs(variant, results[:count], flat), self._gradients(variant, leaves, results[count:], flat)

    def vjp(self, *args: P.args, **kwargs: P.kwargs) -> tuple[R, Callable[[Any], Any]]:
        """``(value, pullback)``; ``pullback(cotangent)`` returns what `grad` returns.

        The cotangent has the container and the shapes of the value.
        """
        variant, values, flat = self._prepare(args, kwargs)
        value = _outputs(variant, self._run(variant, Derivation("value"), values), flat)
        leaves = self._leaves(variant)

        def pullback(cotangent: Any) -> Any:
            seeds = _matching(variant, cotangent)
            derivation = Derivation("vjp", variant.gradient_inputs(leaves))
            return self._gradients(variant, leaves, self._run(variant, derivation, values, seeds), flat)

        return value, pullback

    # --- preparing --------------------------------------------------------------------------------------

    def _prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Variant, Sequence[Any], Flat | None]:
        """The variant that serves a call, and its leaves; `Flat` is None on the fast path without containers."""
        if self._plain and not kwargs and len(args) == len(self.signature.parameters):
            key = _fast_key(args)
            if key is not None:
                found = self._variants.get(key)
                if found is not None:
                    for variant in found:
                        if not variant.guarded or variant.matches(args):
                            return variant, args, None
        flat = flatten(self.signature, self.signature.bind(args, kwargs))
        key = _key_of(flat)
        for variant in self._variants.get(key, ()):
            if variant.matches(flat.values):
                return variant, flat.values, flat
        return self._build(key, flat), flat.values, flat

    def _build(self, key: tuple[Any, ...], flat: Flat) -> Variant:
        with self._lock:
            known = self._variants.get(key, [])
            for variant in known:
                if variant.matches(flat.values):
                    return variant
            variant = Variant(self.source.build(flat), flat, self.options)
            self._variants[key] = [*known, variant][-MAX_VARIANTS:]
            self._warn_about_variants()
            return variant

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
        self, variant: Variant, derivation: Derivation, values: Sequence[Any], extra: Sequence[Any] = ()
    ) -> tuple[Any, ...]:
        kernel = variant.kernel(derivation)
        try:
            return kernel(*variant.inputs(values), *extra)
        except ValueError:
            mismatch = variant.explain_mismatch(values)
            if mismatch is None:
                raise
            raise mismatch from None

    # --- results ----------------------------------------------------------------------------------------

    def _leaves(self, variant: Variant) -> tuple[int, ...]:
        """The floating-point leaves of the arguments in `wrt`, in order."""
        found = variant.wrt_leaves
        if found is None:
            found = []
            for name in self.signature.wrt:
                owner = self.signature.parameters.index(name)
                of_argument = [leaf for leaf in positions(variant.owners, owner) if leaf in variant.built.wrt]
                if not of_argument and name in self.signature.named:
                    raise ArgumentError(
                        f"argument {name} of {self.signature.name} is not floating point, so it has no gradient",
                        do=f"pass it as floats, or leave it out of wrt=({', '.join(map(repr, self.signature.wrt))})",
                    )
                found += of_argument
            found = variant.wrt_leaves = tuple(found)
        return found

    def _gradients(self, variant: Variant, leaves: Sequence[int], results: Sequence[Any], flat: Flat | None) -> Any:
        """Gradients in the containers of the arguments; None stands for arguments that have none."""
        typed = [_like(variant.kinds[leaf], result) for leaf, result in zip(leaves, results, strict=True)]
        by_leaf = dict(zip(leaves, typed, strict=True))
        if flat is None:
            if self.signature.bare:
                return typed[0]
            return tuple(by_leaf.get(self.signature.parameters.index(name)) for name in self.signature.wrt)
        trees = []
        for name in self.signature.wrt:
            owner = self.signature.parameters.index(name)
            own = [by_leaf.get(leaf) for leaf in positions(flat.owners, owner)]
            child = flat.spec.child(owner)
            trees.append(own[0] if child == _LEAF else optree.tree_unflatten(child, own))
        return trees[0] if self.signature.bare else tuple(trees)

    # --- everything else ----------------------------------------------------------------------------------

    def check(self, *args: P.args, **kwargs: P.kwargs) -> Report:
        """Compare the gradient with numerical differences; the report is truthy when they agree."""
        return self.at(*args, **kwargs).check()

    def inspect(self, *args: P.args, **kwargs: P.kwargs) -> Inspection:
        """Every stage of the compilation for these arguments."""
        return self.at(*args, **kwargs).inspect()

    def kernel(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """The Numba dispatcher that returns ``(value, grads)``, for your own ``@njit`` code."""
        return self.at(*args, **kwargs).kernel()

    def at(self, *args: P.args, **kwargs: P.kwargs) -> At:
        """The function bound to arguments; its methods take options."""
        from gradc.api.bound import At  # noqa: PLC0415  (a module that knows this one)

        return At(self, args, kwargs)

    def with_options(self, **changes: Any) -> Differentiated[P, R]:
        """A sibling with other options: ``wrt=``, ``static=``, ``target=``, ``stabilise=``."""
        from gradc.api.decorator import rebuilt  # noqa: PLC0415

        return rebuilt(self, changes)

    def cache_info(self) -> CacheInfo:
        """How many variants were traced and kernels compiled so far."""
        variants = [variant for found in self._variants.values() for variant in found]
        return CacheInfo(len(variants), sum(len(variant.loaded) for variant in variants))

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        from gradc.api.bound import Method  # noqa: PLC0415

        return Method(self, instance)

    def __reduce__(self) -> tuple[Any, ...]:
        from gradc.api.decorator import by_name  # noqa: PLC0415

        return by_name, (self.__wrapped__.__module__, self.__wrapped__.__qualname__)


def _fast_key(args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The key of a call whose arguments are plain floats and well-behaved arrays; None otherwise."""
    key = []
    for leaf in args:
        kind = type(leaf)
        if kind is float:
            key.append(FLOAT)
        elif kind is np.ndarray:
            flags = leaf.flags
            shape = leaf.shape
            if not shape or 1 in shape or not (flags.c_contiguous and flags.aligned) or leaf.dtype not in FROM_NUMPY:
                return None
            key.append((leaf.dtype, len(shape)))
        else:
            return None
    return tuple(key)


def _key_of(flat: Flat) -> tuple[Any, ...]:
    """The key of any call; equal to `_fast_key` where that gives one."""
    kinds = tuple(_kind_key(kind) for kind in flat.kinds)
    simple = flat.spec.num_leaves == flat.spec.num_children and all(child == _LEAF for child in flat.spec.children())
    return kinds if simple else (*kinds, flat.spec)


def _kind_key(kind: LeafKind) -> Any:
    if kind.kind == "array" and kind.rank and not kind.ones and kind.dtype is not None:
        return (kind.dtype.numpy, kind.rank)
    return kind


def _outputs(variant: Variant, results: Sequence[Any], flat: Flat | None) -> Any:
    built = variant.built
    leaves = [_scalar_output(built.program.types[built.program.outputs[at]], results[at]) for at in built.outputs]
    if built.out_spec == _LEAF:
        return leaves[0]
    return optree.tree_unflatten(built.out_spec, leaves)


def _scalar_output(type_: Any, result: Any) -> Any:
    """NumPy scalars in the declared dtype, where the kernel returned a Python number."""
    return result if type_.shape else type_.dtype.numpy.type(result)


def _like(kind: LeafKind, gradient: Any) -> Any:
    """The gradient in the type of the argument: a Python float for a Python float, a NumPy scalar for a 0-d array."""
    if kind.rank or isinstance(gradient, np.ndarray):
        return gradient
    if kind.scalar_type and kind.dtype is not None:
        return kind.dtype.numpy.type(gradient)
    return float(gradient)


def _matching(variant: Variant, cotangent: Any) -> list[Any]:
    """Cotangent leaves as kernel arguments, of the outputs' dtypes and shapes."""
    built = variant.built
    leaves, spec = optree.tree_flatten(cotangent, namespace=NAMESPACE)
    if spec != built.out_spec:
        raise ArgumentError("the cotangent has another container than the value", why=f"{spec} and {built.out_spec}")
    by_output: dict[int, Any] = {}
    for at, leaf in zip(built.outputs, leaves, strict=True):
        dtype = built.program.types[built.program.outputs[at]].dtype
        if dtype.is_float:
            array = np.require(np.asarray(leaf, dtype.numpy), requirements=("C", "A"))
            by_output[at] = array if array.ndim else array[()]
    return [by_output[at] for at in sorted(by_output)]


__all__ = ["CacheInfo", "Differentiated"]
