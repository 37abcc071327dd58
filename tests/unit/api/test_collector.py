"""The garbage collector rests while programs are built, and goes on afterwards."""

import gc
from collections.abc import Iterator

import numpy as np
import pytest

from gradc import differentiate
from gradc.api.collector import collector_resting
from gradc.errors import TraceError


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_it_rests_inside_and_goes_on_after_the_outermost_use():
    with collector_resting():
        with collector_resting():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_one_that_was_off_stays_off():
    gc.disable()
    with collector_resting():
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_it_goes_on_after_an_error():
    def broken(x: float) -> float:
        return x if x > 0 else -x

    with pytest.raises(TraceError):
        differentiate(broken, target="interpret")(1.0)
    assert gc.isenabled()


def test_user_code_is_traced_while_it_rests():
    def looking(x: np.ndarray) -> object:
        return np.sum(x * x) * (100.0 if gc.isenabled() else 1.0)

    np.testing.assert_array_equal(differentiate(looking, target="interpret").grad(np.ones(3)), [2.0] * 3)
    assert gc.isenabled()
