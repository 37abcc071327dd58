"""Every way of every workload computes what the reference does, on tiny sizes; libraries where installed."""

import shutil
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

from gradc.api import decorator
from gradc.bench.peers import PEERS
from gradc.bench.workload import Workload, fault, flat, groups, peer_of, wide
from gradc.bench.workloads import ALL, bigexpr

SMALL = [
    bigexpr.workload(30) if name == "bigexpr-2000" else one
    for name, one in ALL.items()
    if name != "bigexpr-10000"
]
COMPILED = ("neuron", "rosenbrock-10", "bigexpr-30")  # quickly; the others with `-m full`
SLOW = ("torch, compiled", "pytensor")


def names(ours: bool):
    """Workloads and their ways, gradc's or those of others."""
    for one in SMALL:
        for way in one.ways:
            if (peer_of(way) == "gradc") == ours:
                slow = way.startswith(SLOW) or (ours and one.name not in COMPILED)
                marks = [pytest.mark.full] if slow else []
                yield pytest.param(one, way, id=f"{one.name}-{way.replace(', ', '-')}", marks=marks)


def assert_right(one: Workload, way: str) -> None:
    inputs = one.inputs(True)
    wanted = one.reference(*wide(inputs))
    found = one.ways[way](*inputs)()
    assert fault(flat(found), flat(wanted), groups(wanted), one.rtol) == ""


@pytest.mark.parametrize(("one", "way"), [*names(ours=True)])
def test_gradc_compiled(one: Workload, way: str):
    assert_right(one, way)


@pytest.mark.parametrize("one", [one for one in SMALL if one.name not in COMPILED], ids=lambda one: one.name)
def test_gradc_interpreted(one: Workload, monkeypatch: pytest.MonkeyPatch):
    interpreted = partial(decorator.differentiate, target="interpret")
    monkeypatch.setattr(decorator, "differentiate", interpreted)
    assert_right(one, "gradc")


@pytest.mark.parametrize(("one", "way"), [*names(ours=False)])
@pytest.mark.filterwarnings("ignore")  # of the libraries
def test_others(one: Workload, way: str):
    if (peer_of(way) == "c" or ", C" in way) and shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    for module in PEERS[peer_of(way)].modules:
        if find_spec(module.partition(".")[0]) is None:
            pytest.skip(f"{module} is not installed")
    assert_right(one, way)


@pytest.mark.parametrize("one", [*ALL.values()], ids=lambda one: one.name)
def test_inputs_are_the_same_every_time_and_of_one_dtype(one: Workload):
    first, second = one.inputs(True), one.inputs(True)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    dtypes = {item.dtype for item in first if isinstance(item, np.ndarray) and item.dtype.kind == "f"}
    assert dtypes <= {np.dtype(one.dtype)}
    assert set(one.notes or ()) <= set(one.ways)
    assert {"gradc", "numpy"} <= set(one.ways)


def test_a_difference_in_any_array_is_seen():
    wanted = (1.0, (np.array([1e6, 2e6]), np.array([1e-6, 2e-6])))
    right, sizes = flat(wanted), groups(wanted)
    assert sizes == [1, 2, 2]
    for at in range(right.size):
        for wrong in (right[at] * (1 + 1e-6), np.nan, np.inf):
            moved = right.copy()
            moved[at] = wrong
            assert "differs" in fault(moved, right, sizes, 1e-7)
    assert fault(right, right, sizes, 0.0) == ""
    assert "numbers" in fault(right[:-1], right, sizes, 1e-7)


def test_where_the_reference_is_zero_only_zero_is_right():
    zero = np.zeros(3)
    assert fault(zero, zero, [1, 2], 1e-9) == ""
    assert "differs" in fault(np.array([0, 0, 1e-300]), zero, [1, 2], 1e-9)


@pytest.mark.parametrize("one", SMALL, ids=lambda one: one.name)
def test_no_reference_is_zero_or_not_finite(one: Workload):
    found = one.reference(*wide(one.inputs(True)))
    parts = np.split(flat(found), np.cumsum(groups(found))[:-1])
    assert all(np.isfinite(part).all() and part.any() for part in parts)
