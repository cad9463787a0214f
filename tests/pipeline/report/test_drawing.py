"""The drawings of a report: one look per run, signs of differences, what is measured once."""

import re

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from pipeline.report.figures import draw_dice, draw_measures, draw_shapes
from pipeline.report.organ_shapes import OrganShape
from pipeline.report.panels import Curve, Panel, organ_panels, panel_figure
from pipeline.report.runs.arms import read_arms
from pipeline.report.theme import (
    GAIN,
    LOSS,
    MUTED,
    SERIES,
    SOFTWARE,
    drawing,
    is_ours,
    look_of,
    png,
    signed,
)
from pipeline.report.tiles import LAYERS, most_wrong, tile, tile_figure
from pipeline.report.views.measures import other_metrics
from tests.support.report_material import case_of, make_scored_run

CLASSES = ("background", "liver")


@pytest.fixture
def arms(prepared, tmp_path):
    """Three arms; the second one was not scored."""
    runs = [make_scored_run(tmp_path / name, prepared) for name in "abc"]
    for number, run in enumerate(runs):
        state = torch.load(run / "best.pt", weights_only=True)
        state["config"]["run"]["training"]["rate"] = 0.1 * (number + 1)
        torch.save(state, run / "best.pt")
    (runs[1] / "evaluation-test.json").unlink()
    return read_arms(runs, "test")


def test_a_run_has_one_color_and_one_marker_in_every_chart(arms):
    looks = [look_of(arm.number) for arm in arms]
    with drawing(400, 400) as figure:
        axes = figure.subplots()
        draw_dice(axes, [arm for arm in arms if arm.evaluations], {})
        drawn = {line.get_label(): (line.get_color(), line.get_marker()) for line in axes.lines}
    assert drawn == {
        arm.label: (look.color, look.shape)
        for arm, look in zip(arms, looks, strict=True)
        if arm.evaluations
    }
    for panel in organ_panels(arms):
        assert [curve.look for curve in panel.curves] == looks


def test_every_metric_beside_dice_has_a_chart_with_the_means_of_the_table(arms):
    scored = [arm for arm in arms if arm.evaluations]
    metrics = other_metrics(scored)
    with drawing(700, 400) as figure:
        draw_measures(figure, scored, metrics)
        charts = figure.axes
        assert [chart.get_xlabel() for chart in charts] == ["NSD, %", "HD95, mm", "ASSD, mm"]
        for chart, metric in zip(charts, metrics, strict=True):
            (line,) = [one for one in chart.lines if one.get_label() == scored[1].label]
            liver = scored[1].over_seeds("liver", metric.key)[0]
            place = scored[0].evaluations[0].groups["all"].index("liver")
            assert line.get_xdata()[place] == pytest.approx(liver * (100 if metric.share else 1))


def test_the_looks_of_many_runs_all_differ():
    looks = [look_of(number) for number in range(36)]
    assert len(set(looks)) == 36
    assert {look.series for look in looks[:6]} == set(range(len(SERIES)))


def test_a_difference_is_told_by_its_sign():
    found = [signed(value) for value in (2.34, -0.5, 0.04, -0.04, 0.0, float("nan"))]
    assert found == ["+2.3", "−0.5", "0.0", "0.0", "0.0", "–"]


def test_red_is_gain_in_the_chart_of_size_and_shape_and_nothing_has_the_color_of_a_run():
    shapes = {
        name: OrganShape(share, 0.2) for name, share in {"a": 0.6, "b": 0.3, "c": 0.1}.items()
    }
    with drawing(600, 400) as figure:
        axes = figure.subplots()
        draw_shapes(axes, shapes, {"a": 3.0, "b": -2.0, "c": 0.01})
        told = {text.get_text(): text.get_color() for text in axes.texts}
        points = {to_hex(color) for dots in axes.collections for color in dots.get_facecolor()}
    assert (told["+3.0"], told["−2.0"], told["0.0"]) == (GAIN, LOSS, MUTED)
    assert points.isdisjoint(SERIES)


def test_percentiles_are_taken_once_per_volume_however_many_pictures_are_made(monkeypatch):
    random = np.random.default_rng(0)
    truth, found = random.integers(0, 2, (2, 8, 7, 6))
    entropy = random.random((8, 7, 6)).astype(np.float32)
    case = case_of(truth, found, entropy=entropy)
    counted, percentile = [], np.percentile
    monkeypatch.setattr(
        np, "percentile", lambda *words, **named: counted.append(1) or percentile(*words, **named)
    )
    pictures = [
        tile(case, most_wrong(case, axis), layer, CLASSES, side=20)
        for axis in range(3)
        for layer in LAYERS
    ]
    assert len(pictures) == 15
    assert len(counted) == 1
    low, high = percentile(entropy, (1, 99.9))
    np.testing.assert_allclose(
        case.glowing(entropy[2]), np.clip((entropy[2] - low) / (high - low), 0, 1), rtol=1e-5
    )


def test_a_case_without_any_organ_is_drawn():
    nothing = np.zeros((8, 7, 6), int)
    case = case_of(nothing, nothing)
    with tile_figure([("none", case, most_wrong(case, 2))], list(LAYERS), CLASSES) as figure:
        assert is_ours(png(figure))


def test_a_panel_without_a_score_says_so_and_one_with_infinite_losses_is_drawn():
    points = [(10, float("nan")), (20, float("nan"))]
    with panel_figure(Panel("liver", (Curve(look_of(0), points),), percent=True)) as figure:
        assert [text.get_text() for text in figure.axes[0].texts] == ["not scored"]
        png(figure)
    points = [(10, 1.0), (20, float("inf"))]
    with panel_figure(Panel("total", (Curve(look_of(0), points),), steps=20)) as figure:
        png(figure)
        assert np.isfinite(figure.axes[0].get_ylim()).all()


def test_figures_carry_the_mark_of_a_report_and_others_do_not():
    with drawing(50, 50) as figure:
        content = png(figure)
    assert is_ours(content)
    assert not is_ours(re.sub(SOFTWARE.encode(), b"some editor!!!", content))
    assert not is_ours(b"")
