"""The verbs on functions: from a formula or a function to a number, a picture, a kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradc.cli.app import app, examples, quietly, request_of, verbs
from gradc.command.parameters import (
    At,
    Capability,
    Expr,
    InputFile,
    Json,
    Of,
    Products,
    Seed,
    Shape,
    Spec,
    Target,
)
from gradc.command.request import Answer, Writing
from gradc.errors import InputRefused


@app.command(
    epilog=examples(
        'gradc grad --expr "(x + y) * z" --at x=-2 y=5 z=-4',
        "gradc grad model.py:loss --inputs batch.npz --json",
    )
)
def grad(
    spec: Spec = None,
    expr: Expr = None,
    at: At = None,
    shape: Shape = None,
    inputs: InputFile = None,
    seed: Seed = 0,
    target: Target = "cpu",
    products: Products = "own",
    json: Json = False,
) -> Answer:
    """Print value and gradient, and both on every gate.

    Scalar programs are drawn as a circuit, array programs as a table of shapes and ranges. The gates are
    those of the program as written; gates that a stable form replaces are marked.
    """
    request = request_of(
        spec=spec,
        expr=expr,
        at=at,
        shape=shape,
        inputs=inputs,
        seed=seed,
        target=target,
        products=products,
    )
    return quietly(lambda: verbs().grad(request, json))


@app.command(
    epilog=examples(
        'gradc check --expr "log(x1) + x1*x2 - sin(x2)" --at x1=2 x2=5',
        "gradc check model.py:loss --shape w=784,10 x=32,784 --seed 1",
        "gradc check my_kernel",
    )
)
def check(
    spec: Spec = None,
    expr: Expr = None,
    at: At = None,
    shape: Shape = None,
    inputs: InputFile = None,
    seed: Seed = 0,
    target: Target = "cpu",
    products: Products = "own",
    json: Json = False,
) -> Answer:
    """Compare the gradient with numerical differences.

    SPEC may also be the folder of a kernel that `gradc compile` wrote, or a network file. Exit code 0: they
    agree, 1: the gradient is wrong, 3: inconclusive. Arguments without a value are drawn at random: the
    variables of a formula, and arguments annotated like `x: f64["N", 3]`.
    """
    request = request_of(
        spec=spec,
        expr=expr,
        at=at,
        shape=shape,
        inputs=inputs,
        seed=seed,
        target=target,
        products=products,
    )
    return quietly(lambda: verbs().check(request, json))


@app.command(
    epilog=examples(
        'gradc explain --expr "1/(1+exp(-(w0*x0+w1*x1+w2)))" --at w0=2 x0=-1 w1=-3 x1=-2 w2=-3',
        "gradc explain model.py:loss --inputs batch.npz --style latex",
    )
)
def explain(
    spec: Spec = None,
    expr: Expr = None,
    at: At = None,
    shape: Shape = None,
    inputs: InputFile = None,
    seed: Seed = 0,
    style: Annotated[str, typer.Option("--style", metavar="NAME", help="plain or latex.")] = "plain",
    target: Target = "cpu",
    json: Json = False,
) -> Answer:
    """Derive the gradient step by step, with numbers.

    From the output back to the inputs: the local gradient of every gate, times the gradient that arrives, and
    sums where a tensor goes to several gates. Nothing is compiled: the derivation is the same for every target.
    """
    request = request_of(spec=spec, expr=expr, at=at, shape=shape, inputs=inputs, seed=seed, target=target)

    def verb() -> Answer:
        from gradc.command.explain import explain as derive  # noqa: PLC0415

        return derive(request, style, json)

    return quietly(verb)


@app.command(
    epilog=examples(
        'gradc inspect --expr "1 / (1 + exp(-x))" --stage stable',
        'gradc inspect --expr "(x + y) * z" --at x=-2 y=5 z=-4 --stage graph -o graph.svg',
        "gradc inspect model.py:loss --shape w=784,10 x=32,784 --stage source",
        "gradc inspect model.py:loss --inputs batch.npz --stage source --against stabilise=false",
        "gradc inspect model.py:loss --inputs batch.npz --target cuda --stage ptx --capability 8.0",
    )
)
def inspect(
    spec: Spec = None,
    expr: Expr = None,
    stage: Annotated[
        str,
        typer.Option(
            "--stage",
            metavar="NAME",
            help="program, mathematics, latex, graph, stable, adjoint, optimised, schedule, fusion, residuals, "
            "kernels, source, llvm, asm, launches, ptx, resources, counts, workspace or timings. Of these llvm and asm "
            "are the processor's; launches, ptx and resources are a GPU's.",
        ),
    ] = "source",
    of: Of = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write it; a graph as .svg, .png, .dot or .gv."),
    ] = None,
    by: Annotated[
        str,
        typer.Option("--by", metavar="NAME", help="Nodes of a graph: auto, gates, lines, layers or kernels."),
    ] = "auto",
    shown: Annotated[
        str, typer.Option("--show", metavar="NAME", help="Numbers of a graph: both, forward or adjoint.")
    ] = "both",
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Nodes of a graph.")] = 300,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="CHOICE",
            help="Show the difference to stabilise=false, or to another --of.",
        ),
    ] = "",
    capability: Capability = None,
    bandwidth: Annotated[
        float | None,
        typer.Option(
            "--bandwidth",
            metavar="GB/s",
            help="With --target cuda: of the device's memory, for the floors of a launch plan; else 3350 (H100 SXM).",
        ),
    ] = None,
    at: At = None,
    shape: Shape = None,
    inputs: InputFile = None,
    seed: Seed = 0,
    target: Target = "cpu",
    products: Products = "own",
    json: Json = False,
) -> Answer:
    """Print or draw one stage of the compilation.

    Without -o a graph is printed in Graphviz's language. With --target cuda the schedule ends with the launch plan, and
    no GPU is needed.
    """
    request = request_of(
        spec=spec,
        expr=expr,
        at=at,
        shape=shape,
        inputs=inputs,
        seed=seed,
        target=target,
        products=products,
    )

    def verb() -> Answer:
        from gradc.command import inspection  # noqa: PLC0415

        view = inspection.View(
            stage,
            of,
            out,
            by,
            shown,
            limit,
            against,
            capabilities=tuple(capability or ()),
            bandwidth=bandwidth,
        )
        return inspection.inspect(request, view, json)

    return quietly(verb)


@app.command(
    epilog=examples(
        "gradc report model.py:loss --inputs batch.npz -o report.html",
        'gradc report --expr "(x + y) * z" --at x=-2 y=5 z=-4 -o report.html',
    )
)
def report(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write: an .html file.")],
    spec: Spec = None,
    expr: Expr = None,
    at: At = None,
    shape: Shape = None,
    inputs: InputFile = None,
    seed: Seed = 0,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, metavar="N", help="Of timing; medians count.")
    ] = 9,
    target: Target = "cpu",
    json: Json = False,
) -> Answer:
    """Write one page: graph, mathematics, kernels, timings, memory and the gradient check.

    The page is a single file that needs no network. The function is compiled, timed and checked. Exit code 0: the
    gradient is right, 1: it is wrong, 3: inconclusive; the page is written in any case.
    """
    request = request_of(spec=spec, expr=expr, at=at, shape=shape, inputs=inputs, seed=seed, target=target)

    def verb() -> Answer:
        from gradc.command import inspection  # noqa: PLC0415

        return inspection.report(request, out, rounds, json)

    return quietly(verb)


@app.command(
    "compile",
    epilog=examples(
        'gradc compile --expr "(x + y) * z" -o my_kernel',
        "gradc compile model.py:loss --shape w=784,10 x=32,784 -o loss_kernel",
        "gradc compile model.py:loss --shape w=784,10 x=32,784 --target cuda --capability 8.0,9.0 -o loss_kernel",
    ),
)
def compile_(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where to write: a package.")],
    spec: Spec = None,
    expr: Expr = None,
    of: Of = "",
    at: At = None,
    shape: Shape = None,
    inputs: InputFile = None,
    seed: Seed = 0,
    timings: Annotated[
        bool,
        typer.Option(
            "--timings",
            help="Make the machine code too, and print seconds of each stage, per equation and per 1000 operations: "
            "scalar functions that the equations apply, each counted once whatever the sizes.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write to a directory that is not ours.")] = False,
    target: Target = "cpu",
    products: Products = "own",
    capability: Capability = None,
    json: Json = False,
) -> Answer:
    """Write a kernel that runs where NumPy, Numba and SciPy are, for a GPU also numba-cuda, without gradc.

    SPEC is run to find the function in it. Values matter only through their types: sizes are free. Of a network
    file the usual kernel is its prediction, with its weights; sizes are fixed but for the batch. With --target cuda
    the PTX of every launch is written too; no GPU is needed for that.
    """
    request = request_of(
        spec=spec,
        expr=expr,
        at=at,
        shape=shape,
        inputs=inputs,
        seed=seed,
        target=target,
        products=products,
    )

    def verb() -> Answer:
        from gradc.command import compilation  # noqa: PLC0415

        return compilation.compile_to(
            request, of, out, Writing(timings, force, tuple(capability or ())), json
        )

    return quietly(verb)


@app.command(
    epilog=examples(
        "gradc bench --all --peers jax,torch --threads 2 -o results",
        "gradc bench --all --only gmm,neuron",
        "gradc bench model.py:loss --shape w=784,10 x=32,784",
        "gradc bench --list",
    )
)
def bench(
    spec: Spec = None,
    all_: Annotated[bool, typer.Option("--all", help="The workloads, beside other libraries.")] = False,
    only: Annotated[str, typer.Option("--only", metavar="NAMES", help="Some workloads: gmm,neuron.")] = "",
    peers: Annotated[
        str,
        typer.Option("--peers", metavar="NAMES", help="Some libraries: gradc,jax,torch. gradc is always in."),
    ] = "",
    threads: Annotated[int, typer.Option("--threads", min=1, metavar="N", help="Of every library.")] = 2,
    rounds: Annotated[int, typer.Option("--rounds", min=1, metavar="N", help="The median counts.")] = 9,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", help="Seconds to wait for a way to be built.")
    ] = 180.0,
    small: Annotated[bool, typer.Option("--small", help="Tiny sizes: does everything run?")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Write bench.json and bench.svg, with --explain roofline.svg."
        ),
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option("--python", metavar="PEER=PATH", help="The interpreter that has a library."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Each loop of gradc's kernel: counted, predicted, timed."),
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Name the workloads and the libraries.")] = False,
    at: At = None,
    shape: Shape = None,
    inputs: InputFile = None,
    seed: Seed = 0,
    target: Target = "cpu",
    json: Json = False,
) -> Answer:
    """Time value and gradient beside other libraries.

    Every way runs in a process of its own and is checked against a reference first; a wrong one has no time.
    With SPEC: your function, compiled, interpreted, as it is, and by JAX if it runs there too.
    """
    from gradc.bench.measure import Settings  # noqa: PLC0415  (as the verbs: help waits for none of it)
    from gradc.command import benchmark  # noqa: PLC0415

    benchmark.require_target(target)
    settings = Settings(threads=threads, rounds=rounds, small=small, timeout=timeout, explain=explain)
    asked = benchmark.Asked(only, peers, tuple(python or ()), settings, out)
    if list_:
        if explain:
            raise InputRefused("--explain is about a kernel that runs", do="leave out --list")
        return benchmark.listed(json)
    if spec is None:
        if not all_ and not only:
            raise InputRefused("give one of SPEC and --all", do="gradc bench --all; gradc bench --list")
        return quietly(lambda: benchmark.of_all(asked, json))
    if all_:
        raise InputRefused("give one of SPEC and --all", do=f"gradc bench {spec}")
    request = request_of(spec=spec, expr=None, at=at, shape=shape, inputs=inputs, seed=seed, target=target)
    return quietly(lambda: benchmark.of_function(request, asked, json))
