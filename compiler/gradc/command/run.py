"""The verbs of the command: each returns text and an exit code."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from gradc.api.differentiated import Differentiated
from gradc.api.progress import CheckProgress
from gradc.command import answers, exported, networks, spec
from gradc.command.documents import to_json
from gradc.command.failures import CHECK_FAILED, INCONCLUSIVE
from gradc.command.inputs import Function, Inputs, gather
from gradc.command.request import Answer, Request
from gradc.errors import InputRefused
from gradc.explain.gates import Gate, gates, show_circuit, show_table
from gradc.ir.index.nodes import Program
from gradc.pipeline import PRODUCTS, TARGETS, VERSION, Options
from gradc_runtime import backends, cache, cuda_devices, store
from gradc_runtime.gradcheck import Report, check_gradient

PICTURE_LIMIT = 300  # gates; a larger circuit is a table
PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "sympy", "optree", "typer", "rich", "threadpoolctl")
COMPILED = tuple(target for target in TARGETS if target != "interpret")
REFUTED = ("WRONG", "KINK-WRONG", "NONDETERMINISTIC")


def prepared(
    request: Request, *, draw: bool, examples: int | None = networks.EXAMPLES
) -> tuple[Differentiated[..., Any], Inputs]:
    """Return the function and its arguments.

    `draw` allows to draw the variables of an expression; `examples` is how many a network gets, None for a batch.
    """
    options = options_of(request)
    if networks.is_network(request.spec):
        found = networks.NetworkSpec.of(request, options, examples)
        return found.loss, found.inputs()
    function = spec.load(request.spec, request.expr, options)
    return function, gather(Function(function), request, scalars=draw and request.expr is not None)


def options_of(request: Request, targets: tuple[str, ...] = TARGETS) -> Options:
    """Return how to compile.

    Raises
    ------
    InputRefused
        There is no such target among `targets`, or nobody multiplies matrices so there.
    """
    one_of("--target", request.target, targets)
    require_products(request.target, request.products)
    return Options(target=request.target, products=request.products)


def require_products(target: str, products: str) -> None:
    """Refuse a library of matrix products that there is not, or not for a target."""
    one_of("--products", products, PRODUCTS)
    if products != "own" and target != "cuda":
        raise InputRefused(f"--products {products} is for kernels of a GPU", do="add --target cuda")


def one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse what is not among the known values of an option."""
    if value not in known:
        raise InputRefused(f"{option} {value!r} is unknown", do=f"use one of {', '.join(known)}")


def grad(request: Request, as_json: bool) -> Answer:
    """Value, gradient and gates."""
    function, found = prepared(request, draw=False)
    value, gradient = function.value_and_grad(**found.arguments)
    names = function.signature.wrt
    by_name = {names[0]: gradient} if function.signature.bare else dict(zip(names, gradient, strict=True))
    program, inputs = function.at(**found.arguments).program_and_inputs()
    rows: tuple[Gate, ...] = ()
    if not program.types[program.outputs[0]].shape:
        rows = gates(program, inputs, stable=function.options.stabilise)
    if as_json:
        nodes = [answers.node(gate) for gate in rows]
        head = {"value": value, "gradient": answers.flat(by_name), **_drawn_json(found)}
        return Answer(to_json({**head, "nodes": nodes}))
    return Answer(found.note() + _picture(program, rows) + answers.show_gradient(value, by_name))


def _picture(program: Program, rows: tuple[Gate, ...]) -> str:
    """Return a circuit where every gate is a number and there are not too many, else a table."""
    if not rows:
        return ""
    scalar = all(np.ndim(gate.value) == 0 for gate in rows)
    if scalar and len(program.equations) < PICTURE_LIMIT:
        return show_circuit(rows, program.outputs[0]) + "\n"
    return show_table(rows) + "\n"


def check(request: Request, as_json: bool) -> Answer:
    """Return the gradient check."""
    if exported.is_exported(request.spec):
        return _check_exported(request, as_json)
    function, found = prepared(request, draw=True)
    value = np.asarray(function(**found.arguments))
    if not np.isfinite(value).all():
        return _undefined(value, request, found, as_json)
    return _reported(function.at(**found.arguments).check(seed=request.seed), found, as_json)


def _check_exported(request: Request, as_json: bool) -> Answer:
    """Check a kernel in a folder of its own: without its program, by differences alone."""
    options_of(request)
    kernel = exported.load(Path(request.spec or ""), spec.module_of_file)
    found = gather(kernel, request, scalars=True)
    arguments = exported.arguments_of(kernel, found.arguments)
    value = np.asarray(kernel.value(*arguments))
    if not np.isfinite(value).all():
        return _undefined(value, request, found, as_json)
    names = list(kernel.python.parameters)
    with CheckProgress() as progress:
        report = check_gradient(
            lambda *moved: kernel.value(*_in_types(kernel, moved)),
            lambda *moved: kernel.gradient(*_in_types(kernel, moved)),
            arguments,
            names=names,
            wrt=kernel.wrt,
            seed=request.seed,
            progress=progress,
        )
    return _reported(report, found, as_json)


