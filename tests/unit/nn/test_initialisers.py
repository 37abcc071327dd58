"""The first values of parameters: moments, ranges, orthogonality, fans, determinism."""

import math
from typing import Any

import numpy as np
import pytest

from gradc.errors import ArgumentError
from gradc.nn.initialisers import Constant, Glorot, He, Lecun, Normal, Ones, Orthogonal, Zeros

FAN_IN, FAN_OUT = 300, 100
VARIANCES = [
    (Normal(), 0.01**2),
    (Normal(2.5), 2.5**2),
    (Glorot("uniform"), 2 / (FAN_IN + FAN_OUT)),
    (Glorot("normal"), 2 / (FAN_IN + FAN_OUT)),
    (He("uniform"), 2 / FAN_IN),
    (He("normal"), 2 / FAN_IN),
    (Lecun("uniform"), 1 / FAN_IN),
    (Lecun("normal"), 1 / FAN_IN),
]
EVERY = [Zeros(), Ones(), Constant(0.5), Orthogonal(), *(initialiser for initialiser, _ in VARIANCES)]


TEXT: Any = "gauss"
NOTHING: Any = None
NUMBER: Any = 1


def made(
    initialiser: Any, shape: tuple[int, ...], fan_in: int = FAN_IN, fan_out: int = FAN_OUT, seed: int = 0
):
    return initialiser(np.random.default_rng(seed), shape, fan_in, fan_out)


@pytest.mark.parametrize("initialiser", EVERY, ids=repr)
def test_first_values_are_float64_of_the_shape_and_the_generator_alone_decides_them(initialiser: Any):
    first = made(initialiser, (30, 20), seed=7)
    assert first.shape == (30, 20)
    assert first.dtype == np.float64
    assert first.flags.c_contiguous
    np.testing.assert_array_equal(first, made(initialiser, (30, 20), seed=7))
    if not isinstance(initialiser, Zeros | Ones | Constant):
        assert not np.array_equal(first, made(initialiser, (30, 20), seed=8))


@pytest.mark.parametrize(("initialiser", "value"), [(Zeros(), 0.0), (Ones(), 1.0), (Constant(-2.5), -2.5)])
def test_constants_are_what_they_say(initialiser: Any, value: float):
    for shape in ((3, 2), (4,), ()):
        np.testing.assert_array_equal(made(initialiser, shape), np.full(shape, value))


@pytest.mark.parametrize(("initialiser", "variance"), VARIANCES, ids=repr)
def test_random_values_have_mean_0_and_the_variance_of_the_paper(initialiser: Any, variance: float):
    values = made(initialiser, (FAN_IN, FAN_OUT))
    count = values.size
    fourth = 3.0 if getattr(initialiser, "kind", "normal") == "normal" else 1.8  # kurtosis
    assert abs(values.mean()) < 4 * math.sqrt(variance / count)
    assert abs(values.var() / variance - 1) < 4 * math.sqrt((fourth - 1) / count)
    kurtosis = np.mean(values**4) / values.var() ** 2
    assert kurtosis == pytest.approx(fourth, abs=0.1)


@pytest.mark.parametrize(
    ("initialiser", "bound"),
    [
        (Glorot("uniform"), math.sqrt(6 / (FAN_IN + FAN_OUT))),
        (He("uniform"), math.sqrt(6 / FAN_IN)),
        (Lecun("uniform"), math.sqrt(3 / FAN_IN)),
    ],
    ids=repr,
)
def test_uniform_values_fill_their_range_and_do_not_leave_it(initialiser: Any, bound: float):
    values = made(initialiser, (FAN_IN, FAN_OUT))
    assert -bound <= values.min() < -0.999 * bound
    assert 0.999 * bound < values.max() < bound


