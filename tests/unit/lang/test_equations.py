import itertools

import numpy as np
import pytest
from scipy.signal import correlate
from tests.unit.lang.front_ends import assert_gradient, of_equation, result_of

from gradc.errors import ArgumentError, GradcError, GuardFailed, InputRefused, ShapeError
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Assemble, Assign
from gradc.ir.types import DType
from gradc.lang.emit import Emitter
from gradc.lang.equations import equation

CONVOLUTION = "y[n,o,p,q] = sum[c,i,j] w[o,c,i,j] * x[n,c,p+i,q+j]"


def image(rng, *, channels=3):
    return {"w": rng.normal(size=(2, channels, 3, 2)), "x": rng.normal(size=(4, channels, 6, 5))}


def correlated(w, x):
    return np.stack([[sum(correlate(a[c], k[c], "valid") for c in range(len(k))) for k in w] for a in x])


# --- what equations mean ------------------------------------------------------------------------------------


def test_convolution_is_scipys_correlation(rng):
    arrays = image(rng)
    y = result_of(equation(CONVOLUTION), arrays)
    np.testing.assert_allclose(y, correlated(**arrays), rtol=1e-13, atol=1e-13)


def test_padding_reads_zeros_outside(rng):
    arrays = image(rng)
    padded = {**arrays, "x": np.pad(arrays["x"], ((0, 0), (0, 0), (1, 1), (1, 1)))}
    want = correlated(**padded)
    inside = equation(CONVOLUTION.replace("x[", "pad(x, 1)["))
    per_axis = equation(CONVOLUTION, pad={"x": (0, 0, 1, (1, 1))})
    for y in (result_of(inside, arrays), result_of(per_axis, arrays)):
        np.testing.assert_allclose(y, want, rtol=1e-13, atol=1e-13)


def test_unequal_padding(rng):
    x = rng.normal(size=5)
    y = result_of(equation("y[p] = sum[i] pad(x, (2, 0))[p + i] with i < 3"), {"x": x})
    np.testing.assert_allclose(y, np.convolve(x, np.ones(3))[:5])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y[i,k] = sum[j] a[i,j] * b[j,k]", lambda a, b, v: a @ b),
        ("y[j,i] = a[i,j]", lambda a, b, v: a.T),
        ("y = sum[i,j] a[i,j] * b[j,i]", lambda a, b, v: np.trace(a @ b)),
        ("y[i] = tanh(sum[j] a[i,j]*v[j] + v[i]) - 2", lambda a, b, v: np.tanh(a @ v + v) - 2),
        ("y[i] = a[i,i]", lambda a, b, v: np.diag(a)),
        ("y[i,j] = where(i <= j, a[i,j], 0)", lambda a, b, v: np.triu(a)),
        ("y[i,j] = where(i == j, v[i], 0) with j < 3", lambda a, b, v: np.diag(v)),
        ("y[i] = prod[j] a[i,j]", lambda a, b, v: a.prod(1)),
        ("y[i] = min[j] a[i,j] * v[j]", lambda a, b, v: (a * v).min(1)),
        ("y[i] = max(v[i], 0, a[i,0])", lambda a, b, v: np.maximum(np.maximum(v, 0), a[:, 0])),
        ("y[i] = -v[i]**2 / 2**-1", lambda a, b, v: -(v**2) / 0.5),
        ("y[i] = 0.5*i + pi with i < 4", lambda a, b, v: 0.5 * np.arange(4) + np.pi),
        ("y[i] = sum[j] (a[i,j] + v[j]) * 3", lambda a, b, v: ((a + v) * 3).sum(1)),
        ("y[i] = sum[j] a[i,j] * (sum[k] b[j,k] * v[k])", lambda a, b, v: a @ (b @ v)),
        ("y[i] = sum[j,k] a[i,j] * b[j,k] * v[k]", lambda a, b, v: a @ b @ v),
        ("y[i] = sum[j] a[i,j] / v[j] * b[j,i]", lambda a, b, v: (a / v * b.T).sum(1)),
        ("y = max[i] v[i] - min[i] v[i]", lambda a, b, v: np.ptp(v)),
        ("y[i] = v[-i + 2] with i < 3", lambda a, b, v: v[::-1]),
        ("y[i,j] = v[i]*v[j]*2", lambda a, b, v: np.outer(v, v) * 2),
        ("y[i] = v[i] ** v[i] + sqrt(v[i]) + v[i]**0.5", lambda a, b, v: v**v + 2 * np.sqrt(v)),
        ("y[i] = sum[j] 1 with i < 2, j < 5", lambda a, b, v: np.array([5.0, 5.0])),
        ("y[i] = clip(relu(v[i]), 0.2, 1)", lambda a, b, v: np.clip(v, 0.2, 1)),
        ("y[i] = 3*a[0, i] - a[2, i]", lambda a, b, v: 3 * a[0] - a[2]),
    ],
)
def test_an_equation_is_what_numpy_computes(text, expected, rng):
    arrays = {name: rng.uniform(0.5, 2, size=size) for name, size in (("a", (3, 3)), ("b", (3, 3)), ("v", 3))}
    compiled = equation(text)
    used = {name: arrays[name] for name in compiled.parameters}
    np.testing.assert_allclose(result_of(compiled, used), expected(**arrays), rtol=1e-13, atol=1e-14)
    if used:
        assert_gradient(of_equation(compiled, used), used, rng)


