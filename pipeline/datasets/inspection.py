"""Inspection of a data set before training: reads every scan and mask, lists faults and doubts."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nibabel import aff2axcodes
from numpy.typing import NDArray

from pipeline.datasets.protocols import organ_bounds
from pipeline.pictures.contact_sheet import Tile, tile_of
from segmentation.common.processes import map_processes
from segmentation.data.checks import FAULT, Issue, check_case, check_volumes, checked_mask
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.raw_cases import RawCase, find_cases
from segmentation.data.readers import Files, Reader
from segmentation.data.shared_arrays import SharedArrays
from segmentation.imaging.volume import Volume, canonical


@dataclass(frozen=True, eq=False)
class CaseInspection:
    """The inspection of one case; `facts` is empty if the scan could not be read.

    Attributes:
        facts: shape, spacing, orientation, intensities and organs, as JSON-able values.
        pixels: SHA-256 of the voxels in RAS+, whatever their orientation on disk.
        sides: (right, left) label values of paired organs whose right one lies further left.
        places: mean x, in mm to the patient's right, by organ name.
        tile: its picture on the contact sheet.
    """

    case: str
    facts: dict[str, Any] = field(default_factory=dict)
    pixels: str = ""
    sides: tuple[tuple[int, int], ...] = ()
    places: dict[str, float] = field(default_factory=dict)
    findings: tuple[Issue, ...] = ()
    tile: Tile | None = None


@dataclass(frozen=True)
class Inspection:
    """The inspection of a data set."""

    root: Path
    spec: DatasetSpec
    looks: tuple[CaseInspection, ...]
    findings: tuple[Issue, ...]

    @property
    def faults(self) -> tuple[Issue, ...]:
        """The issues to be fixed before training."""
        return tuple(finding for finding in self.findings if finding.severity == FAULT)

    def as_json(self) -> dict[str, Any]:
        """All results but the pictures, as JSON-able values."""
        return {
            "root": str(self.root),
            "data_set": self.spec.name,
            "cases": {look.case: look.facts for look in self.looks},
            "findings": [asdict(finding) for finding in self.findings],
        }


def inspect(
    spec: DatasetSpec,
    root: Path,
    *,
    reader: Reader | None = None,
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Inspection:
    """Read every scan and every mask below `root` and list faults and doubts.

    Faults: a file that cannot be read, a mask that does not fit its scan, an unknown label, the
    same image twice, left and right exchanged. Doubts: see `segmentation.data.checks`.

    Args:
        reader: of the folder; the default reads files, with doubtful headers unchanged.

    Raises:
        FileNotFoundError: no such folder, or no scan in it.
        ValueError: two files for one case, or a `dataset.json` with other label values.
    """
    reader = reader or Files(trust_headers=True, values=spec.label_values)
    cases = list(find_cases(spec, root, reader.layout).values())
    looks = []
    for look in map_processes(partial(_look, spec=spec, reader=reader), cases, jobs):
        looks.append(look)
        if progress:
            progress(look.case)
    looks.sort(key=lambda look: look.case)
    issues = [issue for look in looks for issue in look.findings]
    issues += [*_duplicates(looks), *_exchanged(looks, spec), *_volumes(looks, reader)]
    issues.sort(key=lambda issue: (issue.severity != FAULT, issue.kind, issue.cases))
    return Inspection(root, spec, tuple(looks), tuple(issues))


def _look(case: RawCase, spec: DatasetSpec, reader: Reader) -> CaseInspection:
    try:
        scan = reader.scan(case)
    except (ValueError, OSError) as fault:
        return CaseInspection(
            case.name, findings=(Issue("unreadable", FAULT, (case.name,), str(fault)),)
        )
    upright = canonical(scan)
    mask, misfit = _mask(case, scan, spec, reader)
    issues, organs = check_case(scan, mask, case, spec)
    facts = _facts(case, scan, upright)
    places: dict[str, float] = {}
    if mask is not None:
        facts["organs"] = organs
        mask = canonical(mask)
        places = _places(mask, spec)
    digest = hashlib.sha256(str(upright.voxels.shape).encode() + upright.voxels.tobytes())
    return CaseInspection(
        case.name,
        facts,
        digest.hexdigest(),
        _crossed(places, spec),
        places,
        (*issues, *([misfit] if misfit else [])),
        tile_of(upright, None if mask is None else mask.voxels, spec),
    )


def _facts(case: RawCase, scan: Volume, upright: Volume) -> dict[str, Any]:
    """Files, shape, spacing, orientation and intensities, as JSON-able values."""
    low, middle, high = np.percentile(upright.voxels[::2, ::2, ::2], (1, 50, 99))
    return {
        "image": str(case.image),
        "label": str(case.label) if case.label else None,
        "shape": list(scan.voxels.shape),
        "spacing_mm": [round(side, 4) for side in scan.spacing_mm],
        "orientation": "".join(aff2axcodes(scan.affine)),
        "intensity": {
            "minimum": float(scan.voxels.min()),
            "percentile_1": round(float(low), 2),
            "median": round(float(middle), 2),
            "percentile_99": round(float(high), 2),
            "maximum": float(scan.voxels.max()),
        },
    }


def _mask(
    case: RawCase, scan: Volume, spec: DatasetSpec, reader: Reader
) -> tuple[Volume | None, Issue | None]:
    """The mask of a case, if it has one that fits its scan, else the fault."""
    if case.label is None:
        return None, None
    try:
        mask = reader.mask(case)
    except (ValueError, OSError) as fault:
        return None, Issue("unreadable", FAULT, (case.name,), str(fault))
    try:
        return checked_mask(mask, scan, case, spec), None
    except ValueError as fault:
        return None, Issue("mask", FAULT, (case.name,), str(fault))


def _volumes(looks: Sequence[CaseInspection], reader: Reader) -> list[Issue]:
    """Organ volumes unlike those of people; not for arrays of unknown voxel size."""
    if isinstance(reader, SharedArrays) and reader.spacing_mm is None:
        return []
    measured = {look.case: look.facts["organs"] for look in looks if look.facts.get("organs")}
    volumes = {
        case: {name: organ["volume_ml"] for name, organ in organs.items() if organ["voxels"]}
        for case, organs in measured.items()
    }
    spacings = {look.case: look.facts["spacing_mm"] for look in looks if look.facts}
    return check_volumes(volumes, spacings, organ_bounds())


def _places(mask: Volume, spec: DatasetSpec) -> dict[str, float]:
    """Mean position of every organ along x, in mm to the right, of a mask in RAS+."""
    along = np.arange(mask.voxels.shape[0]) * mask.affine[0, 0] + mask.affine[0, 3]
    counts: NDArray[np.int64] = np.stack(
        [np.bincount(plane.ravel(), minlength=len(spec.classes)) for plane in mask.voxels]
    )
    total = counts.sum(0)
    return {
        name: float(along @ counts[:, label] / total[label])
        for name, label in spec.labels.items()
        if total[label]
    }


def _crossed(places: Mapping[str, float], spec: DatasetSpec) -> tuple[tuple[int, int], ...]:
    """Pairs whose right organ is not to the right of the left one."""
    crossed = []
    for right, left in spec.paired:
        names = spec.classes[right], spec.classes[left]
        if all(name in places for name in names) and places[names[0]] <= places[names[1]]:
            crossed.append((right, left))
    return tuple(crossed)


def _duplicates(looks: Sequence[CaseInspection]) -> list[Issue]:
    """Cases with the same voxels, however they are stored."""
    same: dict[str, list[str]] = {}
    for look in looks:
        if look.pixels:
            same.setdefault(look.pixels, []).append(look.case)
    return [
        Issue("duplicate image", FAULT, tuple(cases), f"{', '.join(cases)}: the same voxels")
        for cases in same.values()
        if len(cases) > 1
    ]


def _exchanged(looks: Sequence[CaseInspection], spec: DatasetSpec) -> list[Issue]:
    """Paired organs on the wrong sides: their labels exchanged, or the whole patient mirrored.

    If unpaired organs, too, are in reverse order compared with the population, the affine is
    suspected, not the labels.
    """
    usual = _usual_sides(looks, spec)
    findings = []
    for look in looks:
        if not look.sides:
            continue
        pairs = ", ".join(" / ".join(spec.classes[side] for side in pair) for pair in look.sides)
        kind, reason = "left and right exchanged", "their labels seem exchanged"
        if _is_mirrored(look, usual):
            kind, reason = (
                "mirrored",
                "so are the other organs: the affine seems to mirror the patient",
            )
        text = f"case {look.case}: on each other's side: {pairs}; {reason}"
        findings.append(Issue(kind, FAULT, (look.case,), text))
    return findings


def _usual_sides(looks: Sequence[CaseInspection], spec: DatasetSpec) -> dict[str, float]:
    """Position of unpaired organs in the population, in mm right of the mean of them all."""
    paired = {spec.classes[label] for pair in spec.paired for label in pair}
    relative: dict[str, list[float]] = {}
    for look in looks:
        for name, place in _relative(look, set(spec.labels) - paired).items():
            relative.setdefault(name, []).append(place)
    return {name: float(np.median(places)) for name, places in relative.items()}


def _relative(look: CaseInspection, names: set[str]) -> dict[str, float]:
    known = {name: place for name, place in look.places.items() if name in names}
    middle = float(np.mean(list(known.values()))) if known else 0.0
    return {name: place - middle for name, place in known.items()}


def _is_mirrored(look: CaseInspection, usual: Mapping[str, float]) -> bool:
    here = _relative(look, set(usual))
    return sum(place * usual[name] for name, place in here.items()) < 0
