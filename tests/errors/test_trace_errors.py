"""What tracing refuses, with the whole text of each message."""

import math
import random
from typing import Any

import numpy as np
import pytest
import scipy.interpolate
import scipy.spatial
import scipy.stats
from scipy.integrate import quad

from gradc.errors import GradcError
from gradc.lang.trace import trace

X = np.array([0.3, 1.2, 0.7, 2.1])
N = np.array([1, 2, 0])
OBJECTS = np.array([1.0, None], dtype=object)
GENERATOR = np.random.default_rng(0)
CACHE: dict[str, float] = {}
MANY = [float(i) for i in range(3000)]


def branch(x):
    return x if x.sum() > 0 else -x


def loop_until(x):
    while x[0] < 1:
        x = x * 2
    return x


def chained(x):
    return 0 < x[0] < 1


def membership(x):
    return 3.0 in x


def dictionary_key(x):
    return {x[0]: 1.0}


def list_index(n):
    return [1.0, 2.0, 3.0][n[0]]


def loop_count(n):
    return [i for i in range(n[0])]


def integer_of_float(x):
    return int(x[0])


def float_of_array(x):
    return float(x)


def complex_number(x):
    return complex(x[0])


def in_order(x):
    return sorted(x)


def power_modulo(n):
    return pow(n, 2, 3)


def integration(x):
    return quad(lambda t: t * x[0], 0.0, 1.0)[0]


def interpolation(x):
    return scipy.interpolate.interp1d(X, X)(x)


def distances(x):
    return scipy.spatial.distance.cdist(x[:, None], x[:, None])


def other_density(x):
    return scipy.stats.t.logpdf(x, 3.0)


def vectorised(x):
    return np.vectorize(lambda t: t * 2)(x)


def combinations(x):
    return math.comb(3, x[0])


def distinct(x):
    return np.unique(x)


def decomposition(x):
    return np.linalg.svd(np.outer(x, x))


def sorted_search(x):
    return np.digitize(x, [1.0, 2.0])


def copy_into(x):
    y = np.zeros(4)
    np.copyto(y, x)
    return y


def scatter_add(x):
    y = np.zeros(4)
    np.add.at(y, [0, 0], x[:2])
    return y


def close(x):
    return np.allclose(x, 1.0)


def strides(x):
    return x.strides


def unknown_attribute(x):
    return x.norm()


def imaginary(x):
    return x.imag


def new_axis_of_number(x):
    return x[0][None]


def length_of_number(x):
    return len(x.sum())


def item_of_number(x):
    y = x.sum()
    y[...] = 1.0
    return y


def item_of_argument(x):
    x[0] = 1.0
    return x


def augmented_argument(x):
    x += 1
    return x


def augmented_view(x):
    tail = x[1:]
    tail *= 2
    return x


def put_into_captured(x):
    X[0] = x[0]
    return X


def remembered(x):
    CACHE["x"] = x
    return x


def drawn(x):
    return x * np.random.rand(4)


def drawn_by_generator(x):
    return x + GENERATOR.normal(size=4)


def drawn_by_random(x):
    return x * random.random()


def objects_beside(x):
    return x[:2] * OBJECTS


def objects_made(x):
    return np.array([x[0], x[1]], dtype=object).sum()


def many_numbers(x):
    return x * sum(MANY)


def bits(n):
    return n << 1


def text(x):
    return x + "a"


def mask_beyond_reduction(x):
    return x[x > 1] + x


REFUSED = [value for value in list(globals().values()) if getattr(value, "__module__", "") == __name__]


@pytest.mark.parametrize("function", REFUSED, ids=lambda f: f.__name__)
def test_message(function: Any, golden):
    argument = "n" if function.__code__.co_varnames[0] == "n" else "x"
    with pytest.raises((GradcError, TypeError)) as caught:
        trace(function, {argument: N if argument == "n" else X})
    golden.message(f"{type(caught.value).__name__}: {caught.value}")
