"""How much memory a training takes, before it takes it: a plan, and the refusal of what will not fit.

The plan is made of the kernel of the training step: its temporaries are counted by liveness, so the largest number
of bytes that are there at once is known before the kernel is machine code.  On a GPU all of them are there at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from gradc.api.differentiated import Differentiated
from gradc.api.updating import inspect_update
from gradc.errors import InputRefused
from gradc.explain.figures import columns
from gradc.explain.inspection import Inspection
from gradc.explain.kernels.launches import plan as launch_plan
from gradc.ir.loop.workspace import workspace_bytes
from gradc.nn.gpu import Planned
from gradc.nn.nodes import Node
from gradc.nn.optimisers import Optimiser
from gradc.nn.step import (
    BATCH,
    UPDATED,
    USUAL,
    StepArguments,
    Trained,
    arguments_of,
    batch_of,
    slots_of,
)

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_LARGEST = 3  # parts that a message names
_THERE = ("parameters", "statistics", "examples")  # parts that a training finds when it begins
_TAKEN = ("slots", "beginning", "best")  # parts that it has taken when it has begun
_ORDER = 8  # bytes of the number of an example


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The bytes that a training takes while it runs a step, by what they are for.

    Attributes
    ----------
    parameters, statistics, slots : int
        What is trained, running statistics, and what the optimiser keeps.
    batch : int
        The arrays that hold a batch.
    temporaries : int
        What the kernel of the step makes for itself: the most that is there at once.
    beginning : int
        Copies of parameters, statistics and slots, to return to where an epoch fails.
    best : int
        Copies of the parameters and statistics of the best epoch, and of the one that takes its place.
    examples : int
        The examples and targets that it was given; 0 where none are known.
    """

    parameters: int
    statistics: int
    slots: int
    batch: int
    temporaries: int
    beginning: int
    best: int
    examples: int = 0

    @property
    def total(self) -> int:
        """The planned peak: all of them; machine code and Python itself come on top."""
        return sum(asdict(self).values())

    @property
    def step(self) -> int:
        """What a step alone needs: neither copies nor examples."""
        return self.total - self.beginning - self.best - self.examples

    def __str__(self) -> str:
        rows = [(_TITLES[name], bytes_text(value)) for name, value in asdict(self).items() if value]
        return "\n".join(columns([*rows, ("total", bytes_text(self.total))]))


@dataclass(frozen=True, slots=True)
class DevicePlan(MemoryPlan):
    """The bytes that a training takes of the memory of a GPU, by what they are for.

    `beginning` is for copies of the slots alone, and `examples` count with their order; parameters and statistics at
    the beginning of an epoch and after the best one are kept by the processor, so `best` is 0.
    """

    def __str__(self) -> str:
        return "\n".join(("in the memory of the GPU:", *MemoryPlan.__str__(self).splitlines()))


_TITLES = {
    "parameters": "parameters",
    "statistics": "statistics",
    "slots": "optimiser slots",
    "batch": "batch",
    "temporaries": "temporaries at once",
    "beginning": "copies of an epoch's beginning",
    "best": "copies of the best epoch",
    "examples": "examples",
}


