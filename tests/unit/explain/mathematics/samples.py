"""Functions of NumPy with arguments, one for every kind of gate that derivatives pass."""

from collections.abc import Callable
from typing import Any

import numpy as np

import gradc
from gradc.ir.index.nodes import Program

rng = np.random.default_rng(7)
convolution = gradc.equation("y[n,o,p,q] = sum[c,i,j] w[o,c,i,j] * x[n,c,p+i,q+j]")


def neuron(w0: Any, x0: Any, w1: Any, x1: Any, w2: Any) -> Any:
    return 1 / (1 + np.exp(-(w0 * x0 + w1 * x1 + w2)))


def network(h: Any, W: Any, y: Any) -> Any:
    p = h @ W
    loss = np.square(p - y).sum()
    return loss


def cross_entropy(logits: Any, labels: Any) -> Any:
    z = logits - logits.max(axis=1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return -logp[np.arange(len(labels)), labels].mean()


def normal(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


A = normal(3, 3) + 4 * np.eye(3)
SAMPLES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "neuron": (neuron, (2.0, -1.0, -3.0, -2.0, -3.0)),
    "circuit": (lambda x, y, z: (x + y) * z, (-2.0, 5.0, -4.0)),
    "twice": (lambda x: x * x + np.sin(x), (3.0,)),
    "network": (network, (normal(4, 3), normal(3, 2), normal(4, 2))),
    "cross entropy": (cross_entropy, (normal(4, 3), np.array([0, 2, 1, 1]))),
    "convolution": (
        lambda w, x: np.square(convolution(w=w, x=x)).sum(),
        (normal(2, 3, 2, 2), normal(1, 3, 4, 4)),
    ),
    "solve": (lambda a, b: np.square(np.linalg.solve(a, b)).sum(), (A, normal(3))),
    "inverse": (lambda a: np.square(np.linalg.inv(a)).sum(), (A,)),
    "determinant": (lambda a: np.linalg.det(a) * np.linalg.slogdet(a)[1], (A,)),
    "cholesky": (lambda a: np.square(np.linalg.cholesky(a @ a.T)).sum(), (A,)),
    "where": (lambda x: np.where(x > 0, x, 0.1 * x).sum(), (normal(5),)),
    "untaken": (lambda x: np.where(x > 0, np.log(x), 0.0).sum(), (np.array([2.0, 0.0, -1.0]),)),
    "overflow": (lambda x: np.where(x > 9, 0.0, np.exp(x)).sum(), (np.array([1.0, 2000.0]),)),
    "pool": (lambda x: x.reshape(2, 2, 2, 2).max(axis=(1, 3)).sum(), (normal(4, 4),)),
    "product": (lambda x: np.prod(x), (normal(4),)),
    "ties": (lambda x: np.maximum(x, x[::-1]).sum() + x.max(), (np.array([1.0, 2.0, 2.0]),)),
    "joined": (lambda a, b: np.square(np.concatenate([a, b, a])).sum(), (normal(2), normal(3))),
    "shifted": (lambda x: (x[1:] * x[:-1]).sum(), (normal(5),)),
    "scan": (lambda x: np.square(np.cumsum(x)).sum(), (normal(5),)),
    "products of a row": (lambda x: np.square(np.cumprod(x)).sum(), (normal(4),)),
    "written": (lambda x: _written(x), (normal(4),)),
    "norm": (lambda x: np.linalg.norm(x), (normal(4),)),
    "gram": (lambda x: np.square(x @ x.T).sum(), (normal(3, 2),)),
    "mixed": (lambda x, n: (x**2 * n).sum(), (normal(3), np.array([1, 2, 3]))),
}


def _written(x: Any) -> Any:
    y = np.zeros_like(x)
    y[1:3] = x[:2] * 2
    y[0] += x[3]
    return np.square(y).sum()


def sample(name: str) -> tuple[Program, dict[str, Any]]:
    """A program and its inputs."""
    function, arguments = SAMPLES[name]
    return gradc.differentiate(function).at(*arguments).program_and_inputs()
