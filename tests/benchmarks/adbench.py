"""ADBench's objectives: gradc against derivatives by hand in NumPy where there are some, else differences.

Run it with the repository on the path: ``PYTHONPATH=. python tests/benchmarks/adbench.py``.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from measuring import Row, Way, measure, show, show_machine
from tests.adbench import files, objectives

from gradc import differentiate, vmap
from gradc.bench.workloads import gmm

posterior = differentiate(objectives.mixture, wrt=("alpha", "means", "inverse_factors"))
blocks = vmap(differentiate(objectives.reprojection_error, wrt=("camera", "point", "weight")).jacobian)
residuals = differentiate(objectives.hand_residuals, wrt="theta").with_options(target="interpret")
step = differentiate(objectives.network_step, wrt=("main", "extra", "state"))


def errors_of_all(
    camera: np.ndarray, point: np.ndarray, weight: np.ndarray, feature: np.ndarray
) -> np.ndarray:
    """`objectives.reprojection_error` for many observations at once, without the case of no rotation."""
    r, x = camera[:, :3], point - camera[:, 3:6]
    angle = np.sqrt((r * r).sum(axis=1, keepdims=True))
    axis = r / angle
    along = axis * (axis * x).sum(axis=1, keepdims=True)
    seen = x * np.cos(angle) + np.cross(axis, x) * np.sin(angle) + along * (1 - np.cos(angle))
    flat = seen[:, :2] / seen[:, 2:]
    square = (flat * flat).sum(axis=1, keepdims=True)
    bent = flat * (1 + camera[:, 9:10] * square + camera[:, 10:] * square**2)
    return weight[:, None] * (bent * camera[:, 6:7] + camera[:, 7:9] - feature)


def blocks_by_differences(camera: np.ndarray, point: np.ndarray, weight: np.ndarray, feature: np.ndarray):
    """Central differences, one parameter of all observations at a time; in the order of the Jacobians."""
    given = [camera, point, weight[:, None]]
    found = []
    for number, part in enumerate(given):
        columns = []
        for at in range(part.shape[1]):
            step_of = 1e-6 * np.abs(part[:, at]) + 1e-9
            sides = []
            for sign in (1, -1):
                moved = [p.copy() for p in given]
                moved[number][:, at] += sign * step_of
                sides.append(errors_of_all(moved[0], moved[1], moved[2][:, 0], feature))
            columns.append((sides[0] - sides[1]) / (2 * step_of[:, None]))
        found.append(np.stack(columns, axis=-1))
    return found


def differences(function: Callable[..., Any], arguments: tuple[Any, ...], count: int) -> list[np.ndarray]:
    """Central differences with respect to the first `count` arguments; the axes of the argument come last."""
    found = []
    for number in range(count):
        columns = []
        for place in np.ndindex(arguments[number].shape):
            sides = []
            for sign in (1, -1):
                moved = [np.array(argument) for argument in arguments]
                moved[number][place] += sign * 1e-6
                sides.append(np.asarray(function(*moved)))
            columns.append((sides[0] - sides[1]) / 2e-6)
        found.append(np.stack(columns, axis=-1))
    return found


def sweep(main: np.ndarray, extra: np.ndarray, state: np.ndarray, text: np.ndarray):
    """Gradient of the network's loss from one compiled step, forwards and back."""
    pullbacks = []
    for x, following in itertools.pairwise(text):
        (_, state), pullback = step.vjp(main, extra, state, x, following)
        pullbacks.append(pullback)
    scale, by_state = -1 / text[1:].size, np.zeros_like(state)
    by_main, by_extra = np.zeros_like(main), np.zeros_like(extra)
    for pullback in reversed(pullbacks):
        of_main, of_extra, by_state = pullback((scale, by_state))
        by_main += of_main
        by_extra += of_extra
    return by_main, by_extra


def repeated(observed: files.Observation, count: int) -> list[np.ndarray]:
    """`count` observations near this one: every parameter times ``1 + 0.001 N(0, 1)``."""
    rng = np.random.default_rng(0)
    return [part * (1 + 1e-3 * rng.standard_normal((count, *np.shape(part)))) for part in observed]


def run(small: bool = False) -> dict[str, list[Row]]:
    rounds = 2 if small else 7
    tables = {}
    for name in ("test",) if small else ("1k/gmm_d2_K5", "1k/gmm_d10_K25"):
        data = files.mixture(name)
        first_call(f"GMM {name}", posterior.value_and_grad, *data)
        by_hand = Way("NumPy by hand", lambda data=data: gmm.by_hand(*data))
        ours = Way("gradc", lambda data=data: posterior.value_and_grad(*data))
        tables[f"GMM {name}: value and gradient"] = measure([by_hand, ours], rounds=rounds)

    count, observed = files.observation("test" if small else "ba1_n49_m7776_p31843")
    batch = repeated(observed, count)
    first_call("BA", blocks, *batch)
    by_differences = Way("differences in NumPy", lambda: blocks_by_differences(*batch))
    tables[f"BA, {count} observations: Jacobian blocks"] = measure(
        [by_differences, Way("gradc", lambda: blocks(*batch))], rtol=1e-5, rounds=rounds
    )

    hand = files.hand("test" if small else "simple_small/hand1_t26_c100")
    by_differences = Way("differences in NumPy", lambda: differences(objectives.hand_residuals, hand, 1))
    tables["HAND: Jacobian"] = measure(
        [by_differences, Way("gradc, interpreted", lambda: residuals.jacobian(*hand))],
        rtol=1e-5,
        rounds=rounds,
    )

    network = files.network("lstm_l2_c1024")
    network = network._replace(text=network.text[: 4 if small else 33])
    first_call("LSTM", sweep, *network)
    by_differences = Way("differences in NumPy", lambda: differences(objectives.network_loss, network, 2))
    tables[f"LSTM, {len(network.text)} characters: gradient"] = measure(
        [by_differences, Way("gradc, one step", lambda: sweep(*network))], rtol=1e-5, rounds=2
    )
    return tables


def first_call(title: str, function: Callable[..., Any], *arguments: Any) -> None:
    """Print how long tracing, deriving and compiling take, unless the kernel is in the cache already."""
    begin = time.perf_counter()
    function(*arguments)
    print(f"{title}: first call {time.perf_counter() - begin:.2f} s")


if __name__ == "__main__":
    show_machine()
    for title, rows in run().items():
        show(title, rows)
