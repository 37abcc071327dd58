"""Scenes as SVG and PNG: well-formed, in light and dark, foreign text harmless; files whole or not at all."""

import io
import os
import re
import stat
import struct
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import InputRefused
from gradc.explain.drawing.image import Image
from gradc.explain.drawing.palette import DARK, LIGHT, heat
from gradc.explain.drawing.png import MOST, png
from gradc.explain.drawing.scene import (
    HUES,
    Circle,
    Curve,
    Group,
    Mark,
    Rect,
    Scene,
    Strip,
    Text,
    extent_of,
    flat,
    printable,
    text_width,
)
from gradc.explain.drawing.svg import style, svg
from gradc.explain.files import write_whole

SPACE = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    '"];x[label="',
    "one\ntwo",
    "</title><script>alert(1)</script>",
    "a\u202eb\u2066c",
    "$x_1$",
    "\\$x$ \\frac{",
    "]]>",
    "<!-- & --> &amp; &#0;",
    "\x00\x01\x1b[31m\ud800\ufffe",
    "' onload='alert(1)",
)
MARKS: tuple[Mark, ...] = (
    Rect(5, 5, 60, 30, "gate", "outline", 6),
    Circle(100, 20, 15, "", "outline"),
    Curve(((10, 50), (40, 50), (70, 80)), arrow=True, dashed=True),
    Curve(((70, 80), (10, 50)), "gradient", arrow=True),
    Strip(10, 90, 60, 5, (0.0, 1.0, None)),
    Text(100, 60, "x + y", "value", bold=True),
)
SCENE = Scene(140, 110, MARKS, "a scene")


def scene_with(text: str) -> Scene:
    marks = Group((Text(50, 20, text), Rect(1, 1, 5, 5, "gate")), text, (("gate", text), ("line", "3")))
    return Scene(100, 40, (marks,), text)


def graph() -> Any:
    """A picture with every kind of mark."""

    def loss(w: Any, x: Any) -> Any:
        return np.square(np.tanh(x @ w)).sum()

    return gradc.differentiate(loss).at(np.ones((3, 2)), np.ones((4, 3))).inspect().graph()


# --- SVG ----------------------------------------------------------------------------------------------------


def test_the_svg_of_a_graph_is_well_formed():
    root = ET.fromstring(graph().svg)
    assert root.tag == f"{SPACE}svg"
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
    assert (width, height) == pytest.approx((graph().scene.width, graph().scene.height), abs=0.01)


def test_the_svg_of_a_graph_has_every_shape():
    found = graph()
    shapes = list(flat(found.scene.marks))
    root = ET.fromstring(found.svg)
    counts = {kind: sum(isinstance(shape, kind) for shape in shapes) for kind in (Text, Circle, Curve)}
    assert len(root.findall(f".//{SPACE}text")) == counts[Text]
    assert len(root.findall(f".//{SPACE}circle")) == counts[Circle]
    assert len(root.findall(f".//{SPACE}path")) == counts[Curve]
    cells = sum(len(shape.levels) for shape in shapes if isinstance(shape, Strip))
    rects = sum(isinstance(shape, Rect) for shape in shapes)
    assert len(root.findall(f".//{SPACE}rect")) == rects + cells + 1  # and the paper
    assert all(counts.values())
    assert cells


def test_the_svg_of_a_graph_has_both_themes():
    text = graph().svg
    assert "@media(prefers-color-scheme:dark)" in text
    for role in LIGHT:
        assert f"--{role}:{LIGHT[role]};" in text
        assert f"--{role}:{DARK[role]};" in text
        assert f".fill-{role}{{fill:var(--{role})}}" in text
    dark = text.partition("@media")[2].partition("}}")[0]
    assert f"--paper:{DARK['paper']};" in dark
    assert f"--paper:{LIGHT['paper']};" not in dark


def test_the_svg_of_a_graph_uses_roles_that_have_a_colour():
    used = set(re.findall(r"(?:fill|stroke)-([\w-]+)", " ".join(re.findall(r'class="([^"]*)"', graph().svg))))
    assert used
    assert used <= set(LIGHT)


def test_the_svg_of_a_graph_refers_to_nothing_outside():
    text = graph().svg.replace('xmlns="http://www.w3.org/2000/svg"', "", 1)
    for word in ("http", "url(", "href", "src=", "@import", "<script", "<image", "<foreignObject", "onload"):
        assert word not in text


def test_the_svg_within_a_page_has_no_style_of_its_own():
    inner = svg(SCENE, alone=False)
    assert "<style>" not in inner
    assert "<style>" in svg(SCENE)
    assert 'class="fill-paper"' not in inner


