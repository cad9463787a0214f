"""The figures of a report: learning curves, Dice per organ, size against shape."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.report.complexity import OrganShape
from pipeline.report.gather import Arm
from pipeline.report.theme import GAIN, INK, LOSS, MARKERS, MUTED, SERIES, drawing

Points = Sequence[tuple[int, float]]
PANEL = (262, 172)  # pixels of the page
_MARGINS = (38, 8, 26, 22)  # left, right, top, bottom
_SHARES = (0.1, 0.3, 1, 3, 10, 30, 100)  # percent
_NAME_WIDTH, _NAME_HEIGHT = 150, 14  # pixels that a name takes


@dataclass(frozen=True)
class Curve:
    """One line of a panel; `series` is the number of its color and marker."""

    label: str
    series: int
    points: Points
    marked: bool = False


@dataclass(frozen=True)
class Panel:
    """A small chart of a step axis. `marks` are steps that a thin line points out."""

    title: str
    curves: tuple[Curve, ...]
    marks: tuple[int, ...] = ()
    percent: bool = False
    steps: int | None = None

    @property
    def last(self) -> str:
        """The last value of the first curve, for those who do not see the chart."""
        if not self.curves or not self.curves[0].points:
            return "no value"
        value = self.curves[0].points[-1][1]
        return f"{100 * value:.1f} %" if self.percent else f"{value:.3g}"


def loss_panels(arm: Arm) -> list[Panel]:
    """A panel per loss term, the total first, with a curve per seed."""
    names = list(dict.fromkeys(name for run in arm.runs for name in run.log.terms))
    warmup = arm.first.config.training.warmup_steps
    marks = (warmup,) if warmup else ()
    panels = []
    for name in names:
        curves = tuple(
            Curve(f"seed {run.config.seed}", 0, run.log.terms[name])
            for run in arm.runs
            if name in run.log.terms
        )
        steps = arm.first.config.training.steps
        panels.append(Panel(name.replace("_", " "), curves, marks, steps=steps))
    return panels


def organ_panels(arms: Sequence[Arm]) -> list[Panel]:
    """A panel per organ with the validation Dice of every run, the mean over organs first."""
    organs = arms[0].first.spec.classes[1:]
    panels: dict[str, list[Curve]] = {name: [] for name in ("mean of all", *organs)}
    for series, arm in enumerate(arms):
        for run in arm.runs:
            known = run.log.organs
            wanted = run.config.inference.predictor or next(iter(known), None)
            found = known.get(wanted, {}) if wanted else {}
            label = f"{arm.label}, seed {run.config.seed}"
            for name, points in found.items():
                if name in panels:
                    panels[name].append(Curve(label, series, points, marked=True))
            if found:
                panels["mean of all"].append(Curve(label, series, _mean(found), marked=True))
    steps = max(run.config.training.steps for arm in arms for run in arm.runs)
    return [
        Panel(name, tuple(curves), percent=True, steps=steps)
        for name, curves in panels.items()
        if curves
    ]


def _mean(organs: dict[str, list[tuple[int, float]]]) -> Points:
    by_step: dict[int, list[float]] = {}
    for points in organs.values():
        for step, value in points:
            by_step.setdefault(step, []).append(value)
    known = {step: [v for v in values if v == v] for step, values in by_step.items()}
    return [(step, float(np.mean(values))) for step, values in known.items() if values]


def _draw_panel(axes: Axes, panel: Panel) -> None:
    """One panel: raw values thin, a running median over them where they are many."""
    factor = 100 if panel.percent else 1
    for curve in reversed(panel.curves):
        steps, values = np.array(curve.points, float).T
        color, many = SERIES[curve.series % len(SERIES)], len(steps) > 30 and not curve.marked
        axes.plot(steps, factor * values, color=color, lw=0.9 if many else 1.6,
                  alpha=0.3 if many else 1, marker="o" if curve.marked or len(steps) < 3 else "",
                  ms=3.2)  # fmt: skip
        if many:
            axes.plot(steps, factor * running_median(values), color=color, lw=1.8)
    for step in panel.marks:
        axes.axvline(step, color=MUTED, lw=0.9, ls=(0, (2, 3)))
    axes.set_title(panel.title)
    axes.locator_params(axis="x", nbins=4, integer=True)
    axes.locator_params(axis="y", nbins=4)
    if panel.steps:
        axes.set_xlim(-0.02 * panel.steps, 1.03 * panel.steps)
    if panel.percent:
        axes.set_ylim(-2, 102)
    elif min(value for curve in panel.curves for _, value in curve.points) >= 0:
        axes.set_ylim(0, 1.08 * max(value for curve in panel.curves for _, value in curve.points))


def running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over a window of a tenth of the values, narrower at the ends."""
    reach = max(len(values) // 20, 1)
    windows = [values[max(i - reach, 0) : i + reach + 1] for i in range(len(values))]
    return np.array([np.median(window) for window in windows])


@contextmanager
def panel_figure(panels: Sequence[Panel], columns: int = 1) -> Iterator[Figure]:
    """Panels in a grid, all of one size and with the same margins."""
    rows = -(-len(panels) // columns)
    width, height = PANEL[0] * columns, PANEL[1] * rows
    left, right, top, bottom = _MARGINS
    inner = PANEL[0] - left - right, PANEL[1] - top - bottom
    with drawing(width, height, fitted=False) as figure:
        figure.subplots_adjust(
            left / width, bottom / height, 1 - right / width, 1 - top / height,
            (left + right) / inner[0], (top + bottom) / inner[1],
        )  # fmt: skip
        _draw_panels(figure, panels, (rows, columns))
        yield figure


def _draw_panels(figure: Figure, panels: Sequence[Panel], grid: tuple[int, int]) -> None:
    axes = figure.subplots(*grid, squeeze=False).ravel()
    for place in axes[len(panels) :]:
        place.axis("off")
    for place, panel in zip(axes, panels, strict=False):
        _draw_panel(place, panel)


def draw_dice(
    axes: Axes, arms: Sequence[Arm], published: Mapping[str, Mapping[str, float]]
) -> None:
    """Dice per organ: a dot per arm with its deviation, published means as hollow marks."""
    organs = arms[0].evaluations[0].groups["all"]
    rows = np.arange(len(organs))
    scored = [arm for arm in arms if arm.evaluations]
    shift = 0.5 / max(len(scored), 1)
    for number, arm in enumerate(scored):
        pairs = np.array([arm.over_seeds(name, "dice") for name in organs]) * 100
        place = rows + (number - (len(scored) - 1) / 2) * shift
        color = SERIES[number % len(SERIES)]
        axes.errorbar(pairs[:, 0], place, xerr=np.nan_to_num(pairs[:, 1]), fmt="none",
                      ecolor=color, elinewidth=1.4, alpha=0.5)  # fmt: skip
        axes.plot(pairs[:, 0], place, MARKERS[number % len(MARKERS)], color=color, ms=5.5,
                  label=arm.label)  # fmt: skip
    for number, (method, scores) in enumerate(published.items()):
        values = [100 * scores.get(name, np.nan) for name in organs]
        axes.plot(values, rows, MARKERS[number % len(MARKERS)], mfc="none", mec=MUTED, ms=6,
                  label=f"{method}, published")  # fmt: skip
    axes.set_yticks(rows, organs)
    axes.invert_yaxis()
    axes.set_xlim(-1.5, 101.5)
    axes.set_xlabel("Dice, %")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), fontsize=9.5)


