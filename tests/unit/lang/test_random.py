"""`gradc.random` in traced functions: programs, gradients, keys, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from gradc import errors
from gradc.explain.kernels.residuals import residuals
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Assign
from gradc.ir.index.templates import template
from gradc.ir.loop.evaluate import evaluate as run
from gradc.ir.schedule import leaves

random = gradc.random


def interpreted(function: Callable[..., Any], **options: Any) -> Any:
    return gradc.differentiate(function, target="interpret", **options)


def layer(w1: Any, w2: Any, x: Any, key: Any) -> Any:
    hidden = np.maximum(x @ w1, 0.0)
    dropped = np.where(random.uniform_like(key, hidden) < 0.8, hidden / 0.8, 0.0)
    return np.square(dropped @ w2).mean()


def weights(seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(5, 8)), rng.normal(size=(8, 3)), rng.normal(size=(6, 5))


# --- programs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 1, 5), (2, 3, 1, 4), (0,), (3, 0)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_traced_draw_is_numpys_at_every_place(shape: tuple[int, ...], dtype: type):
    drawn = interpreted(lambda x, key: x * 0 + random.uniform(key, x.shape, dtype), wrt="x")
    found = drawn(np.zeros(shape, dtype), 11)
    assert np.asarray(found).tobytes() == np.asarray(random.uniform(11, shape, dtype)).tobytes()


def test_numbers_depend_on_the_flat_index_alone():
    flat = random.uniform(3, 24)
    assert np.array_equal(random.uniform(3, (2, 3, 4)), flat.reshape(2, 3, 4))
    assert np.array_equal(random.uniform(3, 5), flat[:5])
    assert random.uniform(3) == flat[0]


def test_like_takes_shape_and_dtype():
    assert random.uniform_like(3, np.ones((2, 3), np.float32)).dtype == np.float32
    assert np.array_equal(random.uniform_like(3, np.ones((2, 3), int)), random.uniform(3, (2, 3)))
    traced = interpreted(lambda x, key: x * 0 + random.uniform_like(key, x), wrt="x")
    assert np.array_equal(
        traced(np.ones((2, 3), np.float32), 3), random.uniform_like(3, np.ones((2, 3), np.float32))
    )


def test_keys_are_ints_of_every_kind():
    drawn = interpreted(lambda x, key: x + random.uniform(key, 4), wrt="x")
    for key in (5, np.int64(5), np.int32(5), np.uint8(5), np.array(5)):
        assert np.array_equal(drawn(0.0, key), random.uniform(5, 4)), type(key)
        assert np.array_equal(random.uniform(key, 4), random.uniform(5, 4)), type(key)
    assert np.array_equal(drawn(0.0, -(2**63)), random.uniform(-(2**63), 4))


def test_a_draw_with_known_key_and_shape_is_an_equation_and_no_input():
    program = (
        interpreted(lambda x: x * random.uniform(3, (500,)), wrt="x").inspect(np.ones(500)).stages.program
    )
    assert program.inputs == ("x",)


def test_folded_and_split_keys_in_a_trace():
    def drawn(x: Any, key: Any) -> Any:
        first, second = random.split(key)
        third = random.fold_in(key, 7)
        return x + np.stack(
            [random.uniform(k, 3) for k in (first, second, third, random.fold_in(third, key))]
        )

    keys = [*random.split(9), random.fold_in(9, 7)]
    keys.append(random.fold_in(keys[-1], 9))
    assert np.array_equal(
        interpreted(drawn, wrt="x")(0.0, 9), np.stack([random.uniform(key, 3) for key in keys])
    )
    assert len({int(key) for key in keys}) == 4


def test_split_is_fold_in_of_every_number():
    assert random.split(4, 5).tolist() == [int(random.fold_in(4, i)) for i in range(5)]
    assert random.split(4, 5).dtype == np.int64
    assert random.split(4, 0).shape == (0,)


def test_normal_and_bernoulli_in_a_trace():
    normal = interpreted(lambda x, key: x + random.normal(key, (3, 5), x.dtype), wrt="x")
    for dtype in (np.float64, np.float32):
        assert np.array_equal(normal(dtype(0), 4), random.normal(4, (3, 5), dtype))
    chosen = interpreted(lambda x, p, key: x * random.bernoulli(key, p, (4, 6)), wrt="x")
    p = np.linspace(0, 1, 6)
    assert np.array_equal(chosen(1.0, p, 2), random.bernoulli(2, p, (4, 6)))
    assert np.array_equal(chosen(1.0, 0.25, 2), random.uniform(2, (4, 6)) < 0.25)
    assert not random.bernoulli(2, 0.0, 1000).any()
    assert random.bernoulli(2, 1.0, 1000).all()


def test_vmap_gives_every_example_its_key():
    drawn = gradc.vmap(lambda x, key: x * random.uniform(key, 3), target="interpret")
    keys = random.split(0, 4)
    expected = np.stack([2 * random.uniform(key, 3) for key in keys])
    assert np.array_equal(drawn(np.full(4, 2.0), keys), expected)


def test_a_draw_outside_the_clone_is_traced_too():
    """Code of libraries is not cloned: the function itself meets the traced values."""

    def of_a_library(x: Any, key: Any) -> Any:
        return random.uniform_like(key, x) + random.uniform(random.fold_in(key, 1), 3)

    of_a_library.__module__ = "sklearn"
    expected = random.uniform(5, 3) + random.uniform(random.fold_in(5, 1), 3)
    assert np.array_equal(
        interpreted(lambda x, key: x * of_a_library(x, key), wrt="x")(np.ones(3), 5), expected
    )


# --- derivatives --------------------------------------------------------------------------------------------


def test_the_gradient_uses_the_mask_of_the_value():
    w1, w2, x = weights()
    loss = interpreted(layer, wrt=("w1", "w2"))
    hidden = np.maximum(x @ w1, 0)
    mask = (random.uniform(21, hidden.shape) < 0.8) / 0.8
    out = hidden * mask @ w2
    value, (first, second) = loss.value_and_grad(w1, w2, x, 21)
    np.testing.assert_allclose(value, np.square(out).mean(), rtol=1e-13)
    bar = 2 * out / out.size
    np.testing.assert_allclose(second, (hidden * mask).T @ bar, rtol=1e-12)
    np.testing.assert_allclose(first, x.T @ (bar @ w2.T * mask * (hidden > 0)), rtol=1e-12, atol=1e-15)
    loss.check(w1, w2, x, 21).assert_ok()


def test_what_is_drawn_is_a_constant():
    loss = interpreted(lambda x, key: np.sum(x * random.normal(key, x.shape)), wrt="x")
    assert np.array_equal(loss.grad(np.ones(5), 8), random.normal(8, 5))
    chosen = interpreted(lambda p, key: np.sum(np.where(random.bernoulli(key, p, 9), p, 0.0)), wrt="p")
    assert chosen.grad(0.4, 3) == random.bernoulli(3, 0.4, 9).sum()


def dropped_maps(w: Any, x: Any, key: Any) -> Any:
    features = np.tanh(w * x)
    first, _ = random.split(key)
    dropped = np.where(random.uniform(first, features.shape) < 0.8, features / 0.8, 0.0)
    centred = dropped - dropped.mean(axis=(0, 2, 3), keepdims=True)
    return np.sum(np.square(centred) * features)


def dropped_units(w1: Any, w2: Any, x: Any, key: Any) -> Any:
    hidden = np.maximum(x @ w1, 0.0)
    return np.square((hidden * random.bernoulli(key, 0.8, hidden.shape)) @ w2).mean()


MAPS = np.linspace(-1, 1, 120).reshape(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("loss", "values"),
    [
        (layer, dict(zip(("w1", "w2", "x"), weights(), strict=True))),
        (dropped_units, dict(zip(("w1", "w2", "x"), weights(), strict=True))),
        (dropped_maps, {"w": MAPS, "x": MAPS[::-1].copy()}),
    ],
)
def test_a_mask_is_drawn_again_and_not_kept(loss: Callable[..., Any], values: dict[str, np.ndarray]):
    inputs = {**values, "key": np.int64(3)}
    wrt = tuple(name for name in values if name != "x")
    stages = gradc.differentiate(loss, wrt=wrt).at(**inputs).inspect(of="value_and_grad").stages
    program = stages.optimised
    drawn = {
        equation.out
        for equation in program.equations
        if isinstance(equation, Assign)
        and equation.template.name.startswith("random_bits")
        and program.types[equation.out].shape != (2,)  # the keys of `split`
    }
    assert drawn
    assert all(stages.schedule.storage[name].kind == "scalar" for name in drawn)
    found = {residual.name: residual.how for residual in residuals(stages)}
    assert not [name for name, how in found.items() if how == "array" and program.types[name].dtype.is_bool]
    assert "recomputed" in found.values()
    for got, wanted in zip(run(stages.kernel, inputs), evaluate(program, inputs), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-15)


def test_a_number_that_several_elements_share_is_drawn_once():
    """Dropping whole rows: in the loop over the elements of a row the number would be drawn for each of them."""

    def loss(x: Any, key: Any) -> Any:
        kept = random.uniform(key, (x.shape[0], 1)) < 0.5
        rows = np.where(kept, x, 0.0)
        return np.sum(np.where(kept, np.square(x - rows.mean()), 0.0))

    stages = gradc.differentiate(loss, wrt="x").at(np.ones((3, 4)), 3).inspect(of="value_and_grad").stages
    (bits,) = [
        at
        for at, equation in enumerate(stages.optimised.equations)
        if isinstance(equation, Assign) and equation.template is template("random_bits")
    ]
    places = [leaf.loops for leaf in leaves(stages.schedule.body) if leaf.equation == bits]
    assert [len([loop for loop in loops if loop]) for loops in places] == [1]


# --- compilations -------------------------------------------------------------------------------------------


def test_one_compilation_serves_every_size_and_key():
    loss = interpreted(layer, wrt=("w1", "w2"))
    w1, w2, x = weights()
    first = loss.grad(w1, w2, x, 1)
    assert not np.array_equal(first[0], loss.grad(w1, w2, x, 2)[0])
    loss.grad(w1[:3], w2, x[:4, :3], 3)
    assert loss.cache_info().variants == 1


# --- refusals -----------------------------------------------------------------------------------------------

OUTSIDE: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: random.uniform(1.5, 3), errors.DTypeError, "a key is an integer, not float"),
    (lambda: random.uniform("a", 3), errors.DTypeError, "not str"),
    (lambda: random.uniform(2**63, 3), errors.DTypeError, "no int64"),
    (lambda: random.uniform(np.arange(3), 3), errors.ShapeError, "not an array"),
    (lambda: random.uniform(1, -3), errors.ShapeError, "cannot be negative: -3"),
    (lambda: random.uniform(1, (2, -1)), errors.ShapeError, "cannot be negative: -1"),
    (lambda: random.uniform(1, np.array([2.5])), errors.ShapeError, "no shape"),  # pyright: ignore[reportArgumentType]
    (lambda: random.uniform(1, 3, np.int64), errors.DTypeError, "int64"),
    (lambda: random.uniform(1, 3, np.float16), errors.DTypeError, "float16"),
    (lambda: random.normal(1.5, 3), errors.DTypeError, "a key is an integer"),
    (lambda: random.split(1, -1), errors.ShapeError, "negative"),
    (lambda: random.fold_in(1, -1), errors.ArgumentError, "from 0 on, not -1"),
    (lambda: random.fold_in(1, 0.5), errors.DTypeError, "not float"),
    (lambda: random.bernoulli(1, 1.5, 3), errors.ArgumentError, "between 0 and 1"),
    (lambda: random.bernoulli(1, [0.1, np.nan], 2), errors.ArgumentError, "between 0 and 1"),
    (lambda: random.bernoulli(1, [0.1, 0.2], 3), errors.ShapeError, "do not broadcast"),
]


@pytest.mark.parametrize(("call", "error", "text"), OUTSIDE)
def test_refused_outside(call: Callable[[], Any], error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        call()


INSIDE: list[tuple[Callable[..., Any], type[Exception], str]] = [
    (lambda x, key: x * random.uniform(key + 0.5, 3), errors.DTypeError, "a key is an integer, not float64"),
    (lambda x, key: x * random.uniform(x > 0, 3), errors.DTypeError, "not bool"),
    (lambda x, key: x * random.uniform(np.arange(3) * key, 3), errors.ShapeError, "not an array"),
    (lambda x, key: x * random.uniform(key, -3), errors.ShapeError, "cannot be negative: -3"),
    (lambda x, key: x * random.uniform(key, 3, int), errors.DTypeError, "int64"),
    (lambda x, key: x * random.fold_in(key, -2), errors.ArgumentError, "from 0 on"),
    (lambda x, key: x * random.bernoulli(key, 2.0, 3), errors.ArgumentError, "between 0 and 1"),
    (lambda x, key: x * random.bernoulli(key, np.ones(2) * x, 3), errors.ShapeError, "broadcast"),
    (lambda x, key: x * random.bernoulli(key, np.ones((2, 3)) * x, 3), errors.ShapeError, "broadcast"),
]


@pytest.mark.parametrize(("function", "error", "text"), INSIDE)
def test_refused_inside(function: Callable[..., Any], error: type[Exception], text: str):
    with pytest.raises(error, match=text) as caught:
        interpreted(function, wrt="x")(1.0, 3)
    assert "test_random.py" in str(caught.value)


def test_numpys_generator_is_refused_with_this_one():
    with pytest.raises(errors.TraceError, match=r"gradc\.random\.uniform\(key, shape\)"):
        interpreted(lambda x: x * np.random.random(3))(1.0)
