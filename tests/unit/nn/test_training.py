"""Training: what an epoch does, that it can be repeated, and where it stops."""

import io
import re
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import gradc
from gradc import nn
from gradc.errors import ArgumentError, InputRefused, LossNotFinite
from gradc.nn.layers.activations import ReLU
from gradc.nn.layers.dense import Dense
from gradc.nn.layers.dropout import Dropout
from gradc.nn.layers.normalisation import BatchNorm
from gradc.nn.losses import SoftmaxCrossEntropy, SquaredError
from gradc.nn.network import Network
from gradc.nn.optimisers import GradientDescent, Momentum
from gradc.nn.progress import TrainingProgress
from gradc.nn.schedules import StepDecay
from gradc.nn.training import Training

rng = np.random.default_rng(2)
CENTRES = rng.normal(size=(3, 4)) * 3
Y = rng.integers(0, 3, 130)
X = CENTRES[Y] + rng.normal(size=(130, 4))


def network(**changes: Any) -> Network:
    options = {"shape": 4, "loss": SoftmaxCrossEntropy(), "dtype": "float32", **changes}
    return Network(Dense(8), BatchNorm(), ReLU(), Dropout(0.1), Dense(3), **options)


def bad_from_third(step: int, steps_per_epoch: int) -> float:
    return 0.1 if step < 3 else 1e30


def assert_equal(one: Any, two: Any) -> None:
    for group in ("parameters", "statistics"):
        for name, value in getattr(one, group).items():
            np.testing.assert_array_equal(value, getattr(two, group)[name], err_msg=name)


@pytest.fixture(scope="module")
def trained() -> tuple[Network, Any]:
    found = network()
    return found, found.fit(X, Y, optimiser=Momentum(0.1), epochs=8, batch=32, validation=(X, Y), seed=3)


def test_training_learns(trained: tuple[Network, Any]):
    found, history = trained
    assert len(history) == 8
    assert history.last.loss < 0.5 * history.epochs[0].loss
    assert history.last.accuracy > 0.95
    assert history.last.accuracy == found.evaluate(X, Y)[1]
    assert history.last.examples == 130
    assert (found.statistics["batch_norm_1.mean"] != 0).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_seed_gives_the_same_bits(trained: tuple[Network, Any], threads: int):
    again = network()
    with gradc.num_threads(threads):
        history = again.fit(X, Y, optimiser=Momentum(0.1), epochs=8, batch=32, validation=(X, Y), seed=3)
    for name, value in trained[0].parameters.items():
        np.testing.assert_array_equal(again.parameters[name], value)
    assert [epoch.loss for epoch in history.epochs] == [epoch.loss for epoch in trained[1].epochs]


def test_another_seed_shuffles_otherwise():
    one, two = (Training(network(), Momentum(0.1), X, Y, seed=seed) for seed in (1, 2))
    assert list(one.batches()) != list(two.batches())


def test_an_epoch_sees_every_example_once():
    training = Training(network(), GradientDescent(0.0), np.tile(np.arange(130.0)[:, None], 4), Y, batch=32)
    seen = []
    for _ in training.batches():
        size = 32 if len(seen) < 128 else 2
        seen += training._bound[size][1][:, 0].tolist()
    assert sorted(seen) == list(range(130))
    assert seen != sorted(seen)
    assert training.steps == training.steps_per_epoch == 5


def test_the_rate_of_a_step_is_that_of_the_schedule():
    training = Training(network(), GradientDescent(StepDecay(0.5, factor=0.1, epochs=1)), X, Y, batch=65)
    assert [training.epoch().rate for _ in range(3)] == pytest.approx([0.5, 0.05, 0.005], rel=1e-6)


def test_callbacks_see_every_epoch():
    seen = []
    network().fit(
        X, Y, optimiser=Momentum(0.1), epochs=2, callbacks=[lambda t, e: seen.append((t.steps, e.number))]
    )
    assert seen == [(3, 1), (6, 2)]


# --- what is not finite ------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_training_and_names_its_equation():
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step \d+ of epoch \d") as caught:
        network().fit(X, Y, optimiser=GradientDescent(1e30), epochs=5)
    assert isinstance(caught.value, LossNotFinite)
    assert re.search(r"layers/\w+\.py:\d+: .* = ", caught.value.where)
    assert "in step 2 of the epoch" in caught.value.why


def test_an_equation_of_gradients_is_named_in_the_step_before_the_loss_shows_it():
    found = Network(Dense(1, bias=False), nn.Function(np.sqrt), shape=1, loss=SquaredError())
    found.parameters["dense_1.weight"][:] = 1.0
    training = Training(found, GradientDescent(0.1), np.zeros((4, 1)), np.ones((4, 1)), batch=2)
    with pytest.raises(LossNotFinite, match=r"the loss is nan at step 2 of epoch 1") as caught:
        training.epoch()
    assert "in step 1 of the epoch" in caught.value.why
    assert caught.value.where


def test_an_update_that_overflows_is_named():
    found = Network(Dense(1), shape=1, loss=SquaredError(), dtype="float32")
    training = Training(found, GradientDescent(1e30), np.full((4, 1), 1e10), np.zeros((4, 1)))
    with pytest.raises(LossNotFinite, match=r"parameters/\S+ is not finite at the end of epoch 1") as caught:
        training.epoch()
    assert caught.value.where.startswith("the update of parameters/")


def test_an_epoch_that_fails_leaves_the_training_as_it_was():
    training = Training(network(), Momentum(bad_from_third), X, Y, batch=65)
    twin = Training(network(), Momentum(0.1), X, Y, batch=65)
    training.epoch()
    twin.epoch()
    with pytest.raises(LossNotFinite):
        training.epoch()
    assert training.steps == 2
    assert len(training.history) == 1
    training.optimiser = twin.optimiser
    assert list(training.batches()) == list(twin.batches())
    assert_equal(training.network, twin.network)


