"""The bar that shows how far a training is, on a terminal alone."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

INTERVAL = 0.1  # seconds between two pictures


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} examples/s" if speed else "")


class TrainingProgress:
    """Shows epoch, loss, accuracy, examples per second and time left, on stderr if that is a terminal.

    Parameters
    ----------
    epochs : int
        Of the whole training.
    examples : int
        Of one epoch.
    trained : int
        Epochs that a checkpoint brought.
    shown : bool
        False for no bar at all.
    console : Console, optional
        Where; stderr by default.
    """

    def __init__(
        self,
        epochs: int,
        examples: int,
        *,
        trained: int = 0,
        shown: bool = True,
        console: Console | None = None,
    ) -> None:
        console = console or Console(stderr=True)
        self._epochs = epochs
        self._examples = examples
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._drawn = 0.0
        self._epoch, self._seen, self._total, self._accuracy = trained + 1, 0, 0.0, ""
        if shown and console.is_terminal:
            # Without a thread that draws, nothing competes with the kernels; what callbacks print stays on stdout.
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(10),
                TextColumn("{task.fields[numbers]}", table_column=Column(no_wrap=True)),
                _Speed(Column(no_wrap=True)),
                TimeRemainingColumn(),
                console=console,
                auto_refresh=False,
                redirect_stdout=sys.stdout.isatty(),
            )

    @property
    def is_shown(self) -> bool:
        """Whether there is a bar."""
        return self._bar is not None

    def step(self, loss: float, examples: int) -> None:
        """Tell the loss of a step and how many examples it took."""
        self._seen += examples
        self._total += loss * examples
        if self._bar is not None and time.perf_counter() - self._drawn >= INTERVAL:
            self._draw(self._bar)

    def epoch(self, number: int, accuracy: float | None) -> None:
        """Tell that an epoch has ended, and what share of the validation data was right."""
        self._accuracy = "" if accuracy is None else f"  accuracy {accuracy:.1%}"
        self._epoch = number
        if self._bar is not None:
            self._draw(self._bar)
        self._epoch, self._seen, self._total = number + 1, 0, 0.0

    def _draw(self, bar: Progress) -> None:
        loss = f"loss {self._total / self._seen:.4g}" if self._seen else ""
        bar.update(
            self._task,
            completed=(self._epoch - 1) * self._examples + self._seen,
            description=f"epoch {self._epoch}/{self._epochs}",
            numbers=loss + self._accuracy,
        )
        bar.refresh()
        self._drawn = time.perf_counter()

    def __enter__(self) -> TrainingProgress:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(
                f"epoch {self._epoch}/{self._epochs}",
                total=self._epochs * self._examples,
                completed=(self._epoch - 1) * self._examples,
                numbers="",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