def _in_types(kernel: exported.ExportedKernel, values: tuple[Any, ...]) -> list[Any]:
    return exported.arguments_of(kernel, dict(zip(kernel.python.parameters, values, strict=True)))


def _undefined(value: np.ndarray, request: Request, found: Inputs, as_json: bool) -> Answer:
    what = f"the value is {value.item() if value.ndim == 0 else 'not finite'} there"
    do = "choose a point inside the domain with --at NAME=VALUE"
    if as_json:
        detail = {"what": what, "do": do, "ok": False, "verdict": "UNDEFINED", "seed": request.seed}
        return Answer(to_json({**detail, **_drawn_json(found)}), INCONCLUSIVE)
    return Answer(f"{found.note()}inconclusive: {what}\n  do: {do}", INCONCLUSIVE)


def verdict_code(report: Report) -> int:
    """Return the exit code of a gradient check."""
    wrong = any(str(entry.verdict) in REFUTED for entry in report.entries)
    return 0 if report else CHECK_FAILED if wrong else INCONCLUSIVE


def _reported(report: Report, found: Inputs, as_json: bool) -> Answer:
    code = verdict_code(report)
    if as_json:
        return Answer(to_json({**report.to_dict(), **_drawn_json(found)}), code)
    hint = "\n  do: try another point with --at, or another --seed" if code == INCONCLUSIVE else ""
    return Answer(f"{found.note()}{report}{hint}", code)


def _drawn_json(found: Inputs) -> dict[str, Any]:
    return {"drawn": {"seed": found.seed, "arguments": list(found.drawn)}} if found.drawn else {}


def cache_path(as_json: bool) -> Answer:
    """Where generated kernels and their machine code are kept."""
    path = str(cache.directory())
    return Answer(to_json({"path": path}) if as_json else path)


def cache_clear(as_json: bool) -> Answer:
    """Delete generated kernels and machine code."""
    sources, machine, path = cache.clear(), store.clear(), str(cache.directory())
    if as_json:
        return Answer(to_json({"path": path, "deleted": sources, "machine_code": machine}))
    return Answer(f"deleted {sources} kernels and {machine} files of machine code in {path}")


def cache_list(as_json: bool) -> Answer:
    """Machine code, most recently used first."""
    found = sorted(store.entries(), key=lambda entry: -entry.used)
    if as_json:
        rows = [_entry_json(entry) for entry in found]
        return Answer(to_json({"path": str(store.directory()), "limit": store.limit(), "entries": rows}))
    now = time.time()
    lines = [
        f"{entry.key[:16]}  {entry.size / 1024:8.1f} KiB  used {_ago(now - entry.used)} ago  "
        f"{entry.fault or entry.name}"
        for entry in found
    ]
    return Answer("\n".join([*lines, _total(found)]))


def cache_verify(as_json: bool) -> Answer:
    """Check every file; what is damaged or not to be trusted is put aside."""
    found = list(store.entries())
    faulty = [entry for entry in found if entry.fault]
    for entry in faulty:
        store.put_aside(entry)
    code = CHECK_FAILED if faulty else 0
    if as_json:
        rows = [_entry_json(entry) for entry in faulty]
        return Answer(to_json({"path": str(store.directory()), "checked": len(found), "faulty": rows}), code)
    lines = [f"put aside: {entry.path}: {entry.fault}" for entry in faulty]
    return Answer(
        "\n".join([*lines, _total(found), "" if faulty else "all as they were written"]).rstrip(), code
    )


def _entry_json(entry: store.Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "key": entry.key,
        "bytes": entry.size,
        "used": entry.used,
        "fault": entry.fault or None,
    }


def _total(found: Sequence[store.Entry]) -> str:
    size = sum(entry.size for entry in found) / 2**20
    return f"{len(found)} files of machine code, {size:.1f} of at most {store.limit() / 2**20:.0f} MiB"


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


def doctor(as_json: bool) -> Answer:
    """Versions, threads, devices and directories."""
    rows = [("gradc", VERSION), ("Python", platform.python_version()), ("system", platform.platform())]
    rows += [(name, _version(name)) for name in PACKAGES]
    rows.append(("processors", str(os.cpu_count())))
    rows += backends.describe()
    rows += cuda_devices.describe()
    rows.append(("BLAS", _blas()))
    folder = cache.directory()
    home = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    rows.append(("kernels", f"{folder}{'' if os.access(home, os.W_OK) else ' (cannot be written)'}"))
    return Answer(to_json(dict(rows)) if as_json else answers.table(rows))


def _blas() -> str:
    """Return the libraries for matrix products that this process has loaded."""
    found = [
        f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return "; ".join(found) or "none found"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
