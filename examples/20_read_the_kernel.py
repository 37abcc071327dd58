"""Nothing is hidden: every stage from the traced program to the generated Python file can be printed.

The file runs without Numba too, line by line, in a debugger.
"""

import importlib.util

import numpy as np

from gradc import differentiate


@differentiate
def loss(x, scale):
    shifted = x - x.mean()
    return np.log(1 + np.exp(scale * shifted)).sum()


def main() -> None:
    x = np.array([0.5, -1.0, 2.0])
    stages = loss.inspect(x, 3.0)
    for name in ("program", "stable", "adjoint", "optimised", "schedule", "source"):
        print(f"--- {name} " + "-" * (60 - len(name)))
        print(stages.stage(name))
    assert "shifted" in stages.program  # your names are kept
    assert "softplus" in stages.stable  # log(1 + exp(x)) overflows, softplus does not
    assert "prange" not in stages.source

    # The kernel is a file; imported as such it is plain Python and gives the same numbers.
    specification = importlib.util.spec_from_file_location("kernel", stages.path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    value, (dx, dscale) = module.loss_value_and_grad(x, 3.0)
    fast_value, (fast_dx, fast_dscale) = loss.value_and_grad(x, 3.0)
    assert np.isclose(value, fast_value, rtol=1e-14)
    assert np.allclose(dx, fast_dx, rtol=1e-13)
    assert np.isclose(dscale, fast_dscale, rtol=1e-13)
    print("kernel file:", stages.path)


if __name__ == "__main__":
    main()
