"""``gradc train``: a network file and data become a folder with weights, history and pictures."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gradc.command.documents import named, to_json
from gradc.command.failures import INTERRUPTED as INTERRUPTED_CODE
from gradc.command.networks import arrays_of
from gradc.command.request import Answer
from gradc.command.run import require_products
from gradc.errors import ArgumentError, InputRefused
from gradc.explain.figures import columns
from gradc.explain.files import write_whole
from gradc.nn.files.network_file import NetworkFile
from gradc.nn.files.recipe import Recipe
from gradc.nn.history import Epoch, History
from gradc.nn.memory import plan
from gradc.nn.network import Network
from gradc.nn.trainer import require_place
from gradc.nn.training import INTERRUPTED

CHECKPOINT, WEIGHTS, DESCRIPTION, HISTORY = (
    "checkpoint.safetensors",
    "weights.safetensors",
    "network.toml",
    "history.csv",
)
SECONDS = (
    1.0  # between two checkpoints: writing one to the disk takes as long as many epochs of a small network
)
SHOWN = 512  # examples that statistics of layers are taken from
LINES = 20  # that a training without a terminal prints, at most

Pair: TypeAlias = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class Course:
    """What the command line says about a training; None stands for what the file says."""

    data: Path
    out: Path
    epochs: int | None
    batch: int | None
    seed: int | None
    patience: int | None
    resume: bool
    plots: bool
    force: bool
    target: str = "cpu"
    products: str = "own"


def train(spec: Path, course: Course, as_json: bool) -> Answer:
    """Train a network, and write what came of it to a folder.

    Parameters
    ----------
    spec : Path
        The network file.
    course : Course
        Data, folder, and what is other than the file says.
    as_json : bool
        Give the answer as one JSON document.

    Returns
    -------
    Answer
        The last epochs, and the files that were written; exit code 130 after Ctrl-C.

    Raises
    ------
    InputRefused
        The file, the data or the folder do not fit; nothing has been written then.
    ArgumentError, DeviceError
        Nothing can be trained where the command line says; nothing has been written then.
    LossNotFinite
        The loss became NaN or infinite: the folder has the checkpoint before.
    """
    require_products(course.target, course.products)
    require_place(course.target, course.products)
    file = NetworkFile.read(spec)
    network, recipe = file.network, _recipe(file.training, course)
    arrays = arrays_of(course.data, "--data", network)
    (x, y), validation = _parts(network, arrays, recipe)
    _require_folder(course)
    where = {"target": course.target, "products": course.products}
    print(plan(network, recipe.optimiser, recipe.batch, examples=(x, y), **where), file=sys.stderr)
    course.out.mkdir(parents=True, exist_ok=True)
    # Nothing but its checkpoint is written to the folder before an epoch has ended: what may still be refused, by the
    # checkpoint of another training for one, leaves it as it was.
    noted = _Noted(NetworkFile(network, recipe), course.out / DESCRIPTION)
    history = network.fit(
        x,
        y,
        optimiser=recipe.optimiser,
        epochs=recipe.epochs,
        batch=recipe.batch,
        seed=recipe.seed,
        patience=recipe.patience,
        validation=validation,
        checkpoint=course.out / CHECKPOINT,
        checkpoint_seconds=SECONDS,
        resume=course.resume,
        **where,
        callbacks=[noted, *([] if sys.stderr.isatty() else [_Lines(recipe.epochs)])],
    )
    network.save(course.out / WEIGHTS)
    NetworkFile(network, recipe, WEIGHTS).write(course.out / DESCRIPTION)
    write_whole(course.out / HISTORY, _table(history).encode())
    written = [DESCRIPTION, *([CHECKPOINT] if history.epochs else []), WEIGHTS, HISTORY]
    if course.plots:
        written += _pictures(network, history, x[:SHOWN], y[:SHOWN], course.out)
    loss, accuracy = network.evaluate(*validation) if validation is not None else (None, None)
    code = INTERRUPTED_CODE if history.stopped == INTERRUPTED else 0
    if as_json:
        found = {"stopped": history.stopped, "validation_loss": loss, "accuracy": accuracy}
        epochs = [asdict(epoch) for epoch in history.epochs]
        return Answer(
            to_json({"directory": str(course.out), "files": written, **found, "epochs": epochs}), code
        )
    return Answer("\n".join(_told(history, loss, accuracy, course.out, written)), code)


def _recipe(recipe: Recipe, course: Course) -> Recipe:
    """Return how to train: as the file says, but for what the command line says."""
    given = {name: getattr(course, name) for name in ("epochs", "batch", "seed", "patience")}
    try:
        return replace(recipe, **{name: value for name, value in given.items() if value is not None})
    except ArgumentError as error:
        raise InputRefused(error.what, where="options of gradc train", do=error.do) from error


def _parts(network: Network, arrays: dict[str, np.ndarray], recipe: Recipe) -> tuple[Pair, Pair | None]:
    """Return what is trained on and what is not, checked: nothing is compiled for data that do not fit."""
    x, y = network.data_of(arrays["x"], arrays["y"])
    held = [name for name in ("x_validation", "y_validation") if name in arrays]
    if len(held) == 1:
        raise InputRefused(
            f"the data have {held[0]} alone", do="give both x_validation and y_validation, or neither"
        )
    if held:
        return (x, y), network.data_of(arrays["x_validation"], arrays["y_validation"])
    count = round(recipe.validation * len(x))
    if not count:
        return (x, y), None
    if count == len(x):
        raise InputRefused(
            f"nothing is left to train on: {count} of {len(x)} examples are held out",
            do="lower validation in [training], or give more examples",
        )
    order = np.random.default_rng(recipe.seed).permutation(len(x))
    kept, held_out = np.sort(order[count:]), np.sort(order[:count])
    return (x[kept], y[kept]), (x[held_out], y[held_out])


def _require_folder(course: Course) -> None:
    """Refuse a folder that holds another training, or nothing to go on from."""
    out = course.out
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputRefused(f"{named(out)} is no folder", do="give --out another name; links are not followed")
    there = (out / CHECKPOINT).exists()
    if course.resume and not there:
        raise InputRefused(
            f"{named(out)} has no {CHECKPOINT} to go on from", do="leave out --resume to begin a training"
        )
    if there and not course.resume and not course.force:
        raise InputRefused(
            f"{named(out)} holds a training already",
            do="--resume goes on with it, --force begins anew in its place, another --out keeps it",
        )


class _Noted:
    """Writes the network file beside the first checkpoint, so that a training that is cut off can go on."""

    def __init__(self, file: NetworkFile, path: Path) -> None:
        self._file = file
        self._path = path
        self._is_written = False

    def __call__(self, training: Any, epoch: Epoch) -> None:
        if not self._is_written:
            self._file.write(self._path)
            self._is_written = True


class _Lines:
    """Prints epochs where no terminal shows a bar."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._each = -(-epochs // LINES)

    def __call__(self, training: Any, epoch: Epoch) -> None:
        if epoch.number % self._each == 0 or epoch.number in (1, self._epochs):
            print(_line(epoch, self._epochs), file=sys.stderr, flush=True)


