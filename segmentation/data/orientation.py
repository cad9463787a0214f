"""Which way the axes of an array without affine run, by where its organs lie.

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

_SUBJECTS = 16  # made-up bodies whose mean tells where organs usually lie
_FEWEST = 5  # organs that it takes
_CLEAR = 0.3  # least correlation along every axis; and how far ahead the best order has to be


def orientation_by_organs(labels: Array, spec: DatasetSpec) -> str | None:
    """The axis codes under which the organs of a mask lie where organs lie; None if undecided.

    Of all 48 the one is taken whose organ centers correlate best with those of a mean anatomy,
    along each axis for itself, so that spacing does not matter.
    """
    stride = tuple(slice(None, None, max(side // 96, 1)) for side in labels.shape)
    places = centers(labels[stride], spec.labels.items())
    names = [name for name in places if name in ORGANS]
    if len(names) < _FEWEST:
        return None
    usual = _usual_places()
    found = np.array([places[name] for name in names])
    expected = np.array([usual[name] for name in names])
    if (found.std(0) == 0).any():
        return None
    alike = np.corrcoef(found.T, expected.T)[:3, 3:]  # [array axis, patient's axis]
    orders = list(permutations(range(3)))
    totals = [float(np.abs(alike[range(3), order]).sum()) for order in orders]
    best = int(np.argmax(totals))
    along = alike[range(3), orders[best]]
    runner_up = max(total for index, total in enumerate(totals) if index != best)
    if np.abs(along).min() < _CLEAR or totals[best] - runner_up < _CLEAR:
        return None
    pairs = ("RL", "AP", "SI")
    return "".join(
        pairs[axis][0 if value > 0 else 1] for axis, value in zip(orders[best], along, strict=True)
    )


def centers(labels: Array, organs: Iterable[tuple[str, int]]) -> dict[str, Array]:
    """Mean index [3] of every organ that has a voxel, by name."""
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
    """The middle of every organ in RAS+ mm, over some made-up bodies."""
    middles: dict[str, list[Array]] = {name: [] for name in ORGANS}
    for number in range(_SUBJECTS):
        for part in organs(Variation(np.random.default_rng(number)), tuple(ORGANS)):
            middles[part.name].append(np.mean(part.shape.bounds(), axis=0))
    return {name: np.mean(found, axis=0) for name, found in middles.items()}
