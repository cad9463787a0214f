"""A color for every class, and the color tables of viewers."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

from segmentation.common.files import write_text

Color = tuple[int, int, int]

_GOLDEN = 0.618034  # golden ratio: steps around the color wheel stay far from earlier ones


def colors(classes: Sequence[str]) -> list[Color]:
    """Red, green, blue in 0..255 per class: background black, then colors far apart."""
    palette: list[Color] = [(0, 0, 0)]
    for index in range(1, len(classes)):
        value = (1.0, 0.78, 0.92)[index % 3]
        share = colorsys.hsv_to_rgb((0.02 + index * _GOLDEN) % 1, 0.72, value)
        palette.append((round(255 * share[0]), round(255 * share[1]), round(255 * share[2])))
    return palette


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
