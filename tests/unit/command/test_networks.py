"""The command on network files: a network is a SPEC like any other, and can be trained."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.unit.command.support import gradc

from gradc import nn
from gradc.command import own_function
from gradc.nn.step import UPDATED, arguments_of, slots_of

TEXT = """[network]
shape = 3
loss = "SoftmaxCrossEntropy"
dtype = "float32"

[[layer]]
type = "Dense"
units = 6

[[layer]]
type = "Tanh"

[[layer]]
type = "Dense"
units = 2

[training]
optimiser = { type = "Momentum", rate = 0.2 }
epochs = 3
batch = 16
validation = 0.25
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.toml").write_text(TEXT)
    return str(tmp_path / "net.toml")


@pytest.fixture
def data(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(128, 3))
    np.savez(tmp_path / "data.npz", x=x, y=(x[:, 0] * x[:, 1] > 0).astype(int))
    return str(tmp_path / "data.npz")


def test_summary_is_the_table_of_layers(net: str):
    ran = gradc("summary", net)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{nn.NetworkFile.read(net).network.summary(16, nn.Momentum(0.2))}\n"
    assert "16 examples" in ran.out
    found = gradc("summary", net, "--batch", "32", "--json").json
    assert (found["batch"], found["parameters"]) == (32, 3 * 6 + 6 + 6 * 2 + 2)


def test_check_passes_at_drawn_examples(net: str):
    ran = gradc("check", net, "--seed", "3")
    assert ran.code == 0
    assert ran.out.startswith("drawn with --seed 3: 8 examples x and targets y\n")
    assert "ok: " in ran.out
    assert gradc("check", net, "--json").json["ok"] is True


def test_check_takes_examples_of_a_file(net: str, data: str):
    ran = gradc("grad", net, "--inputs", data, "--json")
    network, arrays = nn.NetworkFile.read(net).network, np.load(data)
    value, gradients = network.gradients(arrays["x"][:8], arrays["y"][:8])
    assert ran.json["value"] == pytest.approx(value, rel=1e-5)
    assert np.allclose(
        ran.json["gradient"]["parameters.dense_1.weight"], gradients["dense_1.weight"], rtol=1e-4, atol=1e-6
    )


def test_inspect_shows_the_training_step(net: str):
    ran = gradc("inspect", net)
    network = nn.NetworkFile.read(net).network
    assert ran.out == network.step.inspect(nn.Momentum(0.2), 16).source
    assert "Updated where they are" in ran.out
    assert "def predict_value(" in gradc("inspect", net, "--of", "predict").out
    assert "def loss_value_and_grad(" in gradc("inspect", net, "--of", "value_and_grad").out
    assert gradc("inspect", net, "--json", "--stage", "schedule").json["of"] == "step"


def test_derivations_of_a_network_are_compared(net: str):
    ran = gradc("inspect", net, "--of", "value", "--against", "predict", "--stage", "program")
    assert ran.code == 0
    assert "-" in ran.out
    wrong = gradc("inspect", net, "--against", "stabilise=false")
    assert wrong.code == 2
    assert "--of value_and_grad" in wrong.err


@pytest.mark.parametrize("verb", ["inspect", "compile"])
def test_unknown_derivations_are_refused(verb: str, net: str, tmp_path: Path):
    ran = gradc(verb, net, "--of", "steps", "-o", str(tmp_path / "kern"))
    assert ran.code == 2
    assert "step, predict, " in ran.err


@pytest.mark.parametrize("option", ["--at", "--shape"])
def test_values_by_name_are_refused(option: str, net: str):
    ran = gradc("grad", net, option, "x=3")
    assert ran.code == 2
    assert "--inputs" in ran.err


def test_what_is_wrong_in_the_file_is_told_with_its_line(tmp_path: Path):
    (tmp_path / "net.toml").write_text(TEXT.replace("units = 6", "unit = 6"))
    for verb in (("summary",), ("check",), ("inspect",), ("grad",)):
        ran = gradc(*verb, str(tmp_path / "net.toml"))
        assert ran.code == 2
        assert "net.toml:8, layer 1: unit = 6" in ran.err
        assert "did you mean units?" in ran.err


