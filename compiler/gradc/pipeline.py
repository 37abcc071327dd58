"""The ordered stages of the compiler on one screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from gradc.autodiff.branches import branch_codes
from gradc.autodiff.jacobian import hessian, hvp, jacobian
from gradc.autodiff.jvp import jvp
from gradc.autodiff.vjp import gradient, vjp
from gradc.codegen import numba_cuda
from gradc.codegen.numba_cpu import module_text
from gradc.errors import ArgumentError
from gradc.ir.index.build import IDENTITY
from gradc.ir.index.nodes import Access, Assign, Equation, Program, outputs_of
from gradc.ir.index.show import show
from gradc.ir.index.templates import template
from gradc.ir.index.verify import verify
from gradc.ir.loop.nodes import Allocate, Kernel, Parameter
from gradc.ir.names import NameSupply
from gradc.ir.stages import Stages
from gradc.lowering.nest import lower
from gradc.passes.equations.accumulators import wide_accumulators
from gradc.passes.equations.copies import without_copies
from gradc.passes.equations.factors import without_fixed_factors
from gradc.passes.equations.gather import gather
from gradc.passes.equations.invariants import without_invariants
from gradc.passes.equations.layouts import channels_last
from gradc.passes.equations.markers import without_markers
from gradc.passes.equations.quotients import shared_quotients
from gradc.passes.equations.reciprocals import shared_reciprocals
from gradc.passes.equations.simplify import simplify
from gradc.passes.equations.stabilise import stabilise
from gradc.passes.equations.transposes import in_order_of_operands, without_transposes
from gradc.passes.equations.unit_axes import without_unit_axes
from gradc.passes.grids.launches import with_launches
from gradc.passes.loops.beside import without_clearing
from gradc.passes.loops.in_place import in_place
from gradc.passes.loops.into import into
from gradc.passes.loops.join import join_contractions
from gradc.passes.loops.masked import without_masked_columns
from gradc.passes.loops.share import share_out
from gradc.passes.loops.strips import in_strips
from gradc.passes.loops.unroll import unroll
from gradc.passes.loops.workspace import with_local_arrays
from gradc.schedule.fuse import fuse, most_leaves
from gradc.schedule.recompute import recompute
from gradc_runtime.artifact import KernelArtifact

Result = TypeVar("Result")

VERSION = "0.1.0"
TARGETS = ("cpu", "cuda", "interpret")
PRODUCTS = ("own", "cublas")


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may choose about a compilation; every field is part of a kernel's identity.

    Attributes
    ----------
    stabilise : bool
        Replace spellings that overflow or cancel by stable ones (listed by ``inspect``), and end long rows of causal
        attention where the mask does: zero times an infinite number counts as zero there.
    target : str
        ``"cpu"`` for Numba kernels, ``"cuda"`` for those of a GPU, ``"interpret"`` for the slow interpreter that
        needs no compiler.
    products : str
        Who multiplies matrices on a GPU: ``"own"`` kernels, together with what follows, or ``"cublas"``, NVIDIA's
        library (``pip install 'gradc[cublas]'``), whose sums are in an order of its own; convolutions and other sums
        stay with our kernels.
    verify : bool
        Check the IR after every pass.
    """

    stabilise: bool = True
    target: str = "cpu"
    products: str = "own"
    verify: bool = False

    @property
    def by_library(self) -> bool:
        """Whether products of matrices are calls of a library."""
        return self.products == "cublas"

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ArgumentError(
                f"there is no target {self.target!r}", do=f"give one of {', '.join(map(repr, TARGETS))}"
            )
        if self.products not in PRODUCTS:
            raise ArgumentError(
                f"nobody called {self.products!r} multiplies matrices",
                do=f"give products= one of {', '.join(map(repr, PRODUCTS))}",
            )
        if self.by_library and self.target != "cuda":
            raise ArgumentError(
                f"products={self.products!r} is for GPUs",
                why=f"the target is {self.target!r}",
                do='leave it out, or add target="cuda"',
            )


USUAL = Options()


