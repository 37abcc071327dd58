"""Labels and other indices in trainings on a GPU: no step waits for their check; the next report tells the error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.cuda.test_training import Waits, assert_equal, state

from gradc import nn
from gradc_runtime import cuda_driver

pytestmark = [pytest.mark.simulator, pytest.mark.cuda]

rng = np.random.default_rng(6)
X, LABELS = rng.normal(size=(6, 3)), np.array([0, 1, 1, 0, 2, 1])
WORDS = np.array([[0, 3], [1, 1], [3, 2], [0, 2]])


class Unchecked(nn.SoftmaxCrossEntropy):
    """A loss that takes any labels."""

    def check_targets(self, target: np.ndarray, prediction_shape: tuple[int, ...]) -> None:
        """Refuse none."""


def labelled(labels: np.ndarray = LABELS, loss: nn.Loss | None = None, **options: Any) -> nn.Training:
    network = nn.Network(nn.Dense(3), shape=3, loss=loss or Unchecked(), seed=1)
    given = {"batch": 2, "seed": 2, "target": "cuda", **options}
    return nn.Training(network, nn.Momentum(0.1), X, labels, **given)


def worded() -> nn.Training:
    layers = (nn.Embedding(4, 2), nn.Flatten(), nn.Dense(2))
    network = nn.Network(*layers, shape=2, loss=nn.SoftmaxCrossEntropy(), seed=4)
    return nn.Training(
        network, nn.Momentum(0.1), WORDS.copy(), np.array([0, 1, 1, 0]), batch=2, seed=1, target="cuda"
    )


def wrong_in(step: int, training: nn.Training) -> np.ndarray:
    """The labels with one that is out of range in a step of the first epoch of a training like this one."""
    order = np.random.default_rng(training._seed).permutation(len(X))
    labels = LABELS.copy()
    labels[order[2 * (step - 1)]] = 3
    return labels


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    return Waits(monkeypatch)


@pytest.mark.parametrize("made", [labelled, worded])
def test_no_step_waits_for_its_indices(made: Any, waits: Waits, monkeypatch: pytest.MonkeyPatch):
    copied: list[int] = []
    usual = cuda_driver.copy_to_host
    monkeypatch.setattr(cuda_driver, "copy_to_host", lambda *some: copied.append(1) or usual(*some))
    training = made()
    training.bound(2)
    waits.count, counts = 0, []
    for _ in range(2):
        assert np.isfinite(training.epoch().loss)
        counts.append(waits.count)
    assert counts == [1, 2]
    assert len(copied) == 2 * (len(training.network.parameters) + 2)  # losses, and what was noted


@pytest.mark.parametrize(("report", "told"), [(1, 2), (2, 1), (None, 1)])
def test_a_wrong_label_is_an_error_at_the_next_report(report: int | None, told: int, waits: Waits):
    """In the second step of three; a loss that was told before is right."""
    training = labelled(wrong_in(2, labelled()))
    training.report = report
    training.bound(2)
    before, arrays = state(training), dict(training.network.parameters)
    wanted, losses = list(labelled().batches()), list[float]()
    waits.count = 0
    with pytest.raises(IndexError, match=r"an index is out of range: in a step since .* as they were when"):
        losses.extend(training.batches())
    assert waits.count == told
    assert losses == wanted[: told - 1]
    assert_equal(state(training), before)  # the optimiser's arrays as well
    assert all(training.network.parameters[name] is array for name, array in arrays.items())


def test_a_training_goes_on_from_where_the_epoch_began():
    training, twin = labelled(wrong_in(3, labelled())), labelled()
    with pytest.raises(IndexError):
        training.epoch()
    training._place._y.copy_to_device(LABELS)  # pyright: ignore[reportAttributeAccessIssue]
    for one in (training, twin):
        one._generator = np.random.default_rng(5)
        one.steps = 0
    assert training.epoch().loss == twin.epoch().loss
    assert_equal(state(training), state(twin))


@pytest.mark.parametrize("run", [nn.Training.epoch, lambda training: list(training.batches())])
def test_an_epoch_after_others_goes_back_to_its_beginning(run: Callable[[nn.Training], object]):
    """The last step of the second epoch is the wrong one."""
    training = labelled()
    run(training)
    before = state(training)
    order = np.random.default_rng(2)
    order.permutation(len(X))
    labels = LABELS.copy()
    labels[order.permutation(len(X))[-1]] = -4
    training._place._y.copy_to_device(labels)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(IndexError):
        run(training)
    assert_equal(state(training), before)


def test_an_index_into_a_table_of_the_network_is_one_too():
    training = worded()
    training._place.x[2, 1] = 4  # a training would refuse it
    before = {name: array.copy() for name, array in training.network.parameters.items()}
    with pytest.raises(IndexError, match="an index is out of range"):
        training.epoch()
    assert_equal(training.network.parameters, before)


def test_an_interruption_leaves_nothing_behind_that_a_wrong_label_has_made():
    def rate(step: int, steps_per_epoch: int) -> float:
        if step == 3:
            raise KeyboardInterrupt
        return 0.1

    training = labelled(wrong_in(1, labelled()))
    training.optimiser = nn.Momentum(rate)
    before = {name: array.copy() for name, array in training.network.parameters.items()}
    with pytest.raises(IndexError):
        training.epoch()
    assert_equal(training.network.parameters, before)
    assert not training._underway


@pytest.mark.parametrize("loss", [Unchecked(), nn.Masked(Unchecked()), nn.Hinge(), nn.Perceptron()])
def test_what_is_noted_changes_no_bit_of_what_is_learned(loss: nn.Loss, monkeypatch: pytest.MonkeyPatch):
    noting, raising = labelled(loss=loss), labelled(loss=loss)
    found = noting.epoch()
    place: Any = raising._place
    usual = place._here
    monkeypatch.setattr(place, "_here", lambda notes=None: usual())
    assert raising.epoch().loss == found.loss
    assert_equal(state(noting), state(raising))
