"""What each layer of a network costs: shapes, parameters, operations, and memory kept for the backward pass.

Costs are those of the compiled objective: the loss of one batch and its gradient.  Nothing runs and no machine code is
made.  `gradc.nn.attribution` says how operations and memory are attributed to layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import numpy as np

from gradc.explain.figures import columns
from gradc.ir.loop.sizes import numbers_of
from gradc.ir.loop.workspace import THREADS
from gradc.nn.attribution import Attributable, Attribution
from gradc.nn.layer import Layer, Shape
from gradc.nn.losses import Loss
from gradc.nn.memory import bytes_text, plan
from gradc.nn.nodes import INPUT, Node
from gradc.nn.optimisers import Optimiser
from gradc.nn.step import BATCH, USUAL, batch_of
from gradc_runtime import backends

LOSS = "loss"  # the row behind the last layer
WIDEST = 44  # characters of a layer's description


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer, or behind the last one the loss.

    Attributes
    ----------
    name, layer : str
        What it is called, and what it is.
    inputs : tuple of str
        What it takes; empty where that is the output of the layer before it.
    output : tuple of int
        The shape of its output for one example.
    parameters : int
        How many numbers it learns.
    forward, backward : int
        Floating-point operations for one batch, as `Inspection.counts` weighs them.
    kept : int
        Bytes of its arrays that the backward pass reads.
    """

    name: str
    layer: str
    inputs: tuple[str, ...]
    output: Shape
    parameters: int
    forward: int
    backward: int
    kept: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a network costs; prints as a table.

    Attributes
    ----------
    rows : tuple of LayerCost
        The layers, and the loss with the regulariser.
    batch : int
        How many examples a batch has.
    parameter_bytes : int
        Bytes of all parameters.
    peak : int
        The planned peak of a training step: see `gradc.nn.memory.MemoryPlan.step`.
    """

    rows: tuple[LayerCost, ...]
    batch: int
    parameter_bytes: int
    peak: int

    @property
    def parameters(self) -> int:
        """How many numbers the network learns."""
        return sum(row.parameters for row in self.rows)

    @property
    def forward(self) -> int:
        """Operations of the forward pass for one batch."""
        return sum(row.forward for row in self.rows)

    @property
    def backward(self) -> int:
        """Operations of the backward pass for one batch."""
        return sum(row.backward for row in self.rows)

    @property
    def kept(self) -> int:
        """Bytes that are kept for the backward pass."""
        return sum(row.kept for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it: rows as dictionaries, and the totals."""
        rows = [{**asdict(row), "inputs": list(row.inputs), "output": list(row.output)} for row in self.rows]
        totals = ("batch", "parameters", "parameter_bytes", "forward", "backward", "kept", "peak")
        return {"rows": rows, **{name: getattr(self, name) for name in totals}}

    def __str__(self) -> str:
        titles = [row.name + (f" ({', '.join(row.inputs)})" if row.inputs else "") for row in self.rows]
        width = max(map(len, titles))
        rows = [
            (f"{title.ljust(width)}  {row.layer}", "x".join(map(str, row.output)), *_figures(row))
            for title, row in zip(titles, self.rows, strict=True)
        ]
        lines = columns([_HEAD, *rows, ("total", "", *_figures(self))])
        return "\n".join(
            [
                *lines,
                f"parameters: {bytes_text(self.parameter_bytes)}; peak of a training step: {bytes_text(self.peak)}",
                f"forward, backward: operations for {self.batch} examples; kept: for the backward pass",
            ]
        )


_HEAD = ("", "output", "parameters", "forward", "backward", "kept")


def _figures(of: LayerCost | Summary) -> tuple[str, ...]:
    return _grouped(of.parameters), _grouped(of.forward), _grouped(of.backward), bytes_text(of.kept)


def _grouped(value: int) -> str:
    return f"{value:,}".replace(",", " ")


def summary(network: Attributable, batch: int = BATCH, optimiser: Optimiser = USUAL) -> Summary:
    """Return what a network costs, layer by layer; nothing runs and no machine code is made.

    Parameters
    ----------
    network : Network
        It stays as it is.
    batch : int
        How many examples a batch has.
    optimiser : Optimiser
        Of the planned peak; by default Adam.

    Returns
    -------
    Summary
        Prints as a table.

    Raises
    ------
    ArgumentError, InputRefused
        The batch is no number of examples, or cannot be addressed.

    Examples
    --------
    >>> from gradc import nn
    >>> network = nn.Network(nn.Dense(2), shape=3, loss=nn.SquaredError())
    >>> row = summary(network, batch=8).rows[0]
    >>> row.layer, row.parameters, row.forward == 2 * 8 * 3 * 2 + 8 * 2
    ('Dense(2)', 8, True)
    """
    x, y = batch_of(network, batch)
    at = network.objective_function.at(network.parameters, network.statistics, x, y, np.int64(0))
    stages = at.inspect().stages
    numbers = numbers_of(stages.kernel, at.program_and_inputs()[1], backends.parts_of())
    numbers[THREADS] = backends.threads()
    attribution = Attribution(network, stages, x, y)
    forward, backward = attribution.operations(numbers)
    kept = attribution.kept(numbers)
    rows = [
        LayerCost(
            node.name,
            described(node.layer),
            _unusual_inputs(network.nodes, at),
            node.output,
            sum(network.parameters[name].size for name in node.parameters),
            forward[at],
            backward[at],
            kept[at],
        )
        for at, node in enumerate(network.nodes)
    ]
    rows.append(LayerCost(LOSS, described(network.loss), (), (), 0, forward[-1], backward[-1], kept[-1]))
    size = sum(value.nbytes for value in network.parameters.values())
    return Summary(tuple(rows), batch, size, plan(network, optimiser, batch).step)


def _unusual_inputs(nodes: Sequence[Node], at: int) -> tuple[str, ...]:
    before = nodes[at - 1].name if at else INPUT
    return () if nodes[at].inputs == (before,) else nodes[at].inputs


def described(layer: Layer | Loss) -> str:
    """Show a layer or a loss as it is written, without what is as usual, its name and its inputs.

    Examples
    --------
    >>> from gradc import nn
    >>> described(nn.Conv2D(32, 3, padding="same", name="first"))
    "Conv2D(32, 3, padding='same')"
    """
    parts = []
    for found in sorted(fields(layer), key=lambda field: bool(field.kw_only)):
        value = getattr(layer, found.name)
        usual = found.default_factory() if found.default_factory is not MISSING else found.default
        text = getattr(value, "__name__", None) or repr(value)
        if found.name in ("name", "inputs") or text == repr(usual):
            continue
        parts.append(text if usual is MISSING else f"{found.name}={text}")
    text = f"{type(layer).__name__}({', '.join(parts)})"
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 4]} ..."
