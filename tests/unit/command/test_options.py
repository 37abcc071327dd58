"""Options that messages tell the user of: the command has them, and what a message says to do instead works."""

import ast
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from tests.unit.command.support import clean_imports, gradc

from gradc.cli.app import app
from gradc.cli.run import main  # noqa: F401  (it registers the verbs)
from gradc.lang.source import WITHIN_LIMITS
from gradc.lang.values import ValueLimits

OTHERS = {"--help", "--xla"}  # of every verb, and of a peer's compiler


def options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
    for verb in getattr(command, "commands", {}).values():
        yield from options(verb)


def texts(folder: Any) -> Iterator[tuple[str, str]]:
    """Every text in the source of a package: messages, help, docstrings; with the name of its file."""
    for path in folder.iterdir():
        if path.is_dir():
            yield from texts(path)
        elif path.name.endswith(".py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield path.name, node.value


@pytest.mark.parametrize("package", ["gradc", "gradc_runtime"])
def test_no_text_tells_of_an_option_that_there_is_not(package: str):
    known = {*options(typer.main.get_command(app)), *OTHERS}
    assert {"--limit", "--products"} <= known
    told = [
        (name, option, form)
        for name, text in texts(resources.files(package))
        for option, form in re.findall(r"(?<![\w-])(--[a-z][a-z-]*)([ =]\w+=)?", text)
    ]
    assert package != "gradc" or len(told) > 100
    assert [found for found in told if found[1] not in known] == []
    assert [found for found in told if found[1] == "--limit" and found[2]] == []  # it takes a number


def test_a_formula_beyond_a_limit_is_a_function_as_the_message_says(tmp_path: Path):
    ran = gradc("grad", "--expr", "x**65", "--at", "x=1")
    assert (ran.code, ran.err.splitlines()[-1]) == (2, f"  do: {WITHIN_LIMITS}")
    (tmp_path / "model.py").write_text("def power(x):\n    return x**65\n")
    with clean_imports():
        ran = gradc("grad", f"{tmp_path / 'model.py'}:power", "--at", "x=1")
    assert (ran.code, ran.out.endswith("value = 1.0\ngradient:\n  x = 65.0\n")) == (0, True)


def test_shapes_beyond_the_limit_say_what_to_do():
    ran = gradc("grad", "--expr", "x*x", "--shape", f"x={2**20},{2**20}")
    assert (ran.code, ran.err.splitlines()[-1]) == (2, f"  do: {WITHIN_LIMITS}")


def test_files_beyond_the_limit_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    np.save(tmp_path / "x.npy", np.zeros(100))
    monkeypatch.setattr("gradc.command.inputs.LIMITS", ValueLimits(elements=99))
    ran = gradc("grad", "--expr", "x*x", "--at", f"x=@{tmp_path / 'x.npy'}")
    assert (ran.code, ran.err.splitlines()[-1]) == (2, f"  do: {WITHIN_LIMITS}")