@dataclass(frozen=True, slots=True)
class Derivation:
    """Which program to derive: `of` is ``"value"``, ``"grad"``, ``"value_and_grad"``, ``"vjp"``, ...

    With `into`, a kernel for ``"value_and_grad"`` writes gradients to arrays that it is given after its arguments;
    it returns what is a number.  With `updates`, pairs of an output's position and an input, a kernel for ``"value"``
    makes outputs the new contents of arguments, and returns the others.
    """

    of: str
    wrt: tuple[str, ...] = ()
    into: bool = False
    updates: tuple[tuple[int, str], ...] = ()


Deriver = Callable[[Program, Sequence[str]], Program]

DERIVATIONS: dict[str, Deriver] = {
    "value": lambda program, wrt: program,
    "value_and_grad": gradient,
    "grad": lambda program, wrt: _without_outputs(gradient(program, wrt), len(program.outputs)),
    "vjp": lambda program, wrt: _without_outputs(vjp(program, wrt), len(program.outputs)),
    "jvp": jvp,
    "jacobian": lambda program, wrt: _without_outputs(jacobian(program, wrt), len(program.outputs)),
    "hessian": lambda program, wrt: _without_outputs(hessian(program, wrt), len(program.outputs) + len(wrt)),
    "hvp": lambda program, wrt: _without_outputs(hvp(program, wrt), len(program.outputs)),
    "trace": branch_codes,
}


TITLES = {
    "value": "Value",
    "grad": "Gradient",
    "value_and_grad": "Value and gradient",
    "vjp": "Pullback",
    "jvp": "Value and its change along tangents",
    "jacobian": "Jacobian",
    "hessian": "Hessian",
    "hvp": "Gradient and Hessian-vector product",
    "trace": "Branches that the value takes",
}


def derive(program: Program, derivation: Derivation, options: Options) -> Program:
    """The derived program as the interpreter runs it: stabilised and differentiated, and no other pass."""
    stable = stabilise(program)[0] if options.stabilise else program
    return DERIVATIONS[derivation.of](stable, derivation.wrt)


def compile_program(program: Program, derivation: Derivation, options: Options) -> Stages:
    """Take a program through every stage.

    Requires: `program` is valid.  Ensures: the module's function returns the derived program's outputs in order.
    """
    seconds: dict[str, float] = {}

    def timed(stage: str, function: Callable[[], Result]) -> Result:
        begin = time.perf_counter()
        result = function()
        seconds[stage] = time.perf_counter() - begin
        if isinstance(result, Program) and options.verify:
            verify(result)
        return result

    stable, applied = timed("stabilise", lambda: stabilise(program) if options.stabilise else (program, ()))
    adjoint = timed("adjoint", lambda: DERIVATIONS[derivation.of](stable, derivation.wrt))
    optimised = timed(
        "gather", lambda: gather(without_copies(without_markers(adjoint)))
    )  # sums become equations before they are simplified
    optimised = timed("invariants", lambda: without_invariants(optimised))
    optimised = timed("simplify", lambda: simplify(without_unit_axes(own_outputs(optimised))))
    optimised = timed("factors", lambda: without_fixed_factors(optimised))
    optimised = timed("quotients", lambda: shared_reciprocals(shared_quotients(optimised)))
    optimised = timed("transposes", lambda: in_order_of_operands(without_transposes(optimised)))
    optimised = timed("layouts", lambda: channels_last(optimised))
    optimised = timed(
        "accumulators", lambda: wide_accumulators(optimised)
    )  # last: products keep their own dtype
    leaves = most_leaves(optimised, options.target)
    schedule = timed("schedule", lambda: recompute(optimised, fuse(optimised, leaves)))
    name = f"{program.name}_{derivation.of}"
    header = (_title(program.name, derivation), f"gradc {VERSION}", "", *show(program).splitlines())
    kernel = timed("lower", lambda: lower(optimised, schedule, name=name, header=header))
    kernel = timed("unroll", lambda: unroll(kernel))
    if derivation.of == "value_and_grad":
        kernel = replace(kernel, nested=len(derivation.wrt))  # (value, gradients), as the user asks for them
    if options.target == "cuda":
        serial, kernel = kernel, timed("launches", lambda: with_launches(kernel, library=options.by_library))
        source = timed("source", lambda: numba_cuda.module_text(kernel))
        return Stages(program, stable, applied, adjoint, optimised, schedule, kernel, source, seconds, serial)
    kernel = timed("join", lambda: join_contractions(kernel))
    if options.stabilise:
        kernel = timed("masked", lambda: without_masked_columns(kernel))
    kernel = timed("share", lambda: share_out(kernel))
    kernel = timed("strips", lambda: without_clearing(with_local_arrays(in_strips(kernel))))
    source = timed("source", lambda: module_text(kernel))
    return Stages(program, stable, applied, adjoint, optimised, schedule, kernel, source, seconds)


