"""The application: its help, and what every verb shares; help waits for nothing that is slow to import."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradc.command.failures import Interrupted
from gradc.command.request import Answer, Request
from gradc.command.words import refuse_stray_assignment

if TYPE_CHECKING:
    from types import ModuleType

EPILOG = """
SPEC is file.py:function or package.module:function. The file is run to find the function in it: keep what
should not run then under `if __name__ == "__main__":`. SPEC may also be net.toml, a network file, which is read
as data alone.

Exit codes: 0 fine, 1 a check failed, 2 input refused, 3 inconclusive, 70 a fault of gradc, 130 interrupted.
"""
app = typer.Typer(
    name="gradc",
    help="A differentiation compiler: gradients of formulas and NumPy functions as fused Numba kernels.",
    epilog=EPILOG,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
cache_app = typer.Typer(
    help="The directory of generated kernels and their machine code.", rich_markup_mode=None
)
app.add_typer(cache_app, name="cache")


def examples(*lines: str) -> str:
    """Return the text below the help of a verb."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def request_of(**fields: Any) -> Request:
    """Return what the options of a verb say about the function and its arguments."""
    refuse_stray_assignment(fields["spec"])
    at, shape = fields.pop("at") or [], fields.pop("shape") or []
    return Request(at=tuple(at), shape=tuple(shape), **fields)


def verbs() -> ModuleType:
    """Return the verbs that are no longer than an import away."""
    from gradc.command import run  # noqa: PLC0415  (SymPy and all the rest: help waits for none of it)

    return run


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from gradc.pipeline import VERSION  # noqa: PLC0415

        print(f"gradc {VERSION}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def quietly(verb: Any) -> Answer:
    """Run a verb; what the user's own code prints goes to stderr, because stdout holds the answer alone."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return verb()
    except KeyboardInterrupt as error:  # which the option parser would swallow
        raise Interrupted("interrupted", do="; ".join(getattr(error, "__notes__", ()))) from error
