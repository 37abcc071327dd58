"""Checkpoints: training goes on to the same bits, and no file is taken over by half."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from gradc.errors import ArgumentError, GradcError, InputRefused
from gradc.nn import checkpoint
from gradc.nn.checkpoint import load_network, save_network
from gradc.nn.history import Epoch
from gradc.nn.layers.activations import ReLU
from gradc.nn.layers.dense import Dense
from gradc.nn.layers.dropout import Dropout
from gradc.nn.layers.normalisation import BatchNorm
from gradc.nn.losses import SoftmaxCrossEntropy
from gradc.nn.network import Network
from gradc.nn.optimisers import Momentum
from gradc.nn.schedules import Cosine
from gradc.nn.training import Training

rng = np.random.default_rng(5)
Y = rng.integers(0, 3, 130)
X = rng.normal(size=(3, 4))[Y] * 3 + rng.normal(size=(130, 4))
RATE = Cosine(0.1, epochs=6)


def network(rate: float = 0.2, width: int = 8, **changes: Any) -> Network:
    options = {"shape": 4, "loss": SoftmaxCrossEntropy(), "dtype": "float32", **changes}
    return Network(Dense(width), BatchNorm(), ReLU(), Dropout(rate), Dense(3), **options)


def training(found: Network | None = None, **changes: Any) -> Training:
    options = {"batch": 32, "seed": 3, **changes}
    return Training(found or network(), Momentum(RATE), X, Y, **options)


def state(found: Training) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in found._arrays().items()}


def assert_equal(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)


def numbers(history: Any) -> list[tuple[Any, ...]]:
    return [(e.number, e.loss, e.validation_loss, e.accuracy, e.rate, e.examples) for e in history.epochs]


# --- going on ----------------------------------------------------------------------------------------------


def test_three_epochs_and_three_more_have_the_bits_of_six(tmp_path: Path):
    whole, first, second = training(), training(), training(network(seed=9))
    for _ in range(6):
        whole.epoch((X, Y))
    for _ in range(3):
        first.epoch((X, Y))
    first.save(tmp_path / "a.safetensors")
    second.restore(tmp_path / "a.safetensors")
    assert_equal(state(second), state(first))
    for _ in range(3):
        second.epoch((X, Y))
    assert_equal(state(second), state(whole))
    assert numbers(second.history) == numbers(whole.history)
    assert second.steps == whole.steps == 30


def test_fit_resumes_to_the_same_bits_with_the_best_epoch(tmp_path: Path):
    place = tmp_path / "run.safetensors"
    options: dict[str, Any] = {"batch": 32, "validation": (X, Y), "checkpoint": place}
    whole, broken, resumed = network(), network(seed=1), network(seed=2)
    judged = {1: 3.0, 2: 1.0}  # the second epoch is the best of all

    def pretend(found: Network, begun: int) -> None:
        calls = iter(range(begun, 99))
        found.evaluate = lambda x, y: (judged.get(next(calls), 2.0), 0.5)  # pyright: ignore[reportAttributeAccessIssue]

    pretend(whole, 1)
    full = whole.fit(X, Y, optimiser=Momentum(RATE), epochs=6, patience=9, **options)
    for name, value in network().parameters.items():
        broken.parameters[name][...] = value
    pretend(broken, 1)
    broken.fit(X, Y, optimiser=Momentum(RATE), epochs=3, **options)
    pretend(resumed, 4)
    history = resumed.fit(X, Y, optimiser=Momentum(RATE), epochs=6, patience=9, resume=True, **options)
    assert numbers(history) == numbers(full)
    assert history.stopped == "finished"
    assert_equal(resumed.parameters, whole.parameters)
    assert_equal(resumed.statistics, whole.statistics)


def test_restoring_keeps_the_arrays_that_compiled_steps_know(tmp_path: Path):
    one = training()
    one.save(tmp_path / "begin")
    first = one.epoch().loss
    one.restore(tmp_path / "begin")
    assert one.steps == len(one.history) == 0
    assert one.epoch().loss == first


def test_a_checkpoint_is_between_epochs(tmp_path: Path):
    one = training()
    batches = one.batches()
    next(batches)
    with pytest.raises(ArgumentError, match="in the middle of an epoch"):
        one.save(tmp_path / "a")
    with pytest.raises(ArgumentError, match="in the middle of an epoch"):
        one.restore(tmp_path / "a")
    batches.close()
    one.save(tmp_path / "a")


def test_a_schedule_that_is_a_function_is_the_same_in_every_process():
    assert checkpoint.described(Momentum(lambda step, steps_per_epoch: 0.1)).count("0x") == 0


# --- networks ----------------------------------------------------------------------------------------------


def test_a_network_comes_back_in_the_same_arrays(tmp_path: Path):
    one, two = network(), network(seed=1)
    one.statistics["batch_norm_1.mean"] += 2
    arrays = two.parameters | two.statistics
    save_network(one, tmp_path / "net")
    load_network(two, str(tmp_path / "net"))
    assert_equal(arrays, one.parameters | one.statistics)
    assert all(arrays[name] is value for name, value in (two.parameters | two.statistics).items())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: network(width=9), r"parameters/dense_1.weight is float32\(4, 8\) in it and float32\(4, 9\)"),
        (lambda: network(dtype="float64"), "float32.* in it and float64.* here"),
        (lambda: Network(Dense(8), shape=4, loss=SoftmaxCrossEntropy(), dtype="float32"), "too many"),
    ],
)
def test_another_network_is_refused(tmp_path: Path, other: Callable[[], Network], message: str):
    save_network(network(), tmp_path / "net")
    with pytest.raises(InputRefused, match="is of another network") as caught:
        load_network(other(), tmp_path / "net")
    caught.match(message)


# --- refusals ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    place = tmp_path_factory.mktemp("good") / "run"
    one = training()
    one.epoch()
    one.save(place)
    return place.read_bytes()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: Training(network(), Momentum(0.1), X, Y, batch=32, seed=3), "optimiser is Momentum"),
        (
            lambda: Training(network(), Momentum(RATE), X[1:], Y[1:], batch=32, seed=3),
            "130 with .* and 129 with",
        ),
        (
            lambda: Training(network(), Momentum(RATE), X, (Y + 1) % 3, batch=32, seed=3),
            "130 with .* and 130 with",
        ),
        (lambda: training(batch=31), "batch is 32 in the file and 31 here"),
        (lambda: training(seed=4), "seed is 3 in the file and 4 here"),
        (lambda: training(network(rate=0.3)), "layer dropout_1 is .*0.2.* in the file"),
        (lambda: training(network(dtype="float64")), "dtype is float32"),
        (lambda: training(network(width=9)), "layer dense_1 is"),
    ],
)
def test_another_training_is_refused(
    tmp_path: Path, good: bytes, other: Callable[[], Training], message: str
):
    (tmp_path / "run").write_bytes(good)
    found = other()
    before = state(found)
    with pytest.raises(InputRefused, match="is of another training") as caught:
        found.restore(tmp_path / "run")
    caught.match(message)
    assert_equal(state(found), before)


def header(found: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(found).encode()
    return struct.pack("<Q", len(text)) + text + data


def noted(good: bytes, **changes: Any) -> bytes:
    """Return a checkpoint with other notes and the right checksum."""
    size = struct.unpack("<Q", good[:8])[0]
    metadata = json.loads(good[8 : 8 + size])["__metadata__"]
    text = json.loads(metadata["text"])
    text["notes"] |= changes
    metadata["text"] = json.dumps(text)
    arrays = load(good)
    metadata["crc32"] = str(checkpoint._checksum(metadata["text"], arrays))
    return save(arrays, metadata)


def flipped(good: bytes, at: int) -> bytes:
    return good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]


NAN_SIZE = {"a": {"dtype": "F32", "shape": [float("nan")], "data_offsets": [0, 4]}}
NEGATIVE = {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}
VAST = {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}
HALF = {"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}
PCG = {"bit_generator": "PCG64", "state": {"state": 1, "inc": 1}, "has_uint32": 0, "uinteger": 0}
HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "magic alone": lambda good: good[:7],
    "cut in the header": lambda good: good[:100],
    "cut in the data": lambda good: good[:-1],
    "longer": lambda good: good + b"0",
    "pickle": lambda good: b"\x80\x04\x95" + good,
    "zip": lambda good: b"PK\x03\x04" + good,
    "huge header": lambda good: struct.pack("<Q", 2**63) + good[8:],
    "huge header that is there": lambda good: struct.pack("<Q", 2**24 + 1) + b" " * (2**24 + 1),
    "too large a file": lambda good: good + bytes(2**24 + 10_000),
    "sizes that are NaN": lambda good: header(NAN_SIZE, b"0000"),
    "negative sizes": lambda good: header(NEGATIVE, b"0000"),
    "vast sizes": lambda good: header(VAST, b"0000"),
    "another dtype": lambda good: header(HALF, b"0000"),
    "deep header": lambda good: struct.pack("<Q", 10**6) + b"[" * 10**6,
    "nothing": lambda good: header({}),
    "a flipped bit in the data": lambda good: flipped(good, len(good) - 3),
    "notes that are no object": lambda good: noted(good, epochs=3),
    "steps that are negative": lambda good: noted(good, steps=-1),
    "steps that are true": lambda good: noted(good, steps=True),
    "a best epoch that is not there": lambda good: noted(good, best=2),
    "an epoch with too few numbers": lambda good: noted(good, epochs=[[1.0]]),
    "an epoch of texts": lambda good: noted(good, epochs=[["a", None, None, 0.1, 0.1, 3]]),
    "another generator": lambda good: noted(good, generator=PCG | {"bit_generator": "os.system"}),
    "a generator beyond 128 bits": lambda good: noted(
        good, generator=PCG | {"state": {"state": 2**128, "inc": 1}}
    ),
    "a generator that is a list": lambda good: noted(good, generator=[1]),
    "a generator without state": lambda good: noted(good, generator=PCG | {"state": []}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_is_damaged_changes_nothing(tmp_path: Path, good: bytes, case: str):
    (tmp_path / "run").write_bytes(HOSTILE[case](good))
    found = training()
    before = state(found), found._generator.bit_generator.state
    with pytest.raises(InputRefused) as caught:
        found.restore(tmp_path / "run")
    assert caught.value.why
    assert caught.value.do
    assert str(caught.value).replace("\n", "").isprintable()
    assert_equal(state(found), before[0])
    assert (found.steps, len(found.history), found.best) == (0, 0, None)
    assert found._generator.bit_generator.state == before[1]


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("magic alone", "does not begin with the length of a header"),
        ("huge header that is there", "does not begin with the length of a header"),
        ("too large a file", r"bytes; what fits the network has at most \d+"),
    ],
)
def test_sizes_are_refused_before_the_content_is_looked_at(tmp_path: Path, good: bytes, case: str, why: str):
    (tmp_path / "run").write_bytes(HOSTILE[case](good))
    with pytest.raises(InputRefused, match=why):
        training().restore(tmp_path / "run")


def test_the_notes_that_hostile_cases_change_are_accepted_as_they_are(tmp_path: Path, good: bytes):
    (tmp_path / "run").write_bytes(noted(good, generator=PCG))
    found = training()
    found.restore(tmp_path / "run")
    assert found._generator.bit_generator.state == PCG


def linked(place: Path, good: bytes) -> None:
    (place.parent / "other").write_bytes(good)
    place.symlink_to(place.parent / "other")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda place, good: None, "No such file"),
        (lambda place, good: place.mkdir(), "no regular file"),
        (linked, "it is a link"),
        (lambda place, good: os.mkfifo(place), "no regular file"),
    ],
)
def test_what_is_no_regular_file_is_refused(
    tmp_path: Path, good: bytes, make: Callable[[Path, bytes], object], why: str
):
    make(tmp_path / "run", good)
    with pytest.raises(InputRefused, match="cannot be read") as caught:
        training().restore(tmp_path / "run")
    caught.match(why)


def test_another_kind_or_version_is_refused(tmp_path: Path, good: bytes, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "run").write_bytes(good)
    with pytest.raises(InputRefused, match="is no file of a network"):
        load_network(network(), tmp_path / "run")
    monkeypatch.setattr(checkpoint, "VERSION", "2")
    with pytest.raises(InputRefused, match="another version"):
        training().restore(tmp_path / "run")


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path):
    (tmp_path / "other").write_text("mine")
    (tmp_path / "net").symlink_to(tmp_path / "other")
    save_network(network(), tmp_path / "net")
    assert (tmp_path / "other").read_text() == "mine"
    assert not (tmp_path / "net").is_symlink()


def test_notes_that_no_reader_would_take_are_not_written(tmp_path: Path):
    with pytest.raises(GradcError, match="the header"):
        checkpoint.write(tmp_path / "a", "network", {}, {}, {"a": "a" * checkpoint.HEADER})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", [".", "missing/run"])
def test_a_place_that_cannot_be_written_is_refused_before_training(tmp_path: Path, place: str):
    found = network()
    before = found.parameters["dense_1.weight"].copy()
    with pytest.raises(InputRefused, match="cannot be written"):
        found.fit(X, Y, optimiser=Momentum(0.1), checkpoint=tmp_path / place)
    np.testing.assert_array_equal(found.parameters["dense_1.weight"], before)


def test_the_same_weights_are_the_same_bytes_in_every_process(tmp_path):
    program = "from gradc import nn; nn.Network(nn.Dense(2), shape=3, loss=nn.SquaredError()).save('weights')"
    found = set()
    for _ in range(4):
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
        found.add((tmp_path / "weights").read_bytes())
    assert len(found) == 1


def test_checkpoints_keep_a_distance_and_the_last_epoch_is_written(tmp_path: Path):
    place, seen = tmp_path / "run", []

    def note(training: Training, epoch: Epoch) -> None:
        seen.append(place.read_bytes())

    options = {"batch": 32, "seed": 3, "callbacks": [note], "checkpoint": place}
    network().fit(X, Y, optimiser=Momentum(RATE), epochs=3, checkpoint_seconds=1e9, **options)
    assert seen[0] == seen[1] == seen[2] != place.read_bytes()
    found = training()
    found.restore(place)
    assert len(found.history) == 3
    seen.clear()
    network().fit(X, Y, optimiser=Momentum(RATE), epochs=3, **options)
    assert len(set(seen)) == 3
    with pytest.raises(ArgumentError, match="is no time"):
        network().fit(X, Y, optimiser=Momentum(RATE), epochs=3, checkpoint_seconds=-1.0, **options)


def test_epochs_before_a_loss_that_is_not_finite_are_written(tmp_path: Path):
    place = tmp_path / "run"

    def poison(training: Training, epoch: Epoch) -> None:
        if epoch.number == 2:
            training.network.parameters["dense_1.weight"][0, 0] = 1e38

    with pytest.raises(GradcError, match="epoch 3"):
        network().fit(
            X, Y, optimiser=Momentum(RATE), epochs=4, batch=32, seed=3, callbacks=[poison],
            checkpoint=place, checkpoint_seconds=1e9,
        )  # fmt: skip
    found = training()
    found.restore(place)
    assert len(found.history) == 2
