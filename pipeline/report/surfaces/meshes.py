"""Closed surface meshes of organs, coarse enough for a page.

Naive surface nets (Gibson 1998, Constrained Elastic Surface Nets): one vertex per cell of the grid
that the surface crosses, one quadrilateral per crossed edge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.report.cases import ShownCase

MOST_VERTICES = 1500  # of one organ
MOST_IN_ALL = 20_000  # of all organs of a mask, shared evenly
_BLUR = 0.8  # voxels; takes away the steps of a mask

Points = NDArray[np.float64]
Corners = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface.

    Attributes:
        points: [V, 3] in RAS+ mm.
        quads: [Q, 4] indices of points, counterclockwise seen from outside.
    """

    points: Points
    quads: Corners

    @property
    def triangles(self) -> Corners:
        """Two triangles per quadrilateral, [2 Q, 3]."""
        return np.concatenate([self.quads[:, [0, 1, 2]], self.quads[:, [0, 2, 3]]])

    @property
    def normals(self) -> Points:
        """Unit vectors outward at the points [V, 3], means of faces weighted by their area."""
        corners = self.points[self.triangles]
        faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        total = np.zeros_like(self.points)
        for corner in range(3):
            np.add.at(total, self.triangles[:, corner], faces)
        return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def case_meshes(case: ShownCase, classes: Sequence[str]) -> dict[str, dict[int, Mesh]]:
    """`truth` and `prediction` -> label -> mesh, for every organ that the mask shows."""
    most = min(MOST_VERTICES, MOST_IN_ALL // max(len(classes) - 1, 1))
    masks = {"truth": case.truth, "prediction": case.prediction}
    return {
        name: {
            label: organ_mesh(labels == label, case.affine, most=most)
            for label in range(1, len(classes))
            if (labels == label).any()
        }
        for name, labels in masks.items()
    }


def organ_mesh(
    mask: NDArray[np.bool_], affine: NDArray[np.float64], *, most: int = MOST_VERTICES
) -> Mesh:
    """The surface of a mask [x, y, z] that is not empty, with at most about `most` vertices."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    start = np.array([side.start for side in box])
    mask = mask[box]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    factor = np.ones(3, int)
    while True:
        field, level = _field(mask, factor)
        points, quads = surface_net(field, level)
        if len(points) <= most or (factor >= mask.shape).all():
            break
        # Vertices fall with the square of the side of a voxel; the finest axis is joined first.
        side = (spacing * factor).min() * max(1.1, np.sqrt(len(points) / most))
        factor = np.maximum(factor, np.rint(side / spacing).astype(int))
        factor[int(np.argmin(spacing * factor))] += 1
    places = (points - 2 + 0.5) * factor - 0.5 + start
    world = places @ affine[:3, :3].T + affine[:3, 3]
    if np.linalg.det(affine[:3, :3]) < 0:
        quads = quads[:, ::-1]
    return Mesh(world, quads)


def _field(mask: NDArray[np.bool_], factor: NDArray[np.int_]) -> tuple[NDArray[np.float64], float]:
    """The blurred mask with voxels joined, padded by 2, and the level that keeps its volume."""
    lack = [(0, -size % side) for size, side in zip(mask.shape, factor, strict=True)]
    padded = np.pad(mask.astype(np.float64), lack)
    x, y, z = (size // side for size, side in zip(padded.shape, factor, strict=True))
    boxes = padded.reshape(x, factor[0], y, factor[1], z, factor[2])
    field = ndimage.gaussian_filter(np.pad(boxes.mean((1, 3, 5)), 2), _BLUR, mode="constant")
    field[[0, -1]] = field[:, [0, -1]] = field[:, :, [0, -1]] = 0  # closed at the border
    inside = max(1, round(mask.sum() / factor.prod()))
    # At one half, thin organs would vanish: their values are all below it.
    least, below = -np.partition(-field.ravel(), (inside - 1, inside))[[inside - 1, inside]]
    # Where many voxels have the highest value, the level between two of them encloses nothing.
    return field, float(min((least + below) / 2, 0.5 * field.max()))


def surface_net(field: NDArray[np.float64], level: float) -> tuple[Points, Corners]:
    """Points [V, 3] in indices and quads [Q, 4] of the surface where a field [x, y, z] has a level.

    The field is below the level at its border.
    """
    inside = field > level
    cells = tuple(size - 1 for size in field.shape)
    total, count = np.zeros((int(np.prod(cells)), 3)), np.zeros(int(np.prod(cells)), int)
    quads = []
    for axis in range(3):
        near, far = (_half(axis, end) for end in (slice(None, -1), slice(1, None)))
        places = np.argwhere(inside[near] != inside[far])
        before, after = field[near][tuple(places.T)], field[far][tuple(places.T)]
        crossing = places.astype(np.float64)
        crossing[:, axis] += (level - before) / (after - before)
        # The four cells around the edge, counterclockwise seen against the axis.
        around = []
        for steps in ((-1, -1), (0, -1), (0, 0), (-1, 0)):
            cell = places.copy()
            cell[:, (axis + 1) % 3] += steps[0]
            cell[:, (axis + 2) % 3] += steps[1]
            number = np.ravel_multi_index(tuple(cell.T), cells)
            np.add.at(total, number, crossing)
            np.add.at(count, number, 1)
            around.append(number)
        ring = np.stack(around, axis=1)
        leaves = before > after  # from inside to outside along the axis
        quads.append(np.where(leaves[:, None], ring, ring[:, ::-1]))
    used = np.flatnonzero(count)
    numbers = np.empty(len(count), int)
    numbers[used] = np.arange(len(used))
    return total[used] / count[used, None], numbers[np.concatenate(quads)]


def _half(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if each == axis else slice(None) for each in range(3))
