"""Pictures of a validation: truth and prediction in three planes, and a cosine heat map."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.data.descriptor import DatasetSpec
from segmentation.data.preparation import Case
from segmentation.imaging.colors import colors
from segmentation.training.trackers import Picture

_TINT = 0.45  # opacity of the organ colors


def overlay(case: Case, prediction: NDArray[np.integer], spec: DatasetSpec) -> Picture:
    """Axial, coronal and sagittal slice of a case, truth above prediction, organs in color.

    The slices are those with the largest true organ area, so they are the same in every validation;
    the patient's right and front are on the left side.

    Args:
        prediction: labels [x, y, z] on the grid of the prepared case.
    """
    from matplotlib.patches import Patch

    truth = case.label
    assert truth is not None
    spacing = np.linalg.norm(case.affine[:3, :3], axis=0)
    figure = _figure(7.2, 5.6)
    axes = figure.subplots(2, 3)
    table = np.array(colors(spec.classes)) / 255
    for column, (title, axis) in enumerate((("axial", 2), ("coronal", 1), ("sagittal", 0))):
        others = tuple(other for other in range(3) if other != axis)
        place = int((truth > 0).sum(others).argmax())
        gray, *masks = (np.take(part, place, axis) for part in (case.image, truth, prediction))
        across, up = spacing[list(others)]
        for row, mask in zip(axes[:, column], masks, strict=True):
            row.imshow(_tinted(gray, mask, table), aspect=up / across, interpolation="nearest")
            row.set(xticks=[], yticks=[])
        axes[0, column].set_title(title, fontsize=9)
    axes[0, 0].set_ylabel("truth", fontsize=9)
    axes[1, 0].set_ylabel("prediction", fontsize=9)
    patches = [
        Patch(color=color, label=name)
        for name, color in zip(spec.classes[1:], table[1:], strict=True)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=5, fontsize=7, frameon=False)
    return _pixels(figure)


def code_map(cosines: NDArray[np.floating], classes: Sequence[str]) -> Picture:
    """A heat map of the cosines [C, C] of all pairs of class codes."""
    figure = _figure(5.6, 5.0)
    axes = figure.subplots()
    shown = axes.imshow(cosines, vmin=0, vmax=1, cmap="viridis")
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=7)
    axes.set_yticks(range(len(classes)), classes, fontsize=7)
    axes.set_title("cosine of class codes", fontsize=9)
    figure.colorbar(shown, shrink=0.8)
    return _pixels(figure)


def _tinted(
    gray: NDArray[np.float32], mask: NDArray[np.integer], table: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A slice [across, up] in gray, organs in color, as [row, column, RGB] with the head up."""
    low, high = float(gray.min()), float(gray.max())
    shade = ((gray - low) / max(high - low, 1e-6))[..., None] * np.ones(3)
    tint = _TINT * (mask > 0)[..., None]
    return (shade * (1 - tint) + table[mask] * tint)[::-1, ::-1].swapaxes(0, 1)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _pixels(figure: Any) -> Picture:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
