"""The cloned function: stand-ins for modules, helpers, captured data and objects."""

import contextlib
import functools
import math
import math as m
import threading
import time
from collections import OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from functools import partial, wraps
from math import sin
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numba
import numpy as np
import numpy.linalg as la
import pytest
import scipy.special
from numpy import exp as exponential
from scipy.special import expit, logsumexp

from gradc.errors import TraceError
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.verify import verify
from gradc.ir.types import DType
from gradc.lang.clone import scan
from gradc.lang.trace import Trace, TraceResult, leaves, trace, trace_checked

X = np.array([0.3, 1.2, 0.7, 2.1])
W = np.arange(4.0)
LAM = 0.5
PARAMS = {"w": np.ones(4), "layers": [1.0, np.arange(4.0)], "name": "net"}
Pair = namedtuple("Pair", "first second")
PAIR = Pair(np.array([1.0, 2.0, 3.0, 4.0]), 2.0)


def values(traced: TraceResult, **arguments: Any) -> tuple[Any, ...]:
    verify(traced.program)
    return evaluate(traced.program, {**arguments, **{h.name: h.read() for h in traced.hidden}})


def agrees(function: Any, x: np.ndarray = X) -> TraceResult:
    expected = leaves(function(x.copy()))
    traced = trace(function, {"x": x})
    for found, wanted in zip(values(traced, x=x), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    return traced


@dataclass
class Config:
    lam: float = 0.1
    w: np.ndarray = field(default_factory=lambda: np.arange(4.0))
    shift = 2.0

    def apply(self, x):
        return self.lam * np.array([x[0], x[1]]) + self.shift


def doubled(function):
    @wraps(function)
    def inner(*args, **kwargs):
        return 2 * function(*args, **kwargs)

    return inner


@doubled
def helper(x, *, k=2.0, w=W):
    return math.exp(x[0]) * k * w


@numba.njit
def compiled(x):
    return np.sin(x).sum()


@functools.lru_cache
def cached(n):
    return n * 2


def recursive(n, x):
    return x if n == 0 else x * recursive(n - 1, x)


def items(x):
    yield x[0]
    yield math.sin(x[1])


def kinds_of_names(x):
    return m.cos(x[0]) + sin(x[0]) + math.pi, exponential(x), expit(x), la.norm(x), scipy.special.logsumexp(x)


def imports_inside(x):
    import math as mm  # noqa: PLC0415
    from math import cos  # noqa: PLC0415

    import numpy as n  # noqa: PLC0415
    import scipy.special as sp  # noqa: PLC0415

    return n.array([x[0], cos(x[1])]), sp.expit(x), mm.sqrt(x[2])


def arrays_from_numbers(x):
    row = [x[0], 1.0]
    return (
        np.array([row, [2, x[1]]]),
        np.asarray(row),
        np.full(3, x[0]),
        np.full_like(x, x[1]),
        np.float64(x[0]),
    )


def only_lists(x):
    pair = [x[0], x[1]]
    return (
        np.exp(pair),
        np.sum(pair),
        np.max(pair),
        la.norm(pair),
        np.linalg.solve([[x[0], 1.0], [1.0, 3.0]], [1.0, 2.0]),
    )


def helpers(x):
    return helper(x), partial(helper, k=3.0)(x), compiled(x), cached(3) * x, recursive(3, x), sum(items(x))


def closures(x):
    scale = 3.0
    count = 0

    def inner(i):
        nonlocal count
        count += 1
        return x[i] * scale * W[i]

    total = sum(inner(i) for i in range(3))
    return total * count, (lambda v: math.tanh(v))(x[0]), [math.exp(v) for v in x]


def captured_data(x):
    return (
        W.dot(x),
        LAM * x,
        PARAMS["w"] * x,
        PARAMS["layers"][1] @ x,
        PAIR.first * PAIR.second,
        len(PARAMS["name"]) * x,
    )


def dtypes_and_types(x):
    y = np.zeros(4, dtype=float) + np.array([1, 2, 3, 4], dtype=np.float32)
    counts = {float: 2.0}[float]
    assert isinstance(1.0, float)
    assert not isinstance(1, float)
    assert float("1.5") == 1.5
    assert int("3") == 3
    assert issubclass(np.float64, float)
    return (
        y.astype(float) * x * counts,
        x.astype(np.float32),
        x.astype(int),
        np.zeros(2, int),
        float(x[0]),
        np.dtype(float).itemsize,
    )


@pytest.mark.parametrize(
    "function",
    [
        kinds_of_names,
        imports_inside,
        arrays_from_numbers,
        only_lists,
        helpers,
        closures,
        captured_data,
        dtypes_and_types,
        doubled(lambda x: math.sin(x[0])),
        partial(lambda k, x: k * x + math.exp(k), 2.0),
    ],
)
def test_the_clone_means_what_the_function_means(function):
    agrees(function)


# --- captured arrays and numbers ---------------------------------------------------------------------------


def test_captured_arrays_are_read_at_every_call():
    box = {"w": np.ones(4)}
    vector = np.full(4, 2.0)

    def function(x):
        return vector * x + box["w"]

    traced = trace(function, {"x": X})
    assert [hidden.name for hidden in traced.hidden] == ["vector", "box_w"]
    vector[:] = 5.0
    box["w"] = np.full(4, 7.0)
    np.testing.assert_allclose(values(traced, x=X)[0], 5 * X + 7)


def test_captured_arrays_serve_every_size():
    data = np.ones((4, 2))

    def function(x):
        return data.T @ x / len(data)

    traced = trace(function, {"x": X})
    data = np.full((6, 2), 3.0)
    np.testing.assert_allclose(values(traced, x=np.ones(6))[0], [3.0, 3.0])


def test_captured_numbers_are_guarded():
    rate, mode = 0.5, "sum"

    def function(x):
        return rate * (x.sum() if mode == "sum" else x.mean())

    traced = trace(function, {"x": X})
    assert [captured.what.rpartition(".")[2] for captured in traced.captured] == ["mode", "rate"]
    assert all(captured.holds() for captured in traced.captured)
    rate = 0.25
    assert [captured.holds() for captured in traced.captured] == [True, False]
    rate, mode = 0.5, "mean"
    assert [captured.holds() for captured in traced.captured] == [False, True]


def test_captured_lists_are_guarded_in_length_and_elements():
    weights = [1.0, 2.0]

    def function(x):
        return sum(w * x for w in weights)

    traced = trace(function, {"x": X})
    assert all(captured.holds() for captured in traced.captured)
    weights.append(3.0)
    assert not all(captured.holds() for captured in traced.captured)
    weights[:] = [1.0, 5.0]
    assert not all(captured.holds() for captured in traced.captured)


@pytest.mark.parametrize(
    "holder",
    [
        {"w": W},
        OrderedDict(w=W),
        defaultdict(list, w=W),
        MappingProxyType({"w": W}),
        SimpleNamespace(w=W),
        deque([W]),
        [W],
        (W,),
        Config(w=W),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_no_holder_freezes_its_arrays(holder):
    def function(x):
        if isinstance(holder, SimpleNamespace | Config):
            return holder.w * x
        return holder[0] * x if isinstance(holder, list | tuple | deque) else holder["w"] * x

    (hidden,) = trace(function, {"x": X}).hidden
    assert not hidden.literal
    assert hidden.read() is W


def test_dictionaries_with_attributes():
    class Bunch(dict):
        def __getattr__(self, name):
            return self[name]

    bunch = Bunch(w=W)
    (hidden,) = trace(lambda x: bunch.w * x + bunch["w"], {"x": X}).hidden[:1]
    assert hidden.read() is W


def test_two_names_of_one_array_are_two_inputs():
    left = right = np.ones(4)

    def function(x):
        return left * x + right

    traced = trace(function, {"x": X})
    right = np.full(4, 7.0)
    np.testing.assert_allclose(values(traced, x=X)[0], X + 7)


def test_the_same_literal_is_one_input_until_it_changes():
    session = Trace()
    x = session.argument("x", DType.F64, session.sizes("x", (3,), (3,)))
    buffer = np.array([1.0, 2.0, 3.0])
    first = x * buffer + x * buffer
    buffer[:] = [4.0, 5.0, 7.0]
    program = session.finish([first, x * buffer])
    assert [hidden.name for hidden in session.hidden] == ["c1", "c2"]
    given = {"x": np.ones(3), **{h.name: h.read() for h in session.hidden}}
    np.testing.assert_allclose(evaluate(program, given), [[2.0, 4.0, 6.0], [4.0, 5.0, 7.0]])


def test_unused_captured_arrays_are_no_inputs():
    unused, used = np.ones(3), np.ones(4)

    def function(x):
        return x + used if True else unused

    assert [hidden.name for hidden in trace(function, {"x": X}).hidden] == ["used"]


# --- objects -----------------------------------------------------------------------------------------------


class Kernel:
    def __init__(self) -> None:
        self.ell = np.array([1.0, 2.0, 3.0])

    def __call__(self, z):
        return z * self.ell


class Base:
    scale = 3.0

    def __init__(self) -> None:
        self.X = np.ones((3, 4))
        self.lam = 0.1
        self.kernel = Kernel()
        self.count = 0

    def penalty(self, w):
        return self.lam * np.sum(w * w)

    @staticmethod
    def static(a):
        return math.exp(a)

    @classmethod
    def of_class(cls, a):
        return cls.scale * a

    @property
    def offsets(self):
        return np.array([2.0, self.lam])


class Model(Base):
    def penalty(self, w):
        return super().penalty(w) + 1

    def loss(self, w):
        z = self.kernel(self.X.dot(w)).sum() * self.scale
        assert isinstance(self, Model)
        return z + self.penalty(w) + self.static(w[0]) + self.offsets[1] * w[1] + self.of_class(2.0)

    def bad(self, w):
        self.count += 1
        return w


def test_methods_have_live_attributes():
    model = Model()
    traced = trace(model.loss, {"w": X})
    assert [hidden.name for hidden in traced.hidden] == ["X", "ell"]
    np.testing.assert_allclose(values(traced, w=X)[0], model.loss(X))
    model.X = np.full((3, 4), 2.0)
    model.kernel.ell[:] = 1.5
    np.testing.assert_allclose(values(traced, w=X)[0], model.loss(X))
    assert all(captured.holds() for captured in traced.captured)
    model.lam = 0.2
    assert not all(captured.holds() for captured in traced.captured)


def test_an_object_as_first_argument_works_as_self():
    model = Model()
    session = Trace("loss")
    w = session.argument("w", DType.F64, session.sizes("w", (4,)))
    program = session.finish([session.run(Model.loss, (model, w), {})])
    found = evaluate(program, {"w": X, **{h.name: h.read() for h in session.hidden}})
    np.testing.assert_allclose(found[0], model.loss(X))


def test_writing_to_self_is_refused():
    with pytest.raises(TraceError, match=r"self\.count is changed"):
        trace(Model().bad, {"w": X})


CONFIG = Config()
NAMESPACE = SimpleNamespace(gain=2.0, bias=np.ones(4))


def test_configuration_objects_are_live():
    agrees(lambda x: (CONFIG.w * x, CONFIG.apply(x), NAMESPACE.gain * x + NAMESPACE.bias))


# --- side effects ------------------------------------------------------------------------------------------

COUNTER = 0
HISTORY: list[Any] = []


def counts(x):
    global COUNTER
    COUNTER += 1
    return x


def records(x):
    HISTORY.append(x)
    return x


@pytest.mark.parametrize("function", [counts, records])
def test_side_effects_are_refused(function):
    with pytest.raises(TraceError, match=r"assigns the global COUNTER|HISTORY is changed"):
        trace(function, {"x": X})
    assert (COUNTER, HISTORY) == (0, [])


def test_writing_an_outer_variable_is_refused():
    total = 0.0

    def function(x):
        def inner():
            nonlocal total
            total = total + x

        inner()
        return total

    with pytest.raises(TraceError, match="assigns the outer variable total"):
        trace(function, {"x": X})


def test_scan_tells_own_cells_from_outer_ones():
    outer = 0

    def function():
        own = 0

        def inner():
            nonlocal outer, own
            outer = own = 1
            return len([outer])

        return inner

    found = scan(function.__code__)
    assert (found.loads, found.outer_writes) == (("len",), ("outer",))


def test_an_uncalled_function_with_side_effects_is_no_matter():
    agrees(lambda x: x if isinstance(x, np.ndarray) else counts(x))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * time.perf_counter(),
        lambda x: x * next(TICKS),
        lambda x: x + np.array([time.perf_counter(), 1.0, 2.0, 3.0]),
        lambda x: [x] * (1 + next(TICKS)),
    ],
)
def test_impure_functions_are_caught_by_tracing_twice(function):
    with pytest.raises(TraceError, match="two different programs"):
        trace_checked(lambda: trace(function, {"x": X}))


TICKS = iter(range(100))


def test_tracing_twice_passes_pure_functions():
    traced = trace_checked(lambda: trace(captured_data, {"x": X}))
    assert len(traced.program.outputs) == 6


# --- threads, hooks, positions -----------------------------------------------------------------------------


def test_two_threads_trace_at_once():
    results: list[TraceResult] = []
    threads = [
        threading.Thread(target=lambda: results.append(trace(captured_data, {"x": X}))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert math.sin is sin
    assert len({str(result.program.equations) for result in results}) == 1


class Inline:
    def __gradc_inline__(self, session, args, kwargs):
        return args[0] * kwargs["k"]

    def __call__(self, *args, **kwargs):
        raise AssertionError("the hook is called instead")


def test_callables_with_the_hook_are_inlined():
    double = Inline()
    traced = trace(lambda x: double(x, k=2.0) + 1, {"x": X})
    np.testing.assert_allclose(values(traced, x=X)[0], 2 * X + 1)


def test_tracebacks_show_the_users_lines():
    def function(x):
        y = x * 2
        raise ValueError(y.shape[0] > 2)

    with pytest.raises(ValueError, match="True") as caught:
        trace(function, {"x": X})
    lines = [entry.frame.code.firstlineno for entry in caught.traceback]
    assert function.__code__.co_firstlineno - 1 in lines


def test_a_swallowed_error_is_raised_at_the_end():
    def function(x):
        with contextlib.suppress(TypeError):
            bool(x[0] > 0)
        return x

    with pytest.raises(TraceError, match="truth value"):
        trace(function, {"x": X})


def test_logsumexp_by_name():
    agrees(lambda x: logsumexp(x))
