"""A color for every class, and the color tables of viewers."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmentation.common.files import write_text

Color = tuple[int, int, int]

# Renderings of organs show the organ that is asked about in this red; no class has a color like it.
HIGHLIGHT: Color = (214, 39, 40)
_FIRST: Color = (60, 105, 225)
_STEP = 15  # of red, green and blue between the colors that are chosen from
_LIGHTNESS = 0.5, 0.88  # in OKLab: seen on black and on white paper
_LEAST_CHROMA = 0.09  # in OKLab: no gray, which is that of a scan
_FROM_HIGHLIGHT = 0.13  # in OKLab


def colors(classes: Sequence[object]) -> list[Color]:
    """Red, green, blue in 0..255 per class: background black, then colors far apart.

    Each color is the one farthest, in OKLab (Ottosson 2020), from all before it. So the color of a
    label is the same however many classes follow.
    """
    return [(0, 0, 0), *_palette(max(len(classes), 1) - 1)]


@cache
def _palette(count: int) -> tuple[Color, ...]:
    steps = np.arange(0, 256, _STEP)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    places = oklab(grid)
    fits = (places[:, 0] > _LIGHTNESS[0]) & (places[:, 0] < _LIGHTNESS[1])
    fits &= np.hypot(places[:, 1], places[:, 2]) > _LEAST_CHROMA
    fits &= _distances(places, oklab(np.array(HIGHLIGHT))) > _FROM_HIGHLIGHT
    grid, places = grid[fits], places[fits]
    chosen: list[Color] = []
    nearest = -_distances(places, oklab(np.array(_FIRST)))
    for _ in range(count):
        index = int(nearest.argmax())
        red, green, blue = map(int, grid[index])
        distances = _distances(places, places[index])
        nearest = np.minimum(nearest, distances) if chosen else distances
        chosen.append((red, green, blue))
    return tuple(chosen)


def oklab(colors: NDArray[np.integer]) -> NDArray[np.float64]:
    """Colors [..., RGB] in 0..255 as lightness, green to red, blue to yellow [..., 3]."""
    share = colors / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    result: NDArray[np.float64] = np.cbrt(cones) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )
    return result


def _distances(places: NDArray[np.float64], one: NDArray[np.float64]) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = np.linalg.norm(places - one, axis=-1)
    return distances


def write_slicer_colors(path: Path, classes: Sequence[str]) -> None:
    """Write a color table of 3D Slicer (.ctbl): value, name without spaces, red green blue alpha.

    The format: https://slicer.readthedocs.io, Modules, Colors.
    """
    lines = ["# Color table of the organs", f"# {len(classes)} values"]
    for value, (name, rgb) in enumerate(zip(classes, colors(classes), strict=True)):
        alpha = 255 if value else 0
        lines.append(f"{value} {'_'.join(name.split())} {' '.join(map(str, rgb))} {alpha}")
    write_text(path, "\n".join(lines) + "\n")


def write_itksnap_labels(path: Path, classes: Sequence[str]) -> None:
    """Write label descriptions of ITK-SNAP: value, red green blue, alpha, visible, mesh, name."""
    rule = "#" * 48
    lines = [rule, "# ITK-SnAP Label Description File", "# IDX -R- -G- -B- -A- VIS MSH LABEL", rule]
    for value, (name, rgb) in enumerate(zip(classes, colors(classes), strict=True)):
        shown = 1 if value else 0
        label = name.replace('"', "'") if value else "Clear Label"
        numbers = " ".join(f"{number:4}" for number in (value, *rgb, shown, shown, shown))
        lines.append(f'{numbers}    "{label}"')
    write_text(path, "\n".join(lines) + "\n")
