"""All checks of the data, and when they run.

- Header without orientation, with two that contradict each other, or with an implausible voxel
  size (`HeaderIssue` of `imaging`): inspect, prepare (refuses), predict (warns).
- Intensities unlike HU (`imaging.measure.intensity_warning`): inspect, prepare, predict.
- Mask on another grid than its scan, unknown labels (`checked_mask`): inspect, prepare (refuses).
- Empty mask, missing organs (`check_case`): inspect, prepare.
- Axes of the header that contradict the positions of organs (`check_case`): inspect, prepare.
- Organ volumes unlike those of people (`check_volumes`): inspect, prepare.
- Left and right exchanged, the same image twice (`pipeline.datasets.inspection`): inspect.
- No organ in any labeled mask (`check_labeled`): prepare (refuses).
- Masks that are empty on the grid (`empty_masks`): prepare.
- The same image in two parts of the split (`check_images`): start of training (refuses).
"""

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np
from nibabel import aff2axcodes, orientations

from segmentation.data.case_files import Prepared, open_case, read_case
from segmentation.data.descriptor import DatasetSpec, Split
from segmentation.data.orientation import orientation_by_organs
from segmentation.data.raw_cases import RawCase
from segmentation.imaging.measure import intensity_warning, measure_organs
from segmentation.imaging.volume import Array, Volume, label_type

FAULT, DOUBT = "fault", "doubt"
EMPTY = "its mask is empty: no organ is labeled in it"
_LOST = "no organ of its mask is left on the grid, whose voxels are too large for them"


@dataclass(frozen=True)
class Issue:
    """A fault or a doubt about the data, and the cases that it concerns."""

    kind: str
    severity: str
    cases: tuple[str, ...]
    text: str


def check_case(
    scan: Volume, mask: Volume | None, case: RawCase, spec: DatasetSpec
) -> tuple[list[Issue], dict[str, dict[str, Any]] | None]:
    """The doubts about one case, and measures of its organs (None without a mask).

    Args:
        mask: as `checked_mask` returns it.
    """
    doubts = [(f"header: {issue.kind}", f"{case.image}: {issue.text}") for issue in scan.issues]
    if spec.scaling != "stored" and (warning := intensity_warning(scan)):
        doubts.append(("intensity", f"{case.image}: {warning}"))
    organs = None
    if mask is not None:
        organs = measure_organs(mask.voxels, scan, spec.labels)
        missing = [name for name, organ in organs.items() if not organ["voxels"]]
        if is_empty(mask.voxels):
            doubts.append(("empty mask", f"case {case.name}, {case.label}: {EMPTY}"))
        elif missing:
            doubts.append(("missing organ", f"{case.label}: no voxel of {', '.join(missing)}"))
        if warning := orientation_warning(mask, spec):
            doubts.append(("orientation", f"case {case.name}, {case.label}: {warning}"))
    return [Issue(kind, DOUBT, (case.name,), text) for kind, text in doubts], organs


def orientation_warning(mask: Volume, spec: DatasetSpec) -> str | None:
    """A warning if organs indicate other axes than the affine states; None if undecided."""
    by_organs = orientation_by_organs(mask.voxels, spec)
    by_affine = "".join(aff2axcodes(mask.affine))
    if by_organs is None or by_organs == by_affine:
        return None
    reversed_axes = [
        word
        for word, pair in _PAIRS.items()
        if any({one, other} == set(pair) for one, other in zip(by_affine, by_organs, strict=True))
    ]
    reason = "axes in another order"
    if reversed_axes:
        reason = f"{', '.join(reversed_axes)} exchanged"
    return (
        f"by its organs the array has the axes {by_organs}, by its header {by_affine} ({reason}): "
        "the header seems to be wrong"
    )


_PAIRS = {"left and right": "RL", "front and back": "AP", "head and feet": "SI"}


