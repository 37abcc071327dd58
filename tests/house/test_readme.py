"""README.md shows nothing that was not run.

The rules, one per kind of fenced block:

* `python` runs in a namespace of its own, `python continued` in that of the program before it. A `text` block
  that comes next is what it prints; `...` there stands for anything.
* `bash` holds commands, and a `text` block that comes next what they print; in `console` a command starts
  with `$ ` and what it prints follows. Commands of gradc are run. Set-up commands and the numbered examples
  are recognised and left to `.ci/run` and `test_examples.py`. Any other command fails the test.
* A block whose fence names a file (```` ```toml net.toml ````) is that file, in the directory where the
  commands run. A `toml` block must name one. A block in another language fails the test.
"""

import contextlib
import doctest
import io
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
GRADC = (["gradc"], ["python", "-m", "gradc"])
SET_UP = (
    ["git", "clone"],
    ["cd"],
    ["python3", "-m", "venv"],
    ["python", "-m", "venv"],
    ["."],
    ["source"],
    ["pip", "install"],
    ["python", "-m", "pip", "install"],
    ["bash", ".ci/run"],
    ["python", "-m", "pytest"],
)


@dataclass(frozen=True)
class Block:
    """A fenced block: the words of its fence, its text, where that starts, the output shown for it."""

    words: tuple[str, ...]
    text: str
    line: int
    shown: str | None

    @property
    def language(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def file(self) -> str | None:
        return next((word for word in self.words[1:] if "." in word), None)


def read_blocks(readme: str) -> list[Block]:
    found = [
        (tuple(match["info"].split()), match["body"], readme.count("\n", 0, match.start("body")) + 1)
        for match in FENCE.finditer(readme)
    ]
    return [
        Block(*block, shown=following[1] if following[0] == ("text",) else None)
        for block, following in pairwise([*found, ((), "", 0)])
    ]


def read_programs(blocks: list[Block]) -> list[list[Block]]:
    """Group each `python` block with the `python continued` blocks after it."""
    programs: list[list[Block]] = []
    for block in blocks:
        if block.language == "python":
            if "continued" in block.words:
                programs[-1].append(block)
            else:
                programs.append([block])
    return programs


def read_commands(block: Block) -> list[tuple[str, str | None]]:
    """Return the scripts of a `bash` or `console` block, each with the output shown for it."""
    if block.language == "console":
        pieces = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
        return [(head, rest or None) for head, _, rest in (piece.partition("\n") for piece in pieces)]
    return [(block.text, block.shown)]


BLOCKS = read_blocks(README.read_text(encoding="utf-8"))
PROGRAMS = read_programs(BLOCKS)
COMMANDS = [block for block in BLOCKS if block.language in ("bash", "console")]


def assert_shows(shown: str | None, printed: str) -> None:
    if shown is not None:
        example, checker = doctest.Example("", shown), doctest.OutputChecker()
        got = "".join(line.rstrip() + "\n" for line in printed.splitlines())
        same = checker.check_output(example.want, got, doctest.ELLIPSIS)
        assert same, checker.output_difference(example, got, doctest.ELLIPSIS)


def is_known(words: list[str]) -> bool:
    """Tell whether a command is set-up, or an example that `test_examples.py` runs."""
    if words[:1] == ["python"] and len(words) == 2:
        return (ROOT / words[1]) in (ROOT / "examples").glob("[0-9]*.py")
    return any(words[: len(start)] == start for start in SET_UP)


def run_command(words: list[str], environment: dict[str, str], folder: Path) -> str:
    """Run a command of gradc and return what it prints; return nothing for one that is known."""
    start = next((start for start in GRADC if words[: len(start)] == start), None)
    if start is None:
        assert is_known(words), f"{shlex.join(words)}: neither set-up, nor a numbered example, nor gradc"
        return ""
    command = [sys.executable, "-m", "gradc", *words[len(start) :]]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{shlex.join(words)}: exit {run.returncode}\n{run.stdout}{run.stderr}"
    return run.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: f"line{program[0].line}")
def test_python_blocks_print_what_they_show(program: list[Block], monkeypatch: pytest.MonkeyPatch):
    module = ModuleType("readme")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in program:
        source = "\n" * (block.line - 1) + block.text  # so that tracebacks and inspect point into README.md
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(source, str(README), "exec"), module.__dict__)
        assert_shows(block.shown, printed.getvalue())


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: f"line{block.line}")
def test_commands_print_what_they_show(block: Block, environment: dict[str, str], tmp_path: Path):
    for source in BLOCKS:
        if source.file:
            (tmp_path / source.file).write_text(source.text, encoding="utf-8")
    for script, shown in read_commands(block):
        lines = re.split(r"&&|\n", script.replace("\\\n", " "))
        parts = [shlex.split(line, comments=True) for line in lines]
        printed = [run_command(words, environment, tmp_path) for words in parts if words]
        assert_shows(shown, "".join(printed))


def test_no_block_is_left_out():
    """Every block is a program, a command, a named file, or the output of the block before it."""
    for before, block in pairwise([Block((), "", 0, None), *BLOCKS]):
        if block.language == "text":
            assert before.language in ("python", "bash"), f"README.md:{block.line}: whose output is this?"
        elif block.language == "toml":
            assert block.file, f"README.md:{block.line}: a toml block needs a file name in its fence"
        else:
            assert block.language in ("python", "bash", "console"), f"README.md:{block.line}: {block.words}"


def test_every_fence_is_read():
    assert README.read_text(encoding="utf-8").count("```") == 2 * len(BLOCKS)
