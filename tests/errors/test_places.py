"""Messages of tracing show the user's line, carets below the expression, and shapes side by side: whole texts."""

import itertools
import linecache
import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.command.support import clean_imports, gradc

import gradc as library
from gradc.command.documents import error_json
from gradc.errors import GradcError, GuardFailed
from gradc.lang.trace import trace, trace_checked

X, W = np.ones((5, 2)), np.ones((3, 4))
SHAPES = """
    x: f64[x_n0, x_n1]   (5, 2)
    w: f64[w_n0, w_n1]   (3, 4)"""
MATMUL = f"""
  why: matmul contracts the last axis with the second to last one
    out[i, j] = sum[k] x[i, k] * w[k, j]{SHAPES}"""
DISAGREE = "extents x_n1 = 2 and w_n0 = 3 do not agree"

_numbers = itertools.count()


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Any]:
    """Write a module `m.py` and import it."""

    def write(source: str) -> Any:
        path = tmp_path / "m.py"
        path.write_text("import numpy as np\n" + source, encoding="utf-8")
        spec = spec_from_file_location(f"m{next(_numbers)}", path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        spec.loader.exec_module(module)
        sys.dont_write_bytecode = before
        linecache.checkcache(str(path))
        return module

    return write


def error_of(function: Callable[..., object], **arguments: object) -> GradcError:
    with pytest.raises(GradcError) as caught:
        trace(function, arguments or {"x": X, "w": W})
    return caught.value


def message(function: Callable[..., object], **arguments: object) -> str:
    return str(error_of(function, **arguments))


# --- which expression ---------------------------------------------------------------------------------------


def test_the_operands_of_a_matrix_product_are_marked(written: Callable[[str], Any]):
    function = written("def f(x, w):\n    h = np.tanh(x @ w)\n    return h\n").f
    assert message(function) == (
        f"{DISAGREE}\n  where: m.py:3: h = np.tanh(x @ w)\n                             ^^^^^{MATMUL}"
    )


def test_of_several_lines_the_first_is_shown_and_marked_without_its_comment(written: Callable[[str], Any]):
    function = written("def f(x, w):\n    h = np.tanh(x +  # the bias\n        w)\n    return h\n").f
    assert message(function) == (
        "extents x_n0 = 5 and w_n0 = 3 do not agree\n"
        "  where: m.py:3: h = np.tanh(x +  # the bias\n"
        "                             ^^^\n"
        "  why: shapes [x_n0, x_n1] and [w_n0, w_n1] are broadcast together"
        f"{SHAPES}"
    )


@pytest.mark.parametrize(
    ("expression", "marked"),
    [
        ("(x \\\n        @ w)", "x"),
        ("np.matmul(x,\n        w)", "np.matmul(x,"),
        ("np.matmul(x, '''\n        ''' and w)", "np.matmul(x, '''"),
        ("(\n        x @ w)", "x @ w"),
        ("x.T.T.dot(w).sum(\n        axis=0)", "x.T.T.dot(w)"),
    ],
)
def test_the_piece_of_several_lines_ends_with_the_code_of_the_first(
    expression: str, marked: str, written: Callable[[str], Any]
):
    line, carets = error_of(written(f"def f(x, w):\n    return {expression}\n").f).where.split("\n")
    start = carets.index("^")
    assert line[start : len(carets)] == marked
    assert set(carets[start:]) == {"^"}


def test_if_on_a_traced_value_marks_the_condition(written: Callable[[str], Any]):
    function = written("def f(x, w):\n    y = -x if x.sum() > 0 else x\n    return y @ w\n").f
    assert message(function) == (
        "Python needs a truth value (if, while, and, or, not), which a traced value does not have "
        "[E_TRACE_VALUE]\n"
        "  where: m.py:3: y = -x if x.sum() > 0 else x\n"
        "                           ^^^^^^^^^^^\n"
        "  why: the value is <traced bool>: its elements are known only when the compiled function runs\n"
        "  do: np.where(condition, a, b) instead of if; (0 < x) & (x < 1) instead of and, or, not and chained "
        "comparisons"
    )


def test_an_unsupported_function_is_marked_with_its_arguments(written: Callable[[str], Any]):
    function = written("def f(x, w):\n    return x[0] + np.digitize(x, [1.0]) * 2\n").f
    assert message(function) == (
        "np.digitize cannot be traced [E_TRACE_FUNCTION]\n"
        "  where: m.py:3: return x[0] + np.digitize(x, [1.0]) * 2\n"
        "                               ^^^^^^^^^^^^^^^^^^^^^\n"
        "  why: gradc has no rule for it\n"
        "  do: compute it outside the function and pass the result as an argument"
    )


def test_an_item_assignment_marks_the_item(written: Callable[[str], Any]):
    function = written("def f(x, w):\n    x[0, 1] = w[0, 0]\n    return x\n").f
    assert message(function) == (
        "x is written to [E_TRACE_WRITE]\n"
        "  where: m.py:3: x[0, 1] = w[0, 0]\n"
        "                 ^^^^^^^\n"
        "  why: it is an argument or a captured array: the caller's array would have to change\n"
        "  do: work on a copy: x = x.copy()"
    )


def test_an_assignment_of_a_global_marks_its_name(written: Callable[[str], Any]):
    source = "n = 0\ndef f(x, w):\n    def g():\n        global n\n        y = n; n = y\n    return x\n"
    assert message(written(source).f) == (
        "f assigns the global n [E_TRACE_SIDE_EFFECT]\n"
        "  where: m.py:6: y = n; n = y\n"
        "                        ^\n"
        "  why: the assignment would happen while tracing only, not when the compiled function runs\n"
        "  do: return n instead"
    )


NESTED = "def inner(p, q):\n    return 1.0 + p @ q\n"


@pytest.mark.parametrize(
    ("source", "where"),
    [
        (f"{NESTED}def f(x, w):\n    return inner(x, w) * 2\n", "m.py:3: return 1.0 + p @ q"),
        (
            "def f(x, w):\n    return [2 * (row @ w) for row in x]\n",
            "m.py:3: return [2 * (row @ w) for row in x]",
        ),
        ("f = lambda x, w: np.sum(x @ w)\n", "m.py:2: f = lambda x, w: np.sum(x @ w)"),
        (
            f"{NESTED}def twice(g):\n    return lambda x, w: 2 * g(x, w)\n@twice\ndef f(x, w): return 1.0 + x @ w\n",
            "m.py:7: def f(x, w): return 1.0 + x @ w",
        ),
        (
            "class A:\n    def __init__(self, b): self.b = b\n"
            "    def apply(self, x, w): return x @ w + self.b\nf = A(1.0).apply\n",
            "m.py:4: def apply(self, x, w): return x @ w + self.b",
        ),
        (
            "class A:\n    @classmethod\n    def apply(cls, x, w): return x @ w\nf = A.apply\n",
            "m.py:4: def apply(cls, x, w): return x @ w",
        ),
        (
            "def f(x, w):\n    try:\n        return x @ w\n    finally:\n        x = 2 * x\n",
            "m.py:4: return x @ w",
        ),
    ],
    ids=["nested", "comprehension", "lambda", "decorator", "method", "class method", "finally"],
)
def test_the_innermost_users_frame_is_marked(source: str, where: str, written: Callable[[str], Any]):
    line, carets = error_of(written(source).f).where.split("\n")
    assert line == where
    assert line[carets.index("^") : len(carets)] in ("p @ q", "row @ w", "x @ w")
    assert carets.strip() == "^" * carets.count("^")


def test_a_place_inside_numpys_python_code_is_the_call_of_the_user(written: Callable[[str], Any]):
    function = written("def f(x, w):\n    return 1 + np.apply_along_axis(np.sort, 0, x)\n").f
    line, carets = error_of(function).where.split("\n")
    assert line[carets.index("^") : len(carets)] == "np.apply_along_axis(np.sort, 0, x)"


# --- columns on the screen ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "shown", "columns"),
    [
        ('s =\t"a";\ty = ', 's = "a"; y = ', 13),
        ('s = "é"; y = ', 's = "é"; y = ', 13),
        ('s = "漢字"; y = ', 's = "漢字"; y = ', 16),
        ('s = "e\u0301"; y = ', 's = "e\u0301"; y = ', 13),
        ('s = "\u202e"; y = ', 's = "\\u202e"; y = ', 18),
        ('s = "\x1b[2J"; y = ', 's = "\\x1b[2J"; y = ', 19),
    ],
    ids=["tab", "accent", "wide", "combining", "bidi", "escape"],
)
def test_carets_stand_below_the_expression_on_the_screen(
    before: str, shown: str, columns: int, written: Callable[[str], Any]
):
    function = written(f"def f(x, w):\n\t{before}x @ w\n\treturn y\n").f
    assert error_of(function).where == f"m.py:3: {shown}x @ w\n{' ' * (len('m.py:3: ') + columns)}^^^^^"


