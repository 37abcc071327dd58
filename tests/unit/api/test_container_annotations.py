"""Annotations of containers name and fix the extents of the arrays in them."""

from typing import Any

import numpy as np
import pytest

from gradc import differentiate, f64
from gradc.errors import GradcError
from gradc.ir.index.show import show_type


def shapes(function: Any, *args: Any) -> dict[str, str]:
    program, _ = differentiate(function, target="interpret").at(*args).program_and_inputs()
    return {name: show_type(program.types[name]) for name in program.inputs}


def loss(p, x):
    return np.square(x @ p["layer"]["w"] + p["b"]).sum()


def annotated(annotation: Any) -> Any:
    def own(p, x):
        return loss(p, x)

    own.__annotations__ = {"p": annotation, "x": f64["batch", "n"]}
    return own


P, X = {"layer": {"w": np.ones((3, 2))}, "b": np.ones(2)}, np.ones((5, 3))


def test_an_annotation_fixes_and_names_extents_at_any_depth():
    found = shapes(annotated({"layer": {"w": f64["n", 2]}, "b": f64[2]}), P, X)
    assert found == {"p_b": "f64[2]", "p_layer_w": "f64[n, 2]", "x": "f64[batch, n]"}


def test_what_the_annotation_leaves_out_is_free():
    found = shapes(annotated({"layer": {"w": f64["n", None]}}), P, X)
    assert found["p_layer_w"].startswith("f64[n, ")
    assert found["x"] == "f64[batch, n]"
    assert shapes(annotated({"layer": f64[7]}), P, X)["p_layer_w"] == "f64[n, p_layer_w_n1]"


def test_places_of_a_tuple_are_keys():
    def own(pair):
        return (pair[0] * pair[1]).sum()

    own.__annotations__ = {"pair": {0: f64["m"], 1: f64["m"]}}
    assert shapes(own, (np.ones(4), np.ones(4))) == {"pair_0": "f64[m]", "pair_1": "f64[m]"}


def test_extents_of_one_name_must_agree():
    with pytest.raises(GradcError, match="the extent n is 4 and 3"):
        shapes(
            annotated({"layer": {"w": f64["n", 2]}}), {"layer": {"w": np.ones((4, 2))}, "b": np.ones(2)}, X
        )


def test_another_shape_than_the_fixed_one_is_another_kernel():
    function = differentiate(annotated({"layer": {"w": f64["n", 2]}, "b": f64[2]}), target="interpret")
    wide = {"layer": {"w": np.full((3, 4), 2.0)}, "b": np.ones(4)}
    assert function(P, X) == loss(P, X)
    assert function(wide, X) == loss(wide, X)
    assert function.cache_info().variants == 2
    assert function(P, X[:2]) == loss(P, X[:2])  # a named extent is free
    assert function.cache_info().variants == 2