def draw_shapes(axes: Axes, shapes: dict[str, OrganShape], gains: dict[str, float]) -> None:
    """Voxel share against hull emptiness; area by share, gains in red and losses in blue."""
    known = {name: shape for name, shape in shapes.items() if shape.share == shape.share}
    share = np.array([100 * shape.share for shape in known.values()])
    empty = np.array([100 * shape.emptiness for shape in known.values()])
    sizes = 60 + 1400 * share / share.max()
    axes.scatter(share, empty, sizes, color=SERIES[0], alpha=0.28, lw=0, zorder=2)
    axes.scatter(share, empty, 9, color=SERIES[0], lw=0, zorder=3)
    axes.set_xscale("log")
    axes.set_xlabel("share of all organ voxels, % (log scale)")
    axes.set_ylabel("share of its convex hull that it leaves empty, %")
    axes.set_ylim(max(empty.min() - 8, -3), empty.max() + 10)
    axes.set_xlim(share.min() / 1.9, share.max() * 2.6)
    axes.set_xticks([tick for tick in _SHARES if share.min() / 2 < tick < share.max() * 2])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.set_axisbelow(True)
    axes.figure.canvas.draw()  # places are known from here on
    places = axes.transData.transform(np.column_stack([share, empty]))
    shifts = _apart(places * 72 / axes.figure.dpi)
    for name, x, y, size, shift in zip(known, share, empty, sizes, shifts, strict=True):
        away = (np.sqrt(size) / 2 + 3, shift)
        _name_point(axes, name, (float(x), float(y)), away, gains.get(name))


def _apart(places: NDArray[np.float64]) -> list[float]:
    """How far to move each name up, in pixels, so that names of neighbors do not overlap."""
    shifts = [0.0] * len(places)
    lowest_first = np.argsort(places[:, 1])
    for rank, one in enumerate(lowest_first):
        for other in lowest_first[:rank]:
            near = abs(places[one, 0] - places[other, 0]) < _NAME_WIDTH
            gap = places[one, 1] + shifts[one] - places[other, 1] - shifts[other]
            if near and gap < _NAME_HEIGHT:
                shifts[one] += _NAME_HEIGHT - gap
    return shifts


def _name_point(
    axes: Axes,
    name: str,
    place: tuple[float, float],
    away: tuple[float, float],
    gain: float | None,
) -> None:
    """An organ's name right of its point, and the gain after it."""
    text = axes.annotate(name, place, away, textcoords="offset points", va="center",
                         fontsize=10.5, color=INK, zorder=4)  # fmt: skip
    if gain is not None and gain == gain:
        axes.annotate(f"{gain:+.1f}".replace("-", "−"), (1, 0.5), (4, 0), xycoords=text,
                      textcoords="offset points", va="center", fontsize=10.5, fontweight="bold",
                      color=GAIN if gain >= 0 else LOSS, zorder=4)  # fmt: skip