def test_the_svg_of_a_graph_draws_each_shape_in_its_place():
    root = ET.fromstring(svg(SCENE, alone=False))
    rect, *_ = root.findall(f"{SPACE}rect")
    assert {name: rect.attrib[name] for name in ("x", "y", "width", "height", "rx", "class")} == {
        "x": "5",
        "y": "5",
        "width": "60",
        "height": "30",
        "rx": "6",
        "class": "fill-gate stroke-outline",
    }
    (circle,) = root.findall(f"{SPACE}circle")
    assert (circle.attrib["cx"], circle.attrib["r"], circle.attrib["fill"]) == ("100", "15", "none")
    (dashed, plain) = root.findall(f"{SPACE}path")
    assert dashed.attrib["d"] == "M10 50L40 50C55 50 55 80 70 80"
    assert (dashed.attrib["stroke-dasharray"], plain.attrib.get("stroke-dasharray")) == ("4 3", None)
    ahead, back = (one.attrib["points"].split()[:2] for one in root.findall(f"{SPACE}polygon"))
    assert ahead == ["70,80", "65,77"]  # an arrow points where its wire goes
    assert back == ["10,50", "15,47"]
    (text,) = root.findall(f"{SPACE}text")
    assert (text.text, text.attrib["font-weight"], text.attrib["class"]) == ("x + y", "bold", "fill-value")
    cells = root.findall(f"{SPACE}rect")[1:]
    assert [cell.attrib["fill"] for cell in cells] == [heat(0.0), heat(1.0), "#000000"]
    assert [float(cell.attrib["x"]) for cell in cells] == [10, 30, 50]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_is_text_of_the_svg(text: str):
    found = svg(scene_with(text))
    root = ET.fromstring(found)
    assert [node.tag.removeprefix(SPACE) for node in root.iter()] == [
        "svg",
        "style",
        "rect",
        "g",
        "title",
        "text",
        "rect",
    ]
    (group,) = root.findall(f"{SPACE}g")
    assert group.attrib == {"data-gate": group.attrib["data-gate"], "data-line": "3"}
    assert group.attrib["data-gate"].split() == printable(text, lines=True).split()
    assert group.find(f"{SPACE}text").text == printable(text)  # pyright: ignore[reportOptionalMemberAccess]
    assert group.find(f"{SPACE}title").text == printable(text, lines=True)  # pyright: ignore[reportOptionalMemberAccess]
    assert "onload" not in root.attrib
    assert all(character.isprintable() or character == "\n" for character in found)
    found.encode()


# --- text ---------------------------------------------------------------------------------------------------


def test_text_is_as_wide_as_its_characters():
    assert text_width("") == 0
    assert text_width("ab", 10) == pytest.approx(2 * text_width("a", 10))
    assert text_width("漢", 10) == pytest.approx(2 * text_width("a", 10))
    assert text_width("e\u0301", 10) == pytest.approx(text_width("e", 10))
    assert text_width("a", 20) == pytest.approx(2 * text_width("a", 10))


def test_the_room_of_text_depends_on_its_anchor():
    width = text_width("abcd")
    for anchor, left in (("start", 50), ("middle", 50 - width / 2), ("end", 50 - width)):
        x, top, right, bottom = extent_of(Text(50, 20, "abcd", anchor=anchor))
        assert (x, right) == pytest.approx((left, left + width))
        assert top < 20 < bottom


def test_what_is_no_printable_character_is_a_question_mark():
    assert printable("a\u202e\x00\ud800\nz é漢") == "a????z é漢"
    assert printable("a\nb\r", lines=True) == "a\nb?"


def test_shapes_of_groups_are_drawn_in_their_order():
    one, two, three, four = (Circle(at, 0, 1) for at in range(4))
    assert list(flat((one, Group((two, Group((three,)))), four))) == [one, two, three, four]


# --- colours ------------------------------------------------------------------------------------------------


