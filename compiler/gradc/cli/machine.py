"""The verbs on this machine: what is kept on it, and what a bug report needs."""

from __future__ import annotations

from gradc.cli.app import app, cache_app, verbs
from gradc.command.parameters import Json
from gradc.command.request import Answer


@cache_app.command("path")
def cache_path(json: Json = False) -> Answer:
    """Print the directory of generated kernels."""
    return verbs().cache_path(json)


@cache_app.command("clear")
def cache_clear(json: Json = False) -> Answer:
    """Delete the generated kernels and their machine code."""
    return verbs().cache_clear(json)


@cache_app.command("list")
def cache_list(json: Json = False) -> Answer:
    """List the machine code that is kept, most recently used first."""
    return verbs().cache_list(json)


@cache_app.command("verify")
def cache_verify(json: Json = False) -> Answer:
    """Check every file of machine code; put aside what is damaged or not to be trusted (exit code 1)."""
    return verbs().cache_verify(json)


@app.command()
def doctor(json: Json = False) -> Answer:
    """Print versions, threads, BLAS, CUDA and directories: what a bug report needs."""
    return verbs().doctor(json)