def test_the_fans_count_and_not_the_shape():
    shape = (3, 3, 50, 40)  # a convolution
    assert made(He("normal"), shape, 450, 360).std() == pytest.approx(math.sqrt(2 / 450), rel=0.03)
    assert made(He("normal"), shape, 18, 360).std() == pytest.approx(math.sqrt(2 / 18), rel=0.03)
    assert made(Glorot("normal"), shape, 450, 50).std() == pytest.approx(math.sqrt(2 / 500), rel=0.03)
    assert made(Lecun("normal"), shape, 450, 50).std() == pytest.approx(math.sqrt(1 / 450), rel=0.03)


def test_the_kinds_by_default():
    assert Glorot().kind == "uniform"
    assert He().kind == Lecun().kind == "normal"


@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (12, 5), (1, 6), (6, 1)])
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_the_fewer_of_rows_and_columns_are_orthonormal_times_the_gain(shape: tuple[int, int], gain: float):
    matrix = made(Orthogonal(gain), shape)
    assert matrix.flags.c_contiguous
    gram = matrix @ matrix.T if shape[0] <= shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, gain**2 * np.eye(min(shape)), atol=1e-14)


@pytest.mark.parametrize(
    ("shape", "fan_in", "rows"),
    [
        ((3, 3, 4, 10), 36, 36),  # a convolution with results last
        ((10, 4, 3, 3), 36, 10),  # with results first
        ((4, 9, 2, 2), 36, 4),  # results first, although 4 * 9 is 36 too
        ((3, 3, 5, 9), 45, 45),  # results last, although 5 * 9 is 45 too
        ((10, 3, 4), 10, 10),  # attention: from features to heads
        ((3, 4, 10), 12, 12),  # and back
        ((2, 3, 5, 7), 6, 6),  # two axes in, two out
    ],
)
def test_an_array_of_more_axes_is_orthogonal_as_the_matrix_from_its_fan_in(
    shape: tuple[int, ...], fan_in: int, rows: int
):
    array = made(Orthogonal(), shape, fan_in)
    assert array.shape == shape
    matrix = array.reshape(rows, -1)
    gram = matrix @ matrix.T if rows <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-14)


def test_orthogonal_matrices_are_not_biased_by_the_decomposition():
    corners = [made(Orthogonal(), (2, 2), seed=seed)[0, 0] for seed in range(400)]
    assert abs(np.mean(corners)) < 4 * math.sqrt(0.5 / 400)  # without the signs all are negative


@pytest.mark.parametrize(("shape", "fan_in"), [((), 1), ((5,), 5), ((2, 3, 4), 5)])
def test_orthogonal_refuses_what_is_no_matrix(shape: tuple[int, ...], fan_in: int):
    with pytest.raises(ArgumentError, match="rows from the columns") as refused:
        made(Orthogonal(), shape, fan_in)
    assert "fan_in" in refused.value.do


@pytest.mark.parametrize("initialiser", [Glorot(), He(), Lecun()], ids=repr)
def test_a_fan_of_0_is_refused(initialiser: Any):
    with pytest.raises(ArgumentError, match="fan of 0"):
        made(initialiser, (0, 0), 0, 0)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Constant(math.nan), "Constant.value is nan"),
        (lambda: Constant(math.inf), "Constant.value is inf"),
        (lambda: Constant(TEXT), "Constant.value is 'gauss'"),
        (lambda: Normal(-0.1), "Normal.deviation is -0.1"),
        (lambda: Normal(math.nan), "Normal.deviation is nan"),
        (lambda: Orthogonal(0), "Orthogonal.gain is 0"),
        (lambda: Glorot(TEXT), "Glorot.kind is 'gauss'"),
        (lambda: He(NOTHING), "He.kind is None"),
        (lambda: Lecun(NUMBER), "Lecun.kind is 1"),
    ],
)
def test_bad_settings_are_refused_at_construction(make: Any, what: str):
    with pytest.raises(ArgumentError) as refused:
        make()
    assert refused.value.what == what
    assert refused.value.do.startswith("give ")
