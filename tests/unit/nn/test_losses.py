"""Losses against loops over examples, by the gradient checker, and with targets that are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradc import differentiate
from gradc.errors import ArgumentError, DTypeError, InputRefused, ShapeError
from gradc.nn.losses import (
    AbsoluteError,
    Divergence,
    Hinge,
    Huber,
    LabelLoss,
    Logistic,
    Loss,
    Perceptron,
    SoftmaxCrossEntropy,
    SquaredError,
)

RNG = np.random.default_rng(21)
SCORES = RNG.normal(size=(4, 3)) * 2
LABELS = np.array([2, 0, 1, 1])
SOFT = RNG.dirichlet(np.ones(3), 4)
BITS = (RNG.random((4, 3)) < 0.5).astype(float)
ANY = RNG.normal(size=(4, 3))


def probabilities(scores):
    powers = [math.exp(s) for s in scores]
    return [p / sum(powers) for p in powers]


def cross_entropy(scores, target, smoothing=0.0):
    """Return the cross-entropy with a distribution, or with a label that is made one."""
    wanted = list(target) if np.ndim(target) else [float(k == target) for k in range(len(scores))]
    wanted = [(1 - smoothing) * t + smoothing / len(scores) for t in wanted]
    return -sum(t * math.log(p) for t, p in zip(wanted, probabilities(scores), strict=True))


def hinge(scores, label, margin=1.0, power=1):
    wrong = [k for k in range(len(scores)) if k != label]
    return sum(max(0.0, scores[k] - scores[label] + margin) ** power for k in wrong)


def logistic(score, target, smoothing=0.0):
    one = 1 / (1 + math.exp(-score))
    target = (1 - smoothing) * target + smoothing * 0.5
    return -target * math.log(one) - (1 - target) * math.log(1 - one)


def divergence(scores, target, is_scores=True):
    shares = probabilities(scores) if is_scores else scores
    return sum(t * math.log(t / p) for t, p in zip(target, shares, strict=True) if t > 0)


def huber(distance, delta=1.0):
    distance = abs(distance)
    return distance**2 / 2 if distance <= delta else delta * distance - delta**2 / 2


def mean(function):
    """Return the mean of a function of prediction and target over the numbers of an example."""
    return lambda p, t: sum(function(a, b) for a, b in zip(p, t, strict=True)) / len(p)


CASES = {
    "softmax": (SoftmaxCrossEntropy(), SCORES, LABELS, cross_entropy),
    "softmax, smoothed": (
        SoftmaxCrossEntropy(smoothing=0.1),
        SCORES,
        LABELS,
        lambda s, y: cross_entropy(s, y, 0.1),
    ),
    "softmax, soft": (SoftmaxCrossEntropy(soft=True), SCORES, SOFT, cross_entropy),
    "softmax, both": (
        SoftmaxCrossEntropy(0.2, soft=True),
        SCORES,
        SOFT,
        lambda s, t: cross_entropy(s, t, 0.2),
    ),
    "hinge": (Hinge(), SCORES, LABELS, hinge),
    "hinge, squared": (Hinge(0.5, squared=True), SCORES, LABELS, lambda s, y: hinge(s, y, 0.5, 2)),
    "perceptron": (Perceptron(), SCORES, LABELS, lambda s, y: max(s) - s[y]),
    "perceptron, binary": (
        Perceptron(binary=True),
        SCORES,
        BITS,
        mean(lambda s, t: max(0.0, -s if t else s)),
    ),
    "logistic": (Logistic(), SCORES, BITS, mean(logistic)),
    "logistic, smoothed": (Logistic(0.2), SCORES, BITS, mean(lambda s, t: logistic(s, t, 0.2))),
    "divergence": (Divergence(), SCORES, SOFT, divergence),
    "divergence, zeros": (Divergence(), SCORES, np.eye(3)[LABELS], divergence),
    "divergence, probabilities": (
        Divergence(scores=False),
        RNG.dirichlet(np.ones(3), 4),
        SOFT,
        lambda p, t: divergence(p, t, False),
    ),
    "squared error": (SquaredError(), SCORES, ANY, mean(lambda p, t: (p - t) ** 2)),
    "absolute error": (AbsoluteError(), SCORES, ANY, mean(lambda p, t: abs(p - t))),
    "huber": (Huber(), SCORES, ANY, mean(lambda p, t: huber(p - t))),
    "huber, wide": (Huber(2.5), SCORES, ANY, mean(lambda p, t: huber(p - t, 2.5))),
}
EACH = pytest.mark.parametrize(("loss", "prediction", "target", "example"), CASES.values(), ids=list(CASES))


def compiled(loss, **options):
    return differentiate(lambda p, t, w: loss(p, t, w), wrt="p", **{"target": "interpret", **options})


@EACH
def test_a_loss_is_the_mean_of_its_definition_over_the_batch(loss, prediction, target, example):
    expected = np.mean([example(p, t) for p, t in zip(prediction, target, strict=True)])
    loss.check(target, prediction.shape)
    run = compiled(loss)
    np.testing.assert_allclose(run(prediction, target, None), expected, rtol=1e-12)
    np.testing.assert_allclose(loss(prediction, target), expected, rtol=1e-12)
    run.check(prediction, target, None).assert_ok()


@EACH
def test_weights_and_masks_decide_what_counts(loss, prediction, target, example):
    each = np.array([example(p, t) for p, t in zip(prediction, target, strict=True)])
    weights = np.array([0.5, 0.0, 2.0, 1.0])
    loss.check(target, prediction.shape, weights)
    run = compiled(loss)
    np.testing.assert_allclose(run(prediction, target, weights), (each * weights).sum() / 3.5, rtol=1e-12)
    run.check(prediction, target, weights).assert_ok()
    mask = np.array([True, False, True, True])
    np.testing.assert_allclose(run(prediction, target, mask), each[mask].mean(), rtol=1e-12)
    assert not run.grad(prediction, target, mask)[1].any()


@EACH
def test_a_loss_of_float32_is_float32_whatever_the_targets_are(loss, prediction, target, example):
    run = compiled(loss)
    wide, wide_gradient = run.value_and_grad(prediction, target, None)
    value, gradient = run.value_and_grad(prediction.astype(np.float32), target, None)
    assert value.dtype == gradient.dtype == np.float32
    np.testing.assert_allclose(value, wide, rtol=1e-5)
    np.testing.assert_allclose(gradient, wide_gradient, rtol=1e-4, atol=1e-6)


@EACH
def test_a_batch_of_which_nothing_counts_has_loss_and_gradient_zero(loss, prediction, target, example):
    value, gradient = compiled(loss).value_and_grad(prediction, target, np.zeros(4))
    assert value == loss(prediction, target, np.zeros(4)) == 0
    assert not gradient.any()


def test_what_does_not_count_may_be_nan():
    prediction = SCORES.copy()
    prediction[1] = np.nan
    value, gradient = compiled(SquaredError()).value_and_grad(prediction, ANY, np.array([1.0, 0, 1, 1]))
    assert np.isfinite(value)
    assert np.isfinite(gradient[[0, 2, 3]]).all()
    assert not gradient[1].any()


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(0.1), Hinge(), Perceptron()], ids=str)
def test_labels_of_sequences_count_like_further_examples(loss):
    scores, labels = RNG.normal(size=(2, 5, 3)), RNG.integers(0, 3, (2, 5))
    weights = RNG.random((2, 5))
    loss.check(labels, scores.shape, weights)
    run = compiled(loss)
    for given in (None, weights):
        flat = run(scores.reshape(10, 3), labels.reshape(10), given if given is None else given.reshape(10))
        np.testing.assert_allclose(run(scores, labels, given), flat, rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "target"), [(SquaredError(), ANY), (Logistic(), BITS), (Huber(), ANY)], ids=str
)
def test_predictions_may_be_one_number_or_many_axes(loss, target):
    run = compiled(loss)
    expected = run(SCORES, target, None)
    np.testing.assert_allclose(run(SCORES.ravel(), target.ravel(), None), expected, rtol=1e-12)
    np.testing.assert_allclose(
        run(SCORES.reshape(2, 2, 3), target.reshape(2, 2, 3), None), expected, rtol=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (SoftmaxCrossEntropy(), np.array([0, 1])),
        (SoftmaxCrossEntropy(0.1), np.array([0, 1])),
        (Logistic(), np.array([[1, 0], [0, 1]])),
        (Divergence(), np.eye(2)),
    ],
    ids=str,
)
def test_large_scores_neither_overflow_nor_lose_their_gradient(loss, target, dtype):
    scores = np.array([[-800.0, 800.0], [800.0, -800.0]], dtype)
    value, gradient = compiled(loss).value_and_grad(scores, target, None)
    assert 700 < value < 1601
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).max(axis=1) > 0.2).all()


def test_a_compiled_loss_agrees_with_the_interpreter():
    for loss in (SoftmaxCrossEntropy(0.1), Hinge(squared=True)):
        value, gradient = compiled(loss, target="cpu").value_and_grad(SCORES, LABELS, np.ones(4))
        still = compiled(loss).value_and_grad(SCORES, LABELS, np.ones(4))
        np.testing.assert_allclose(value, still[0], rtol=1e-13)
        np.testing.assert_allclose(gradient, still[1], rtol=1e-12, atol=1e-15)


# --- accuracy, kinds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "prediction", "target", "share"),
    [
        (SoftmaxCrossEntropy(), np.eye(4), np.array([0, 1, 3, 3]), 0.75),
        (SoftmaxCrossEntropy(soft=True), np.eye(4), np.eye(4)[[0, 1, 3, 3]], 0.75),
        (Hinge(), np.eye(2), np.array([0, 0]), 0.5),
        (Perceptron(), np.eye(2), np.array([0, 1]), 1.0),
        (Perceptron(binary=True), np.array([1.0, -2.0]), np.array([1, 1]), 0.5),
        (Logistic(), np.array([[3.0], [-2.0], [1.0], [0.5]]), np.array([[1], [0], [0], [1]]), 0.75),
    ],
)
def test_accuracy_is_the_share_of_right_classes(loss, prediction, target, share):
    assert loss.accuracy(prediction, target) == share
    run = differentiate(lambda p, t: loss.accuracy(p, t), wrt="p", target="interpret")
    assert run(prediction, target) == share


@pytest.mark.parametrize("loss", [SquaredError(), AbsoluteError(), Huber(), Divergence()], ids=str)
def test_losses_of_numbers_have_no_accuracy(loss):
    assert loss.accuracy(np.ones((2, 3)), np.ones((2, 3))) is None


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (SoftmaxCrossEntropy(), np.zeros((2, 3), int)),
        (SoftmaxCrossEntropy(soft=True), np.full((2, 3, 4), 0.25)),
        (Divergence(), np.full((2, 3, 4), 0.25)),
        (Hinge(), np.zeros((2, 3), int)),
        (SquaredError(), np.zeros((2, 3, 4))),
        (Logistic(), np.zeros((2, 3, 4))),
        (Perceptron(binary=True), np.zeros((2, 3, 4))),
    ],
    ids=str,
)
def test_weights_have_the_shape_of_what_counts(loss, target):
    prediction = np.ones((2, 3, 4))
    shape = np.shape(loss.examples(prediction, target))
    assert loss.counted(prediction.shape) == shape
    loss.check(target, prediction.shape, np.ones(shape))
    with pytest.raises(ShapeError):
        loss.check(target, prediction.shape, np.ones((*shape, 1)))


def test_the_kind_of_target_follows_the_options():
    kinds = {
        SoftmaxCrossEntropy(): "labels",
        SoftmaxCrossEntropy(soft=True): "like prediction",
        Hinge(): "labels",
        Perceptron(): "labels",
        Perceptron(binary=True): "like prediction",
        Logistic(): "like prediction",
        SquaredError(): "like prediction",
    }
    assert {loss: loss.target_kind for loss in kinds} == kinds
    assert issubclass(LabelLoss, Loss)


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "kind", "what", "do"),
    [
        (np.array([0, 1, 2, 3]), InputRefused, "outside 0 to 2", "4 units"),
        (np.array([1, 2, 3, 1]), InputRefused, "outside 0 to 2", "subtract 1"),
        (np.array([0, -1, 2, 1]), InputRefused, "outside 0 to 2", "weight 0"),
        (LABELS.astype(float), DTypeError, "not whole numbers", "astype"),
        (LABELS.astype(bool), DTypeError, "not whole numbers", "number the classes"),
        (LABELS.astype(str), DTypeError, "not whole numbers", "number the classes"),
        (LABELS[:3], ShapeError, "do not fit", "one label"),
        (LABELS[:, None], ShapeError, "do not fit", "one label"),
        (np.eye(3, dtype=int)[LABELS], ShapeError, "do not fit", "argmax"),
    ],
)
@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), Hinge(), Perceptron()], ids=str)
def test_wrong_labels_are_refused_with_a_remedy(loss, labels, kind, what, do):
    with pytest.raises(kind, match=what) as caught:
        loss.check(labels, (4, 3))
    assert caught.value.where == f"loss {type(loss).__name__}"
    assert caught.value.why
    assert do in caught.value.do


def test_the_first_wrong_label_and_how_many_are_wrong_are_shown():
    with pytest.raises(InputRefused) as caught:
        Hinge().check(np.array([[0, 1], [7, 9]]), (2, 2, 3))
    assert caught.value.why == "number (1, 0) is 7; 2 of 4 are wrong"


def test_predictions_without_classes_are_refused():
    with pytest.raises(ShapeError, match="no scores of classes"):
        SoftmaxCrossEntropy().check(LABELS, (4,))


NAN = np.where(np.eye(4, 3), np.nan, 0.5)


@pytest.mark.parametrize(
    ("loss", "target", "kind", "what"),
    [
        (SquaredError(), ANY[:, :2], ShapeError, "do not fit"),
        (SquaredError(), ANY.astype(str), DTypeError, "not real numbers"),
        (SquaredError(), ANY.astype(complex), DTypeError, "not real numbers"),
        (SquaredError(), NAN, InputRefused, "not finite"),
        (Logistic(), ANY * 9, InputRefused, "outside 0 to 1"),
        (Logistic(), 2 * BITS - 1, InputRefused, "outside 0 to 1"),
        (Perceptron(binary=True), 2 * BITS - 1, InputRefused, "outside 0 to 1"),
        (SoftmaxCrossEntropy(soft=True), SOFT * 1.1, InputRefused, "add up to 1|outside"),
        (SoftmaxCrossEntropy(soft=True), SOFT / 2, InputRefused, "add up to 1"),
        (Divergence(), SOFT / 2, InputRefused, "add up to 1"),
        (Divergence(), -SOFT, InputRefused, "outside 0 to 1"),
    ],
)
def test_wrong_targets_are_refused(loss, target, kind, what):
    with pytest.raises(kind, match=what) as caught:
        loss.check(target, (4, 3))
    assert caught.value.where == f"loss {type(loss).__name__}"
    assert caught.value.why
    assert caught.value.do


def test_a_column_of_predictions_asks_for_a_column_of_targets():
    with pytest.raises(ShapeError) as caught:
        SquaredError().check(np.ones(4), (4, 1))
    assert "[..., None]" in caught.value.do


@pytest.mark.parametrize(
    ("weights", "kind", "what"),
    [
        (np.ones(3), ShapeError, "do not fit"),
        (np.ones((4, 3)), ShapeError, "do not fit"),
        (np.array(["a"] * 4), DTypeError, "not real numbers"),
        (np.array([1.0, -1, 0, 0]), InputRefused, "negative"),
        (np.array([1.0, np.nan, 0, 0]), InputRefused, "not finite"),
    ],
)
@pytest.mark.parametrize(
    ("loss", "target"),
    [(SoftmaxCrossEntropy(), LABELS), (SoftmaxCrossEntropy(soft=True), SOFT), (Huber(), ANY)],
    ids=["labels", "soft", "numbers"],
)
def test_wrong_weights_are_refused(loss, target, weights, kind, what):
    with pytest.raises(kind, match=what) as caught:
        loss.check(target, (4, 3), weights)
    assert caught.value.why
    assert caught.value.do


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: SoftmaxCrossEntropy(smoothing=1.0), "smoothing"),
        (lambda: SoftmaxCrossEntropy(smoothing=-0.1), "smoothing"),
        (lambda: Logistic(smoothing=math.nan), "smoothing"),
        (lambda: Hinge(margin=-1), "margin"),
        (lambda: Hinge(margin=True), "margin"),
        (lambda: Huber(0), "delta"),
        (lambda: Huber("1"), "delta"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_options_of_losses_that_cannot_be_are_refused(make, what):
    with pytest.raises(ArgumentError, match=what) as caught:
        make()
    assert caught.value.where.startswith("loss ")
    assert caught.value.why
    assert caught.value.do
