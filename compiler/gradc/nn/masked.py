"""Targets that do not count: padding of sequences, examples without a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradc.errors import ArgumentError, InputRefused
from gradc.nn.layer import Array, Shape
from gradc.nn.losses import LabelLoss, Loss

MASKED = -1  # the label of what does not count


@dataclass(frozen=True)
class Masked(LabelLoss):
    """A loss of labels in which those of -1 do not count: neither in the mean nor in the accuracy.

    Parameters
    ----------
    loss : Loss
        Any loss whose targets are labels.

    Examples
    --------
    >>> import numpy as np
    >>> from gradc import nn
    >>> scores = np.array([[0.0, 2.0], [5.0, 1.0], [1.0, 3.0]])
    >>> loss = nn.SoftmaxCrossEntropy()
    >>> bool(np.isclose(Masked(loss)(scores, np.array([1, -1, 0])), loss(scores[[0, 2]], np.array([1, 0]))))
    True
    """

    loss: Loss

    def __post_init__(self) -> None:
        if not isinstance(self.loss, Loss) or self.loss.target_kind != "labels":
            raise ArgumentError(
                f"loss={self.loss!r} has no labels to be masked",
                do="give SoftmaxCrossEntropy(), Hinge() or Perceptron()",
            )

    def __call__(self, prediction: Array, target: Array, weights: Array | None = None) -> Array:
        """Return the mean over what counts; 0 where nothing does."""
        counts = (target != MASKED).astype(prediction.dtype)
        return self.loss(prediction, _shown(target), counts if weights is None else counts * weights)

    def examples(self, prediction: Array, target: Array) -> Array:
        """Return the loss of every example, 0 for those that do not count."""
        return np.where(target != MASKED, self.loss.examples(prediction, _shown(target)), 0)

    def accuracy(self, prediction: Array, target: Array) -> Array:
        """Return the share of right ones among those that count."""
        counts = target != MASKED
        right = (prediction.argmax(axis=-1) == target) & counts
        return right.sum() / np.maximum(counts.sum(), 1)

    def amount(self, target: np.ndarray) -> int:
        """Return how many labels count."""
        return int((target != MASKED).sum())

    def check_targets(self, target: np.ndarray, prediction_shape: Shape) -> None:
        """Refuse wrong labels, and targets of which none counts."""
        masked = target == MASKED
        if masked.size and masked.all():
            raise InputRefused(
                "no target counts", where="loss Masked", why=f"all are {MASKED}", do="give labels from 0 on"
            )
        self.loss.check_targets(np.where(masked, 0, target), prediction_shape)


def _shown(target: Array) -> Array:
    """Return labels that the loss can look up; what stands for a masked one does not matter."""
    return np.where(target != MASKED, target, 0)
