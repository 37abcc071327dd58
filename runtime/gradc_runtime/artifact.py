"""What code generation hands the runtime: source text and its contract."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KernelArtifact:
    """A generated module with one function.

    Attributes
    ----------
    name : str
        The function's name in the module.
    source : str
        The module's text.
    parameters : tuple of (name, dtype name, rank)
        The function's arguments; rank 0 is a scalar, anything else a C-contiguous array.
    results : tuple of (name, dtype name, rank)
        What the function returns, in order (a tuple even for one result).
    written : tuple of names
        The parameters that are arrays of the caller's for results.
    """

    name: str
    source: str
    parameters: tuple[tuple[str, str, int], ...]
    results: tuple[tuple[str, str, int], ...]
    written: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The SHA-256 of the source and the contract: the name of the kernel's file."""
        text = repr((self.name, self.source, self.parameters, self.results, self.written))
        return hashlib.sha256(text.encode()).hexdigest()
