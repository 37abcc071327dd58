"""Text that cannot steer a terminal, JSON that any program can read."""

import json

import numpy as np

from gradc.command.documents import for_stream, named, plain, printable, to_json


def test_control_characters_are_written_out():
    assert printable("a\x1b[2Jb\r\x9b\u202e\udcff\ttab\nline é β") == (
        "a\\x1b[2Jb\\x0d\\x9b\\u202e\\udcff\ttab\nline é β"
    )


def test_a_foreign_name_stays_on_one_line():
    assert named("a\nb\x07") == "a\\nb\\x07"
    assert len(named("x" * 10_000)) < 250


def test_streams_get_only_characters_they_can_write():
    assert for_stream("├─ β\n│  └─ x", "ascii") == "|- \\u03b2\n|  `- x"
    assert for_stream("├─ β", "utf-8") == "├─ β"
    assert for_stream("├─", None) == "|-"


def test_no_bare_nan_and_shortest_floats():
    found = plain({"a": np.array([np.nan, np.inf, -np.inf, 0.1]), "b": np.float32(0.1), "c": (True, None)})
    assert found == {"a": ["NaN", "Infinity", "-Infinity", 0.1], "b": 0.1, "c": [True, None]}
    assert plain(np.array([[0.1, 2.5]], np.float32)) == [[0.1, 2.5]]
    assert plain(np.int32(3)) == 3
    assert json.loads(to_json({"x": float("nan")})) == {"schema": 1, "x": "NaN"}
