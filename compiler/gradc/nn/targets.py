"""What targets and weights of a loss must be: refused before a step runs, with the place and the remedy."""

from __future__ import annotations

import numpy as np

from gradc.errors import DTypeError, GradcError, InputRefused, ShapeError
from gradc.nn.layer import Shape


def check_labels(loss: str, labels: np.ndarray, predictions: Shape) -> None:
    """Refuse labels that are not numbers of classes for predictions of a shape, the batch included.

    Raises
    ------
    ShapeError, DTypeError, InputRefused
        Shape, kind or range is wrong.
    """
    where = f"loss {loss}"
    if len(predictions) < 2:
        why, do = f"predictions are {predictions}", "end the network with Dense(classes)"
        raise ShapeError("there are no scores of classes", where=where, why=why, do=do)
    if labels.dtype.kind not in "iu":
        do = "pass labels.astype(np.int64)" if labels.dtype.kind == "f" else "number the classes from 0"
        raise DTypeError("labels are not whole numbers", where=where, why=f"they are {labels.dtype}", do=do)
    if labels.shape != predictions[:-1]:
        one_hot = labels.shape == predictions
        do = "pass labels.argmax(axis=-1)" if one_hot else "pass one label for every row of scores"
        raise _unlike(where, "labels", labels.shape, predictions, do)
    wrong = (labels < 0) | (labels >= predictions[-1])
    if wrong.any():
        raise _out_of_range(where, labels, wrong, predictions[-1])


def check_values(loss: str, targets: np.ndarray, predictions: Shape, *, low: float, high: float) -> None:
    """Refuse targets that are not numbers from `low` to `high` in the shape of predictions.

    Raises
    ------
    ShapeError, DTypeError, InputRefused
        Shape, kind or a value is wrong.
    """
    where = f"loss {loss}"
    if targets.shape != predictions:
        column = targets.shape == predictions[:-1] and predictions[-1] == 1
        do = "pass targets[..., None]" if column else "pass targets in the shape of the predictions"
        raise _unlike(where, "targets", targets.shape, predictions, do)
    _check_kind(where, "targets", targets)
    wrong = ~np.isfinite(targets)
    if wrong.any():
        do = "leave such examples out, or put a number there and give them weight 0"
        raise InputRefused("a target is not finite", where=where, why=_first(targets, wrong), do=do)
    wrong = (targets < low) | (targets > high)
    if wrong.any():
        do = "pass probabilities, or choose a loss for any number, such as SquaredError()"
        what = f"a target lies outside {low:g} to {high:g}"
        raise InputRefused(what, where=where, why=_first(targets, wrong), do=do)


def check_distributions(loss: str, targets: np.ndarray) -> None:
    """Refuse probabilities whose sum over the last axis is not 1.

    Raises
    ------
    InputRefused
        A sum is further from 1 than rounding explains.
    """
    sums = targets.sum(axis=-1, dtype=np.float64)
    wrong = abs(sums - 1) > 1e-3
    if wrong.any():
        do = "divide by targets.sum(axis=-1, keepdims=True)"
        what = "probabilities of the classes do not add up to 1"
        raise InputRefused(what, where=f"loss {loss}", why=f"the sum of {_first(sums, wrong)}", do=do)


def check_weights(loss: str, weights: np.ndarray, counted: Shape) -> None:
    """Refuse weights that are not numbers of at least 0 for what is counted.

    Raises
    ------
    ShapeError, DTypeError, InputRefused
        Shape, kind or a value is wrong.
    """
    where = f"loss {loss}"
    if weights.shape != counted:
        what, why = "weights and examples do not fit", f"weights are {weights.shape}, examples {counted}"
        raise ShapeError(what, where=where, why=why, do="pass one weight for every example")
    _check_kind(where, "weights", weights)
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        what, do = "a weight is negative or not finite", "pass weights of at least 0"
        raise InputRefused(what, where=where, why=_first(weights, wrong), do=do)


def _check_kind(where: str, name: str, values: np.ndarray) -> None:
    if values.dtype.kind not in "fiub":
        why, do = f"they are {values.dtype}", "pass an array of floats"
        raise DTypeError(f"{name} are not real numbers", where=where, why=why, do=do)


def _unlike(where: str, name: str, given: Shape, predictions: Shape, do: str) -> GradcError:
    why = f"{name} are {given}, predictions {predictions}"
    return ShapeError(f"{name} and predictions do not fit", where=where, why=why, do=do)


def _out_of_range(where: str, labels: np.ndarray, wrong: np.ndarray, classes: int) -> GradcError:
    least, most = int(labels.min()), int(labels.max())
    if least < 0:
        do = "number the classes from 0; to leave examples out, give them weight 0"
    elif least == 1 and most == classes:
        do = "subtract 1 from the labels"
    else:
        do = f"give the last layer {most + 1} units"
    why = f"{_first(labels, wrong)}; {int(wrong.sum())} of {labels.size} are wrong"
    return InputRefused(f"a label lies outside 0 to {classes - 1}", where=where, why=why, do=do)


def _first(values: np.ndarray, wrong: np.ndarray) -> str:
    """Show the first wrong value and its place."""
    at = tuple(int(place) for place in np.argwhere(wrong)[0])
    return f"number {at[0] if len(at) == 1 else at} is {values[at]}"
