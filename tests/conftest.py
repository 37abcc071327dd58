"""What every test can have: a private kernel cache, fixed seeds, golden files, subprocesses."""

import os
import random
import re
import shutil
import sys
import tempfile
import zlib
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
GOLDEN = REPOSITORY / "tests" / "golden" / "data"

# The same examples on every run: a failure belongs to the change under test, not to the day. No deadline: the
# first example of a kernel compiles it. `--hypothesis-profile=explore` is for looking further.
hypothesis.settings.register_profile("repeat", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000, print_blob=True)
hypothesis.settings.load_profile("repeat")

OWN_CACHE = pytest.StashKey[str]()

MOST_KERNELS = 600  # compiled by a default run: breadth belongs to the interpreters
KERNELS = pytest.StashKey[list[int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cells", action="store_true", help="print the operator table, a line per operation")
    parser.addoption("--update-golden", action="store_true", help="write golden files instead of comparing")


def pytest_configure(config: pytest.Config) -> None:
    """Point the kernel cache away from the user's before gradc is imported; workers of one run share it."""
    if not hasattr(config, "workerinput"):
        config.stash[OWN_CACHE] = tempfile.mkdtemp(prefix="gradc-tests-")
        os.environ["GRADC_CACHE_DIR"] = config.stash[OWN_CACHE]


# --- kernels compiled, cells checked ------------------------------------------------------------------------


def _compiled_here() -> int:
    """Return how many kernels this process compiled; a run that compiles nothing does not import the backend."""
    backend = sys.modules.get("gradc_runtime.numba_backend")
    return backend.compilations if backend else 0


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    """Collect the number of kernels that an xdist worker compiled."""
    node.config.stash.setdefault(KERNELS, []).append(getattr(node, "workeroutput", {}).get("kernels", 0))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a default run that compiled too many kernels."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["kernels"] = _compiled_here()  # pyright: ignore[reportAttributeAccessIssue]
        return
    counts = config.stash.setdefault(KERNELS, [])
    counts.append(_compiled_here())
    if sum(counts) > MOST_KERNELS and _is_default_run(config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_default_run(config: pytest.Config) -> bool:
    return "not full" in (config.getoption("markexpr") or "")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print how many kernels were compiled and which cells of the operator table were checked."""
    found = sum(config.stash.get(KERNELS, []))
    if found:
        terminalreporter.section("kernels")
        terminalreporter.line(f"{found} kernels compiled; a default run may compile {MOST_KERNELS}")
        if found > MOST_KERNELS and _is_default_run(config):
            terminalreporter.line("FAILED: put operations into families, or test on an interpreter", red=True)
    reports = terminalreporter.stats.get("passed", [])
    cells = [item for one in reports for item in one.user_properties if item[0] == "operator table"]
    if cells:
        from tests.numeric.table import report  # noqa: PLC0415 (only where those tests ran)

        every = bool(config.getoption("--cells")) or not _is_default_run(config)
        terminalreporter.section("operator table")
        for line in report.lines(report.collect(cells), every=every):
            terminalreporter.line(line)


# --- what tests are given -----------------------------------------------------------------------------------


def pytest_unconfigure(config: pytest.Config) -> None:
    if OWN_CACHE in config.stash:
        shutil.rmtree(config.stash[OWN_CACHE], ignore_errors=True)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Return a number that depends on the test alone: not on the order of tests or the hash seed."""
    return zlib.crc32(request.node.nodeid.encode())


@pytest.fixture(autouse=True)
def _fixed_global_seeds(seed: int) -> None:
    """Seed the global generators too, for code under test that draws from them."""
    random.seed(seed)
    np.random.seed(seed)


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Return variables under which a new interpreter finds the gradc under test, tree or wheel."""
    specs = [find_spec(name) for name in ("gradc", "gradc_runtime")]
    homes = dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in specs if spec and spec.origin)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(homes), "COLUMNS": "100", "NO_COLOR": "1"}


@dataclass
class Golden:
    """Compares text with the file kept for the running test, or with `--update-golden` keeps the text."""

    stem: Path
    update: bool
    seen: set[Path] = field(default_factory=set)

    def __call__(self, text: str, part: str = "", suffix: str = ".txt") -> None:
        """Compare `text`; `part` tells apart several texts of one test, `suffix` may make it a `.py` file."""
        path = self.stem.with_name(f"{self.stem.name}{part and '.' + part}{suffix}")
        assert path not in self.seen, f"two texts for {path.name} in one test: give each a `part`"
        self.seen.add(path)
        kept = text if text.endswith("\n") else text + "\n"
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(kept.encode())
        elif path.exists():
            assert kept == path.read_bytes().decode(), f"{path}: if the change is right, --update-golden"
        else:
            pytest.fail(f"{path} is missing; read the text below, then run with --update-golden:\n{kept}")

    def message(self, message: str) -> None:
        """Compare an error message without ``:12`` in its place, and with carets as many columns further left."""
        found = re.search(r"(?<=\.py)(:\d+):", message)
        if found is not None:
            before, after = message[: found.start()], message[found.end(1) :]
            line, _, rest = after.partition("\n")
            if rest.lstrip().startswith("^"):
                rest = rest.removeprefix(" " * len(found[1]))
            message = f"{before}{line}\n{rest}".rstrip("\n")
        self(message)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare text byte for byte with `tests/golden/data/<module>/<test>.txt`."""
    module = request.path.stem.removeprefix("test_")
    name = re.sub(r"[^\w.=-]+", "-", request.node.name.removeprefix("test_")).strip("-")
    return Golden(GOLDEN / module / name, bool(request.config.getoption("--update-golden")))
