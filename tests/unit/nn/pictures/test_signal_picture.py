"""Pictures of signals: lines over depth, histograms, what is marked at an edge, and what is left out."""

from typing import Any

import numpy as np
import pytest
from tests.unit.nn.pictures.texts import overlapping, texts_of

from gradc.nn.pictures.histograms import BINS, binned
from gradc.nn.pictures.plot import Plot
from gradc.nn.pictures.signals import MOST, signal_picture
from gradc.nn.signals import LayerSignals, Signals

pytest.importorskip("matplotlib")

rng = np.random.default_rng(2)


def layer(name: str, **changes: Any) -> LayerSignals:
    values: dict[str, Any] = {
        **{"output_mean": 0.1, "output_deviation": 0.5, "zeros": 0.0, "saturated": None},
        **{"gradient_mean": 0.0, "gradient_deviation": 1e-3, "gradient_largest": 1e-2},
        **{"parameters_deviation": None, "parameters_ratio": None},
    }
    return LayerSignals(name, **{**values, **changes})


def made(layers: list[LayerSignals], **arrays: np.ndarray) -> Signals:
    def given(kind: str, scale: float) -> dict[str, np.ndarray]:
        return {row.name: arrays.get(kind, scale * rng.normal(size=(20, 5))) for row in layers}

    return Signals(2.5, 20, tuple(layers), given("output", 1.0), given("gradient", 1e-3), {})


def lines(picture: Plot, panel: int) -> dict[str, Any]:
    return {line.get_label(): line for line in picture.figure.axes[panel].lines}


def points(line: Any) -> dict[int, float]:
    return dict(zip(line.get_xdata(), map(float, line.get_ydata()), strict=True))


LAYERS = [
    layer("dense_1", output_mean=0.25, parameters_deviation=1e-6, gradient_deviation=1e-5),
    layer("tanh_1", output_mean=-0.5, output_deviation=0.125, gradient_deviation=2e-5),
    layer("dense_2", output_mean=0.0, parameters_deviation=1e-2, gradient_deviation=1e-1),
]


def test_statistics_are_lines_over_depth():
    picture = signal_picture(made(LAYERS))
    assert [axes.get_title("left") for axes in picture.figure.axes[:3]] == [
        *("mean of outputs", "deviation of outputs", "deviation of gradients by"),
    ]
    assert points(lines(picture, 0)["outputs"]) == {1: 0.25, 2: -0.5, 3: 0.0}
    assert points(lines(picture, 1)["outputs"]) == {1: 0.5, 2: 0.125, 3: 0.5}
    assert points(lines(picture, 2)["outputs"]) == {1: 1e-5, 2: 2e-5, 3: 1e-1}
    assert points(lines(picture, 2)["parameters"]) == {1: 1e-6, 3: 1e-2}
    assert [axes.get_yscale() for axes in picture.figure.axes[:3]] == ["linear", "log", "log"]
    assert picture.title == "signals of 3 layers: loss 2.5 of 20 examples"


def test_layers_are_named_below_the_panels_and_above_their_histograms():
    picture = signal_picture(made(LAYERS))
    texts = texts_of(picture)
    assert all(texts.count(name) == 4 for name in ("dense_1", "tanh_1", "dense_2"))
    for axes in picture.figure.axes[:3]:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["dense_1", "tanh_1", "dense_2"]
        assert list(axes.get_xticks()) == [1, 2, 3]


def test_small_means_are_written_in_full():
    picture = signal_picture(made([layer("one", output_mean=-1.5e-8), layer("two", output_mean=2e-8)]))
    axis = picture.figure.axes[0].yaxis
    texts = [tick.get_text().replace("\N{MINUS SIGN}", "-") for tick in axis.get_ticklabels()]
    assert [float(text) for text in texts] == pytest.approx(list(axis.get_ticklocs()))
    assert axis.get_offset_text().get_text() == ""


def test_the_legend_names_the_two_gradients_only():
    picture = signal_picture(made([*LAYERS, layer("dead", gradient_deviation=0.0)]))
    assert [text.get_text() for text in picture.figure.axes[2].get_legend().get_texts()] == [
        *("outputs", "parameters"),
    ]


def test_deviations_of_zero_and_what_is_not_finite_are_marked_at_the_edges():
    odd = [
        layer("dead", output_deviation=0.0, gradient_deviation=0.0),
        layer(
            "wild", output_mean=float("nan"), output_deviation=float("nan"), gradient_deviation=float("inf")
        ),
        layer("last"),
    ]
    picture = signal_picture(made(odd))
    assert points(lines(picture, 0)["outputs"]) == {1: 0.1, 3: 0.1}
    assert points(lines(picture, 1)["outputs"]) == points(lines(picture, 1)["outputs"]) == {3: 0.5}
    for panel in (1, 2):
        zero = lines(picture, panel)["0"]
        assert (list(zero.get_xdata()), zero.get_marker()) == ([1], "v")
        assert zero.get_transform() == picture.figure.axes[panel].get_xaxis_transform()
        assert zero.get_ydata()[0] < 0.1
    for panel in (0, 1, 2):
        unfit = lines(picture, panel)["not finite"]
        assert (list(unfit.get_xdata()), unfit.get_marker()) == ([2], "x")
        assert unfit.get_ydata()[0] > 0.9
    assert set(lines(signal_picture(made(LAYERS)), 1)) == {"outputs"}


