"""Tracing plain functions: operators, NumPy protocols, promotion, names and outputs."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest

from gradc.errors import GradcError, TraceError
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import outputs_of
from gradc.ir.index.show import show
from gradc.ir.index.verify import verify
from gradc.ir.types import DType
from gradc.lang.trace import Trace, TraceResult, UnrolledWarning, leaves, trace
from gradc.lang.traced import is_traced

X = np.array([0.3, 1.2, 0.7, 2.1])
A = np.array([[1.0, 2.0, 0.5], [0.2, -1.0, 3.0]])


def values(traced: TraceResult, **arguments: Any) -> tuple[Any, ...]:
    verify(traced.program)
    return evaluate(traced.program, {**arguments, **{h.name: h.read() for h in traced.hidden}})


def agrees(function: Any, **arguments: Any) -> TraceResult:
    """Trace, interpret and compare with Python itself: values, shapes and dtypes."""
    expected = leaves(function(**copy.deepcopy(arguments)))
    traced = trace(function, arguments)
    for found, wanted in zip(values(traced, **arguments), expected, strict=True):
        assert np.shape(found) == np.shape(wanted)
        assert np.asarray(found).dtype == np.asarray(wanted).dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    return traced


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x + y - 2 * x / y,
        lambda x, y: (x**2, x**0.5, 2**x, x ** np.float64(3), x**-1),
        lambda x, y: (x // y, x % y, 7 // x, divmod(x, 2)[1], divmod(5, y)[0]),
        lambda x, y: (x < y, x <= 1, x < 1, x >= y, x == y, x != 0.7),
        lambda x, y: ((x > 0.5) & (y > 1), (x > 0.5) | (y > 1), ~(x > 1), (x > 1) ^ (y > 1)),
        lambda x, y: (-x, +x, abs(x - 1), round(x[0], 1), np.round(x, 1)),
        lambda x, y: (x @ y, np.dot(x, y), np.outer(x, y), x[:, None] @ y[None, :]),
        lambda x, y: (np.float64(2) * x, np.array([1.0, 2.0, 3.0, 4.0]) * x, [1.0, 2.0, 3.0, 4.0] - x),
        lambda x, y: (np.hypot(x[0], [1.0, 2.0]), np.concatenate([x, [1.0]]), np.stack([x, y])),
        lambda x, y: (sum(x), sum([x, y]), max(x), min(x)),
        lambda x, y: (
            x.sum(),
            x.mean(),
            x.T,
            x.reshape(2, 2),
            x.max(),
            x.dot(y),
            x.cumsum(),
            x.astype(np.float32),
        ),
        lambda x, y: (np.add.reduce(x), np.multiply.outer(x, y)),
        lambda x, y: (x.ndim + x, x.nbytes, x.itemsize, x.dtype.type(2) * x, x.real, x.size, len(x)),
        lambda x, y: (x.item(0) * 2, x.tolist(), [v for v in x], [a * b for a, b in zip(x, y, strict=True)]),
        lambda x, y: (list(reversed(x)), dict(enumerate(x))[1], x[-1], x[::2], x[[0, 2]], x[x.size - 1]),
        lambda x, y: {"a": x, "b": (y, 1.0, True)},
    ],
)
def test_operators_and_calls_mean_what_numpy_means(function):
    agrees(function, x=X, y=X[::-1].copy() + 0.25)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32, np.bool_])
def test_promotion_is_numpys(dtype):
    def function(x):
        return x + True, x * 2, x * 2.5, x + np.float32(1), x / 3, x == 1, x * x, abs(x)

    agrees(function, x=np.array([1, 0, 1], dtype))


def test_python_floats_are_weak():
    def function(x, a):
        b = a * 2 + 1
        return x * a, x + b**2, x / (1 / a), (a > 1) * x, np.sin(a) * x, min(a, b) * x, float(a) * x, -a * x

    agrees(function, x=X.astype(np.float32), a=0.25)


def test_python_numbers_compute_as_python_does():
    def function(a, n):
        return (
            a / n,
            n / 2,
            n * n,
            n // 2,
            n % 3,
            a**n,
            2**-n,
            n**2,
            (a > 0) + (n > 1),
            -n,
            abs(n),
            divmod(n, 2),
        )

    agrees(function, a=0.25, n=5)


def test_an_integer_argument_is_a_run_time_value():
    traced = agrees(lambda x, t: x / (1 - 0.9**t) + t, x=X, t=3)
    assert traced.scalar_guards == ()
    for found in values(traced, x=X, t=8):
        np.testing.assert_allclose(found, X / (1 - 0.9**8) + 8)


def test_looking_at_an_integer_argument_leaves_a_guard():
    def function(x, n):
        if n % 2 == 0:
            x = x + 1
        for _ in range(n - 1):
            x = x * 2
        return x

    traced = agrees(function, x=X, n=3)
    assert [guard.holds({"n": 3}) for guard in traced.scalar_guards] == [True, True]
    assert [guard.holds({"n": 5}) for guard in traced.scalar_guards] == [True, False]
    places = [guard.reason.split(":", 2) for guard in traced.scalar_guards]
    assert [(file, text) for file, _, text in places] == [
        ("test_trace.py", " if n % 2 == 0:"),
        ("test_trace.py", " for _ in range(n - 1):"),
    ]


def test_variables_give_the_names():
    def function(x, w):
        hidden = np.tanh(x @ w)
        left, right = hidden
        for _ in range(2):
            left = left * right
        return left

    program = trace(function, {"x": A, "w": np.ones(3)}).program
    assert [name for equation in program.equations for name in outputs_of(equation)] == [
        "v1",
        "hidden",
        "left",
        "right",
        "left_2",
        "left_3",
    ]


def test_places_are_lines_without_folders():
    program = trace(lambda x: np.sin(x) + 1, {"x": X}).program
    origin = program.equations[0].origin
    assert origin is not None
    assert (origin.file, origin.text) == (
        "test_trace.py",
        'program = trace(lambda x: np.sin(x) + 1, {"x": X}).program',
    )


def test_outputs_are_arrays_of_their_own():
    traced = agrees(lambda x: (x, x, 2.0, [np.arange(3.0)]), x=X)
    outputs = traced.program.outputs
    assert len(set(outputs)) == 4
    assert "x" not in outputs


def test_output_of_another_kind_is_refused():
    with pytest.raises(TraceError, match="returns a value of type str"):
        trace(lambda x: "x", {"x": X})


def test_prebuilt_arguments_and_named_axes():
    session = Trace("loss")
    x = session.argument("x", DType.F64, session.sizes("x", (5, 3), ("batch", 3)))
    y = session.argument("y", DType.F64, session.sizes("y", (5,), ("batch",)))
    result = session.run(lambda x, y: x.T @ y, (x, y), {})
    program = session.finish([result])
    assert show(program).splitlines()[0] == "program loss(x: f64[batch, 3], y: f64[batch]) -> v2"
    with pytest.raises(GradcError, match="batch is 5 and 4"):
        session.sizes("z", (4,), ("batch",))


def test_many_equations_warn():
    def function(x):
        for _ in range(20_001):
            x = x * 0.5
        return x

    with pytest.warns(UnrolledWarning, match="20001 equations"):
        trace(function, {"x": np.float64(1.0)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(lambda x: x + 1, {"x": X})


def test_isinstance_sees_arrays_and_floats():
    def function(x, a):
        assert isinstance(x, np.ndarray)
        assert not isinstance(x, float | list)
        assert isinstance(a, float)
        assert isinstance(x[0], float | np.floating)
        assert isinstance(x.shape[0], int)
        return x * a

    agrees(function, x=X, a=0.5)


def test_printing_never_fails(capsys):
    def function(x):
        print(f"{x:.3f}", x[0], f"{x.shape[0]:d}", repr(x > 1))
        return x

    trace(function, {"x": X})
    assert capsys.readouterr().out == "<traced f64[x_n0]> <traced f64> <extent x_n0> <traced bool[x_n0]>\n"


def test_is_traced_is_not_fooled():
    session = Trace()
    assert is_traced(session.argument("x", DType.F64, (3,)))
    assert not is_traced(np.ones(3))
    assert not is_traced(1.0)


def test_values_of_another_trace_are_refused():
    kept = trace(lambda x: x * 2, {"x": X}).outputs
    for use in (lambda x: x + kept, lambda x: np.dot(x, kept), lambda x: x[kept.astype(int)]):
        with pytest.raises(TraceError, match="another trace"):
            trace(use, {"x": X})