@pytest.mark.parametrize(
    ("text", "pad"),
    [
        (CONVOLUTION, None),
        (CONVOLUTION, {"x": 1}),
        ("y[n,c,p,q] = max[i,j] x[n,c,2*p+i,2*q+j] with i < 2, j < 2", None),
        ("y[n,o,p] = sum[c,i] w[o,c,i,0] * x[n,c,2*p+2*i,1]", {"x": (0, 0, (2, 1), 0)}),
        ("y[n,p] = prod[i] x[n,0,p+i,2] with i < 3", None),
    ],
)
def test_gradients_of_windows_agree_with_differences(text, pad, rng):
    arrays = image(rng)
    compiled = equation(text, pad=pad)
    used = {name: arrays[name] for name in compiled.parameters}
    assert_gradient(of_equation(compiled, used, symbolic=True), used, rng)


def test_pooling_takes_whole_windows_only(rng):
    x = rng.normal(size=(2, 3, 7, 5))
    y = result_of(equation("y[n,c,p,q] = max[i,j] x[n,c,2*p+i,2*q+j] with i < 2, j < 2"), {"x": x})
    want = x[:, :, :6, :4].reshape(2, 3, 3, 2, 2, 2).max((3, 5))
    np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize(
    ("extent", "stride", "dilation", "offset"), [*itertools.product((7, 8, 9), (1, 2, 3), (1, 2), (0, 1))]
)
def test_every_window_that_fits_is_taken(extent, stride, dilation, offset, rng):
    x, w = rng.normal(size=extent), rng.normal(size=3)
    text = f"y[p] = sum[i] w[i] * x[{stride}*p + {dilation}*i + {offset}]"
    want = []
    while stride * len(want) + 2 * dilation + offset < extent:
        start = stride * len(want) + offset
        want.append(w @ x[start : start + 2 * dilation + 1 : dilation])
    np.testing.assert_allclose(result_of(equation(text), {"w": w, "x": x}), want, rtol=1e-13)


def test_a_window_that_just_does_not_fit_leaves_nothing(rng):
    y = result_of(equation("y[p] = sum[i] w[i]*x[2*p+i]"), {"w": rng.normal(size=4), "x": rng.normal(size=3)})
    assert y.shape == (0,)


def test_several_equations_share_tensors(rng):
    text = """
        h[n,o] = tanh(sum[i] w[o,i] * x[n,i])   # a layer
        m[n]   = max[o] h[n,o]
        y[n,o] = exp(h[n,o] - m[n]) /
                 sum[k] exp(h[n,k] - m[n])
    """
    compiled = equation(text)
    assert (compiled.parameters, compiled.outputs) == (("w", "x"), ("y",))
    arrays = {"w": rng.normal(size=(3, 2)), "x": rng.normal(size=(4, 2))}
    h = np.tanh(arrays["x"] @ arrays["w"].T)
    want = np.exp(h) / np.exp(h).sum(1, keepdims=True)
    np.testing.assert_allclose(result_of(compiled, arrays), want, rtol=1e-13)
    both = result_of(equation(text, outputs=("m", "h")), arrays)
    np.testing.assert_allclose(both[0], h.max(1))
    np.testing.assert_allclose(both[1], h)


def test_sizes_are_named_in_ranges(rng):
    x = rng.normal(size=6)
    compiled = equation("y[p, i] = x[p + i] with i < n")
    assert compiled.sizes == ("n",)
    np.testing.assert_array_equal(
        result_of(compiled, {"x": x, "n": 2}), np.lib.stride_tricks.sliding_window_view(x, 2)
    )


