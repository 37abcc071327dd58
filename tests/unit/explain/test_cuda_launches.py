"""The launch plan of kernels for a GPU: its numbers by hand, its text, and the other stages of an inspection."""

import ast
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradc import differentiate
from gradc.errors import ArgumentError
from gradc.explain.inspection import OF_DEVICE, OF_PROCESSOR, STAGES, Inspection
from gradc.explain.kernels.launch_plan import (
    BANDWIDTH,
    Choice,
    Plan,
    Step,
    document,
    show_plan,
)
from gradc.explain.kernels.launches import WAITING, show_formula
from gradc.ir.loop.nodes import apply, number, var
from gradc.ir.types import DType

pytest.importorskip("numba_cuda", reason="pip install gradc[cuda]")
from gradc_runtime import cuda_library, cuda_linalg


def inspected(function: Callable[..., Any], *arguments: Any, of: str = "value_and_grad") -> Inspection:
    return differentiate(function, target="cuda").at(*arguments).inspect(of)


def planned(function: Callable[..., Any], *arguments: Any, of: str = "value_and_grad") -> Plan:
    return inspected(function, *arguments, of=of).launch_plan()


def squares(x: np.ndarray, y: np.ndarray) -> Any:
    return ((x - y) ** 2).sum()


def looked_up(table: np.ndarray, rows: np.ndarray) -> Any:
    return (table[rows] * 2.0).sum()


def mapped(x: np.ndarray) -> Any:
    return x * 3.0


# --- numbers ------------------------------------------------------------------------------------------------


def test_an_elementwise_launch_by_hand():
    found = planned(mapped, np.zeros(1000, np.float32), of="value")
    (step,) = found.launches
    assert (step.grid, step.blocks, step.threads) == ("min(ceil(x_n0 / 256), 1024)", 4, 256)
    assert (step.read, step.written, step.operations) == (4000, 4000, 1000)
    assert step.intensity == pytest.approx(0.125)
    assert step.floor(2000.0) == pytest.approx(8000 / 2e12)
    assert found.seconds == pytest.approx(8000 / (BANDWIDTH * 1e9))
    assert [(s.kind, s.name, s.read, s.written, s.waits) for s in found.steps if s.kind != "launch"] == [
        ("copy in", "x", 0, 4000, False),
        ("copy back", found.steps[-1].name, 4000, 0, True),
    ]
    assert (found.arguments, found.results, found.temporaries, found.arrays) == (4000, 4000, 0, 0)
    assert found.sizes == {"x_n0": 1000}


def test_a_sum_and_its_gradient_by_hand():
    found = planned(squares, np.zeros(600), np.zeros(600))
    one, two = found.launches
    assert (one.blocks, two.blocks) == (3, 1)
    # Reads x and y; writes both gradients, and a part of the sum for each of 3 blocks.
    assert (one.read, one.written) == (2 * 4800, 2 * 4800 + 3 * 8)
    # Reads the parts and writes the sum.
    assert (two.read, two.written) == (3 * 8, 8)
    # Of an element a difference, its square, the sum, its double and minus that; of a block 8 levels of 256 threads.
    assert one.operations == 600 * 5 + 3 * 256 * 8
    assert two.operations == 3 + 256 * 8
    assert (found.temporaries, found.arrays, found.results) == (3 * 8, 1, 8 + 2 * 4800)


def test_an_empty_array_launches_nothing_over_its_elements():
    found = planned(mapped, np.zeros(0), of="value")
    assert (found.launches, found.seconds) == ((), 0.0)
    lines = show_plan(found).splitlines()
    assert [line for line in lines if "elements_1" in line] == ["  not launched for these sizes: elements_1"]


def test_indices_are_checked_before_and_the_host_waits():
    found = planned(looked_up, np.zeros((9, 4)), np.array([1, 2, 1]))
    kinds = [step.kind for step in found.steps]
    check = found.steps[kinds.index("check")]
    assert (check.name, check.read, check.waits) == ("rows", 24, True)
    assert kinds.index("check") < kinds.index("launch")
    cleared = [(step.name, step.written) for step in found.steps if step.kind == "clear"]
    assert ("table_bar", 9 * 4 * 8) in cleared


