"""Pictures of a bank: which classes are alike, and how they lie to each other."""

import io
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


def plot(bank: Bank, path: Path) -> None:
    """Write a PNG: per aspect a heat map of cosines and a 2-D map (principal components)."""
    columns = len(bank.aspects)
    side = 3.0 + 0.32 * len(bank.classes)
    figure = Figure(figsize=(side * columns, 2 * side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, columns, squeeze=False)
    for column, aspect in enumerate(bank.aspects):
        vectors = bank.vectors[:, column]
        _heat_map(axes[0, column], cosines(vectors), bank.classes, aspect)
        _map(axes[1, column], vectors, bank.classes, aspect)
    figure.suptitle(f"{bank.encoder}, {bank.digest[:12]}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
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
    axes.set_xticks(ticks, names, rotation=90, fontsize=8)
    axes.set_yticks(ticks, names, fontsize=8)
    for row in ticks:
        for column in ticks:
            shade = "black" if similar[row, column] > (low + 1.0) / 2 else "white"
            label = f"{similar[row, column]:.2f}".removeprefix("0")
            axes.text(column, row, label, ha="center", va="center", fontsize=6, color=shade)
    axes.set_title(f"{aspect}: cosine similarity")
    axes.figure.colorbar(image, ax=axes, shrink=0.7)


def _map(axes: Axes, vectors: Vectors, names: tuple[str, ...], aspect: str) -> None:
    plane = principal_components(vectors)
    axes.scatter(plane[:, 0], plane[:, 1], s=18)
    axes.margins(0.1)
    for name, point, place, to_left in zip(names, plane, *_places(plane, names), strict=True):
        axes.annotate(
            name,
            point,
            xytext=place,
            ha="right" if to_left else "left",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkB": 2},
        )
    axes.set_title(f"{aspect}: principal components")


def _places(
    plane: NDArray[np.float64], names: tuple[str, ...]
) -> tuple[list[tuple[float, float]], list[bool]]:
    """Where labels stand, and which end there: toward the middle, each as near as is free.

    Classes that are alike lie close together, and are those that one wants to read.
    """
    width, height = np.maximum(np.ptp(plane, axis=0), 1e-9)
    middle = plane[:, 0].min() + width / 2
    line, letter = 0.028 * height, 0.0135 * width
    taken: list[tuple[float, float, float]] = []
    places, to_left = [], []
    for (x, y), name in zip(plane, names, strict=True):
        leftward = bool(x > middle)
        start = x + (-1.5 if leftward else 1.5) * letter
        left = start - len(name) * letter if leftward else start
        right = left + len(name) * letter
        for step in range(2 * len(names)):
            level = y + (step // 2 + step % 2) * (-1) ** step * line
            free = all(
                right < other_left or left > other_right or abs(level - other) >= line
                for other_left, other_right, other in taken
            )
            if free:
                break
        taken.append((left, right, level))
        places.append((float(start), float(level)))
        to_left.append(leftward)
    return places, to_left
