"""The bar of a long check appears on a terminal, late, and leaves nothing behind."""

import io

import numpy as np
import pytest
from rich.console import Console

from gradc import differentiate
from gradc.api import checks
from gradc.api.progress import CheckProgress


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80)


def shown(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def test_a_long_check_shows_what_was_compared(monkeypatch: pytest.MonkeyPatch):
    terminal = console(terminal=True)
    monkeypatch.setattr(checks, "CheckProgress", lambda: CheckProgress(terminal, patience=0.0))
    differentiate(lambda x: np.sum(np.sin(x)), target="interpret").check(np.arange(3.0)).assert_ok()
    assert "0/3" in shown(terminal)
    assert "3/3" in shown(terminal)
    assert "50 digits" in shown(terminal)


def test_a_short_check_and_one_without_a_terminal_show_nothing(monkeypatch: pytest.MonkeyPatch):
    for target, patience in ((console(terminal=True), 60.0), (console(terminal=False), 0.0)):
        bar = CheckProgress(target, patience)
        monkeypatch.setattr(checks, "CheckProgress", lambda bar=bar: bar)
        differentiate(lambda x: x * x, target="interpret").check(2.0).assert_ok()
        assert shown(target) == ""