def test_a_larger_bandwidth_makes_lower_floors():
    inspection = inspected(mapped, np.zeros(1000), of="value")
    slow, fast = inspection.launch_plan(1000.0), inspection.launch_plan(4000.0)
    assert slow.seconds == pytest.approx(4 * fast.seconds)
    assert document(fast)["floor_seconds"] == fast.seconds
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ArgumentError, match="no bandwidth"):
            inspection.launch_plan(wrong)


def test_operations_of_the_library_that_wait_are_known():
    """They end in `_refuse_if`, or are called on the processor."""
    tree = ast.parse(inspect.getsource(cuda_linalg))
    functions = (found for found in tree.body if isinstance(found, ast.FunctionDef))
    names = {f.name: {found.id for found in ast.walk(f) if isinstance(found, ast.Name)} for f in functions}
    waits = {"_refuse_if"}
    for _ in names:
        waits |= {name for name, used in names.items() if used & waits}
    public = {name for name in waits if not name.startswith("_")}
    assert {*public, *cuda_library.ON_HOST} == set(WAITING)


def test_a_call_of_the_library_is_a_step():
    found = planned(lambda a, b: np.linalg.solve(a, b).sum(), np.eye(4), np.ones(4), of="value")
    (call,) = (step for step in found.steps if step.kind == "library")
    assert call.name.startswith("solve ")
    assert (call.read, call.written, call.waits) == (16 * 8 + 4 * 8, 4 * 8, True)
    assert call.operations > 0


# --- text ---------------------------------------------------------------------------------------------------


def test_formulas():
    n, m = var("n"), var("m")
    bound = {"blocks": apply("floor_divide", apply("add", apply("mul", n, m), number(255)), number(256))}
    blocks = var("blocks")
    assert show_formula(blocks, bound) == "ceil(n*m / 256)"
    assert show_formula(apply("mul", apply("sub", n, number(1)), blocks), bound) == "(n - 1)*ceil(n*m / 256)"
    assert show_formula(apply("sub", n, apply("sub", m, number(1))), {}) == "n - (m - 1)"
    assert show_formula(apply("floor_divide", apply("add", n, number(3)), m), {}) == "floor((n + 3) / m)"
    assert show_formula(apply("floor_divide", n, apply("mul", n, m)), {}) == "floor(n / (n*m))"
    assert (
        show_formula(apply("floor_divide", apply("add", n, number(3)), number(5)), {}) == "floor((n + 3) / 5)"
    )
    chosen = apply("select", apply("le", n, number(8)), number(0), m)
    assert show_formula(chosen, {}) == "0 if n <= 8 else m"
    assert show_formula(apply("mul", n, chosen), {}) == "n*(0 if n <= 8 else m)"
    assert chosen.dtype is DType.INT64


def test_the_text_has_a_line_for_every_step_and_explains_the_names_in_grids():
    found = planned(lambda x: np.tanh(x / x.sum(axis=1, keepdims=True)).sum(), np.ones((40, 12)))
    text = show_plan(found)
    lines = text.splitlines()
    assert lines[0].endswith("for x_n0 = 40, x_n1 = 12; floors for 3350 GB/s, the memory of an H100 SXM")
    for step in found.launches:
        assert any(f"  {step.name}  " in line for line in lines)
    for choice in found.choices:
        named = any(choice.name in step.grid for step in found.launches)
        assert not named or f"  {choice.name} = {choice.value}: {choice.meaning}" in lines
    assert any(choice.name == "width" for choice in found.choices)
    assert f"  together: {len(found.launches)} launches, " in text
    assert str(found) == text
    assert (
        "3350" not in show_plan(inspected(mapped, np.ones(3), of="value").launch_plan(900.0)).splitlines()[0]
    )


def test_long_grids_are_shown_by_the_next_names():
    def normalised(x: np.ndarray, g: np.ndarray) -> Any:
        centred = x - x.mean(axis=1, keepdims=True)
        return (centred / np.sqrt((centred**2).mean(axis=1, keepdims=True)) * g).sum()

    found = planned(normalised, np.ones((40, 12)), np.ones(12))
    grids = {step.grid for step in found.steps if step.kind == "launch"}
    assert "blocks if x_n1 <= 8*width else 0" in grids
    assert not grids & {choice.name for choice in found.choices}


