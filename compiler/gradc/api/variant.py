"""One traced program with its compiled kernels, serving every call of one kind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradc.api.built import Built
from gradc.api.collector import collector_resting
from gradc.api.device import on_device
from gradc.errors import ArgumentError, GuardFailed, ShapeError
from gradc.ir import extents
from gradc.ir.index.evaluate import bind_extents, evaluate
from gradc.ir.index.nodes import Program
from gradc.ir.index.show import show_type
from gradc.ir.stages import Stages
from gradc.ir.types import DType
from gradc.lang.signature import Flat
from gradc.lang.source import side_by_side
from gradc.pipeline import Derivation, Options, artifact_of, compile_program, derive, into_arguments, updating
from gradc_runtime import backends

Kernel = Callable[..., tuple[Any, ...]]

EVERY_OUTPUT = ("vjp", "jvp", "jacobian")  # derivations of all outputs; the others look at the first one


class Variant:
    """Compiled kernels of one program.

    `kernel(of)` compiles at first use; compilation happens once, whatever thread asks first.
    """

    def __init__(self, built: Built, flat: Flat, options: Options) -> None:
        self.built = built
        self.kinds = flat.kinds
        self.names = flat.names
        self.owners = flat.owners
        self.wrt_leaves: tuple[int, ...] | None = None
        self.options = options
        self.dynamic = tuple(at for at, name in enumerate(built.inputs) if name is not None)
        self.all_dynamic = len(self.dynamic) == len(flat.kinds)
        self.stages: dict[Derivation, Stages] = {}
        self.loaded: dict[Derivation, Any] = {}
        self._kernels: dict[Derivation, Kernel] = {}
        self._lock = threading.RLock()
        shapes = [built.program.types[name].shape for name in built.program.inputs]
        places = [
            (at, axis, size)
            for at, shape in enumerate(shapes)
            for axis, size in enumerate(shape)
            if size != 1
        ]
        # By input and axis: extents that the trace fixed (one of 1 is part of the call's key), and symbols.
        self._fixed = [(at, axis, size) for at, axis, size in places if isinstance(size, int)]
        read = {str(size): (at, axis) for at, axis, size in reversed(places) if extents.is_symbol(size)}
        self._symbols = [(name, at, axis) for name, (at, axis) in read.items()]
        conditional = bool(built.captured or built.scalar_guards)
        self.guarded = conditional or bool(built.program.guards or self._fixed)
        # Arguments go to a compiled kernel as they are; what concerns shapes is checked by the kernel.
        self.is_direct = self.all_dynamic and not conditional and not built.hidden and options.target == "cpu"

    # --- arguments --------------------------------------------------------------------------------------

    def inputs(self, values: Sequence[Any]) -> list[Any]:
        """Kernel arguments: the dynamic leaves, then the hidden arrays as they are now."""
        chosen = list(values) if self.all_dynamic else [values[at] for at in self.dynamic]
        for hidden in self.built.hidden:
            chosen.append(_prepared(hidden.read()))
        return chosen

    def matches(self, values: Sequence[Any]) -> bool:
        """Whether the program's guards hold for a call."""
        if not self.guarded:
            return True
        if not all(captured.holds() for captured in self.built.captured):
            return False
        program = self.built.program
        integers = {
            name: values[leaf]
            for leaf, name in enumerate(self.built.inputs)
            if name is not None and self.kinds[leaf].kind == "int"
        }
        if not all(guard.holds(integers) for guard in self.built.scalar_guards):
            return False
        if not (program.guards or self._fixed):
            return True
        shapes = [np.shape(value) for value in self.inputs(values)]
        if any(shapes[at][axis] != size for at, axis, size in self._fixed):
            return False
        known = {name: shapes[at][axis] for name, at, axis in self._symbols}
        for quotient in program.quotients:
            denominator = extents.evaluate(quotient.denominator, known)
            known[quotient.symbol] = (
                extents.evaluate(quotient.numerator, known) // denominator if denominator else 0
            )
        return all(guard.holds(known) for guard in program.guards)

    def explain_mismatch(self, values: Sequence[Any]) -> GuardFailed | None:
        """Why a call does not fit the program's shapes, with the numbers; None if it does fit."""
        program = self.built.program
        inputs = dict(zip(program.inputs, self.inputs(values), strict=True))
        try:
            bind_extents(program, {name: np.shape(value) for name, value in inputs.items()})
        except GuardFailed as failed:
            rows = [(f"{n}:", show_type(program.types[n]), f"given {np.shape(v)}") for n, v in inputs.items()]
            return GuardFailed(
                failed.what,
                where=f"call of {program.name}",
                why=(failed.why or "the extents of one name must be equal") + side_by_side(rows),
                do="make the shapes agree",
            )
        return None

    def operand(self, value: Any, dtype: DType, like: str, what: str) -> Any:
        """Return a cotangent or tangent as a kernel argument; kernels check its shape."""
        array = np.require(np.asarray(value, dtype.numpy), requirements=("C", "A"))
        shape = self.built.program.types[like].shape
        if array.ndim != len(shape):
            raise ArgumentError(
                f"the {what} of {like} has {array.ndim} axes, {like} has {len(shape)}",
                where=f"call of {self.built.program.name}",
                do=f"give a {what} of the shape of {like}",
            )
        return array if array.ndim else array[()]

    # --- results ----------------------------------------------------------------------------------------

    def like_output(self, at: int, result: Any) -> Any:
        """One output in its declared dtype, where the kernel returned a Python number."""
        type_ = self.built.program.types[self.built.program.outputs[at]]
        is_on_device = hasattr(result, "copy_to_host")  # and stays there
        if type_.shape or result is None or is_on_device:
            return result
        return type_.dtype.numpy.type(result)

    def like_leaf(self, leaf: int, result: Any) -> Any:
        """Return a gradient in the type of its argument: a float, or a NumPy scalar for a 0-d array."""
        kind = self.kinds[leaf]
        if kind.rank or isinstance(result, np.ndarray) or not np.isscalar(result):
            return result
        if kind.scalar_type and kind.dtype is not None:
            return kind.dtype.numpy.type(result)
        return float(result)  # pyright: ignore[reportArgumentType]

    # --- kernels ----------------------------------------------------------------------------------------

    def gradient_inputs(self, leaves: Sequence[int]) -> tuple[str, ...]:
        """Return the tensors to differentiate for the given leaves."""
        return tuple(self.built.wrt[leaf] for leaf in leaves)

    def argument_inputs(self, leaves: Sequence[int]) -> tuple[str, ...]:
        """Return the inputs themselves, for derivatives in the arguments' own shapes."""
        return tuple(name for name in (self.built.inputs[leaf] for leaf in leaves) if name is not None)

    def kernel(self, derivation: Derivation) -> Kernel:
        """Return the compiled function of a derivation, of `inputs` and what the derivation adds; a tuple."""
        found = self._kernels.get(derivation)
        if found is None:
            with self._lock:
                found = self._kernels.get(derivation)
                if found is None:
                    found = self._kernels[derivation] = self._compiled(derivation)
        return found

    def program_of(self, derivation: Derivation) -> Program:
        """Return the program to derive: without auxiliary results where all outputs are differentiated."""
        return self.built.value_program if derivation.of in EVERY_OUTPUT else self.built.program

    def compiled(self, derivation: Derivation) -> Stages:
        """All stages of a derivation, without calling Numba."""
        with self._lock:
            if derivation not in self.stages and derivation.into:
                plain = self.compiled(replace(derivation, into=False))
                self.stages[derivation] = into_arguments(plain, self.options)
            elif derivation not in self.stages and derivation.updates:
                plain = self.compiled(replace(derivation, updates=()))
                self.stages[derivation] = updating(plain, derivation.updates, self.options)
            elif derivation not in self.stages:
                program = self.program_of(derivation)
                with collector_resting():
                    self.stages[derivation] = compile_program(program, derivation, self.options)
            return self.stages[derivation]

    def _compiled(self, derivation: Derivation) -> Kernel:
        if self.options.target == "interpret":
            return _interpreted(derive(self.program_of(derivation), derivation, self.options))
        if self.options.target == "cuda":
            self.loaded[derivation], run = on_device(artifact_of(self.compiled(derivation)))
            return run
        numba_backend = backends.load("numba")
        with collector_resting():
            self.loaded[derivation] = numba_backend.load(artifact_of(self.compiled(derivation)))
            return numba_backend.compile_kernel(self.loaded[derivation])

    def dispatcher(self, derivation: Derivation) -> Any:
        """Return the Numba dispatcher, for use in other compiled code."""
        if self.options.target == "interpret":
            raise ArgumentError("target='interpret' has no compiled kernel", do="use target='cpu'")
        if self.options.target == "cuda":
            raise ArgumentError(
                "a kernel for a GPU cannot be called from compiled code", do="use target='cpu'"
            )
        return self.kernel(derivation)