def test_wide_letters_have_two_carets(written: Callable[[str], Any]):
    function = written("def f(x, w):\n    漢 = x; y = 漢 @ w\n    return y\n").f
    assert error_of(function).where == f"m.py:3: 漢 = x; y = 漢 @ w\n{' ' * 20}{'^' * 6}"


def test_a_long_line_is_cut_around_the_expression(written: Callable[[str], Any]):
    terms = " + ".join(["1.0"] * 40)
    function = written(f"def f(x, w):\n    y = {terms} + (x @ w) + {terms}\n    return y\n").f
    line, carets = error_of(function).where.split("\n")
    assert line.startswith("m.py:3: ...")
    assert line.endswith("...")
    assert len(line) <= 120
    assert line[carets.index("^") :].startswith("x @ w)")
    assert carets.endswith(" ^^^^^")


# --- no carets ----------------------------------------------------------------------------------------------


def test_the_whole_line_is_not_marked(written: Callable[[str], Any]):
    function = written("def f(x, w):\n    x += w\n    return x\n").f
    assert error_of(function).where == "m.py:3: x += w"


def test_without_source_there_is_no_caret():
    space: dict[str, Any] = {"np": np}
    exec("def f(x, w):\n    return np.tanh(x @ w)\n", space)
    assert message(space["f"]) == f"{DISAGREE}\n  where: <string>:2: {MATMUL}"


