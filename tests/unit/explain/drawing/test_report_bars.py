"""The chart of a profile in the report: a bar for each piece, a mark at its floor, on one scale."""

import pytest

from gradc.explain.drawing.bars import THICK, Bar, bars
from gradc.explain.drawing.scene import Rect, Scene, Text, extent_of, flat
from gradc.explain.profile_chart import MOST, Row, chart

ROWS = (
    Bar("first", 4.0, 1.0, "4 s"),
    Bar("second", 2.0, 2.0, "2 s"),
    Bar("third", 1.0, 3.0, "1 s, long text"),
)
LEGEND = ("measured", "floor")


def of_role(scene: Scene, role: str) -> list[Rect]:
    """Bars of a role, without the one of the legend."""
    found = [mark for mark in flat(scene.marks) if isinstance(mark, Rect) and mark.fill == role]
    return found[:-1] if role in ("bar", "mark") else found


def texts_of(scene: Scene) -> list[str]:
    return [mark.text for mark in flat(scene.marks) if isinstance(mark, Text)]


def test_bars_of_the_report_are_on_one_scale_from_zero():
    scene = bars(ROWS, "title", LEGEND)
    tracks = of_role(scene, "track")
    assert len({track.width for track in tracks}) == 1
    room = tracks[0].width
    assert [bar.width for bar in of_role(scene, "bar")] == pytest.approx([room, room / 2, room / 4])
    middles = [mark.x + mark.width / 2 - tracks[0].x for mark in of_role(scene, "mark")]
    assert middles == pytest.approx([room / 4, room / 2, 3 * room / 4], abs=1)
    assert [bar.y for bar in of_role(scene, "bar")] == [track.y for track in tracks]


def test_a_floor_above_every_bar_stays_in_its_track():
    scene = bars([Bar("a", 1.0, 5.0, "1 s")], "title", LEGEND)
    (track,), (mark,) = of_role(scene, "track"), of_role(scene, "mark")
    assert mark.x + mark.width <= track.x + track.width + mark.width
    assert of_role(scene, "bar")[0].width == pytest.approx(track.width / 5)


def test_a_chart_of_the_report_without_rows_or_times():
    assert texts_of(bars([], "title", LEGEND)) == ["title", *LEGEND]
    (bar,) = of_role(bars([Bar("a", 0.0, 0.0, "0 s")], "title", LEGEND), "bar")
    assert (bar.width, bar.height) == (1.0, THICK)


def test_no_text_of_the_report_chart_lies_on_another():
    rows = [*ROWS, Bar("l" * 200, 0.5, 0.1, "0.5 s, 5x the floor (memory)")]
    scene = bars(rows, "a title", LEGEND)
    rooms = [extent_of(mark) for mark in flat(scene.marks) if isinstance(mark, Text)]
    rooms += [(m.x, m.y, m.x + m.width, m.y + m.height) for m in of_role(scene, "track")]
    for at, one in enumerate(rooms):
        assert 0 <= one[0] < one[2] <= scene.width
        assert 0 <= one[1] < one[3] <= scene.height
        for two in rooms[:at]:
            assert one[0] >= two[2] or two[0] >= one[2] or one[1] >= two[3] or two[1] >= one[3]


def test_pieces_of_the_report_chart_are_sorted_and_the_rest_is_summed():
    rows = [Row(f"piece {at}", 1e-6 * (at + 1), 5e-7) for at in range(MOST + 3)]
    scene = chart("title", rows, Row("the whole kernel", 1e-3, 1e-4))
    labels = [text for text in texts_of(scene) if text.startswith(("piece", "the whole", "3 more"))]
    assert labels == [
        *(f"piece {at}" for at in range(MOST + 2, 2, -1)),
        "3 more",
        "the whole kernel",
    ]
    assert "6 us, 4.00x the floor" in texts_of(scene)


def test_a_row_of_the_report_chart_says_what_binds_it():
    scene = chart("title", [Row("a", 2e-6, 1e-6, "memory"), Row("b", 1e-6, 0.0)], Row("all", 3e-6, 1e-6))
    shown = texts_of(scene)
    assert shown[1:7] == ["a", "2 us, 2.00x the floor (memory)", "b", "1 us", "all", "3 us, 3.00x the floor"]
