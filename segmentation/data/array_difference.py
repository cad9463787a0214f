"""The differences between a prepared case and the shared array of the same case.

Legend: `ours` is the prepared case, [x, y, z] in RAS+; `theirs` the stored array, axes unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from nibabel import orientations
from scipy import ndimage, stats

from segmentation.data.case_files import Case
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.orientation import centers
from segmentation.data.preparation import scaled
from segmentation.imaging.affines import EVERY
from segmentation.imaging.volume import Array, Sizes, Volume, resample

_CUBE = (32, 32, 32)  # grid on which all 48 orientations are compared
_QUANTILES = np.linspace(0.002, 0.998, 499)
_FEWEST_ORGANS = 4  # needed to estimate a grid from organ centers
_BETTER = 0.02  # gain in rank correlation needed to accept another field of view
_SAME_EDGE_MM = 1.5  # edges of two fields of view closer than this, or ...
_SAME_EDGE_VOXELS = 0.75  # ... closer than this count as the same edge
_FEWEST_VOXELS = 50  # needed to fit a line between intensities
_CLIPPED = 0.001  # share of voxels at an extreme above which it counts as clipped


class OrganDifference(NamedTuple):
    """One organ on both grids: voxels, volume of theirs over volume of ours, and Dice on theirs."""

    our_voxels: int
    their_voxels: int
    volume_ratio: float | None
    dice: float | None


class Line(NamedTuple):
    """their intensity = slope x ours + offset, ours in HU (or in [0, 1] if `in_hu` is false).

    Attributes:
        window: our values at their extremes, where they are clipped; else None.
        residual: mean distance of the two histograms after inverting the line, in our unit.
    """

    slope: float
    offset: float
    in_hu: bool
    window: tuple[float | None, float | None]
    residual: float


@dataclass(frozen=True)
class CaseDifference:
    """The differences between one prepared case and its shared array.

    Attributes:
        orientation: axis codes of the stored array, the best of 48 by image correlation.
        likeness: rank correlation of the two images in that orientation, and in the next best.
        spacing_mm: of their grid along x, y and z; estimated from organs where both have a mask,
            else from equal fields of view.
        edges_mm: by how much their field of view exceeds ours, low and high, along x, y and z;
            None where it is the same.
        line: None where intensities are too few, or do not fit.
        histogram: mean distance of the network's inputs, in units of our [0, 1]; None where the
            fields of view do not overlap.
    """

    case: str
    our_shape: Sizes
    their_shape: Sizes
    orientation: str
    likeness: tuple[float, float]
    spacing_mm: tuple[float, float, float]
    edges_mm: tuple[tuple[float, float], ...] | None
    line: Line | None
    histogram: float | None
    organs: dict[str, OrganDifference] = field(default_factory=dict)

    @property
    def dice(self) -> float | None:
        """Mean over the organs that either mask has."""
        known = [organ.dice for organ in self.organs.values() if organ.dice is not None]
        return float(np.mean(known)) if known else None


def difference(
    name: str,
    ours: Case,
    theirs: Array,
    their_labels: Array | None,
    spec: DatasetSpec,
    *,
    in_hu: bool,
) -> CaseDifference:
    """Compare one case; masks only where both have one.

    Args:
        theirs: stored intensities, axes in any order and direction.
        their_labels: stored labels in the same order.
        in_hu: whether stored intensities are HU, to be scaled as `prepare` does.
    """
    try:
        orientation, likeness = best_orientation(ours.image, theirs)
    except ValueError as fault:
        raise ValueError(f"case {name}: {fault}") from None
    turn = _turn(orientation)
    image = orientations.apply_orientation(theirs, turn)
    labels = None if their_labels is None else orientations.apply_orientation(their_labels, turn)
    spacing = np.linalg.norm(ours.affine[:3, :3], axis=0)
    step, start, edges = _align(ours, image, labels, spec, spacing)
    sampled, inside = _sampled(ours.image, step, start, image.shape)
    scaled_image = scaled(image, spec) if in_hu else image
    organs = {}
    if labels is not None and ours.label is not None:
        organs = _organs(ours.label, labels, step, start, spec.labels)
    x, y, z = (float(side) for side in step * spacing)
    return CaseDifference(
        case=name,
        our_shape=ours.image.shape,
        their_shape=theirs.shape,
        orientation=orientation,
        likeness=likeness,
        spacing_mm=(x, y, z),
        edges_mm=edges,
        line=line_between(sampled, image, inside & _untouched(sampled), spec),
        histogram=_distance(sampled[inside], scaled_image[inside]) if inside.any() else None,
        organs=organs,
    )


def best_orientation(ours: Array, theirs: Array) -> tuple[str, tuple[float, float]]:
    """The axis codes, of all 48, under which an array correlates best with an image in RAS+.

    Rank correlation of both on a coarse grid, invariant to monotonic changes of intensity, over
    voxels where ours is inside its window (the surrounding air is alike in every orientation).
    Returns the codes, and the correlation of the best and of the second best.

    Raises:
        ValueError: our image has no two values within its window.
    """
    one, other = (resample(Volume(image, np.eye(4)), _CUBE).voxels for image in (ours, theirs))
    body = (one > one.min()) & (one < one.max())
    if np.unique(one[body]).size < 2:
        raise ValueError(
            "the orientation cannot be determined: the prepared image has no two values within "
            "its window; was it prepared with another window, or from an empty scan?"
        )
    mine, ranks = _standard(stats.rankdata(one[body])), stats.rankdata(other).reshape(_CUBE)
    correlations = {
        codes: float(
            (mine * _standard(orientations.apply_orientation(ranks, _turn(codes))[body])).mean()
        )
        for codes in EVERY
    }
    best, second = sorted(correlations, key=lambda codes: -correlations[codes])[:2]
    return best, (correlations[best], correlations[second])


def line_between(ours: Array, theirs: Array, free: Array, spec: DatasetSpec) -> Line | None:
    """The line from our intensities to theirs, fitted to quantiles over the voxels in `free`.

    `free` excludes voxels near clipped ones: clipping before or after resampling changes a voxel
    at the border of air. Quantiles instead of voxel pairs, because the noise of two resampling
    methods would flatten a regression line (attenuation).
    """
    in_hu = spec.scaling == "window"
    low, high = spec.window_hu if in_hu else (0.0, 1.0)
    least, most = float(theirs.min()), float(theirs.max())
    chosen = free & (theirs > least) & (theirs < most)
    if chosen.sum() < _FEWEST_VOXELS:
        return None
    mine, other = _thinned(low + ours[chosen] * (high - low)), _thinned(theirs[chosen])
    x, y = np.quantile(mine, _QUANTILES), np.quantile(other, _QUANTILES)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    slope, offset = (float(number) for number in np.polyfit(x, y, 1))
    if slope <= 0:
        return None
    low_end, high_end = (
        (end - offset) / slope if (theirs == end).mean() > _CLIPPED else None
        for end in (least, most)
    )
    residual = _distance(mine, (other - offset) / slope)
    return Line(slope, offset, in_hu, (low_end, high_end), residual)


def _untouched(image: Array) -> Array:
    """Mask of the voxels of a prepared image whose neighbors are all inside the window."""
    least, most = (find(image, 3) for find in (ndimage.minimum_filter, ndimage.maximum_filter))
    return (least > 0) & (most < 1)


def _align(
    ours: Case, image: Array, labels: Array | None, spec: DatasetSpec, spacing: Array
) -> tuple[Array, Array, tuple[tuple[float, float], ...] | None]:
    """Our index per step of theirs, our index at their index 0, and the extra field of view.

    Both grids are assumed to cover the same field of view, unless the centers of shared organs
    disagree and the images, aligned by these organs, correlate better.
    """
    sides, shape = np.array(ours.image.shape), image.shape
    step = sides / shape
    start = step / 2 - 0.5
    if labels is None or ours.label is None:
        return step, start, None
    mine, other = (centers(mask, spec.labels.items()) for mask in (ours.label, labels))
    shared = [name for name in mine if name in other]
    # An organ cut off by the border has the center of a part: it would bias the fit.
    cut = {label for mask in (ours.label, labels) for label in _at_border(mask)}
    shared = [name for name in shared if spec.labels[name] not in cut]
    if len(shared) < _FEWEST_ORGANS:
        return step, start, None
    fits = [
        stats.theilslopes(
            [mine[name][axis] for name in shared], [other[name][axis] for name in shared]
        )
        for axis in range(3)
    ]
    # Theil-Sen slopes per axis: robust to organs that one of the masks delineates otherwise.
    by_organs = np.array([fit.slope for fit in fits])
    first = np.array([fit.intercept for fit in fits])
    lows = (-0.5 * by_organs + first + 0.5) * spacing
    highs = ((np.array(shape) - 0.5) * by_organs + first - sides + 0.5) * spacing
    limit = np.maximum(_SAME_EDGE_MM, _SAME_EDGE_VOXELS * np.maximum(spacing, spacing * step))
    same = (np.abs(lows) < limit) & (np.abs(highs) < limit)
    if same.all() or (by_organs <= 0).any():
        return step, start, None
    fitted = np.where(same, step, by_organs), np.where(same, start, first)
    if _correlation(ours.image, image, *fitted) < (
        _correlation(ours.image, image, step, start) + _BETTER
    ):
        return step, start, None
    step, start = fitted
    edges = [
        (0.0, 0.0) if fits_ else (-float(low), float(high))
        for fits_, low, high in zip(same, lows, highs, strict=True)
    ]
    return step, start, tuple(edges)


def _correlation(ours: Array, theirs: Array, step: Array, start: Array) -> float:
    """Rank correlation of the two images under that alignment, within our window."""
    sampled, inside = _sampled(ours, step, start, theirs.shape)
    body = inside & (sampled > ours.min()) & (sampled < ours.max())
    if body.sum() < _FEWEST_VOXELS:
        return -1.0
    one, other = (_standard(stats.rankdata(_thinned(each[body]))) for each in (sampled, theirs))
    return float((one * other).mean())


def _at_border(labels: Array) -> set[int]:
    """Labels that touch the border of their array: their centers may be those of a part."""
    faces = [np.take(labels, end, axis) for axis in range(3) for end in (0, -1)]
    return {int(label) for face in faces for label in np.unique(face)}


def _organs(
    ours: Array, theirs: Array, step: Array, start: Array, labels: Mapping[str, int]
) -> dict[str, OrganDifference]:
    placed = ndimage.affine_transform(
        ours, step, start, output_shape=theirs.shape, order=0, mode="constant"
    )
    size = max(labels.values()) + 1
    mine, other, moved, both = (
        np.bincount(array.ravel(), minlength=size)
        for array in (ours, theirs, placed, placed[placed == theirs])
    )
    correlations = {}
    for name, label in labels.items():
        total = moved[label] + other[label]
        ratio = float(other[label] * step.prod() / mine[label]) if mine[label] else None
        dice = float(2 * both[label] / total) if total else None
        correlations[name] = OrganDifference(int(mine[label]), int(other[label]), ratio, dice)
    return correlations


def _sampled(image: Array, step: Array, start: Array, shape: Sizes) -> tuple[Array, Array]:
    """Our image resampled at their voxels, and a mask of those inside our field of view."""
    sampled = ndimage.affine_transform(
        image, step, start, output_shape=shape, order=1, mode="nearest"
    )
    inside = np.ones(shape, bool)
    for axis, side in enumerate(image.shape):
        place = step[axis] * np.arange(shape[axis]) + start[axis]
        along = (place > -0.5 - 1e-6) & (place < side - 0.5 + 1e-6)
        inside &= along.reshape([-1 if axis == other else 1 for other in range(3)])
    return sampled, inside


def _thinned(values: Array) -> Array:
    """At most about 300,000 of the values, evenly spaced: enough for quantiles."""
    return values[:: max(values.size // 300_000, 1)]


def _standard(values: Array) -> Array:
    """Values with mean 0 and standard deviation 1; zeros for constant values."""
    return (values - values.mean()) / (values.std() or 1.0)


def _distance(one: Array, other: Array) -> float:
    """Mean distance of two histograms (Wasserstein-1), by their quantiles."""
    first, second = (np.quantile(_thinned(values), _QUANTILES) for values in (one, other))
    return float(np.abs(first - second).mean())


def _turn(codes: str) -> Array:
    return orientations.axcodes2ornt(codes)
