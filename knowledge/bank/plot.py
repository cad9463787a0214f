"""Pictures of a bank: heat maps of cosines, and maps of principal components."""

import io
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from knowledge.bank.bank import Bank
from knowledge.bank.statistics import cosines
from knowledge.common.files import write_whole
from knowledge.encoders.base.encoder import Vectors

# Up to how many classes each cell of a heat map has its number, and each class its name.
NUMBERED = 32
NAMED = 120
# Classes with a label on the map of principal components; more would cover each other.
LABELED = 48
_DOTS_PER_INCH = 110
_WIDEST_INCHES = 60.0
_FONT_POINTS = 8.0


def plot(bank: Bank, path: Path, colors: Sequence[tuple[int, int, int]]) -> None:
    """Write a PNG: per aspect a heat map of cosines and a 2-D map (principal components).

    Numbers, names and labels are left out where there are too many classes to read them; the
    picture stays below 6600 x 3520 pixels.

    Args:
        colors: of the classes on the 2-D map, 0..255.
    """
    columns = len(bank.aspects)
    largest = 16.0 if len(bank.classes) <= NAMED else 10.0
    side = min(3.0 + 0.32 * len(bank.classes), largest, _WIDEST_INCHES / columns)
    figure = Figure(figsize=(side * columns, 2 * side), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, columns, squeeze=False)
    for column, aspect in enumerate(bank.aspects):
        vectors = bank.vectors[:, column]
        _heat_map(axes[0, column], cosines(vectors), bank.classes, aspect)
        _scatter(axes[1, column], vectors, aspect, np.array(colors) / 255)
    figure.suptitle(f"{bank.encoder}, {bank.digest[:12]}")
    # Labels are placed in pixels of the final layout, which is fixed from here on.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for column in range(columns):
        _label(axes[1, column], principal_components(bank.vectors[:, column]), bank.classes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 2})
    write_whole(path, buffer.getvalue())


def principal_components(vectors: Vectors) -> NDArray[np.float64]:
    """Vectors [C, E] in the plane [C, 2] of their largest variance; signs are arbitrary."""
    centered = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, singular, _ = np.linalg.svd(centered, full_matrices=False)
    plane = np.zeros((len(vectors), 2))
    plane[:, : min(2, len(singular))] = (left * singular)[:, :2]
    return plane


def _heat_map(
    axes: Axes, similar: NDArray[np.float64], names: tuple[str, ...], aspect: str
) -> None:
    off_diagonal = similar[~np.eye(len(similar), dtype=bool)]
    low = float(off_diagonal.min()) if len(off_diagonal) else 0.0
    image = axes.imshow(similar, cmap="viridis", vmin=low, vmax=1.0)
    ticks = range(len(names))
    if len(names) <= NAMED:
        size = min(_FONT_POINTS, 800 / len(names))
        axes.set_xticks(ticks, names, rotation=90, fontsize=size)
        axes.set_yticks(ticks, names, fontsize=size)
    for row in ticks if len(names) <= NUMBERED else ():
        for column in ticks:
            shade = "black" if similar[row, column] > (low + 1.0) / 2 else "white"
            label = f"{similar[row, column]:.2f}".removeprefix("0")
            axes.text(column, row, label, ha="center", va="center", fontsize=6, color=shade)
    axes.set_title(f"{aspect}: cosine similarity")
    axes.figure.colorbar(image, ax=axes, shrink=0.7)


def _scatter(axes: Axes, vectors: Vectors, aspect: str, shades: NDArray[np.float64]) -> None:
    plane = principal_components(vectors)
    axes.scatter(plane[:, 0], plane[:, 1], s=24 if len(plane) <= LABELED else 6, c=shades)
    axes.margins(0.12)
    axes.set_title(f"{aspect}: principal components")


def _label(axes: Axes, plane: NDArray[np.float64], names: tuple[str, ...]) -> None:
    """Name the points of a map; a line leads from each name to its point."""
    if len(names) > LABELED:
        return
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    sizes = []
    for name in names:
        text = axes.text(0, 0, name, fontsize=_FONT_POINTS)
        box = text.get_window_extent(renderer)
        sizes.append((box.width, box.height))
        text.remove()
    frame = axes.get_window_extent(renderer)
    points = axes.transData.transform(plane)
    places = _places(points, np.array(sizes), (frame.x0, frame.y0, frame.x1, frame.y1))
    for name, point, place in zip(names, plane, places, strict=True):
        axes.annotate(
            name,
            point,
            xytext=place,
            textcoords="figure pixels",
            ha="left",
            va="bottom",
            fontsize=_FONT_POINTS,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkB": 2},
        )


def _places(
    points: NDArray[np.float64],
    sizes: NDArray[np.float64],
    frame: tuple[float, float, float, float],
) -> list[tuple[float, float]]:
    """Lower left corners of labels in pixels, each at the nearest free place around its point.

    A place is free if the label is inside the frame and covers no point and no label placed
    before. `points` [C, 2] and `sizes` [C, 2] are in pixels too.
    """
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    places = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        best = (x + 8, y - height / 2)
        # Rings of growing radius, 16 directions each: the first free place is the nearest.
        for ring, turn in product(range(1, 40), range(16)):
            radius, angle = 4 + 6 * ring, np.pi * turn / 8
            center_x = x + np.cos(angle) * (radius + width / 2)
            center_y = y + np.sin(angle) * (radius + height / 2)
            box = (
                center_x - width / 2,
                center_y - height / 2,
                center_x + width / 2,
                center_y + height / 2,
            )
            inside = frame[0] <= box[0] and frame[1] <= box[1]
            inside = inside and box[2] <= frame[2] and box[3] <= frame[3]
            if inside and not any(_overlap(box, other) for other in taken):
                best = (box[0], box[1])
                break
        taken.append((best[0], best[1], best[0] + width, best[1] + height))
        places.append((float(best[0]), float(best[1])))
    return places


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