def _interpreted(program: Program) -> Kernel:
    def run(*inputs: Any) -> tuple[Any, ...]:
        return evaluate(program, dict(zip(program.inputs, inputs, strict=True)))

    return run


def _prepared(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return value[()]
        flags = value.flags
        return value if flags.c_contiguous and flags.aligned else np.require(value, requirements=("C", "A"))
    return value


def require_scalar(built: Built, method: str) -> None:
    """`grad` and its kin need one output of shape ``()``."""
    program = built.program
    count = built.value_spec.num_leaves
    if count != 1:
        raise ArgumentError(
            f"{method} needs one scalar output, {program.name} returns {count}",
            where=program.name,
            do="decorate with has_aux=True if it returns (value, aux), or use .vjp or .jacobian",
        )
    name = program.outputs[0]
    type_ = program.types[name]
    if type_.shape and not built.elementwise:
        raise ShapeError(
            f"{method} needs a scalar output, {program.name} returns {show_type(type_)}",
            where=program.name,
            do="reduce it with .sum(), or use .vjp (cotangents) or .jacobian",
        )
    if not type_.dtype.is_float:
        raise ArgumentError(
            f"{method} needs a floating-point output, {program.name} returns {show_type(type_)}"
        )


__all__ = ["Kernel", "Variant", "require_scalar"]
