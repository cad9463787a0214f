"""How large and how intricate organs are: voxel share against the emptiness of the convex hull.

After Figure 1 of the TAK paper (Gu et al. 2025, arXiv 2501.13470), which ranks organs by both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from segmentation.metrics import nan_mean
from segmentation.prepared import Prepared, read_case

_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])


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
    """1 - volume / volume of the convex hull of a mask [i, j, k], voxels taken as whole boxes.

    Stretching the axes changes both volumes alike, so the spacing does not matter. A box gives 0;
    a fine ball about 0, a coarse one more, because of its steps. NaN for an empty mask.
    """
    places = np.argwhere(mask)
    if not len(places):
        return float("nan")
    # The hull of boxes is the hull of their corners, and only the extreme boxes count.
    extreme = _ends_of_rows(places)
    corners = (extreme[:, None] + _CORNERS).reshape(-1, 3)
    return 1 - len(places) / float(ConvexHull(np.unique(corners, axis=0)).volume)


def _ends_of_rows(places: NDArray[np.int_]) -> NDArray[np.int_]:
    """The first and the last voxel of every row along the last axis, of places sorted by axes."""
    starts = np.any(np.diff(places[:, :2], axis=0) != 0, axis=1)
    first = np.concatenate([[True], starts])
    last = np.concatenate([starts, [True]])
    return places[first | last]
