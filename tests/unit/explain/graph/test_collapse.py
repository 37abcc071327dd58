"""Lines, layers and kernels as nodes: which gates they hold, what goes between them, and that there is no cycle."""

from typing import Any

import numpy as np
import pytest
import sympy
from tests.unit.explain.graph.samples import SAMPLES, graph_of, inspection_of, normal, sample, stages_of

import gradc
from gradc.explain.graph.collapse import WIDEST, by_kernel, by_layer, by_line
from gradc.explain.graph.model import Graph, Node
from gradc.explain.kernels.fusion import fusion
from gradc.ir.index.evaluate import Interpreter
from gradc.ir.index.show import show_equation

COARSE = ("lines", "layers", "kernels")


def groups_of(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.kind in ("group", "kernel")]


def first_line(name: str) -> int:
    return SAMPLES[name][0].__code__.co_firstlineno


@pytest.mark.parametrize("by", ["gates", *COARSE])
@pytest.mark.parametrize("name", SAMPLES)
def test_nodes_of_the_graph_come_after_what_they_read(name: str, by: str):
    graph = graph_of(name, by)
    places = {node.id: at for at, node in enumerate(graph.nodes)}
    assert len(places) == len(graph.nodes)
    assert all(places[wire.source] < places[wire.target] for wire in graph.wires)


@pytest.mark.parametrize("by", ["lines", "layers"])
@pytest.mark.parametrize("name", SAMPLES)
def test_every_gate_is_in_one_node_of_the_coarser_graph(name: str, by: str):
    gates = [text for node in graph_of(name).nodes for text in node.formula]
    assert [text for node in graph_of(name, by).nodes for text in node.formula] == gates
    ends = [(n.id, n.kind) for n in graph_of(name).nodes if n.kind in ("input", "output")]
    assert [(n.id, n.kind) for n in graph_of(name, by).nodes if n.kind in ("input", "output")] == ends


# --- lines --------------------------------------------------------------------------------------------------


def test_a_line_of_the_source_is_a_node_of_the_graph():
    first = first_line("two layers")
    found = [(node.line, node.label, node.name) for node in groups_of(graph_of("two layers", "lines"))]
    assert found == [
        (first + 1, f"{first + 1}: h = np.tanh(x @ w1 + b1)", "3 gates"),
        (first + 2, f"{first + 2}: return np.square(h @ w2 + b2 - y).mean()", "7 gates"),
    ]


def test_a_line_that_a_loop_visits_again_is_a_new_node():
    graph = graph_of("turns", "lines")
    first = first_line("turns")
    lines = [node.line for node in groups_of(graph)]
    assert lines == [first + 2, first + 3] * 20 + [first + 4]


def test_a_statement_that_a_loop_repeats_at_once_is_a_new_node():
    def power(x: Any) -> Any:
        for _ in range(4):
            x = np.sin(x) * 2
        return x

    graph = inspection_of(power, 1.0).graph(by="lines").graph
    first = power.__code__.co_firstlineno
    assert [(node.line, node.name) for node in groups_of(graph)] == [(first + 2, "2 gates")] * 4


# --- layers -------------------------------------------------------------------------------------------------


def test_a_turn_of_a_loop_is_a_node_of_the_graph():
    graph = graph_of("turns", "layers")
    layers = groups_of(graph)
    first = first_line("turns")
    assert len(layers) == 20
    assert {node.label for node in layers[:-1]} == {f"{first + 2}-{first + 3}: z = x @ w[layer] …"}
    chain = [(wire.source, wire.target) for wire in graph.wires if wire.tensor.startswith("x_")]
    assert set(zip([n.id for n in layers], [n.id for n in layers[1:]], strict=False)) <= set(chain)


def test_a_function_without_a_loop_is_one_layer():
    (node,) = groups_of(graph_of("cross entropy", "layers"))
    assert node.name == f"{graph_of('cross entropy').size} gates"


def test_a_node_of_the_graph_with_one_gate_says_so():
    graph = inspection_of(lambda x: np.sin(x), 1.0).graph(by="lines").graph
    assert [node.name for node in groups_of(graph)] == ["1 gate"]


# --- wires --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["lines", "layers"])
@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "several"])
def test_wires_of_the_coarser_graph_carry_the_sum_of_what_they_join(name: str, by: str):
    fine, coarse = graph_of(name), graph_of(name, by)
    home: dict[str, str] = {}
    texts = {text: node.id for node in groups_of(coarse) for text in node.formula}
    for node in fine.nodes:
        home[node.id] = texts[node.formula[0]] if node.formula else node.id
    sums: dict[tuple[str, str, str, bool], Any] = {}
    for wire in fine.wires:
        key = (home[wire.source], home[wire.target], wire.tensor, wire.index)
        if key[0] != key[1]:
            before = sums.get(key)
            part = wire.gradient
            sums[key] = before if part is None else part if before is None else before + part
    found = {(w.source, w.target, w.tensor, w.index): w.gradient for w in coarse.wires}
    assert len(found) == len(coarse.wires)
    assert list(found) == list(sums)
    for key, gradient in sums.items():
        assert (found[key] is None) == (gradient is None)
        if gradient is not None:
            np.testing.assert_allclose(found[key], gradient, rtol=1e-12)


def test_a_tensor_that_a_line_reads_twice_is_one_wire_with_the_sum():
    graph = inspection_of(lambda x, y: x * y + x, 2.0, 5.0).graph(by="lines").graph
    (wire,) = [wire for wire in graph.wires if wire.tensor == "x"]
    assert (wire.value, wire.gradient) == (2, 6)


