"""Learning curves: a small chart per loss term and per organ, against the step."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from pipeline.report.runs.arms import Arm
from pipeline.report.theme import MUTED, SeriesStyle, drawing, look_of
from segmentation.evaluation.statistics import nan_mean

Points = Sequence[tuple[int, float]]
PANEL = (262, 172)  # pixels of the page
_MARGINS = (38, 8, 26, 22)  # left, right, top, bottom
_HEAD, _LINE = 30, 19  # pixels of a sheet's heading, and of a line of its legend


@dataclass(frozen=True)
class Curve:
    """One line of a panel: (step, value), NaN if not scored."""

    look: SeriesStyle
    points: Points
    marked: bool = False


@dataclass(frozen=True)
class Panel:
    """A small chart over steps. `marks` are steps with a thin line."""

    title: str
    curves: tuple[Curve, ...]
    marks: tuple[int, ...] = ()
    percent: bool = False
    steps: int = 1

    @property
    def known(self) -> NDArray[np.float64]:
        """All finite values of the panel."""
        values = np.array([value for curve in self.curves for _, value in curve.points], float)
        return values[np.isfinite(values)]

    @property
    def last(self) -> str:
        """The last value of the first curve, for screen readers."""
        value = self.curves[0].points[-1][1]
        return f"{100 * value:.1f} %" if self.percent else f"{value:.3g}"


def loss_panels(arm: Arm) -> list[Panel]:
    """A panel per loss term, the total first, with a curve per seed."""
    names = list(dict.fromkeys(name for run in arm.runs for name in run.log.terms))
    warmup = arm.first.config.training.warmup_steps
    marks = (warmup,) if warmup else ()
    look = look_of(arm.number)
    return [
        Panel(
            name.replace("_", " "),
            tuple(Curve(look, run.log.terms[name]) for run in arm.runs if name in run.log.terms),
            marks,
            steps=_steps([arm]),
        )
        for name in names
    ]


def organ_panels(arms: Sequence[Arm]) -> list[Panel]:
    """A panel per organ with the validation Dice of every run, the mean over organs first."""
    organs = arms[0].first.spec.classes[1:]
    panels: dict[str, list[Curve]] = {name: [] for name in ("mean of all", *organs)}
    for arm in arms:
        look = look_of(arm.number)
        for run in arm.runs:
            known = run.log.organs
            wanted = run.config.inference.predictor or next(iter(known), None)
            curves = known.get(wanted, {}) if wanted else {}
            for name, points in curves.items():
                if name in panels:
                    panels[name].append(Curve(look, points, marked=True))
            if curves:
                panels["mean of all"].append(Curve(look, _mean(curves), marked=True))
    return [
        Panel(name, tuple(curves), percent=True, steps=_steps(arms))
        for name, curves in panels.items()
        if curves
    ]


def _steps(arms: Sequence[Arm]) -> int:
    """The number of steps of the longest run."""
    runs = [run for arm in arms for run in arm.runs]
    return max(max(run.config.training.steps, run.log.step) for run in runs)


def _mean(organs: dict[str, list[tuple[int, float]]]) -> Points:
    by_step: dict[int, list[float]] = {}
    for points in organs.values():
        for step, value in points:
            by_step.setdefault(step, []).append(value)
    return [(step, nan_mean(values)) for step, values in by_step.items()]


def _draw_panel(axes: Axes, panel: Panel) -> None:
    """One panel: raw values thin, and a running median if there are many."""
    factor = 100 if panel.percent else 1
    for curve in reversed(panel.curves):
        steps, values = np.array(curve.points, float).T
        color, many = curve.look.color, len(steps) > 30 and not curve.marked
        axes.plot(steps, factor * values, color=color, lw=0.9 if many else 1.6,
                  alpha=0.3 if many else 1, ms=3.6,
                  marker=curve.look.shape if curve.marked or len(steps) < 3 else "")  # fmt: skip
        if many:
            axes.plot(steps, factor * running_median(values), color=color, lw=1.8)
    for step in panel.marks:
        axes.axvline(step, color=MUTED, lw=0.9, ls=(0, (2, 3)))
    axes.set_title(panel.title)
    axes.locator_params(axis="x", nbins=4, integer=True)
    axes.locator_params(axis="y", nbins=4)
    axes.set_xlim(-0.02 * panel.steps, 1.03 * panel.steps)
    known = panel.known
    if not len(known):
        axes.text(0.5, 0.5, "not scored", transform=axes.transAxes, ha="center", color=MUTED)
    if panel.percent:
        axes.set_ylim(-2, 102)
    elif len(known) and known.min() >= 0 and known.max() > 0:
        axes.set_ylim(0, 1.08 * known.max())


def running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over a window of a tenth of the values, narrower at the ends."""
    reach = max(len(values) // 20, 1)
    windows = [values[max(i - reach, 0) : i + reach + 1] for i in range(len(values))]
    return np.array([np.median(window) for window in windows])


@contextmanager
def panel_figure(panel: Panel) -> Iterator[Figure]:
    """One panel, with the margins that all panels have."""
    with _grid([panel], 1, 0, 0) as figure:
        yield figure


@contextmanager
def panel_sheet(
    panels: Sequence[Panel], words: str, legend: Sequence[tuple[str, SeriesStyle]]
) -> Iterator[Figure]:
    """All panels of a kind, in at most four columns, with heading and legend."""
    foot = _LINE * len(legend) + 10 * bool(legend)
    with _grid(panels, min(4, len(panels)), _HEAD, foot) as figure:
        width, height = 72 * figure.get_size_inches()
        figure.text(10 / width, 1 - 8 / height, words, va="top", color=MUTED)
        handles = [
            Line2D([], [], color=look.color, marker=look.shape, lw=1.6, ms=5, label=label)
            for label, look in legend
        ]
        if handles:
            figure.legend(handles=handles, loc="lower left", borderaxespad=0.4)
        yield figure


@contextmanager
def _grid(panels: Sequence[Panel], columns: int, head: int, foot: int) -> Iterator[Figure]:
    """Panels in rows, all of one size; pixels are left free above and below them."""
    rows = -(-len(panels) // columns)
    width, height = PANEL[0] * columns, PANEL[1] * rows + head + foot
    left, right, top, bottom = _MARGINS
    inner = PANEL[0] - left - right, PANEL[1] - top - bottom
    with drawing(width, height, fitted=False) as figure:
        figure.subplots_adjust(
            left / width, (foot + bottom) / height, 1 - right / width, 1 - (head + top) / height,
            (left + right) / inner[0], (top + bottom) / inner[1],
        )  # fmt: skip
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for place in axes[len(panels) :]:
            place.axis("off")
        for place, panel in zip(axes, panels, strict=False):
            _draw_panel(place, panel)
        yield figure
