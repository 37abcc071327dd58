"""Item and augmented assignment on arrays made in the function, views included."""

import copy

import numpy as np
import pytest

from gradc.errors import DTypeError, ShapeError, TraceError
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Assemble
from gradc.ir.index.verify import verify
from gradc.lang.trace import leaves, trace

X = np.array([0.3, 1.2, 0.7, 2.1])


def write_view(x):
    y = np.zeros(4)
    v = y[1:]
    v[0] = x[0]
    return y, v


def write_base_read_view(x):
    y = x * 1
    v = y[1:]
    y[2] = 9.0
    return v, y


def view_of_view(x):
    y = x * 1
    v = y[1:][::2]
    v *= 3
    return y, v


def write_transposed(x):
    y = np.outer(x, x).copy()
    t = y.T
    t[0] = x
    y[1, 1] = 0
    return t, y


def write_reshaped(x):
    y = np.zeros(4)
    w = y.reshape(2, 2)
    w[0, 1] = x[3]
    y[0] = 7
    w.ravel()[3] = x[1]
    return y, w


def alias(x):
    y = x.copy()
    z = y
    y += 1
    y[1:] *= x[0]
    return z


def rebinding_is_no_write(x):
    y = x * 2
    z = y
    y = y + 1
    return y, z


def steps_lists_masks(x):
    y = x * 1
    y[::2] -= x[0]
    y[[0, 1]] = x[2]
    y[y > 1] = 0.5
    y[np.array([True, False, False, True])] += 2
    return y


def diagonal(x):
    K = np.outer(x, x)
    K[np.diag_indices(len(x))] += 10.0
    return K


def copies(x):
    y = np.zeros(4)
    a, b, c = y.copy(), np.array(y), y[[0, 1]]
    y[:] = x
    return a, b, c, y


def every_operator(x):
    y = x * 4
    y -= 1
    y /= 2
    y *= x
    y **= 2
    y //= 0.1
    y %= 3
    return y


def into(x):
    y = np.empty(4)
    np.exp(x, out=y)
    np.add(y, 1, out=y)
    return y


def methods(x):
    y = x * 1
    y.sort()
    z = np.empty((2, 2))
    z.fill(x[0])
    return y, z


def known_arrays(x):
    A = np.arange(6).reshape(2, 3)
    A[0] = 7
    B = np.eye(2)
    B[0, 1] = x[0]
    return A * 2, B, A[1, 2] * x, np.array([1, 2, 3])


def iterated_views(x):
    y = np.outer(x, x).copy()
    for row in y:
        row += 1
    y[0][1] = 5
    return y


def swapped(x):
    y = x.reshape(2, 2) * 1
    z = np.swapaxes(y, 0, 1)
    f = np.flip(y, 0)
    e = y[None]
    z[0, 1] = 3.0
    e[0, 1, 1] = 4.0
    f[0] += 1
    return y, z, f, e


def same_array_again(x):
    y = np.zeros(4)
    z = np.asarray(y, dtype=float)
    z[0] = x[0]
    w = y.astype(float, copy=False)
    w[1] = x[1]
    v = np.transpose(a=y.reshape(2, 2), axes=(1, 0))
    v[1, 1] = x[3]
    f = np.asarray(y, dtype=np.float32)
    f[2] = 9.0
    return y, f


def diagonal_matrix(x):
    D = np.diag(x)
    D[0, 1] = x[2]
    return D


FUNCTIONS = [value for value in list(globals().values()) if getattr(value, "__module__", "") == __name__]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_writes_mean_what_numpy_means(function):
    expected = leaves(function(copy.copy(X)))
    traced = trace(function, {"x": X})
    verify(traced.program)
    found = evaluate(traced.program, {"x": X, **{h.name: h.read() for h in traced.hidden}})
    for one, other in zip(found, expected, strict=True):
        assert np.asarray(one).dtype == np.asarray(other).dtype
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_augmented_item_assignment_writes_once():
    def function(x):
        y = x * 1
        y[1:] += x[0]
        return y

    program = trace(function, {"x": X}).program
    assert [equation.out for equation in program.equations if isinstance(equation, Assemble)] == ["y_2"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.__setitem__(0, 1.0),
        lambda x: x.__iadd__(1),
        lambda x: x[1:].__imul__(2),
        lambda x: x.T.__setitem__(0, 1.0),
        lambda x: np.asarray(x).__setitem__(0, 1.0),
        lambda x: np.exp(x, out=x),
        lambda x: x.sort(),
        lambda x: np.reshape(x, (2, 2)).fill(0.0),
    ],
)
def test_arguments_are_not_written(function):
    with pytest.raises(TraceError, match="is written to"):
        trace(function, {"x": X})


def test_uncertain_views_are_refused():
    def function(x):
        y = (x.reshape(2, 2) * 1).T
        v = y.ravel()
        v[0] = 1.0
        return y

    with pytest.raises(TraceError, match="a view is written to"):
        trace(function, {"x": X})


def test_reading_an_uncertain_view_after_a_write_is_refused():
    def function(x):
        y = x.reshape(2, 2) * x[0]
        v = y.ravel()
        y[0, 0] = 1.0
        return v

    with pytest.raises(TraceError, match="a view is written to"):
        trace(function, {"x": X})


def test_integers_do_not_take_floats_in_place():
    def function(x):
        y = np.zeros(4, dtype=int)
        y += x
        return y

    with pytest.raises(DTypeError, match="in place"):
        trace(function, {"x": X})


def write_the_rest_to_one_place(x):
    y = np.zeros(3)
    y[1:2] = x[3:]
    return y


def test_a_slice_that_is_written_to_one_place_has_one_element():
    """Nothing says so before the call: ``n - 3`` becomes 1 as any two extents that meet become equal."""
    traced = trace(write_the_rest_to_one_place, {"x": X})
    (found,) = evaluate(traced.program, {"x": X})
    np.testing.assert_array_equal(found, write_the_rest_to_one_place(X))
    with pytest.raises(ShapeError, match="do not agree"):
        trace(write_the_rest_to_one_place, {"x": np.arange(5.0)})
