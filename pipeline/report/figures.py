"""Charts of a report: Dice per organ, size against shape, cosines of the text vectors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.report.organ_shapes import OrganShape
from pipeline.report.runs.arms import Arm
from pipeline.report.theme import (
    ALIKE,
    GAIN,
    INK,
    LOSS,
    MARKERS,
    MUTED,
    OPPOSED,
    PAPER,
    look_of,
    signed,
)
from segmentation.evaluation.rules import Metric

_SHARES = (0.1, 0.3, 1, 3, 10, 30, 100)  # percent
_NAME_WIDTH, _NAME_HEIGHT = 150, 14  # pixels of a name


def draw_dice(
    axes: Axes, arms: Sequence[Arm], published: Mapping[str, Mapping[str, float]]
) -> None:
    """Dice per organ: a mark per scored arm with its deviation, published means as hollow marks."""
    organs = arms[0].evaluations[0].groups["all"]
    rows = np.arange(len(organs))
    _draw_arms(axes, arms, "dice", 100)
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


def _draw_arms(axes: Axes, arms: Sequence[Arm], metric: str, factor: float) -> None:
    """A mark with its deviation per organ and arm; the marks of an organ one below the other."""
    organs = arms[0].evaluations[0].groups["all"]
    rows = np.arange(len(organs))
    shift = 0.5 / len(arms)
    for place, arm in enumerate(arms):
        pairs = np.array([arm.over_seeds(name, metric) for name in organs]) * factor
        means, spread = pairs[:, 0], np.nan_to_num(pairs[:, 1])
        heights = rows + (place - (len(arms) - 1) / 2) * shift
        look = look_of(arm.number)
        most = 100 if factor == 100 else np.inf
        axes.hlines(heights, (means - spread).clip(0, most), (means + spread).clip(0, most),
                    color=look.color, lw=1.4, alpha=0.5)  # fmt: skip
        axes.plot(means, heights, look.shape, color=look.color, ms=5.5, label=arm.label)


def draw_measures(figure: Figure, arms: Sequence[Arm], metrics: Sequence[Metric]) -> None:
    """A chart per metric beside Dice, with the organs as rows."""
    organs = arms[0].evaluations[0].groups["all"]
    line = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for axes, metric in zip(line, metrics, strict=True):
        _draw_arms(axes, arms, metric.key, 100 if metric.share else 1)
        axes.set_xlabel(metric.heading.replace("\n", ", ").replace(" %", ", %"))
        axes.grid(axis="y", visible=False)
        axes.set_xlim(left=-1.5 if metric.share else 0, right=101.5 if metric.share else None)
    line[0].set_yticks(range(len(organs)), organs)
    line[0].invert_yaxis()
    handles, labels = line[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", fontsize=9.5)


def draw_shapes(axes: Axes, shapes: dict[str, OrganShape], gains: dict[str, float]) -> None:
    """Voxel share against hull emptiness; area by share, gains in red and losses in blue."""
    share = np.array([100 * shape.share for shape in shapes.values()])
    empty = np.array([100 * shape.emptiness for shape in shapes.values()])
    sizes = 60 + 1400 * share / share.max()
    axes.scatter(share, empty, sizes, color=MUTED, alpha=0.28, lw=0, zorder=2)
    axes.scatter(share, empty, 9, color=MUTED, lw=0, zorder=3)
    axes.set_xscale("log")
    axes.set_xlabel("share of all organ voxels, % (log scale)")
    axes.set_ylabel("share of its convex hull that it leaves empty, %")
    axes.set_ylim(max(empty.min() - 8, -3), empty.max() + 10)
    axes.set_xlim(share.min() / 1.9, share.max() * 3)
    axes.set_xticks([tick for tick in _SHARES if share.min() / 2 < tick < share.max() * 2])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.set_axisbelow(True)
    axes.figure.canvas.draw()  # from here on places are known
    places = axes.transData.transform(np.column_stack([share, empty]))
    shifts = _apart(places * 72 / axes.figure.dpi)
    for name, x, y, size, shift in zip(shapes, share, empty, sizes, shifts, strict=True):
        away = (np.sqrt(size) / 2 + 3, shift)
        _name_point(axes, name, (float(x), float(y)), away, gains.get(name))


def _apart(places: NDArray[np.float64]) -> list[float]:
    """Shift of each name in pixels, upward, so that names of neighbors do not overlap."""
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
        shown = signed(gain)
        color = GAIN if shown.startswith("+") else LOSS if shown.startswith("−") else MUTED
        axes.annotate(shown, (1, 0.5), (4, 0), xycoords=text, textcoords="offset points",
                      va="center", fontsize=10.5, fontweight="bold", color=color,
                      zorder=4)  # fmt: skip


def draw_maps(figure: Figure, maps: Sequence[Mapping[str, Any]], columns: int) -> None:
    """The cosine maps of the page, in `columns` columns."""
    places = figure.subplots(-(-len(maps) // columns), columns, squeeze=False).ravel()
    for axes in places[len(maps) :]:
        axes.axis("off")
    for axes, matrix in zip(places, maps, strict=False):
        _draw_map(axes, matrix)


def _draw_map(axes: Axes, matrix: Mapping[str, Any]) -> None:
    paper, tones = np.array(to_rgb(PAPER)), {"alike": to_rgb(ALIKE), "opposed": to_rgb(OPPOSED)}
    cells, size = matrix["cells"], len(matrix["names"])
    picture = np.tile(paper, (size, size, 1))
    for row in range(size):
        for column in range(size):
            cell, own = cells[row][column], row == column
            if not own:
                tone, strength = np.array(tones[cell["tone"]]), cell["strength"]
                picture[row, column] = strength * tone + (1 - strength) * paper
            color = MUTED if own else PAPER if cell["strength"] > 0.6 else INK
            axes.text(column, row, "·" if own else cell["shown"], ha="center", va="center",
                      fontsize=7, color=color)  # fmt: skip
    axes.imshow(picture)
    axes.set_xticks(range(size), [str(n + 1) for n in range(size)], fontsize=8)
    axes.set_yticks(range(size), [f"{n} {name}" for n, name in enumerate(matrix["names"], 1)])
    axes.tick_params(axis="x", top=True, bottom=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    axes.set_title(matrix["title"])
    axes.set_xlabel(matrix["words"], loc="left", fontsize=9)
