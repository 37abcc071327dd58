"""Kernels of a generated module in the assembly language of devices, none of which is here."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from typing import Any

from gradc.api.differentiated import Differentiated
from gradc.api.variant import Variant
from gradc.pipeline import Derivation

CAPABILITIES = ((7, 5), (8, 0), (9, 0))


def kernels_in(source: str) -> dict[str, Any]:
    """The launches of a module."""
    namespace: dict[str, Any] = {"__name__": "module"}
    exec(compile(source, "<module>", "exec"), namespace)
    return {name: found for name, found in namespace.items() if hasattr(found, "ptx")}


def check_ptx(source: str, capability: tuple[int, int]) -> int:
    """Assemble every launch of a module; returns how many there are."""
    found = kernels_in(source)
    for name, kernel in found.items():
        check_text(kernel.ptx(capability), name, capability)
    return len(found)


def check_text(text: str, name: str, capability: tuple[int, int]) -> None:
    """Check that PTX is that of one kernel for a capability, and is complete."""
    assert re.search(rf"\.target sm_{capability[0]}{capability[1]}\b", text), name
    assert text.count(".visible .entry") == 1, name
    assert not re.search(r"\.extern \.func", text), f"{name} calls a function that no device has"


def source_of(function: Differentiated, *arguments: Any) -> str:
    """The module of a value and its gradient."""
    variant, _, _ = function._prepare(arguments, {})
    assert isinstance(variant, Variant)
    wrt = variant.gradient_inputs(function._leaves(variant))
    return variant.compiled(Derivation("value_and_grad", wrt)).source


def on_device(variant: Variant, derivation: Derivation) -> str:
    """The module for a GPU of what was compiled for the processor."""
    other = copy.copy(variant)
    other.options, other.stages = replace(variant.options, target="cuda"), {}
    return other.compiled(derivation).source
