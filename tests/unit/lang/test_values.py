"""Values of ``--at``: what each form means, which dtype it gets, and what refusals say."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradc.errors import InputRefused
from gradc.lang.source import WITHIN_LIMITS
from gradc.lang.values import ValueLimits, nest, parse_assignment, parse_value

RNG = np.random.default_rng(0)


def refusal(text: str, limits: ValueLimits | None = None) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        parse_value(text, rng=RNG, limits=limits, label="value of x")
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-2", -2),
        ("+3", 3),
        ("1e-3", 1e-3),
        (" 2.5 ", 2.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("true", True),
        ("False", False),
        ("inf", np.inf),
        ("-inf", -np.inf),
        ("12345678901234567890123", 12345678901234567890123),
    ],
)
def test_scalars(text: str, value: object) -> None:
    got = parse_value(text, rng=RNG)
    assert (got, type(got)) == (value, type(value))


def test_nan() -> None:
    got = parse_value("nan", rng=RNG)
    assert got != got


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2", np.array([1, 2])),
        ("5,", np.array([5])),
        ("1,2.5", np.array([1.0, 2.5])),
        ("1, -inf", np.array([1.0, -np.inf])),
        ("1,2;3,4", np.array([[1, 2], [3, 4]])),
        ("1;2", np.array([[1], [2]])),
        ("1,2,;3,4,", np.array([[1, 2], [3, 4]])),
        ("true,false", np.array([True, False])),
        ("[1,2]", np.array([1, 2])),
        (" [ 1 , 2.0 ] ", np.array([1.0, 2.0])),
        ("[[1,2],[3,4]]", np.array([[1, 2], [3, 4]])),
        ("[[[1]]]", np.array([[[1]]])),
        ("[]", np.array([])),
        ("[[],[]]", np.zeros((2, 0))),
        ("zeros(2,3)", np.zeros((2, 3))),
        ("ones( 2 )", np.ones(2)),
        ("zeros(0)", np.zeros(0)),
    ],
)
def test_arrays(text: str, expected: np.ndarray) -> None:
    got = parse_value(text, rng=RNG)
    assert isinstance(got, np.ndarray)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected, strict=True)


def test_generators_follow_the_seed() -> None:
    def draw(text: str) -> object:
        return parse_value(text, rng=np.random.default_rng(7))

    np.testing.assert_array_equal(draw("normal(4,2)"), np.random.default_rng(7).standard_normal((4, 2)))
    np.testing.assert_array_equal(draw("uniform(3)"), np.random.default_rng(7).random(3))
    assert draw("normal()") == np.random.default_rng(7).standard_normal()


@pytest.mark.parametrize("dtype", ["f8", "f4", ">f8", "i8", "u1", "?"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_files_keep_dtype_and_shape(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.ones(shape, dtype=dtype)
    np.save(tmp_path / "x.npy", array)
    got = parse_value(f"@{tmp_path / 'x.npy'}", rng=RNG)
    assert isinstance(got, np.ndarray)
    assert got.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(got, array)


def test_files_in_fortran_order(tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.save(tmp_path / "x.npy", array)
    np.testing.assert_array_equal(parse_value(f"@{tmp_path / 'x.npy'}", rng=RNG), array)


def test_an_archive_is_sent_to_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros(2))
    assert "--inputs" in refusal(f"@{tmp_path / 'x.npz'}").do


REFUSALS = {
    "": "E_VALUE_NUMBER",
    "x": "E_VALUE_NUMBER",
    "1,,2": "E_VALUE_NUMBER",
    ",": "E_VALUE_NUMBER",
    "1,2;": "E_VALUE_NUMBER",
    "1j": "E_VALUE_NUMBER",
    "1e400": "E_VALUE_NUMBER",
    "1,2;3": "E_VALUE_ARRAY",
    "[[1],2]": "E_VALUE_ARRAY",
    "1,true": "E_VALUE_ARRAY",
    "1,99999999999999999999": "E_VALUE_ARRAY",
    "[1,2": "E_VALUE_LIST",
    "[1,]": "E_VALUE_LIST",
    "[1 2]": "E_VALUE_NUMBER",
    "[1],2": "E_VALUE_LIST",
    "[1]]": "E_VALUE_LIST",
    "[,1]": "E_VALUE_LIST",
    "[[1][2]]": "E_VALUE_LIST",
    "[1;2]": "E_VALUE_NUMBER",
    "gamma(2)": "E_VALUE_GENERATOR",
    "normal(2": "E_VALUE_GENERATOR",
    "normal(2)+1": "E_VALUE_GENERATOR",
    "normal(2,)": "E_VALUE_SHAPE",
    "normal(x)": "E_VALUE_SHAPE",
}


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text: str) -> None:
    error = refusal(text)
    assert error.code == REFUSALS[text]
    assert error.do


LIMITED = {
    "elements": ("zeros(10)", ValueLimits(elements=9), "E_LIMIT_ELEMENTS"),
    "rank": ("[[1]]", ValueLimits(rank=1), "E_LIMIT_RANK"),
    "text_bytes": ("1,2,3", ValueLimits(text_bytes=4), "E_LIMIT_TEXT"),
}


@pytest.mark.parametrize("limit", LIMITED)
def test_a_limit_is_named(limit: str) -> None:
    text, limits, code = LIMITED[limit]
    error = refusal(text, limits)
    assert error.code == code
    assert f"the limit {limit} is" in error.why
    assert error.do == WITHIN_LIMITS


def test_limits_of_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(100))
    text = f"@{tmp_path / 'x.npy'}"
    assert refusal(text, ValueLimits(file_bytes=100)).code == "E_LIMIT_FILE"
    assert refusal(text, ValueLimits(elements=99)).code == "E_LIMIT_ELEMENTS"


def test_golden_message() -> None:
    assert (
        str(refusal("1, 2, 3x; 4"))
        == """\
