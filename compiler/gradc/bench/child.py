"""A child process from its parent's side: asked by a line, waited for with a limit, stopped while others run."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
STOPS = hasattr(signal, "SIGSTOP")


class ChildFailed(Exception):
    """A child died, failed or did not answer in time; the text says which."""


class Child:
    """One worker.  It is stopped by a signal while it is not asked: its waiting threads would disturb others."""

    def __init__(self, task: Mapping[str, Any], python: str, environment: Mapping[str, str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `end`)
        self._process = subprocess.Popen(
            [python, str(WORKER), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=dict(environment),
            process_group=0 if STOPS else None,  # Ctrl-C is the parent's; its group is stopped whole
        )
        self._rest = b""

    def ask(self, question: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Send a question and return the answer."""
        self._signal("SIGCONT")
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        return self.answer(timeout)

    def answer(self, timeout: float) -> dict[str, Any]:
        """Wait for one line.

        Raises
        ------
        ChildFailed
            There is none: the child died, failed or takes too long.
        """
        found = json.loads(self._line(timeout))
        self._signal("SIGSTOP")
        if "failed" in found:
            raise ChildFailed(found["failed"])
        return found

    def end(self) -> None:
        """End the child and what it has started."""
        if self._process.poll() is None:
            self._signal("SIGKILL")
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _line(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise ChildFailed(f"no answer within {timeout:.0f} s")
            read = os.read(self._process.stdout.fileno(), 65536)
            if not read:
                raise ChildFailed(self._death())
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _death(self) -> str:
        """Say how the child died, with the last line that it wrote."""
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"the process died ({how})" + (f": {lines[-1][:300]}" if lines else "")

    def _signal(self, name: str) -> None:
        if STOPS:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, getattr(signal, name))
