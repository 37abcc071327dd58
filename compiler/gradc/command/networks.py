"""A network file as SPEC: its loss, its training step and its prediction as functions with their arguments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gradc.api.bound import At
from gradc.api.decorator import differentiate
from gradc.api.differentiated import Differentiated
from gradc.api.variant import Variant
from gradc.command.inputs import Inputs
from gradc.command.request import Request
from gradc.errors import InputRefused
from gradc.explain.inspection import Inspection
from gradc.lang.array_files import load_archive
from gradc.nn.drawn import drawn
from gradc.nn.files.network_file import NetworkFile
from gradc.nn.memory import available_memory
from gradc.nn.network import Network
from gradc.pipeline import DERIVATIONS, Derivation, Options

SUFFIX = ".toml"
EXAMPLES = 8  # that a gradient check draws
DERIVED = ("step", "predict", *DERIVATIONS)  # the usual one first


def is_network(spec: str | None) -> bool:
    """Whether SPEC names a network file."""
    return spec is not None and spec.endswith(SUFFIX)


@dataclass(frozen=True)
class NetworkSpec:
    """A network file, and the examples at which its functions are looked at."""

    file: NetworkFile
    x: np.ndarray
    y: np.ndarray
    seed: int
    is_drawn: bool
    options: Options

    @classmethod
    def of(cls, request: Request, options: Options, examples: int | None = None) -> NetworkSpec:
        """Read the file; examples are those of ``--inputs``, or drawn.

        Raises
        ------
        InputRefused
            The file, the examples or an option do not fit a network.
        """
        if request.at or request.shape:
            raise InputRefused(
                "a network takes no --at and no --shape", do="give arrays x and y with --inputs data.npz"
            )
        file = NetworkFile.read(request.spec or "")
        network, count = file.network, examples or file.training.batch
        if request.inputs is None:
            x, y = drawn(network, count, request.seed)
        else:
            found = arrays_of(request.inputs, "--inputs", network)
            x, y = network.data_of(found["x"][:count], found["y"][:count])
        return cls(file, x, y, request.seed, is_drawn=request.inputs is None, options=options)

    @property
    def _where(self) -> dict[str, str]:
        """What functions are compiled for, and who multiplies matrices there."""
        return {"target": self.options.target, "products": self.options.products}

    @cached_property
    def loss(self) -> Differentiated[..., Any]:
        """The loss of a batch, in training."""
        network = self.file.network

        def loss(parameters: Any, statistics: Any, x: Any, y: Any, key: Any) -> Any:
            return network.objective(parameters, statistics, x, y, key)[0]

        return differentiate(loss, wrt="parameters", **self._where)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `loss`."""
        network = self.file.network
        held = {"parameters": network.parameters, "statistics": network.statistics}
        return {**held, "x": self.x, "y": self.y, "key": np.int64(self.seed)}

    def inputs(self) -> Inputs:
        """Return the arguments, and what of them was drawn."""
        said = (f"{len(self.x)} examples x and targets y",) if self.is_drawn else ()
        return Inputs(self.arguments, said, self.seed)

    def inspect(self, of: str, stabilise: bool = True) -> Inspection:
        """Return all stages of a derivation: of the training step, the prediction, or the loss.

        Raises
        ------
        InputRefused
            The step and the prediction are compiled in stable forms alone.
        """
        network = self.file.network
        if of in ("step", "predict") and not stabilise:
            raise InputRefused(f"--of {of} has stable forms only", do="add --of value_and_grad")
        if of == "step":
            return network.step.inspect(self.file.training.optimiser, len(self.x), **self._where)
        if of == "predict":
            return self._prediction.inspect("value")
        return self.loss.with_options(stabilise=stabilise).at(**self.arguments).inspect(of)

    def derivation(self, of: str) -> tuple[Variant, Derivation]:
        """Return what is compiled for a derivation."""
        if of == "step":
            step = self.file.network.step
            return step.derivation(self.file.training.optimiser, len(self.x), **self._where)
        if of == "predict":
            return self._prediction.derivation("value")
        return self.loss.at(**self.arguments).derivation(of)

    def held(self) -> dict[str, np.ndarray]:
        """Return the arguments of the prediction but the examples, by their names in the kernel."""
        inputs = self._prediction.program_and_inputs()[1]
        return {name: value for name, value in inputs.items() if name != "x"}

    @property
    def _prediction(self) -> At:
        network = self.file.network
        function = network.prediction_function.with_options(**self._where)
        return function.at(network.parameters, network.statistics, self.x)


def arrays_of(path: Path, option: str, network: Network) -> dict[str, np.ndarray]:
    """Return the arrays of a data file.

    Raises
    ------
    InputRefused
        It cannot be read, is larger than the memory, or lacks ``x`` or ``y``.
    """
    memory = available_memory()
    found = load_archive(str(path), max_bytes=memory, max_elements=memory, label=option)
    arrays = {name: np.asarray(array) for name, array in found.items()}
    for name in ("x", "y"):
        if name not in arrays:
            raise InputRefused(
                f"the data have no array {name}",
                where=f"{option} {path}",
                why=f"they have {', '.join(arrays) or 'no array'}",
                do="write them with np.savez(file, x=examples, y=targets)",
            )
    return arrays
