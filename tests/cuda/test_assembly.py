"""Functions, rules, operations and examples compile for devices of every capability, although none is here."""

from __future__ import annotations

import itertools
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cuda.assembled import CAPABILITIES, check_ptx, check_text, on_device, source_of
from tests.cuda.programs import (
    PROGRAMS,
    attention,
    convolution,
    equations,
    in_single_precision,
    mixture,
    network,
)
from tests.cuda.scalar_kernels import families, spellings_of, text_of
from tests.numeric.table.operations import family_function
from tests.numeric.table.test_compiled import SAMPLES, WHOLE, Family
from tests.numeric.table.test_interpreted import FIRST

from gradc import differentiate
from gradc.api.variant import Variant
from gradc.autodiff.rules import PREDICATES, RULES
from gradc.ir.extents import symbol
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.build import Builder
from gradc.ir.index.nodes import Reduce
from gradc.ir.types import DType
from gradc.pipeline import Derivation, Options, compile_program

pytestmark = [
    pytest.mark.ptx,
    pytest.mark.filterwarnings("ignore:.* does not depend on"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]
DTYPES = (np.float64, np.float32)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


TAKEN = {row for family in WHOLE for row in family.rows}
OTHERS = Family(
    "others_0", tuple(row for row in FIRST if row not in TAKEN)
)  # numbers, and arrays of no elements
SLOW = ("contractions", "linalg")  # products take a second each, and are among the programs below


def cells() -> Iterator[Any]:
    for at, family in enumerate(SAMPLES):
        where, dtype = CAPABILITIES[at % 3], DTYPES[at % 2]
        marks = pytest.mark.full if family.name.startswith(SLOW) else ()
        yield pytest.param(family, dtype, where, id=f"{family}-{dtype.__name__}-{where}", marks=marks)
    for family in (*WHOLE, OTHERS):
        for dtype in DTYPES:
            for where in CAPABILITIES:
                name = f"{family}-{dtype.__name__}-{where}"
                yield pytest.param(family, dtype, where, id=name, marks=pytest.mark.full)


@pytest.mark.parametrize(("family", "dtype", "capability"), list(cells()))
def test_operations(family: Family, dtype: Any, capability: tuple[int, int]):
    function = differentiate(family_function(family.name, family.rows), target="cuda")
    assert check_ptx(source_of(function, *family.arguments(dtype)), capability)


def test_every_operation_is_in_a_family():
    assert {row for family in (*WHOLE, OTHERS) for row in family.rows} == set(FIRST)
    assert not [row.name for row in OTHERS.rows if row.operation in {r.operation for r in TAKEN}]


# --- functions of numbers and their rules -------------------------------------------------------------------

LOGICAL = tuple(name for name in FUNCTIONS if name.startswith("logical_"))
PLAIN = [name for name, f in FUNCTIONS.items() if f.arity < 3 and name not in LOGICAL]
RULED = [name for name, rule in RULES.items() if rule.partials is not None]


def everywhere(groups: Sequence[tuple[str, ...]]) -> list[Any]:
    """Groups in both dtypes for every capability, of which one runs every time."""
    return [
        pytest.param(names, dtype, where, id=f"{names[0]}-{dtype.__name__}-{where}", marks=pytest.mark.full)
        if at
        else pytest.param(names, dtype, where, id=f"{names[0]}-{dtype.__name__}-{where}")
        for at, (names, dtype, where) in enumerate(itertools.product(groups, DTYPES, CAPABILITIES))
    ]


@pytest.mark.parametrize(("names", "dtype", "capability"), everywhere(families(PLAIN)))
def test_functions(names: tuple[str, ...], dtype: Any, capability: tuple[int, int]):
    given = (dtype.__name__,) * FUNCTIONS[names[0]].arity
    check_text(text_of(spellings_of(names), given, dtype.__name__, capability), names[0], capability)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_functions_of_truth_values(capability: tuple[int, int]):
    for names in families(LOGICAL):
        given = ("boolean",) * FUNCTIONS[names[0]].arity
        check_text(text_of(spellings_of(names), given, "boolean", capability), names[0], capability)


def gradient_of(names: Sequence[str], dtype: DType) -> str:
    """The module of the sum of functions of arrays, and of its gradient."""
    build, total = Builder("rules"), ""
    for name in names:
        kinds = [dtype] * FUNCTIONS[name].arity
        if name == "select":
            kinds[0] = DType.BOOL
        operands = [build.input(f"{name}_{at}", kind, (symbol("n"),)) for at, kind in enumerate(kinds)]
        value = build.pointwise(name, *operands)
        total = build.pointwise("add", total, value) if total else value
    sum_ = build.assign(
        "copy", (build.access(total),), (symbol("n"),), dtype, rank=0, reduce=Reduce("sum", dtype)
    )
    program = build.finish((sum_,))
    wrt = tuple(name for name in program.inputs if program.types[name].dtype is dtype)
    return compile_program(program, Derivation("value_and_grad", wrt), Options(target="cuda")).source


@pytest.mark.parametrize(
    ("names", "dtype", "capability"),
    everywhere([tuple(RULED[start : start + 8]) for start in range(0, len(RULED), 8)]),
)
def test_rules(names: tuple[str, ...], dtype: Any, capability: tuple[int, int]):
    assert check_ptx(gradient_of(names, DType(dtype.__name__)), capability)


def test_every_function_and_every_rule_is_here():
    assert {*PLAIN, *LOGICAL, "select", "random_bits"} == set(FUNCTIONS)
    without = {*PREDICATES, "random_bits"}
    assert {*RULED, *without} == set(RULES)


# --- programs -----------------------------------------------------------------------------------------------

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


def examples() -> Iterator[Any]:
    for at, path in enumerate(sorted(EXAMPLES.glob("[0-9]*.py"))):
        head = path.read_text(encoding="utf-8").splitlines()[:5]
        is_slow = any(f"# {name}" in head for name in ("slow", "full"))
        if at in (0, 12) and not is_slow:
            yield pytest.param(path, CAPABILITIES[1:2], id=f"{path.name}-{CAPABILITIES[1]}")
        yield pytest.param(path, CAPABILITIES, id=path.name, marks=pytest.mark.full)


@pytest.mark.parametrize(("example", "capabilities"), list(examples()))
def test_examples(
    example: Path,
    capabilities: Sequence[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: Any,
):
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
        source = on_device(variant, derivation)
        for capability in capabilities:
            check_ptx(source, capability)
