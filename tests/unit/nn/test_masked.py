"""Labels that do not count: alone, in training, in files."""

import numpy as np
import pytest

from gradc import nn
from gradc.errors import ArgumentError, DTypeError, InputRefused

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(40, 3)), rng.integers(0, 4, 40)
KEPT = rng.random(40) < 0.6
MARKED = np.where(KEPT, Y, -1)


def network(loss: nn.Loss) -> nn.Network:
    return nn.Network(nn.Dense(6), nn.Tanh(), nn.Dense(4), shape=3, loss=loss, seed=2)


@pytest.mark.parametrize(
    "loss", [nn.SoftmaxCrossEntropy(smoothing=0.1), nn.Hinge(), nn.Perceptron()], ids=str
)
def test_what_is_masked_might_as_well_not_be_there(loss: nn.Loss):
    value, gradients = network(nn.Masked(loss)).gradients(X, MARKED)
    expected, wanted = network(loss).gradients(X[KEPT], Y[KEPT])
    assert value == pytest.approx(expected, rel=1e-12)
    for name, gradient in wanted.items():
        assert np.allclose(gradients[name], gradient, rtol=1e-10, atol=1e-14)
    masked, plain = network(nn.Masked(loss)), network(loss)
    assert masked.evaluate(X, MARKED)[1] == pytest.approx(plain.evaluate(X[KEPT], Y[KEPT])[1], rel=1e-12)


def test_what_is_masked_counts_in_no_part_of_an_evaluation():
    x, y = rng.normal(size=(1100, 3)), rng.integers(0, 4, 1100)
    y[100:512] = y[600:1090] = -1  # parts of 512 examples: 100, 98 and 66 of them count
    masked, plain = network(nn.Masked(nn.Hinge())), network(nn.Hinge())
    found, wanted = masked.evaluate(x, y), plain.evaluate(x[y >= 0], y[y >= 0])
    assert found == pytest.approx(wanted, rel=1e-12)


def test_scores_of_what_is_masked_may_be_anything():
    scores = np.array([[1.0, 2.0], [np.inf, np.nan]])
    loss = nn.Masked(nn.SoftmaxCrossEntropy())
    with np.errstate(invalid="ignore"):
        assert loss(scores, np.array([0, -1])) == nn.SoftmaxCrossEntropy()(scores[:1], np.array([0]))
        assert list(loss.examples(scores, np.array([-1, -1]))) == [0, 0]


def test_sequences_of_several_lengths_are_trained_on():
    x = rng.normal(size=(24, 5, 3))
    y = (x[:, :, 0] > 0).astype(int)
    y[np.arange(5) >= rng.integers(1, 6, (24, 1))] = -1
    net = nn.Network(
        nn.Dense(8), nn.Tanh(), nn.Dense(2), shape=(5, 3), loss=nn.Masked(nn.SoftmaxCrossEntropy())
    )
    history = net.fit(x, y, optimiser=nn.Adam(0.05), epochs=60, batch=24, progress=False)
    assert history.last.loss < 0.5 * history.epochs[0].loss


def test_wrong_labels_are_refused_behind_a_mask():
    net = network(nn.Masked(nn.SoftmaxCrossEntropy()))
    for labels, error in (
        (np.where(KEPT, 4, -1), InputRefused),
        (np.full(40, -2), InputRefused),
        (np.full(40, -1), InputRefused),
        (MARKED * 1.0, DTypeError),
    ):
        with pytest.raises(error):
            net.gradients(X, labels)
    with pytest.raises(ArgumentError, match="no labels to be masked"):
        nn.Masked(nn.SquaredError())


def test_a_mask_can_be_written_to_a_file(tmp_path):
    file = nn.NetworkFile(network(nn.Masked(nn.Hinge(margin=2.0))))
    assert 'loss = { type = "Masked", loss = { type = "Hinge", margin = 2.0 } }' in file.text
    file.write(tmp_path / "net.toml")
    assert nn.NetworkFile.read(tmp_path / "net.toml").network.loss == nn.Masked(nn.Hinge(margin=2.0))
