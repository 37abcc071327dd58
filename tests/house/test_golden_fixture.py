"""The golden fixture itself: a comparison that cannot fail would hide every change of the emitted text."""

from dataclasses import replace
from pathlib import Path

import pytest


def test_update_writes_what_later_runs_compare(golden, tmp_path: Path):
    stem = tmp_path / "module" / "name"
    replace(golden, stem=stem, update=True, seen=set())("x = 1", part="kernel", suffix=".py")
    assert (tmp_path / "module" / "name.kernel.py").read_bytes() == b"x = 1\n"
    replace(golden, stem=stem, update=False, seen=set())("x = 1\n", part="kernel", suffix=".py")


def test_different_text_fails(golden, tmp_path: Path):
    replace(golden, stem=tmp_path / "name", update=True, seen=set())("x = 1")
    with pytest.raises(AssertionError, match="--update-golden"):
        replace(golden, stem=tmp_path / "name", update=False, seen=set())("x = 2")


def test_missing_file_says_how_to_make_it(golden, tmp_path: Path):
    with pytest.raises(pytest.fail.Exception, match="--update-golden"):
        replace(golden, stem=tmp_path / "name", update=False)("x = 1")


def test_two_texts_of_one_test_need_two_names(golden, tmp_path: Path):
    golden = replace(golden, stem=tmp_path / "name", update=True, seen=set())
    golden("x = 1")
    with pytest.raises(AssertionError, match="part"):
        golden("x = 2")


@pytest.mark.parametrize("value", ["a/b c"])
def test_file_is_named_after_module_and_test(golden, value: str):
    path = golden.stem.as_posix()
    assert path.endswith("tests/golden/data/golden_fixture/file_is_named_after_module_and_test-a-b-c")
