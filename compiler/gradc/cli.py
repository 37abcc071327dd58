"""The ``gradc`` command: argument parsing only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from gradc.command import run
from gradc.command.answers import error_json
from gradc.command.words import split_words
from gradc.errors import CompilerBug, GradcError

app = typer.Typer(
    name="gradc",
    help="A differentiation compiler. SPEC is file.py:function or package.module:function; --expr gives a formula.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
cache_app = typer.Typer(
    help="The directory of generated kernels.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(cache_app, name="cache")

Spec = Annotated[
    str | None, typer.Argument(metavar="SPEC", help="file.py:function or package.module:function")
]
Expr = Annotated[str | None, typer.Option("--expr", metavar="TEXT", help='A formula such as "(x + y) * z".')]
At = Annotated[list[str] | None, typer.Option("--at", metavar="NAME=VALUE...", help="x=-2 y=1,2 w=@file.npy")]
Shape = Annotated[
    list[str] | None, typer.Option("--shape", metavar="NAME=SIZES...", help="Draw at random: w=10,3")
]
InputFile = Annotated[
    Path | None, typer.Option("--inputs", metavar="FILE", help="Arguments from an .npz file.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of drawn inputs and directions.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Target = Annotated[str, typer.Option("--target", help="cpu (compiled) or interpret.")]


def _request(**fields: Any) -> run.Request:
    at, shape = fields.pop("at") or [], fields.pop("shape") or []
    return run.Request(at=tuple(at), shape=tuple(shape), **fields)


@app.command()
def grad(
    spec: Spec = None,
    expr: Expr = None,
    at: At = None,
    shape: Shape = None,
    inputs: InputFile = None,
    seed: Seed = 0,
    target: Target = "cpu",
    json: Json = False,
) -> None:
    """Print value and gradient, and for scalar programs the circuit with both on every gate.

    Example: gradc grad --expr "(x + y) * z" --at x=-2 y=5 z=-4
    """
    request = _request(spec=spec, expr=expr, at=at, shape=shape, inputs=inputs, seed=seed, target=target)
    _finish(run.grad(request, json))


@app.command()
def check(
    spec: Spec = None,
    expr: Expr = None,
    at: At = None,
    shape: Shape = None,
    inputs: InputFile = None,
    seed: Seed = 0,
    target: Target = "cpu",
    json: Json = False,
) -> None:
    """Compare the gradient with numerical differences. Exit code 0: they agree, 1: wrong, 3: inconclusive.

    Example: gradc check --expr "log(x1) + x1*x2 - sin(x2)" --at x1=2 x2=5
    """
    request = _request(spec=spec, expr=expr, at=at, shape=shape, inputs=inputs, seed=seed, target=target)
    _finish(run.check(request, json))


@app.command()
def inspect(
    spec: Spec = None,
    expr: Expr = None,
    stage: Annotated[
        str,
        typer.Option(
            "--stage",
            help="program, stable, adjoint, optimised, schedule, kernels, source, llvm, asm, timings",
        ),
    ] = "source",
    of: Annotated[
        str, typer.Option("--of", help="value, grad, value_and_grad, vjp, jvp, jacobian, hessian, hvp")
    ] = "value_and_grad",
    at: At = None,
    shape: Shape = None,
    inputs: InputFile = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Print one stage of the compilation.

    Example: gradc inspect examples/02_two_layer_network.py:loss --stage source
    """
    request = _request(spec=spec, expr=expr, at=at, shape=shape, inputs=inputs, seed=seed, target="cpu")
    _finish(run.inspect(request, stage, of, json))


@app.command("compile")
def compile_(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where to write the kernel.")],
    spec: Spec = None,
    expr: Expr = None,
    of: Annotated[str, typer.Option("--of", help="value, grad, value_and_grad, ...")] = "value_and_grad",
    at: At = None,
    shape: Shape = None,
    inputs: InputFile = None,
    seed: Seed = 0,
    timings: Annotated[
        bool, typer.Option("--timings", help="Print microseconds per equation of each stage.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a directory that is not ours.")] = False,
    json: Json = False,
) -> None:
    """Write a kernel that runs where NumPy, Numba and SciPy are, without gradc.

    SPEC is run to find the function in it. Example: gradc compile --expr "(x + y) * z" --at x=1 y=2 z=3 -o kernel
    """
    request = _request(spec=spec, expr=expr, at=at, shape=shape, inputs=inputs, seed=seed, target="cpu")
    _finish(run.compile_to(request, of, out, run.Writing(timings, force), json))


@cache_app.command("path")
def cache_path() -> None:
    """Print the directory of generated kernels."""
    _finish(run.cache_path())


@cache_app.command("clear")
def cache_clear() -> None:
    """Delete the generated kernels."""
    _finish(run.cache_clear())


@app.command()
def doctor(json: Json = False) -> None:
    """Print versions, threads and directories."""
    _finish(run.doctor(json))


def _finish(answer: run.Answer) -> NoReturn:
    print(answer.text, end="" if answer.text.endswith("\n") else "\n")
    raise typer.Exit(answer.code)


def main() -> NoReturn:
    """Run the command; exit codes: 0 fine, 1 a check failed, 2 refused, 3 inconclusive, 70 our bug, 130 interrupted."""
    words = split_words(sys.argv[1:])
    try:
        app(args=words, standalone_mode=False)
        code = 0
    except typer.Exit as finished:
        code = finished.exit_code
    except GradcError as error:
        code = 70 if isinstance(error, CompilerBug) else 2
        print(
            error_json(error) if "--json" in words else f"gradc: {error}",
            file=sys.stdout if "--json" in words else sys.stderr,
        )
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        code = run.unexpected(error, "--json" in words)
    sys.exit(code)
