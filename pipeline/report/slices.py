"""Cases for the slice viewer of the page: downsampled, compressed, with names and places."""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.report.cases import ShownCase
from segmentation.imaging.volume import Volume, resample_labels

MOST_VOXELS = 2_000_000  # of one case in the page; 1 to 1.5 MB when packed
_ENTROPY_STEPS = 32  # shades that the eye can distinguish; fewer compress better


@dataclass(frozen=True)
class Slices:
    """One case for the viewer.

    Attributes:
        about: metadata for JavaScript, as JSON values.
        packed: image, truth, prediction and entropy (on its color scale) one after the other, a
            byte per voxel each, x running fastest; deflated (zlib) and in base64.
        factor: voxels of the network's grid that were merged along x, y, z.
    """

    about: dict[str, Any]
    packed: str
    factor: tuple[int, int, int]


def pack(case: ShownCase, classes: Sequence[str], *, most: int = MOST_VOXELS) -> Slices:
    """A case for the viewer, downsampled if it has more than `most` voxels."""
    spacing = np.linalg.norm(case.affine[:3, :3], axis=0)
    factor = joining(case.truth.shape, spacing, most)
    image = _means(case.shaded(case.image), factor)
    entropy = np.rint(_means(case.glowing(case.entropy), factor) * _ENTROPY_STEPS) * (
        255 / _ENTROPY_STEPS
    )
    truth, prediction = (
        _commonest(labels, factor, image.shape) for labels in (case.truth, case.prediction)
    )
    layers = [np.rint(image * 255), truth, prediction, entropy]
    content = b"".join(layer.astype(np.uint8).tobytes(order="F") for layer in layers)
    about = {
        "name": case.name,
        "rank": case.rank,
        "shape": list(image.shape),
        "spacing": [float(side) for side in spacing * factor],
        "entropy": list(case.entropy_scale),
        "start": _busiest(truth),
        "dice": {name: _number(value) for name, value in case.scores.items()},
        "centers": {name: _center(truth, value) for value, name in enumerate(classes) if value},
    }
    return Slices(about, base64.b64encode(zlib.compress(content, 9)).decode(), factor)


def joining(
    shape: Sequence[int], spacing_mm: NDArray[np.floating], most: int
) -> tuple[int, int, int]:
    """Voxels to merge along each axis so that at most `most` remain; finest axis first."""
    factor = np.ones(3, int)
    while np.prod(-(-np.array(shape) // factor)) > most:
        factor[int(np.argmin(spacing_mm * factor))] += 1
    return int(factor[0]), int(factor[1]), int(factor[2])


def _means(volume: NDArray[np.float32], factor: Sequence[int]) -> NDArray[np.float32]:
    """Means of boxes of `factor` voxels; the last box of an axis repeats the border."""
    lack = [(0, -size % side) for size, side in zip(volume.shape, factor, strict=True)]
    padded = np.pad(volume, lack, mode="edge")
    x, y, z = (size // side for size, side in zip(padded.shape, factor, strict=True))
    boxes = padded.reshape(x, factor[0], y, factor[1], z, factor[2])
    return boxes.mean((1, 3, 5))


def _commonest(
    labels: NDArray[np.integer], factor: Sequence[int], shape: tuple[int, ...]
) -> NDArray[np.integer]:
    if tuple(factor) == (1, 1, 1):
        return labels
    lack = [(0, -size % side) for size, side in zip(labels.shape, factor, strict=True)]
    padded = Volume(np.pad(labels, lack, mode="edge"), np.eye(4))
    return resample_labels(padded, (shape[0], shape[1], shape[2])).voxels


def _busiest(labels: NDArray[np.integer]) -> list[int]:
    """The x, y and z whose slices show most of the organs; the middle without any."""
    organs = labels > 0
    if not organs.any():
        return [side // 2 for side in labels.shape]
    return [int(organs.sum(axes).argmax()) for axes in ((1, 2), (0, 2), (0, 1))]


def _center(labels: NDArray[np.integer], value: int) -> list[int] | None:
    """The voxel of an organ that is nearest to its center of mass; None if it is absent."""
    mask = labels == value
    if not mask.any():
        return None
    middle = ndimage.center_of_mass(mask)
    places = np.argwhere(mask)
    nearest = places[((places - middle) ** 2).sum(1).argmin()]
    return [int(place) for place in nearest]


def _number(value: float) -> float | None:
    return None if value != value else round(value, 4)