def checked_mask(mask: Volume, scan: Volume, task: RawCase, spec: DatasetSpec) -> Volume:
    """The mask, checked to be on the scan's grid and to hold known labels only.

    A mask that is stored in another axis order on the same grid is brought to the scan's order.

    Raises:
        ValueError: shape or affine differ from the scan's, or an unknown label.
    """
    mask = on_grid_of(mask, scan, f"case {task.name}", (str(task.image), f"its mask {task.label}"))
    unknown = np.setdiff1d(np.unique(mask.voxels), range(len(spec.classes)))
    if unknown.size:
        names = ", ".join(f"{value} {name}" for value, name in enumerate(spec.classes))
        raise ValueError(
            f"case {task.name}: {task.label} holds label {_few(list(map(str, unknown)))}, which "
            f"{spec.name} does not have; its labels are {names}"
        )
    return Volume(mask.voxels.astype(label_type(len(spec.classes))), scan.affine)


def on_grid_of(mask: Volume, scan: Volume, case: str, names: tuple[str, str]) -> Volume:
    """The mask, checked to be on the scan's grid and brought to the scan's axis order.

    Grids are compared in patient space: the corner voxels may differ by a quarter of a voxel.

    Args:
        case: the case, for messages.
        names: of the scan and the mask, for messages.

    Raises:
        ValueError: shape or affine differ.
    """
    mask = _in_order_of(mask, scan)
    if mask.voxels.shape != scan.voxels.shape:
        raise ValueError(
            f"{case}: {names[0]} has shape {scan.voxels.shape}, {names[1]} has {mask.voxels.shape}"
        )
    corners = np.array(np.meshgrid(*([0, side - 1] for side in mask.voxels.shape))).reshape(3, -1)
    gap = (mask.affine - scan.affine) @ np.vstack([corners, np.ones(8)])
    distance = float(np.linalg.norm(gap, axis=0).max())
    if distance > 0.25 * min(scan.spacing_mm):
        raise ValueError(
            f"{case}: the affines of {names[0]} and {names[1]} differ by up to {distance:.3g} mm"
        )
    return Volume(mask.voxels, scan.affine)


def _few(words: Sequence[str]) -> str:
    more = f" and {len(words) - 8} more" if len(words) > 8 else ""
    return ", ".join(words[:8]) + more


def _in_order_of(mask: Volume, scan: Volume) -> Volume:
    """The mask with its axes permuted and flipped to those of the scan; nothing is resampled."""
    here, there = (orientations.io_orientation(volume.affine) for volume in (mask, scan))
    turn = orientations.ornt_transform(here, there)
    if np.array_equal(turn, [[0, 1], [1, 1], [2, 1]]):
        return mask
    voxels = orientations.apply_orientation(mask.voxels, turn)
    back = orientations.inv_ornt_aff(turn, mask.voxels.shape)
    return Volume(voxels, mask.affine @ back)


def is_empty(labels: Array) -> bool:
    """Whether no voxel is of a class other than background."""
    return not np.any(labels)


def empty_masks(prepared: Prepared) -> dict[str, str]:
    """Cases whose prepared mask has no organ, with the reason in words."""
    known = {case: prepared.cases[case] for case in prepared.split.with_labels}
    return _faults(known, prepared.root)


def check_labeled(records: Mapping[str, Mapping[str, Any]], split: Split, out: Path) -> None:
    """Refuse a split once the masks of all its labeled cases are known to be empty.

    Args:
        records: the records in `dataset.json` of the cases that are prepared so far.
        out: the folder of these cases.

    Raises:
        ValueError: no labeled case has an organ.
    """
    known = {case: records[case] for case in split.labeled if case in records}
    if not known or len(known) < len(split.labeled):
        return
    if list(_faults(known, out).values()) == [EMPTY] * len(known):
        more = f" and {len(known) - 3} more" if len(known) > 3 else ""
        raise ValueError(
            f"the masks of all labeled cases are empty ({', '.join(list(known)[:3])}{more}): no "
            "organ is labeled in any, so there is nothing to learn from; are these the masks, and "
            "the cases to be listed as labeled?"
        )


def _faults(records: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, str]:
    """Reasons for labeled cases without an organ, on the grid or in the source mask."""
    missing = {}
    for case, record in records.items():
        if not any(record["voxels_per_class"][1:]):
            with open_case(folder / f"{case}.h5") as file:
                missing[case] = EMPTY if is_empty(file["source_label"][:]) else _LOST
    return missing