def test_names_are_explained_that_are_shown_and_the_names_in_what_they_stand_for():
    choices = Choice("a", 3, "parts of a loop over n"), Choice("b", 4, "a + 1"), Choice("c", 5, "n")
    steps = (Step("launch", "rows_1", "b*n", 8, 256), Step("launch", "rows_2", "c", 0, 256))
    lines = show_plan(Plan("f", steps, {"n": 2}, choices, 0, 0, 0, 0, "0", 1000.0)).splitlines()
    assert [line for line in lines if re.match("  [abc] = ", line)] == [
        "  a = 3: parts of a loop over n",
        "  b = 4: a + 1",
    ]


def test_temporaries_are_told_as_a_formula_whose_names_are_explained():
    text = inspected(squares, np.zeros(600), np.zeros(600)).workspace
    assert text.splitlines() == [
        "temporaries on the device: 1 array, 24 bytes at once (8*blocks)",
        "  blocks = 3: min(ceil(x_n0 / 256), 1024)",
    ]


# --- inspections --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both() -> dict[str, Inspection]:
    arguments = np.ones(5), np.arange(5.0)
    return {target: differentiate(squares, target=target).inspect(*arguments) for target in ("cpu", "cuda")}


@pytest.mark.parametrize("stage", sorted({*STAGES} - {*OF_PROCESSOR, *OF_DEVICE}))
def test_every_other_stage_has_a_text_for_both_targets(stage: str, both: dict[str, Inspection]):
    cpu, cuda = both["cpu"].stage(stage), both["cuda"].stage(stage)
    assert cpu
    if stage in ("program", "mathematics", "latex", "stable", "adjoint", "optimised"):
        assert cpu == cuda
    if stage == "graph":
        assert cpu.count("label=") == cuda.count("label=")


@pytest.mark.parametrize("stage", OF_PROCESSOR)
def test_stages_of_the_processor_are_refused_for_a_gpu(stage: str, both: dict[str, Inspection]):
    with pytest.raises(ArgumentError, match=f'no {stage}[^"]*(?s:.*)ask for "ptx"'):
        both["cuda"].stage(stage)


@pytest.mark.parametrize("stage", OF_DEVICE)
def test_stages_of_a_gpu_are_refused_for_the_processor(stage: str, both: dict[str, Inspection]):
    with pytest.raises(ArgumentError, match=f'no {stage}(?s:.*)target="cuda"'):
        both["cpu"].stage(stage)


def test_what_an_inspection_prints_names_the_stages_that_it_has(both: dict[str, Inspection]):
    for target, without, own in (("cuda", OF_PROCESSOR, OF_DEVICE), ("cpu", OF_DEVICE, OF_PROCESSOR)):
        named = repr(both[target]).rstrip(">").replace(":", ",").split(", ")
        assert not {*without} & {*named}
        assert {*own} <= {*named}


def test_the_whole_inspection_has_the_launch_plan_in_it(both: dict[str, Inspection]):
    plan = both["cuda"].launches
    assert plan in str(both["cuda"])
    assert plan in both["cuda"].counts
    assert "launch plan of squares_value_and_grad" in both["cuda"]._repr_html_()
    assert "launch plan" not in str(both["cpu"])


def test_texts_about_loops_say_that_launches_come_of_them(both: dict[str, Inspection]):
    for stage in ("fusion", "residuals"):
        head, _, *rest = both["cuda"].stage(stage).splitlines()
        assert head.startswith("the loops that launches are made of")
        assert rest == both["cpu"].stage(stage).replace("loop in parts", "loop").splitlines()


def test_a_picture_by_kernels_has_the_loops(both: dict[str, Inspection]):
    one, two = (both[target].graph(by="kernels").graph for target in ("cpu", "cuda"))
    labels = [node.label.replace("loop in parts", "loop") for node in one.nodes]
    assert labels == [node.label for node in two.nodes]


def test_two_compilations_for_a_gpu_are_compared_by_their_loops(both: dict[str, Inspection]):
    text = both["cuda"].difference(both["cuda"])
    assert "operations         5*x_n0" in text
    assert text.endswith("The text of source is the same.\n")