# --- histograms ---------------------------------------------------------------------------------------------


def test_a_histogram_counts_the_central_numbers_that_are_not_zero():
    numbers = np.concatenate([np.arange(1, 1001), np.zeros(500), [np.nan, np.inf]])
    heights, edges, largest = binned(numbers)
    assert largest == 1000
    assert len(heights) == BINS
    np.testing.assert_allclose(largest * edges[[0, -1]], [5.995, 995.005], rtol=1e-12)
    assert heights.sum() == 990
    assert heights[0] == ((numbers > 5.995) & (numbers < 5.995 + 989.01 / BINS)).sum()


def test_numbers_near_the_least_that_exists_have_bins():
    heights, edges, largest = binned(np.arange(-50, 51) * 1e-310)
    assert (heights > 0).sum() > 30
    assert edges[-1] * largest * 1e300 == pytest.approx(49.5e-10, rel=1e-2, abs=0)


def test_one_number_again_and_again_is_one_bar():
    heights, edges, _ = binned(np.full(7, -0.3) * (1 + 1e-16 * np.arange(7)))
    assert heights.max() == heights.sum() == 7
    assert edges[0] < -1 < edges[-1]


def test_nothing_but_zeros_has_no_bars():
    heights, edges, _ = binned(np.zeros(4))
    assert heights.size == edges.size == 0


def test_every_layer_has_a_histogram_of_its_output_and_of_the_gradient():
    output = np.concatenate([np.linspace(-2, 4, 100), np.zeros(100)])
    picture = signal_picture(made(LAYERS, output=output, gradient=np.zeros(5)))
    panels = picture.figure.axes[3:]
    assert len(panels) == 2 * len(LAYERS)
    (bars,) = [patch for patch in panels[0].patches if hasattr(patch, "get_data")]
    heights, edges, largest = binned(output)
    np.testing.assert_array_equal(bars.get_data().values, heights)
    np.testing.assert_array_equal(bars.get_data().edges, edges)
    assert [tick.get_text() for tick in panels[0].get_xticklabels()] == [
        f"{edge * largest:.2g}" for edge in (edges[0], edges[-1])
    ]
    assert panels[0].get_title("left") == "50% zeros"
    assert panels[1].get_title("left") == "100% zeros"
    assert not panels[1].patches
    assert [panel.get_ylabel() for panel in panels] == ["output", "gradient", "", "", "", ""]


def test_a_line_marks_zero_in_a_histogram_that_spans_it():
    for output, lines_of in ((np.linspace(-1, 2, 50), [0]), (np.linspace(1, 2, 50), [])):
        panel = signal_picture(made(LAYERS, output=output)).figure.axes[3]
        assert [line.get_xdata()[0] for line in panel.lines] == lines_of


def test_what_is_left_out_of_a_histogram_is_written_above_it():
    output = np.concatenate([np.ones(997), [0.0, np.nan, np.inf]])
    picture = signal_picture(made(LAYERS, output=output))
    assert picture.figure.axes[3].get_title("left") == "< 1% zeros, < 1% not finite"
    assert picture.figure.axes[4].get_title("left") == ""


# --- many layers --------------------------------------------------------------------------------------------


def test_forty_layers_have_names_and_histograms():
    picture = signal_picture(made([layer(f"dense_{at}") for at in range(1, MOST + 1)]))
    assert len(picture.figure.axes) == 3 + 2 * MOST
    assert "histograms" not in picture.title


def test_of_more_layers_the_first_and_the_last_have_histograms_and_the_title_says_so():
    layers = [layer(f"dense_{at}", output_mean=at) for at in range(1, MOST + 12)]
    picture = signal_picture(made(layers))
    assert picture.title.endswith("; histograms of the first 20 and the last 20 layers")
    texts = texts_of(picture)
    assert picture.title in texts
    shown = [at for at in range(1, MOST + 12) if f"dense_{at}" in texts]
    assert shown == [*range(1, 21), *range(32, 52)]
    assert len(picture.figure.axes) == 3 + 2 * MOST
    assert len(points(lines(picture, 0)["outputs"])) == MOST + 11


@pytest.mark.parametrize("count", [1, 3, 11, MOST, MOST + 1])
def test_texts_do_not_lie_on_each_other(count: int):
    names = [f"batch_norm_{at}_{'x' * 20}" for at in range(count)]
    deviations = 10.0 ** -np.arange(0, 5 * count, 5)
    layers = [
        layer(name, output_mean=-1.234567e-9, gradient_deviation=float(deviation))
        for name, deviation in zip(names, deviations, strict=True)
    ]
    output = np.concatenate([-1.25e-100 * rng.uniform(0.5, 1, 50), np.zeros(50), [np.nan]])
    assert overlapping(signal_picture(made(layers, output=output))) == []


def test_a_picture_of_signals_has_the_same_bytes_at_every_run():
    found = made(LAYERS)
    assert signal_picture(found).svg == signal_picture(found).svg
