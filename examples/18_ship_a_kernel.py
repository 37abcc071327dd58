"""`gradc compile` writes a package that runs where only NumPy, Numba and SciPy are: no gradc, no SymPy.

The kernel is called in another process, in which importing gradc or SymPy fails.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PROGRAM = """
import sys
sys.modules["gradc"] = sys.modules["sympy"] = None  # importing either now fails
sys.path.insert(0, "kernel/runtime")  # the copied runtime, even where another is installed

import gradc_runtime
import numpy as np
from kernel import loss_value_and_grad

assert "kernel/runtime" in gradc_runtime.__file__.replace(chr(92), "/")

w, x, y = np.array([1.0, -2.0]), np.array([[1.0, 2.0], [3.0, 4.0], [0.5, -1.0]]), np.ones(3)
value, gradient = loss_value_and_grad(w, x, y)
print(float(value), *map(float, gradient))
"""

FUNCTION = """
import numpy as np
from gradc import differentiate, f64

@differentiate(wrt="w")
def loss(w: f64["D"], x: f64["N", "D"], y: f64["N"]):
    return np.square((x * w).sum(axis=1) - y).sum()
"""


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.py").write_text(FUNCTION)
        (folder / "use.py").write_text(PROGRAM)
        print(run(sys.executable, "-m", "gradc", "compile", "model.py:loss", "-o", "kernel", folder=folder))
        print((folder / "kernel" / "loss_value_and_grad.py").read_text())
        printed = run(sys.executable, "use.py", folder=folder)
    w, x, y = np.array([1.0, -2.0]), np.array([[1.0, 2.0], [3.0, 4.0], [0.5, -1.0]]), np.ones(3)
    error = x @ w - y
    assert np.allclose(np.fromstring(printed, sep=" "), [error @ error, *(2 * error @ x)])
    print("in a process without gradc:", printed)


if __name__ == "__main__":
    main()
