"""Checks of the data: empty masks, images shared between parts, implausible organ sizes."""

import hashlib
import tomllib
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np

from segmentation.data.case_files import Prepared, opened, read_case
from segmentation.data.descriptor import Split
from segmentation.imaging.volume import Array

EMPTY = "its mask is empty: no organ is labeled in it"
_LOST = "no organ of its mask is left on the grid, whose voxels are too large for them"


def is_empty(labels: Array) -> bool:
    """Whether no voxel is of a class other than background."""
    return not np.any(labels)


def empty_masks(prepared: Prepared) -> dict[str, str]:
    """Cases whose prepared mask has no organ, and what is wrong with each, in words."""
    known = {case: prepared.cases[case] for case in prepared.split.with_labels}
    return _faults(known, prepared.root)


def check_labeled(records: Mapping[str, Mapping[str, Any]], split: Split, out: Path) -> None:
    """Refuse a split once the masks of all its labeled cases are known to be empty.

    Args:
        records: what `dataset.json` will tell of the cases that are prepared so far.
        out: the folder where these lie.

    Raises:
        ValueError: there is nothing to learn an organ from.
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
    """What is wrong with labeled cases that have background alone, on the grid or at all."""
    found = {}
    for case, record in records.items():
        if not any(record["voxels_per_class"][1:]):
            with opened(folder / f"{case}.h5") as file:
                found[case] = EMPTY if is_empty(file["source_label"][:]) else _LOST
    return found


def image_digest(image: Array) -> str:
    """SHA-256 of the voxels of an image, shape and type included."""
    kind = f"{image.dtype.str} {image.shape}"
    return hashlib.sha256(kind.encode() + image.tobytes()).hexdigest()


def check_images(prepared: Prepared) -> None:
    """Refuse a split in which two parts hold the same prepared image.

    The digests are those that `prepare` noted; an image of an older preparation is read.

    Raises:
        ValueError: names the cases and their parts.
    """
    parts: dict[str, list[tuple[str, str]]] = {}
    for part, cases in prepared.split.parts().items():
        for case in cases:
            noted = prepared.cases[case].get("image_sha256")
            digest = noted or _digest_of(prepared.file(case))
            parts.setdefault(digest, []).append((part, case))
    found = [
        f"{case} ({part}) and {other} ({second})"
        for alike in parts.values()
        for (part, case), (second, other) in combinations(alike, 2)
        if part != second
    ]
    if found:
        raise ValueError(
            f"{prepared.root}: the same image in two parts of the split: {'; '.join(found)}; "
            "leave one of each out of the lists and prepare again"
        )


def _digest_of(path: Path) -> str:
    return image_digest(read_case(path).image)


Bounds = tuple[float, float, float]


_FEWEST = 3  # organs that must be judged


def read_bounds(path: Path) -> dict[str, Bounds]:
    """Least, usual and most volume in ml by organ name, from a TOML file."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        name: (float(low), float(usual), float(most)) for name, (low, usual, most) in table.items()
    }


def doubt_of_spacing(
    volumes_ml: Mapping[str, float],
    spacing_mm: tuple[float, float, float],
    bounds: Mapping[str, Bounds],
) -> str | None:
    """Why a voxel size can hardly be right: most organs are too large by it, or most too small.

    Args:
        volumes_ml: of each organ, typical of the cases.
        spacing_mm: that the volumes were measured with.
        bounds: by organ name; others are passed over.

    Returns:
        The factor and the voxel size that would explain it; None where nothing is amiss, or too
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
    told = ", ".join(
        f"{name} {known[name]:.3g} ml ({bounds[name][0]:g} to {bounds[name][2]:g})"
        for name in wrong[:3]
    )
    return (
        f"with voxels of {' x '.join(f'{side:g}' for side in spacing_mm)} mm the organs have "
        f"{factor:.2g} times the volume of an adult's: {told}; a spacing of about {likely} mm "
        "would explain it, and --spacing X Y Z says it"
    )