def _line(epoch: Epoch, epochs: int) -> str:
    parts = [f"epoch {epoch.number}/{epochs}", f"loss {epoch.loss:.4g}"]
    parts += [] if epoch.validation_loss is None else [f"validation loss {epoch.validation_loss:.4g}"]
    parts += [] if epoch.accuracy is None else [f"accuracy {epoch.accuracy:.2%}"]
    speed = epoch.examples / epoch.seconds if epoch.seconds else 0.0
    return "  ".join([*parts, f"{speed:,.0f} examples/s"])


def _table(history: History) -> str:
    """Return the history as CSV; what is not known is empty."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([field.name for field in fields(Epoch)])
    rows.writerows(list(asdict(epoch).values()) for epoch in history.epochs)
    return text.getvalue()


def _pictures(network: Network, history: History, x: np.ndarray, y: np.ndarray, out: Path) -> Iterator[str]:
    """Draw what can be drawn, and return the names of the files."""
    from gradc.nn.pictures.curves import curves  # noqa: PLC0415  (they load matplotlib)
    from gradc.nn.pictures.signals import signal_picture  # noqa: PLC0415
    from gradc.nn.pictures.weights import first_weights  # noqa: PLC0415

    drawn = {"graph.svg": network.graph(), "signals.svg": signal_picture(network.signals(x, y))}
    if history.epochs:
        drawn["curves.svg"] = curves(history)
    if any(name.endswith(".weight") for name in network.parameters):
        drawn["weights.svg"] = first_weights(network)
    for name, picture in drawn.items():
        picture.save(out / name)
        yield name


def _told(
    history: History, loss: float | None, accuracy: float | None, out: Path, written: Sequence[str]
) -> Iterator[str]:
    """Say what came of a training."""
    if not history.epochs:
        yield "no epoch was run"
    else:
        rows = [("epoch", "loss", "validation loss", "accuracy")]
        shown = history.epochs if len(history) <= 6 else [*history.epochs[:3], *history.epochs[-3:]]
        for epoch in shown:
            judged = "" if epoch.validation_loss is None else f"{epoch.validation_loss:.4g}"
            right = "" if epoch.accuracy is None else f"{epoch.accuracy:.2%}"
            rows.append((str(epoch.number), f"{epoch.loss:.4g}", judged, right))
        yield from columns(rows)
    final = f"; the weights have validation loss {loss:.4g}" if loss is not None else ""
    final += f" and accuracy {accuracy:.2%}" if accuracy is not None else ""
    yield f"{history.stopped} after {len(history)} epochs{final}"
    yield from (str(out / name) for name in written)
