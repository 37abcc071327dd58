"""The circuit of a program: the lectures' numbers on every wire, contributions that add up, kernels and marks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.unit.explain.graph.samples import SAMPLES, graph_of, inspection_of, normal, sample, stages_of

import gradc
from gradc.explain.figures import spans
from gradc.explain.graph.circuit import circuit, kernel_names, operands_of
from gradc.explain.graph.model import Graph, Node, Wire
from gradc.explain.kernels.fusion import fusion
from gradc.explain.kernels.residuals import residuals
from gradc.ir.index.evaluate import Interpreter
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assign,
    Call,
    Const,
    Lookup,
    Program,
    outputs_of,
)
from gradc.ir.index.show import show_equation, show_type
from gradc.ir.index.templates import template
from gradc.ir.tensors import TensorType
from gradc.ir.types import DType

WITH_GRADIENT = [name for name in SAMPLES if name != "several"]


def nodes_of(graph: Graph) -> Mapping[str, Node]:
    return {node.id: node for node in graph.nodes}


def wire_from(graph: Graph, tensor: str) -> Wire:
    (found,) = [wire for wire in graph.wires if wire.tensor == tensor]
    return found


def graph(function: Any, *arguments: Any, of: str = "value_and_grad", values: bool = True) -> Graph:
    return inspection_of(function, *arguments, of=of).graph(by="gates", values=values).graph


# --- the lectures -------------------------------------------------------------------------------------------


def test_the_graph_of_the_neuron_has_the_lectures_numbers_on_every_wire():
    found = [
        (node.label, round(float(wire.value), 2), round(float(wire.gradient), 2))
        for wire in graph_of("neuron").wires
        for node in (nodes_of(graph_of("neuron"))[wire.source],)
    ]
    assert found == [
        ("w0", 2.0, -0.2),
        ("x0", -1.0, 0.39),
        ("w1", -3.0, -0.39),
        ("x1", -2.0, -0.59),
        ("×", -2.0, 0.2),
        ("×", 6.0, 0.2),
        ("+", 4.0, 0.2),
        ("w2", -3.0, 0.2),
        ("+", 1.0, 0.2),
        ("−", -1.0, -0.2),
        ("exp", 0.37, -0.53),
        ("+1", 1.37, -0.53),
        ("1/x", 0.73, 1.0),
    ]


def test_the_graph_of_the_circuit_has_the_lectures_numbers():
    found = {wire.tensor: (wire.value, wire.gradient) for wire in graph_of("circuit").wires}
    assert found == {"x": (-2, -4), "y": (5, -4), "v1": (3, -4), "z": (-4, 3), "v2": (-12, 1)}
    assert [node.label for node in graph_of("circuit").nodes[3:]] == ["+", "×", "lectures_circuit"]


def test_gates_of_the_graph_say_where_they_come_from():
    gate = nodes_of(graph_of("circuit"))["v1"]
    assert gate.file.endswith("samples.py")
    assert gate.source == "return (x + y) * z"
    assert gate.formula == ("v1 = x + y",)
    assert gate.rule == ("∂v1/∂x = 1", "∂v1/∂y = 1")


# --- contributions ------------------------------------------------------------------------------------------


def test_a_tensor_read_twice_has_a_wire_for_each_use():
    found = graph(lambda x: x * x, 3.0)
    wires = [(wire.value, wire.gradient) for wire in found.wires if wire.source == "x"]
    assert wires == [(3, 3), (3, 3)]
    assert nodes_of(found)["x"].gradient == 6


def test_each_wire_has_its_own_part_of_the_gradient():
    found = graph(lambda x, y: x * y + x, 2.0, 5.0)
    assert sorted(float(wire.gradient) for wire in found.wires if wire.source == "x") == [1, 5]
    assert nodes_of(found)["x"].gradient == 6


@pytest.mark.parametrize("name", WITH_GRADIENT)
def test_wires_of_the_graph_add_up_to_the_gradient_of_their_node(name: str):
    found = graph_of(name)
    checked = 0
    for node in found.nodes:
        parts = [wire.gradient for wire in found.wires if wire.source == node.id == wire.tensor]
        parts = [part for part in parts if part is not None]
        if node.gradient is not None and parts:
            assert np.shape(parts[0]) == np.shape(node.gradient)
            np.testing.assert_allclose(sum(parts), node.gradient, rtol=1e-6, atol=1e-7)
            checked += 1
    assert checked > 0


@pytest.mark.parametrize("name", [name for name in WITH_GRADIENT if name != "attention"])
def test_inputs_of_the_graph_have_the_slope_of_the_function(name: str):
    function, arguments = SAMPLES[name]
    nodes = [node for node in graph_of(name).nodes if node.kind == "input"]
    for at, node in enumerate(nodes[: len(arguments)]):
        value = np.asarray(arguments[at])
        if value.dtype.kind != "f":
            assert node.gradient is None
            continue
        along = np.random.default_rng(at).normal(size=value.shape)
        ends = []
        for step in (1e-6, -1e-6):
            moved = list(arguments)
            moved[at] = value + step * along
            ends.append(float(gradc.differentiate(function).with_options(target="interpret")(*moved)))
        slope = (ends[0] - ends[1]) / 2e-6
        assert float((node.gradient * along).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-6)


# --- wires --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_the_graph_has_a_wire_for_every_operand_and_every_output(name: str):
    program, found = stages_of(name).program, graph_of(name)
    home = {one: outputs_of(equation)[0] for equation in program.equations for one in outputs_of(equation)}
    expected = [
        (home.get(tensor, tensor), outputs_of(equation)[0], tensor, position < 0)
        for equation in program.equations
        for position, tensor in operands_of(equation)
    ]
    ends = [
        (home.get(tensor, tensor), f"output {at + 1}", tensor, False)
        for at, tensor in enumerate(program.outputs)
    ]
    shown = [(wire.source, wire.target, wire.tensor, wire.index) for wire in found.wires]
    assert sorted(shown) == sorted(expected + ends)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_graph_has_a_gate_for_every_tensor_that_the_program_defines(name: str):
    program, found = stages_of(name).program, graph_of(name)
    defined = dict.fromkeys(outputs_of(equation)[0] for equation in program.equations)
    assert sorted(node.id for node in found.nodes if node.kind == "gate") == sorted(defined)
    assert tuple(node.id for node in found.nodes if node.kind == "input") == program.inputs
    lines = [text for node in found.nodes for text in node.formula]
    assert sorted(lines) == sorted(map(show_equation, program.equations))


@pytest.mark.parametrize("name", SAMPLES)
def test_wires_of_the_graph_carry_the_values_of_the_interpreter(name: str):
    values = Interpreter().run(stages_of(name).program, sample(name)._arguments())
    for wire in graph_of(name).wires:
        np.testing.assert_array_equal(wire.value, values[wire.tensor])


def test_an_index_of_the_graph_has_a_dashed_wire_without_gradient():
    found = graph_of("looked up")
    (rows,) = [wire for wire in found.wires if wire.tensor == "rows"]
    assert (rows.index, rows.gradient) == (True, None)
    assert nodes_of(found)["rows"].gradient is None
    table = wire_from(found, "table")
    assert not table.index
    np.testing.assert_allclose(table.gradient[1], 0)
    np.testing.assert_allclose(table.gradient[2], 4 * table.value[2])


def test_contributions_to_one_tensor_are_one_gate_of_the_graph():
    found, program = graph_of("accumulated"), stages_of("accumulated").program
    added = {
        e.out: [o for o in program.equations if outputs_of(o) == (e.out,)]
        for e in program.equations
        if isinstance(e, Accumulate)
    }
    assert added
    for name, equations in added.items():
        (gate,) = [node for node in found.nodes if node.id == name]
        assert gate.formula == tuple(map(show_equation, equations))
        read = [tensor for equation in equations for _, tensor in operands_of(equation)]
        assert [wire.tensor for wire in found.wires if wire.target == name] == read
    assert any(len(equations) > 1 for equations in added.values())


def test_an_index_of_an_accumulation_is_a_dashed_wire_too():
    types = {
        "x": TensorType(DType.F64, (2,)),
        "rows": TensorType(DType.INT64, (2,)),
        "y": TensorType(DType.F64, (3,)),
    }
    row = Lookup("rows", (0,))
    start = Assign("y", (3,), 1, None, template("copy"), (Const(0.0, DType.F64),))
    add = Accumulate("y", (2,), (row,), template("copy"), (Access("x", (0,)),))
    program = Program("added", ("x", "rows"), (start, add), ("y",), types)
    stages = replace(stages_of("circuit"), program=program, applied=())
    found = circuit(stages, {"x": np.array([1.0, 2.0]), "rows": np.array([2, 2])})
    shown = [(wire.source, wire.target, wire.index) for wire in found.wires]
    assert shown == [("x", "y", False), ("rows", "y", True), ("y", "output 1", False)]
    assert found.wires[-1].value.tolist() == [0, 0, 3]


def test_a_graph_with_several_outputs_has_an_end_for_each():
    found = graph_of("several")
    ends = [(node.id, node.label) for node in found.nodes if node.kind == "output"]
    assert ends == [("output 1", "s"), ("output 2", "v1"), ("output 3", "v2")]
    into = {wire.target: wire.gradient for wire in found.wires if wire.target.startswith("output")}
    assert into == {
        "output 1": 1.0,
        "output 2": None,
        "output 3": None,
    }  # gradients are those of the first one


def test_a_graph_of_an_array_has_no_gradients():
    found = graph(lambda x: x * 2, np.array([1.0, 2.0]), of="value")
    assert all(wire.gradient is None for wire in found.wires)
    assert all(node.gradient is None and node.rule == () for node in found.nodes)
    assert wire_from(found, "x").value.tolist() == [1, 2]


def test_a_graph_of_an_integer_has_no_gradients():
    found = graph(lambda x: (x > 1).sum(), np.array([1.0, 2.0, 3.0]), of="value")
    assert [wire.gradient for wire in found.wires] == [None] * len(found.wires)
    assert found.wires[-1].value == 2


def test_an_output_that_is_an_input_has_a_wire_from_the_input_to_its_end():
    stages = stages_of("circuit")
    program = replace(stages.program, outputs=("v2", "x"))
    found = circuit(replace(stages, program=program), sample("circuit")._arguments())
    ends = [(node.id, node.label) for node in found.nodes if node.kind == "output"]
    assert ends == [("output 1", "v2"), ("output 2", "x")]
    (straight,) = [wire for wire in found.wires if wire.target == "output 2"]
    assert (straight.source, straight.tensor, straight.value, straight.gradient) == ("x", "x", -2, None)


def test_a_library_call_is_one_gate_with_a_wire_for_each_argument():
    found = graph_of("solved")
    (call,) = [node for node in found.nodes if node.label == "solve"]
    read = [wire for wire in found.wires if wire.target == call.id]
    assert [wire.tensor for wire in read] == ["a", "v1"]
    assert [np.shape(wire.gradient) for wire in read] == [(3, 3), (3, 1)]


def test_a_call_with_several_results_is_one_gate():
    inspection = inspection_of(lambda a: np.linalg.slogdet(a)[1], normal(3, 3) + 4 * np.eye(3))
    found = inspection.graph(by="gates").graph
    (call,) = [e for e in inspection.stages.program.equations if isinstance(e, Call)]
    assert len(call.outs) == 2
    assert [node.id for node in found.nodes if node.label == "slogdet"] == [call.outs[0]]
    leaving = [wire.tensor for wire in found.wires if wire.source == call.outs[0]]
    assert leaving == [call.outs[1]]


def test_constants_stand_in_the_gate_and_are_no_wire():
    found = graph(lambda x: 3 * x + 2, 5.0)
    assert [node.label for node in found.nodes] == ["x", "×3", "+2", "function"]
    assert [wire.tensor for wire in found.wires] == ["x", "v1", "v2"]


def test_the_graph_has_types_where_it_has_no_values():
    inspection = sample("two layers")
    found = inspection.graph(by="gates", values=False).graph
    types = {wire.tensor: wire.type for wire in found.wires}
    assert types["w1"] == show_type(inspection.stages.program.types["w1"]) == "f64[x_n1, w1_n1]"
    assert all(wire.value is None and wire.gradient is None for wire in found.wires)
    assert all(node.gradient is None for node in found.nodes)
    shown = [(w.source, w.target, w.tensor, w.type) for w in found.wires]
    assert shown == [(w.source, w.target, w.tensor, w.type) for w in graph_of("two layers").wires]


def test_a_graph_without_values_asks_for_no_arguments():
    def refuse() -> Any:
        raise AssertionError("arguments were asked for")

    inspection = inspection_of(lambda x: x * x, 3.0)
    inspection._arguments = refuse
    assert inspection.graph(values=False).graph.size == 1


# --- marks --------------------------------------------------------------------------------------------------


def test_the_graph_marks_gates_that_a_stable_form_replaces():
    law = "1 / (1 + exp(-x)) = expit(x)"
    marked = {node.label: node.replaced for node in graph_of("neuron").nodes if node.replaced}
    assert marked == {"−": law, "exp": law, "+1": law, "1/x": law}


def test_the_graph_marks_nothing_where_nothing_is_replaced():
    found = gradc.differentiate(SAMPLES["neuron"][0]).with_options(stabilise=False)
    graph = found.at(*SAMPLES["neuron"][1]).inspect().graph(by="gates").graph
    assert not [node for node in graph.nodes if node.replaced]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_graph_marks_what_the_backward_pass_keeps(name: str):
    ids = {node.id for node in graph_of(name).nodes}
    kept = {item.name: item.how for item in residuals(stages_of(name)) if item.name in ids}
    assert {node.id: node.kept for node in graph_of(name).nodes if node.kept} == kept


def test_some_samples_keep_something():
    found = {node.kept for name in SAMPLES for node in graph_of(name).nodes}
    assert found >= {"array", "register"}


# --- kernels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_each_gate_of_the_graph_is_in_the_kernel_that_computes_it(name: str):
    pieces: dict[str, int] = {}
    for group in fusion(stages_of(name)):
        for tensor in group.tensors:
            pieces.setdefault(tensor, group.index)
    gates = [node for node in graph_of(name).nodes if node.kind == "gate"]
    for node in gates:
        if node.id in pieces:
            assert node.kernel == pieces[node.id]
    assert any(node.id in pieces for node in gates)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_gate_that_a_pass_merged_is_in_the_kernel_of_a_reader(name: str):
    found = graph_of(name)
    pieces = {tensor for group in fusion(stages_of(name)) for tensor in group.tensors}
    nodes = nodes_of(found)
    for node in found.nodes:
        if node.kind == "gate" and node.id not in pieces:
            readers = {nodes[wire.target].kernel for wire in found.wires if wire.source == node.id}
            assert node.kernel in readers or not readers


def test_some_gates_are_merged():
    found = [
        node.id
        for name in SAMPLES
        for tensors in ({t for group in fusion(stages_of(name)) for t in group.tensors},)
        for node in graph_of(name).nodes
        if node.kind == "gate" and node.id not in tensors
    ]
    assert found


def test_gradients_are_in_the_kernel_that_computes_the_cotangent():
    inspection = sample("two layers")
    pieces = {name: group.index for group in reversed(fusion(inspection.stages)) for name in group.tensors}
    nodes = nodes_of(graph_of("two layers"))
    for name in ("w1", "w2", "b1", "b2"):
        assert nodes[name].adjoint_kernel == pieces[f"{name}_bar"]
    assert nodes["w1"].adjoint_kernel != nodes["w2"].adjoint_kernel


def test_kernels_are_called_by_number_kind_and_lines():
    stages = stages_of("two layers")
    names = kernel_names(stages, fusion(stages))
    first = SAMPLES["two layers"][0].__code__.co_firstlineno
    assert len(names) == len(fusion(stages))
    assert [name.partition(":")[0] for name in names] == [str(at) for at in range(len(names))]
    assert any(name.endswith(f"line {first + 1}") for name in names)
    assert names == graph_of("two layers").kernels


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([4], "4"),
        ([6, 4, 5, 4], "4-6"),
        ([4, 6], "4,6"),
        ([4, 5, 6, 9, 11, 12], "4-6,9,11-12"),
    ],
)
def test_lines_are_shown_as_spans(numbers: list[int], text: str):
    assert spans(numbers) == text


def test_the_circuit_of_the_value_alone_has_gradients_too():
    inspection = inspection_of(lambda x: x * x, 3.0, of="value")
    found = circuit(inspection.stages, inspection._arguments())
    assert nodes_of(found)["x"].gradient == 6
    assert all(node.kept == "" for node in found.nodes)
