"""``gradc compile``: a kernel in a folder of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradc.api.variant import Variant
from gradc.command import export, networks
from gradc.command.documents import to_json
from gradc.command.export_device import capabilities_of
from gradc.command.request import Answer, Request, Writing
from gradc.command.run import COMPILED, one_of, options_of, prepared
from gradc.errors import InputRefused
from gradc.explain.kernels.ptx import Capability
from gradc.explain.timings import Timings, timings
from gradc.pipeline import DERIVATIONS, Derivation, Options
from gradc_runtime import backends

USUAL, OF_NETWORKS = "value_and_grad", "predict"  # where --of says nothing


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What is compiled, the seconds that tracing it took, and the arguments that go with the kernel."""

    variant: Variant
    derivation: Derivation
    traced: float
    held: Mapping[str, np.ndarray]


def compile_to(request: Request, of: str, out: Path, writing: Writing, as_json: bool) -> Answer:
    """Write a kernel and what it needs to a directory; the prediction of a network with its weights."""
    is_network = networks.is_network(request.spec)
    of = of or (OF_NETWORKS if is_network else USUAL)
    one_of("--of", of, networks.DERIVED if is_network else tuple(DERIVATIONS))
    options = options_of(request, COMPILED)
    capabilities = _capabilities(request, writing)
    export.require_writable(out, force=writing.force)
    chosen = _of_network(request, options, of) if is_network else _of_function(request, of)
    stages = chosen.variant.compiled(chosen.derivation)
    written = export.write(
        stages,
        chosen.derivation,
        out,
        force=writing.force,
        held=chosen.held,
        capabilities=capabilities,
    )
    taken = _timings(chosen, written.seconds) if writing.timings else None
    if as_json:
        head = {"directory": str(out), "files": written.files, "function": written.function}
        head |= {"usage": written.usage, "seconds": dict(stages.seconds)}
        return Answer(to_json({**head, "timings": taken.document()} if taken else head))
    listed = "\n".join(str(out / name) for name in written.files)
    shown = f"{taken}\n" if taken else ""
    return Answer(f"{shown}{listed}\n\n{written.place}\n" + "\n".join(written.usage))


def _capabilities(request: Request, writing: Writing) -> tuple[Capability, ...]:
    if writing.capabilities and request.target != "cuda":
        raise InputRefused("--capability is for kernels of a GPU", do="add --target cuda")
    return capabilities_of(writing.capabilities)


def _of_function(request: Request, of: str) -> _Chosen:
    function, found = prepared(request, draw=True)
    at = function.at(**found.arguments)
    begin = time.perf_counter()
    variant, derivation = at.derivation(of)
    return _Chosen(variant, derivation, time.perf_counter() - begin, {})


def _of_network(request: Request, options: Options, of: str) -> _Chosen:
    spec = networks.NetworkSpec.of(request, options)
    begin = time.perf_counter()
    variant, derivation = spec.derivation(of)
    seconds = time.perf_counter() - begin
    return _Chosen(variant, derivation, seconds, spec.held() if of == "predict" else {})


def _timings(chosen: _Chosen, made: Mapping[str, float]) -> Timings:
    """Times of all stages, those of the machine code included: it is made, and kept for the first call.

    Of a kernel for a GPU that is its PTX, which is made by now: `made` says how long that took.
    """
    variant, derivation = chosen.variant, chosen.derivation
    stages = variant.compiled(derivation)
    seconds = {"trace": chosen.traced, **stages.seconds, **made}
    if stages.serial is not None:
        return timings(stages.adjoint, seconds, {"PTX": "with the import of its compiler"})
    begin = time.perf_counter()
    numba_backend = backends.load("numba")
    imported = time.perf_counter() - begin
    code = numba_backend.measured(lambda: variant.kernel(derivation))
    seconds |= {"import Numba": imported, "Numba": code.numba, "LLVM": code.llvm}
    remarks = {"Numba": "kept by an earlier run (gradc cache clear)"} if code.kept else {}
    return timings(stages.adjoint, seconds, remarks)