def _contrast(one: str, two: str) -> float:
    """The ratio of WCAG 2.1."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("role", ["ink", "faint", "value", "gradient"])
def test_text_of_the_graph_can_be_read_on_paper_and_on_every_kernel(theme: dict[str, str], role: str):
    grounds = (
        ["paper", "gate", *(f"kernel-{at}" for at in range(HUES))] if role == "ink" else ["paper", "gate"]
    )
    for ground in grounds:
        assert _contrast(theme[role], theme[ground]) >= 4.5


def test_themes_have_the_same_roles():
    assert list(LIGHT) == list(DARK)
    assert {f"kernel-{at}{part}" for at in range(HUES) for part in ("", "-line")} <= set(LIGHT)
    assert len({LIGHT[f"kernel-{at}"] for at in range(HUES)}) == HUES


def test_heat_goes_from_blue_to_red():
    assert heat(5.0) == heat(1.0)
    assert heat(-5.0) == heat(-1.0)
    assert heat(float("nan")) == heat(None) == "#000000"
    blue, red = heat(-0.5), heat(0.5)
    assert int(blue[5:], 16) > int(blue[1:3], 16)
    assert int(red[5:], 16) < int(red[1:3], 16)


# --- PNG ----------------------------------------------------------------------------------------------------


def size_of(image: bytes) -> tuple[int, int]:
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert image[12:16] == b"IHDR"
    assert image.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", image[16:24])


def test_the_png_of_a_graph_has_twice_its_size():
    pytest.importorskip("matplotlib")
    found = graph()
    assert size_of(found.png) == (int(found.scene.width * 2), int(found.scene.height * 2))


def test_the_png_shows_the_scene():
    image = pytest.importorskip("matplotlib.image")
    pixels = image.imread(io.BytesIO(png(SCENE)))
    assert pixels.shape[:2] == (220, 280)

    def colour(x: float, y: float) -> str:
        return "#" + "".join(f"{round(255 * part):02x}" for part in pixels[int(2 * y), int(2 * x), :3])

    assert colour(136, 106) == LIGHT["paper"]
    assert colour(35, 20) == LIGHT["gate"]
    assert colour(40, 92.5) == heat(1.0)
    assert colour(60, 92.5) == "#000000"
    assert LIGHT["wire"] in {colour(at, 50) for at in range(15, 30)}  # between its dashes there is none


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_is_text_of_the_png(text: str):
    pytest.importorskip("matplotlib")
    assert size_of(png(scene_with(text))) == (200, 80)


def test_dollars_of_the_png_are_no_mathematics():
    image = pytest.importorskip("matplotlib.image")
    pixels = image.imread(io.BytesIO(png(Scene(200, 40, (Text(100, 20, "$x_1$", size=16),)))))
    columns = np.flatnonzero((pixels[:, :, :3] < 0.9).any(axis=(0, 2)))
    assert columns[-1] - columns[0] > 2 * text_width("x_1$", 16)  # mathematics has neither dollars nor a line


def test_a_picture_too_large_for_png_says_so():
    wide = replace(SCENE, width=MOST)
    with pytest.raises(InputRefused, match=r"60000 x 220 pixels, too many for PNG[\s\S]*write \.svg"):
        png(wide)
    with pytest.raises(InputRefused, match="too many for PNG"):
        png(replace(SCENE, width=12_000, height=12_000))


def test_without_matplotlib_the_png_of_a_graph_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputRefused, match=r"PNG needs matplotlib[\s\S]*pip install 'gradc\[plot\]'"):
        png(SCENE)


def test_without_matplotlib_a_graph_is_still_svg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"] + ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    graph().save(tmp_path / "g.svg")
    with pytest.raises(InputRefused):
        graph().save(tmp_path / "g.png")
    assert [path.name for path in tmp_path.iterdir()] == ["g.svg"]


# --- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".svg", ".SVG", ".png"])
def test_a_picture_is_saved_as_its_suffix_says(tmp_path: Path, suffix: str):
    if suffix == ".png":
        pytest.importorskip("matplotlib")
    path = tmp_path / f"picture{suffix}"
    image = Image(lambda: SCENE)
    assert image.save(str(path)) == path
    assert path.read_bytes() == (image.png if suffix == ".png" else image.svg.encode())


@pytest.mark.parametrize(("name", "what"), [("g.jpg", "no .jpg file"), ("g", "no file without a suffix")])
def test_a_picture_of_another_format_is_refused(tmp_path: Path, name: str, what: str):
    with pytest.raises(InputRefused, match=re.escape(what)) as found:
        Image(lambda: SCENE).save(tmp_path / name)
    assert "end the name in one of .svg, .png" in str(found.value)
    assert not list(tmp_path.iterdir())


def test_a_directory_is_no_file(tmp_path: Path):
    (tmp_path / "g.svg").mkdir()
    with pytest.raises(InputRefused, match=r"g\.svg is a directory[\s\S]*do: name a file"):
        Image(lambda: SCENE).save(tmp_path / "g.svg")


def test_a_missing_folder_is_told(tmp_path: Path):
    with pytest.raises(InputRefused) as found:
        Image(lambda: SCENE).save(tmp_path / "none" / "g.svg")
    message = str(found.value)
    assert "g.svg cannot be written" in message
    assert "why: No such file or directory" in message
    assert "do: name another file" in message
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("broken", ["replace", "chmod"])
def test_a_graph_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str):
    path = tmp_path / "g.svg"
    path.write_text("old")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, broken, fail)
    with pytest.raises(InputRefused, match="why: No space left on device"):
        write_whole(path, b"new")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["g.svg"]


def test_a_picture_that_cannot_be_drawn_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "g.svg"
    path.write_text("old")

    def fail() -> Scene:
        raise ValueError("no scene")

    with pytest.raises(ValueError, match="no scene"):
        Image(fail).save(path)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["g.svg"]


def test_a_graph_takes_the_place_of_the_old_file(tmp_path: Path):
    path = tmp_path / "g.svg"
    path.write_text("old and longer")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["g.svg"]


@pytest.mark.skipif(os.name != "posix", reason="there are no such permissions")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_file_of_a_graph_has_the_permissions_that_the_umask_leaves(tmp_path: Path, mask: int):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "g.svg", b"")
        assert os.umask(mask) == mask  # and the mask stays
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "g.svg").stat().st_mode) == 0o666 & ~mask


def test_the_style_has_no_line_that_ends_it():
    assert "</" not in style()
    assert style().count("{") == style().count("}")