def test_a_tensor_that_is_operand_and_index_has_two_wires():
    def f(x: Any, i: Any) -> Any:
        return (x[i] * i).sum()

    graph = inspection_of(f, np.ones(3), np.array([0, 2])).graph(by="lines").graph
    assert sorted(wire.index for wire in graph.wires if wire.tensor == "i") == [False, True]


# --- what a node says ---------------------------------------------------------------------------------------


def test_a_node_of_the_coarser_graph_keeps_the_marks_of_its_gates():
    (node,) = groups_of(graph_of("neuron", "lines"))
    assert node.replaced == "1 / (1 + exp(-x)) = expit(x)"
    assert node.rule == tuple(rule for gate in graph_of("neuron").nodes for rule in gate.rule)
    fine = {n.id: n.kept for n in graph_of("two layers").nodes}
    assert [node.kept for node in groups_of(graph_of("two layers", "lines"))] == [
        "array"
        if "array" in {fine[text.partition("[")[0].partition(" ")[0]] for text in node.formula}
        else ""
        for node in groups_of(graph_of("two layers", "lines"))
    ]
    assert "array" in fine.values()


@pytest.mark.parametrize("by", ["lines", "layers"])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_node_of_several_kernels_is_in_none(name: str, by: str):
    fine = {node.formula[0]: node for node in graph_of(name).nodes if node.formula}
    for node in groups_of(graph_of(name, by)):
        members = [fine[text] for text in node.formula if text in fine]
        kernels = {member.kernel for member in members} - {None}
        behind = {member.adjoint_kernel for member in members} - {None}
        assert node.kernel == (next(iter(kernels)) if len(kernels) == 1 else None)
        assert node.adjoint_kernel == (next(iter(behind)) if len(behind) == 1 else None)


def test_a_long_line_of_the_source_is_cut():
    def f(a_rather_long_name: Any) -> Any:
        return np.sin(a_rather_long_name) + np.cos(a_rather_long_name) + np.exp(a_rather_long_name)

    (node,) = groups_of(inspection_of(f, 1.0).graph(by="lines").graph)
    _, _, shown = node.label.partition(": ")
    assert (len(shown), shown[-1]) == (WIDEST, "…")


def test_a_graph_without_source_is_labelled_by_equations():
    x, y = sympy.symbols("x y")
    graph = gradc.differentiate(x * y + x, args=(x, y)).at(2.0, 5.0).inspect().graph(by="gates").graph
    assert all(node.line == 0 for node in graph.nodes)
    for view in (by_line(graph), by_layer(graph)):
        assert next(node.label for node in groups_of(view)).startswith("v1 = ")


# --- kernels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_a_piece_of_the_kernel_is_a_node_of_the_graph(name: str):
    stages = stages_of(name)
    at_work = [group for group in fusion(stages) if group.equations]
    found = groups_of(graph_of(name, "kernels"))
    assert [node.id for node in found] == [f"piece {group.index}" for group in at_work]
    assert [node.formula for node in found] == [group.equations for group in at_work]
    shown = {text for node in found for text in node.formula}
    assert shown == set(map(show_equation, stages.optimised.equations))


@pytest.mark.parametrize("name", SAMPLES)
def test_wires_between_kernels_carry_what_passes_between_them(name: str):
    stages, graph = stages_of(name), graph_of(name, "kernels")
    program = stages.optimised
    values = Interpreter().run(program, sample(name)._arguments())
    for wire in graph.wires:
        np.testing.assert_array_equal(wire.value, values[wire.tensor])
        assert wire.role == ("value" if wire.tensor in stages.stable.types else "gradient")
    ends = [wire.tensor for wire in graph.wires if wire.target.startswith("output")]
    assert ends == list(program.outputs)


@pytest.mark.parametrize(
    "name", [name for name in SAMPLES if name != "written"]
)  # there a tensor has three makers
def test_kernels_of_the_graph_are_joined_by_what_parts_them(name: str):
    groups, graph = fusion(stages_of(name)), graph_of(name, "kernels")
    apart = {(f"piece {e.before}", f"piece {group.index}", e.tensor) for group in groups for e in group.apart}
    made = {tensor for group in groups for tensor in group.tensors}
    found = {
        (wire.source, wire.target, wire.tensor)
        for wire in graph.wires
        if wire.tensor in made and not wire.target.startswith("output")
    }
    own = {(f"piece {group.index}", tensor) for group in groups for tensor in group.tensors}
    assert {
        e for e in found if (e[1], e[2]) not in own
    } <= apart  # what a piece goes on with is not read by it
    assert {e for e in apart if (e[1], e[2]) not in own} <= found


def test_kernels_of_the_graph_have_types_without_values():
    graph = by_kernel(stages_of("two layers"), None)
    assert all(wire.value is None for wire in graph.wires)
    assert all(wire.type.startswith(f"{wire.tensor} : ") for wire in graph.wires)


def test_kernels_of_a_program_with_further_inputs_have_no_values():
    inspection = inspection_of(lambda x: np.square(x), normal(3), of="vjp")
    seed = set(inspection.stages.optimised.inputs) - set(inspection.stages.program.inputs)
    assert seed
    known = {name: np.ones(3) for name in inspection.stages.program.inputs}
    assert all(wire.value is None for wire in by_kernel(inspection.stages, known).wires)
    given = inspection.graph(by="kernels").graph
    assert {wire.tensor for wire in given.wires if wire.source in seed} == seed


@pytest.mark.parametrize("name", SAMPLES)
def test_what_a_piece_of_the_graph_computes_goes_on_to_another_or_out(name: str):
    found = graph_of(name, "kernels")
    assert {node.id for node in found.nodes if node.kind == "kernel"} <= {wire.source for wire in found.wires}
