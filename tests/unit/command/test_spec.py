"""From SPEC to a function: files, modules, and everything that can be wrong with them."""

import os
from pathlib import Path

import pytest
from tests.unit.command.support import Ran, clean_imports, gradc


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with clean_imports():
        yield


def run(text: str, spec: str = "f.py:f", *words: str) -> Ran:
    Path("f.py").write_text(text)
    return gradc("grad", spec, "--at", "x=3", *words)


SQUARE = "def f(x):\n    return x * x\n"
DECORATED = "from gradc import differentiate\n\n@differentiate\n" + SQUARE
WRAPPED = """
import functools

def twice(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

@functools.cache
def cached(x):
    return x * x

@twice
def f(x):
    return x * x

class Model:
    def loss(self, x):
        return x * x

model = Model()
"""


@pytest.mark.parametrize("text", [SQUARE, DECORATED])
def test_plain_and_decorated_functions(text: str):
    ran = run(text)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("value = 9.0\ngradient:\n  x = 6.0\n")


@pytest.mark.parametrize("name", ["f", "cached", "model.loss"])
def test_wrapped_functions_and_methods(name: str):
    assert run(WRAPPED, f"f.py:{name}").out.endswith("  x = 6.0\n")


def test_a_module_of_a_package_with_relative_imports():
    Path("package").mkdir()
    Path("package/__init__.py").touch()
    Path("package/inner.py").write_text("def g(x):\n    return x * x\n")
    Path("package/outer.py").write_text("from .inner import g\n\ndef f(x):\n    return g(x)\n")
    assert gradc("grad", "package.outer:f", "--at", "x=3").out.endswith("  x = 6.0\n")
    by_file = gradc("grad", "package/outer.py:f", "--at", "x=3")
    assert by_file.code == 2
    assert "write SPEC as package.outer:function" in by_file.err


def test_a_file_may_import_its_neighbours():
    Path("helper.py").write_text("def g(x):\n    return x * x\n")
    assert run("from helper import g\n\ndef f(x):\n    return g(x)\n").out.endswith("  x = 6.0\n")


def test_split_at_the_last_colon():
    ran = gradc("grad", r"C:\a.py:f", "--at", "x=1")
    assert (ran.code, ran.err.splitlines()[0]) == (2, r"gradc: there is no file C:\a.py")


@pytest.mark.skipif(os.name == "nt", reason="a colon cannot be part of a name there")
def test_a_colon_in_a_folder():
    Path("C:").mkdir()
    Path("C:/a.py").write_text(SQUARE)
    assert gradc("grad", "C:/a.py:f", "--at", "x=3").out.endswith("  x = 6.0\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise RuntimeError('no')", "running f.py failed: RuntimeError: no\n  where: f.py:1"),
        ("import sys\nsys.exit(3)", "ended the program with sys.exit(3)"),
        ("1 / 0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError: invalid syntax (f.py, line 1)\n  where: f.py:1"),
        ("import a_module_that_is_not_there", "No module named 'a_module_that_is_not_there'"),
        ("f = 3", "f.py:f is no function\n  why: its type is int"),
        ("def g(x): pass\ndef fa(x): pass", "f.py has no `f`\n  why: its functions are fa, g"),
        ("", "f.py has no `f`\n  why: it has no functions"),
        ("def f(x):\n    raise ValueError('mine')", "the function raised ValueError: mine\n  where: "),
        ("import numpy as np\ndef f(x):\n    return x * np.ones(2)[5]", "f.py:3"),
    ],
)
def test_files_that_fail(text: str, message: str):
    ran = run(text)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_a_file_that_trains_is_told_where_to_put_that():
    assert '`if __name__ == "__main__":`' in run("raise RuntimeError('training')").err


def test_what_a_file_prints_is_not_the_answer():
    ran = run("print('epoch 1')\n" + SQUARE, "f.py:f", "--json")
    assert ran.json["gradient"] == {"x": 6.0}
    assert ran.err == "epoch 1\n"


def test_an_interrupt_says_what_was_running():
    ran = run("raise KeyboardInterrupt\n")
    assert (ran.code, ran.out) == (130, "")
    assert "interrupted" in ran.err
    assert "f.py" in ran.err


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("missing.py:f", "there is no file missing.py"),
        ("f.py", "SPEC `f.py` names no function\n  why: its functions are f"),
        ("f.py:", "names no function"),
        (":f", "names no function"),
        ("f", "names no function"),
        ("not_a_module:f", "there is no module not_a_module"),
        ("package/f:f", "is neither a Python file nor a module"),
        ("math:nothing", "math has no `nothing`"),
    ],
)
def test_bad_specs(spec: str, message: str):
    ran = run(SQUARE, spec)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_one_of_spec_and_expr():
    for words in ((), ("f.py:f", "--expr", "x")):
        ran = gradc("grad", *words, "--at", "x=1")
        assert (ran.code, "give one of SPEC and --expr" in ran.err) == (2, True)
