"""Choosing what to draw, Graphviz's language, hostile names."""

import json
import re
from typing import Any, cast

import numpy as np
import pytest
from tests.unit.explain.graph.samples import SAMPLES, graph_of, inspection_of, sample

from gradc.errors import ArgumentError, InputRefused
from gradc.explain.graph import picture as pictures
from gradc.explain.graph.dot import dot
from gradc.explain.graph.model import Graph, Node, Wire
from gradc.explain.inspection import Inspection

HOSTILE = (
    '"];x[label="',
    "one\ntwo",
    "</title><script>alert(1)</script>",
    "a\u202eb\u2066c",
    "$x_1$",
    "]]>",
    "back\\slash\\",
    "\x00\x1b[31m",
)


def strings_of(text: str) -> list[str]:
    """Every quoted string of Graphviz's language, read by its own rule: only ``\\"`` and line ends are escapes."""
    assert re.sub(r'"(?:[^"\\]|\\.)*"', "", text).count('"') == 0
    return re.findall(r'"(?:[^"\\]|\\.)*"', text)


# --- which view ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "view", "size"),
    [("circuit", "gates", 2), ("two layers", "gates", 10), ("turns", "layers", 20), ("mesh", "layers", 75)],
)
def test_the_graph_is_as_fine_as_a_reader_can_take_in(name: str, view: str, size: int):
    found = sample(name).graph()
    assert (found.view, found.graph.size) == (view, size)


def test_the_graph_falls_back_to_kernels_where_layers_are_too_many():
    assert sample("mesh").graph(limit=74).view == "kernels"


def test_the_graph_of_very_many_gates_is_that_of_kernels(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> Any:
        raise AssertionError("every gate was run")

    monkeypatch.setattr(pictures, "MOST", 200)
    monkeypatch.setattr(pictures, "circuit", refuse)
    assert sample("mesh").graph().view == "kernels"


def test_a_graph_beyond_the_limit_is_refused_before_it_is_run(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> Any:
        raise AssertionError("every gate was run")

    monkeypatch.setattr(pictures, "circuit", refuse)
    with pytest.raises(ArgumentError, match=r"by gates has 301 nodes, the limit is 300"):
        sample("mesh").graph(by="gates")


def test_a_graph_beyond_the_limit_says_what_is_coarser():
    with pytest.raises(ArgumentError, match=r"choose a coarser view \(layers, kernels\) or raise the limit"):
        sample("turns").graph(by="lines", limit=40)
    with pytest.raises(ArgumentError) as found:
        sample("turns").graph(by="kernels", limit=2)
    assert str(found.value).endswith("do: raise the limit")
    assert sample("turns").graph(by="lines", limit=41).view == "lines"


@pytest.mark.parametrize(("option", "known"), [("shown", "both, forward"), ("by", "auto, gates")])
def test_an_unknown_choice_of_the_graph_is_refused(option: str, known: str):
    with pytest.raises(ArgumentError, match=rf"{option}='sideways' is unknown[\s\S]*choose one of {known}"):
        sample("circuit").graph(None, **cast("Any", {option: "sideways"}))


def test_a_graph_says_what_it_is():
    found = sample("circuit").graph(shown="adjoint")
    assert repr(found) == "<graph of lectures_circuit: 2 gates, 5 wires; .save('graph.svg')>"
    assert found.shown == "adjoint"
    assert found.scene.title == "graph of lectures_circuit"
    assert found._repr_svg_() == found.svg


def test_the_graph_is_a_stage_of_the_inspection():
    inspection = sample("circuit")
    assert inspection.stage("graph") == inspection.graph().dot
    with pytest.raises(ArgumentError, match="there is no stage 'grpah'"):
        inspection.stage("grpah")


def test_the_graph_is_written_where_a_path_is_given(tmp_path: Any):
    for suffix in (".svg", ".dot", ".gv"):
        path = tmp_path / f"g{suffix}"
        found = sample("circuit").graph(path)
        assert path.read_text() == (found.svg if suffix == ".svg" else found.dot)


def test_a_wrong_suffix_of_the_graph_is_refused_before_anything_is_run(tmp_path: Any):
    def refuse() -> Any:
        raise AssertionError("arguments were asked for")

    inspection = inspection_of(lambda x: x * x, 3.0)
    inspection._arguments = refuse
    with pytest.raises(InputRefused, match=r"no \.pdf file[\s\S]*\.svg, \.png, \.dot, \.gv"):
        inspection.graph(tmp_path / "g.pdf")


def test_two_compilations_are_compared_by_a_stage():
    one, two = sample("neuron"), inspection_of(*_neuron(), of="value")
    text = one.difference(two, "program")
    assert text != one.difference(two, "source")
    with pytest.raises(ArgumentError):
        one.difference(two, "graph")


def _neuron() -> tuple[Any, ...]:
    function, arguments = SAMPLES["neuron"]
    return function, *arguments


# --- Graphviz -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["gates", "layers", "kernels"])
@pytest.mark.parametrize("name", SAMPLES)
def test_graphviz_gets_every_node_and_wire(name: str, by: str):
    graph = graph_of(name, by)
    text = dot(graph)
    nodes = re.findall(r"^ +(n\d+) \[shape=", text, re.MULTILINE)
    wires = re.findall(r"^ +(n\d+) -> (n\d+) \[label=", text, re.MULTILINE)
    at = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    assert sorted(nodes) == sorted(at.values())
    assert wires == [(at[wire.source], at[wire.target]) for wire in graph.wires]
    assert text.count("{") == text.count("}")
    assert text.startswith('digraph "')
    assert text.endswith("}\n")


def test_graphviz_gets_numbers_and_dashes():
    text = dot(graph_of("circuit"))
    assert '[label="3\\n-4"];' in text
    dashed = [line for line in dot(graph_of("looked up")).splitlines() if "style=dashed" in line]
    assert len(dashed) == 1
    assert "3 numbers" in dashed[0]


def test_graphviz_gets_a_cluster_for_each_kernel_with_its_gates():
    graph = graph_of("two layers")
    parts = dot(graph).split("  subgraph cluster_")[1:]
    at = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    shown = {int(part.partition(" ")[0]): part.partition("  }")[0] for part in parts}
    for node in graph.nodes:
        if node.kind == "gate" and node.kernel is not None:
            assert f"    {at[node.id]} [" in shown[node.kernel]
            assert f'label="kernel {graph.kernels[node.kernel]}"' in shown[node.kernel]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_in_its_string(name: str):
    nodes = (Node("a", "input", name, name), Node("b", "gate", name, name, (name,), kernel=0))
    graph = Graph(name, nodes, (Wire("a", "b", "a", name),), (name,))
    text = dot(graph)
    plain = dot(
        Graph(
            "g",
            (Node("a", "input", "x", "x"), Node("b", "gate", "x", "x", ("x",), kernel=0)),
            (Wire("a", "b", "a", "x"),),
            ("x",),
        )
    )
    structure = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    assert structure == re.sub(r'"(?:[^"\\]|\\.)*"', '""', plain)
    assert all(character.isprintable() or character == "\n" for character in text)
    if "\\" not in name and name.isprintable():
        assert json.loads(strings_of(text)[0]) == name


def test_an_inspection_can_be_made_without_a_compiler():
    inspection = sample("circuit")
    refusing = Inspection(inspection.stages, ("x",), inspection._arguments, _refuse, _refuse)
    assert refusing.graph().graph.size == 2
    assert np.isclose(float(refusing.graph().graph.nodes[0].gradient), -4)


def _refuse() -> Any:
    raise AssertionError("something was compiled")
