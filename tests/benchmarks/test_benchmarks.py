"""Every benchmark runs, on tiny sizes, and would notice a wrong gradient; its times are not asserted."""

import importlib
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parent
NAMES = (
    "call_overhead",
    "network_step",
    "training_step",
    "convnet_step",
    "elementwise_chain",
    "elementary_functions",
    "first_call",
)


@pytest.fixture(autouse=True)
def _as_scripts_see_it(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("name", NAMES)
def test_runs_on_tiny_sizes(name: str, capsys: pytest.CaptureFixture[str]):
    tables = module(name).run(small=True)
    measuring = module("measuring")
    for title, rows in tables.items():
        measuring.show(title, rows)
        assert rows[0].ratio == 1.0
        assert len(rows) > 1
        assert all(math.isfinite(row.seconds) and row.seconds > 0 for row in rows)
    measuring.show_machine()
    assert "numpy" in capsys.readouterr().out


def test_a_wrong_way_is_not_timed():
    measuring = module("measuring")
    ways = [
        measuring.Way("right", lambda: (1.0, np.ones(3))),
        measuring.Way("wrong", lambda: (1.0, np.zeros(3))),
    ]
    with pytest.raises(AssertionError, match="wrong"):
        measuring.measure(ways, rounds=1)


def test_zero_is_nothing_to_compare_with():
    measuring = module("measuring")
    with pytest.raises(AssertionError, match="zero"):
        measuring.measure([measuring.Way("zero", lambda: (0.0, np.zeros(3)))], rounds=1)
