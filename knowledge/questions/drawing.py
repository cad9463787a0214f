"""Pictures composed of one layer per organ, with the highlighted organ on top."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Color = tuple[int, int, int]
Canvas = NDArray[np.uint8]

HIGHLIGHT: Color = (214, 39, 40)
GRAY: Color = (120, 120, 120)
FINER = 2  # layers are drawn at so many times the size, which smooths edges and feeds the inset
INSET = 0.34  # of the picture's width
SMALL = 0.3  # of the picture's width: a smaller organ is magnified in an inset
VISIBLE = 0.003  # of the picture's pixels: a view that shows less of an organ is dropped
_AXES = ("#b00000", "#007000", "#0000b0")


@dataclass(frozen=True)
class View:
    """Direction from the organs to the camera, and what is up (RAS+ directions)."""

    name: str
    camera: tuple[float, float, float]
    up: tuple[float, float, float]

    @property
    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Unit vectors to the right and the top of the picture, and toward the viewer."""
        toward = np.array(self.camera) / np.linalg.norm(self.camera)
        right = np.cross(self.up, toward)
        right = right / np.linalg.norm(right)
        return right, np.cross(toward, right), toward


@dataclass(frozen=True)
class Layer:
    """One organ alone, cropped to its box in the picture.

    Attributes:
        name: the organ.
        box: rows and columns of the crop in the picture.
        mask: pixels [h, w] of the organ.
        shade: brightness [h, w] of its surface from 0 to 1.
        depth: distance of its center along the line of sight; larger is nearer to the viewer.
        color: of this organ in all pictures in which it is not highlighted.
        surrounding: whether it is body or spine, shown for orientation.
    """

    name: str
    box: tuple[slice, slice]
    mask: NDArray[np.bool_]
    shade: NDArray[np.float32]
    depth: float
    color: Color
    surrounding: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture [size, size, 3], and how many of its pixels show the highlighted organ."""

    pixels: Canvas
    visible: int

    @property
    def shows_enough(self) -> bool:
        """Whether the highlighted organ fills at least `VISIBLE` of the picture."""
        return self.visible >= VISIBLE * self.pixels.shape[0] ** 2


def compose(layers: Sequence[Layer], organ: str | None, view: View, size: int) -> Picture:
    """All organs as tinted outlines, and the highlighted organ solid red on top.

    Layers are drawn at `FINER` times the size. A small organ is repeated in an inset, magnified.
    """
    fine = size * FINER
    canvas = np.full((fine, fine, 3), 255.0, np.float32)
    for layer in sorted(layers, key=lambda layer: (not layer.surrounding, layer.depth)):
        if layer.name != organ:
            fill = 0.12 if layer.surrounding else (0.8 if organ is None else 0.16)
            _paint(canvas, layer, layer.color, fill, 0.45 if layer.surrounding else 0.75)
    chosen = next((layer for layer in layers if layer.name == organ), None)
    if chosen is not None:
        _paint(canvas, chosen, HIGHLIGHT, 1.0, 1.0)
    large = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    image = large.resize((size, size), Image.Resampling.BOX)
    visible = 0
    if chosen is not None:
        shown = _in_picture(chosen, fine)
        region = _close_up(chosen, fine)
        if region is not None:
            place, width = _free_corner(layers, chosen, size), round(INSET * size)
            _add_inset(image, large, region, place)
            # The inset covers this part of the picture and shows the organ again, magnified.
            top, left = FINER * place[0], FINER * place[1]
            shown[top : top + FINER * width, left : left + FINER * width] = False
            visible = int(chosen.mask.sum() * (width / (region[2] - region[0])) ** 2)
        visible += int(shown.sum()) // FINER**2
    _mark(image, view)
    return Picture(np.asarray(image), visible)


def _paint(
    canvas: NDArray[np.float32], layer: Layer, color: Color, fill: float, edge: float
) -> None:
    """Blend one layer into the canvas: its shaded surface, and its outline."""
    window = canvas[layer.box]
    rgb = np.array(color, np.float32)
    surface = rgb * layer.shade[..., None] if fill == 1.0 else np.broadcast_to(rgb, window.shape)
    rim = layer.mask & ~ndimage.binary_erosion(layer.mask, iterations=FINER)
    inner = layer.mask & ~rim
    window[inner] = (1 - fill) * window[inner] + fill * surface[inner]
    window[rim] = (1 - edge) * window[rim] + edge * (0.7 if fill == 1.0 else 1.0) * rgb


def _in_picture(layer: Layer, fine: int) -> NDArray[np.bool_]:
    """The mask of a layer in the coordinates of the picture."""
    mask = np.zeros((fine, fine), bool)
    mask[layer.box] = layer.mask
    return mask


def _close_up(layer: Layer, fine: int) -> tuple[int, int, int, int] | None:
    """The square (left, top, right, bottom) around a small organ; None for larger ones."""
    rows, columns = layer.box
    extent = max(rows.stop - rows.start, columns.stop - columns.start)
    if extent > SMALL * fine:
        return None
    half = round(min(0.8 * extent + 0.01 * fine, 0.5 * INSET * fine))
    row = min(max((rows.start + rows.stop) // 2, half), fine - half)
    column = min(max((columns.start + columns.stop) // 2, half), fine - half)
    return column - half, row - half, column + half, row + half


def _free_corner(layers: Sequence[Layer], chosen: Layer, size: int) -> tuple[int, int]:
    """The top left pixel (row, column) of an inset where it covers least, above all of `chosen`."""
    fine, width = size * FINER, round(INSET * size)
    far = size - width - 2
    organs = np.zeros((fine, fine), np.float32)
    for layer in layers:
        if not layer.surrounding:
            organs[layer.box] += layer.mask * (1000.0 if layer is chosen else 1.0)

    def hidden(place: tuple[int, int]) -> float:
        top, left = FINER * place[0], FINER * place[1]
        return float(organs[top : top + FINER * width, left : left + FINER * width].sum())

    # The lower left corner holds the axes, the upper left one the name of the view.
    return min([(2, far), (far, far), (round(size / 12), 2)], key=hidden)


def _add_inset(
    image: Image.Image,
    large: Image.Image,
    region: tuple[int, int, int, int],
    place: tuple[int, int],
) -> None:
    """Magnify a region of the large picture into a framed square, and frame where it comes from."""
    width = round(INSET * image.width)
    inset = large.crop(region).resize((width, width), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    draw.rectangle([value / FINER for value in region], outline="black")
    image.paste(inset, (place[1], place[0]))
    corner = (place[1] + width - 1, place[0] + width - 1)
    draw.rectangle([(place[1], place[0]), corner], outline="black", width=2)


def _mark(image: Image.Image, view: View) -> None:
    """Write the view's name, and axes in the corner that name the patient's directions.

    An axis that points at the viewer has no length and gets no letter.
    """
    draw = ImageDraw.Draw(image)
    size = image.width
    font = ImageFont.load_default(size=size / 24)
    draw.text((size / 50, size / 60), view.name, fill="black", font=font)
    right, top, _ = view.axes
    center, length = np.array([0.11, 0.89]) * size, 0.06 * size
    for axis, letters in enumerate(("RL", "AP", "SI")):
        for sign, letter in zip((1, -1), letters, strict=True):
            arrow = sign * np.array([right[axis], -top[axis]]) * length
            if np.linalg.norm(arrow) > 0.2 * length:
                draw.line([tuple(center), tuple(center + arrow)], fill=_AXES[axis], width=3)
                place = tuple(center + arrow * (1 + 0.035 * size / np.linalg.norm(arrow)))
                draw.text(place, letter, fill=_AXES[axis], font=font, anchor="mm")
