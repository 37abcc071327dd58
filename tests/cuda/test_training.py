"""Training on a GPU: what the processor computes, with everything on the device, and one wait for each report."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc
from gradc import nn
from gradc.command import train as command
from gradc.errors import ArgumentError, InputRefused, LossNotFinite
from gradc.nn.memory import bytes_text, plan
from gradc_runtime import cuda_driver, cuda_feed, cuda_run

pytestmark = [pytest.mark.simulator, pytest.mark.cuda]

rng = np.random.default_rng(4)
X, Y = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
CLASSES = rng.integers(0, 2, 7)
EXAMPLES = rng.normal(size=(2, 3))[CLASSES] * 2 + rng.normal(size=(7, 3))


def small(**changes: Any) -> nn.Network:
    options = {"shape": 3, "loss": nn.SquaredError(), "seed": 1, **changes}
    return nn.Network(nn.Dense(2), nn.Tanh(), **options)


def on_device(network: nn.Network | None = None, rate: Any = 0.1, **changes: Any) -> nn.Training:
    options = {"batch": 3, "seed": 2, "target": "cuda", **changes}
    return nn.Training(network or small(), nn.Momentum(rate), X, Y, **options)


def state(training: nn.Training) -> dict[str, np.ndarray]:
    training._place.read_slots()
    return {name: array.copy() for name, array in training._arrays().items()}


def assert_equal(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name], err_msg=name)


class Waits:
    """Counts how often the processor waits for the device, or copies an array from it by itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for owner, name in ((cuda_driver, "wait"), (cuda_driver.DeviceArray, "copy_to_host")):
            monkeypatch.setattr(owner, name, self.counting(getattr(owner, name)))

    def counting(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            return usual(*arguments, **named)

        return counted


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    return Waits(monkeypatch)


# --- what it computes ---------------------------------------------------------------------------------------


def test_training_is_that_of_the_processor():
    """With batch statistics, dropout, labels, a schedule, a smaller last batch, and data that are looked at."""
    found = []
    for target in ("cuda", "cpu"):
        network = nn.Network(
            *(nn.Dense(3), nn.BatchNorm(), nn.Dropout(0.2), nn.Dense(2)),
            shape=3,
            loss=nn.SoftmaxCrossEntropy(),
            dtype="float32",
        )
        before = {name: array.copy() for name, array in network.parameters.items()}
        arrays = dict(network.parameters)
        options: dict[str, Any] = {"epochs": 2, "batch": 4, "seed": 3, "validation": (EXAMPLES, CLASSES)}
        rate = nn.StepDecay(0.5, factor=0.5, epochs=1)
        history = network.fit(EXAMPLES, CLASSES, optimiser=nn.Momentum(rate), target=target, **options)
        assert all(network.parameters[name] is array for name, array in arrays.items())
        assert all((array != before[name]).any() for name, array in arrays.items() if "bias" not in name)
        found.append((network, history))
    (one, history), (two, wanted) = found
    for epoch, other in zip(history.epochs, wanted.epochs, strict=True):
        assert epoch.loss == pytest.approx(other.loss, rel=1e-5)
        assert epoch.validation_loss == pytest.approx(other.validation_loss, rel=1e-5)
        assert (epoch.number, epoch.rate, epoch.examples) == (other.number, other.rate, other.examples)
    assert [epoch.rate for epoch in history.epochs] == [0.5, 0.25]
    for group in ("parameters", "statistics"):
        for name, array in getattr(two, group).items():
            np.testing.assert_allclose(getattr(one, group)[name], array, rtol=2e-5, atol=2e-6, err_msg=name)


def test_whole_numbers_are_examples():
    rows, classes = rng.integers(0, 4, (3, 2)), rng.integers(0, 2, 3)
    losses = []
    for target in ("cuda", "cpu"):
        network = nn.Network(
            *(nn.Embedding(4, 2), nn.Flatten(), nn.Dense(2)), shape=2, loss=nn.SoftmaxCrossEntropy(), seed=4
        )
        training = nn.Training(network, nn.GradientDescent(0.5), rows, classes, target=target)
        losses += [[training.epoch().loss for _ in range(2)]]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_a_batch_is_the_examples_in_order():
    x, y = np.arange(24).reshape(4, 3, 2), np.arange(4, dtype=np.float32)
    order = np.array([2, 0, 3, 1])
    batch = np.zeros((2, 3, 2), np.int64), np.zeros(2, np.float32)
    given: list[Any] = [
        gradc.to_device(array)
        for array in (order, x, y, *batch, np.zeros(2, np.float32), np.zeros(1, np.int64))
    ]
    cuda_feed.Batch(*given).fill(1, 0.1, 7, 2**40)
    batch_x, batch_y, control, key = given[3:]
    np.testing.assert_array_equal(batch_x.copy_to_host(), x[[0, 3]])
    np.testing.assert_array_equal(batch_y.copy_to_host(), y[[0, 3]])
    np.testing.assert_array_equal(control.copy_to_host(), np.array([0.1, 7], np.float32))
    assert key.copy_to_host().tolist() == [2**40]


def test_what_is_written_between_epochs_counts():
    found = []
    for target in ("cuda", "cpu"):
        network = small()

        def halve(training: nn.Training, epoch: nn.Epoch) -> None:
            training.network.parameters["dense_1.weight"] *= 0.5

        history = network.fit(
            X, Y, optimiser=nn.Momentum(0.1), epochs=2, batch=3, callbacks=[halve], target=target
        )
        found.append((history.last.loss, network.parameters["dense_1.weight"]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-11)


def test_the_step_of_the_device_can_be_looked_at():
    inspection = small().step.inspect(nn.Momentum(0.1), 3, target="cuda")
    assert "launch(" in inspection.source


# --- waiting ------------------------------------------------------------------------------------------------


def test_the_processor_waits_once_an_epoch(waits: Waits):
    counts = []
    network = small()
    network.fit(
        *(X, Y),
        optimiser=nn.Momentum(0.1),
        epochs=3,
        batch=2,
        target="cuda",
        callbacks=[lambda training, epoch: counts.append(waits.count)],
    )
    assert np.diff(counts).tolist() == [1, 1]
    assert counts[0] <= 2  # and once to begin with
    assert waits.count == counts[-1]


@pytest.mark.parametrize(("report", "groups"), [(1, [1, 1, 1]), (2, [2, 1]), (9, [3])])
def test_the_processor_waits_once_a_report(
    waits: Waits, report: int, groups: list[int], monkeypatch: pytest.MonkeyPatch
):
    copied: list[int] = []
    usual = cuda_driver.copy_to_host
    monkeypatch.setattr(cuda_driver, "copy_to_host", lambda *some: copied.append(1) or usual(*some))
    training = on_device(batch=2)
    training.report = report
    for size in (2, 1):
        training.bound(size)
    seen, losses = [], []
    for loss in training.batches():
        seen.append(waits.count)
        losses.append(loss)
    assert [seen.count(value) for value in sorted(set(seen))] == groups
    assert waits.count - seen[0] == len(groups) - 1
    assert len(copied) == len(groups) + len(training.network.parameters)  # which come when the epoch ends
    assert losses == list(on_device(batch=2).batches())


def test_a_bar_is_told_more_often(monkeypatch: pytest.MonkeyPatch):
    reports = []
    monkeypatch.setattr(nn.Training, "epoch", lambda self, *rest: reports.append(self.report) or stop())

    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gradc.nn.progress.Console.is_terminal", property(lambda console: True))
    for options in ({}, {"report": 7}, {"progress": False}):
        small().fit(X, Y, optimiser=nn.Momentum(0.1), target="cuda", **options)
    assert reports == [100, 7, None]


# --- checkpoints --------------------------------------------------------------------------------------------


def test_two_epochs_and_one_after_a_break_have_the_bits_of_three(tmp_path: Path):
    whole, first, second = on_device(), on_device(), on_device(small(seed=9))
    for _ in range(3):
        whole.epoch()
    for _ in range(2):
        first.epoch()
    first.save(tmp_path / "a")
    second.restore(tmp_path / "a")
    assert_equal(state(second), state(first))
    second.epoch()
    assert_equal(state(second), state(whole))
    assert [epoch.loss for epoch in second.history.epochs] == [epoch.loss for epoch in whole.history.epochs]
    second.restore(tmp_path / "a")  # its arrays are on the device now
    assert second.epoch().loss == whole.history.last.loss
    assert_equal(state(second), state(whole))


def test_a_checkpoint_goes_on_where_it_began(tmp_path: Path):
    training = on_device(target="cpu")
    training.save(tmp_path / "a")
    with pytest.raises(InputRefused, match="of another training") as caught:
        on_device().restore(tmp_path / "a")
    assert "target" in caught.value.why


# --- what is not finite -------------------------------------------------------------------------------------


def bad_in_fourth(step: int, steps_per_epoch: int) -> float:
    return 1e200 if step == 4 else 0.1


@pytest.mark.parametrize("report", [None, 1])
def test_a_loss_that_is_no_number_is_explained_as_on_the_processor(report: int | None):
    texts = []
    for target in ("cuda", "cpu"):
        network = nn.Network(nn.Dense(2), shape=3, loss=nn.SquaredError(), seed=1)
        training, twin = (
            nn.Training(network, nn.Momentum(rate), X, Y, batch=2, seed=2, target=target)
            for rate in (bad_in_fourth, 0.1)
        )
        training.report = report
        training.epoch()
        before = state(training)
        with pytest.raises(LossNotFinite) as caught:
            training.epoch()
        texts.append(str(caught.value))
        assert_equal(state(training), before)
        assert (training.steps, len(training.history)) == (3, 1)
        training.optimiser = twin.optimiser
        assert np.isfinite(training.epoch().loss)
    assert texts[0] == texts[1]
    assert re.search(r"the loss is inf at step 2 of epoch 2", texts[0])
    assert re.search(r"losses\.py:\d+: .* = ", texts[0])


def test_an_update_that_overflows_is_named():
    network = nn.Network(nn.Dense(1), shape=1, loss=nn.SquaredError(), dtype="float32")
    training = nn.Training(
        network, nn.GradientDescent(1e30), np.full((4, 1), 1e10), np.zeros((4, 1)), target="cuda"
    )
    with pytest.raises(LossNotFinite, match=r"parameters/\S+ is not finite at the end of epoch 1") as caught:
        training.epoch()
    assert caught.value.where.startswith("the update of parameters/")
    assert all(np.isfinite(array).all() for array in network.parameters.values())


# --- the end of a training ----------------------------------------------------------------------------------


def test_an_interruption_while_the_fault_is_looked_for_leaves_the_beginning(monkeypatch: pytest.MonkeyPatch):
    usual, times = cuda_driver.wait, []

    def wait(stream: Any) -> None:
        usual(stream)
        times.append(1)
        if len(times) == 3:  # after those that begin and end the epoch: the first step of its repetition
            raise KeyboardInterrupt

    network = nn.Network(nn.Dense(2), shape=3, loss=nn.SquaredError(), seed=1)
    before = {name: array.copy() for name, array in network.parameters.items()}
    monkeypatch.setattr(cuda_driver, "wait", wait)
    assert fit(network, lambda step, steps_per_epoch: 1e200).stopped == "interrupted"
    assert len(times) == 3
    assert_equal(network.parameters, before)


def judged_as(network: nn.Network, *losses: float) -> tuple[Any, Any]:
    left = iter(losses)
    network.evaluate = lambda x, y: (next(left), None)  # pyright: ignore[reportAttributeAccessIssue]
    return X, Y


def after(epochs: int) -> dict[str, np.ndarray]:
    training = on_device()
    for _ in range(epochs):
        training.epoch()
    return training.network.parameters


def fit(network: nn.Network, rate: Any = 0.1, **options: Any) -> nn.History:
    return network.fit(X, Y, optimiser=nn.Momentum(rate), batch=3, seed=2, target="cuda", **options)


def test_patience_stops_and_keeps_the_best_epoch():
    network = small()
    history = fit(network, epochs=9, patience=1, validation=judged_as(network, 1.0, 2.0, 0.5))
    assert (history.stopped, len(history)) == ("no improvement", 2)
    assert_equal(network.parameters, after(1))


def interrupting(at: int) -> Callable[[int, int], float]:
    def rate(step: int, steps_per_epoch: int) -> float:
        if step == at:
            raise KeyboardInterrupt
        return 0.1

    return rate


def test_an_interruption_keeps_the_best_epoch():
    network = small()
    history = fit(network, interrupting(6), epochs=4, validation=judged_as(network, 1.0, 2.0))
    assert (history.stopped, len(history)) == ("interrupted", 2)
    assert_equal(network.parameters, after(1))


def test_an_interruption_of_the_first_epoch_keeps_what_was_learned():
    network, twin = small(), on_device()
    history = fit(network, interrupting(2))
    assert (history.stopped, len(history)) == ("interrupted", 0)
    twin.report = 1
    next(twin.batches())
    assert_equal(network.parameters, twin.network.parameters)


def test_an_interruption_of_a_wait_keeps_what_was_learned(monkeypatch: pytest.MonkeyPatch):
    """Where the wait is cut off, what was being copied is no part of the network."""
    usual, times = cuda_driver.wait, []

    def wait(stream: Any) -> None:
        usual(stream)
        times.append(1)
        if len(times) in (2, 3):  # the one that ends the epoch, and the one after that
            raise KeyboardInterrupt

    wanted = after(1)
    network = small()
    monkeypatch.setattr(cuda_driver, "wait", wait)
    usual_read = cuda_driver.copy_to_host

    def nothing_yet(array: Any, host: np.ndarray, stream: Any) -> None:
        usual_read(array, host, stream)
        if len(times) in (1, 2):
            host[...] = 7  # what was copied before the wait is not there yet

    monkeypatch.setattr(cuda_driver, "copy_to_host", nothing_yet)
    assert fit(network).stopped == "interrupted"
    assert len(times) == 4
    assert_equal(network.parameters, wanted)


# --- memory -------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused_before_it_is_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda_feed, "free_memory", lambda: 100)
    network = small()
    before = {name: array.copy() for name, array in network.parameters.items()}
    training = on_device(network)
    monkeypatch.setattr(cuda_feed, "zeros", lambda *arguments: pytest.fail("memory was taken"))
    with pytest.raises(
        InputRefused, match=r"batch=3 needs .* more memory of the GPU, 100 bytes are free"
    ) as caught:
        training.epoch()
    assert "target='cpu'" in caught.value.do
    assert_equal(network.parameters, before)


def test_what_is_needed_is_what_is_planned(monkeypatch: pytest.MonkeyPatch):
    whole, rest = (plan(small(), nn.Momentum(0.1), size, (X, Y), "cuda") for size in (3, 2))
    training, free = on_device(), 0
    monkeypatch.setattr(cuda_feed, "free_memory", lambda: free)
    for size, needed in ((3, whole.total), (2, rest.batch + rest.temporaries)):  # the rest is there by then
        free = needed - 1
        with pytest.raises(InputRefused, match=f"batch={size} needs {bytes_text(needed)} more"):
            training.bound(size)
        free = needed
        training.bound(size)
    free = 0
    assert np.isfinite(training.epoch().loss)  # nothing more is taken


def test_arrays_that_cannot_be_written_are_refused():
    network = small()
    network.parameters["dense_1.weight"].flags.writeable = False
    with pytest.raises(ArgumentError, match=r"dense_1\.weight cannot be trained"):
        on_device(network).epoch()


# --- where --------------------------------------------------------------------------------------------------


def test_a_training_stays_on_its_device_and_stream(monkeypatch: pytest.MonkeyPatch):
    seen = set()
    usual = cuda_run.run

    def run(*arguments: Any, stream: Any, device: int | None) -> Any:
        seen.add((stream, device))
        return usual(*arguments, stream=stream, device=device)

    monkeypatch.setattr(cuda_run, "run", run)
    with gradc.device(0):
        training = on_device()
    training.epoch()
    assert seen == {(None, 0)}


NET = """\
[network]
shape = 3
loss = "SquaredError"

[[layer]]
type = "Dense"
units = 2

[training]
optimiser = { type = "Momentum", rate = 0.1 }
epochs = 1
batch = 3
"""


def test_the_command_trains_on_the_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    spec, data, out = tmp_path / "net.toml", tmp_path / "data.npz", tmp_path / "run"
    spec.write_text(NET)
    np.savez(data, x=X, y=Y)
    begun: list[Any] = []
    usual = nn.Training.__init__

    def init(self: nn.Training, *arguments: Any, **named: Any) -> None:
        begun.append(named["target"])
        usual(self, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Training, "__init__", init)
        course = command.Course(data, out, None, None, None, None, False, False, False, "cuda")
        answer = command.train(spec, course, False)
    assert begun == ["cuda"]
    assert "in the memory of the GPU:" in capsys.readouterr().err
    assert "finished after 1 epochs" in answer.text
    assert (out / command.WEIGHTS).exists()
