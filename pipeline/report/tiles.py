"""Slices of a shown case as pictures: scan, truth, prediction, error and uncertainty."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.report.cases import ShownCase
from pipeline.report.theme import drawing
from segmentation.imaging.colors import colors

Picture = NDArray[np.uint8]

LAYERS = {
    "scan": "CT",
    "truth": "Truth",
    "prediction": "Prediction",
    "error": "Error",
    "uncertainty": "Uncertainty",
}
# Missed, added, exchanged for another organ (Okabe and Ito 2008).
ERRORS = {"missed": (86, 180, 233), "added": (230, 159, 0), "exchanged": (204, 121, 167)}
_TINT = 0.6  # how much of a colored pixel is its color
COLORMAP = "magma"
_WIDTH = 200  # pixels of the page that a picture takes in a figure


class Cut(NamedTuple):
    """A slice: across axis 0 (sagittal), 1 (coronal) or 2 (axial), at a place."""

    axis: int
    place: int


def most_wrong(case: ShownCase, axis: int) -> Cut:
    """The slice with most wrong voxels; with most organs where nothing is wrong."""
    counted = case.wrong if case.wrong.any() else case.truth > 0
    others = tuple(other for other in range(3) if other != axis)
    return Cut(axis, int(counted.sum(others).argmax()))


def tile(case: ShownCase, cut: Cut, layer: str, classes: Sequence[str], *, side: int) -> Picture:
    """One slice [row, column, RGB] with true proportions; its longer side has `side` pixels.

    The patient's right, or front, is on the left; head, or front, is up.
    """
    spacing = np.delete(np.linalg.norm(case.affine[:3, :3], axis=0), cut.axis)
    image, truth, prediction, entropy = (
        _upright(np.take(volume, cut.place, cut.axis))
        for volume in (case.image, case.truth, case.prediction, case.entropy)
    )
    gray, glow = case.shaded(image), case.glowing(entropy)
    width, height = spacing * gray.shape[::-1]
    size = np.maximum(np.rint(np.array([height, width]) / max(height, width) * side), 1)
    zoom = size / gray.shape
    shade = _zoomed(gray, zoom, 1)[..., None] * np.full(3, 255.0)
    if layer in ("truth", "prediction"):
        labels = _zoomed(truth if layer == "truth" else prediction, zoom, 0)
        shade = _tinted(shade, np.array(colors(classes))[labels], _TINT * (labels > 0))
    elif layer == "error":
        table = np.array([(0, 0, 0), *ERRORS.values()])
        kinds = error_kinds(_zoomed(truth, zoom, 0), _zoomed(prediction, zoom, 0))
        shade = _tinted(shade * 0.7, table[kinds], 0.85 * (kinds > 0))
    elif layer == "uncertainty":
        much = _zoomed(glow, zoom, 1).clip(0, 1)
        color = colormaps[COLORMAP](much)[..., :3] * 255
        shade = _tinted(shade, color, np.minimum(2 * much, 0.9))
    return np.rint(shade.clip(0, 255)).astype(np.uint8)


def error_kinds(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """0 right, 1 an organ missed, 2 an organ where none is, 3 one organ taken for another."""
    kinds = np.zeros(truth.shape, np.uint8)
    wrong = truth != prediction
    kinds[wrong & (prediction == 0)] = 1
    kinds[wrong & (truth == 0)] = 2
    kinds[wrong & (truth > 0) & (prediction > 0)] = 3
    return kinds


def _upright(flat: NDArray) -> NDArray:
    """A slice [a, b] in RAS+ as rows and columns on a screen."""
    return flat[::-1, ::-1].swapaxes(0, 1)


def _zoomed(flat: NDArray, zoom: NDArray[np.float64], order: int) -> NDArray:
    return ndimage.zoom(flat, zoom, order=order, grid_mode=True, mode="nearest")


def _tinted(shade: NDArray, color: NDArray, tint: NDArray) -> NDArray:
    return shade * (1 - tint[..., None]) + color * tint[..., None]


def picture_png(picture: Picture) -> bytes:
    """A picture as PNG, one pixel each."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, picture, format="png", metadata={"Software": "tak-seg"})
    return buffer.getvalue()


@contextmanager
def tile_figure(
    rows: Sequence[tuple[str, ShownCase, Cut]], layers: Sequence[str], classes: Sequence[str]
) -> Iterator[Figure]:
    """A row of pictures per (words, case, cut) and a column per layer, over the key of colors."""
    pictures = [
        [tile(case, cut, one, classes, side=400) for one in layers] for _, case, cut in rows
    ]
    heights = [_WIDTH * line[0].shape[0] / line[0].shape[1] for line in pictures]
    key = _key(classes)
    scales = {f", {low:.2f} to {high:.2f}" for low, high in (row[1].entropy_scale for row in rows)}
    scale = scales.pop() if len(scales) == 1 else ""
    lines = -(-len(key) // len(layers))
    width = _WIDTH * len(layers) + 30
    titles = [LAYERS[one] + (scale if one == "uncertainty" else "") for one in layers]
    with drawing(width, sum(heights) + 8 * len(rows) + 26 + 21 * lines) as figure:
        axes = figure.subplots(len(rows), len(layers), squeeze=False, height_ratios=heights)
        _show(axes, pictures, [words for words, _, _ in rows], titles)
        figure.legend(handles=key, loc="outside lower center", ncols=len(layers), fontsize=9.5)
        yield figure


@contextmanager
def still_figure(
    rows: Sequence[tuple[str, Mapping[str, Picture]]],
    columns: Mapping[str, str],
    classes: Sequence[str],
) -> Iterator[Figure]:
    """A row of still pictures of surfaces per (words, pictures) over the key of colors.

    Args:
        columns: key of a picture -> its title.
    """
    key, side, across = _organ_key(classes), 300, 3
    height = side * len(rows) + 26 + 21 * -(-len(key) // across)
    with drawing(side * len(columns) + 30, height) as figure:
        axes = figure.subplots(len(rows), len(columns), squeeze=False)
        pictures = [[stills[name] for name in columns] for _, stills in rows]
        _show(axes, pictures, [words for words, _ in rows], list(columns.values()))
        figure.legend(handles=key, loc="outside lower center", ncols=across, fontsize=9.5)
        yield figure


def _show(
    axes: NDArray[np.object_],
    pictures: Sequence[Sequence[Picture]],
    words: Sequence[str],
    titles: Sequence[str],
) -> None:
    """Pictures in rows, with words on the left and titles above."""
    for line, line_pictures, label in zip(axes, pictures, words, strict=True):
        for place, picture in zip(line, line_pictures, strict=True):
            place.imshow(picture)
            place.set_xticks([])
            place.set_yticks([])
            place.spines[:].set_visible(False)
        line[0].set_ylabel(label, fontsize=9.5)
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title)


def _key(classes: Sequence[str]) -> list[Patch]:
    errors = [(f"error: {kind}", color) for kind, color in ERRORS.items()]
    return _organ_key(classes) + [_patch(name, color) for name, color in errors]


def _organ_key(classes: Sequence[str]) -> list[Patch]:
    organs = list(zip(classes, colors(classes), strict=True))[1:]
    return [_patch(name, color) for name, color in organs]


def _patch(name: str, color: tuple[int, int, int]) -> Patch:
    return Patch(color=np.array(color) / 255, label=name)
