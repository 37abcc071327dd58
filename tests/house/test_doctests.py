"""Every example in a docstring shows what Python answers."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def modules_with_examples() -> list[str]:
    names = []
    for folder in (ROOT / "compiler", ROOT / "runtime"):
        for path in sorted(folder.rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                names.append(
                    ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
                )
    return names


@pytest.mark.parametrize("name", modules_with_examples())
def test_docstring_examples(name: str):
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    module = importlib.import_module(name)
    for test in doctest.DocTestFinder().find(module, name):
        runner.run(test, out=report.append)
    assert not report, "".join(report)
