"""Estimation of the axis orientation of an array from the positions of its organs.

Axis codes are those of nibabel, a letter per array axis: the first axis of `RAS` grows to the
patient's right, the second to the front (anterior), the third to the head (superior).
"""

from collections.abc import Iterable
from functools import cache
from itertools import permutations

import numpy as np

from segmentation.anatomy.body import ORGANS, Variation, organs
from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.volume import Array

_SUBJECTS = 16  # synthetic bodies whose mean gives the usual organ centers
_FEWEST = 5  # organs needed
_CLEAR = 0.3  # least correlation along every axis, and least lead of the best axis order


def orientation_by_organs(labels: Array, spec: DatasetSpec) -> str | None:
    """The axis codes that best match the organ centers to a mean anatomy; None if undecided.

    Of all 48 orientations the one with the highest correlation of organ centers, computed for
    each axis separately, so that the spacing is irrelevant.
    """
    stride = tuple(slice(None, None, max(side // 96, 1)) for side in labels.shape)
    places = centers(labels[stride], spec.labels.items())
    names = [name for name in places if name in ORGANS]
    if len(names) < _FEWEST:
        return None
    mean_body = _usual_places()
    observed = np.array([places[name] for name in names])
    expected = np.array([mean_body[name] for name in names])
    if (observed.std(0) == 0).any():
        return None
    correlations = np.corrcoef(observed.T, expected.T)[:3, 3:]  # [array axis, patient's axis]
    # Signs do not matter for the order of the axes, which decides first; then they give flips.
    orders = list(permutations(range(3)))
    totals = [float(np.abs(correlations[range(3), order]).sum()) for order in orders]
    best = int(np.argmax(totals))
    along = correlations[range(3), orders[best]]
    runner_up = max(total for index, total in enumerate(totals) if index != best)
    if np.abs(along).min() < _CLEAR or totals[best] - runner_up < _CLEAR:
        return None
    pairs = ("RL", "AP", "SI")
    return "".join(
        pairs[axis][0 if value > 0 else 1] for axis, value in zip(orders[best], along, strict=True)
    )


def centers(labels: Array, organs: Iterable[tuple[str, int]]) -> dict[str, Array]:
    """Mean voxel index [3] of every organ present, by name."""
    known = dict(organs)
    count = max(known.values(), default=0) + 1
    flat = labels.ravel()
    voxels = np.bincount(flat, minlength=count)
    sums = []
    for axis, side in enumerate(labels.shape):
        shape = [1, 1, 1]
        shape[axis] = side
        along = np.broadcast_to(np.arange(side).reshape(shape), labels.shape)
        sums.append(np.bincount(flat, along.ravel(), minlength=count))
    return {
        name: np.array([total[label] for total in sums]) / voxels[label]
        for name, label in known.items()
        if voxels[label]
    }


@cache
def _usual_places() -> dict[str, Array]:
    """The mean center of every organ in RAS+ mm over synthetic bodies."""
    middles: dict[str, list[Array]] = {name: [] for name in ORGANS}
    for number in range(_SUBJECTS):
        for part in organs(Variation(np.random.default_rng(number)), tuple(ORGANS)):
            middles[part.name].append(np.mean(part.shape.bounds(), axis=0))
    return {name: np.mean(points, axis=0) for name, points in middles.items()}
