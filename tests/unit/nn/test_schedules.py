"""Learning rates by step, and the check of numbers that users set."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from gradc.errors import ArgumentError
from gradc.nn.schedules import (
    ConstantRate,
    Cosine,
    ExponentialDecay,
    InverseTimeDecay,
    LinearWarmup,
    StepDecay,
    rate_at,
)

# Two steps in an epoch; the rates of steps 1, 2, ...
TABLES = [
    (ConstantRate(0.3), [0.3, 0.3, 0.3]),
    (StepDecay(0.8, factor=0.5, epochs=1), [0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.1]),
    (StepDecay(1.0, factor=0.1, epochs=2), [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.01]),
    (ExponentialDecay(2.0, decay=2 * math.log(2)), [2.0, 1.0, 0.5, 0.25, 0.125]),
    (InverseTimeDecay(1.0, decay=2.0), [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]),
    (Cosine(1.0, epochs=3), [1.0, (2 + math.sqrt(3)) / 4, 0.75, 0.5, 0.25, (2 - math.sqrt(3)) / 4, 0.0, 0.0]),
    (
        Cosine(1.0, epochs=2, least=0.2),
        [1.0, 0.6 + 0.4 / math.sqrt(2), 0.6, 0.6 - 0.4 / math.sqrt(2), 0.2, 0.2],
    ),
    (Cosine(0.4, epochs=3, warmup=2), [0.1, 0.2, 0.3, 0.4, 0.4, 0.2, 0.0, 0.0]),
    (Cosine(0.4, epochs=3, warmup=0.75), [0.4 / 1.5, 0.4, 0.2 + 0.2 * math.cos(math.pi / 9)]),
    (LinearWarmup(0.4, epochs=2), [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]),
    (LinearWarmup(StepDecay(0.8, factor=0.5, epochs=1), epochs=2), [0.2, 0.4, 0.3, 0.4, 0.2, 0.2, 0.1]),
]
NAN = math.nan
TEXT: Any = "fast"
HALF: Any = 0.5


@pytest.mark.parametrize(("schedule", "rates"), TABLES, ids=repr)
def test_the_rates_of_the_first_steps(schedule: Any, rates: list[float]):
    found = [schedule(step, 2) for step in range(1, len(rates) + 1)]
    assert all(type(rate) is float for rate in found)
    assert found == pytest.approx(rates, rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in TABLES], ids=repr)
def test_a_rate_stays_within_0_and_the_first_or_greatest_for_ever(schedule: Any):
    rates = [schedule(step, 3) for step in [*range(1, 200), 10**9]]
    assert min(rates) >= 0
    assert max(rates) <= 2.0


def test_an_epoch_has_as_many_steps_as_the_caller_says():
    for schedule, _ in TABLES:
        fine = [schedule(1 + 5 * done, 10) for done in range(8)]  # every fifth of ten steps in an epoch
        coarse = [schedule(1 + done, 2) for done in range(8)]
        if not isinstance(schedule, LinearWarmup) and not getattr(schedule, "warmup", 0):
            assert fine == pytest.approx(coarse)
    assert LinearWarmup(1.0, epochs=1)(5, 10) == 0.5
    assert Cosine(1.0, epochs=9, warmup=1)(5, 10) == 0.5


def test_an_epoch_of_any_whole_number_of_steps_ends_on_time():
    for epochs in range(1, 12):
        for steps in range(1, 40):
            decay = StepDecay(1.0, factor=0.5, epochs=epochs)
            assert decay(epochs * steps, steps) == 1.0
            assert decay(epochs * steps + 1, steps) == 0.5


def test_a_number_and_a_function_are_rates_too():
    assert rate_at(0.25, 17, 10) == 0.25
    assert rate_at(lambda step, steps_per_epoch: step / steps_per_epoch, 5, 10) == 0.5
    assert LinearWarmup(lambda step, steps_per_epoch: 8.0, epochs=2)(1, 2) == 2.0


@pytest.mark.parametrize("bad", [NAN, math.inf, -0.1, None, "0.1"])
def test_a_schedule_that_returns_no_rate_is_named_with_the_step(bad: Any):
    def schedule(step: int, steps_per_epoch: int) -> Any:
        return bad if step == 4 else 0.1

    assert rate_at(schedule, 3, 10) == 0.1
    with pytest.raises(ArgumentError, match=r"schedule.* in step 4 is"):
        rate_at(schedule, 4, 10)


def test_an_integer_beyond_all_floats_is_refused():
    with pytest.raises(ArgumentError) as refused:
        ConstantRate(10**400)
    assert refused.value.what == f"ConstantRate.rate is {10**400}"


def test_settings_are_kept_as_python_floats():
    schedule = Cosine(np.float32(0.5), np.int64(4), warmup=1, least=Fraction(1, 4))  # type: ignore[arg-type]
    assert schedule == Cosine(0.5, 4.0, 1.0, 0.25)
    assert {type(schedule.rate), type(schedule.epochs), type(schedule.warmup), type(schedule.least)} == {
        float
    }
    assert type(StepDecay(0.1, 0.5, 2.0).epochs) is int  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "what", "do"),
    [
        (lambda: ConstantRate(-1), "ConstantRate.rate is -1", "a finite number of at least 0"),
        (lambda: ConstantRate(NAN), "ConstantRate.rate is nan", "a finite number of at least 0"),
        (lambda: ConstantRate(True), "ConstantRate.rate is True", "a finite number of at least 0"),
        (lambda: StepDecay(0.1, 0.0, 5), "StepDecay.factor is 0.0", "a positive finite number"),
        (lambda: StepDecay(0.1, 0.5, 0), "StepDecay.epochs is 0", "a whole number of at least 1"),
        (lambda: StepDecay(0.1, 0.5, 3 * HALF), "StepDecay.epochs is 1.5", "a whole number of at least 1"),
        (
            lambda: ExponentialDecay(0.1, -1.0),
            "ExponentialDecay.decay is -1.0",
            "a finite number of at least 0",
        ),
        (
            lambda: InverseTimeDecay(0.1, TEXT),
            "InverseTimeDecay.decay is 'fast'",
            "a finite number of at least 0",
        ),
        (lambda: Cosine(0.1, 0), "Cosine.epochs is 0", "a positive finite number"),
        (lambda: Cosine(0.1, 5, warmup=-1), "Cosine.warmup is -1", "a finite number of at least 0"),
        (
            lambda: Cosine(0.1, 5, warmup=5),
            "Cosine.warmup is 5 of 5 epochs",
            "a warmup that is less than epochs",
        ),
        (lambda: Cosine(0.1, 5, least=0.2), "Cosine.least is 0.2, its rate 0.1", "a least of at most rate"),
        (
            lambda: LinearWarmup(TEXT, 5),
            "LinearWarmup.rate is 'fast'",
            "a finite number of at least 0, or a",
        ),
        (lambda: LinearWarmup(0.1, math.inf), "LinearWarmup.epochs is inf", "a positive finite number"),
    ],
)
def test_bad_settings_are_refused_at_construction(make: Any, what: str, do: str):
    with pytest.raises(ArgumentError) as refused:
        make()
    assert refused.value.what == what
    assert refused.value.do.startswith(f"give {do}")
