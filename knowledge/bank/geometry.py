"""Control bank of measured geometry: position and size of each class on labeled scans, no model."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge.bank.bank import Bank
from knowledge.bank.controls import as_long, drawn_control, orthonormal

# Centroid x y z, extent x y z, logarithm of the volume.
FEATURES = 7
Case = tuple[NDArray[Any], NDArray[Any]]


def geometry(bank: Bank, cases: Iterable[Case], labels: Mapping[str, int], seed: int) -> Bank:
    """A bank of the mean measurements of each class, standardized and turned into the width.

    Cases are label values [x, y, z] with their affine; classes without a label value (the
    background) are measured on the voxels of value 0. Directions are those of the standardized
    features under a random rotation, which keeps their cosines; lengths are the bank's own.

    Raises:
        ValueError: no case has a class, all classes are alike, or the width is below 7.
    """
    if bank.width < FEATURES:
        raise ValueError(f"{FEATURES} measurements do not fit a width of {bank.width}")
    values = {name: labels.get(name, 0) for name in bank.classes}
    table = np.stack([measure(voxels, affine, values) for voxels, affine in cases] or [_none(bank)])
    missing = [
        name
        for name, rows in zip(bank.classes, table.swapaxes(0, 1), strict=True)
        if np.isnan(rows).all()
    ]
    if missing:
        raise ValueError(f"no labeled scan has {', '.join(missing)}: nothing to measure")
    features = np.nanmean(table, axis=0)
    spread = features.std(axis=0)
    standard = (features - features.mean(axis=0)) / np.where(spread == 0, 1.0, spread)
    if (np.linalg.norm(standard, axis=1) < 1e-9).any():
        raise ValueError("a class is exactly average in all measurements: it has no direction")
    turned = standard @ orthonormal(FEATURES, bank.width, np.random.default_rng(seed))
    vectors = np.repeat(turned[:, None], len(bank.aspects), axis=1)
    return drawn_control(bank, "geometry", as_long(bank, vectors), seed)


def measure(
    voxels: NDArray[Any], affine: NDArray[Any], values: Mapping[str, int]
) -> NDArray[np.float64]:
    """Centroid and extent in mm and log volume in mm^3 of each class [C, 7]; NaN where absent.

    Centroids are relative to the mean centroid of the organs in the scan: scans begin anywhere.
    """
    volume = abs(np.linalg.det(affine[:3, :3]))
    rows = np.full((len(values), FEATURES), np.nan)
    for row, value in enumerate(values.values()):
        places = np.argwhere(voxels == value)
        if len(places):
            points = places @ affine[:3, :3].T + affine[:3, 3]
            extent = points.max(axis=0) - points.min(axis=0)
            rows[row] = [*points.mean(axis=0), *extent, np.log(len(places) * volume)]
    organs = [row for row, value in enumerate(values.values()) if value]
    if organs and not np.isnan(rows[organs, 0]).all():
        rows[:, :3] -= np.nanmean(rows[organs, :3], axis=0)
    return rows


def _none(bank: Bank) -> NDArray[np.float64]:
    return np.full((len(bank.classes), FEATURES), np.nan)
