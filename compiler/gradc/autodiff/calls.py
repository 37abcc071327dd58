"""Derivatives of the library operations: one row per operation of `gradc.ir.index.calls`.

Matrix formulas follow M. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008), and for the Cholesky factor I. Murray, arXiv:1602.07527.
"""

from __future__ import annotations

from collections.abc import Callable

from gradc.autodiff.vjp import Adjoint
from gradc.ir.index.nodes import Call


def _reshape(adjoint: Adjoint, call: Call) -> None:
    source, out = call.ins[0], call.outs[0]
    if source in adjoint.active:
        shape = adjoint.types[source].shape
        (back,) = adjoint.builder.call(
            "reshape",
            (adjoint.cotangents[out],),
            {"shape": shape},
            hints=(f"{source}_bar",),
            origin=call.origin,
        )
        adjoint.contribute_tensor(source, back, call.origin)


VJP: dict[str, Callable[[Adjoint, Call], None]] = {"reshape": _reshape}
