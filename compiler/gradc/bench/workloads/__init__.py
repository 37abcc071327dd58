"""One module for each computation, with all its ways side by side."""

from __future__ import annotations

from gradc.bench.workload import Workload
from gradc.bench.workloads import (
    attention,
    batchnorm,
    bigexpr,
    black_scholes,
    bundle,
    convnet,
    gmm,
    logistic,
    network,
    neuron,
    relu,
    rosenbrock,
    swell,
)

ALL: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        neuron.WORKLOAD,
        swell.WORKLOAD,
        *bigexpr.WORKLOADS,
        *black_scholes.WORKLOADS,
        *rosenbrock.WORKLOADS,
        *network.WORKLOADS,
        relu.WORKLOAD,
        batchnorm.WORKLOAD,
        convnet.WORKLOAD,
        *attention.WORKLOADS,
        gmm.WORKLOAD,
        logistic.GRADIENT,
        logistic.HESSIAN,
        bundle.WORKLOAD,
    )
}
WAITING = {
    "lstm": "one-layer LSTM, batch 16, length 128, hidden 64",
    "ode": "Lotka-Volterra, Runge-Kutta, 1000 steps",
}


def named(name: str) -> Workload:
    """Return one workload."""
    return ALL[name]
