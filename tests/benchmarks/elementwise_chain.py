"""A chain of elementary functions over a long vector, with its gradient: fusion against NumPy's passes."""

from typing import Any

import numpy as np
from measuring import Row, Way, measure, peer, show, show_machine

from gradc import differentiate


@differentiate
def chain(x):
    return np.sum(np.tanh(x) * np.exp(-x * x) + 1 / (1 + np.exp(-x)))


def by_hand(x: np.ndarray):
    t, e, s = np.tanh(x), np.exp(-x * x), 1 / (1 + np.exp(-x))
    return np.sum(t * e + s), (1 - t * t) * e - 2 * x * t * e + s * (1 - s)


def ways(x: np.ndarray) -> list[Way]:
    found = [Way("NumPy by hand", lambda: by_hand(x)), Way("gradc", lambda: chain.value_and_grad(x))]
    jax = peer("jax")
    if jax is not None:
        jax.config.update("jax_enable_x64", True)
        jnp = jax.numpy
        compiled = jax.jit(
            jax.value_and_grad(lambda x: jnp.sum(jnp.tanh(x) * jnp.exp(-x * x) + 1 / (1 + jnp.exp(-x))))
        )
        device = jnp.asarray(x)
        found.append(Way("JAX", lambda: jax.block_until_ready(compiled(device))))
    torch = peer("torch")
    if torch is not None:
        leaf: Any = torch.tensor(x, requires_grad=True)

        def eager():
            leaf.grad = None
            value = (torch.tanh(leaf) * torch.exp(-leaf * leaf) + 1 / (1 + torch.exp(-leaf))).sum()
            value.backward()
            return value.detach().numpy(), np.asarray(leaf.grad)

        found.append(Way("PyTorch", eager))
    return found


def run(small: bool = False) -> dict[str, list[Row]]:
    rng = np.random.default_rng(0)
    tables = {}
    for dtype, rtol in ((np.float64, 1e-9), (np.float32, 1e-4)):
        for size in (100,) if small else (1_000, 1_000_000):
            x = rng.standard_normal(size).astype(dtype)
            title = f"{size} elements, {np.dtype(dtype).name}"
            tables[title] = measure(ways(x), rtol=rtol, rounds=2 if small else 15)
        if small:
            break
    return tables


if __name__ == "__main__":
    show_machine()
    for title, rows in run().items():
        show(title, rows)
