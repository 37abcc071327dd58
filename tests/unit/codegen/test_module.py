"""Whole generated modules: names, imports, comments and docstrings, whatever the user's text holds."""

import ast
import builtins
import importlib
import keyword
import warnings

import numpy as np
import pytest
from tests.unit.loop.build import F32, F64, I32, SUM, X, element, kernel, loop

from gradc.codegen.module import comment
from gradc.codegen.numba_cpu import MODULES, module_text
from gradc.codegen.printer import CALLED
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.calls import CALLS
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    CheckIndices,
    Kernel,
    Let,
    Library,
    Parameter,
    Product,
    Require,
    Store,
    Update,
    apply,
    load,
    number,
    var,
)
from gradc.ir.types import DType


def run(written: Kernel, *arguments):
    """The result of the printed module, run as plain Python."""
    namespace: dict = {}
    source = module_text(written)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(source, "kernel.py", "exec"), namespace)
    return namespace[written.name](*arguments)


def test_a_whole_module():
    assert module_text(SUM) == (
        '"""k\n"""\n'
        "\n"
        "import numpy as np\n"
        "from gradc_runtime.arrays import empty\n"
        "from gradc_runtime.reduce import plus\n"
        "\n\n"
        "def k(x):\n"
        "    n = x.shape[0]\n"
        "    s = 0.0\n"
        "    y = empty((n,), np.float64)\n"
        "    for i in range(n):\n"
        "        # s = sum[i] x[i]\n"
        "        s = plus(s, x[i])\n"
        "        # y[i] = x[i] * x[i]\n"
        "        y[i] = x[i] * x[i]\n"
        "    return s, y\n"
    )


