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
from gradc.command.request import Answer, Request, Writing
from gradc.command.run import one_of, prepared
from gradc.explain.timings import Timings, timings
from gradc.pipeline import DERIVATIONS, Derivation
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
    export.require_writable(out, force=writing.force)
    chosen = _of_network(request, of) if is_network else _of_function(request, of)
    stages = chosen.variant.compiled(chosen.derivation)
    written = export.write(stages, chosen.derivation, out, force=writing.force, held=chosen.held)
    taken = _timings(chosen) if writing.timings else None
    if as_json:
        head = {"directory": str(out), "files": written.files, "function": written.function}
        head |= {"usage": written.usage, "seconds": dict(stages.seconds)}
        return Answer(to_json({**head, "timings": taken.document()} if taken else head))
    listed = "\n".join(str(out / name) for name in written.files)
    shown = f"{taken}\n" if taken else ""
    return Answer(f"{shown}{listed}\n\n{written.place}\n" + "\n".join(written.usage))


def _of_function(request: Request, of: str) -> _Chosen:
    function, found = prepared(request, draw=True)
    at = function.at(**found.arguments)
    begin = time.perf_counter()
    variant, derivation = at.derivation(of)
    return _Chosen(variant, derivation, time.perf_counter() - begin, {})


def _of_network(request: Request, of: str) -> _Chosen:
    spec = networks.NetworkSpec.of(request)
    begin = time.perf_counter()
    variant, derivation = spec.derivation(of)
    seconds = time.perf_counter() - begin
    return _Chosen(variant, derivation, seconds, spec.held() if of == "predict" else {})


def _timings(chosen: _Chosen) -> Timings:
    """Times of all stages, those of the machine code included: it is made, and kept for the first call."""
    variant, derivation = chosen.variant, chosen.derivation
    begin = time.perf_counter()
    numba_backend = backends.load("numba")
    imported = time.perf_counter() - begin
    stages = variant.compiled(derivation)
    made = numba_backend.measured(lambda: variant.kernel(derivation))
    seconds = {"trace": chosen.traced, **stages.seconds, "import Numba": imported}
    seconds |= {"Numba": made.numba, "LLVM": made.llvm}
    remarks = {"Numba": "kept by an earlier run (gradc cache clear)"} if made.kept else {}
    return timings(stages.adjoint, seconds, remarks)
