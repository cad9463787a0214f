"""From a scan to its mask: windows on the network's grid, labels on the scan's own.

Legend of shapes: C classes, `x y z` space in RAS+, `i j k` the axes of the scan's file.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segmentation.data.descriptor import DatasetSpec
from segmentation.data.preparation import to_grid
from segmentation.imaging.volume import (
    Sizes,
    Volume,
    canonical_shape,
    from_canonical,
    label_type,
)
from segmentation.inference.sliding_window import labels_of


class PlaneSink(Protocol):
    """A consumer of a scan's probabilities, plane by plane."""

    def __call__(self, x: int, plane: Tensor) -> None:
        """Plane [C, y, z] at place x of the scan in RAS+."""


def predict_scan(
    planes_of: Callable[[Tensor], Iterable[Tensor]],
    scan: Volume,
    spec: DatasetSpec,
    device: torch.device,
    *,
    keep: PlaneSink | None = None,
) -> NDArray[np.integer]:
    """Labels of a scan on its own grid [i, j, k], whatever its orientation.

    Needs memory for the scan, for the mask and for one window's depth of probabilities; they are
    brought to the scan's resolution plane by plane.

    Args:
        planes_of: image [x, y, z] to class probabilities [C, y, z] for x = 0, 1, ...
        scan: intensities in HU.
        keep: is handed the probabilities on the scan's grid.
    """
    grid = to_grid(scan, spec)
    image = torch.from_numpy(np.ascontiguousarray(grid.voxels)).float().to(device)
    size: Sizes = scan.voxels.shape
    shape = canonical_shape(scan.affine, size)
    labels = np.empty(shape, dtype=label_type(len(spec.classes)))
    for x, plane in enumerate(planes_at(planes_of(image), image.shape[0], shape)):
        labels[x] = labels_of(plane)
        if keep:
            keep(x, plane)
    return from_canonical(labels, scan.affine, size)


def labels_at(planes: Iterable[Tensor], depth: int, shape: Sequence[int]) -> NDArray[np.integer]:
    """The most probable class at another resolution, [x, y, z].

    Args:
        planes: `depth` planes of probabilities [C, y, z].
        shape: of the labels, which cover the same field of view.
    """
    return np.stack([labels_of(plane) for plane in planes_at(planes, depth, shape)])


@torch.inference_mode()
def planes_at(planes: Iterable[Tensor], depth: int, shape: Sequence[int]) -> Iterator[Tensor]:
    """Probabilities at another resolution over the same field of view, one plane at a time.

    Linear along each axis, with aligned voxel edges; beyond the outermost voxel centers the value
    there continues. Every plane is enlarged once and two of them are blended.

    Args:
        planes: `depth` planes [C, y, z], for x = 0, 1, ...
        shape: the number of voxels [x, y, z] wanted.

    Returns:
        As many planes [C, shape[1], shape[2]] as shape[0] says.
    """
    places = (np.arange(shape[0]) + 0.5) * depth / shape[0] - 0.5
    places = places.clip(0, depth - 1)
    source = enumerate(planes)
    x, coarse = next(source)
    lower = upper = _enlarged(coarse, shape)
    for place in places:
        above = min(int(place) + 1, depth - 1)
        while x < above:
            x, coarse = next(source)
            needed = x >= above - 1
            lower, upper = upper, _enlarged(coarse, shape) if needed else upper
        weight = float(place) - (x - 1)
        yield upper if weight >= 1 or x == 0 else torch.lerp(lower, upper, weight)
    for _ in source:  # runs the generator to its end, so that it restores the network's mode
        pass


def _enlarged(plane: Tensor, shape: Sequence[int]) -> Tensor:
    size = tuple(shape[1:])
    return F.interpolate(plane[None].float(), size, mode="bilinear", align_corners=False)[0]
