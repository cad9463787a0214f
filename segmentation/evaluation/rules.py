"""Metric rules: on which grid masks are compared, what is measured, and what empty masks count.

`scan` is this program's own. The others repeat what the published evaluations do, so that a number
may stand beside theirs; each says in `facts` what that is, defects included. Distances of all but
`scan` are in voxels of the grid, because the published code gives no spacing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation.common.suggest import unknown
from segmentation.evaluation.metrics import EMPTY_RULE, dice
from segmentation.evaluation.surface import (
    Mask,
    Spacing,
    check_shapes,
    one_way_distances,
    surface_distances,
    surface_scores,
)
from segmentation.evaluation.surface_area import surface_dice

Labels = NDArray[np.integer]
Scores = dict[str, dict[str, float]]  # organ -> metric -> value
VOXELS: Spacing = (1.0, 1.0, 1.0)
GA_SHAPE = (160, 160, 80)


@dataclass(frozen=True)
class Metric:
    """One column of scores: its key in files, its heading, and whether it is a share in [0, 1]."""

    key: str
    heading: str
    share: bool


@dataclass(frozen=True)
class Rules:
    """Rules of comparing a predicted with a true label volume.

    Attributes:
        grid: `scan`, the scan's own grid, or `stored`, that of the prepared case.
        metrics: what `score` gives for every organ, Dice first.
        facts: grid, empty masks, distances and more, in words, for files and tables.
        score: (prediction, truth, classes, spacing_mm, tolerance_mm) to scores by organ; the last
            two are read by `scan` alone.
    """

    name: str
    grid: Literal["scan", "stored"]
    metrics: tuple[Metric, ...]
    facts: Mapping[str, str]
    score: Callable[[Labels, Labels, Sequence[str], Spacing, float], Scores]


def named(name: str) -> Rules:
    """The rules of that name.

    Raises:
        LookupError: there are none; the names that there are.
    """
    for rules in RULES:
        if rules.name == name:
            return rules
    raise LookupError(unknown("metric rules", name, [rules.name for rules in RULES]))


def resize_nearest(labels: Labels, shape: Sequence[int]) -> Labels:
    """Labels on `shape` voxels: voxel i of n is voxel floor(i * old / n) of the old ones.

    What `torch.nn.functional.interpolate(mode="nearest")` does, which the published evaluations of
    GALoss and TAK call. The factor old / n is rounded to float32 as there, which for some sizes
    (84, 168, 208 ... to 80) takes the plane before.
    """
    factors = (np.float32(old) / np.float32(n) for n, old in zip(shape, labels.shape, strict=True))
    planes = [np.arange(n, dtype=np.float32) * by for n, by in zip(shape, factors, strict=True)]
    return labels[np.ix_(*(places.astype(np.intp) for places in planes))]


def _scan(
    prediction: Labels,
    truth: Labels,
    classes: Sequence[str],
    spacing_mm: Spacing,
    tolerance_mm: float,
) -> Scores:
    overlap = dice(prediction, truth, classes)
    scores = {}
    for organ, (one, other) in _masks(prediction, truth, classes):
        distances = surface_scores(one, other, spacing_mm, tolerance_mm=tolerance_mm)
        scores[organ] = {"dice": overlap[organ], **distances._asdict()}
    return scores


def _ga(
    prediction: Labels, truth: Labels, classes: Sequence[str], _spacing: Spacing, _tolerance: float
) -> Scores:
    check_shapes(prediction, truth)
    prediction, truth = resize_nearest(prediction, GA_SHAPE), resize_nearest(truth, GA_SHAPE)
    if not prediction.any():
        return {organ: {"dice": 0.0, "asd_voxels": 0.0} for organ in classes[1:]}
    return _overlap_and_asd(prediction, truth, classes)


def _dhc(
    prediction: Labels, truth: Labels, classes: Sequence[str], _spacing: Spacing, _tolerance: float
) -> Scores:
    check_shapes(prediction, truth)
    return _overlap_and_asd(prediction, truth, classes)


def _overlap_and_asd(prediction: Labels, truth: Labels, classes: Sequence[str]) -> Scores:
    """Dice and one-directional ASD; both empty 1 and 0, one empty 0 and 128."""
    overlap = dice(prediction, truth, classes)
    scores = {}
    for organ, (one, other) in _masks(prediction, truth, classes):
        there = bool(one.any()) + bool(other.any())
        if there == 2:
            distance = float(one_way_distances(one, other, VOXELS).mean())
            scores[organ] = {"dice": overlap[organ], "asd_voxels": distance}
        else:
            scores[organ] = {"dice": 1.0 - there, "asd_voxels": 128.0 * there}
    return scores


def _magicnet(
    prediction: Labels, truth: Labels, classes: Sequence[str], _spacing: Spacing, _tolerance: float
) -> Scores:
    check_shapes(prediction, truth)
    overlap = dice(prediction, truth, classes)
    scores = {}
    for organ, (one, other) in _masks(prediction, truth, classes):
        if not (one.any() and other.any()):
            keys = ("dice", "nsd_1_voxel", "hd95_voxels", "asd_voxels")
            scores[organ] = dict.fromkeys(keys, 0.0)
            continue
        ahead, back = surface_distances(one, other, VOXELS)
        scores[organ] = {
            "dice": overlap[organ],
            "nsd_1_voxel": surface_dice(one, other),
            "hd95_voxels": float(np.percentile(np.concatenate([ahead, back]), 95)),
            "asd_voxels": float(ahead.mean()),
        }
    return scores


def _masks(
    prediction: Labels, truth: Labels, classes: Sequence[str]
) -> Iterator[tuple[str, tuple[Mask, Mask]]]:
    """(organ, (predicted, true)), both masks cut to the box around them, for every organ."""
    count = len(classes) - 1
    boxes = [ndimage.find_objects(labels, count) for labels in (prediction, truth)]
    for index, (organ, *bounding) in enumerate(zip(classes[1:], *boxes, strict=True), start=1):
        there = [box for box in bounding if box is not None] or [(slice(1),) * 3]
        box = tuple(
            slice(min(side.start or 0 for side in sides), max(side.stop for side in sides))
            for sides in zip(*there, strict=True)
        )
        yield organ, (prediction[box] == index, truth[box] == index)


_DICE = Metric("dice", "Dice %", True)
_ASD = Metric("asd_voxels", "ASD\nvoxels", False)
_ONE_WAY = "ASD is the mean distance from the predicted to the true surface, not back, in voxels"
_EMPTY_128 = (
    "absent in truth and prediction: Dice 1, ASD 0; present in one of them: Dice 0, ASD 128"
)

RULES = (
    Rules(
        name="scan",
        grid="scan",
        metrics=(
            _DICE,
            Metric("nsd", "NSD %", True),
            Metric("hd95_mm", "HD95\nmm", False),
            Metric("assd_mm", "ASSD\nmm", False),
        ),
        facts={
            "grid": "the scan's own, with its spacing",
            "empty_masks": EMPTY_RULE,
            "distances": "symmetric, in mm, between centers of surface voxels",
        },
        score=_scan,
    ),
    Rules(
        name="ga",
        grid="stored",
        metrics=(_DICE, _ASD),
        facts={
            "grid": "prediction and truth on the prepared grid, then 160 x 160 x 80 by nearest",
            "empty_masks": f"{_EMPTY_128}; a prediction without any organ: 0 for all organs",
            "distances": _ONE_WAY,
            "not_computed": "HD95 and NSD: not computed by the published code, which reports 0 and "
            "0 where truth and prediction have voxels, 128 and 0 where one has, 0 and 1 where none",
            "source": "GALoss and TAK, utils/test_amos.py",
        },
        score=_ga,
    ),
    Rules(
        name="magicnet",
        grid="stored",
        metrics=(
            _DICE,
            Metric("nsd_1_voxel", "NSD %\n1 voxel", True),
            Metric("hd95_voxels", "HD95\nvoxels", False),
            _ASD,
        ),
        facts={
            "grid": "prediction and truth on the prepared grid",
            "empty_masks": "absent in truth, prediction or both: 0 for all metrics, so that HD95 "
            "and ASD of a missed organ are perfect",
            "distances": f"{_ONE_WAY}; NSD weighs surfaces by area, voxels taken as cubes of 1 mm",
            "source": "MagicNet, code/utils/test_util.py",
        },
        score=_magicnet,
    ),
    Rules(
        name="dhc",
        grid="stored",
        metrics=(_DICE, _ASD),
        facts={
            "grid": "prediction and truth on the prepared grid",
            "empty_masks": f"{_EMPTY_128}. The published code writes that Dice of 1 on a scale of "
            "0 to 100, where it is 0.01; 1 of 1 here",
            "distances": f"{_ONE_WAY}; the published code keeps it under the name HD95",
            "not_computed": "HD95 and NSD: not computed by the published code",
            "source": "DHC, code/evaluate_Ntimes.py",
        },
        score=_dhc,
    ),
)
