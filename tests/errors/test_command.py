"""Every wrong command line ends with a message and a documented exit code, never with a traceback."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from tests.unit.command.support import clean_imports, gradc

from gradc.command import run

REFUSED = [
    "grda",
    "grad --nonsense",
    "grad --seed -1 --expr x --at x=1",
    "grad --seed a --expr x --at x=1",
    "grad --expr x**",
    "grad --expr x^2 --at x=1",
    "grad --expr 2x --at x=1",
    "grad --expr ln(x) --at x=1",
    "grad --expr foo(x) --at x=1",
    "grad --expr 3",
    "grad --expr x --at y=1",
    "grad --expr x --at x",
    "grad --expr x --target gpu --at x=1",
    "grad --expr x --inputs missing.npz",
    "grad missing.py:f --at x=1",
    "check --expr x --shape x=2x",
    "check --expr x**2 --at x=1,2",
    "inspect --expr x --stage nonsense",
    "inspect --expr x --of nonsense",
    "compile --expr x",
    "compile --expr x --of nonsense -o kernel",
    "compile --expr x -o not-a-name",
    "cache nonsense",
]


@pytest.mark.parametrize("line", REFUSED)
def test_refused_with_a_message(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    text = gradc(*line.split(), interpret="--target" not in line)
    assert (text.code, text.out) == (2, "")
    assert text.err.startswith("gradc: ")
    as_json = gradc(*line.split(), "--json", interpret="--target" not in line)
    assert (as_json.code, as_json.err) == (2, "")
    assert set(as_json.json["error"]) == {"what", "where", "why", "do", "code"}
    assert as_json.json["error"]["what"] in text.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x07", "\u202e", "\r", "a\nb", "\udcff", "\x9b1m"])
def test_hostile_text_is_escaped(hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    lines = [
        ("grad", f"{hostile}.py:f"),
        ("grad", f"f.py{hostile}"),
        ("grad", f"m{hostile}:f"),
        ("grad", "--expr", f"x{hostile}", "--at", "x=1"),
        ("grad", "--expr", "x", "--at", f"x={hostile}"),
        ("grad", "--expr", "x", "--at", f"x{hostile}=1"),
        ("grad", "--expr", "x", "--at", f"x=@{hostile}"),
        ("grad", "--expr", "x", "--inputs", f"{hostile}.npz"),
        ("grad", "--expr", "x", "--shape", f"x={hostile}"),
        ("grad", "--expr", "x", "--target", hostile),
        ("inspect", "--expr", "x", "--stage", hostile),
        ("compile", "--expr", "x", "-o", f"k{hostile}"),
        (hostile,),
    ]
    for line in lines:
        ran = gradc(*line, interpret="--target" not in line)
        assert ran.code == 2 or (hostile == "\r" and "--expr" in line), line  # a lone CR is a blank
        text = ran.out + ran.err
        assert all(char.isprintable() or char == "\n" for char in text), (line, text)
        as_json = gradc(*line, "--json", interpret="--target" not in line)
        assert (as_json.code, "error" in as_json.json) == (ran.code, ran.code == 2), line


def test_names_from_containers_and_exceptions_are_escaped(tmp_path: Path):
    path = tmp_path / "f.py"
    path.write_text("def f(p):\n    return sum(p.values())\ndef g(p):\n    raise KeyError('\\x1b[2J')\n")
    np.savez(tmp_path / "p.npz", **{"p.\x1b[2J": np.float64(2), "p.b": np.float64(3)})  # pyright: ignore[reportArgumentType]
    with clean_imports():
        ran = gradc("grad", f"{path}:f", "--inputs", str(tmp_path / "p.npz"))
        assert (ran.code, "\x1b" in ran.out, r"p.\x1b[2J = 1.0" in ran.out) == (0, False, True)
        ran = gradc("grad", f"{path}:g", "--inputs", str(tmp_path / "p.npz"))
        assert (ran.code, "\x1b" in ran.err) == (2, False)


def test_a_fault_of_ours_says_so():
    with mock.patch.object(run, "gather", side_effect=KeyError("inner")):
        ran = gradc("grad", "--expr", "x", "--at", "x=1")
        assert (ran.code, ran.out) == (70, "")
        assert "KeyError: 'inner'" in ran.err
        assert "please report" in ran.err
        as_json = gradc("grad", "--expr", "x", "--at", "x=1", "--json")
        assert (as_json.code, as_json.json["error"]["code"]) == (70, "E_COMPILER_BUG")


def test_an_interrupt_is_130():
    with mock.patch.object(run, "gather", side_effect=KeyboardInterrupt):
        ran = gradc("grad", "--expr", "x", "--at", "x=1")
    assert (ran.code, ran.out, ran.err) == (130, "", "gradc: interrupted\n")


def test_too_little_memory_is_a_refusal():
    with mock.patch.object(run, "gather", side_effect=MemoryError):
        assert gradc("grad", "--expr", "x", "--at", "x=1").code == 2


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_broken_pipe_is_silent(environment: dict[str, str]):
    """The reader is gone before anything is written; `python -m gradc` and the entry point are one."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-W", "error", "-m", "gradc", "grad", "--target", "interpret"]
    child = subprocess.run(
        [*command, "--expr", "x*y", "--at", "x=1", "y=2"],
        env=environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (child.returncode, child.stderr) == (0, "")
