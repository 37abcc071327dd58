"""Dense layers, embeddings, and layers of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.nn.applied import agree, apply, random_inputs

from gradc import equation
from gradc.errors import ArgumentError, DTypeError, InputRefused, ShapeError
from gradc.nn import Dense, Embedding, Equation, Function
from gradc.nn.initialisers import Constant
from gradc.nn.layer import Context, Layer, Parameter

# --- dense --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4,), (5, 4), (1,)])
def test_a_dense_layer_multiplies_features_and_adds_its_bias(shape, bias):
    def loops(arrays, x):
        y = np.zeros((*x.shape[:-1], 3))
        for at in np.ndindex(*y.shape):
            y[at] = sum(x[at[:-1]] * arrays["weight"][:, at[-1]]) + (arrays["bias"][at[-1]] if bias else 0)
        return y

    agree(Dense(3, bias=bias), *random_inputs(shape), expected=loops)


def test_a_dense_layer_learns_a_weight_that_counts_for_regularisers_and_a_bias_that_does_not():
    found = Dense(3).parameters((4,))
    assert (found["weight"].shape, found["weight"].fan_in, found["weight"].fan_out) == ((4, 3), 4, 3)
    assert found["weight"].is_weight
    assert not found["bias"].is_weight
    rng = np.random.default_rng(0)
    assert np.abs(found["weight"].initialiser(rng, (4, 3), 4, 3)).max() <= (6 / 7) ** 0.5
    assert not found["bias"].initialiser(rng, (3,), 1, 1).any()
    assert list(Dense(3, bias=False).parameters((4,))) == ["weight"]
    assert Dense(3, initialiser=Constant(2.0)).parameters((4,))["weight"].initialiser == Constant(2.0)


@pytest.mark.parametrize("units", [0, -1, 2.5, True, "3"])
def test_a_number_of_units_that_is_none_is_refused_where_the_layer_is_written(units):
    with pytest.raises(ArgumentError, match="units is not a whole number") as caught:
        Dense(units)
    assert caught.value.where == "Dense"
    assert repr(units) in caught.value.why
    assert caught.value.do


def test_a_dense_layer_refuses_images_and_names_itself():
    with pytest.raises(ShapeError, match="features") as caught:
        Dense(3, name="last").output_shape((2, 5, 5))
    assert "last" in caught.value.where
    assert "(2, 5, 5)" in caught.value.why
    assert "Flatten" in caught.value.do


# --- embedding ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_embedding_picks_rows_and_adds_gradients_of_rows_picked_twice(dtype):
    weight = np.random.default_rng(0).normal(size=(5, 2)).astype(dtype)
    words = np.array([[0, 3, 3], [4, 0, 0]])
    if dtype == np.float32:
        found = apply_embedding(weight, words)
        assert found.dtype == np.float32
    else:
        found = apply(Embedding(5, 2), words, arrays={"weight": weight})
        assert np.array_equal(found.value, weight[words])
        counts = np.bincount(words.ravel(), minlength=5)
        assert ((found.gradients[0]["weight"] > 0).all(axis=1) == (counts > 0)).all()


def apply_embedding(weight, words):
    return Embedding(5, 2).apply(Context({"weight": weight}, True, lambda like: like), words)


def test_the_vectors_of_an_embedding_are_weights_whose_size_decides_their_first_values():
    weight = Embedding(50, 6).parameters((3,))["weight"]
    assert (weight.shape, weight.fan_in, weight.fan_out, weight.is_weight) == ((50, 6), 6, 6, True)


def test_an_embedding_refuses_numbers_that_are_not_whole():
    with pytest.raises(DTypeError, match="whole numbers") as caught:
        Embedding(5, 2, name="words").apply(
            Context({"weight": np.ones((5, 2))}, True, lambda x: x), np.ones((1, 2))
        )
    assert "float64" in caught.value.why
    assert "words" in caught.value.where


@pytest.mark.parametrize(("count", "size"), [(0, 2), (5, 0), (2.0, 2)])
def test_an_embedding_refuses_sizes_that_are_none(count, size):
    with pytest.raises(ArgumentError, match="whole number"):
        Embedding(count, size)


# --- one's own ----------------------------------------------------------------------------------------------


def test_a_function_is_a_layer():
    agree(
        Function(lambda x: np.sin(x)[:, ::2]), *random_inputs((5,)), expected=lambda _, x: np.sin(x)[:, ::2]
    )


def test_a_function_of_two_inputs_is_a_layer():
    agree(Function(lambda a, b: a * b), *random_inputs((5,), (5,)), expected=lambda _, a, b: a * b)


def test_a_compiled_equation_is_a_function_for_a_layer():
    square = equation("y[n,i] = x[n,i] * x[n,i]")
    agree(Function(square), *random_inputs((4,)), expected=lambda _, x: x * x)


def test_a_function_without_the_batch_first_is_refused():
    with pytest.raises(ShapeError, match="batch as its first axis"):
        Function(lambda x: x.sum()).output_shape((3,))
    with pytest.raises(ShapeError, match="batch as its first axis"):
        Function(lambda x: x.T).output_shape((3,))


def test_what_cannot_be_called_is_no_function():
    with pytest.raises(ArgumentError, match="cannot be called"):
        Function(3)  # pyright: ignore[reportArgumentType]


def test_an_equation_with_learned_tensors_is_a_layer():
    layer = Equation("y[n,o] = sum[i] w[o,i] * x[n,i] + b[o]", {"w": (2, 4), "b": (2,)})
    agree(layer, *random_inputs((4,)), expected=lambda a, x: x @ a["w"].T + a["b"])
    found = layer.parameters((4,))
    assert (found["w"].is_weight, found["b"].is_weight) == (True, False)
    assert (found["w"].fan_in, found["w"].fan_out) == (4, 2)


def test_an_equation_of_inputs_alone_is_a_layer():
    agree(Equation("y[n,i] = a[n,i] * b[n,i]"), *random_inputs((4,), (4,)), expected=lambda _, a, b: a * b)


def test_equations_that_are_no_layers_are_refused():
    with pytest.raises(InputRefused):
        Equation("y[n] = = x[n]")
    with pytest.raises(ArgumentError, match="does not read"):
        Equation("y[n] = x[n]", {"w": (2,)})
    with pytest.raises(ArgumentError, match="no input"):
        Equation("y[n] = x[n]", {"x": (2,)})
    with pytest.raises(ShapeError, match="1 tensors that are not learned"):
        Equation("y[n,i] = x[n,i]").output_shape((2,), (2,))


class Scale(Layer):
    """The layer of the documentation of `Layer`."""

    def parameters(self, *shapes):
        return {"gain": Parameter(shapes[0], Constant(1.0))}

    def apply(self, context, *inputs):
        return inputs[0] * context["gain"]


def test_a_layer_of_ones_own_takes_five_lines():
    agree(Scale(), *random_inputs((2, 3)), expected=lambda arrays, x: x * arrays["gain"])
