"""Parameters may come in dictionaries, lists and dataclasses; gradients come back in the same container."""

from dataclasses import dataclass

import numpy as np

from gradc import differentiate


@dataclass
class Layer:
    """An affine map."""

    weights: np.ndarray
    bias: np.ndarray


def apply(layer: Layer, x):
    return x @ layer.weights + layer.bias


@differentiate(wrt="network")
def loss(network, x, y):
    for layer in network["hidden"]:
        x = np.maximum(apply(layer, x), 0)
    return np.square(network["scale"] * apply(network["output"], x) - y).mean()


def make_layer(rng: np.random.Generator, before: int, after: int) -> Layer:
    return Layer(rng.standard_normal((before, after)) * np.sqrt(2 / before), np.zeros(after))


def main() -> None:
    rng = np.random.default_rng(9)
    network = {
        "hidden": [make_layer(rng, 3, 16), make_layer(rng, 16, 16)],
        "output": make_layer(rng, 16, 1),
        "scale": 0.5,
    }
    x = rng.standard_normal((64, 3))
    y = np.abs(x).sum(axis=1, keepdims=True)
    first, gradient = loss.value_and_grad(network, x, y)
    for _ in range(400):
        for layer, change in zip(
            (*network["hidden"], network["output"]), (*gradient["hidden"], gradient["output"]), strict=True
        ):
            layer.weights -= 0.02 * change.weights
            layer.bias -= 0.02 * change.bias
        network["scale"] -= 0.02 * gradient["scale"]
        gradient = loss.grad(network, x, y)
    last = loss(network, x, y)
    print(f"loss {first:.3f} -> {last:.4f}, scale 0.5 -> {network['scale']:.3f}")
    print("the gradient:", {name: type(part).__name__ for name, part in gradient.items()})
    assert isinstance(gradient["hidden"][0], Layer)
    assert gradient["hidden"][0].weights.shape == (3, 16)
    assert isinstance(gradient["scale"], float)
    assert last < 0.05 * first


if __name__ == "__main__":
    main()
