"""Seconds until the first gradient, in fresh interpreters: import, trace, derive, compile, call.

The ratios compare with importing NumPy and one step by hand.  A second process finds the machine code of the first
in the kernel cache; a new batch size costs nothing.
"""

import os
import statistics
import subprocess
import sys
import tempfile

from measuring import Row, peer, show, show_machine

SET_UP = (
    "import time; begin = time.perf_counter()\nimport numpy as np\n"
    "x = np.linspace(-1, 1, 50).reshape(10, 5)\n"
)
LOSS = "lambda w, x: np.square(1 / (1 + np.exp(-x @ w))).sum()"
CALLED = "loss.value_and_grad(np.ones(5), x)"
WANTED = "h = 1 / (1 + np.exp(-x @ np.ones(5)))\nwanted = -2 * x.T @ (h * h * (h - 1))\n"
ENDED = "seconds = time.perf_counter() - begin\n"
CHECKED = f"{WANTED}np.testing.assert_allclose(found, wanted, rtol=1e-6)\nprint(seconds)"

PROGRAMS = {
    "NumPy by hand": f"{SET_UP}{WANTED}found = wanted\n{ENDED}{CHECKED}",
    "gradc": (
        f"{SET_UP}from gradc import differentiate\nloss = differentiate({LOSS})\n"
        f"found = loss.value_and_grad(np.ones(5), x)[1][0]\n{ENDED}{CHECKED}"
    ),
    "gradc, machine code kept": (
        f"{SET_UP}from gradc import differentiate\nloss = differentiate({LOSS})\n"
        f"found = loss.value_and_grad(np.ones(5), x)[1][0]\n{ENDED}{CHECKED}"
    ),
    "the same, from the call on": (
        f"{SET_UP}from gradc import differentiate\nimport gradc_runtime.numba_backend\n"
        f"loss = differentiate({LOSS})\nbegin = time.perf_counter()\n"
        f"found = loss.value_and_grad(np.ones(5), x)[1][0]\n{ENDED}{CHECKED}"
    ),
    "gradc, interpreter": (
        f"{SET_UP}from gradc import differentiate\nloss = differentiate(target='interpret')({LOSS})\n"
        f"found = loss.value_and_grad(np.ones(5), x)[1][0]\n{ENDED}{CHECKED}"
    ),
    "gradc, another size": (
        f"{SET_UP}from gradc import differentiate\nloss = differentiate({LOSS})\n{CALLED}\n"
        "x = np.tile(x, (3, 1))\n"
        f"begin = time.perf_counter()\nfound = loss.value_and_grad(np.ones(5), x)[1][0]\n{ENDED}{CHECKED}"
    ),
}
JAX = (
    f"{SET_UP}import jax; jax.config.update('jax_enable_x64', True); import jax.numpy as jnp\n"
    f"loss = jax.jit(jax.grad({LOSS.replace('np.', 'jnp.')}))\n"
    f"found = jax.block_until_ready(loss(np.ones(5), x))\n{ENDED}{CHECKED}"
)


KEPT = ("gradc, machine code kept", "the same, from the call on")


def seconds(program: str, **environment: str) -> float:
    """Run one program in a new interpreter; a wrong gradient fails there."""
    child = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    if child.returncode:
        raise AssertionError(child.stderr)
    return float(child.stdout)


def run(small: bool = False) -> dict[str, list[Row]]:
    programs = dict(PROGRAMS)
    if peer("jax") is not None:
        programs["JAX"] = JAX
    if small:
        programs = {name: PROGRAMS[name] for name in ("NumPy by hand", "gradc, interpreter")}
    samples: dict[str, list[float]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as folder:
        seconds(programs.get(KEPT[0], "print(0)"), GRADC_CACHE_DIR=folder)
        for _ in range(1 if small else 5):
            for name, program in programs.items():
                kept = {"GRADC_CACHE_DIR": folder} if name in KEPT else {"GRADC_CACHE": "off"}
                samples[name].append(seconds(program, **kept))
    medians = {name: statistics.median(found) for name, found in samples.items()}
    base = medians["NumPy by hand"]
    return {"until the first gradient": [Row(name, m, m / base) for name, m in medians.items()]}


if __name__ == "__main__":
    show_machine()
    for title, rows in run().items():
        show(title, rows)
