"""Functions whose graphs are drawn: the lectures' circuits, networks, and what else a program may hold."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import gradc
from gradc.bench.workloads import attention
from gradc.explain.graph.model import Graph
from gradc.explain.inspection import Inspection
from gradc.ir.stages import Stages

rng = np.random.default_rng(3)
convolution = gradc.equation("y[n,o,p,q] = sum[c,i,j] w[o,c,i,j] * x[n,c,p+i,q+j]")


def normal(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def lectures_neuron(w0: Any, x0: Any, w1: Any, x1: Any, w2: Any) -> Any:
    return 1 / (1 + np.exp(-(w0 * x0 + w1 * x1 + w2)))


def lectures_circuit(x: Any, y: Any, z: Any) -> Any:
    return (x + y) * z


def two_layers(x: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    h = np.tanh(x @ w1 + b1)
    return np.square(h @ w2 + b2 - y).mean()


def cross_entropy(x: Any, w: Any, labels: Any) -> Any:
    logits = x @ w
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].mean()


def mesh(x: Any, y: Any) -> Any:
    for step in range(75):
        x = np.sin(x) * y
        y = y + x * (0.01 * step)
    return x + y


def turns(w: Any, b: Any, x: Any) -> Any:
    for layer in range(20):
        z = x @ w[layer]
        x = np.tanh(z + b[layer])
    return x.sum()


def conv(w: Any, x: Any) -> Any:
    z = convolution(w=w, x=x)
    return np.square(np.maximum(z, 0)).sum()


def dense(x: Any, y: Any) -> Any:
    a = x * y + x
    b = a * x - y * a
    return (a + b) * (a - b) / (x + b)


def written(x: Any) -> Any:
    y = np.zeros_like(x)
    y[1:3] = x[:2] * 2
    y[0] += x[3]
    return np.square(y).sum()


def solved(a: Any, b: Any) -> Any:
    return np.square(np.linalg.solve(a, b)).sum()


def looked_up(table: Any, rows: Any) -> Any:
    return np.square(table[rows]).sum()


def several(x: Any, y: Any) -> Any:
    s = x * y
    return s, np.exp(x), x


def joined(a: Any, b: Any) -> Any:
    return np.square(np.concatenate([a, b, a])).sum()


inner = gradc.differentiate(lambda x: (x[1:] * x[:-1]).sum() + np.prod(x))


def accumulated(x: Any) -> Any:
    """The gradient inside of a function is a program with accumulations."""
    return np.square(inner.grad(x)).sum()


def wide(x: Any) -> Any:
    return (x[1:] * x[:-1] * np.where(x[1:] > 0, x[1:], 0.1)).sum() + np.prod(x)


SAMPLES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "circuit": (lectures_circuit, (-2.0, 5.0, -4.0)),
    "neuron": (lectures_neuron, (2.0, -1.0, -3.0, -2.0, -3.0)),
    "two layers": (
        two_layers,
        (normal(6, 4), normal(6, 2), normal(4, 5), normal(5), normal(5, 2), normal(2)),
    ),
    "cross entropy": (cross_entropy, (normal(4, 3), normal(3, 3), np.array([0, 2, 1, 1]))),
    "mesh": (mesh, (0.3, 0.7)),
    "turns": (turns, (normal(20, 3, 3), normal(20, 3), normal(2, 3))),
    "convolution": (conv, (normal(2, 3, 2, 2), normal(1, 3, 4, 4))),
    "attention": (attention.loss, attention.inputs(True, shape=(2, 2, 5, 3))),
    "dense": (dense, (0.3, 0.7)),
    "written": (written, (normal(4),)),
    "solved": (solved, (normal(3, 3) + 4 * np.eye(3), normal(3))),
    "looked up": (looked_up, (normal(3, 2), np.array([0, 2, 2]))),
    "several": (several, (2.0, 3.0)),
    "joined": (joined, (normal(2), normal(3))),
    "accumulated": (accumulated, (normal(5),)),
    "wide": (wide, (normal(5),)),
}


def inspection_of(function: Callable[..., Any], *arguments: Any, of: str = "value_and_grad") -> Inspection:
    return gradc.differentiate(function).at(*arguments).inspect(of)


@cache
def sample(name: str) -> Inspection:
    """Every stage of the compilation of a sample; nothing is compiled."""
    function, arguments = SAMPLES[name]
    several_values = name in ("several",)
    return inspection_of(function, *arguments, of="value" if several_values else "value_and_grad")


@cache
def graph_of(name: str, by: str = "gates", values: bool = True) -> Graph:
    """The graph of a sample."""
    return sample(name).graph(by=by, values=values, limit=1000).graph


def stages_of(name: str) -> Stages:
    return sample(name).stages