def test_a_prediction_is_exported_with_its_weights(net: str, tmp_path: Path):
    ran = gradc("compile", net, "-o", str(tmp_path / "kern"))
    assert ran.code == 0
    assert ran.out.rstrip().endswith("from kern import predict\npredict(x)")
    x = np.random.default_rng(1).normal(size=(5, 3))
    np.save(tmp_path / "x.npy", x)
    program = (
        "import sys, numpy as np; from kern import predict; "
        "np.save('y.npy', predict(np.load('x.npy'))); assert 'gradc' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert np.array_equal(np.load(tmp_path / "y.npy"), nn.NetworkFile.read(net).network.predict(x))


def test_a_step_is_exported(net: str, tmp_path: Path):
    ran = gradc("compile", net, "--of", "step", "-o", str(tmp_path / "kern"), "--timings", "--json")
    assert ran.json["function"] == "step_value_in_place"
    assert ran.json["timings"]
    assert not (tmp_path / "kern" / "weights.npz").exists()


def test_an_exported_step_updates_its_arguments_as_training_does(net: str, tmp_path: Path):
    assert gradc("compile", net, "--of", "step", "-o", str(tmp_path / "kern")).code == 0
    file, rng = nn.NetworkFile.read(net), np.random.default_rng(1)
    network, optimiser = file.network, file.training.optimiser
    x, y = rng.normal(size=(5, 3)).astype(np.float32), rng.integers(0, 2, 5)
    arguments = arguments_of(network, slots_of(network.parameters, optimiser), x, y)
    arguments.control[:] = 0.2, 1
    groups = (network.parameters, arguments.slots)  # it has no statistics
    leaves = [group[name] for group in groups for name in sorted(group)] + list(arguments[3:])
    np.savez(tmp_path / "given.npz", *leaves)
    program = (
        "import sys, numpy as np; from kern import step_value_in_place\n"
        "given = list(np.load('given.npz').values()); losses = [step_value_in_place(*given)[0] for _ in range(2)]\n"
        "np.savez('found.npz', losses, *given); assert 'gradc' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    step = network.step_function(optimiser).bind_update(*arguments, updates=UPDATED)
    losses, *found = np.load(tmp_path / "found.npz").values()
    assert losses.tolist() == [step(), step()]
    assert losses[1] < losses[0]
    for one, two in zip(found, leaves, strict=True):
        np.testing.assert_array_equal(one, two)


# --- training -----------------------------------------------------------------------------------------------


def test_a_training_leaves_all_that_is_needed(net: str, data: str, tmp_path: Path):
    ran = gradc("train", net, "--data", data, "--out", str(tmp_path / "run"), "--json")
    assert ran.code == 0
    assert "temporaries at once" in ran.err
    assert "epoch 3/3  loss" in ran.err
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"network.toml", "checkpoint.safetensors", "weights.safetensors", "history.csv"}
    assert names == set(ran.json["files"])
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == [epoch["loss"] for epoch in ran.json["epochs"]]
    assert len(rows) == 3
    file = nn.NetworkFile.read(tmp_path / "run" / "network.toml")
    assert file.training.epochs == 3
    held = nn.NetworkFile.read(net).training
    arrays = np.load(data)
    order = np.random.default_rng(held.seed).permutation(128)[:32]
    loss, accuracy = file.network.evaluate(arrays["x"][np.sort(order)], arrays["y"][np.sort(order)])
    assert (ran.json["validation_loss"], ran.json["accuracy"]) == (loss, accuracy)
    assert float(rows[-1]["validation_loss"]) == loss


def test_a_resumed_training_has_the_bits_of_one_without_a_break(net: str, data: str, tmp_path: Path):
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    assert gradc("train", net, "--data", data, "--out", whole, "--epochs", "4", "--seed", "5").code == 0
    assert gradc("train", net, "--data", data, "--out", parts, "--epochs", "2", "--seed", "5").code == 0
    again = gradc("train", net, "--data", data, "--out", parts, "--epochs", "4", "--seed", "5", "--resume")
    assert again.code == 0
    assert "epoch 1/4" not in again.err
    for name in ("weights.safetensors", "network.toml"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    finished = gradc("train", net, "--data", data, "--out", parts, "--epochs", "4", "--seed", "5", "--resume")
    assert "finished after 4 epochs" in finished.out


def test_a_training_is_not_overwritten_without_saying_so(net: str, data: str, tmp_path: Path):
    out = str(tmp_path / "run")
    assert (
        "no checkpoint.safetensors to go on from"
        in gradc("train", net, "--data", data, "--out", out, "--resume").err
    )
    assert not (tmp_path / "run").exists()
    assert gradc("train", net, "--data", data, "--out", out, "--epochs", "1").code == 0
    there = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    before = there["weights.safetensors"]
    ran = gradc("train", net, "--data", data, "--out", out, "--epochs", "1", "--seed", "9")
    assert ran.code == 2
    assert "--force" in ran.err
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == before
    ran = gradc("train", net, "--data", data, "--out", out, "--epochs", "1", "--seed", "9", "--resume")
    assert "seed is 0 in the file and 9 here" in ran.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == there
    assert (
        gradc("train", net, "--data", data, "--out", out, "--epochs", "1", "--seed", "9", "--force").code == 0
    )
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() != before


def test_pictures_are_drawn_on_demand(net: str, data: str, tmp_path: Path):
    pytest.importorskip("matplotlib")
    ran = gradc("train", net, "--data", data, "--out", str(tmp_path / "run"), "--plots", "--epochs", "2")
    assert ran.code == 0
    for name in ("graph.svg", "curves.svg", "signals.svg", "weights.svg"):
        assert "<svg" in (tmp_path / "run" / name).read_text()


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"x": np.ones((4, 3))}, "the data have no array y"),
        ({"y": np.ones(4)}, "the data have no array x"),
        ({"x": np.ones((4, 2)), "y": np.ones(4, int)}, "the network takes (3,)"),
        ({"x": np.ones((0, 3)), "y": np.ones(0, int)}, "0 examples"),
        ({"x": np.full((4, 3), np.nan), "y": np.ones(4, int)}, "examples hold nan"),
        ({"x": np.ones((4, 3)), "y": np.full(4, 2)}, "a label lies outside 0 to 1"),
        ({"x": np.ones((4, 3)), "y": np.ones(4)}, "labels are not whole numbers"),
        ({"x": np.ones((4, 3)), "y": np.ones(3, int)}, "4 examples have 3 targets"),
        ({"x": np.ones((4, 3)), "y": np.ones(4, int), "x_validation": np.ones((1, 3))}, "x_validation alone"),
        ({"x": np.ones((1, 3)), "y": np.ones(1, int)}, ""),
    ],
)
def test_data_that_do_not_fit_are_refused_before_anything(arrays, what, net: str, tmp_path: Path):
    np.savez(tmp_path / "data.npz", **arrays)
    ran = gradc(
        "train", net, "--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / "run"), "--epochs", "0"
    )
    assert (ran.code == 2) == bool(what)
    assert what in ran.err
    assert (tmp_path / "run").exists() != bool(what)


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint(data: str, tmp_path: Path):
    text = TEXT.replace('"SoftmaxCrossEntropy"', '"SquaredError"').replace("rate = 0.2", "rate = 1e30")
    (tmp_path / "net.toml").write_text(text)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(64, 3)), y=rng.normal(size=(64, 2)))
    ran = gradc("train", str(tmp_path / "net.toml"), "--data", data, "--out", str(tmp_path / "run"))
    assert ran.code == 1
    assert "not finite" in ran.err
    assert "Traceback" not in ran.err


def test_a_folder_that_is_a_link_or_a_file_is_refused(net: str, data: str, tmp_path: Path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        ran = gradc("train", net, "--data", data, "--out", str(tmp_path / name))
        assert ran.code == 2
        assert "is no folder" in ran.err
    assert (tmp_path / "file").read_text() == "kept"


def test_networks_are_explained_like_functions(net: str):
    ran = gradc("explain", net)
    assert ran.code == 0
    assert "upstream" in ran.out
    assert "parameters.dense_2.bias" in ran.out


def test_networks_are_measured_with_a_batch(net: str):
    found = own_function.workload(net, [], [], None, 0)
    assert [np.shape(part) for part in found.inputs(False)[2:4]] == [(16, 3), (16,)]
    (value, _), expected = found.ways["gradc"](*found.inputs(False))(), found.reference(*found.inputs(False))
    assert value == pytest.approx(expected[0], rel=1e-5)
