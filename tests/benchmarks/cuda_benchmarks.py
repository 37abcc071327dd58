"""How fast the kernels of a GPU are: against the bandwidth of a copy, against PyTorch and against JAX.

    python tests/benchmarks/cuda_benchmarks.py [--only NAME ...] [--json FILE] [--rounds N] [--kernels] [--ours]

Nothing is timed before its results have been compared with NumPy's in float64.  Ends with 0 whether targets are met
or not, with 1 if a result of gradc is wrong or does not come, with 2 if there is no GPU.  The file must not be called
`cuda`: it would hide the packages of that name from everything that is run from this folder.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cuda_measuring import BUDGET, OURS, Ahead, Share, Task, copy_bandwidth, document, measure, shown
from cuda_peers import absent, computing, fault_of_losses, fault_of_results, training, versions
from cuda_tasks import COMPUTATIONS
from cuda_training import TRAININGS

from gradc.errors import DeviceError
from gradc_runtime.cuda_errors import CudaError, SimulatorLacks

BANDWIDTH = (Share(0.85), Ahead("PyTorch"), Ahead("JAX"))
TRAINED = (Ahead("PyTorch, eager", 3.0), Ahead("PyTorch, compiled", 1.5), Ahead("JAX", 1.5))
TARGETS: dict[str, Sequence[Share | Ahead]] = {
    "black-scholes-f64": BANDWIDTH,
    "black-scholes-f32": BANDWIDTH,
    "chain-f32": BANDWIDTH,
    "cross-entropy-f32": BANDWIDTH,
    "layer-norm-f32": BANDWIDTH,
    "train-lecture": TRAINED,
    "train-classifier": TRAINED,
    "product-f32": (Ahead("PyTorch", 0.6),),
    "evaluations-f32": (Ahead("JAX", 10.0),),
    "evaluations-along-f32": (Ahead("JAX", 10.0),),
}
COPIED = 1 << 30  # bytes of the copy that is the yardstick


def task_of(name: str, small: bool, ours: bool) -> Task:
    """One row of the list above."""
    if name in TRAININGS:
        network = TRAININGS[name](small)
        ways = training(network, ours)
        return Task(name, network.title, ways, partial(fault_of_losses, network), TARGETS[name])
    found = COMPUTATIONS[name](small)
    ways, fault = computing(found, ours), partial(fault_of_results, found)
    return Task(name, found.title, ways, fault, TARGETS[name], found.traffic, found.operations)


def require_device(small: bool) -> None:
    """Raise what is wrong with this machine, if something is."""
    if importlib.import_module("gradc_runtime.cuda_backend").SIMULATED and not small:
        raise SimulatorLacks(
            "there is no time in the simulator",
            why="NUMBA_ENABLE_CUDASIM=1 replaces the GPU in this process",
            do="unset NUMBA_ENABLE_CUDASIM on a machine with a GPU, or see with --small whether everything runs",
        )
    importlib.import_module("gradc_runtime.cuda_driver").count()


def machine(ours: bool) -> dict[str, Any]:
    """What the numbers depend on."""
    driver = importlib.import_module("gradc_runtime.cuda_driver")
    if importlib.import_module("gradc_runtime.cuda_backend").SIMULATED:
        device = {"device": "the simulator"}
    else:
        device = {"device": driver.device_row(driver.current()), "cuda": driver.driver_version()}
    file = Path("/proc/driver/nvidia/version")
    words = file.read_text(encoding="utf-8").splitlines()[0] if file.exists() else ""
    packages = {"python": platform.python_version(), **versions()}
    return {**device, "driver": words, "versions": packages, "absent": absent(ours)}


def show_machine(found: dict[str, Any], bandwidth: float) -> None:
    """Print it."""
    print(found["device"], *(["CUDA " + found["cuda"]] if "cuda" in found else []), sep=", ")
    print(*filter(None, [found["driver"]]), ", ".join(" ".join(item) for item in found["versions"].items()))
    for name, why in found["absent"].items():
        print(f"({name}: {why}: left out)")
    print(f"a copy on the device moves {bandwidth / 1e9:.0f} GB/s, read and written")


def run(names: Sequence[str], chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure one task after the other; what is there already is written after each."""
    small = chosen.small
    about = machine(chosen.ours)
    bandwidth = copy_bandwidth(1024 if small else COPIED, chosen.rounds)
    show_machine(about, bandwidth)
    found: dict[str, Any] = {
        "machine": about,
        "copy_bandwidth": bandwidth,
        "rounds": chosen.rounds,
        "tasks": [],
    }
    for name in names:
        task = task_of(name, small, chosen.ours)
        told = document(task, measure(task, chosen.rounds, 0.0 if small else BUDGET), bandwidth)
        found["tasks"].append(told)
        print(shown(told, chosen.kernels), flush=True)
        if chosen.json is not None:
            chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the command is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=TARGETS, metavar="NAME", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="medians are of so many (15)")
    parser.add_argument("--kernels", action="store_true", help="show the time of each kernel of a call")
    parser.add_argument("--ours", action="store_true", help="leave out PyTorch and JAX")
    parser.add_argument("--small", action="store_true", help="tiny sizes: see whether everything runs")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    chosen = arguments(given)
    try:
        require_device(chosen.small)
    except (CudaError, DeviceError) as error:
        print(error, file=sys.stderr)
        return 2
    return concluded(run(chosen.only or list(TARGETS), chosen))


def concluded(found: dict[str, Any]) -> int:
    """Count the targets that are met; return the exit code."""
    verdicts = [verdict for told in found["tasks"] for verdict in told["verdicts"]]
    print(f"\n{sum(verdict['met'] for verdict in verdicts)} of {len(verdicts)} targets met")
    ours = [row for told in found["tasks"] for row in told["rows"] if row["name"].startswith(OURS)]
    return 1 if any(row["fault"] for row in ours) else 0


if __name__ == "__main__":
    sys.exit(main())