def test_float32_stays_and_integers_promote():
    x = np.arange(4, dtype=np.float32)
    assert result_of(equation("y[i] = 2*x[i] + i + 0.5"), {"x": x}).dtype == np.float32
    k = np.arange(4)
    assert result_of(equation("y = sum[i] k[i]"), {"k": k}) == 6
    assert result_of(equation("y = sum[i] k[i]"), {"k": k}).dtype == np.int64
    assert result_of(equation("y = sum[i] (k[i] > 1)"), {"k": k}) == 2
    assert result_of(equation("y[i] = k[i] / 2"), {"k": k}).dtype == np.float64


# --- how they are compiled ----------------------------------------------------------------------------------


def test_a_sum_of_products_is_one_contraction(rng):
    made = of_equation(equation(CONVOLUTION), image(rng))
    (only,) = made.equations
    assert isinstance(only, Assign)
    assert only.template.name == "mul"
    assert len(only.space) == 7
    assert only.reduce is not None


def test_a_bias_outside_a_sum_is_added_once(rng):
    arrays = {"w": rng.normal(size=(3, 2)), "x": rng.normal(size=2), "b": rng.normal(size=3)}
    made = of_equation(equation("y[i] = sum[j] w[i,j]*x[j] + b[i]"), arrays)
    assert [len(e.space) for e in made.equations if isinstance(e, Assign)] == [2, 1]
    np.testing.assert_allclose(evaluate(made, arrays)[0], arrays["w"] @ arrays["x"] + arrays["b"])


def test_parts_use_only_the_indices_they_need(rng):
    arrays = {"u": rng.normal(size=3), "v": rng.normal(size=4)}
    made = of_equation(equation("y[i,j] = sin(u[i]) * cos(v[j])"), arrays)
    assert [len(e.space) for e in made.equations if isinstance(e, Assign)] == [1, 1, 2]


def test_names_of_results_are_the_users(rng):
    made = of_equation(equation("h[i] = 2*x[i] + 1\ny[i] = h[i]*h[i]"), {"x": rng.normal(size=3)})
    assert made.outputs == ("y",)
    assert "h" in made.types


def test_a_tensor_is_padded_once(rng):
    made = of_equation(
        equation("y[p] = sum[i] pad(x,1)[p+i] * pad(x,1)[p+i] with i < 2"), {"x": rng.normal(size=3)}
    )
    assert sum(isinstance(e, Assemble) for e in made.equations) == 1


def test_long_equations_need_no_recursion():
    made = of_equation(equation("y[i] = " + " + ".join(["x[i]"] * 5000)), {"x": np.ones(2)})
    assert evaluate(made, {"x": np.ones(2)})[0].tolist() == [5000, 5000]


def test_guards_hold_back_other_shapes(rng):
    made = of_equation(equation("y[i] = x[i] + x[i+2] with i < 3"), {"x": rng.normal(size=6)}, symbolic=True)
    assert evaluate(made, {"x": np.ones(5)})[0].shape == (3,)
    with pytest.raises(GuardFailed, match="x0 - 5 >= 0"):
        evaluate(made, {"x": np.ones(4)})


def test_no_guard_for_what_follows_from_the_shapes(rng):
    made = of_equation(
        equation("y[n,p] = max[i] x[n,2*p+i] with i < 2"), {"x": rng.normal(size=(2, 5))}, symbolic=True
    )
    assert [str(guard) for guard in made.guards] == ["x1 - 1 >= 0"]


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "caret"),
    [
        ("y[i] = x[i,j]", "index j is not bound", 11),
        ("y[i] = sum[j] w[i,j]*x[j] + b[j]", "index j is not bound here", 30),
        ("y[i] = sum[j] x[j] + j", "index j is not bound here", 21),
        ("y[i,i] = x[i]", "index i appears twice", 4),
        ("y[i] = sum[i] x[i]", "already in use", 11),
        ("y = sum[j] sum[j] x[j]", "already in use", 15),
        ("y[i] = x[i*j]", "not bound|cannot stand", 11),
        ("y[i,j] = x[i*j]", "cannot stand in an index", 13),
        ("y[i] = x[0.5*i]", "cannot stand in an index", 9),
        ("y[2*i] = x[i]", "a name should stand", 2),
        ("y[i] = x[i", "`]` should stand", 10),
        ("y[i] = (x[i]", "`\\)` should stand", 12),
        ("y[i] = x[i])", "closes nothing", 11),
        ("y[i] = foo(x[i])", "not a function", 7),
        ("y[i] = x[i] x[i]", "operator is missing", 12),
        ("y[i] = x[i] *", "should stand before the end", 13),
        ("y[i] == x[i]", "`=` should stand", 5),
        ("y[i] = x[i]^2", "not part of index notation", 11),
        ("y[i] = x[i] = 2", "a second =", 12),
        ("y[i] += x[i]", "not part of index notation", 5),
        ("sum[i] = x[i]", "cannot be a name", 0),
        ("y[i] = i[i]", "is an index and cannot", 7),
        ("y[i] = 2x[i]", "not a decimal number", 7),
        ("y[i] = sin(x[i], 2)", "takes 1 argument", 7),
        ("y[i] = 0 < x[i] < 1", "not chained", 16),
        ("y[i] = x[i]; y[i] = 2", "defined twice", 13),
        ("z[i] = y[i]; y[i] = x[i]", "read before", 13),
        ("y[i] = x[i] with j < 3", "not an index", 17),
        ("y[i] = x[i] with i < i", "is an index, not a size", 21),
        ("y[i] = pad(x)[i]", "needs an amount", 11),
        ("y[] = 2", "brackets are empty", 0),
        ("y[i] = sum x[i]", "needs its indices", 7),
    ],
)
def test_mistakes_are_shown_where_they_are(text, message, caret):
    with pytest.raises(InputRefused, match=message) as caught:
        equation(text)
    *_, line, carets = caught.value.where.split("\n")
    assert line.strip() == text
    assert carets.index("^") - 4 == caret


