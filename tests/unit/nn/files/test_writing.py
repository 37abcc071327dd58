import tomllib

import numpy as np
import pytest

from gradc import nn
from gradc.errors import ArgumentError, InputRefused
from gradc.ir.index.show import show
from gradc.nn.drawn import drawn
from gradc.nn.files.network_file import NetworkFile
from gradc.nn.files.recipe import Recipe
from gradc.nn.files.writing import value_text


def every_layer() -> nn.Network:
    return nn.Network(
        nn.Conv2D(4, 3, padding="same", regulariser=nn.L1(1e-3)),
        nn.BatchNorm(momentum=0.8),
        nn.PReLU(initialiser=nn.Constant(0.1)),
        nn.Conv2D(4, (3, 1), stride=(1, 2), padding=((1, 1), (0, 1)), dilation=1, groups=2, bias=False),
        nn.MaxPool((2, 1), stride=(2, 1)),
        nn.Reshape((4, -1), name="rows"),
        nn.Conv1D(6, 3, padding=1, initialiser=nn.Glorot("normal")),
        nn.Add(inputs=("conv1d_1", "conv1d_1")),
        nn.AvgPool(2),
        nn.Reshape((-1, 4)),
        nn.Attention(2, causal=True, name="attend"),
        nn.LayerNorm(epsilon=1e-6),
        nn.Concatenate(inputs=("attend", "layer_norm_1")),
        nn.Equation("y[n,t,o] = sum[f] w[o,f] * x[n,t,f] + b[o]", {"w": (5, 4), "b": (5,)}, nn.Normal(0.5)),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Maxout(5),
        nn.Dense(3, initialiser=nn.Orthogonal(2.0)),
        shape=(2, 4, 6),
        loss=nn.SoftmaxCrossEntropy(smoothing=0.1, soft=True),
        regulariser=nn.Elastic(1e-4, 1e-3),
        dtype="float32",
        seed=7,
    )


def test_a_network_written_and_read_is_the_same(tmp_path):
    network = every_layer()
    training = Recipe(
        nn.AdamW(nn.LinearWarmup(nn.StepDecay(0.1, 0.5, 3), 2), clip_norm=1.0), 7, validation=0.1
    )
    NetworkFile(network, training).write(tmp_path / "net.toml")
    found = NetworkFile.read(tmp_path / "net.toml")
    assert found.training == training
    assert found.network.nodes == network.nodes
    assert found.network.loss == network.loss
    assert found.network.regulariser == network.regulariser
    assert found.text == NetworkFile(network, training).text
    for name, value in network.parameters.items():
        assert value.dtype == found.network.parameters[name].dtype == np.float32
        assert np.array_equal(value, found.network.parameters[name])


def test_a_network_written_and_read_is_the_same_program(tmp_path):
    network = every_layer()
    NetworkFile(network).write(tmp_path / "net.toml")
    other = NetworkFile.read(tmp_path / "net.toml").network
    x, y = drawn(network, 4)

    def program(one: nn.Network) -> str:
        at = one.objective_function.at(one.parameters, one.statistics, x, y, np.int64(0))
        return show(at.program_and_inputs()[0])

    assert program(network) == program(other)
    assert "sum" in program(network)


def test_only_what_is_not_as_by_default_is_written():
    network = nn.Network(nn.Dense(2), nn.ReLU(), shape=3, loss=nn.SquaredError())
    assert NetworkFile(network).text == (
        '[network]\nshape = [3]\nloss = "SquaredError"\ndtype = "float64"\nseed = 0\n\n'
        '[[layer]]\ntype = "Dense"\nunits = 2\n\n[[layer]]\ntype = "ReLU"\n'
    )
    recipe = Recipe(nn.GradientDescent(0.5), patience=3)
    assert NetworkFile(network, recipe).text.endswith(
        '[training]\noptimiser = { type = "GradientDescent", rate = 0.5 }\npatience = 3\n'
    )


@pytest.mark.parametrize("number", [1e-300, 1e22, 0.1, 1 / 3, 5e-324, 1.0])
def test_numbers_are_written_exactly(number):
    network = nn.Network(nn.Dense(2), shape=3, loss=nn.SquaredError(), regulariser=nn.L2(number))
    read = tomllib.loads(NetworkFile(network).text)["network"]["regulariser"]["strength"]
    assert (type(read), read) == (float, number)


def test_texts_are_written_as_they_are():
    spaced = 'y[n,o] = sum[i]\t"w"[o,i]\x7f * x[n,i] \\ \U0001f600 \x01'
    assert tomllib.loads(f"a = {value_text(spaced, 'a text')}")["a"] == spaced
    assert tomllib.loads(f"a = {value_text({'ä b': (1, 2), 'c': ()}, 'a table')}")["a"] == {
        "ä b": [1, 2],
        "c": [],
    }


class Scale(nn.Layer):
    """A layer of somebody's own."""

    def apply(self, context, x):
        return 2 * x


def halved(step: int, steps_per_epoch: int) -> float:
    return 0.5**step


@pytest.mark.parametrize(
    ("network", "training", "what"),
    [
        (nn.Network(nn.Function(np.tanh), shape=2, loss=nn.SquaredError()), Recipe(), "layer function_1"),
        (nn.Network(Scale(), shape=2, loss=nn.SquaredError()), Recipe(), "layer scale_1"),
        (
            nn.Network(nn.Dense(2), shape=2, loss=nn.SquaredError()),
            Recipe(nn.GradientDescent(halved)),
            "the optimiser",
        ),
    ],
    ids=["Function", "own layer", "own schedule"],
)
def test_python_is_not_written(tmp_path, network, training, what):
    with pytest.raises(ArgumentError, match=f"{what} cannot be written"):
        NetworkFile(network, training).write(tmp_path / "net.toml")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    network = nn.Network(nn.Dense(2), shape=2, loss=nn.SquaredError())
    with pytest.raises(InputRefused, match="cannot be written"):
        NetworkFile(network).write(tmp_path / "missing" / "net.toml")