HOSTILE = [
    'ends """ here',
    '"""',
    '""""""',
    "back\\slash",
    "\\",
    "\\N{DIGIT ONE} \\x41 \\u0041",
    "line\nbreak",
    "return\rcarriage",
    "form\ffeed",
    "paragraph\u2029separator",
    "right\u202eto left",
    "nul\0character",
    "caf\u00e9 \U0001f600",
    "'''\"",
    '"',
    "{braces} %s",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_text_from_outside_stays_text(hostile: str):
    body = (
        Require(apply("ge", var("n"), number(0)), hostile),
        Let("y", number(1.0, F64), hostile),
        loop(Update("y", "sum", element(), hostile)),
    )
    written = Kernel("k", (X,), (*kernel().body, *body), ("y",), (hostile, hostile, hostile))
    assert run(written, np.array([2.0])) == (3.0,)
    source = module_text(written)
    assert all(character == "\n" or " " <= character <= "~" for character in source)
    tree = ast.parse(source)
    kinds = [type(node) for node in tree.body]
    assert kinds == [ast.Expr, ast.ImportFrom, ast.FunctionDef]


def test_comment_keeps_plain_text():
    assert comment("h[i] = tanh(v1[i])  # 100%") == "h[i] = tanh(v1[i])  # 100%"


RESERVED = [
    *("lambda", "match", "type", "print", "range", "None", "abs", "np", "math", "plus", "product"),
    *("maximum", "exp", "log1p", "erfinv", "solve", "reshape", "check_indices", "power", "k"),
]


@pytest.mark.parametrize("name", RESERVED)
def test_names_that_mean_something_else(name: str):
    """A parameter of that name, in a module that uses the function it is named after."""
    parameter = Parameter(name, F64, 1)
    value = load(name, (number(0),), F64)
    body = (
        CheckIndices("table", number(1)),
        Let("s", number(0.0, F64)),
        Update("s", "sum", apply("maximum", apply("log1p", apply("abs", value)), apply("exp", value))),
        Allocate("out", F32, (load(f"{name}.shape", (number(0),), DType.INT64),), zeroed=True),
    )
    written = Kernel("k", (parameter, Parameter("table", DType.INT64, 1)), body, ("s", "out"))
    total, out = run(written, np.array([0.5]), np.array([0]))
    assert total == np.exp(0.5)
    assert out.dtype == np.float32


def test_renamed_names_stay_apart():
    names = ("print", "print_", "print__", "lambda")
    parameters = tuple(Parameter(name, F64, 0) for name in names)
    total = var(names[0], F64)
    for name in names[1:]:
        total = apply("add", apply("mul", total, number(10.0, F64)), var(name, F64))
    assert run(Kernel("k", parameters, (Let("y", total),), ("y",)), 1.0, 2.0, 3.0, 4.0) == (1234.0,)


def test_every_name_a_module_may_import_exists():
    for module, names in MODULES.items():
        imported = importlib.import_module(f"gradc_runtime.{module}")
        assert [name for name in names if not hasattr(imported, name)] == []
    listed = {name for names in MODULES.values() for name in names}
    scalars = importlib.import_module("gradc_runtime.scalars")
    called = {name for function in FUNCTIONS.values() for name in CALLED.findall(function.kernel)}
    missing = {name for name in called - listed if "." not in name and not hasattr(builtins, name)}
    assert [name for name in sorted(missing) if not hasattr(scalars, name)] == []
    assert set(CALLS) <= listed
    assert not any(keyword.iskeyword(name) for name in listed)


def test_no_import_is_left_over():
    """What a comment mentions is not imported; what is used is, once."""
    body = kernel(Let("y", number(1.0, F64), "y = np.exp(math.pi)"))
    assert "import" not in module_text(body)
    body = kernel(Let("y", apply("hypot", apply("exp", number(1.0, F64)), number(1.0, F64))))
    assert module_text(body).count("import") == 2


def test_reductions_of_every_kind():
    flags = Parameter("f", DType.BOOL, 1)
    value, flag = element(), load("f", (var("i"),), DType.BOOL)
    both = apply("logical_or", flag, apply("lt", value, number(0.0, F64)))
    start = {"sum": 0.0, "prod": 1.0, "max": float("-inf"), "min": float("inf")}
    lets = [Let(name, number(first, F64)) for name, first in start.items()]
    updates = [Update(name, name, apply("add", value, number(1.0, F64))) for name in start]
    lets += [Let("any", number(False, DType.BOOL)), Let("all", number(True, DType.BOOL))]
    updates += [Update("any", "any", both), Update("all", "all", both)]
    results = ("sum", "prod", "max", "min", "any", "all")
    written = Kernel("k", (X, flags), (*kernel().body, *lets, loop(*updates)), results)
    x, f = np.array([1.0, -3.0]), np.array([False, True])
    assert run(written, x, f) == (0.0, -4.0, 2.0, -2.0, True, False)


def test_narrow_sums_are_brought_back():
    table = Parameter("x", I32, 1)
    written = kernel(
        Let("y", number(0, I32)), loop(Update("y", "sum", element("x", I32))), parameters=(table,)
    )
    written = Kernel("k", (table,), (*kernel().body, *written.body), ("y",))
    assert "y = np.int32(plus(y, x[i]))" in module_text(written)


def test_accumulation_library_and_products():
    a = Parameter("a", F64, 2)
    body = (
        Allocate("t", F64, (number(2),), zeroed=True),
        AddTo("t", (number(0),), "sum", load("a", (number(0), number(1)), F64)),
        AddTo("t", (number(1),), "max", load("a", (number(1), number(1)), F64)),
        Product("p", "a", "a", True, False),
        Library(("q",), "reshape", ("p",), (("shape", (number(4),)),)),
        Library(("order",), "argsort", ("q",), (("axis", 0),)),
    )
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]])
    t, p, q, order = run(Kernel("k", (a,), body, ("t", "p", "q", "order")), matrix)
    np.testing.assert_array_equal(t, [2.0, 4.0])
    np.testing.assert_array_equal(p, matrix.T @ matrix)
    np.testing.assert_array_equal(q, p.ravel())
    np.testing.assert_array_equal(order, np.argsort(q, kind="stable"))


def test_a_note_is_printed_once_for_the_statements_that_share_it():
    store = Store("y", (var("i"),), element(), "y = x")
    written = kernel(Allocate("y", F64, (var("n"),)), loop(store, store))
    assert module_text(written).count("# y = x") == 1
