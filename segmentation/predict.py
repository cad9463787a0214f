"""Sliding-window prediction, on the network's grid and back on the scan's own.

Legend of shapes: C classes, `x y z` space in nibabel order.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation.dataset import DatasetSpec
from segmentation.prepare import to_grid
from segmentation.volume import Volume, canonical, from_canonical

_SLAB_BYTES = 256 * 2**20  # of resampled probabilities held at a time


@torch.inference_mode()
def probabilities(
    network: nn.Module,
    image: Tensor,
    *,
    patch: Sequence[int],
    overlap: float = 0.5,
    windows_per_call: int = 4,
    blend: str = "gaussian",
    progress: bool = False,
) -> Tensor:
    """Class probabilities [C, x, y, z] of an image [x, y, z], window by window.

    The softmax of every window is averaged, weighted by a Gaussian (`gaussian`) or equally
    (`constant`, as in the published evaluations).

    Args:
        network: called with [B, 1, x, y, z]; its `.logits` are used.
        image: on the device of the network.
        overlap: share of a window that the next one repeats.
    """
    from monai.inferers import sliding_window_inference

    def classify(windows: Tensor) -> Tensor:
        return network(windows).logits.float().softmax(1)

    mode = network.training
    network.eval()
    try:
        found = sliding_window_inference(
            image[None, None],
            tuple(patch),
            windows_per_call,
            classify,
            overlap,
            blend,
            progress=progress,
        )
    finally:
        network.train(mode)
    assert isinstance(found, Tensor)
    return found[0]


def predict_scan(
    classify: Callable[[Tensor], Tensor], scan: Volume, spec: DatasetSpec, device: torch.device
) -> NDArray[np.uint8]:
    """Labels of a scan on its own grid, whatever its orientation.

    Args:
        classify: image [x, y, z] to class probabilities [C, x, y, z] on the same grid.
        scan: intensities in HU.
    """
    grid = to_grid(scan, spec)
    found = classify(torch.from_numpy(np.ascontiguousarray(grid.voxels)).float().to(device))
    labels = labels_at(found, canonical(scan).voxels.shape)
    return np.asarray(from_canonical(labels, scan.affine, scan.voxels.shape), dtype=np.uint8)


@torch.inference_mode()
def labels_at(found: Tensor, shape: Sequence[int]) -> NDArray[np.uint8]:
    """The most probable class at another resolution, slab by slab along x.

    Probabilities are interpolated linearly with aligned voxel edges; only one slab of them exists
    at a time.

    Args:
        found: probabilities [C, x, y, z].
        shape: of the labels that come back, covering the same field of view.
    """
    classes, depth = found.shape[:2]
    nx, ny, nz = shape
    result = np.empty(tuple(shape), dtype=np.uint8)
    thickness = max(1, _SLAB_BYTES // (4 * classes * ny * nz))
    for start in range(0, nx, thickness):
        stop = min(start + thickness, nx)
        places = (torch.arange(start, stop, device=found.device) + 0.5) * depth / nx - 0.5
        places = places.clamp(0, depth - 1)
        low = places.floor().long()
        high = (low + 1).clamp(max=depth - 1)
        weight = (places - low)[None, :, None, None]
        slab = found[:, low].float() * (1 - weight) + found[:, high].float() * weight
        fine = F.interpolate(slab.transpose(0, 1), (ny, nz), mode="bilinear", align_corners=False)
        result[start:stop] = fine.argmax(1).to(torch.uint8).cpu().numpy()
    return result
