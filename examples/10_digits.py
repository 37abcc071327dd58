"""Train a two-layer softmax classifier on scikit-learn's handwritten digits, with a kernel that gradc writes.

The gradient is checked first; the generated kernel is a Python file you can read.
"""

import time

import numpy as np
from rich.progress import Progress, TextColumn
from sklearn.datasets import load_digits

from gradc import differentiate


@differentiate(wrt=("w1", "b1", "w2", "b2"))
def loss(w1, b1, w2, b2, x, labels):
    hidden = np.maximum(x @ w1 + b1, 0)
    scores = hidden @ w2 + b2
    powers = np.exp(scores)
    probability = powers / powers.sum(axis=1, keepdims=True)
    data = -np.log(probability[np.arange(len(labels)), labels]).mean()
    return data + 1e-4 * (np.square(w1).sum() + np.square(w2).sum())


def predict(w1, b1, w2, b2, x):
    return np.argmax(np.maximum(x @ w1 + b1, 0) @ w2 + b2, axis=1)


def main(epochs: int = 60, batch: int = 64) -> float:
    rng = np.random.default_rng(0)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    x, labels = digits.data[order] / 16.0, digits.target[order]
    test = slice(1400, None)
    w1, w2 = (rng.standard_normal(shape) * np.sqrt(2 / shape[0]) for shape in ((64, 64), (64, 10)))
    parameters = (w1, np.zeros(64), w2, np.zeros(10))

    begin = time.perf_counter()
    report = loss.check(*parameters, x[:8], labels[:8])
    print(report)
    report.assert_ok()
    print(f"gradient checked in {time.perf_counter() - begin:.1f} s")

    velocity = [np.zeros_like(p) for p in parameters]
    accuracy = 0.0
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[note]}"))
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=epochs, note="")
        for epoch in range(epochs):
            rate = 0.1 * (1 - epoch / epochs)
            shuffled = rng.permutation(1400)
            total = 0.0
            for start in range(0, 1400, batch):
                chosen = shuffled[start : start + batch]
                value, gradient = loss.value_and_grad(*parameters, x[chosen], labels[chosen])
                for parameter, v, g in zip(parameters, velocity, gradient, strict=True):
                    v *= 0.9
                    v -= rate * g
                    parameter += v
                total += float(value) * len(chosen)
            accuracy = float((predict(*parameters, x[test]) == labels[test]).mean())
            note = f"loss {total / 1400:.4f}  test accuracy {accuracy:.1%}"
            progress.update(task, advance=1, note=note)
    inspection = loss.inspect(*parameters, x[:batch], labels[:batch])
    print(f"test accuracy {accuracy:.1%}")
    print(f"the kernel: {inspection.path}")
    return accuracy


if __name__ == "__main__":
    assert main() >= 0.96
