"""A picture as a file and in a notebook: formats, bytes that repeat, what is refused, and names from anywhere."""

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from tests.unit.nn.pictures.texts import texts_of

from gradc.errors import InputRefused
from gradc.nn.history import Epoch, History
from gradc.nn.pictures.curves import curves
from gradc.nn.pictures.plot import logarithmic, new_figure, styled

matplotlib = pytest.importorskip("matplotlib")
artist = pytest.importorskip("matplotlib.artist")
PNG = b"\x89PNG\r\n\x1a\n"


def history() -> History:
    return History([Epoch(at, 2.0 / at, 3.0 / at, 0.9, 0.1, 1.0, 10) for at in range(1, 6)], "finished")


@pytest.mark.parametrize("suffix", [".svg", ".SVG", ".png"])
def test_a_picture_is_saved_as_its_suffix_says(tmp_path: Path, suffix: str):
    path = tmp_path / f"picture{suffix}"
    picture = curves(history())
    assert picture.save(str(path)) == path
    assert path.read_bytes() == (picture.png if suffix == ".png" else picture.svg.encode())
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("name", "what"), [("g.jpg", "no .jpg file"), ("g", "no file without a suffix")])
def test_a_picture_of_another_format_is_refused(tmp_path: Path, name: str, what: str):
    with pytest.raises(InputRefused, match=re.escape(what)) as found:
        curves(history()).save(tmp_path / name)
    assert "end the name in one of .svg, .png" in str(found.value)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_fails_leaves_the_file_as_it_was(tmp_path: Path):
    path = tmp_path / "p.svg"
    path.write_text("before")
    picture = curves(history())

    class Broken(artist.Artist):
        def draw(self, renderer: object) -> None:
            raise ZeroDivisionError

    picture.figure.add_artist(Broken())
    with pytest.raises(ZeroDivisionError):
        picture.save(path)
    assert path.read_text() == "before"
    assert [found.name for found in tmp_path.iterdir()] == ["p.svg"]


def test_a_notebook_gets_both_formats():
    picture = curves(history())
    assert picture._repr_svg_() == picture.svg
    assert picture._repr_png_() == picture.png
    assert picture.png.startswith(PNG)


def test_the_same_picture_has_the_same_bytes():
    picture = curves(history())
    assert picture.svg == picture.svg == curves(history()).svg
    assert picture.png == curves(history()).png
    assert "<dc:date>" not in picture.svg


def test_the_style_of_the_user_changes_nothing():
    before = curves(history()).svg
    with matplotlib.rc_context(
        {"axes.facecolor": "black", "svg.fonttype": "path", "font.size": 20, "text.parse_math": True}
    ):
        assert curves(history()).svg == before
        assert matplotlib.rcParams["font.size"] == 20


def test_text_is_text():
    texts = texts_of(curves(history()))
    assert {"loss", "epoch", "accuracy", "training loss", "validation loss"} <= set(texts)


HOSTILE = ("$\\frac{1}{0}$", "</svg><script>x()</script>", "a\x00b\u202e", "_hidden", "漢字", "\ud800")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text(name: str):
    picture = curves({name: history(), "other": history()})
    root = ET.fromstring(picture.svg)
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    shown = "".join(character if character.isprintable() else "?" for character in name)
    assert any(f"{shown}, best" in "".join(element.itertext()) for element in root.iter())
    assert picture.png.startswith(PNG)


def test_a_picture_is_shown_in_one_line():
    assert repr(curves(history())) == "<picture: 5 epochs, finished: loss 2 to 0.4; .save('picture.svg')>"


def test_without_matplotlib_a_picture_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputRefused, match=r"a picture needs matplotlib[\s\S]*pip install 'gradc\[plot\]'"):
        curves(history())


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([0.2, 0.3], (0.1, 1.0)),
        ([1.0], (1.0, 10.0)),
        ([1e-9, 2.0], (1e-9, 10.0)),
        ([0.0, float("inf"), 5.0], (1.0, 10.0)),
        ([5e-324, 1e308], (1e-300, 1e290)),
        ([], (1.0, 10.0)),
    ],
)
def test_an_axis_of_powers_of_ten_has_whole_powers_around_its_values(
    values: list[float], ends: tuple[float, float]
):
    with styled():
        axes = new_figure(3, 3).subplots()
        logarithmic(axes, values)
    low, high = np.log10(axes.get_ylim())
    first, last = np.log10(ends)
    assert axes.get_yscale() == "log"
    assert first - 0.1 * (last - first) < low < first
    assert last < high < last + 0.1 * (last - first)
