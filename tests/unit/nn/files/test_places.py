import tomllib
from typing import Any

import pytest

from gradc.nn.files.places import line_of, places

TEXT = '''# a comment with [brackets] and = signs
[network]          # another
shape = [
    1,
    8,             # inside
]
title = """
[[layer]]
type = "no"
"""
loss = { type = "A", more = [1, { b = "]" }] }

[[layer]]
type = "Dense"
"quoted key" = '#'

[[layer]]
type = 'Re"LU'
[layer.initialiser]
type = "He"
[[layer.part]]
a.b = 1
[[layer.part]]
a.b = 2

[training]
rate = 1e-3
'''


def test_every_key_and_table_has_its_line():
    found = places(TEXT)
    lines = TEXT.split("\n")
    assert {path: lines[line - 1] for path, line in found.items()} == {
        ("network",): "[network]          # another",
        ("network", "shape"): "shape = [",
        ("network", "title"): 'title = """',
        ("network", "loss"): 'loss = { type = "A", more = [1, { b = "]" }] }',
        ("layer", 0): "[[layer]]",
        ("layer", 0, "type"): 'type = "Dense"',
        ("layer", 0, "quoted key"): "\"quoted key\" = '#'",
        ("layer", 1): "[[layer]]",
        ("layer", 1, "type"): "type = 'Re\"LU'",
        ("layer", 1, "initialiser"): "[layer.initialiser]",
        ("layer", 1, "initialiser", "type"): 'type = "He"',
        ("layer", 1, "part", 0): "[[layer.part]]",
        ("layer", 1, "part", 0, "a", "b"): "a.b = 1",
        ("layer", 1, "part", 1): "[[layer.part]]",
        ("layer", 1, "part", 1, "a", "b"): "a.b = 2",
        ("training",): "[training]",
        ("training", "rate"): "rate = 1e-3",
    }
    assert [found["layer", 0], found["layer", 1]] == [13, 17]


def test_places_are_paths_of_the_parsed_document():
    parsed = tomllib.loads(TEXT)
    for path in places(TEXT):
        value: Any = parsed
        for part in path:
            value = value[part]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("network", "loss", "type"), 11),
        (("layer", 1, "initialiser", "gain"), 19),
        (("layer", 1, "missing"), 17),
        (("training",), 26),
        (("nothing",), 1),
        ((), 1),
    ],
)
def test_what_has_no_line_has_that_of_what_it_is_inside(path, line):
    assert line_of(places(TEXT), path) == line