@pytest.mark.parametrize("text", ["", "  \n ; # nothing\n"])
def test_no_equation_at_all(text):
    with pytest.raises(InputRefused, match="no equation"):
        equation(text)


def test_deep_nesting_is_refused_not_a_crash():
    with pytest.raises(InputRefused, match="nests too deeply"):
        equation("y = " + "(" * 5000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y[i] = x[i,i] + v[i]", "two ranges"),
        ("y[i] = v[i, i]", "v has 1 axis and is accessed with 2"),
        ("y[i] = v[i+1] + 0*v[i]", "outside axis 0"),
        ("y[i] = v[i-1] with i < 2", "outside axis 0"),
        ("y[p] = v[p+i] + i with i < 2", "not bound"),
        ("y[p] = sum[i] v[p+i]", "not determined"),
        ("y[p] = sum[i] v[p+i] with i < 9", "larger than its axis"),
        ("y[i] = pad(x, 1, 2, 3)[i, 0]", "3 amounts of padding for 2 axes"),
        ("y[i] = 2", "not determined"),
    ],
)
def test_contradictions_with_the_shapes_are_shown(text, message):
    arrays = {"x": np.ones((3, 4)), "v": np.ones(4)}

    def lower():
        compiled = equation(text)
        return of_equation(compiled, {name: arrays[name] for name in compiled.parameters}, symbolic=True)

    with pytest.raises(GradcError, match=message) as caught:
        lower()
    assert "^" in caught.value.where


def test_arguments_are_bound_by_position_or_name():
    compiled = equation("y[i] = w[i]*x[i] with i < n")
    assert compiled.bind((1, 2), {"n": 3}) == {"w": 1, "x": 2, "n": 3}
    for arguments, keywords in [((1, 2, 3, 4), {}), ((1,), {"w": 2}), ((), {"q": 1}), ((1,), {})]:
        with pytest.raises(ArgumentError, match=r"w, x, n|missing"):
            compiled.bind(arguments, keywords)


def test_misplaced_options_are_refused():
    with pytest.raises(ArgumentError, match="pad names z"):
        equation("y[i] = x[i]", pad={"z": 1})
    with pytest.raises(ArgumentError, match="z is not defined"):
        equation("y[i] = x[i]", outputs=("z",))
    with pytest.raises(InputRefused, match="negative"):
        equation("y[i] = x[i]", pad={"x": -1})
    emit = Emitter(Builder())
    with pytest.raises(ArgumentError, match="must be a whole number"):
        equation("y[i] = x[i] with i < n").lower(emit, x=emit.input("x", DType.F64, (3,)), n=2.5)  # pyright: ignore[reportArgumentType]


def test_ranges_of_one_tensor_may_not_contradict_a_stated_one():
    with pytest.raises(ShapeError, match="outside axis 0"):
        of_equation(equation("y[i] = v[i] with i < 9"), {"v": np.ones(4)})


def test_repr_shows_the_text():
    assert repr(equation("y[i] = 2*x[i]")) == "equation('y[i] = 2*x[i]')"


def test_every_literal_alone_is_a_float():
    made = of_equation(equation("y[i] = 2 with i < 2"), {})
    assert made.types["y"].dtype is DType.F64