def test_a_deleted_file_has_no_caret(written: Callable[[str], Any], tmp_path: Path):
    function = written("def f(x, w):\n    return np.tanh(x @ w)\n").f
    (tmp_path / "m.py").unlink()
    linecache.checkcache()
    assert error_of(function).where == "m.py:3: "


def test_a_file_that_became_shorter_has_no_caret(written: Callable[[str], Any], tmp_path: Path):
    function = written("def f(x, w):\n    return np.tanh(x @ w)\n").f
    (tmp_path / "m.py").write_text("\n\nx @ w\n")
    linecache.checkcache()
    assert error_of(function).where == "m.py:3: x @ w"


def test_python_without_columns_shows_the_line(tmp_path: Path, environment: dict[str, str]):
    path = tmp_path / "m.py"
    path.write_text(
        "import numpy as np\nfrom gradc.lang.trace import trace\ndef f(x):\n    return 1 + np.unique(x)\n"
        "try:\n    trace(f, {'x': np.ones(3)})\nexcept TypeError as error:\n    print(error.where)\n"
    )
    command = [sys.executable, "-X", "no_debug_ranges", str(path)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == "m.py:4: return 1 + np.unique(x)\n"


# --- shapes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "equation"),
    [
        ("np.einsum('ab,bc->ac', x, w)", "out[a, c] = sum[b] x[a, b] * w[b, c]"),
        ("np.tensordot(x, w, axes=1)", "out[i, j] = sum[k] x[i, k] * w[k, j]"),
        ("np.dot(x, w[:, 0] * 1.0)", "out[i] = sum[j] x[i, j] * v2[j]"),
        ("x[None] @ w", "out[i, j, k] = sum[l] v1[i, j, l] * w[l, k]"),
        ("np.vecdot(x.T, w)", "out[i] = sum[j] v1[i, j] * w[i, j]"),
    ],
)
def test_a_contraction_shows_its_equation(expression: str, equation: str, written: Callable[[str], Any]):
    error = error_of(written(f"def f(x, w):\n    return {expression}\n").f)
    assert error.why.split("\n")[1] == f"    {equation}"


def test_axes_of_a_batch_are_named_as_in_the_equation(written: Callable[[str], Any]):
    function = written("def f(x, w):\n    return x[:, :, None] @ w[:, None, :]\n").f
    assert error_of(function).why == (
        "index i of a contraction\n"
        "    out[i, j, k] = sum[l] v1[i, j, l] * v2[i, l, k]\n"
        "    v1: f64[x_n0, x_n1, 1]   (5, 2, 1)\n"
        "    v2: f64[w_n0, 1, w_n1]   (3, 1, 4)"
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("T = np.ones((3, 2))\ndef f(x, w):\n    return np.concatenate([x, w, T])\n",
         "concatenate needs equal extents on the other axes" + SHAPES
         + "\n    T: f64[T_n0, T_n1]   (3, 2)"),
        ("def f(x, w):\n    y = x * 1.0\n    y += w\n    return y\n",
         "shapes [x_n0, x_n1] and [w_n0, w_n1] are broadcast together" + SHAPES.replace("x:", "y:")),
        ("def f(x, w):\n    return x.sum(axis=3)\n", "the array has 2 axes" + SHAPES.rpartition("\n")[0]),
        ("def f(x, w):\n    return x[0, 0, 0]\n", "the shape is" + SHAPES.rpartition("\n")[0]),
        ("def f(x, w):\n    return np.stack([x] * 3 + [w])\n",
         "concatenate needs equal extents on the other axes" + SHAPES),
        ("def f(x, w):\n    y = np.zeros(3)\n    y[:1] = np.ones(2) * x[0, 0]\n    return y\n",
         "an array of shape [2] does not fit into shape [1]\n    y:  f64[3]\n    v3: f64[2]"),
        ("def f(x, w):\n    return np.broadcast_to(x, (7, 2)) + np.zeros((7, 3))\n",
         "shapes [x_n0, x_n1] and [7, 2] are broadcast together" + SHAPES.rpartition("\n")[0]),
        ("def f(x, w):\n    return np.stack([x[i] for i in range(5)] + [w[i] for i in range(3)] + [w])\n", ""),
    ],
    ids=["captured", "in place", "axis", "index", "twice", "fixed", "plain", "many"],
)  # fmt: skip
def test_shapes_stand_side_by_side(source: str, why: str, written: Callable[[str], Any]):
    found = error_of(written(source).f).why
    if why:
        assert found == why
    else:
        assert found.endswith("\n    and 1 more")


