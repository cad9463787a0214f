"""Organ volumes and intensities of a mask, and a plausibility check of HU."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from segmentation.imaging.volume import Array, Volume

_AIR_HU = -300.0  # lung, bowel gas and the air around a patient are below
_TISSUE_HU = (-20.0, 120.0)  # blood, muscle, parenchymal organs, with or without contrast
_LEAST_TISSUE = 0.01


def measure_organs(
    labels: Array, scan: Volume, organs: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Label, voxels, volume in ml and mean HU of every organ; the mean is None without a voxel.

    Args:
        labels: [i, j, k] on the scan's grid.
        organs: label value by organ name.
    """
    count = max(organs.values(), default=0) + 1
    voxels = np.zeros(count, dtype=np.int64)
    total = np.zeros(count)
    for mask, gray in zip(labels, scan.voxels, strict=True):  # plane by plane: few copies
        voxels += np.bincount(mask.ravel(), minlength=count)[:count]
        total += np.bincount(mask.ravel(), gray.ravel(), minlength=count)[:count]
    milliliters = abs(float(np.linalg.det(scan.affine[:3, :3]))) / 1000
    return {
        name: {
            "label": label,
            "voxels": int(voxels[label]),
            "volume_ml": round(float(voxels[label]) * milliliters, 3),
            "mean_hu": round(float(total[label] / voxels[label]), 2) if voxels[label] else None,
        }
        for name, label in organs.items()
    }


def intensity_warning(scan: Volume) -> str | None:
    """A warning if intensities do not look like Hounsfield units, else None."""
    sparse = scan.voxels[tuple(slice(None, None, max(side // 64, 1)) for side in scan.voxels.shape)]
    low, high = float(scan.voxels.min()), float(scan.voxels.max())
    range_text = f"intensities from {low:g} to {high:g}"
    if low == high:
        return f"all intensities are {low:g}; nothing can be seen"
    if low > _AIR_HU:
        return f"{range_text} hold no air, so they are hardly HU (windowed, shifted, or no CT?)"
    share = float(((sparse > _TISSUE_HU[0]) & (sparse < _TISSUE_HU[1])).mean())
    if share < _LEAST_TISSUE:
        return (
            f"{range_text}, but only {100 * share:.1f} % of the voxels are within "
            f"{_TISSUE_HU[0]:g} to {_TISSUE_HU[1]:g} HU, where soft tissue lies; is this CT in HU?"
        )
    return None
