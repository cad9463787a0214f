"""Distances between the surfaces of two masks, in mm.

Surface voxels are those of a mask that its erosion by the six-neighbor cross takes away; distances
are Euclidean, between voxel centers, with the scan's spacing (scipy's exact distance transform).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_CROSS = ndimage.generate_binary_structure(3, 1)


class SurfaceScores(NamedTuple):
    """How far two surfaces lie apart.

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
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    *,
    tolerance_mm: float = 1.0,
) -> SurfaceScores:
    """Compare two masks [x, y, z] on one grid.

    One empty mask gives NSD 0 and NaN distances; two empty masks give NaN throughout.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"a prediction of {prediction.shape} for a truth of {truth.shape}")
    nan = float("nan")
    there = prediction.any(), truth.any()
    if not all(there):
        return SurfaceScores(nan, 0.0 if any(there) else nan, nan)
    box = _bounding_box(prediction | truth)
    surfaces = [_surface(np.pad(mask[box], 1)) for mask in (prediction, truth)]
    distances = np.concatenate(
        [
            ndimage.distance_transform_edt(~other, sampling=spacing_mm)[own]
            for own, other in (surfaces, surfaces[::-1])
        ]
    )
    return SurfaceScores(
        hd95_mm=float(np.percentile(distances, 95)),
        nsd=float((distances <= tolerance_mm).mean()),
        assd_mm=float(distances.mean()),
    )


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    assert found is not None
    return found


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask & ~ndimage.binary_erosion(mask, _CROSS)