def into_arguments(stages: Stages, options: Options = USUAL) -> Stages:
    """The stages of the same compilation for a kernel that writes gradients to arrays which it is given.

    Requires: the kernel returns gradients.
    """
    types = stages.optimised.types
    kernel = stages.serial or stages.kernel
    gradients = [Parameter(n, types[n].dtype, len(types[n].shape)) for n in kernel.results[-kernel.nested :]]
    kernel = into(kernel, [gradient for gradient in gradients if gradient.rank])
    return _with_kernel(stages, kernel, options)


def updating(stages: Stages, updates: Sequence[tuple[int, str]], options: Options = USUAL) -> Stages:
    """The stages of the same compilation for a kernel that makes results the new contents of arguments.

    Requires: of each pair, the output and the input are arrays of one dtype and shape.
    """
    outputs = stages.optimised.outputs
    kernel = stages.serial or stages.kernel
    kernel = in_place(kernel, {outputs[position]: name for position, name in updates})
    return _with_kernel(stages, kernel, options)


def _with_kernel(stages: Stages, kernel: Kernel, options: Options) -> Stages:
    """The stages of the same compilation with other loop nests."""
    if stages.serial is None:
        return replace(stages, kernel=kernel, source=module_text(kernel))
    launched = with_launches(kernel, library=options.by_library)
    return replace(stages, kernel=launched, source=numba_cuda.module_text(launched), serial=kernel)


def every_tensor(stages: Stages, options: Options) -> Stages:
    """Compile the optimised program once more, so that each of its tensors is a result: for fault finding."""
    names = tuple(dict.fromkeys(name for e in stages.optimised.equations for name in outputs_of(e)))
    optimised = own_outputs(replace(stages.optimised, outputs=names))
    schedule = fuse(optimised)
    kernel = lower(optimised, schedule, name=f"{stages.kernel.name}_tensors")
    stages = replace(stages, optimised=optimised, schedule=schedule, seconds={})
    return _with_kernel(stages, kernel, options)


def artifact_of(stages: Stages) -> KernelArtifact:
    """What the runtime needs to load the kernel of a compilation."""
    types = {name: (type_.dtype.value, len(type_.shape)) for name, type_ in stages.optimised.types.items()}
    for statement in stages.kernel.body:  # on a device a number is an array of one element
        if isinstance(statement, Allocate) and statement.tensor not in types:
            types[statement.tensor] = (statement.dtype.value, 0)
    parameters = tuple((p.name, p.dtype.value, p.rank) for p in stages.kernel.parameters)
    results = tuple((name, *types[name]) for name in stages.kernel.results)
    written = tuple(p.name for p in stages.kernel.parameters if p.written)
    return KernelArtifact(stages.kernel.name, stages.source, parameters, results, written)


def own_outputs(program: Program) -> Program:
    """Give every output an equation of its own: no output is an input or the same tensor as another output.

    Requires: `program` is valid.  Ensures: a caller may write to any result without changing another array.
    """
    names = NameSupply(tuple(program.types))
    types = dict(program.types)
    taken: set[str] = set(program.inputs)
    added: list[Equation] = []
    outputs: list[str] = []
    for name in program.outputs:
        out = name
        if name in taken:
            type_ = types[name]
            out = names.fresh(name)
            types[out] = type_
            rank = len(type_.shape)
            copied = (Access(name, IDENTITY[rank]),)
            added.append(Assign(out, type_.shape, rank, None, template("copy"), copied))
        taken.add(out)
        outputs.append(out)
    return replace(program, equations=(*program.equations, *added), outputs=tuple(outputs), types=types)


def _without_outputs(program: Program, count: int) -> Program:
    return replace(program, outputs=program.outputs[count:])


def _title(name: str, derivation: Derivation) -> str:
    wrt = f" with respect to {', '.join(derivation.wrt)}" if derivation.wrt else ""
    return f"{TITLES[derivation.of]} of {name}{wrt}."