`3x` is not a number [E_VALUE_NUMBER]
  where: value of x, line 1, column 7
    1, 2, 3x; 4
          ^^
  why: at most 40 digits, finite in float64
  do: write 2, 1e-3, true, 1,2,3, 1,2;3,4, @file.npy or normal(64,10)"""
    )


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("x=-2", ("x", "-2")),
        ("params.w1=1,2", ("params.w1", "1,2")),
        ("layers.0.w=normal(2)", ("layers.0.w", "normal(2)")),
        ("f=@a=b.npy", ("f", "@a=b.npy")),
    ],
)
def test_assignments(word: str, parts: tuple[str, str]) -> None:
    assert parse_assignment(word) == parts


@pytest.mark.parametrize(
    "word", ["x", "x=", "=1", "", "1x=2", "x.=2", ".x=2", "x-y=2", "__class__=1", "x.__dict__=1"]
)
def test_assignments_refused(word: str) -> None:
    with pytest.raises(InputRefused, match=r"E_ASSIGNMENT_FORM|E_VALUE_NAME"):
        parse_assignment(word)


def test_nested_names() -> None:
    assert nest([("x", 1), ("p.w", 2), ("p.q.r", 3)]) == {"x": 1, "p": {"w": 2, "q": {"r": 3}}}


@pytest.mark.parametrize("names", [("x", "x"), ("p", "p.w"), ("p.w", "p"), ("p.w", "p.w.z")])
def test_a_name_has_one_value(names: tuple[str, ...]) -> None:
    with pytest.raises(InputRefused, match="E_VALUE_TWICE"):
        nest((name, 1) for name in names)


@given(st.text(st.sampled_from("0123456789.,;[]()+-einfatru@ \x00\u0661"), max_size=25))
def test_any_text_is_a_value_or_refused_in_plain_ascii(text: str) -> None:
    try:
        parse_value(text.replace("@", ""), rng=RNG, limits=ValueLimits(elements=1000))
    except InputRefused as error:
        refused = error
    else:
        return
    assert refused.code.startswith(("E_VALUE_", "E_LIMIT_"))
    assert all(" " <= char <= "~" or char == "\n" for char in str(refused))
