"""Kernels that ``gradc compile`` wrote, as functions to check: value and gradient are all that is known of them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradc.command.documents import named
from gradc.command.export import MARK
from gradc.errors import InputRefused
from gradc.ir.types import DType
from gradc.lang.annotations import ArrayType

DERIVATION = "value_and_grad"


@dataclass(frozen=True, slots=True)
class ExportedKernel:
    """A kernel of value and gradient: `function` takes its parameters in order, `wrt` names those differentiated."""

    function: Callable[..., Any]
    python: inspect.Signature
    wrt: tuple[str, ...]

    @property
    def namespace(self) -> Mapping[str, Any]:
        """Nothing: the annotations are no text."""
        return {}

    def value(self, *arguments: Any) -> Any:
        """Return the value."""
        return self.function(*arguments)[0]

    def gradient(self, *arguments: Any) -> list[Any]:
        """Return the gradient, one part for each name in `wrt`."""
        parts = self.function(*arguments)[1]
        return list(parts) if len(self.wrt) > 1 else [parts]


def is_exported(spec: str | None) -> bool:
    """Whether SPEC is a folder that ``gradc compile`` wrote."""
    return spec is not None and ":" not in spec and (Path(spec) / MARK).is_file()


def load(directory: Path, import_file: Callable[[Path], Any]) -> ExportedKernel:
    """Import an exported kernel and read what it takes from its contract.

    Raises
    ------
    InputRefused
        The contract cannot be read, or the kernel does not return both value and gradient.
    """
    try:
        contract = json.loads((directory / MARK).read_bytes())
        name, of = str(contract["function"]), str(contract["of"])
        wrt = tuple(map(str, contract["wrt"]))
        parameters = [
            _parameter(str(parameter), DType(dtype), tuple(contract["extents"][parameter]))
            for parameter, dtype, _ in contract["parameters"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputRefused(
            f"{named(directory / MARK)} does not say what the kernel takes",
            why=f"{type(error).__name__}: {named(error)}",
            do="write the kernel again with gradc compile",
        ) from error
    if of != DERIVATION:
        raise InputRefused(
            f"{named(directory)} holds the derivation {named(of)}",
            why="a check needs the value beside the gradient",
            do=f"gradc compile ... --of {DERIVATION}",
        )
    module = import_file(directory / "__init__.py")
    return ExportedKernel(getattr(module, name), inspect.Signature(parameters), wrt)


def arguments_of(kernel: ExportedKernel, given: Mapping[str, Any]) -> list[Any]:
    """The arguments in order and in the types that the kernel was compiled for."""
    found = []
    for name, parameter in kernel.python.parameters.items():
        value = np.ascontiguousarray(given[name], parameter.annotation.dtype.numpy)
        found.append(value if parameter.annotation.extents else value.reshape(())[()])
    return found


def _parameter(name: str, dtype: DType, extents: tuple[str | int | None, ...]) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, annotation=ArrayType(dtype, extents))