def test_a_number_is_not_said_to_equal_itself(written: Callable[[str], Any]):
    error = error_of(written("def f(x, w):\n    return np.reshape(x, (3, 5))\n").f)
    assert error.what == "extents x_n0*x_n1 = 10 and 15 do not agree"


def test_an_equation_keeps_its_own_carets(written: Callable[[str], Any]):
    source = "import gradc\nE = gradc.equation('y[i] = sum[j] x[i,j] * w[j,i]')\n"
    error = error_of(written(f"{source}def f(x, w):\n    return 1 + E(x=x, w=w)\n").f)
    assert error.where.endswith("    y[i] = sum[j] x[i,j] * w[j,i]\n                           ^^^^^^")
    assert "f64" not in error.why


def test_a_call_that_does_not_fit_lists_its_arguments():
    @library.differentiate(target="interpret")
    def f(x: np.ndarray, weights: np.ndarray) -> Any:
        return np.sum(x * weights)

    f(np.ones(3), np.ones(3))
    with pytest.raises(GuardFailed) as caught:
        f(np.ones(3), np.ones(4))
    assert str(caught.value) == (
        "axis 0 of weights has 4 elements, the program needs x_n0\n"
        "  where: call of f\n"
        "  why: the extents of one name must be equal\n"
        "    x:       f64[x_n0] given (3,)\n"
        "    weights: f64[x_n0] given (4,)\n"
        "  do: make the shapes agree"
    )


# --- two traces ---------------------------------------------------------------------------------------------


def test_two_traces_that_differ_show_both_equations(written: Callable[[str], Any]):
    function = written("def f(x, n):\n    return x * float(n())\n")
    count = itertools.count()
    with pytest.raises(GradcError) as caught:
        trace_checked(lambda: trace(lambda x: function.f(x, lambda: next(count)), {"x": X}))
    assert caught.value.where.split("\n")[1:] == [
        "    v1[i, j] = x[i, j] * 0.0",
        "    v1[i, j] = x[i, j] * 1.0",
    ]


# --- the command --------------------------------------------------------------------------------------------


def test_the_reason_of_a_guard_is_one_line(written: Callable[[str], Any]):
    function = written("def f(x, w):\n    return x * 2 if x.shape[0] > 3 else x\n").f
    (guard,) = trace(function, {"x": X, "w": W}).program.guards
    assert guard.reason == "m.py:3: return x * 2 if x.shape[0] > 3 else x"


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x07", "\u202e", "\x9b1m"])
def test_hostile_lines_and_file_names_are_escaped_and_marked(hostile: str, tmp_path: Path):
    path = tmp_path / f"m{hostile}.py"
    path.write_text(
        f"import numpy as np\ndef f(x):\n    s = '{hostile}'; return np.unique(x).sum()\n", encoding="utf-8"
    )
    with clean_imports():
        ran = gradc("grad", f"{path}:f", "--at", "x=1,2")
        as_json = gradc("grad", f"{path}:f", "--at", "x=1,2", "--json")
    assert ran.code == as_json.code == 2
    assert all(char.isprintable() or char == "\n" for char in ran.err)
    assert "np.unique" in ran.err
    for text in (ran.err.split("\n")[1:3], as_json.json["error"]["where"].split("\n")):
        line, carets = text
        assert line[carets.index("^") : len(carets)] == "np.unique(x)"


def test_json_keeps_the_carets(written: Callable[[str], Any]):
    error = error_of(written("def f(x, w):\n    return np.tanh(x @ w)\n").f)
    assert r'"where": "m.py:3: return np.tanh(x @ w)\n                       ^^^^^"' in error_json(error)
