"""Pictures of trainings: which lines there are, their numbers, scales, the best epoch, and the legend."""

import math
from typing import Any

import numpy as np
import pytest
from tests.unit.nn.pictures.texts import overlapping, texts_of

from gradc.errors import ArgumentError
from gradc.nn.history import Best, Epoch, History, is_better
from gradc.nn.pictures.curves import HUES, MOST, curves
from gradc.nn.pictures.plot import Plot

pytest.importorskip("matplotlib")


def history(
    losses: list[float],
    validation: list[float | None] | None = None,
    accuracy: list[float | None] | None = None,
    rates: list[float] | None = None,
    stopped: str = "finished",
) -> History:
    count = len(losses)
    rows = zip(
        losses, validation or [None] * count, accuracy or [None] * count, rates or [0.1] * count, strict=True
    )
    return History([Epoch(at, *row, 1.0, 10) for at, row in enumerate(rows, 1)], stopped)


def lines(picture: Plot, panel: int = 0) -> dict[str, Any]:
    return {line.get_label(): line for line in picture.figure.axes[panel].lines}


def heights(line: Any) -> list[float]:
    return list(map(float, line.get_ydata()))


def panels(picture: Plot) -> list[str]:
    return [axes.get_ylabel() for axes in picture.figure.axes]


def legend(picture: Plot) -> list[str]:
    return [text.get_text().strip() for text in picture.figure.legends[0].get_texts()]


FULL = history([2.0, 1.0, 0.5, 0.4], [1.9, 1.1, 0.8, 0.9], [0.3, 0.6, 0.7, 0.75])


def test_losses_and_accuracy_are_lines_over_the_numbers_of_the_epochs():
    picture = curves(FULL)
    assert panels(picture) == ["loss", "accuracy"]
    found = lines(picture)
    assert list(found["loss"].get_xdata()) == [1, 2, 3, 4]
    assert heights(found["loss"]) == [2.0, 1.0, 0.5, 0.4]
    assert heights(found["validation_loss"]) == [1.9, 1.1, 0.8, 0.9]
    assert heights(lines(picture, 1)["accuracy"]) == [0.3, 0.6, 0.7, 0.75]
    assert found["loss"].get_linestyle() != found["validation_loss"].get_linestyle()
    assert found["loss"].get_color() != found["validation_loss"].get_color()
    assert picture.title == "4 epochs, finished: loss 2 to 0.4"
    assert "4 epochs, finished: loss 2 to 0.4" in texts_of(picture)


def test_a_ring_marks_the_least_validation_loss_and_its_accuracy():
    picture = curves(FULL)
    for panel, value in ((0, 0.8), (1, 0.7)):
        ring = lines(picture, panel)["best"]
        assert (list(ring.get_xdata()), heights(ring)) == ([3], [value])
        assert ring.get_markerfacecolor() == "none"
    assert legend(picture) == ["training loss", "validation loss", "best: epoch 3 (0.8)"]


def test_without_validation_data_the_least_loss_is_the_best():
    picture = curves(history([2.0, 0.5, 0.7]))
    assert panels(picture) == ["loss"]
    assert set(lines(picture)) == {"loss", "best"}
    assert heights(lines(picture)["best"]) == [0.5]
    assert lines(picture)["loss"].get_linestyle() == "-"
    assert legend(picture) == ["training loss", "best: epoch 2 (0.5)"]


@pytest.mark.parametrize("seed", range(5))
def test_the_best_epoch_is_the_one_that_training_keeps(seed: int):
    generator = np.random.default_rng(seed)
    validation = [float(value) for value in generator.integers(1, 6, 12)]  # with ties
    validation[seed] = float("nan")
    found = history([1.0] * 12, list(validation))
    best = None
    for epoch in found.epochs:
        best = Best(epoch, {}) if is_better(epoch, best) else best
    assert best is not None
    assert list(lines(curves(found))["best"].get_xdata()) == [best.epoch.number]


def test_a_range_over_a_hundred_times_has_powers_of_ten():
    assert curves(history([5.0, 0.06])).figure.axes[0].get_yscale() == "linear"
    assert curves(history([5.0, 0.04])).figure.axes[0].get_yscale() == "log"
    assert curves(history([5.0, 1.0], [4.0, 0.04])).figure.axes[0].get_yscale() == "log"
    assert curves(history([5.0, 0.0])).figure.axes[0].get_yscale() == "linear"  # 0 has no place there


def test_a_learning_rate_that_varies_has_a_panel():
    assert panels(curves(history([1.0, 0.5], rates=[0.1, 0.1]))) == ["loss"]
    picture = curves(history([1.0, 0.5], rates=[0.1, 0.05]))
    assert panels(picture) == ["loss", "learning rate"]
    assert heights(lines(picture, 1)["rate"]) == [0.1, 0.05]
    loss, rate = picture.figure.axes
    with_size = loss.get_position().height, rate.get_position().height
    assert with_size[1] < 0.5 * with_size[0]


