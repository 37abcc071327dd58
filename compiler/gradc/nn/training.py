"""Training: epoch by epoch, with early stopping, checkpoints and a clean end at Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gradc.errors import ArgumentError, InputRefused, LossNotFinite
from gradc.nn.checkpoint import File
from gradc.nn.history import Epoch, History
from gradc.nn.optimisers import Optimiser
from gradc.nn.progress import TrainingProgress
from gradc.nn.trainer import Trainable, Training

FINISHED, INTERRUPTED, NO_IMPROVEMENT = "finished", "interrupted", "no improvement"
REPORT = 100  # steps on a GPU between two pictures of a bar, at least


def fit(
    network: Trainable,
    x: Any,
    y: Any,
    *,
    optimiser: Optimiser,
    epochs: int = 10,
    batch: int = 64,
    validation: tuple[Any, Any] | None = None,
    seed: int = 0,
    callbacks: Sequence[Callable[[Training, Epoch], object]] = (),
    patience: int | None = None,
    checkpoint: File | None = None,
    checkpoint_seconds: float = 0.0,
    resume: bool = False,
    progress: bool = True,
    target: str = "cpu",
    products: str = "own",
    report: int | None = None,
) -> History:
    """Train a network.

    Parameters
    ----------
    network, x, y, optimiser, batch, seed, target, products
        See `Training`.  With ``target="cuda"`` validation data are looked at on the processor.
    epochs : int
        Of the whole training, those of a checkpoint included.
    validation : tuple of array, optional
        Examples and targets that are looked at after every epoch.
    callbacks : sequence of callable
        Functions of the training and of the epoch that ended, after the checkpoint was written.
    patience : int, optional
        Stop after so many epochs in a row without a smaller validation loss, or loss without validation data.  The
        parameters and statistics of the best epoch are kept then, and also when all epochs are over.
    checkpoint : str or path, optional
        A file that is written after every epoch, and after the last one in any case.
    checkpoint_seconds : float
        The least time between two checkpoints: writing one can take longer than a short epoch.
    resume : bool
        Begin where the checkpoint was written; what follows has the same bits as without the break.
    progress : bool
        Show a bar on stderr if that is a terminal.
    report : int, optional
        On a GPU, after how many steps the processor waits for their losses.  By default it waits once an epoch, and
        where a bar shows the running loss every 100 steps.

    Returns
    -------
    History
        `History.stopped` says why it ended.  After Ctrl-C the network has the parameters of the best epoch, or those
        of the last step where no epoch had ended.

    Raises
    ------
    ArgumentError, ShapeError, GradcError
        An option or the data do not fit: nothing has been compiled or changed then.
    IndexError
        A label is out of range; on a GPU it is found at the next report.
    DeviceError
        There is no GPU, or no package, driver or library for it: nothing has been compiled or changed then.
    InputRefused
        The checkpoint cannot be read or written.
    LossNotFinite
        The network has the parameters of the best epoch then, or the first ones.
    """
    _require_options(epochs, patience, checkpoint, resume)
    if type(checkpoint_seconds) not in (int, float) or not checkpoint_seconds >= 0:
        raise ArgumentError(
            f"checkpoint_seconds={checkpoint_seconds!r} is no time", do="give a number of at least 0"
        )
    if report is not None and (type(report) is not int or report < 1):
        raise ArgumentError(
            f"report={report!r} is no number of steps", do="give a positive whole number, or None"
        )
    training = Training(network, optimiser, x, y, batch=batch, seed=seed, target=target, products=products)
    if validation is not None:
        validation = network.data_of(*validation)
    if resume and checkpoint is not None:
        training.restore(checkpoint)

    trained = len(training.history)
    kept = _Kept(training, checkpoint, checkpoint_seconds)
    try:
        with TrainingProgress(epochs, len(training.x), trained=trained, shown=progress) as bar:
            training.report = REPORT if report is None and bar.is_shown else report
            stopped = _run(training, epochs, validation, patience, kept, callbacks, bar)
        kept.save(last=True)
    except KeyboardInterrupt:
        stopped = INTERRUPTED
    except LossNotFinite:
        kept.save(last=True)  # the training is where the epoch began
        training.keep_best()
        raise
    if patience is not None or stopped == INTERRUPTED:
        training.keep_best()
    training.history.stopped = stopped
    return training.history


class _Kept:
    """Writes the checkpoint of a training, not more often than it shall."""

    def __init__(self, training: Training, path: File | None, seconds: float) -> None:
        self._training = training
        self._path = path
        self._seconds = seconds
        self._written = float("-inf")
        self._epochs = len(training.history)

    def save(self, *, last: bool = False) -> None:
        """Write it if there is an epoch that is not in it, and if it is due or the last."""
        epochs, now = len(self._training.history), time.monotonic()
        if self._path is None or epochs == self._epochs or (now < self._written + self._seconds and not last):
            return
        self._training.save(self._path)
        self._written, self._epochs = time.monotonic(), epochs


def _run(
    training: Training,
    epochs: int,
    validation: tuple[Any, Any] | None,
    patience: int | None,
    kept: _Kept,
    callbacks: Sequence[Callable[[Training, Epoch], object]],
    bar: TrainingProgress,
) -> str:
    """Run epochs, and return why there are no more."""
    while len(training.history) < epochs:
        if patience is not None and training.since_best >= patience:
            return NO_IMPROVEMENT
        found = training.epoch(validation, bar.step)
        bar.epoch(found.number, found.accuracy)
        kept.save()
        for callback in callbacks:
            callback(training, found)
    return FINISHED


def _require_options(epochs: object, patience: object, checkpoint: File | None, resume: bool) -> None:
    if type(epochs) is not int or epochs < 0:
        raise ArgumentError(f"epochs={epochs!r} is no number of epochs", do="give a whole number")
    if patience is not None and (type(patience) is not int or patience < 1):
        raise ArgumentError(
            f"patience={patience!r} is no number of epochs", do="give a positive whole number, or None"
        )
    if checkpoint is None:
        if resume:
            raise ArgumentError("resume=True has no checkpoint to begin from", do="give checkpoint=path")
        return
    place = Path(checkpoint)
    if place.is_dir() or not place.parent.is_dir():
        raise InputRefused(
            f"checkpoint={str(checkpoint)!r} cannot be written",
            why="it is a directory" if place.is_dir() else "its directory does not exist",
            do="name a file in a directory that exists",
        )
