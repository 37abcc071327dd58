"""The ``gradc`` command: argument parsing, printing and exit codes only."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, NoReturn

import typer

from gradc.cli import functions, machine, networks  # noqa: F401  (they register their verbs, in this order)
from gradc.cli.app import app
from gradc.command.documents import error_json, for_stream, printable
from gradc.command.failures import Interrupted, explained
from gradc.command.request import Answer
from gradc.command.words import split_words


def _print(text: str, stream: Any) -> None:
    """Print what may hold foreign names, in the stream's characters; a reader who left is no error."""
    text = for_stream(printable(text), getattr(stream, "encoding", None))
    try:
        stream.write(text if text.endswith("\n") else text + "\n")
        stream.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), stream.fileno()
        )  # else the interpreter complains at its end


@cache
def _parser() -> Any:
    return typer.main.get_command(app)


def _run(words: Sequence[str]) -> int:
    as_json = "--json" in words
    try:
        found = _parser()(args=split_words(words), prog_name="gradc", standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        failure: Exception = Interrupted("interrupted")
    except Exception as error:
        failure = error
    else:
        if isinstance(found, Answer):
            _print(found.text, sys.stdout)
            return found.code
        return found or 0
    message, code = explained(failure)
    _print(error_json(message) if as_json else f"gradc: {message}", sys.stdout if as_json else sys.stderr)
    return code


def main() -> NoReturn:
    """Run the command and exit; the codes are in the help."""
    sys.exit(_run(sys.argv[1:]))
