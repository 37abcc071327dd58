"""Every example runs to its end, which is an assertion, as a user would run it.

An example that takes more than about ten seconds says `# slow` in its first five lines; one that takes more than a
minute says `# full`, and runs with `python -m pytest -m full` alone.
"""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def parameter(path: Path):
    head = path.read_text(encoding="utf-8").splitlines()[:5]
    marks = [getattr(pytest.mark, name) for name in ("slow", "full") if f"# {name}" in head]
    return pytest.param(path, id=path.name, marks=marks)


@pytest.mark.parametrize("example", [parameter(path) for path in sorted(EXAMPLES.glob("[0-9]*.py"))])
def test_example_runs(example: Path, environment: dict[str, str], tmp_path: Path):
    command = [sys.executable, str(example)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
