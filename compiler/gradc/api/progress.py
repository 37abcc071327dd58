"""A bar on the terminal for what takes long; nothing where nobody looks."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

PATIENCE = 2.0  # seconds before a bar appears


class CheckProgress:
    """Shows how far a gradient check is, on stderr if that is a terminal and the check takes long."""

    def __init__(self, console: Console | None = None, patience: float = PATIENCE) -> None:
        self._console = console or Console(stderr=True)
        self._patience = patience
        self._begin = time.perf_counter()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __call__(self, done: int, planned: int, what: str) -> None:
        """Tell that `done` of `planned` comparisons are made, `what` being the last."""
        if self._bar is None and self._console.is_terminal and self._waited():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("checking", total=planned)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=planned, description=f"checked {what}")

    def _waited(self) -> bool:
        return time.perf_counter() - self._begin >= self._patience

    def __enter__(self) -> CheckProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
