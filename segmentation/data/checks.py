"""Masks without an organ: cases that name nothing, though they count as labeled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segmentation.data.case_files import Prepared, opened
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
