"""Running the command in this process: what it prints and the code it exits with."""

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest

from gradc.cli import run


@dataclass(frozen=True)
class Ran:
    """One run of the command."""

    out: str
    err: str
    code: int

    @property
    def json(self) -> dict[str, Any]:
        """The one document on standard output, which holds nothing else and no bare NaN."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        found = json.loads(self.out, parse_constant=refuse)
        assert found["schema"] == 1
        return found


class Stream(io.StringIO):
    """Standard output in memory, with the encoding that a terminal would have."""

    encoding = "utf-8"


def gradc(*words: str, interpret: bool = True) -> Ran:
    """Run ``gradc WORDS``; `grad` and `check` without a compiler unless told otherwise."""
    extra = ["--target", "interpret"] if interpret and words and words[0] in ("grad", "check") else []
    out, err = Stream(), Stream()
    line = [words[0], *extra, *words[1:]] if words else []
    with (
        mock.patch.object(sys, "argv", ["gradc", *line]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        run.main()
    assert isinstance(ended.value.code, int)
    assert "Traceback" not in err.getvalue()
    return Ran(out.getvalue(), err.getvalue(), ended.value.code)


@contextlib.contextmanager
def clean_imports() -> Iterator[None]:
    """Forget the folders and modules that running a SPEC adds to the process."""
    path, modules = list(sys.path), set(sys.modules)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if name.startswith("gradc_spec_") or name.partition(".")[0] in ("package", "helper"):
                del sys.modules[name]
