"""The logistic map iterated 20 times, whose written-out derivative swells: two Python floats, one call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gradc.bench.frameworks import casadi_ways, gradc_bound, gradc_way, heyoka_way, jax_way, torch_ways
from gradc.bench.workload import Workload


def inputs(small: bool) -> tuple[Any, ...]:
    """Return where the map starts, and its rate."""
    return 0.3, 3.7


def loss(x, r):
    """As every library takes it."""
    for _ in range(20):
        x = r * x * (1 - x)
    return x


def of_library(library: Any) -> Callable[..., Any]:
    """No library is needed to multiply."""
    return loss


def by_hand(x: float, r: float) -> Any:
    """Plain Python."""
    path = [x]
    for _ in range(20):
        path.append(r * path[-1] * (1 - path[-1]))
    x_bar, r_bar = 1.0, 0.0
    for before in reversed(path[:-1]):
        r_bar += x_bar * before * (1 - before)
        x_bar *= r * (1 - 2 * before)
    return path[-1], (x_bar, r_bar)


WORKLOAD = Workload(
    name="swell",
    title="the logistic map iterated 20 times, called with two Python floats",
    inputs=inputs,
    reference=by_hand,
    rtol=1e-7,
    ways={
        "gradc": gradc_way(loss),
        "gradc, bound": gradc_bound(loss),
        "numpy": lambda *numbers: partial(by_hand, *numbers),
        "jax": jax_way(of_library, 2),
        **torch_ways(of_library, 2),
        **casadi_ways(lambda casadi, *numbers: loss(*numbers)),
        "heyoka": heyoka_way(lambda heyoka, *numbers: loss(*numbers)),
    },
    notes={"numpy": "plain Python by hand", "heyoka": "reads and writes arrays in place"},
)
