"""What importing costs and reaches: the arrows of the architecture, measured in fresh interpreters."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def loaded_by(statement: str, environment: dict[str, str]) -> set[str]:
    """Return the top-level packages that `statement` adds to those a bare interpreter has."""
    program = (
        "import sys; before = set(sys.modules); "
        f"{statement}; print(*sorted({{name.partition('.')[0] for name in set(sys.modules) - before}}))"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize("statement", ["import gradc", "from gradc import differentiate"])
def test_import_gradc_is_light(statement: str, environment: dict[str, str]):
    assert not {"numba", "llvmlite", "scipy"} & loaded_by(statement, environment)


def test_the_commands_help_waits_for_nothing_heavy(environment: dict[str, str]):
    heavy = {"numba", "llvmlite", "scipy", "sympy", "optree"}
    assert not heavy & loaded_by("import gradc.cli.run", environment)


def test_import_of_the_runtime_loads_nothing_else(environment: dict[str, str]):
    loaded = loaded_by("import gradc_runtime", environment)
    assert "gradc_runtime" in loaded
    assert loaded - {"gradc_runtime"} <= sys.stdlib_module_names


def test_one_module_knows_who_compiles_for_cuda():
    """Another compiler for CUDA can take the place of today's in one file."""
    assert importers("numba.cuda", "numba_cuda", "cuda.") == {"cuda_backend.py"}


def test_one_module_knows_who_binds_cublas():
    assert importers("nvmath") == {"cuda_blas.py"}


def importers(*packages: str) -> set[str]:
    """Return the files that import modules whose names begin so."""
    return {
        path.name
        for folder in ("compiler", "runtime")
        for path in (ROOT / folder).rglob("*.py")
        for name in imported(path)
        if name.startswith(packages)
    }


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, those given as text to `import_module` as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(str(module), names):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Call(args=[ast.Constant(str(name)), *_]):
                yield name
            case _:
                pass


def test_import_contracts_are_kept(environment: dict[str, str]):
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "--no-cache", "--no-logo"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("folder", ["compiler", "runtime"])
def test_folders_are_not_packages(folder: str):
    """`import compiler.gradc` would be a second copy of every class; an `__init__.py` would invite it."""
    assert not (ROOT / folder / "__init__.py").exists()