def judged_as(found: Network, *losses: float) -> tuple[Any, Any]:
    """Let the validation losses of a network be these; return validation data."""
    left = iter(losses)
    found.evaluate = lambda x, y: (next(left), 0.5)  # pyright: ignore[reportAttributeAccessIssue]
    return X, Y


def test_a_fit_that_fails_keeps_the_best_epoch():
    def fail(step: int, steps_per_epoch: int) -> float:
        return 0.1 if step < 5 else 1e30

    found, twin = network(), network()
    with pytest.raises(LossNotFinite):
        found.fit(X, Y, optimiser=Momentum(fail), epochs=4, batch=65, validation=judged_as(found, 1.0, 2.0))
    twin.fit(X, Y, optimiser=Momentum(0.1), epochs=1, batch=65)
    assert_equal(found, twin)


# --- the end of a training ---------------------------------------------------------------------------------


def test_patience_stops_and_keeps_the_best_epoch():
    found, twin = network(), network()
    data = judged_as(found, 3.0, 1.0, 2.0, 1.0, 0.5)
    history = found.fit(X, Y, optimiser=Momentum(0.1), epochs=9, batch=65, validation=data, patience=2)
    assert history.stopped == "no improvement"
    assert [epoch.validation_loss for epoch in history.epochs] == [3.0, 1.0, 2.0, 1.0]
    assert twin.fit(X, Y, optimiser=Momentum(0.1), epochs=2, batch=65).stopped == "finished"
    assert_equal(found, twin)


def test_an_epoch_that_cannot_be_judged_is_never_the_best():
    found, twin = network(), network()
    data = judged_as(found, np.nan, 1.0, np.nan)
    found.fit(X, Y, optimiser=Momentum(0.1), epochs=3, batch=65, validation=data, patience=9)
    twin.fit(X, Y, optimiser=Momentum(0.1), epochs=2, batch=65)
    assert_equal(found, twin)


def test_patience_counts_the_loss_where_nothing_validates():
    # Nothing is learned, so the loss of an epoch is a matter of the shuffle and of dropout.
    found = Training(network(), GradientDescent(0.0), X, Y, batch=65)
    losses = [found.epoch().loss for _ in range(12)]
    best = next(at for at, loss in enumerate(losses) if min(losses[at + 1 : at + 3], default=0) >= loss)
    history = network().fit(X, Y, optimiser=GradientDescent(0.0), epochs=12, batch=65, patience=2)
    before = min(range(best + 1), key=losses.__getitem__)
    assert history.stopped == "no improvement"
    assert len(history) == before + 3


def test_without_patience_the_last_epoch_is_kept():
    found, training = network(), Training(network(), Momentum(0.1), X, Y, batch=65)
    found.fit(X, Y, optimiser=Momentum(0.1), epochs=2, batch=65, validation=judged_as(found, 1.0, 2.0))
    for _ in range(2):
        training.epoch()
    assert_equal(found, training.network)


def test_an_interruption_keeps_the_best_epoch_and_gives_the_history():
    def interrupt(step: int, steps_per_epoch: int) -> float:
        if step == 5:
            raise KeyboardInterrupt
        return 0.1

    found, twin = network(), network()
    data = judged_as(found, 1.0, 2.0)
    history = found.fit(X, Y, optimiser=Momentum(interrupt), epochs=9, batch=65, validation=data)
    assert (history.stopped, len(history)) == ("interrupted", 2)
    twin.fit(X, Y, optimiser=Momentum(0.1), epochs=1, batch=65)
    assert_equal(found, twin)


def test_an_interruption_of_the_first_epoch_keeps_what_was_learned():
    def interrupt(step: int, steps_per_epoch: int) -> float:
        if step == 2:
            raise KeyboardInterrupt
        return 0.1

    found, twin = network(), Training(network(), Momentum(0.1), X, Y, batch=65)
    history = found.fit(X, Y, optimiser=Momentum(interrupt), batch=65)
    assert (history.stopped, len(history)) == ("interrupted", 0)
    next(twin.batches())
    assert_equal(found, twin.network)


# --- the bar -----------------------------------------------------------------------------------------------


def drawn(*, terminal: bool, shown: bool = True) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with TrainingProgress(4, 100, trained=1, shown=shown, console=console) as bar:
        bar.step(2.0, 60)
        bar.step(1.0, 40)
        bar.epoch(2, 0.975)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_bar_shows_epoch_loss_and_accuracy_on_a_terminal():
    assert re.search(r"epoch 2/4 .*loss 1\.6 .*accuracy 97\.5%", drawn(terminal=True))


@pytest.mark.parametrize("options", [{"terminal": False}, {"terminal": True, "shown": False}])
def test_nothing_is_drawn_where_nobody_looks(options: dict[str, bool]):
    assert "epoch" not in drawn(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch=0"),
        ({"batch": 2.5}, "batch=2.5"),
        ({"epochs": -1}, "epochs=-1"),
        ({"patience": 0}, "patience=0"),
        ({"patience": True}, "patience=True"),
        ({"resume": True}, "resume=True has no checkpoint"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(options: dict[str, Any], message: str):
    with pytest.raises(ArgumentError, match=message):
        network().fit(X, Y, optimiser=Momentum(0.1), **options)


def test_labels_out_of_range_are_refused_before_anything_runs():
    found = network()
    before = {name: value.copy() for name, value in found.parameters.items()}
    with pytest.raises(InputRefused):
        found.fit(X, np.where(Y == 2, 7, Y), optimiser=Momentum(0.1))
    for name, value in before.items():
        np.testing.assert_array_equal(found.parameters[name], value)
