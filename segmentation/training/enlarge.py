"""Growth of small organs by their signed distance, in mm: image and label are warped alike.

STAC (2024) displaces voxels along the gradient of the distance to all small organs by a random
integer of either sign, so that organs shrink as often as they grow (measured mean volume 1.016).
Here every organ grows by itself, by a given number of mm, and none shrinks. Legend of shapes:
`x y z` space.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

_SURFACE = 0.35  # share of a voxel from its center to the surface, mean over balls of 5-12 mm
_REACH = 3.0  # tissue around an organ is compressed up to so many times its growth

Array = NDArray[Any]


def enlarge(
    image: Tensor,
    label: Tensor,
    growth_mm: Mapping[int, float],
    spacing_mm: Sequence[float],
    fixed: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """An image and its label in which some organs are thicker by `growth_mm` on every side.

    A voxel belongs to a grown organ if its center is within the growth of the organ's surface. The
    image within an organ is stretched and that around it compressed, up to `_REACH` times the
    growth; beyond, nothing changes.

    Args:
        image: [x, y, z], float32.
        label: [x, y, z], integers.
        growth_mm: growth by label value, at least 0.
        spacing_mm: voxel size.
        fixed: further label values that no organ may grow into.
    """
    before = label.cpu().numpy()
    protected = np.isin(before, [*growth_mm, *fixed])
    nearest = np.full(before.shape, np.inf)  # mm to the organ that moves a voxel
    shift = np.zeros((3, *before.shape), np.float32)
    owner = np.zeros(before.shape, before.dtype)
    beyond = np.zeros(before.shape, bool)
    spacing = np.asarray(spacing_mm, float)
    for organ, growth in growth_mm.items():
        if growth <= 0:
            continue
        box = _box(before == organ, np.ceil(_REACH * growth / spacing).astype(int))
        mask = None if box is None else before[box] == organ
        if box is None or mask is None or mask.all():
            continue
        distance, direction = _signed_distance(mask, spacing)
        moved = mask | ((distance < nearest[box]) & (distance < _REACH * growth) & ~protected[box])
        nearest[box][moved] = distance[moved]
        owner[box][moved] = np.where(distance <= growth, organ, 0)[moved]
        beyond[box][moved] = (distance > growth)[moved]
        length = distance - _source_distance(distance, growth)
        # Toward the organ's inside: the source of a voxel lies deeper than the voxel itself.
        steps = -length * direction / spacing[:, None, None, None]
        shift[(slice(None), *box)][:, moved] = steps[:, moved]
    if not nearest.size or np.isinf(nearest).all():
        return image, label
    return _warped(image, label, shift, owner, beyond)


def _box(mask: Array, margin: Array) -> tuple[slice, slice, slice] | None:
    """The bounding box of a mask with a margin on every side; None of an empty mask."""
    if not mask.any():
        return None
    places = [np.flatnonzero(mask.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    x, y, z = (
        slice(max(int(place[0] - gap), 0), int(place[-1] + gap) + 1)
        for place, gap in zip(places, margin, strict=True)
    )
    return x, y, z


def _signed_distance(mask: Array, spacing: Array) -> tuple[Array, Array]:
    """mm from a mask's surface, negative inside [x, y, z], and unit vectors outward [3, x, y, z].

    Distances are measured to the centers of voxels, and the surface lies between these: half a
    voxel away where it is flat along an axis, less where it is oblique.
    """
    places = np.indices(mask.shape)
    distance = np.zeros(mask.shape)
    outward = np.zeros((3, *mask.shape))
    for region, sign in ((~mask, 1.0), (mask, -1.0)):
        far, nearest = distance_transform_edt(region, sampling=spacing, return_indices=True)
        vector = sign * (places - nearest) * spacing[:, None, None, None]
        unit = vector / np.maximum(far, 1e-9)
        # A voxel's extent along the vector is as long as its sides allow.
        extent = 1 / np.maximum((np.abs(unit) / spacing[:, None, None, None]).max(0), 1e-9)
        distance = np.where(region, sign * (far - _SURFACE * extent), distance)
        outward = np.where(region, unit, outward)
    return distance, outward


def _source_distance(distance: Array, growth: float) -> Array:
    """The distance that moves to each distance; it rises from -depth to `_REACH` times the growth.

    Depth and 0 move to depth and growth, so that the organ's content is stretched evenly.
    """
    depth, reach = max(-float(distance.min()), 1e-6), _REACH * growth
    return np.interp(distance, [-depth, growth, reach], [-depth, 0.0, reach])


def _warped(
    image: Tensor, label: Tensor, shift: Array, owner: Array, beyond: Array
) -> tuple[Tensor, Tensor]:
    """Image and label, sampled at the displaced places; organs are where `owner` is one."""
    from monai.transforms.spatial.array import Resample
    from monai.utils.type_conversion import convert_to_tensor

    center = (np.asarray(image.shape) - 1)[:, None, None, None] / 2
    grid = torch.from_numpy((np.indices(image.shape) + shift - center).astype(np.float32))
    resample = Resample(padding_mode="border")
    sampled = [
        convert_to_tensor(resample(part[None].float(), grid.to(part.device), mode=mode))
        for part, mode in ((image, "bilinear"), (label, "nearest"))
    ]
    moved = torch.from_numpy(shift.any(0)).to(label.device)
    grown = torch.from_numpy(owner).to(label.device)
    labels = sampled[1][0].round().to(label.dtype)
    # Rounding of the nearest voxel must not widen an organ beyond its growth.
    widened = torch.from_numpy(beyond).to(label.device) & torch.isin(labels, grown.unique()[1:])
    labels = labels.where(moved & ~widened, label)
    labels = grown.where(grown > 0, labels)
    return sampled[0][0].where(moved, image), labels
