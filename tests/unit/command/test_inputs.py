"""Arguments from the command line, from files, from shapes and annotations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.command.support import clean_imports, gradc

FUNCTIONS = """
from __future__ import annotations
from dataclasses import dataclass
from typing import NamedTuple
import numpy as np

@dataclass
class Layer:
    w: object
    b: object

class Pair(NamedTuple):
    first: object
    second: object

def dot(w, x):
    return w @ x

def nested(params, x):
    return np.sum(params["w1"] * x) + params["w2"]["b"]

def of_class(layer: Layer, x):
    return np.sum(layer.w * x) + layer.b

def listed(pair):
    return pair[0] * pair[1]

def of_pair(pair: Pair):
    return pair.first * pair.second

def typed(x: f32["N"], w: f64["N", 3], k: i64[2]):
    return np.sum(x @ w) + np.sum(w[k])

def defaults(x, n: int = 2, mode="sum"):
    return x**n if mode == "sum" else -(x**n)

def picked(x, i: int):
    return x[i]
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "f.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    with clean_imports():
        yield


def answer(*words: str) -> dict[str, Any]:
    ran = gradc("grad", *words, "--json")
    assert ran.code == 0, ran.out
    return ran.json


def refusal(*words: str) -> str:
    ran = gradc("grad", *words)
    assert (ran.code, ran.out) == (2, "")
    return ran.err


def test_whole_numbers_and_lists_of_them_are_floats():
    found = answer("f.py:dot", "--at", "w=1,2", "x=3,4")
    assert (found["value"], found["gradient"]) == (11.0, {"w": [3.0, 4.0], "x": [1.0, 2.0]})


def test_entries_of_an_argument():
    found = answer("f.py:nested", "--at", "params.w1=1,2", "params.w2.b=5", "x=3,4")
    assert found["value"] == 16.0
    assert found["gradient"] == {"params.w1": [3.0, 4.0], "params.w2.b": 1.0, "x": [1.0, 2.0]}


@pytest.mark.parametrize("function", ["listed", "of_pair"])
def test_numbered_and_named_entries(function: str):
    keys = ("0", "1") if function == "listed" else ("first", "second")
    found = answer(f"f.py:{function}", "--at", f"pair.{keys[0]}=2", f"pair.{keys[1]}=3")
    assert found["gradient"] == {f"pair.{keys[0]}": 3.0, f"pair.{keys[1]}": 2.0}


def test_an_annotated_dataclass_is_made_of_its_entries():
    found = answer("f.py:of_class", "--at", "layer.w=1,2", "layer.b=5", "x=3,4")
    assert found["gradient"] == {"layer.w": [3.0, 4.0], "layer.b": 1.0, "x": [1.0, 2.0]}
    assert "its entries do not make" in refusal("f.py:of_class", "--at", "layer.w=1,2", "x=3,4")


def test_integers_stay_integers_where_the_function_says_so():
    assert answer("f.py:picked", "--at", "x=1,2,3", "i=1")["gradient"] == {"x": [0.0, 1.0, 0.0]}
    assert answer("f.py:defaults", "--at", "x=3", "n=3", "mode=minus")["value"] == -27.0


def test_a_file_of_one_array():
    np.save("w.npy", np.array([1.0, 2.0]))
    assert answer("f.py:dot", "--at", "w=@w.npy", "x=3,4")["value"] == 11.0
    assert "E_FILE_OPEN" in refusal("f.py:dot", "--at", "w=@missing.npy", "x=3,4")


def test_an_archive_has_the_names_of_at_and_at_overrides_its_entries():
    np.savez("a.npz", **{"params.w1": np.ones(2), "params.w2.b": np.float64(1), "x": np.array([3.0, 4.0])})  # pyright: ignore[reportArgumentType]
    assert answer("f.py:nested", "--inputs", "a.npz")["value"] == 8.0
    assert answer("f.py:nested", "--inputs", "a.npz", "--at", "params.w2.b=10")["value"] == 17.0


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_a_broken_archive_is_refused(content: bytes):
    Path("a.npz").write_bytes(content)
    assert "E_FILE_FORMAT" in refusal("f.py:dot", "--inputs", "a.npz")


def test_objects_in_an_archive_are_never_unpickled():
    np.savez("a.npz", x=np.array([{}], dtype=object))
    assert "E_FILE_DTYPE" in refusal("f.py:dot", "--inputs", "a.npz")


def test_annotations_decide_dtypes_and_sizes_agree():
    ran = gradc("check", "f.py:typed", "--at", "k=0,1", "--seed", "3", "--shape", "x=4")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("drawn with --seed 3: x f32[4] in ")
    assert "w f64[4, 3] in " in ran.out.splitlines()[0]
    assert "is annotated i64 and is not" in refusal("f.py:typed", "--at", "k=0.5,1", "x=1,2")


def test_drawn_values_follow_the_seed():
    words = ("f.py:dot", "--shape", "w=3", "x=3")
    one, other = answer(*words), answer(*words, "--seed", "1")
    assert answer(*words) == one
    assert one["value"] != other["value"]
    assert other["drawn"]["seed"] == 1
    assert answer("f.py:dot", "--at", "w=normal(3)", "x=ones(3)")["gradient"]["w"] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--at w=1", "argument x has no value\n  do: --at x=..., --shape x=3,4"),
        ("--at w=1 x=1 y=2", "there is no argument `y`\n  why: the arguments are w, x"),
        ("--at w=1 w=2", "E_VALUE_TWICE"),
        ("--at w=1 w.a=2 x=1", "E_VALUE_TWICE"),
        ("--at w=1,, x=1", "value of w, line 1"),
        ("--at w=1;2,3 x=1", "E_VALUE_ARRAY"),
        ("--at w=__import__('os') x=1", "E_VALUE_GENERATOR"),
        ("--at w= x=1", "`w=` gives no value"),
        ("--at w=1,2 --shape w=2 x=2", "argument w has both a value and a --shape"),
        ("--shape w=2x3 x=1", "E_VALUE_SHAPE"),
        ("--shape w=² x=1", "E_VALUE_SHAPE"),
        ("--shape w=99999999,99999999 x=1", "E_LIMIT_ELEMENTS"),
        ("--at w=1,2 x=1,2,3", "do not agree"),
    ],
)
def test_bad_values_are_refused(words: str, message: str):
    assert message in refusal("f.py:dot", *words.split())
