"""Profiles: every piece is counted, predicted and timed; what they say as text, as JSON and as a picture."""

import json
import math
from importlib.util import find_spec

import numpy as np
import pytest

import gradc
from gradc.bench import roofline
from gradc.command.documents import to_json
from gradc.errors import ArgumentError
from gradc.explain.costs import Cost, Memory, Prediction
from gradc.explain.profile import Line, Profile, document, place_of, shown, text_of
from gradc.explain.roofs import ARITHMETIC, SIZES, Machine, Roofs
from gradc.ir.index.nodes import Origin
from gradc.ir.loop.count import CONTRACTION, Counts
from gradc.ir.loop.pieces import pieces
from gradc.ir.types import DType

F64 = DType.F64


def loss(w, x, y):
    h = np.tanh(x @ w)
    return np.square(h - y).mean()


def test_a_profile_covers_the_kernel():
    rng = np.random.default_rng(0)
    at = gradc.differentiate(loss).at(*(rng.normal(size=shape) for shape in ((8, 5), (300, 8), (300, 5))))
    found = at.profile(rounds=3)
    kernel = at.inspect().stages.kernel
    assert [line.cost.kind for line in found.lines] == [piece.kind for piece in pieces(kernel)]
    assert found.measured > 0
    assert found.predicted == pytest.approx(sum(line.prediction.seconds for line in found.lines))
    assert sum(line.measured for line in found.lines) > 0
    assert (CONTRACTION, F64) in found.together.rates
    assert ("tanh", F64) in found.alone.rates
    assert found.memory.arguments == 8 * (40 + 2400 + 1500)
    first = loss.__code__.co_firstlineno
    text = str(found)
    assert f"test_profile.py:{first + 1} product" in text
    assert "the whole kernel" in text


def test_roofs_are_positive_and_ordered():
    for roofs in Machine(2, [("exp", F64), ("add", F64)]).measured():
        assert set(roofs.rates) == {(ARITHMETIC, F64), ("exp", F64)}
        assert all(rate > 0 and math.isfinite(rate) for rate in roofs.rates.values())
        assert [size for size, _ in roofs.bandwidths] == list(SIZES)
        assert all(rate > 0 for _, rate in roofs.bandwidths)
        assert roofs.launch > 0


def test_the_better_of_two_measurements():
    first = Roofs(1, {("exp", F64): 2.0, ("add", F64): 5.0}, ((10, 7.0), (20, 1.0)), 0.5)
    second = Roofs(1, {("exp", F64): 3.0, ("add", F64): 4.0}, ((10, 6.0), (20, 2.0)), 0.25)
    best = Roofs(1, {("exp", F64): 3.0, ("add", F64): 5.0}, ((10, 7.0), (20, 2.0)), 0.25)
    assert first.or_better(second) == second.or_better(first) == best


def test_what_has_no_profile():
    f = gradc.differentiate(loss)
    at = f.at(np.ones((2, 2)), np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(ArgumentError, match="choose one of value, grad"):
        at.profile("vjp")
    with pytest.raises(ArgumentError, match="no compiled kernel"):
        f.with_options(target="interpret").at(np.ones((2, 2)), np.ones((2, 2)), np.ones((2, 2))).profile()


# --- text, JSON, pictures -----------------------------------------------------------------------------------

ROOFS = Roofs(
    2, {(ARITHMETIC, F64): 4e10, (CONTRACTION, F64): 3e10}, ((1 << 17, 1e11), (1 << 27, 1e10)), 1e-6
)


def line(kind: str, measured: float, moved: int = 1000, at: int = 3, **calls: int) -> Line:
    named = {(name, F64): times for name, times in calls.items()}
    origins = (Origin("folder/model.py", at), Origin("folder/model.py", at + 1))
    cost = Cost(kind, origins, ("y[i] = exp(x[i])",), Counts(named), named, moved, moved, 2)
    return Line(cost, Prediction(measured / 4, 0.0, measured / 2, 0.0, far=False), measured)


def profile_of(*lines: Line) -> Profile:
    total = sum(line.measured for line in lines)
    return Profile("loss_grad", lines, ROOFS, ROOFS, Memory(800, 80, 8), total)


MADE = profile_of(
    line("tasks", 1e-3, add=10_000, exp=500),
    line("reshape", 2e-4),
    line("product", 2e-3, add=90_000),
    line("scalars", 1e-6, moved=0, add=4),
)


def test_text():
    rows = [row.split() for row in shown(MADE).splitlines()]
    assert rows[0] == ["loss_grad"]
    assert rows[2][:3] == ["model.py:3-4", "tasks", "14"]
    assert rows[2][3:9] == ["k", "500", "1", "kB", "14", "500"]
    assert rows[2][9:13] == ["us", "1", "ms", "2.00"]
    assert rows[2][13:] == ["cache", "y[i]", "=", "exp(x[i])"]
    assert rows[5][:2] == ["1", "shorter"]
    assert rows[6][:3] == ["the", "whole", "kernel"]
    assert "arrays: 800 B of arguments, 80 B of results, at most 8 B at once in between" in shown(MADE)


def test_places_and_equations():
    origins = tuple(
        Origin(file, at) for file, at in (("a/m.py", 9), ("a/m.py", 7), ("a/m.py", 8), ("b/n.py", 2))
    )
    cost = Cost("loop", origins, (), Counts({}), {}, 0, 0, 1)
    assert place_of(cost) == "m.py:7-9 n.py:2 loop"
    assert text_of(()) == ""
    assert text_of(("v1[i] = x[i]", "v2 = sum[i] v1[i]")) == "v1, v2 (2 equations)"
    assert len(text_of(tuple(f"variable_{at} = x" for at in range(50)))) <= 61
    assert len(text_of(("y = " + "x + " * 50 + "x",))) <= 61


def test_json():
    found = json.loads(to_json(document(MADE)))
    assert found["memory"] == {"argument_bytes": 800, "result_bytes": 80, "temporary_bytes": 8}
    assert [roofs["threads"] for roofs in found["machine"]] == [2, 2]
    assert found["machine"][0]["rates"]["multiply-add float64"] == 3e10
    first, *_, last = found["pieces"]
    assert first["operations"] == 14_000
    assert first["calls"] == {"add float64": 10_000, "exp float64": 500}
    assert first["operations_per_byte"] == 14.0
    assert first["measured_over_predicted"] == pytest.approx(2.0)
    assert first["lines"][0] == {"file": "folder/model.py", "line": 3, "text": ""}
    assert (first["bound"], first["place"]) == ("cache", "model.py:3-4 tasks")
    assert last["operations_per_byte"] is None


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_pictures():
    many = profile_of(
        *(line("tasks", 1e-3 / (at + 1), moved=100 * 2**at, add=1000 * 3**at) for at in range(30))
    )
    nothing = profile_of(line("reshape", 1e-3))
    drawn = roofline.draw({"one": document(MADE), "two": document(many), "three": document(nothing)})
    assert drawn.startswith(b"<?xml")
    assert b"</svg>" in drawn
    assert roofline.draw({"one": document(MADE)}, "png").startswith(b"\x89PNG")
