"""Which layer of a network each equation of its compiled objective belongs to, forwards and backwards.

* The network is traced with the outputs of all layers as results, only to learn their names.  Equations come in
  program order, so those of a layer end with its output, or with the last running statistic that it updates.  What
  comes behind the last layer is the loss, with the regulariser.
* The program that is compiled has the same equations, and tensors keep their names while it is differentiated and
  optimised.  An equation that the compiler adds forwards, a winner of a maximum for example, belongs to the latest
  layer that it reads of.
* An equation of the backward pass that reads the gradient of a tensor belongs to the layer that made this tensor, for
  it is a part of that layer's derivative.  Passes leave out copies, so what reads the gradient of a later layer still
  belongs to the layer that it had before the passes; where several layers add to one gradient, to the one whose
  parameter is read or differentiated, or else to the latest of them.
* Memory is that of arrays which a layer's equations make and the backward pass reads.  A value that fusion keeps in a
  register, or that is computed again, costs nothing; arguments, the parameters and the batch, are there anyway.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate, takewhile
from typing import Any, Protocol

import numpy as np

from gradc.api.decorator import differentiate
from gradc.api.differentiated import Differentiated
from gradc.errors import CompilerBug
from gradc.explain.kernels.counts import weighted_operations
from gradc.explain.kernels.residuals import derivative_tensors, residuals
from gradc.ir import extents
from gradc.ir.index.nodes import Equation, Program, outputs_of, reads_of
from gradc.ir.stages import Stages
from gradc.nn.layer import Array
from gradc.nn.nodes import Node
from gradc.nn.step import Trained

_GRADIENT = re.compile(r"(.+)_bar(_\w+)?")
_LATE = re.compile(r"(_wide|_last)+(_\d+)?\Z")  # what passes add to the name of a tensor that they split


class Attributable(Trained, Protocol):
    """A network, as far as its costs are concerned."""

    nodes: tuple[Node, ...]

    @cached_property
    def objective_function(self) -> Differentiated[..., Any]:
        """Parameters, statistics, examples, targets and a key to the loss and the new statistics."""
        ...

    def forward_all(
        self,
        parameters: Mapping[str, Array],
        statistics: Mapping[str, Array],
        x: Array,
        key: Array | None = None,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the outputs of all layers by name, and the new statistics."""
        ...


