"""A page made of a small function whose source and docstring try to leave their place."""

from functools import cache
from typing import Any

import numpy as np

import gradc
from gradc.api.report import ReportPage
from gradc.explain.inspection import Inspection


def loss(x: Any, w: Any, labels: Any) -> Any:
    """A loss. </script><b>bold</b> <!-- ]]>"""
    h = np.tanh(x @ w)  # </script><b>bold</b> <!-- ]]> " ' &
    p = 1 / (1 + np.exp(-h))
    return np.square(p[labels]).sum() + (h * h).mean()


ARGUMENTS = (np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(-2, 1, 6).reshape(3, 2), np.array([0, 2, 2]))


def inspection() -> Inspection:
    return gradc.differentiate(loss).at(*ARGUMENTS).inspect()


@cache
def report() -> ReportPage:
    """The page; one for all tests, since it compiles and measures."""
    return gradc.differentiate(loss).at(*ARGUMENTS).report(rounds=1)
