"""Enclosure of one organ by another: the share of rays from the one that meet the other."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from knowledge.grounding.directions import thin_out
from knowledge.grounding.regions import Region, Vector

VIEWPOINTS = 60  # cells of the enclosed organ from which rays start
CIRCLE = 72  # rays in a plane
SPHERE = 200  # rays in space
REACH_MM = 60.0  # a ring further away surrounds nothing
SLAB_MM = 12.0  # half the thickness of the plane in which an organ surrounds another
END = 0.25  # of an organ is an end of it, such as the head of the pancreas


def enclosed_share(inner: Region, outer: Region) -> float:
    """Mean share of the rays in all directions from the inner organ that meet the outer one."""
    step = np.arange(SPHERE) + 0.5
    height, turn = 1 - 2 * step / SPHERE, np.pi * (1 + 5**0.5) * step
    radius = np.sqrt(1 - height**2)
    rays = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)
    length = int(np.linalg.norm(inner.shape)) + 1
    return float(_hits(inner, outer.mask, outer.start, rays, length).mean())


def surrounded_share(inner: Region, outer: Region, cell_mm: float) -> float:
    """Share of the circle that the outer organ fills, seen from the best enclosed end of the inner.

    After the "degree of surroundedness" of Rosenfeld and Klette 1985. Rays run in the axial,
    coronal and sagittal plane through each point and see `SLAB_MM` to both sides of the plane; the
    largest plane counts. A point that the slab of the outer organ covers is not surrounded.
    """
    turn = 2 * np.pi * np.arange(CIRCLE) / CIRCLE
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    thick = max(1, round(SLAB_MM / cell_mm))
    shares = []
    for axis in range(3):
        pad = [(thick, thick) if other == axis else (0, 0) for other in range(3)]
        slab = ndimage.maximum_filter1d(np.pad(outer.mask, pad), 2 * thick + 1, axis)
        start = outer.start - np.where(np.arange(3) == axis, thick, 0)
        rays = np.insert(circle, axis, 0.0, axis=1)
        length = max(1, round(REACH_MM / cell_mm))
        seen = _hits(inner, slab, start, rays, length).mean(axis=1)
        # Otherwise organs that overlap in the plane would surround each other.
        covered = _hits(inner, slab, start, np.zeros((1, 3)), 1)[:, 0]
        seen = np.where(covered, 0.0, seen)
        end = max(1, round(END * len(seen)))
        shares.append(float(np.sort(seen)[-end:].mean()))
    return max(shares)


def _hits(
    inner: Region,
    mask: NDArray[np.bool_],
    start: NDArray[np.integer],
    rays: Vector,
    length: int,
) -> NDArray[np.bool_]:
    """Which rays [R, 3] of a length in cells, from points of an organ, meet a mask: [P, R]."""
    points = thin_out(inner.cells, VIEWPOINTS)
    hit = np.zeros((len(points), len(rays)), bool)
    for step in range(1, length + 1):
        place = np.rint(points[:, None] + step * rays[None]).astype(int) - start
        valid = ((place >= 0) & (place < mask.shape)).all(axis=2)
        hit[valid] |= mask[tuple(place[valid].T)]
    return hit
