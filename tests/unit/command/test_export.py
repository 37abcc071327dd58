"""Exported kernels: they run without gradc, and writing them leaves nothing half done."""

import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from tests.unit.command.support import gradc

from gradc.command import export

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("gradc", "sympy", "optree"):
            raise ImportError(f"{name} is blocked here")

sys.meta_path.insert(0, Blocked())
"""


def compile_to(out: Path, text: str = "(x + y) * z", *words: str):
    return gradc("compile", "--expr", text, "-o", str(out), *words)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_runs_in_an_interpreter_without_gradc(tmp_path: Path):
    ran = compile_to(tmp_path / "kernel")
    assert (ran.code, ran.err) == (0, "")
    *listed, _, place, imported, called = ran.out.splitlines()
    assert place == f"# in {tmp_path}:"
    assert {Path(name).relative_to(tmp_path / "kernel").as_posix() for name in listed} == set(
        snapshot(tmp_path / "kernel")
    )
    program = f"{BLOCKED}\n{imported}\nx, y, z = -2.0, 5.0, -4.0\nprint({called})\n"
    program += "print([m for m in ('gradc', 'sympy', 'optree') if m in sys.modules])\n"
    child = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{program}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    value, modules = child.stdout.splitlines()
    flat = [float(part) for part in value.replace("(", "").replace(")", "").split(",")]
    assert (flat, modules) == ([-12.0, -4.0, -4.0, 3.0], "[]")


def test_json_lists_the_files(tmp_path: Path):
    found = compile_to(tmp_path / "kernel", "x*y", "--json", "--of", "value").json
    assert set(found["files"]) == set(snapshot(tmp_path / "kernel"))
    assert found["usage"] == ["from kernel import expression_value", "expression_value(x, y)"]


def test_timings_come_first(tmp_path: Path):
    assert "us per equation" in compile_to(tmp_path / "kernel", "x*y", "--timings").out.splitlines()[1]


def test_timings_of_all_stages(tmp_path: Path):
    found = compile_to(tmp_path / "kernel", "sin(x)*y + 1", "--timings", "--json", "--of", "value").json
    times = found["timings"]
    stages = {stage["stage"]: stage for stage in times["stages"]}
    assert {"trace", "adjoint", "lower", "source", "import Numba", "Numba", "LLVM"} <= set(stages)
    assert {stage: stages[stage]["seconds"] for stage in found["seconds"]} == found["seconds"]
    assert times["total_seconds"] == pytest.approx(sum(stage["seconds"] for stage in stages.values()))
    assert (times["equations"], times["operations"]) == (3, 3)
    adjoint = stages["adjoint"]
    assert adjoint["seconds_per_equation"] == pytest.approx(adjoint["seconds"] / 3)
    assert adjoint["seconds_per_1000_operations"] == pytest.approx(1000 * adjoint["seconds"] / 3)


def test_machine_code_that_was_kept_is_told(tmp_path: Path):
    texts = [compile_to(tmp_path / "kernel", "cosh(x)*y", "--timings").out for _ in range(2)]
    (line,) = (line for line in texts[1].splitlines() if line.startswith("Numba"))
    assert "kept by an earlier run" in line


def test_our_own_directory_is_written_again(tmp_path: Path):
    out = tmp_path / "kernel"
    compile_to(out, "x*y")
    (out / "notes.txt").write_text("mine")
    shared = {tmp_path / f"{name}.copy": (out / name).read_bytes() for name in ("__init__.py", "gradc.json")}
    for copy in shared:
        copy.hardlink_to(out / copy.stem)
    assert compile_to(out, "x*y*z", "--of", "grad").code == 0
    for copy, content in shared.items():
        assert copy.read_bytes() == content  # files are replaced whole, never written in place
        copy.unlink()
    files = snapshot(out)
    assert files["notes.txt"] == b"mine"
    assert "expression_grad.py" in files
    assert "expression_value_and_grad.py" not in files
    assert json.loads(files["gradc.json"])["function"] == "expression_grad"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    "kind", ["full", "file", "link", "dangling", "inner link", "name", "keyword", "parent"]
)
def test_what_is_not_ours_is_refused(kind: str, tmp_path: Path):
    out = tmp_path / {"name": "my-kernel", "keyword": "class"}.get(kind, "kernel")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    match kind:
        case "full":
            out.mkdir()
            (out / "thesis.tex").write_text("mine")
        case "file":
            out.write_text("mine")
        case "link":
            out.symlink_to(elsewhere)
        case "dangling":
            out.symlink_to(tmp_path / "nowhere")
        case "inner link":
            compile_to(out)
            (out / "runtime").rename(tmp_path / "moved")
            (out / "runtime").symlink_to(elsewhere)
        case "parent":
            (tmp_path / "file").write_text("mine")
            out = tmp_path / "file" / "kernel"
        case _:
            pass  # the name itself
    before = snapshot(tmp_path)
    ran = compile_to(out)
    assert (ran.code, ran.out) == (2, "")
    assert snapshot(tmp_path) == before
    assert not list(elsewhere.iterdir())


def test_force_writes_into_a_full_directory_and_keeps_the_rest(tmp_path: Path):
    out = tmp_path / "kernel"
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    assert compile_to(out, "x*y", "--force").code == 0
    assert snapshot(out)["thesis.tex"] == b"mine"


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("failing_at", [1, 4])
def test_a_failing_write_leaves_everything_as_it_was(exists: bool, failing_at: int, tmp_path: Path):
    out = tmp_path / "kernel"
    if exists:
        compile_to(out, "x + y")
    before = snapshot(tmp_path)
    real, count = Path.write_bytes, 0

    def failing(self: Path, data: bytes) -> int:
        nonlocal count
        count += 1
        if count == failing_at:
            raise OSError(28, "No space left on device")
        return real(self, data)

    with mock.patch.object(Path, "write_bytes", failing):
        ran = compile_to(out, "x*y*z")
    assert (ran.code, "No space left on device" in ran.err) == (2, True)
    assert snapshot(tmp_path) == before
    assert out.exists() == exists


def test_nothing_is_compiled_for_a_directory_that_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("mine")
    with mock.patch.object(export, "artifact_of", side_effect=AssertionError):
        assert compile_to(tmp_path).code == 2
