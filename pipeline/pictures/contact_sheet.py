"""The contact sheet of a data set: a coronal and an axial slice per case, organs in color."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation.common.files import replacing
from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.colors import colors
from segmentation.imaging.volume import Volume, window

PER_SHEET = 24
COLUMNS = 4
_SIDE = 160  # pixels of a picture
_TINT = 0.55  # opacity of the organ colors

Picture = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Tile:
    """Pictures [row, column, RGB] of one case, the patient's right on the left side."""

    coronal: Picture
    axial: Picture


def tile_of(scan: Volume, labels: NDArray[np.integer] | None, spec: DatasetSpec) -> Tile:
    """The slices with the largest organ area, or the middle ones without a mask.

    Args:
        scan: in RAS+.
        labels: [x, y, z] on its grid, or None.
    """
    y, z = (side // 2 for side in scan.voxels.shape[1:])
    if labels is not None and labels.any():
        organs = labels > 0
        y, z = int(organs.sum((0, 2)).argmax()), int(organs.sum((0, 1)).argmax())
    right, front, up = scan.spacing_mm
    flat = (np.s_[:, y, :], (right, up)), (np.s_[:, :, z], (right, front))
    coronal, axial = (
        _picture(scan.voxels[cut], None if labels is None else labels[cut], sides, spec)
        for cut, sides in flat
    )
    return Tile(coronal, axial)


def _picture(
    gray: NDArray[np.float32],
    labels: NDArray[np.integer] | None,
    spacing: tuple[float, float],
    spec: DatasetSpec,
) -> Picture:
    """A slice [x, up] as a square picture in true proportions, head or front up."""
    shade = window(gray, spec.window_hu)[..., None] * np.ones(3)
    if labels is not None:
        table = np.array(colors(spec.classes)) / 255
        tint = _TINT * (labels > 0)[..., None]
        shade = shade * (1 - tint) + table[labels] * tint
    extent = np.multiply(shade.shape[:2], spacing)
    size = np.maximum(np.rint(extent / extent.max() * _SIDE), 1).astype(int)
    zoomed = ndimage.zoom(
        shade, (*(size / shade.shape[:2]), 1), order=1, grid_mode=True, mode="nearest"
    )
    upright = zoomed[::-1, ::-1].swapaxes(0, 1)
    canvas = np.zeros((_SIDE, _SIDE, 3))
    top, left = ((_SIDE - side) // 2 for side in upright.shape[:2])
    canvas[top : top + upright.shape[0], left : left + upright.shape[1]] = upright
    return np.rint(255 * canvas.clip(0, 1)).astype(np.uint8)


def write_sheets(
    tiles: Sequence[tuple[str, Tile]], marked: set[str], spec: DatasetSpec, folder: Path
) -> list[Path]:
    """Write `contact-sheet.png`, and `contact-sheet-2.png` ... for further cases.

    Args:
        tiles: case name and pictures.
        marked: cases whose name is written in red.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for first in range(0, len(tiles), PER_SHEET):
        number = first // PER_SHEET + 1
        path = folder / f"contact-sheet{'' if number == 1 else f'-{number}'}.png"
        _write_sheet(tiles[first : first + PER_SHEET], marked, spec, path)
        written.append(path)
    return written


def _write_sheet(
    tiles: Sequence[tuple[str, Tile]], marked: set[str], spec: DatasetSpec, path: Path
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    figure = Figure(figsize=(3.2 * columns, 1.85 * rows + 0.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place in axes:
        place.axis("off")
    for place, (case, tile) in zip(axes, tiles, strict=False):
        place.imshow(np.concatenate([tile.coronal, tile.axial], axis=1))
        place.set_title(case, fontsize=8, color="#b00020" if case in marked else "black")
    table = zip(spec.classes[1:], colors(spec.classes)[1:], strict=True)
    patches = [Patch(color=np.array(rgb) / 255, label=name) for name, rgb in table]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=3 * columns, fontsize=7, frameon=False
    )
    figure.suptitle(f"{spec.title}: coronal and axial, patient's right on the left", fontsize=9)
    with replacing(path) as partial:
        figure.savefig(partial, format="png")
