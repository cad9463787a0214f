"""Body and spine of a CT scan, which pictures of organs show for orientation."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BODY_HU = -300.0
BONE_HU = 180.0
BESIDE_MM = 45.0  # how far from the middle of the body a vertebra reaches


def find_surroundings(
    scan_hu: NDArray[np.floating], labels: NDArray[np.integer], affine: NDArray[np.floating]
) -> dict[str, NDArray[np.bool_]]:
    """Masks [x, y, z] of the body and, if it shows, of the spine.

    The body is the largest connected region denser than air, the spine the largest region of bone
    in the rear half of the body and near its middle; labeled organs are never part of it.

    Args:
        scan_hu: CT values [x, y, z] in HU.
        labels: label values on the same grid.
        affine: [4, 4], voxel index to RAS+ mm.
    """
    if scan_hu.shape != labels.shape:
        raise ValueError(f"expected a scan of shape {labels.shape}, got {scan_hu.shape}")
    body = _largest(ndimage.binary_opening(scan_hu > BODY_HU))
    if body is None:
        return {}
    bone = np.argwhere((scan_hu > BONE_HU) & body & (labels == 0))
    middle = _in_mm(np.argwhere(body)[::97], affine).mean(0)
    offset = _in_mm(bone, affine) - middle
    central = bone[(np.abs(offset[:, 0]) < BESIDE_MM) & (offset[:, 1] < 0)]
    near = np.zeros(labels.shape, bool)
    near[tuple(central.T)] = True
    # Cortical bone alone is a thin shell: closing joins it to vertebrae.
    spine = _largest(ndimage.binary_closing(near))
    return {"body": body} if spine is None else {"body": body, "spine": spine}


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The largest connected region; None of an empty mask."""
    regions, number = ndimage.label(mask)
    if not number:
        return None
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    return np.asarray(regions == sizes.argmax())


def _in_mm(index: NDArray[np.integer], affine: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(index @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3], np.float64)
