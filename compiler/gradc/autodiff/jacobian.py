"""Jacobians, Hessians and Hessian-vector products, as programs.

A Jacobian is the pullback (or the push-forward) batched over one seed index per axis of the output (of the
input), applied to ``delta[s, i]``; `gradc.autodiff.delta` then carries out the sums with the delta.  There is
no loop over seeds, and a Jacobian that is diagonal in an axis costs no more than its diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradc.autodiff.batch import batch
from gradc.autodiff.delta import eliminate_deltas
from gradc.autodiff.jvp import jvp
from gradc.autodiff.vjp import gradient, vjp
from gradc.errors import ArgumentError
from gradc.ir.extents import evaluate, symbols
from gradc.ir.index.build import Builder
from gradc.ir.index.cost import operations
from gradc.ir.index.nodes import Access, Call, Program

MODES = ("auto", "reverse", "forward")
NOMINAL = 64  # what an unknown extent counts for when two programs are compared


def jacobian(program: Program, wrt: Sequence[str], *, mode: str = "auto") -> Program:
    """Return the program that computes the outputs of `program` and their derivatives with respect to `wrt`.

    Its outputs are those of `program`, then for each floating-point output in order one tensor per name in
    `wrt`, of shape ``out.shape + in.shape``.

    Parameters
    ----------
    mode : {"auto", "reverse", "forward"}
        ``"auto"`` builds both and takes the one with fewer scalar operations (unknown extents count as 64).

    Requires: `program` is valid; every name in `wrt` is a floating-point input.
    """
    if mode not in MODES:
        raise ArgumentError(f"unknown mode {mode!r}", do=f"use one of {', '.join(MODES)}")
    if mode == "auto" and any(isinstance(e, Call) and e.operation == "external" for e in program.equations):
        mode = "reverse"  # what an external function has is a pullback
    if mode == "auto":
        return cheaper(jacobian(program, wrt, mode="reverse"), jacobian(program, wrt, mode="forward"))
    outputs = [name for name in program.outputs if program.types[name].dtype.is_float]
    leaves: dict[tuple[str, str], str] = {}
    if mode == "reverse":
        for out in dict.fromkeys(outputs):
            program, found = _rows(program, out, wrt)
            leaves.update({(out, name): leaf for name, leaf in zip(wrt, found, strict=True)})
    else:
        for name in dict.fromkeys(wrt):
            program, found = _columns(program, name, tuple(dict.fromkeys(outputs)))
            leaves.update(
                {(out, name): leaf for out, leaf in zip(dict.fromkeys(outputs), found, strict=True)}
            )
    results = tuple(leaves[out, name] for out in outputs for name in wrt)
    return replace(program, outputs=(*program.outputs, *results))


def hessian(program: Program, wrt: Sequence[str], *, mode: str = "auto") -> Program:
    """Return the program that computes the outputs of `program`, and two derivatives of the first one.

    Its outputs are those of `program`, one gradient per name in `wrt`, then for each pair of names (first
    slowest) one tensor of shape ``first.shape + second.shape``.
    """
    if mode == "auto":
        return cheaper(hessian(program, wrt, mode="forward"), hessian(program, wrt, mode="reverse"))
    first = gradient(program, wrt)
    count = len(program.outputs)
    second = jacobian(replace(first, outputs=first.outputs[count:]), wrt, mode=mode)
    return replace(second, outputs=(*program.outputs, *second.outputs))


def hvp(program: Program, wrt: Sequence[str]) -> Program:
    """Return the program that computes the outputs, the gradient of the first, and Hessian-vector products.

    Its inputs are those of `program` and one tangent ``<name>_dot`` per name in `wrt`; its outputs are those
    of `program`, one gradient per name in `wrt`, and one Hessian-vector product per name in `wrt`.
    """
    first = gradient(program, wrt)
    gradients = first.outputs[len(program.outputs) :]
    return jvp(first, wrt, gradients)


def cheaper(first: Program, second: Program) -> Program:
    """Return the program with fewer scalar operations; the first one if they are equal."""
    return second if _weight(second) < _weight(first) else first


def _weight(program: Program) -> int:
    count = operations(program)
    return evaluate(count, dict.fromkeys(symbols(count), NOMINAL))


# --- seeds --------------------------------------------------------------------------------------------------


def _rows(program: Program, out: str, wrt: Sequence[str]) -> tuple[Program, tuple[str, ...]]:
    """`program` with the derivatives of one output, by reverse mode; and their names."""
    pullback = vjp(program, wrt, (out,))
    (seed,) = pullback.inputs[len(program.inputs) :]
    return _seeded(program, pullback, seed)


def _columns(program: Program, name: str, outputs: tuple[str, ...]) -> tuple[Program, tuple[str, ...]]:
    """`program` with the derivatives with respect to one input, by forward mode; and their names."""
    push = jvp(program, (name,), outputs)
    (seed,) = push.inputs[len(program.inputs) :]
    found, leaves = _seeded(program, push, seed)
    builder = Builder.resume(found)
    rank = len(program.types[name].shape)
    moved = tuple(_seeds_last(builder, leaf, rank) if rank else leaf for leaf in leaves)
    return builder.finish(found.outputs), moved


def _seeded(program: Program, derivative: Program, seed: str) -> tuple[Program, tuple[str, ...]]:
    """Return `derivative` for ``seed = delta``; its own results have the seed axes in front."""
    batched = replace(derivative, outputs=derivative.outputs[len(program.outputs) :])
    for extent in reversed(derivative.types[seed].shape):
        batched = batch(batched, (seed,), extent, broadcast_outputs=True)
    found = eliminate_deltas(batched, seed)
    return replace(found, outputs=program.outputs), found.outputs


def _seeds_last(builder: Builder, name: str, seeds: int) -> str:
    """Return the tensor with its first axes last."""
    type_ = builder.types[name]
    own = len(type_.shape) - seeds
    space = (*type_.shape[seeds:], *type_.shape[:seeds])
    access = Access(name, (*range(own, own + seeds), *range(own)))
    return builder.assign("copy", (access,), space, type_.dtype, name=name)
