"""``loss.check(...)``: numerical differences of the kernel, and what the program itself can say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from gradc.api.device import on_device
from gradc.api.progress import CheckProgress
from gradc.api.variant import require_scalar
from gradc.autodiff.branches import branches
from gradc.autodiff.vjp import gradient
from gradc.checking.examine import blame, bounded_value, examine, settled
from gradc.checking.identities import Subject
from gradc.checking.oracle import frozen, is_narrow, points, widened
from gradc.codegen.numba_cpu import module_text
from gradc.errors import ArgumentError
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import Interpreter
from gradc.ir.index.nodes import Program, Reduce
from gradc.ir.stages import Stages
from gradc.lang.signature import Flat, Signature
from gradc.pipeline import Derivation, artifact_of, derive, every_tensor
from gradc_runtime import backends
from gradc_runtime.gradcheck import Report, Verdict, check_gradient

if TYPE_CHECKING:
    from gradc.api.bindable import Bindable
    from gradc.api.progress import CheckProgress
from gradc.api.variant import Variant

MOST_POINTS = 2_000_000  # of the interpreter, a second or two
MOST_ROUNDED = 100_000_000  # the same, where it runs on NumPy arrays alone
MOST_UNDECIDED = 16  # elements that are worth a 50-digit evaluation each
ROUNDINGS = 8  # of the interpreter's own rounding that a float32 gradient may be off by
REFUTED = frozenset((Verdict.WRONG, Verdict.KINK_WRONG))


class GradientCheck:
    """One check of a function at one point."""

    def __init__(
        self,
        function: Bindable,
        variant: Variant,
        values: Sequence[Any],
        leaves: tuple[int, ...],
        flat: Flat | None,
    ) -> None:
        require_scalar(variant.built, "check")
        if variant.built.elementwise:
            raise ArgumentError(
                "check of an elementwise expression needs scalar arguments", do="check it at one point"
            )
        self.function = function
        self.variant = variant
        self.values = values
        self.leaves = leaves
        self.flat = flat
        self.wrt = variant.gradient_inputs(leaves)
        self.names = [variant.names[leaf] for leaf in leaves]

    def run(self, *, order: int, probes: int, seed: int) -> Report:
        """Compare the derivative of an order with everything that can be held against it."""
        if order not in (1, 2):
            raise ArgumentError(f"order={order!r} cannot be checked", do="check order=1 or order=2")
        of = "grad" if order == 1 else "hvp"
        extra = [] if order == 1 else self._directions(seed)
        with CheckProgress() as progress:
            report = check_gradient(
                self._value(extra),
                lambda *moved: self._derived(of, moved, extra),
                [self.values[leaf] for leaf in self.leaves],
                names=self.names,
                probes=probes,
                seed=seed,
                wide=self._wide() if order == 1 else None,
                trace=self._trace(),
                rounding=self._rounding() if order == 1 else None,
                progress=progress,
            )
            subject = self._subject(of, extra)
            if points(subject.program, subject.inputs) > MOST_POINTS:
                return report
            planned = len(report.entries)
            progress(planned, planned, "all; now against the interpreter, in 50 digits")
            return self._examined(report, subject, seed)

    def _examined(self, report: Report, subject: Subject, seed: int) -> Report:
        """Add what the program itself can say to what differences found."""
        doubtful = {Verdict.INCONCLUSIVE, Verdict.WRONG} if self._oracle_decides(subject) else set()
        own = report.entries
        if sum(entry.verdict in doubtful for entry in own) <= MOST_UNDECIDED:
            own = [settled(subject, entry) if entry.verdict in doubtful else entry for entry in own]
        entries = [*own, *examine(subject, seed)]
        gates = [entry for entry in entries if entry.index == "gate"]
        if not gates and any(entry.verdict in REFUTED for entry in entries):
            gates = blame(subject, seed)
        rest = [entry for entry in entries if entry.index != "gate"]
        return replace(report, entries=(*gates, *rest))  # a report shows what comes first

    def _oracle_decides(self, subject: Subject) -> bool:
        """Whether what differences of the kernel say may be overruled by those of the program in 50 digits.

        Rounded steps, or a float32 value on the way, mislead differences; but where the kernel itself has
        another value than the program, its differences are the truth about it.
        """
        value = self._value([])(*[self.values[leaf] for leaf in self.leaves])
        expected, error = bounded_value(self.variant.built.program, subject.inputs)
        return is_narrow(subject.program) or not abs(value - expected) > max(2 * error, 1e-12 * abs(expected))

    # --- the kernel as a function of the differentiated leaves --------------------------------------------

    def _with_leaves(self, moved: Sequence[Any]) -> list[Any]:
        result = list(self.values)
        for leaf, value in zip(self.leaves, moved, strict=True):
            kind = self.variant.kinds[leaf]
            if kind.kind == "float":
                result[leaf] = float(value)
                continue
            result[leaf] = np.asarray(value, kind.dtype and kind.dtype.numpy)
            if kind.kind == "array" and kind.rank == 0:
                result[leaf] = result[leaf][()]
        return result

    def _directions(self, seed: int) -> list[Any]:
        """Return one direction per leaf, in the leaf's dtype: second derivatives are checked along them."""
        generator = np.random.default_rng(seed)
        types = self.variant.built.program.types
        found = []
        for name, leaf in zip(self.wrt, self.leaves, strict=True):
            direction = generator.uniform(0.5, 1.5, np.shape(self.values[leaf]))
            found.append(direction.astype(types[name].dtype.numpy)[()])
        return found

    def _value(self, directions: Sequence[Any]) -> Callable[..., float]:
        """Return the function to difference: the value, or the slope along directions."""
        program = self.variant.built.program
        plain = widened(program) if is_narrow(program) else program
        still = frozen(plain)
        if not directions and still is not program:
            return self._held_value(plain, still)

        def value(*moved: Any) -> float:
            if not directions:
                return float(self._run_own(Derivation("value"), moved)[0])
            slopes = self._derived("grad", moved, ())
            return sum(
                float(np.sum(np.asarray(g, np.float64) * v)) for g, v in zip(slopes, directions, strict=True)
            )

        return value

    def _held_value(self, program: Program, still: Program) -> Callable[..., float]:
        """Return the value by the interpreter, with what is under ``stop_gradient`` held: no kernel does that."""
        here = Interpreter().run(program, self._inputs(self.values))
        held = {name: here[name] for name in still.inputs[len(program.inputs) :]}

        def value(*moved: Any) -> float:
            found = Interpreter().run(still, {**self._inputs(self._with_leaves(moved)), **held})
            return float(found[program.outputs[0]])

        return value

    def _inputs(self, values: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self.variant.built.program.inputs, self.variant.inputs(values), strict=True))

    def _derived(self, of: str, moved: Sequence[Any], extra: Sequence[Any]) -> list[Any]:
        """Return the gradient, or the Hessian times directions, at moved leaves."""
        derivation = Derivation(of, self.wrt)
        results = self.function._run(self.variant, derivation, self._with_leaves(moved), extra)
        dtypes = [self.variant.kinds[leaf].dtype for leaf in self.leaves]
        return [
            np.asarray(result, dtype.numpy) if dtype else result
            for result, dtype in zip(results[-len(dtypes) :], dtypes, strict=True)
        ]

    def _trace(self) -> Callable[..., dict[str, Any]] | None:
        """Return the branches that the value takes; None where it takes none."""
        variant, derivation = self.variant, Derivation("trace", self.wrt)
        stable = derive(variant.built.program, Derivation("value"), variant.options)
        names = _numbered(str(branch) for branch in branches(stable, self.wrt)[1])
        if not names:
            return None
        run = self._run_wide if self._is_short() else self._run_own
        return lambda *moved: dict(zip(names, run(derivation, moved), strict=True))

    def _wide(self) -> Callable[..., float] | None:
        """Return the function in float64, for float32 arguments; None where nothing is float32."""
        if not self._is_short():
            return None
        return lambda *moved: float(self._run_wide(Derivation("value"), moved)[0])

    def _rounding(self) -> dict[str, float] | None:
        """Return how far float32 puts the gradients of the arguments off, as the interpreter finds it.

        The interpreter rounds as the kernel does, and is wrong where a rule is: in float32 and in float64 alike, so
        that only rounding is seen. None where nothing is float32 or the program is too large for it.
        """
        if not self._is_short():
            return None
        program = derive(self.variant.built.program, Derivation("grad", self.wrt), self.variant.options)
        inputs = self._inputs(self.values)
        if points(program, inputs) > MOST_ROUNDED:
            return None
        with np.errstate(all="ignore"):
            narrow, wide = (Interpreter().run(one, inputs) for one in (program, widened(program)))
        gradients = program.outputs[-len(self.wrt) :]
        return {
            label: ROUNDINGS * float(np.abs(narrow[name].astype(np.float64) - wide[name]).max(initial=0.0))
            for label, name in zip(self.names, gradients, strict=True)
        }

    def _is_short(self) -> bool:
        """Whether some argument is float32."""
        kinds = self.variant.kinds
        return any(kind.dtype is not None and kind.dtype.value == "float32" for kind in kinds)

    def _run_own(self, derivation: Derivation, moved: Sequence[Any]) -> Sequence[Any]:
        return self.function._run(self.variant, derivation, self._with_leaves(moved))

    def _run_wide(self, derivation: Derivation, moved: Sequence[Any]) -> Sequence[Any]:
        """Run a derivation on float64 copies of the arguments."""
        wide = [np.asarray(v, np.float64) if _is_float32(v) else v for v in self.values]
        for leaf, new in zip(self.leaves, moved, strict=True):
            wide[leaf] = np.asarray(new, np.float64)[()]
        args, kwargs = (wide, {}) if self.flat is None else _rebuilt(self.function.signature, self.flat, wide)
        wider, leaves, _ = self.function._prepare(tuple(args), kwargs)
        return self.function._run(wider, derivation, leaves)

    # --- the program ------------------------------------------------------------------------------------

    def _subject(self, of: str, directions: Sequence[Any]) -> Subject:
        """Return what `examine` looks at: for second derivatives, the slope along directions is the function."""
        program = self.variant.built.program
        inputs = self._inputs(self.values)
        stages = self.variant.compiled(Derivation(of, self.wrt))
        claims = tuple(self._derived(of, [self.values[leaf] for leaf in self.leaves], directions))
        names: tuple[str, ...] = ()
        if directions:
            program, names = _slope_along(program, self.wrt)
            inputs.update(zip(names, directions, strict=True))
        count = len(self.wrt)
        optimised = replace(stages.optimised, outputs=stages.optimised.outputs[-count:])
        subject = Subject(
            program, optimised, inputs, tuple(self.wrt), tuple(self.names), claims, directions=names
        )
        if self.variant.options.target == "interpret":
            return subject
        subject = replace(subject, compile_again=lambda: self._every_tensor(stages, optimised.inputs, inputs))
        if self.variant.options.target == "cuda":
            return subject  # its source runs on a device alone
        source = module_text(stages.kernel, share=False)  # every equation under its own name
        return replace(subject, source=source, function=stages.kernel.name)

    def _every_tensor(
        self, stages: Stages, names: Sequence[str], inputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Compile a kernel that returns all tensors, and run it."""
        again = every_tensor(stages, self.variant.options)
        if self.variant.options.target == "cuda":
            _, kernel = on_device(artifact_of(again))
        else:
            numba_backend = backends.load("numba")
            kernel = numba_backend.compile_kernel(numba_backend.load(artifact_of(again)))
        results = kernel(*(inputs[name] for name in names))
        return dict(zip(again.optimised.outputs, results, strict=True))


def _slope_along(program: Program, wrt: Sequence[str]) -> tuple[Program, tuple[str, ...]]:
    """Return the program of ``<gradient, direction>`` and the names of the directions, which are inputs."""
    first = gradient(program, wrt)
    builder = Builder.resume(first)
    total, names = "", []
    for name, slope in zip(wrt, first.outputs[len(program.outputs) :], strict=True):
        type_ = program.types[name]
        names.append(builder.input(f"{name}_dot", type_.dtype, type_.shape))
        product = builder.pointwise("mul", slope, names[-1])
        if type_.shape:
            reduce = Reduce("sum", type_.dtype)
            access = (builder.access(product),)
            product = builder.assign("copy", access, type_.shape, type_.dtype, rank=0, reduce=reduce)
        total = builder.pointwise("add", total, product) if total else product
    return builder.finish((total,)), tuple(names)


def _numbered(names: Iterable[str]) -> list[str]:
    """Return names with a number after all but the first of those that are equal."""
    found: list[str] = []
    for name in names:
        found.append(f"{name} (number {len(found)})" if name in found else name)
    return found


def _rebuilt(signature: Signature, flat: Flat, values: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return the arguments of a call with other leaves."""
    tree: Any = optree.tree_unflatten(flat.spec, values)
    return signature.call_arguments(tree)


def _is_float32(value: Any) -> bool:
    return getattr(value, "dtype", None) == np.float32