def test_the_end_of_a_cosine_does_not_make_powers_of_ten_but_steps_do():
    cosine = [0.01 * (1 + math.cos(math.pi * at / 20)) / 2 + 1e-9 for at in range(1, 21)]
    steps = [0.1] * 5 + [0.01] * 5 + [0.001] * 5 + [0.0001] * 5
    for rates, scale in ((cosine, "linear"), (steps, "log")):
        assert curves(history([1.0] * 20, rates=rates)).figure.axes[1].get_yscale() == scale


def test_epochs_without_validation_are_gaps_and_a_lone_one_is_a_point():
    losses = [1.0] * 100
    validation: list[float | None] = [None] * 100
    validation[60] = 0.5
    line = lines(curves(history(losses, validation)))["validation_loss"]
    assert np.isnan(heights(line)[59])
    assert heights(line)[60] == 0.5
    assert list(line.get_markevery()) == [60]
    assert list(lines(curves(history(losses)))["loss"].get_markevery()) == []
    assert list(lines(curves(history(losses[:3])))["loss"].get_markevery()) == [0, 1, 2]


def test_losses_that_are_not_finite_are_gaps():
    line = lines(curves(history([1.0, 0.5, 0.4], [1.0, float("inf"), 0.9])))["validation_loss"]
    assert np.isnan(heights(line)[1])


def test_epochs_have_whole_numbers():
    axes = curves(history([1.0, 0.5])).figure.axes[0]
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


# --- several ------------------------------------------------------------------------------------------------


def test_several_trainings_share_panels_and_have_colours_of_their_own():
    other = history([3.0, 2.5], rates=[0.2, 0.1])
    picture = curves({"momentum": FULL, "SGD": other})
    assert panels(picture) == ["loss", "accuracy", "learning rate"]
    drawn = [line for line in picture.figure.axes[0].lines if line.get_label() == "loss"]
    assert [heights(line) for line in drawn] == [[2.0, 1.0, 0.5, 0.4], [3.0, 2.5]]
    assert [line.get_color() for line in drawn] == [HUES[0], HUES[1]]
    validation = lines(picture)["validation_loss"]
    assert validation.get_color() == HUES[0]
    assert validation.get_linestyle() == "-" != drawn[0].get_linestyle()
    assert legend(picture) == [
        *("momentum, best: epoch 3 (0.8)", "SGD, best: epoch 2 (2.5)"),
        *("training loss", "validation loss"),
    ]
    assert picture.title == "2 trainings: momentum, SGD"


def test_the_legend_shows_each_training_in_its_colour():
    picture = curves({"one": FULL, "two": FULL, "three": FULL})
    handles = picture.figure.legends[0].legend_handles
    assert [handle.get_color() for handle in handles[:3]] == list(HUES[:3])
    assert legend(curves({"one": history([1.0]), "two": history([2.0])})) == [
        *("one, best: epoch 1 (1)", "two, best: epoch 1 (2)"),
    ]


def test_trainings_that_share_a_colour_have_other_markers():
    found = curves({f"training {at}": history([1.0] * 100) for at in range(MOST)})
    drawn = [line for line in found.figure.axes[0].lines if line.get_label() == "loss"]
    looks = {(line.get_color(), line.get_marker()) for line in drawn}
    assert len(looks) == MOST == len(drawn)
    assert len(drawn[len(HUES)].get_markevery()) == 10
    assert len(legend(found)) == MOST


def test_a_mapping_of_one_training_is_named_in_the_title():
    assert curves({"momentum": FULL}).title == "1 training: momentum"


@pytest.mark.parametrize(
    "given",
    [
        FULL,
        {"momentum": FULL, "a name that is longer than forty characters are": FULL, "SGD": FULL},
        {f"training {at}": FULL for at in range(MOST)},
        history([1.0, 0.001], [1.0, 0.5], [0.123456, 0.2], [1e-9, 1e-3]),
        history([1.0]),
    ],
)
def test_texts_do_not_lie_on_each_other(given: Any):
    picture = curves(given)
    assert overlapping(picture) == []


# --- refused ------------------------------------------------------------------------------------------------


def test_a_history_without_epochs_is_refused():
    with pytest.raises(ArgumentError, match="the history has no epoch"):
        curves(History())
    with pytest.raises(ArgumentError, match="the history of SGD has no epoch"):
        curves({"momentum": FULL, "SGD": History()})


def test_no_training_and_too_many_are_refused():
    with pytest.raises(ArgumentError, match="there is no training to draw"):
        curves({})
    with pytest.raises(ArgumentError, match=f"{MOST + 1} trainings cannot be told apart"):
        curves({str(at): FULL for at in range(MOST + 1)})
