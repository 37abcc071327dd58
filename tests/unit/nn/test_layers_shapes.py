"""Layers that change shapes or join outputs."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.nn.applied import agree, random_inputs

from gradc.errors import ArgumentError, ShapeError
from gradc.nn import Add, Concatenate, Flatten, Reshape


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4)])
def test_flatten_puts_every_example_in_a_row(shape):
    agree(Flatten(), *random_inputs(shape), expected=lambda _, x: np.stack([item.ravel() for item in x]))


@pytest.mark.parametrize("shape", [(2, 6), (3, -1), (12,), [-1, 2, 2]], ids=str)
def test_reshape_keeps_the_order_of_elements(shape):
    agree(
        Reshape(shape), *random_inputs((4, 3)), expected=lambda _, x: np.stack([i.reshape(shape) for i in x])
    )


@pytest.mark.parametrize(
    ("axis", "shapes"),
    [
        (0, [(2,), (3,)]),
        (0, [(2, 4, 5), (1, 4, 5), (3, 4, 5)]),
        (-1, [(2, 4), (2, 1)]),
        (1, [(2, 4), (2, 1)]),
    ],
)
def test_concatenate_joins_along_an_axis_of_every_example(axis, shapes):
    agree(
        Concatenate(axis),
        *random_inputs(*shapes),
        expected=lambda _, *xs: np.stack([np.concatenate(items, axis) for items in zip(*xs, strict=True)]),
    )


@pytest.mark.parametrize("count", [2, 3])
def test_add_is_the_sum_of_its_inputs(count):
    agree(Add(), *random_inputs(*[(2, 3)] * count), expected=lambda _, *xs: sum(xs))


def test_joining_layers_name_their_inputs():
    assert Add(inputs=("deep", "early")).inputs == ("deep", "early")
    assert Concatenate(inputs=("a", "b"), name="both").name == "both"


@pytest.mark.parametrize("shape", [(0, 3), (-1, -1), (-2, 3), (1.5,), ("a",)], ids=str)
def test_what_is_no_shape_is_refused_where_reshape_is_written(shape):
    with pytest.raises(ArgumentError, match="not a shape") as caught:
        Reshape(shape)
    assert str(shape) in caught.value.why


@pytest.mark.parametrize(
    ("layer", "shapes", "what"),
    [
        (Reshape((5, 2)), [(4, 3)], "12 elements cannot have the shape"),
        (Reshape((5, -1)), [(4, 3)], "12 elements cannot have the shape"),
        (Concatenate(), [(4, 3)], "one input"),
        (Concatenate(), [(4, 3), (4, 2)], "differ in more than axis 0"),
        (Concatenate(), [(4, 3), (4,)], "differ in more than axis 0"),
        (Concatenate(2), [(4, 3), (4, 3)], "no axis 2"),
        (Add(), [(4, 3)], "one input"),
        (Add(), [(4, 3), (3, 4)], "different shapes"),
        (Add(), [(4, 3), (1, 3)], "different shapes"),
    ],
    ids=str,
)
def test_inputs_that_do_not_fit_are_refused(layer, shapes, what):
    with pytest.raises(ShapeError, match=what) as caught:
        layer.output_shape(*shapes)
    assert ", ".join(map(str, shapes)) in caught.value.why
    assert caught.value.where == type(layer).__name__
    assert caught.value.do
