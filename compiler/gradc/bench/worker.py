"""The program of a child process: builds one way, hands over its result, then times itself when asked.

It is run by its path, with gradc's own folder loaded from where it lies, so that an interpreter without gradc
can run a peer.  The task is the first argument, in JSON; answers are lines of JSON on standard output.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

_PACKAGE = Path(__file__).resolve().parents[1]


def main() -> None:
    """Do what the first argument says, then what the lines of standard input say."""
    task = json.loads(sys.argv[1])
    answers = _private_output()
    _limit(task["cpus"])
    _load_package()
    try:
        run = _prepare(task, answers)
    except Exception as error:
        _say(answers, failed=_told(error))
        return
    repeat = 0
    step = getattr(run, "step", run)  # without what only hands over results; `run` keeps the arrays alive
    for line in sys.stdin:
        question = json.loads(line)
        if "profile" in question:
            _profile(run, question["profile"], answers)
            continue
        budget = question["budget"]
        repeat = repeat or max(1, int(budget / max(_timed(step, 3), 1e-8)))
        _timed(step, max(1, repeat // 4))  # clock and caches are warm before it counts
        seconds = _timed(step, repeat)
        _say(answers, seconds=seconds, memory=_peak_memory())


def _private_output() -> IO[str]:
    """Keep standard output for the answers; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _limit(cpus: list[int]) -> None:
    """Stay on these processors: some libraries choose their number of threads by that alone."""
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)


def _load_package() -> None:
    """Make ``gradc`` importable from where this file lies, without the packages that lie beside it."""
    folder = str(Path(__file__).resolve().parent)
    sys.path[:] = [path for path in sys.path if path != folder]
    spec = importlib.util.spec_from_file_location(
        "gradc", _PACKAGE / "__init__.py", submodule_search_locations=[str(_PACKAGE)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["gradc"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _prepare(task: dict[str, Any], answers: IO[str]) -> Callable[[], Any]:
    """Import, build, run once, and tell how long that took and what it returned."""
    begin = time.perf_counter()
    for name in task["modules"]:
        importlib.import_module(name)
    imported = time.perf_counter() - begin
    numpy = importlib.import_module("numpy")
    tools = importlib.import_module("gradc.bench.workload")
    workload = getattr(importlib.import_module(task["module"]), task["maker"])(**task["arguments"])
    inputs = workload.inputs(task["small"])
    memory = _peak_memory()
    begin = time.perf_counter()
    if task["way"]:
        run = workload.ways[task["way"]](*inputs)
        result = run()
    else:
        run = _nothing
        result = workload.reference(*tools.wide(inputs))
    first = time.perf_counter() - begin
    numpy.save(task["result"], tools.flat(result))
    sizes = tools.groups(result)
    gc.collect()
    gc.disable()
    _say(answers, imported=imported, first=first, sizes=sizes, memory=_peak_memory(), before=memory)
    return run


def _profile(run: Callable[[], Any], rounds: int, answers: IO[str]) -> None:
    """Hand over what the kernel of a way costs."""
    if not hasattr(run, "profile"):
        _say(answers, profile=None, text="no profile: this way is not one kernel of the function's arguments")
        return
    gc.enable()
    try:
        document, text = run.profile(rounds)  # pyright: ignore[reportFunctionMemberAccess]
    except Exception as error:
        _say(answers, failed=_told(error))
        return
    _say(answers, profile=document, text=text)


def _nothing() -> None:
    """Stands where the reference is not timed."""


def _timed(run: Callable[[], Any], repeat: int) -> float:
    begin = time.perf_counter()
    for _ in itertools.repeat(None, repeat):
        run()
    return (time.perf_counter() - begin) / repeat


def _peak_memory() -> int:
    """Return the most bytes that this process has held; 0 where that is not known."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _told(error: Exception) -> str:
    """Tell an exception on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {'; '.join(lines[:4])}"[:600]


def _say(answers: IO[str], **fields: Any) -> None:
    answers.write(json.dumps(fields) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
