"""Expression text: precedence and meaning against Python itself, limits, spans, exact words of refusals."""

import math
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradc.errors import InputRefused
from gradc.ir.functions import FUNCTIONS as INVENTORY
from gradc.lang.parser import (
    FUNCTIONS,
    Apply,
    Constant,
    Limits,
    Number,
    Parsed,
    Variable,
    parse_expression,
)
from gradc.lang.source import WITHIN_LIMITS

SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "floor_divide": "//", "mod": "%", "pow": "**"}
NUMERIC = {
    **{"add": operator.add, "sub": operator.sub, "mul": operator.mul, "neg": operator.neg},
    **{"lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge},
    **{"eq": operator.eq, "ne": operator.ne, "logical_not": operator.not_},
    "logical_and": lambda a, b: a and b,
    "logical_or": lambda a, b: a or b,
    "select": lambda condition, a, b: a if condition else b,
}


def render(parsed: Parsed) -> str:
    """The fully parenthesised text of a parsed expression."""
    texts: list[str] = []
    for node in parsed.nodes:
        match node:
            case Number(value):
                texts.append(repr(value))
            case Variable(name) | Constant(name):
                texts.append(name)
            case Apply(function, arguments):
                parts = [texts[argument] for argument in arguments]
                symbol = SYMBOLS.get(function)
                texts.append(f"({symbol.join(parts)})" if symbol else f"{function}({','.join(parts)})")
    return texts[-1]


def evaluate(parsed: Parsed, values: dict[str, Any]) -> Any:
    results: list[Any] = []
    for node in parsed.nodes:
        match node:
            case Number(value):
                results.append(value)
            case Variable(name):
                results.append(values[name])
            case Constant(name):
                results.append(getattr(math, name))
            case Apply(function, arguments):
                results.append(NUMERIC[function](*(results[argument] for argument in arguments)))
    return results[-1]


def refusal(text: str | bytes, **options: Any) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        parse_expression(text, **options)
    return caught.value


def show(text: str, **options: Any) -> str:
    return render(parse_expression(text, **options))


class Spy:
    """A value whose operators write down what Python's own parser made of an expression."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __pos__(self) -> "Spy":
        return self

    def __neg__(self) -> "Spy":
        return Spy(f"neg({self.text})")

    def _with(symbol: str) -> Any:  # noqa: N805 # pyright: ignore[reportGeneralTypeIssues, reportSelfClsParameterName]
        return lambda left, right: Spy(f"({left.text}{symbol}{right.text})")

    __add__, __sub__, __mul__ = _with("+"), _with("-"), _with("*")
    __truediv__, __mod__, __pow__ = _with("/"), _with("%"), _with("**")
    __floordiv__ = _with("//")


def call(name: str) -> Any:
    return lambda *arguments: Spy(f"{name}({','.join(argument.text for argument in arguments)})")


NAMES = {name: Spy(name) for name in ("x", "y", "z", "gamma")}
CALLS = {"sin": call("sin"), "arctan2": call("arctan2"), "clip": call("clip")}


def chains(
    atoms: st.SearchStrategy[str], operators: list[str], prefixes: list[str]
) -> st.SearchStrategy[str]:
    """Operands with prefixes, joined by operators, with and without blanks."""
    operand = st.builds("".join, st.tuples(st.sampled_from(prefixes), atoms))
    link = st.builds("".join, st.tuples(st.sampled_from(operators), operand))
    return st.builds(lambda first, rest: first + "".join(rest), operand, st.lists(link, max_size=5))


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    atoms = st.one_of(
        inner.map("({})".format),
        inner.map("sin({})".format),
        st.builds("arctan2({}, {})".format, inner, inner),
        st.builds("clip({},{},\n{})".format, inner, inner, inner),
        st.sampled_from(list(NAMES)),
    )
    return chains(atoms, ["+", "-", " * ", "/", "//", " % ", "**", " ** "], ["", "", "-", "+", "- -"])


@given(st.recursive(st.sampled_from(list(NAMES)), nested, max_leaves=25))
def test_arithmetic_is_grouped_as_python_groups_it(text: str) -> None:
    expected = eval(f"({text})", {"__builtins__": {}}, {**NAMES, **CALLS})
    assert show(text) == expected.text


ARITHMETIC = st.recursive(
    st.sampled_from(["x", "y", "z", "0", "1", "2"]),
    lambda inner: chains(st.one_of(inner.map("({})".format), inner), ["+", "-", "*"], ["", "", "-", "+"]),
    max_leaves=6,
)
COMPARISON = st.builds(
    lambda first, rest: first + "".join(rest),
    ARITHMETIC,
    st.lists(
        st.builds("{}{}".format, st.sampled_from(["<", "<=", " > ", ">=", "==", " != "]), ARITHMETIC),
        min_size=1,
        max_size=3,
    ),
)
CONDITION = st.recursive(
    COMPARISON,
    lambda inner: chains(
        st.one_of(COMPARISON, inner.map("({})".format)), [" and ", " or "], ["", "", "not ", "not not "]
    ),
    max_leaves=8,
)
SMALL = st.integers(-3, 3)


@given(CONDITION, SMALL, SMALL, SMALL)
def test_conditions_mean_what_python_makes_of_them(text: str, x: int, y: int, z: int) -> None:
    values = {"x": x, "y": y, "z": z}
    assert evaluate(parse_expression(text), values) == eval(text, {"__builtins__": {}}, values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-x**2", "neg((x**2))"),
        ("2**-x**2", "(2**neg((x**2)))"),
        ("x**y**z", "(x**(y**z))"),
        ("x-y-z", "((x-y)-z)"),
        ("-2", "-2"),
        ("x**-2", "(x**-2)"),
        ("-2**2", "neg((2**2))"),
        ("- -2.5", "2.5"),
        ("-(x)", "neg(x)"),
        ("+x", "x"),
        ("0 < x < 1", "logical_and(lt(0,x),lt(x,1))"),
        ("(0 < x) & (x < 1)", "logical_and(lt(0,x),lt(x,1))"),
        ("~(x > 0) & y | z", "logical_or(logical_and(logical_not(gt(x,0)),y),z)"),
        ("not x == y", "logical_not(eq(x,y))"),
        ("where(x > 0, x, 0)", "select(gt(x,0),x,0)"),
        ("where(flag, x, y)", "select(flag,x,y)"),
        ("max(x, y, z)", "maximum(maximum(x,y),z)"),
        ("x*(x > 0)", "(x*gt(x,0))"),
        ("asin(x) + arcsin(x)", "(arcsin(x)+arcsin(x))"),
        ("sin (x)", "sin(x)"),
        ("x\r\n + y", "(x+y)"),
        ("\tpi*e", "(pi*e)"),
        ("1e3 + .5 + 2.", "((1000.0+0.5)+2.0)"),
        ("007", "7"),
    ],
)
def test_reading(text: str, expected: str) -> None:
    assert show(text) == expected


def test_a_name_is_a_variable_unless_called() -> None:
    parsed = parse_expression("gamma*gamma(x) + E + S + N + beta + e")
    assert parsed.variables == ("gamma", "x", "E", "S", "N", "beta")
    assert [node.name for node in parsed.nodes if isinstance(node, Constant)] == ["e"]


def test_a_bound_name_is_no_constant() -> None:
    assert parse_expression("e + pi", bound={"e"}).variables == ("e",)


def test_variables_come_in_order_of_first_appearance() -> None:
    assert parse_expression("z + a*z + m").variables == ("z", "a", "m")


def test_a_chain_shares_the_middle() -> None:
    parsed = parse_expression("a < f < b")
    assert [type(node) for node in parsed.nodes].count(Variable) == 3


def test_ints_stay_ints() -> None:
    first, second, _ = parse_expression("12345678901234567890123456789012345678 + 2.0").nodes
    assert isinstance(first, Number)
    assert isinstance(second, Number)
    assert (first.value, type(second.value)) == (12345678901234567890123456789012345678, float)


def test_spans_cover_the_text_of_each_node() -> None:
    text = "(x + y)*\n  sin( 2*z )"
    pieces = [text[n.span.start : n.span.start + n.span.length] for n in parse_expression(text).nodes]
    assert pieces == ["x", "y", "x + y", "2", "z", "2*z", "sin( 2*z )", text]
    spans = [node.span for node in parse_expression(text).nodes]
    assert [(span.line, span.column) for span in spans[5:]] == [(2, 8), (2, 3), (1, 1)]


@pytest.mark.parametrize(("name", "function"), FUNCTIONS.items())
def test_every_function_takes_its_number_of_arguments(name: str, function: Any) -> None:
    letters = "abcd"[: function.arity]
    parsed = parse_expression(f"{name}({', '.join(letters)})")
    last = parsed.nodes[-1]
    assert isinstance(last, Apply)
    assert (last.function, len(last.arguments)) == (function.name, function.arity)
    assert refusal(f"{name}()").code == "E_ARITY"
    if not function.variadic:
        assert refusal(f"{name}({', '.join('abcd'[: function.arity + 1])})").code == "E_ARITY"


def test_the_vocabulary_is_in_the_inventory() -> None:
    named = {(function.name, function.arity) for function in FUNCTIONS.values()}
    inventory = {(name, function.arity) for name, function in INVENTORY.items()}
    assert named - inventory <= {
        ("relu", 1),
        ("clip", 3),
    }  # written with others where the nodes become a Program


REFUSALS = {
    "x^2": ("E_CARET_POWER", "`**`"),
    "2x": ("E_MISSING_OPERATOR", "write 2*x"),
    "2(x)": ("E_MISSING_OPERATOR", "write 2*(...)"),
    "x y": ("E_MISSING_OPERATOR", "write x*y"),
    "sin x": ("E_MISSING_OPERATOR", "write sin(...)"),
    "x\nimprt": ("E_MISSING_OPERATOR", ""),
    "ln(x)": ("E_UNKNOWN_FUNCTION", "write log(x)"),
    "Sin(x)": ("E_UNKNOWN_FUNCTION", "did you mean sin?"),
    "arcsine(x)": ("E_UNKNOWN_FUNCTION", "did you mean arcsin?"),
    "x + x(2)": ("E_UNKNOWN_FUNCTION", "write x*(...)"),
    "pi(2)": ("E_UNKNOWN_FUNCTION", "write pi*(...)"),
    "e(2)": ("E_UNKNOWN_FUNCTION", "write exp(x)"),
    "|x|": ("E_ABSOLUTE_BARS", "write abs(x)"),
    "2*|x|": ("E_ABSOLUTE_BARS", "write abs(x)"),
    "2|x|": ("E_NOT_A_CONDITION", "abs(x)"),
    "x > 0 & y > 0": ("E_NOT_A_CONDITION", "(x > 0) & (y > 0)"),
    "a < b | c < d": ("E_NOT_A_NUMBER", "(x > 0) & (y > 0)"),
    "x and 2": ("E_NOT_A_CONDITION", ""),
    "where(x + 1, x, 0)": ("E_NOT_A_CONDITION", ""),
    "-(x > 0)": ("E_NOT_A_NUMBER", "where(condition, 1, 0)"),
    "(x > 0) + (y > 0)": ("E_NOT_A_NUMBER", "where(condition, 1, 0)"),
    "sin(x > 0)": ("E_NOT_A_NUMBER", ""),
    "x + not y": ("E_EXPECTED_OPERAND", "(not condition)"),
    "x // 0": ("E_DIVISION_BY_ZERO", ""),
    "n!": ("E_OPERATOR", "gamma(n + 1)"),
    "x && y": ("E_OPERATOR", "`and`"),
    "a @ b": ("E_OPERATOR", "Python function"),
    "x[0]": ("E_INDEXING", "x0, x1"),
    "x.T": ("E_ATTRIBUTE", "sin(x), not np.sin(x)"),
    "np.sin(x)": ("E_ATTRIBUTE", "sin(x), not np.sin(x)"),
    "a = x + x": ("E_ASSIGNMENT", ""),
    "x; y": ("E_STATEMENT", ""),
    "x if x > 0 else 0": ("E_RESERVED_NAME", "where(condition, a, b)"),
    "lambda x: x": ("E_RESERVED_NAME", "only the formula"),
    "__name__": ("E_DUNDER_NAME", ""),
    "'x'": ("E_STRING", ""),
    "0x10": ("E_NUMBER", "decimal"),
    "1_000": ("E_NUMBER", "underscores"),
    "x \u2212 1": ("E_CHARACTER", "write -"),
    "\u03c0": ("E_CHARACTER", "write pi"),
    "x\u00b2": ("E_CHARACTER", "write **2"),
    "\uff53in(x)": ("E_CHARACTER", "write s"),
    "x, y": ("E_COMMA", "0.5"),
    "(x, y)": ("E_COMMA", ""),
    "sin(x": ("E_UNCLOSED_PARENTHESIS", ""),
    "x)": ("E_UNOPENED_PARENTHESIS", ""),
    "x +": ("E_EXPECTED_OPERAND", ""),
    "* x": ("E_EXPECTED_OPERAND", ""),
    "()": ("E_EXPECTED_OPERAND", ""),
    "sin(x,)": ("E_EXPECTED_OPERAND", ""),
    "log(x, 2)": ("E_ARITY", "log(x)/log(base)"),
    "max(x)": ("E_ARITY", ""),
    " \n ": ("E_EMPTY", ""),
    "x/0": ("E_DIVISION_BY_ZERO", ""),
    "x % (2 - 2)": ("E_DIVISION_BY_ZERO", ""),
    "x**65": ("E_LIMIT_EXPONENT", "a Python function"),
    "x**-65": ("E_LIMIT_EXPONENT", "a Python function"),
    "pow(x, 8*9)": ("E_LIMIT_EXPONENT", ""),
    "x**digamma(3)": ("E_EXPONENT", ""),
    "x**inf": ("E_LIMIT_EXPONENT", ""),
    "((9**9)**9999)**9999": ("E_LIMIT_EXPONENT", ""),
    "((9**64)**64)**64": ("E_LIMIT_MAGNITUDE", "a Python function"),
    "7**exp(exp(exp(10*e)))": ("E_LIMIT_MAGNITUDE", ""),
    "1e300": ("E_LIMIT_MAGNITUDE", ""),
    "1e-400": ("E_LIMIT_MAGNITUDE", "write 0"),
}


@pytest.mark.parametrize("text", REFUSALS)
def test_refusal_says_what_to_write(text: str) -> None:
    code, hint = REFUSALS[text]
    error = refusal(text)
    assert error.code == code
    assert hint in error.do
    assert code == "E_EMPTY" or "^" in error.where


LIMITED = {
    "depth": ("(((x)))", Limits(depth=2), Limits(depth=3)),
    "nodes": ("x + y", Limits(nodes=2), Limits(nodes=3)),
    "digits": ("1234567", Limits(digits=6), Limits(digits=7)),
    "exponent": ("x**100", Limits(exponent=99), Limits(exponent=100)),
    "magnitude": ("1e6*1e6", Limits(magnitude=1e11), Limits(magnitude=1e13)),
    "name_length": ("abcdef", Limits(name_length=5), Limits(name_length=6)),
    "text_bytes": ("x + \n 1", Limits(text_bytes=6), Limits(text_bytes=7)),
}


@pytest.mark.parametrize("limit", LIMITED)
def test_a_limit_is_named_and_can_be_raised(limit: str) -> None:
    text, low, enough = LIMITED[limit]
    error = refusal(text, limits=low)
    assert error.code.startswith("E_LIMIT_")
    assert f"the limit {limit} is" in error.why
    assert error.do == WITHIN_LIMITS
    assert parse_expression(text, limits=enough).nodes


@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_a_limit_is_positive(value: float) -> None:
    with pytest.raises(InputRefused, match="E_LIMIT_VALUE"):
        Limits(magnitude=value)


def test_raised_limits_do_not_reach_pythons_recursion() -> None:
    deep = Limits(text_bytes=10**7, depth=10**6, nodes=10**6)
    n = 20_000
    assert len(parse_expression("(" * n + "x" + ")" * n, limits=deep).nodes) == 1
    assert len(parse_expression("sin(" * n + "x" + ")" * n, limits=deep).nodes) == n + 1
    assert len(parse_expression("-" * n + "x", limits=deep).nodes) == n + 1
    assert len(parse_expression("x" + "**x" * n, limits=deep).nodes) == 2 * n + 1


def test_a_long_sum_is_no_deep_expression() -> None:
    assert len(parse_expression("x" + "+x" * 30_000).nodes) == 60_001


def test_bytes_are_utf8() -> None:
    assert parse_expression(b"x+1").variables == ("x",)
    assert refusal(b"x+\xff").code == "E_ENCODING"
    assert refusal("x+1".encode("utf-16")).code == "E_ENCODING"
    assert refusal("x\udcff").code == "E_ENCODING"


GOLDEN = {
    "1 + x ^ 2": """\
^ is not an operator here [E_CARET_POWER]
  where: expression, line 1, column 7
    1 + x ^ 2
          ^
  do: for a power use `**`: x**2""",
    "a +\n  sine(b)": """\
sine is not a function gradc knows [E_UNKNOWN_FUNCTION]
  where: expression, line 2, column 3
      sine(b)
      ^^^^
  do: did you mean sin?""",
    "a\u202e + \x1b[2Jb": """\
the character U+202E (RIGHT-TO-LEFT OVERRIDE) is not allowed [E_CHARACTER]
  where: expression, line 1, column 2
    a\\u202e + \\x1b[2Jb
     ^^^^^^
  do: use ASCII letters, digits and + - * / ** % ( ) < > = ,""",
    "x**999": """\
this constant exponent is too large [E_LIMIT_EXPONENT]
  where: expression, line 1, column 4
    x**999
       ^^^
  why: the limit exponent is 64
  do: give less, or call a Python function with arrays of your own: they have no such limit""",
    "atan2(x)": """\
atan2 takes 2 arguments, not 1 [E_ARITY]
  where: expression, line 1, column 1
    atan2(x)
    ^^^^^^^^""",
    "x + " * 12 + "$" + " + z" * 30: """\
the character U+0024 (DOLLAR SIGN) is not allowed [E_CHARACTER]
  where: expression, line 1, column 49
    ...x + x + x + x + x + x + x + x + x + x + $ + z + z + z + z + z + z + z + z + z + z + z + z + z + z + ...
                                               ^
  do: use ASCII letters, digits and + - * / ** % ( ) < > = ,""",
}


@pytest.mark.parametrize("text", GOLDEN)
def test_golden_message(text: str) -> None:
    assert str(refusal(text)) == GOLDEN[text]


ALPHABET = st.sampled_from(
    [
        *"xyzE012.()+-*/%<>=!,&|~^[]{}'\"\\;:#@$_ \n\r\t\x00\x1b\u202e\u0430\ud800",
        "**",
        "sin(",
        "where(",
        "not ",
    ]
)


@given(st.lists(ALPHABET, max_size=30).map("".join))
def test_any_text_is_read_or_refused_in_plain_ascii(text: str) -> None:
    try:
        parsed = parse_expression(text)
    except InputRefused as error:
        refused = error
    else:
        for index, node in enumerate(parsed.nodes):
            assert not isinstance(node, Apply) or all(argument < index for argument in node.arguments)
        return
    assert refused.code.startswith("E_")
    assert all(" " <= char <= "~" or char == "\n" for char in str(refused))
