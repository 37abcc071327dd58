"""Value and gradients of the lecture's sigmoid network, batch 64, layers 1000-100-10."""

from typing import Any

import numpy as np
from measuring import Row, Way, measure, peer, show, show_machine

from gradc import differentiate

SIZES = (1000, 100, 10)


@differentiate(wrt=("w1", "w2"))
def loss(w1, w2, x, y):
    h = 1 / (1 + np.exp(-(x @ w1)))
    return np.square(h @ w2 - y).sum()


def by_hand(w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray):
    h = 1 / (1 + np.exp(-(x @ w1)))
    difference = h @ w2 - y
    slope = 2 * difference
    return np.square(difference).sum(), (x.T @ ((slope @ w2.T) * h * (1 - h)), h.T @ slope)


def ways(w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[Way]:
    found = [
        Way("NumPy by hand", lambda: by_hand(w1, w2, x, y)),
        Way("gradc", lambda: loss.value_and_grad(w1, w2, x, y)),
    ]
    jax = peer("jax")
    if jax is not None:
        jax.config.update("jax_enable_x64", True)
        jnp = jax.numpy
        compiled = jax.jit(
            jax.value_and_grad(
                lambda w1, w2, x, y: jnp.square((1 / (1 + jnp.exp(-(x @ w1)))) @ w2 - y).sum(), argnums=(0, 1)
            )
        )
        on_device = [jnp.asarray(array) for array in (w1, w2, x, y)]
        found.append(Way("JAX", lambda: jax.block_until_ready(compiled(*on_device))))
    torch = peer("torch")
    if torch is not None:
        a: Any = torch.tensor(w1, requires_grad=True)
        b: Any = torch.tensor(w2, requires_grad=True)
        inputs, wanted = torch.tensor(x), torch.tensor(y)

        def eager():
            a.grad = b.grad = None
            value = torch.square((1 / (1 + torch.exp(-(inputs @ a)))) @ b - wanted).sum()
            value.backward()
            return value.detach().numpy(), (np.asarray(a.grad), np.asarray(b.grad))

        found.append(Way("PyTorch", eager))
    return found


def run(small: bool = False) -> dict[str, list[Row]]:
    rng = np.random.default_rng(0)
    batch, (inputs, hidden, outputs) = (4, (7, 5, 3)) if small else (64, SIZES)
    tables = {}
    for dtype, rtol in ((np.float64, 1e-9), (np.float32, 1e-3)):
        w1 = (rng.standard_normal((inputs, hidden)) / inputs**0.5).astype(dtype)
        w2 = rng.standard_normal((hidden, outputs)).astype(dtype)
        x, y = rng.standard_normal((batch, inputs)).astype(dtype), rng.random((batch, outputs)).astype(dtype)
        title = f"batch {batch}, layers {inputs}-{hidden}-{outputs}, {np.dtype(dtype).name}"
        tables[title] = measure(ways(w1, w2, x, y), rtol=rtol, rounds=2 if small else 15, pause=0.1)
        if small:
            break
    return tables


if __name__ == "__main__":
    show_machine()
    for title, rows in run().items():
        show(title, rows)
