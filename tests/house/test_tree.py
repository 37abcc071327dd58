"""What no file of the repository may hold, however it got there."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES = 450
LONG: dict[str, str] = {}  # a file that may be longer: the reason


def files(*patterns: str) -> list[Path]:
    """Return the files git tracks or would track: what the next commit can hold."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = sorted({ROOT / name for name in listed.split("\0") if name})
    return [path for path in paths if path.is_file()]


def mentions(pattern: str) -> Iterator[str]:
    """Give `file:line: text` of every line that matches, except in this file, which spells the patterns."""
    for path in files():
        if path != Path(__file__).resolve():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            place = path.relative_to(ROOT)
            yield from (f"{place}:{n}: {line}" for n, line in enumerate(lines, 1) if re.search(pattern, line))


def test_no_path_of_one_machine():
    assert list(mentions(r"(?<![\w.])/(work|root|home/\w+)/")) == []


def test_no_work_left_for_later():
    assert list(mentions(r"\b(TODO|FIXME|XXX)\b")) == []


def test_files_are_short():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in files("compiler/*.py", "runtime/*.py")
    }
    assert {name for name, length in lengths.items() if length > LINES} == set(LONG)


def test_ci_can_be_executed():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