def bytes_text(value: int) -> str:
    """Show a number of bytes with three digits and a unit of powers of 1024.

    Examples
    --------
    >>> bytes_text(800), bytes_text(3 * 2**20), bytes_text(2**45 + 2**43)
    ('800 bytes', '3 MiB', '40 TiB')
    """
    at = min(max(value.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    whole = value >> 10 * at  # of any size: a float would have a largest
    return f"{whole} {_UNITS[at]}" if whole >= 100 else f"{value / 1024**at:.3g} {_UNITS[at]}"


# --- plans --------------------------------------------------------------------------------------------------


def plan(
    network: Trained,
    optimiser: Optimiser = USUAL,
    batch: int = BATCH,
    examples: Sequence[np.ndarray] = (),
    target: str = "cpu",
    products: str = "own",
) -> MemoryPlan:
    """Plan the memory of a training, without running or compiling a step to machine code.

    Parameters
    ----------
    network : Network
        It stays as it is.
    optimiser : Optimiser
        How a step changes the parameters; by default Adam.
    batch : int
        Examples of a step.
    examples : sequence of array
        Examples and targets, if they shall count.
    target : str
        Where steps run; for ``"cuda"`` the plan is a `DevicePlan`, and needs no GPU.
    products : str
        Who multiplies matrices there; what a library takes for itself is not known.

    Returns
    -------
    MemoryPlan
        Prints as a table.

    Examples
    --------
    >>> from gradc import nn
    >>> network = nn.Network(nn.Dense(2), shape=3, loss=nn.SquaredError())
    >>> found = plan(network, nn.Momentum(0.1), batch=8)
    >>> found.parameters, found.slots, found.batch
    (64, 64, 320)
    """
    slots = slots_of(network.parameters, optimiser)
    arguments = arguments_of(network, slots, *batch_of(network, batch))
    function = network.step_function(optimiser).with_options(target=target, products=products)
    return planned(function, arguments, examples)


def planned(
    function: Differentiated[..., Any], arguments: StepArguments, examples: Sequence[np.ndarray] = ()
) -> MemoryPlan:
    """Plan the memory of a training whose step is known already; see `plan`.

    Parameters
    ----------
    function : Differentiated
        What `Network.step_function` returned.
    arguments : StepArguments
        What it will be bound to; their contents do not matter.
    examples : sequence of array
        Examples and targets, if they shall count.
    """
    inspection = inspect_update(function, tuple(arguments), {}, UPDATED)
    parameters, statistics, slots = (_bytes(group.values()) for group in arguments[:3])
    batch, temporaries = _bytes((arguments.x, arguments.y)), _temporaries(function, inspection, arguments)
    if _on_device(function):
        held = _bytes(examples) + sum(_ORDER * len(array) for array in examples[:1])
        return DevicePlan(parameters, statistics, slots, batch, temporaries, slots, 0, held)
    weights = parameters + statistics
    return MemoryPlan(
        parameters, statistics, slots, batch, temporaries, weights + slots, 2 * weights, _bytes(examples)
    )


def _temporaries(function: Differentiated[..., Any], inspection: Inspection, arguments: StepArguments) -> int:
    _, inputs = function.at(*arguments).program_and_inputs()
    if _on_device(function):
        return launch_plan(inspection.stages, inputs).temporaries
    return workspace_bytes(inspection.stages.kernel, inputs)


def _on_device(function: Differentiated[..., Any]) -> bool:
    return function.options.target == "cuda"


def _bytes(arrays: Iterable[np.ndarray]) -> int:
    return sum(array.nbytes for array in arrays)


# --- what will not fit --------------------------------------------------------------------------------------


def require_step_fits(
    function: Differentiated[..., Any],
    arguments: StepArguments,
    examples: Sequence[np.ndarray] = (),
    *,
    begun: bool = False,
    free: Callable[[], int | None] | None = None,
) -> None:
    """Refuse a training whose memory is not available, before it takes it.

    Parameters
    ----------
    function : Differentiated
        What `Network.step_function` returned.
    arguments : StepArguments
        What it will be bound to.
    examples : sequence of array
        Examples and targets, for a GPU: they are copied there.
    begun : bool
        Whether steps of another batch have run: slots and copies are there then.
    free : callable, optional
        Returns how many bytes are available, or None where nobody knows: nothing is refused then.  Without it they
        are those of the machine.

    Raises
    ------
    InputRefused
        It names what is needed and available, the largest parts, and a batch that would fit.
    """
    available = available_memory() if free is None else free()
    if available is None:
        return
    found, device = planned(function, arguments, examples), _on_device(function)
    there = (*(() if device and not begun else _THERE), *(_TAKEN if begun else ()))
    parts = {name: value for name, value in asdict(found).items() if name not in there}
    needed = sum(parts.values())
    if needed <= available:
        return
    largest = sorted(parts, key=lambda name: parts[name], reverse=True)[:_LARGEST]
    batch = arguments.x.shape[0]
    fixed = needed - parts["batch"] - parts["temporaries"]
    fits = _batch_that_fits(function, arguments, available - fixed)
    choices = [f"batch={fits}"] if fits else ["a smaller network or an optimiser with fewer slots"]
    if arguments.control.dtype == np.float64:
        choices.append("dtype='float32', which takes half")
    if device:
        choices.append("target='cpu'")
    raise InputRefused(
        f"training with batch={batch} needs {bytes_text(needed)} more memory{' of the GPU' * device}, "
        f"{bytes_text(available)} are {'free' if device else 'available'}",
        why=", ".join(f"{_TITLES[name]}: {bytes_text(parts[name])}" for name in largest if parts[name]),
        do=f"choose {', or '.join(choices)}",
    )


def _batch_that_fits(function: Differentiated[..., Any], arguments: StepArguments, available: int) -> int:
    """A batch whose arrays and temporaries take no more than `available`; 0 where there is none above 1."""
    inspection = inspect_update(function, tuple(arguments), {}, UPDATED)
    of_batch: Any = Planned if _on_device(function) else np.zeros
    size = arguments.x.shape[0]
    while size > 1:  # a batch of 1 is another kernel
        x, y = (of_batch((size, *array.shape[1:]), array.dtype) for array in (arguments.x, arguments.y))
        needed = _bytes((x, y)) + _temporaries(function, inspection, arguments._replace(x=x, y=y))
        if needed <= available:
            return size
        # Temporaries are nearly proportional to the batch: the first guess is close, and the next ones go down.
        size = min(size * max(available, 0) // needed, size - 1 - size // 32)
    return 0


def require_parameters_fit(nodes: Sequence[Node], dtype: np.dtype) -> None:
    """Refuse a network whose parameters and statistics fit no memory, before they are made.

    Parameters
    ----------
    nodes : sequence of Node
        The layers in their places.
    dtype : dtype
        Of the parameters.

    Raises
    ------
    InputRefused
        It names the layer that takes most.
    """
    sizes = {node.name: [prod(found.shape) for found in _arrays_of(node)] for node in nodes}
    needed = dtype.itemsize * sum(map(sum, sizes.values()))
    # Initialisers draw float64 numbers; what becomes float32 is there twice for a moment.
    drawn = 8 * max((size for own in sizes.values() for size in own), default=0) if dtype.itemsize < 8 else 0
    available = available_memory()
    if needed + drawn <= available:
        return
    node = max(nodes, key=lambda node: sum(sizes[node.name]))
    shapes = ", ".join(
        f"{name.removeprefix(f'{node.name}.')} {found.shape}"
        for name, found in (*node.parameters.items(), *node.statistics.items())
    )
    smaller = "" if dtype.itemsize < 8 else ", or dtype='float32', which takes half"
    raise InputRefused(
        f"parameters need {bytes_text(needed + drawn)} of memory, {bytes_text(available)} are available",
        where=f"layer {node.name}",
        why=f"it alone takes {bytes_text(dtype.itemsize * sum(sizes[node.name]))}: {shapes}",
        do=f"make the layer smaller{smaller}",
    )


def _arrays_of(node: Node) -> Iterable[Any]:
    return (*node.parameters.values(), *node.statistics.values())


# --- what there is ------------------------------------------------------------------------------------------

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def available_memory() -> int:
    """Bytes that this process can take without swapping: of the machine, and of the control groups it is in."""
    return min((psutil.virtual_memory().available, *_left_in_groups(_GROUPS, _OWN)))


def _left_in_groups(groups: Path, own: Path) -> list[int]:
    """What the limits of control groups leave, those around them included; none outside Linux.

    Pages of files count as used in a group, and are given back when memory is short.
    """
    left = []
    for line in _lines(own):
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        if controllers:
            root, limit, used, prefix = (
                groups / "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_",
            )
        else:
            root, limit, used, prefix = groups, "memory.max", "memory.current", ""
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for depth in range(len(parts) + 1):
            group = root.joinpath(*parts[:depth])
            most, taken = _whole(group / limit), _whole(group / used)
            if most is not None and taken is not None:
                left.append(max(0, most - taken + _of_files(group / "memory.stat", prefix)))
    return left


def _of_files(statistics: Path, prefix: str) -> int:
    """Bytes of pages that hold parts of files."""
    wanted = {f"{prefix}active_file", f"{prefix}inactive_file"}
    pairs = (line.split() for line in _lines(statistics))
    return sum(int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] in wanted)


def _whole(file: Path) -> int | None:
    """The number in a file; None where there is no file or it says that there is no limit."""
    text = "".join(_lines(file))
    return int(text) if text.isdecimal() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
