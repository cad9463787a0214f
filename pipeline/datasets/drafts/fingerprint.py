"""Fingerprint of a raw data set: measures of its scans and masks."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from nibabel import aff2axcodes
from scipy import ndimage

from pipeline.datasets.organ_names import names_of_masks
from segmentation.common.processes import map_processes
from segmentation.data.checks import on_grid_of
from segmentation.data.label_values import LabelValues, Source, organ_files
from segmentation.data.raw_cases import RawCase
from segmentation.data.readers import Files
from segmentation.imaging.volume import canonical

MOST_CASES = 20  # cases that are measured, evenly spread over the sorted names
_MOST_VOXELS = 20_000  # labeled voxels per case whose intensities are kept
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class OrganMeasures:
    """One organ in one case, in RAS+: volume, center and sides of its bounding box."""

    volume_ml: float
    center_mm: Triple
    extent_mm: Triple


@dataclass(frozen=True, eq=False)
class CaseMeasures:
    """One case in RAS+: grid, stored axes, labeled intensities, and organs by class index."""

    case: str
    shape: tuple[int, int, int]
    spacing_mm: Triple
    codes: str
    intensities: np.ndarray
    organs: dict[int, OrganMeasures]


@dataclass(frozen=True)
class Fingerprint:
    """Measures of a data set.

    Attributes:
        cases: of how many cases with a mask.
        of_cases: how many there are.
        orientations: number of cases by their stored axes.
        percentiles_hu: 0.5 and 99.5 percentile of the labeled intensities, as nnU-Net takes them.
        volumes_ml: median volume of each organ; 0 for one that no measured case has.
        present: in how many cases each organ is.
        thinnest_mm: smallest median side of an organ's bounding box.
    """

    cases: tuple[CaseMeasures, ...]
    of_cases: int

    @property
    def orientations(self) -> dict[str, int]:
        """Number of cases by their stored axes, the most frequent first."""
        return dict(Counter(case.codes for case in self.cases).most_common())

    @property
    def spacing_mm(self) -> Triple:
        """Median spacing in RAS+."""
        return _medians([case.spacing_mm for case in self.cases])

    @property
    def extent_mm(self) -> Triple:
        """Median field of view in RAS+."""
        sides = [np.multiply(case.shape, case.spacing_mm).tolist() for case in self.cases]
        return _medians(sides)

    @property
    def percentiles_hu(self) -> tuple[float, float]:
        """The 0.5 and 99.5 percentile of the labeled intensities, every case counted alike.

        Raises:
            ValueError: no voxel of any organ.
        """
        values = np.concatenate([case.intensities for case in self.cases])
        if not values.size:
            raise ValueError("no voxel of any organ in the measured masks; are these the masks?")
        low, high = np.percentile(values, (0.5, 99.5))
        return float(low), float(high)

    def organ(self, index: int) -> list[OrganMeasures]:
        """The measures of an organ in the cases that have it."""
        return [case.organs[index] for case in self.cases if index in case.organs]

    def volume_ml(self, index: int) -> float:
        """Median volume of an organ; 0 for one that no measured case has."""
        volumes = [organ.volume_ml for organ in self.organ(index)]
        return median(volumes) if volumes else 0.0

    def sides(self, right: int, left: int) -> list[float]:
        """Distance of the right organ to the right of the left one in mm, in cases with both."""
        return [
            case.organs[right].center_mm[0] - case.organs[left].center_mm[0]
            for case in self.cases
            if right in case.organs and left in case.organs
        ]

    @property
    def thinnest_mm(self) -> float:
        """The smallest median side of an organ's bounding box."""
        indices = {index for case in self.cases for index in case.organs}
        return min(min(_medians([o.extent_mm for o in self.organ(i)])) for i in indices)


def find_sources(
    root: Path, cases: Sequence[RawCase], labels: str | None, masked: Sequence[RawCase]
) -> tuple[dict[str, tuple[Source, ...]], str]:
    """Label values, or names of mask files, by name; and where the names are from.

    Args:
        cases: those whose voxels are read where label maps have no names.
        masked: all cases with a mask; a mask file of any of them is an organ of all.
        labels: what names the labels of label maps; None to find it.

    Raises:
        ValueError: `labels` for masks that are named by their files, or names that cannot be read.
    """
    first = cases[0].label
    assert first is not None
    if first.is_dir():
        if labels is not None:
            raise ValueError(f"--labels {labels}: {first} holds one mask per organ")
        folders = [case.label for case in masked if case.label is not None and case.label.is_dir()]
        names = sorted({name for folder in folders for name in organ_files(folder)})
        return {name: (name,) for name in names}, f"the files in {first.name}"
    try:
        named, origin = names_of_masks(root, labels, first)
    except LookupError:
        values = sorted({int(v) for case in cases for v in _values(case) if v})
        return {f"structure {v}": (v,) for v in values}, "the values in the masks, unnamed"
    return dict(named.mask_values), origin


def _values(case: RawCase) -> np.ndarray:
    return np.unique(Files(trust_headers=True).mask(case).voxels)


def chosen_cases(cases: Mapping[str, RawCase], most: int) -> list[RawCase]:
    """The cases with a mask that are measured: all, or so many evenly spread ones."""
    masked = [case for case in cases.values() if case.label is not None]
    if not most or len(masked) <= most:
        return masked
    places = np.linspace(0, len(masked) - 1, most).round().astype(int)
    return [masked[place] for place in places]


def measure(
    cases: Sequence[RawCase],
    of_cases: int,
    values: LabelValues,
    *,
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Fingerprint:
    """Measure scans and masks.

    Args:
        of_cases: how many cases with a mask the data set has.

    Raises:
        FileNotFoundError, ValueError: a file that cannot be read, or a mask on another grid.
    """
    measured = []
    reader = Files(trust_headers=True, values=values)
    for case in map_processes(partial(_measure_case, reader=reader), cases, jobs):
        measured.append(case)
        if progress:
            progress(case.case)
    return Fingerprint(tuple(sorted(measured, key=lambda one: one.case)), of_cases)


def _measure_case(case: RawCase, reader: Files) -> CaseMeasures:
    stored = reader.scan(case)
    names = (str(case.image), f"its mask {case.label}")
    mask = canonical(on_grid_of(reader.mask(case), stored, f"case {case.name}", names))
    scan = canonical(stored)
    inside = scan.voxels[mask.voxels > 0]
    step = max(len(inside) // _MOST_VOXELS, 1)
    voxel_ml = float(np.prod(scan.spacing_mm)) / 1000
    organs = {}
    for index, box in enumerate(ndimage.find_objects(mask.voxels), start=1):
        if box is None:
            continue
        own = mask.voxels[box] == index
        center = [float(c) + s.start for c, s in zip(ndimage.center_of_mass(own), box, strict=True)]
        place = mask.affine @ np.array([*center, 1.0])
        x, y, z = np.multiply([s.stop - s.start for s in box], scan.spacing_mm).tolist()
        organs[index] = OrganMeasures(int(own.sum()) * voxel_ml, _triple(place[:3]), (x, y, z))
    x, y, z = scan.voxels.shape
    codes = "".join(aff2axcodes(stored.affine))
    return CaseMeasures(
        case.name, (x, y, z), scan.spacing_mm, codes, np.sort(inside)[::step], organs
    )


def _triple(values: np.ndarray) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])


def _medians(rows: Sequence[Sequence[float]]) -> Triple:
    return _triple(np.median(np.asarray(rows, float), axis=0))