def image_digest(image: Array) -> str:
    """SHA-256 of the voxels of an image, shape and type included."""
    kind = f"{image.dtype.str} {image.shape}"
    return hashlib.sha256(kind.encode() + image.tobytes()).hexdigest()


def check_images(prepared: Prepared) -> None:
    """Refuse a split in which two parts hold the same prepared image.

    The digests are those that `prepare` recorded; an image of an older preparation is read.

    Raises:
        ValueError: names the cases and their parts.
    """
    parts: dict[str, list[tuple[str, str]]] = {}
    for part, cases in prepared.split.parts().items():
        for case in cases:
            noted = prepared.cases[case].get("image_sha256")
            digest = noted or _digest_of(prepared.file(case))
            parts.setdefault(digest, []).append((part, case))
    copies = [
        f"{case} ({part}) and {other} ({second})"
        for alike in parts.values()
        for (part, case), (second, other) in combinations(alike, 2)
        if part != second
    ]
    if copies:
        raise ValueError(
            f"{prepared.root}: the same image in two parts of the split: {'; '.join(copies)}; "
            "remove one of each from the lists and prepare again"
        )


def _digest_of(path: Path) -> str:
    return image_digest(read_case(path).image)


Bounds = tuple[float, float, float]


_FEWEST = 3  # organs with known bounds that are needed


def read_bounds(path: Path) -> dict[str, Bounds]:
    """Minimal, usual and maximal volume in ml by organ name, from a TOML file."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        name: (float(low), float(usual), float(most)) for name, (low, usual, most) in table.items()
    }


def volume_warning(
    volumes_ml: Mapping[str, float],
    spacing_mm: tuple[float, float, float],
    bounds: Mapping[str, Bounds],
    remedy: str = "--spacing X Y Z says it",
) -> str | None:
    """A warning if most organs are too large, or too small, with a voxel size; else None.

    Args:
        volumes_ml: typical volume of each organ.
        spacing_mm: voxel size that the volumes were measured with.
        bounds: by organ name; others are ignored.
        remedy: what the user can do.

    Returns:
        The factor, and the voxel size that would explain it; None if nothing is wrong, or too
        few organs are known.
    """
    known = {name: volumes_ml[name] for name in bounds if volumes_ml.get(name, 0) > 0}
    large = [name for name, volume in known.items() if volume > bounds[name][2]]
    small = [name for name, volume in known.items() if volume < bounds[name][0]]
    wrong = max(large, small, key=len)
    if len(known) < _FEWEST or 2 * len(wrong) <= len(known):
        return None
    factor = geometric_mean(volume / bounds[name][1] for name, volume in known.items())
    likely = " x ".join(f"{side / factor ** (1 / 3):.2g}" for side in spacing_mm)
    examples = ", ".join(
        f"{name} {known[name]:.3g} ml ({bounds[name][0]:g} to {bounds[name][2]:g})"
        for name in wrong[:3]
    )
    return (
        f"with voxels of {' x '.join(f'{side:g}' for side in spacing_mm)} mm the organs have "
        f"{factor:.2g} times the volume of an adult's: {examples}; a spacing of about {likely} mm "
        f"would explain it, and {remedy}"
    )


def check_volumes(
    volumes_ml: Mapping[str, Mapping[str, float]],
    spacings_mm: Mapping[str, Sequence[float]],
    bounds: Mapping[str, Bounds],
) -> list[Issue]:
    """Implausible organ volumes: of most cases together, or else of single ones.

    Args:
        volumes_ml: by case, the volume of every organ that it has.
        spacings_mm: voxel size by case.
    """
    remedy = "the voxel sizes of the headers are to be checked"
    issues = []
    for case, volumes in volumes_ml.items():
        x, y, z = spacings_mm[case]
        if warning := volume_warning(volumes, (x, y, z), bounds, remedy):
            issues.append(Issue("organ volumes", DOUBT, (case,), f"case {case}: {warning}"))
    if len(issues) <= 3:
        return issues
    cases = tuple(case for issue in issues for case in issue.cases)
    text = f"{_few(cases)}: {issues[0].text}"
    return [Issue("organ volumes", DOUBT, cases, text)]
