"""Operations, layers and examples compile for devices of every capability, although none is here."""

from __future__ import annotations

import copy
import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cuda.assembled import CAPABILITIES, check_ptx
from tests.cuda.networks import LAYERS, OPTIMISERS, inputs_of
from tests.cuda.programs import (
    PROGRAMS,
    attention,
    convolution,
    equations,
    in_single_precision,
    mixture,
    network,
)
from tests.numeric.table.operations import family_function
from tests.numeric.table.test_compiled import SAMPLES, WHOLE, Family
from tests.unit.nn.applied import random_arrays

from gradc import differentiate, nn
from gradc.api.differentiated import Differentiated
from gradc.api.variant import Variant
from gradc.nn.layer import Context
from gradc.pipeline import Derivation

pytestmark = [
    pytest.mark.ptx,
    pytest.mark.filterwarnings("ignore:.* does not depend on"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]
DTYPES = (np.float64, np.float32)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def source_of(function: Differentiated, *arguments: Any) -> str:
    """The module of a value and its gradient."""
    variant, _, _ = function._prepare(arguments, {})
    assert isinstance(variant, Variant)
    wrt = variant.gradient_inputs(function._leaves(variant))
    return variant.compiled(Derivation("value_and_grad", wrt)).source


SLOW = ("contractions", "linalg")  # products take a second each, and are among the programs below


def cells() -> Iterator[Any]:
    for at, family in enumerate(SAMPLES):
        where, dtype = CAPABILITIES[at % 3], DTYPES[at % 2]
        marks = pytest.mark.full if family.name.startswith(SLOW) else ()
        yield pytest.param(family, dtype, where, id=f"{family}-{dtype.__name__}-{where}", marks=marks)
    for family in WHOLE:
        for dtype in DTYPES:
            for where in CAPABILITIES:
                name = f"{family}-{dtype.__name__}-{where}"
                yield pytest.param(family, dtype, where, id=name, marks=pytest.mark.full)


@pytest.mark.parametrize(("family", "dtype", "capability"), list(cells()))
def test_operations(family: Family, dtype: Any, capability: tuple[int, int]):
    function = differentiate(family_function(family.name, family.rows), target="cuda")
    assert check_ptx(source_of(function, *family.arguments(dtype)), capability)


PRODUCTS = (network, attention, convolution, mixture, equations)  # of which one is compiled every time


def programs() -> Iterator[Any]:
    for at, function in enumerate(PROGRAMS):
        for which, capability in enumerate(CAPABILITIES):
            is_run = at % 3 == which and function not in PRODUCTS[1:]
            marks = () if is_run else pytest.mark.full
            yield pytest.param(function, capability, id=f"{function.__name__}-{capability}", marks=marks)


@pytest.mark.parametrize(("function", "capability"), list(programs()))
def test_programs(function: Callable[..., Any], capability: tuple[int, int]):
    arguments = in_single_precision(PROGRAMS[function])
    assert check_ptx(source_of(differentiate(function, target="cuda"), *arguments), capability)


USUAL = (nn.LayerNorm, nn.BatchNorm, nn.MaxPool)  # layers that are compiled every time


def layers() -> Iterator[Any]:
    seen: set[type] = set()
    for layer, shapes in LAYERS:
        is_first = type(layer) in USUAL and type(layer) not in seen
        seen.add(type(layer))
        name = str(layer).partition("(")[0]
        yield pytest.param(layer, shapes, id=name, marks=() if is_first else pytest.mark.full)


@pytest.mark.parametrize(("layer", "shapes"), list(layers()))
def test_layers(layer: nn.Layer, shapes: tuple[tuple[int, ...], ...]):
    inputs = inputs_of(shapes)
    arrays = random_arrays(layer, *shapes)
    noise = inputs[0]

    def weighed(arrays: Any, inputs: Any, noise: Any) -> Any:
        context = Context(arrays, True, lambda like: noise)
        return (layer.apply(context, *inputs) ** 2).sum()

    function = differentiate(weighed, wrt=("arrays", "inputs") if arrays else "inputs", target="cuda")
    source = source_of(function, arrays, inputs, noise)
    check_ptx(source, CAPABILITIES[len(inputs[0].shape) % 3])


@pytest.mark.full
def test_a_step_of_training():
    network = nn.Network(
        nn.Dense(8), nn.ReLU(), nn.Dense(3), shape=4, loss=nn.SoftmaxCrossEntropy(), dtype="float32"
    )
    variant, derivation = network.step.derivation(OPTIMISERS[-2], 16)
    assert check_ptx(on_device(variant, derivation), (9, 0)) > 3


def examples() -> Iterator[Any]:
    for at, path in enumerate(sorted(EXAMPLES.glob("[0-9]*.py"))):
        head = path.read_text(encoding="utf-8").splitlines()[:5]
        is_slow = any(f"# {name}" in head for name in ("slow", "full"))
        marks = () if at in (0, 12) and not is_slow else pytest.mark.full
        yield pytest.param(path, id=path.name, marks=marks)


def on_device(variant: Variant, derivation: Derivation) -> str:
    """The module for a GPU of what was compiled for the processor."""
    other = copy.copy(variant)
    other.options, other.stages = replace(variant.options, target="cuda"), {}
    return other.compiled(derivation).source


@pytest.mark.parametrize("example", list(examples()))
def test_examples(example: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any):
    """Every kernel that an example compiles for the processor compiles for a GPU as well."""
    found: dict[tuple[int, Derivation], Variant] = {}
    compiled = Variant.compiled

    def noted(variant: Variant, derivation: Derivation) -> Any:
        found[id(variant), derivation] = variant
        return compiled(variant, derivation)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(example)])
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    with monkeypatch.context() as patched:
        patched.setattr(Variant, "compiled", noted)
        runpy.run_path(str(example), run_name="__main__")
    for (_, derivation), variant in found.items():
        check_ptx(on_device(variant, derivation), (8, 0))
