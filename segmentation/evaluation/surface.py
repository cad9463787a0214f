"""Distances between the surfaces of two masks, in mm.

Surface voxels are those of a mask that its erosion by the six-neighbor cross takes away; distances
are Euclidean, between voxel centers, with the scan's spacing (scipy's exact distance transform).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_CROSS = ndimage.generate_binary_structure(3, 1)

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
Distances = NDArray[np.float64]


class SurfaceScores(NamedTuple):
    """Distances between two surfaces.

    Attributes:
        hd95_mm: 95th percentile of the distances from either surface to the other, taken together.
        nsd: share of both surfaces within the tolerance of the other, in [0, 1] (normalized
            surface Dice; Nikolov et al., 2018, arXiv 1809.04430, by voxels instead of area).
        assd_mm: mean of the distances from either surface to the other, taken together.
    """

    hd95_mm: float
    nsd: float
    assd_mm: float


def surface_scores(
    prediction: Mask, truth: Mask, spacing_mm: Spacing, *, tolerance_mm: float = 1.0
) -> SurfaceScores:
    """Compare two masks [x, y, z] on one grid.

    One empty mask gives NSD 0 and NaN distances; two empty masks give NaN throughout.

    Raises:
        ValueError: the shapes differ.
    """
    check_shapes(prediction, truth)
    nan = float("nan")
    there = prediction.any(), truth.any()
    if not all(there):
        return SurfaceScores(nan, 0.0 if any(there) else nan, nan)
    distances = np.concatenate(surface_distances(prediction, truth, spacing_mm))
    return SurfaceScores(
        hd95_mm=float(np.percentile(distances, 95)),
        nsd=float((distances <= tolerance_mm).mean()),
        assd_mm=float(distances.mean()),
    )


def surface_distances(one: Mask, other: Mask, spacing_mm: Spacing) -> tuple[Distances, Distances]:
    """Distances in mm of each surface voxel of `one` to the surface of `other`, and back.

    Both masks need a voxel. Works in the box around both, where one distance transform per mask is
    enough.
    """
    near, far = _surfaces(one, other)
    return _distances(near, far, spacing_mm), _distances(far, near, spacing_mm)


def one_way_distances(one: Mask, other: Mask, spacing_mm: Spacing) -> Distances:
    """The first half of `surface_distances`, in half the time."""
    near, far = _surfaces(one, other)
    return _distances(near, far, spacing_mm)


def check_shapes(prediction: NDArray[np.generic], truth: NDArray[np.generic]) -> None:
    """Refuse masks of different shapes.

    Raises:
        ValueError: both shapes.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"a prediction of {prediction.shape} for a truth of {truth.shape}")


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    assert box is not None
    return box


def _surfaces(one: Mask, other: Mask) -> tuple[Mask, Mask]:
    """The surfaces of both masks in the box around them."""
    box = _bounding_box(one | other)
    near, far = (np.pad(mask[box], 1) for mask in (one, other))
    return near & ~ndimage.binary_erosion(near, _CROSS), far & ~ndimage.binary_erosion(far, _CROSS)


def _distances(near: Mask, far: Mask, spacing_mm: Spacing) -> Distances:
    distances: Distances = ndimage.distance_transform_edt(~far, sampling=spacing_mm)[near]
    return distances
