"""Size and complexity of organs: voxel share and emptiness of the convex hull.

After Figure 1 of the TAK paper (Gu et al. 2025, arXiv 2501.13470), which ranks organs by both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from segmentation.data.case_files import Prepared, read_case
from segmentation.evaluation.statistics import nan_mean

_TINY = 0.01  # voxels of jitter, so that flat organs also have a hull
_FLAT = 1e-9  # a plane whose normal rises less is upright


@dataclass(frozen=True)
class OrganShape:
    """Means over cases, NaN for an organ that no case shows.

    Attributes:
        share: of the voxels of all organs.
        emptiness: share of the convex hull that the organ leaves empty; 0 for a convex shape.
    """

    share: float
    emptiness: float


def organ_shapes(
    prepared: Prepared, cases: Sequence[str], tick: Callable[[str], None]
) -> dict[str, OrganShape]:
    """Share and emptiness of every organ over labeled cases, on each scan's own grid.

    Raises:
        ValueError: a case without a label.
    """
    organs = prepared.spec.labels
    shares: dict[str, list[float]] = {name: [] for name in organs}
    empty: dict[str, list[float]] = {name: [] for name in organs}
    for name in cases:
        case = read_case(prepared.file(name))
        labels = case.source_label
        if labels is None:
            raise ValueError(f"{prepared.file(name)}: case {name} has no label")
        counts = np.bincount(labels.ravel(), minlength=len(organs) + 1)
        for organ, value in organs.items():
            if counts[value]:
                shares[organ].append(float(counts[value] / counts[1:].sum()))
                empty[organ].append(hull_emptiness(labels == value))
        tick(name)
    return {name: OrganShape(nan_mean(shares[name]), nan_mean(empty[name])) for name in organs}


def hull_emptiness(mask: NDArray[np.bool_]) -> float:
    """The share of the voxels in the convex hull of a mask [i, j, k] that are not of the mask.

    The hull is that of the voxels' centers and holds a voxel if it holds its center. So a box and
    a ball of any resolution give 0, which volumes of hulls around stepped surfaces would not.
    Stretching an axis changes nothing, so the spacing does not matter. NaN for an empty mask.
    """
    places = np.argwhere(mask)
    if not len(places):
        return float("nan")
    return 1 - len(places) / _centers_in_hull(_ends_of_rows(places))


def _centers_in_hull(places: NDArray[np.int_]) -> int:
    """The number of grid points in the convex hull of the given ones."""
    low = places.min(0)
    points = (places - low)[:, None] + _TINY * np.concatenate([np.eye(3), -np.eye(3)])
    planes = np.unique(ConvexHull(points.reshape(-1, 3)).equations, axis=0)  # n p + d <= 0 inside
    x, y = np.indices(places.max(0)[:2] - low[:2] + 1).reshape(2, -1)
    bottom, top = np.full(len(x), -np.inf), np.full(len(x), np.inf)
    for nx, ny, nz, offset in planes:
        rest = -(nx * x + ny * y + offset) + _TINY / 100
        if nz > _FLAT:
            top = np.minimum(top, rest / nz)
        elif nz < -_FLAT:
            bottom = np.maximum(bottom, rest / nz)
        else:
            top = np.where(rest < 0, -np.inf, top)
    return int(np.maximum(np.floor(top) - np.ceil(bottom) + 1, 0).sum())


def _ends_of_rows(places: NDArray[np.int_]) -> NDArray[np.int_]:
    """The first and the last voxel of every row along the last axis, of places sorted by axes."""
    starts = np.any(np.diff(places[:, :2], axis=0) != 0, axis=1)
    first = np.concatenate([[True], starts])
    last = np.concatenate([starts, [True]])
    return places[first | last]