class Attribution:
    """The layer of each equation of a compilation, by its position; the loss comes behind the last one.

    Parameters
    ----------
    network : Network
        It stays as it is.
    stages : Stages
        Of value and gradient of its objective.
    x, y : array
        The batch of the compilation; only shapes and dtypes count.

    Raises
    ------
    CompilerBug
        The layers cannot be told apart.
    """

    def __init__(self, network: Attributable, stages: Stages, x: np.ndarray, y: np.ndarray) -> None:
        ends = _ends(network, stages.program, x, y)
        owners = dict(zip(stages.program.inputs, _owners(network), strict=False))  # parameters come first
        self._stages = stages
        self._loss = len(ends)
        self._owners = owners.copy()  # and of what is made of one layer's parameters alone
        self._traced = {
            name: bisect_right(ends, number)
            for number, equation in enumerate(stages.program.equations)
            for name in outputs_of(equation)
        }
        self._derived = derivative_tensors(stages)
        self._before = self._before_passes(stages.adjoint, set(stages.stable.types))
        self._found: dict[str, int] = dict(owners)
        self._of_equations: list[int] = []
        for equation in stages.optimised.equations:
            place = self._place(outputs_of(equation), reads_of(equation))
            self._found.update(dict.fromkeys(outputs_of(equation), place))
            self._of_equations.append(place)
            if {self._owners.get(name) for name in reads_of(equation)} == {place}:
                self._owners.update(dict.fromkeys(outputs_of(equation), place))

    def _before_passes(self, adjoint: Program, stable: set[str]) -> dict[str, set[int]]:
        """The places of the equations that make each tensor of the backward pass, as it was derived."""
        found, derived = dict(self._traced), dict[str, set[int]]()
        for equation in adjoint.equations:
            outs, reads = outputs_of(equation), reads_of(equation)
            if stable.issuperset(outs):
                continue
            gradients = [self._reader(name, found) for name in reads if name in derived]
            latest = max((found[name] for name in reads if name in found), default=self._loss)
            found.update(dict.fromkeys(outs, min(gradients, default=latest)))
            for name in outs:
                if gradients or not reads or _GRADIENT.fullmatch(name):
                    derived.setdefault(name, set()).add(found[name])
        return derived

    def _place(self, outs: Sequence[str], reads: Sequence[str]) -> int:
        """The layer of an equation of the optimised program, from its name and from what it reads."""
        if not self._derived.isdisjoint(outs):
            return self._place_backwards(_LATE.sub("", outs[0]), reads)
        latest = max((self._found[name] for name in reads if name in self._found), default=0)
        # A pass may give a new tensor the name of one that it removed: such a name says too little.
        return max(latest, *(self._traced.get(_LATE.sub("", name), 0) for name in outs))

    def _place_backwards(self, name: str, reads: Sequence[str]) -> int:
        before = self._before.get(name, set())
        if len(before) == 1:
            return min(before)
        tensor = _differentiated(name)
        gradients = [
            # Parts of one gradient are added where its last part is made.
            self._found[read] if _differentiated(read) == tensor else self._reader(read, self._found)
            for read in reads
            if read in self._derived
        ]
        made = [read for read in reads if read not in self._derived and read not in self._owners]
        values = [self._found.get(read, 0) for read in made]
        if not gradients:
            return max(values, default=self._loss)
        first = min(gradients)  # a sum of gradients is complete in the first layer that the tensor goes to
        if first == self._loss and min(values, default=first) == self._loss:
            return first  # of a regulariser
        owners = [self._owners[found] for found in (tensor, *reads) if found in self._owners]
        return min((max((place for place in before if place <= first), default=first), *owners))

    def _reader(self, name: str, found: Mapping[str, int]) -> int:
        """The layer whose derivative it is that reads a tensor of the backward pass."""
        tensor = _differentiated(name)
        return self._traced[tensor] if tensor in self._traced else found[name]

    def operations(self, numbers: Mapping[str, int]) -> tuple[list[int], list[int]]:
        """Operations of the equations of each layer, forwards and backwards."""
        program = self._stages.optimised
        forward, backward = [0] * (self._loss + 1), [0] * (self._loss + 1)
        for equation, place in zip(program.equations, self._of_equations, strict=True):
            totals = forward if self._derived.isdisjoint(outputs_of(equation)) else backward
            totals[place] += extents.evaluate(weighted_operations(program, equation), numbers)
        return forward, backward

    def kept(self, numbers: Mapping[str, int]) -> list[int]:
        """Bytes of the arrays that each layer makes and the backward pass reads."""
        arrays: dict[str, tuple[int, int]] = {}  # several tensors may lie in one, one after the other
        for found in residuals(self._stages):
            if found.array:
                size = extents.evaluate(found.size, numbers)
                arrays.setdefault(found.array, (self._found[found.name], size))
        totals = [0] * (self._loss + 1)
        for place, size in arrays.values():
            totals[place] += size
        return totals


def _differentiated(name: str) -> str:
    """The tensor whose gradient has a name; the name itself where it is no gradient's."""
    gradient = _GRADIENT.fullmatch(name)
    return gradient[1] if gradient else name


def _owners(network: Attributable) -> list[int]:
    """The position of the layer of each parameter, in the order in which containers are flattened."""
    owners = {name: at for at, node in enumerate(network.nodes) for name in node.parameters}
    return [owners[name] for name in sorted(owners)]


def _ends(network: Attributable, program: Program, x: np.ndarray, y: np.ndarray) -> list[int]:
    """How many equations of the traced objective there are up to the end of each layer."""
    names = [node.name for node in network.nodes]
    owners = {name: node.name for node in network.nodes for name in node.statistics}

    def layers(parameters: Any, statistics: Any, x: Any, y: Any, key: Any) -> tuple[Any, Any]:
        outputs, updated = network.forward_all(parameters, statistics, x, key)
        return [outputs[name] for name in names], [updated[name] for name in owners]

    layers.__annotations__ = network.objective_function.__wrapped__.__annotations__  # they may fix shapes
    at = differentiate(layers, wrt="parameters").at(network.parameters, network.statistics, x, y, np.int64(0))
    built = at.derivation("value")[0].built
    pairs = zip(map(_likeness, program.equations), map(_likeness, built.program.equations), strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if any(len(reads_of(equation)) != 1 for equation in built.program.equations[same:]):  # a copy has one
        raise CompilerBug("the layers have other equations alone than in front of the loss")
    numbers = {name: number for number, e in enumerate(program.equations[:same], 1) for name in outputs_of(e)}
    ends = dict.fromkeys(names, 0)
    for name, at_output in zip((*names, *owners.values()), built.outputs, strict=True):
        # A result that is an argument, or was there before, is a copy: the layer has no equation more.
        ends[name] = max(ends[name], numbers.get(built.program.outputs[at_output], 0))
    return list(accumulate(ends.values(), max))


def _likeness(equation: Equation) -> tuple[object, ...]:
    """What an equation has in common with itself in another trace: extents may have other names there."""
    kind = getattr(equation, "template", None) or getattr(equation, "operation", None)
    return type(equation), outputs_of(equation), reads_of(equation), kind
