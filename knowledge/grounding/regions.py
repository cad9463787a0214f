"""Organs of one labeled volume on a common grid whose axes are the patient's.

The grid has cubic cells: x to the patient's right, y to the front, z to the head (RAS+), whatever
the order and direction of the volume's axes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Vector = NDArray[np.float64]

SMALLEST_CELL_MM = 2.0


@dataclass(frozen=True)
class Shadow:
    """The projection of an organ along one axis; all arrays have the shape of the whole grid.

    Attributes:
        covered: cells [a, b] that the organ covers.
        low, high, mean: lowest, highest and mean coordinate along the axis, in cells.
    """

    covered: Mask
    low: Vector
    high: Vector
    mean: Vector


class Region:
    """The cells of one organ: a mask cropped to its box, and the place of the box in the grid."""

    def __init__(self, mask: Mask, start: NDArray[np.integer], shape: tuple[int, ...]) -> None:
        self.mask = mask
        self.start = start
        self.shape = shape

    @cached_property
    def cells(self) -> Vector:
        """The indices [N, 3] of the organ's cells in the grid, as floats."""
        return np.asarray(np.argwhere(self.mask) + self.start, np.float64)

    @cached_property
    def shadows(self) -> tuple[Shadow, Shadow, Shadow]:
        """The projections along x, y and z."""
        return (self._shadow(0), self._shadow(1), self._shadow(2))

    def _shadow(self, axis: int) -> Shadow:
        length = self.mask.shape[axis]
        place = np.delete(self.start, axis)
        window = tuple(
            slice(at, at + n) for at, n in zip(place, np.delete(self.mask.shape, axis), strict=True)
        )
        steps = np.expand_dims(np.arange(length), [other for other in range(3) if other != axis])
        count = self.mask.sum(axis)
        values = {
            "covered": count > 0,
            "low": self.mask.argmax(axis),
            "high": length - 1 - np.flip(self.mask, axis).argmax(axis),
            "mean": (self.mask * steps).sum(axis) / np.maximum(count, 1),
        }
        planes = {}
        for name, value in values.items():
            plane = np.zeros(np.delete(self.shape, axis), bool if name == "covered" else float)
            plane[window] = value if name == "covered" else value + self.start[axis]
            planes[name] = plane
        return Shadow(**planes)


def regions_of(
    labels: NDArray[np.integer], affine: NDArray[np.floating], values: Mapping[str, int]
) -> tuple[dict[str, Region], float]:
    """Every organ that a volume shows, on the common grid, and the size of a cell in mm.

    Args:
        labels: label values [x, y, z], in any orientation.
        affine: [4, 4], voxel index to RAS+ mm.
        values: organ name to label value.
    """
    boxes = ndimage.find_objects(labels.astype(np.int32, copy=False))
    shown = {
        name: box
        for name, value in values.items()
        if 0 < value <= len(boxes) and (box := boxes[value - 1]) is not None
    }
    linear, offset = np.asarray(affine, float)[:3, :3], np.asarray(affine, float)[:3, 3]
    # A cell is about a voxel, so that thin organs stay; finer scans are thinned to save time.
    cell_mm = max(SMALLEST_CELL_MM, float(abs(np.linalg.det(linear)) ** (1 / 3)))
    if not shown:
        return {}, cell_mm
    low = np.min([[side.start for side in box] for box in shown.values()], axis=0)
    high = np.max([[side.stop - 1 for side in box] for box in shown.values()], axis=0)
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), -1).reshape(-1, 3)
    places = corners @ linear.T + offset
    origin = places.min(0)
    shape = tuple(np.ceil(np.ptp(places, axis=0) / cell_mm - 1e-6).astype(int) + 1)
    back = np.linalg.inv(linear)
    grid = ndimage.affine_transform(
        labels.astype(np.int32, copy=False),
        back * cell_mm,
        back @ (origin - offset),
        output_shape=shape,
        order=0,
        # Half a voxel beyond the outermost centers still belongs to the outermost voxels.
        mode="grid-constant",
    )
    filled = ndimage.find_objects(grid)
    regions = {}
    for name, box in shown.items():
        value = values[name]
        cells = filled[value - 1] if value <= len(filled) else None
        if cells is None:
            regions[name] = _one_cell(labels, box, value, (linear, offset - origin), cell_mm, shape)
        else:
            start = np.array([side.start for side in cells])
            regions[name] = Region(grid[cells] == value, start, shape)
    return regions, cell_mm


def _one_cell(
    labels: NDArray[np.integer],
    box: tuple[slice, ...],
    value: int,
    affine: tuple[Vector, Vector],
    cell_mm: float,
    shape: tuple[int, ...],
) -> Region:
    """An organ that fell between the cells: the cell at its center."""
    index = np.argwhere(labels[box] == value).mean(0) + [side.start for side in box]
    cell = np.rint((affine[0] @ index + affine[1]) / cell_mm).astype(int)
    return Region(np.ones((1, 1, 1), bool), np.clip(cell, 0, np.array(shape) - 1), shape)
