"""The words after `--at`, which no stock option parser takes."""

import pytest
from tests.unit.command.support import gradc

from gradc.command.words import split_words
from gradc.errors import InputRefused


@pytest.mark.parametrize(
    ("line", "split"),
    [
        ("grad --at x=-2 y=5 --json", "grad --at x=-2 --at y=5 --json"),
        ("grad --at x=1 --at y=2", "grad --at x=1 --at y=2"),
        ("grad --at=x=1 y=2", "grad --at x=1 --at y=2"),
        ("grad --at x=1 f.py:f", "grad --at x=1 f.py:f"),
        ("grad --at x=-1e-3 params.w1=1,2;3,4", "grad --at x=-1e-3 --at params.w1=1,2;3,4"),
        ("check --shape w=3,4 x=3 --at b=1 c=2", "check --shape w=3,4 --shape x=3 --at b=1 --at c=2"),
        ("compile --at x=1 -o a=b", "compile --at x=1 -o a=b"),
        ("grad --at x=1 --expr x==1", "grad --at x=1 --expr x==1"),
        ("grad --at 2x=1", "grad --at 2x=1"),  # refused later, with what is wrong with the name
        ("grad -- --at f", "grad -- --at f"),
    ],
)
def test_values_after_at(line: str, split: str):
    assert split_words(line.split()) == split.split()


@pytest.mark.parametrize(
    "line", ["--at", "--at --json", "--at x = 1", "--at 5", "--shape -o d", "--at --at x=1"]
)
def test_at_without_a_value_is_refused(line: str):
    with pytest.raises(InputRefused, match="needs NAME=VALUE") as caught:
        split_words(["grad", *line.split()])
    assert caught.value.code == "E_ASSIGNMENT_FORM"


def test_repeated_at_is_one_list():
    together = gradc("grad", "--expr", "x*y", "--at", "x=2", "y=3")
    assert together.code == 0
    assert gradc("grad", "--expr", "x*y", "--at", "x=2", "--at", "y=3") == together
    assert gradc("grad", "--at=x=2", "y=3", "--expr", "x*y") == together


def test_a_positional_with_an_equals_sign_is_never_spec():
    ran = gradc("grad", "--expr", "x*y", "x=2")
    assert (ran.code, ran.out) == (2, "")
    assert "do: write --at x=2" in ran.err
