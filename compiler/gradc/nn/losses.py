"""Losses: a number for a batch of predictions and targets, the mean over its examples.

A loss of scores (softmax cross-entropy, logistic, hinge, perceptron, divergence) contains the last activation: the
network before it ends in a `Dense` layer, not in a softmax.  Scores have classes on the last axis; what lies on
axes between batch and classes (times, say) counts like further examples.

Weights, if given, are one number for every example; a mask is weights of 0 and 1, or booleans.  The mean is then
that of what counts, and 0 where nothing does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from gradc.errors import ArgumentError
from gradc.nn.layer import Array, Shape
from gradc.nn.targets import check_distributions, check_labels, check_values, check_weights

Targets: TypeAlias = Literal["labels", "like prediction"]

# --- what all share -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loss(ABC):
    """Base of all losses: frozen dataclasses whose fields are what a file says about them.

    One of your own defines `examples`, and `target_kind` if its targets are labels.
    """

    @property
    def target_kind(self) -> Targets:
        """Whether targets are numbers of classes, or arrays in the shape of predictions."""
        return "like prediction"

    def __call__(self, prediction: Array, target: Array, weights: Array | None = None) -> Array:
        """Return the mean over a batch.

        Parameters
        ----------
        prediction : array
            Batch first.
        target : array
            Labels, or an array like the prediction: see `target_kind`.
        weights : array, optional
            How much each example counts.
        """
        if self.target_kind == "like prediction":
            target = target.astype(prediction.dtype)
        each = self.examples(prediction, target)
        if weights is None:
            return each.mean()
        counts: Array = weights.astype(prediction.dtype)
        total = counts.sum()
        shares = counts / np.where(total > 0, total, 1)
        return np.where(shares > 0, each * shares, 0).sum()  # what does not count may be NaN

    @abstractmethod
    def examples(self, prediction: Array, target: Array) -> Array:
        """Return the loss of every example."""

    def check(self, target: np.ndarray, prediction_shape: Shape, weights: np.ndarray | None = None) -> None:
        """Refuse targets and weights that do not fit predictions of a shape, the batch included.

        Raises
        ------
        ShapeError, DTypeError, InputRefused
            The shape, the kind of number or a value is wrong.
        """
        self.check_targets(target, prediction_shape)
        if weights is not None:
            check_weights(type(self).__name__, weights, self.counted(prediction_shape))

    def counted(self, prediction_shape: Shape) -> Shape:
        """Return the shape of `examples` for predictions of a shape: one number for each thing that counts."""
        return prediction_shape[:1]

    def accuracy(self, prediction: Array, target: Array) -> Array | None:
        """Return the share of examples that are right; None where there is no right and wrong."""
        return None

    def amount(self, target: np.ndarray) -> int:
        """Return how much targets count beside others: how many examples they are."""
        return len(target)

    def check_targets(self, target: np.ndarray, prediction_shape: Shape) -> None:
        """Refuse targets that do not fit predictions of a shape."""
        if self.target_kind == "labels":
            check_labels(type(self).__name__, target, prediction_shape)
        else:
            check_values(type(self).__name__, target, prediction_shape, low=-np.inf, high=np.inf)

    def _require(self, field: str, low: float, high: float, *, includes_low: bool = True) -> None:
        value: Any = getattr(self, field)
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if numeric and (low <= value < high if includes_low else low < value < high):
            return
        raise ArgumentError(
            f"{field} is outside its range",
            where=f"loss {type(self).__name__}",
            why=f"{field} = {value!r}",
            do=f"write a number {'at least' if includes_low else 'above'} {low:g} and below {high:g}",
        )


@dataclass(frozen=True)
class LabelLoss(Loss):
    """Base of losses whose predictions are scores of classes and whose targets are labels."""

    @property
    def target_kind(self) -> Targets:
        """Labels."""
        return "labels"

    def counted(self, prediction_shape: Shape) -> Shape:
        """Return the shape of labels."""
        return prediction_shape[:-1]

    def accuracy(self, prediction: Array, target: Array) -> Array:
        """Return the share of examples whose class has the highest score."""
        return (prediction.argmax(axis=-1) == target).mean()


def of_class(scores: Array, labels: Array) -> Array:
    """Return the score of the right class of every example, with an axis of extent 1 for the classes."""
    return np.take_along_axis(scores, labels[..., None], axis=-1)


def log_sum(scores: Array) -> Array:
    """Return ``log(sum(exp(scores)))`` over the last axis, which stays with extent 1."""
    highest = scores.max(axis=-1, keepdims=True)
    return np.log(np.exp(scores - highest).sum(axis=-1, keepdims=True)) + highest


def per_example(values: Array) -> Array:
    """Return the mean over all axes but the batch."""
    return values.mean(axis=tuple(range(1, values.ndim))) if values.ndim > 1 else values


# --- scores and labels --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SoftmaxCrossEntropy(LabelLoss):
    """``-log(softmax(scores))`` of the right class.

    Parameters
    ----------
    smoothing : float
        What share of the certainty is spread evenly over all classes (Szegedy et al., 2016).
    soft : bool
        Whether targets are probabilities of the classes rather than labels.

    Examples
    --------
    >>> loss = SoftmaxCrossEntropy()
    >>> round(float(loss(np.array([[0.0, 0.0]]), np.array([1]))), 6)  # log(2)
    0.693147
    """

    smoothing: float = 0.0
    soft: bool = False

    def __post_init__(self) -> None:
        self._require("smoothing", 0, 1)

    @property
    def target_kind(self) -> Targets:
        """Labels, or with `soft` probabilities."""
        return "like prediction" if self.soft else "labels"

    def examples(self, prediction: Array, target: Array) -> Array:
        """Return the cross-entropy of every example."""
        right = (target * prediction).sum(axis=-1) if self.soft else of_class(prediction, target)[..., 0]
        if self.smoothing:
            right = (1 - self.smoothing) * right + self.smoothing * prediction.mean(axis=-1)
        return log_sum(prediction)[..., 0] - right

    def accuracy(self, prediction: Array, target: Array) -> Array:
        """Return the share of examples whose most probable class has the highest score."""
        labels = target.argmax(axis=-1) if self.soft else target
        return (prediction.argmax(axis=-1) == labels).mean()

    def check_targets(self, target: np.ndarray, prediction_shape: Shape) -> None:
        """Refuse wrong labels, and probabilities whose sum is not 1."""
        if self.soft:
            check_values("SoftmaxCrossEntropy", target, prediction_shape, low=0, high=1)
            check_distributions("SoftmaxCrossEntropy", target)
        else:
            check_labels("SoftmaxCrossEntropy", target, prediction_shape)


@dataclass(frozen=True)
class Hinge(LabelLoss):
    """The loss of the multiclass support vector machine (Weston and Watkins, 1999).

    The sum over the wrong classes of ``max(0, their score - score of the right class + margin)``.

    Parameters
    ----------
    margin : float
        By how much the right score shall exceed all others.
    squared : bool
        Whether to sum squares.
    """

    margin: float = 1.0
    squared: bool = False

    def __post_init__(self) -> None:
        self._require("margin", 0, np.inf)

    def examples(self, prediction: Array, target: Array) -> Array:
        """Return the sum over the wrong classes for every example."""
        excess = np.maximum(prediction - of_class(prediction, target) + self.margin, 0)
        wrong = np.arange(prediction.shape[-1]) != target[..., None]
        return np.where(wrong, np.square(excess) if self.squared else excess, 0).sum(axis=-1)


@dataclass(frozen=True)
class Perceptron(LabelLoss):
    """By how much the highest score exceeds that of the right class.

    With one score per example and targets of 0 and 1 (`binary`): ``max(0, -score)`` of a 1, ``max(0, score)`` of
    a 0, the loss of Rosenblatt's perceptron.

    Parameters
    ----------
    binary : bool
        Whether there is one score per example, whose sign is the class.
    """

    binary: bool = False

    @property
    def target_kind(self) -> Targets:
        """Labels, or with `binary` zeros and ones."""
        return "like prediction" if self.binary else "labels"

    def counted(self, prediction_shape: Shape) -> Shape:
        """Return the shape of labels, or with `binary` the batch."""
        return prediction_shape[:1] if self.binary else prediction_shape[:-1]

    def examples(self, prediction: Array, target: Array) -> Array:
        """Return the loss of every example."""
        if self.binary:
            return per_example(np.maximum(prediction, 0) - target * prediction)
        return prediction.max(axis=-1) - of_class(prediction, target)[..., 0]

    def accuracy(self, prediction: Array, target: Array) -> Array:
        """Return the share of right classes."""
        labels = prediction > 0 if self.binary else prediction.argmax(axis=-1)
        return (labels == target).mean()

    def check_targets(self, target: np.ndarray, prediction_shape: Shape) -> None:
        """Refuse wrong labels, and values outside 0 to 1."""
        if self.binary:
            check_values("Perceptron", target, prediction_shape, low=0, high=1)
        else:
            check_labels("Perceptron", target, prediction_shape)


@dataclass(frozen=True)
class Logistic(Loss):
    """``-log(sigmoid(score))`` of a target 1, ``-log(1 - sigmoid(score))`` of a 0, and between them in between.

    For one score per example, or for several that do not exclude each other, of which the mean is taken.

    Parameters
    ----------
    smoothing : float
        What share of the certainty is moved to the middle: a target 1 becomes ``1 - smoothing / 2``.
    """

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        self._require("smoothing", 0, 1)

    def examples(self, prediction: Array, target: Array) -> Array:
        """Return the loss of every example."""
        if self.smoothing:
            target = (1 - self.smoothing) * target + self.smoothing / 2
        return per_example(np.logaddexp(prediction, 0) - target * prediction)

    def accuracy(self, prediction: Array, target: Array) -> Array:
        """Return the share of scores on the side of their target."""
        return ((prediction > 0) == (target > 0.5)).mean()

    def check_targets(self, target: np.ndarray, prediction_shape: Shape) -> None:
        """Refuse what is no probability."""
        check_values("Logistic", target, prediction_shape, low=0, high=1)


@dataclass(frozen=True)
class Divergence(Loss):
    """The Kullback-Leibler divergence of the target from the prediction, both distributions over the last axis.

    The sum of ``target * log(target / prediction)``; a target of 0 adds nothing.

    Parameters
    ----------
    scores : bool
        Whether predictions are scores, of which the softmax is taken; else they are probabilities themselves.
    """

    scores: bool = True

    def examples(self, prediction: Array, target: Array) -> Array:
        """Return the divergence of every example."""
        from scipy.special import rel_entr, xlogy  # noqa: PLC0415

        if not self.scores:
            return rel_entr(target, prediction).sum(axis=-1)
        log_prediction = prediction - log_sum(prediction)
        return (xlogy(target, target) - target * log_prediction).sum(axis=-1)

    def counted(self, prediction_shape: Shape) -> Shape:
        """Return the shape of predictions without the axis of classes."""
        return prediction_shape[:-1]

    def check_targets(self, target: np.ndarray, prediction_shape: Shape) -> None:
        """Refuse what is no distribution over the last axis."""
        check_values("Divergence", target, prediction_shape, low=0, high=1)
        check_distributions("Divergence", target)


# --- numbers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SquaredError(Loss):
    """The mean of ``(prediction - target)**2`` over all numbers of an example."""

    def examples(self, prediction: Array, target: Array) -> Array:
        """Return the mean of the squares for every example."""
        return per_example(np.square(prediction - target))


@dataclass(frozen=True)
class AbsoluteError(Loss):
    """The mean of ``|prediction - target|`` over all numbers of an example."""

    def examples(self, prediction: Array, target: Array) -> Array:
        """Return the mean of the distances for every example."""
        return per_example(np.abs(prediction - target))


@dataclass(frozen=True)
class Huber(Loss):
    """Half the squared error up to a distance, and straight lines beyond (Huber, 1964).

    Parameters
    ----------
    delta : float
        The distance.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        self._require("delta", 0, np.inf, includes_low=False)

    def examples(self, prediction: Array, target: Array) -> Array:
        """Return the mean over all numbers for every example."""
        distance = np.abs(prediction - target)
        near, far = 0.5 * np.square(distance), self.delta * (distance - 0.5 * self.delta)
        return per_example(np.where(distance <= self.delta, near, far))
