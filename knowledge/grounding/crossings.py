"""Crossings of two organs: two bands that overlap like the bars of an X.

Seen along one of the patient's axes, the crossing organ splits the other one and is split by it:
each reaches beyond the other on both sides of the place where they overlap.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from knowledge.grounding.regions import Mask, Region, Shadow, Vector

WINDOW_MM = 12.0  # around the overlap, where the arms of the X are looked for
ARM_MM = 5.0  # an arm reaches at least as far
BROAD = 1.5  # times the width of the other: a broader organ covers it rather than crosses it
TURN = np.cos(np.radians(40))  # bands at a smaller angle run along each other
_AROUND = np.ones((3, 3), bool)


@dataclass(frozen=True)
class _Bars:
    """Directions [2] and widths, in cells, of two bands that overlap like an X."""

    one: Vector
    other: Vector
    width_one: float
    width_other: float


def crossing(
    one: Region, other: Region, cell_mm: float, near_mm: float
) -> Literal["crosses", "unclear", "apart"]:
    """Whether `one` crosses `other`.

    `crosses`: an X at which the two are at most `near_mm` apart, `one` is not much broader than
    `other` and runs no more along the body than `other` does (the renal vein crosses the aorta,
    not the aorta the vein). `unclear`: an X without all of that. `apart`: no X.
    """
    result: Literal["unclear", "apart"] = "apart"
    for axis in range(3):
        first, second = one.shadows[axis], other.shadows[axis]
        pieces, number = ndimage.label(first.covered & second.covered, _AROUND)
        for index in range(1, number + 1):
            bars = _bars(pieces == index, first.covered, second.covered, cell_mm)
            if bars is None:
                continue
            gap = _gap(pieces == index, first, second) * cell_mm
            narrow = bars.width_one <= BROAD * bars.width_other
            if gap <= near_mm and narrow and not _runs_up_more(bars, axis):
                return "crosses"
            result = "unclear"
    return result


def _runs_up_more(bars: _Bars, axis: int) -> bool:
    """Whether the first band runs along the body and the second across it."""
    if axis == 2:
        return False
    # Of the two axes of a picture seen along x or y, the last is z.
    return bool(abs(bars.one[1]) > abs(bars.other[1]))


def _gap(overlap: Mask, first: Shadow, second: Shadow) -> float:
    """The smallest gap in cells between two organs where their shadows overlap."""
    behind = first.low[overlap] - second.high[overlap]
    before = second.low[overlap] - first.high[overlap]
    return max(0.0, float((np.maximum(behind, before) - 1).min()))


def _bars(overlap: Mask, first: Mask, second: Mask, cell_mm: float) -> _Bars | None:
    """The two bands around an overlap of two shadows [a, b]; None unless they form an X."""
    reach = max(2, round(WINDOW_MM / cell_mm))
    places = np.argwhere(overlap)
    corner = np.maximum(places.min(0) - reach, 0)
    box = tuple(slice(a, b + reach + 1) for a, b in zip(corner, places.max(0), strict=True))
    overlap, first, second = overlap[box], first[box], second[box]
    distance = ndimage.distance_transform_edt(~overlap)
    near = distance <= reach
    arms_one = _arms(first & ~second & near, overlap, distance, cell_mm)
    arms_other = _arms(second & ~first & near, overlap, distance, cell_mm)
    if len(arms_one) != 2 or len(arms_other) != 2:
        return None
    along_one, along_other = (_unit(arms[1] - arms[0]) for arms in (arms_one, arms_other))
    if abs(along_one @ along_other) > TURN:
        return None
    across_one, across_other = (np.array([-d[1], d[0]]) for d in (along_one, along_other))
    spots = np.argwhere(overlap)
    return _Bars(along_one, along_other, _width(spots @ across_one), _width(spots @ across_other))


def _arms(
    outside: Mask, overlap: Mask, distance: NDArray[np.floating], cell_mm: float
) -> list[Vector]:
    """Centers [2] of the pieces that touch the overlap and reach far enough from it."""
    pieces, number = ndimage.label(outside, _AROUND)
    touching = ndimage.binary_dilation(overlap, _AROUND)
    arms = []
    for index in range(1, number + 1):
        piece = pieces == index
        if (piece & touching).any() and distance[piece].max() * cell_mm >= ARM_MM:
            arms.append(np.argwhere(piece).mean(0))
    return arms


def _width(coordinates: Vector) -> float:
    """The extent of cells along a line, without outliers."""
    low, high = np.percentile(coordinates, (5, 95))
    return float(high - low) + 1


def _unit(vector: Vector) -> Vector:
    return vector / np.linalg.norm(vector)
