"""Issues of image headers (geometry that is missing, absurd or contradictory), and size limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Literal

PLAUSIBLE_MM = (0.05, 50.0)  # voxel sides of scans of patients
_MOST_BYTES = 7 * 2**29  # 3.5 GiB: stored voxels and their float32 copy
_MOST_RATIO = 40  # more than CT compresses; far below the 1000 of a decompression bomb

Kind = Literal["orientation", "spacing", "contradiction", "note"]


@dataclass(frozen=True)
class HeaderIssue:
    """An issue of an image header.

    Attributes:
        kind: `note` is for information; every other kind makes the geometry doubtful.
        text: the issue and what was assumed, without the file's name.
    """

    kind: Kind
    text: str

    @property
    def doubtful(self) -> bool:
        """Whether the geometry may be wrong."""
        return self.kind != "note"


def spacing_issue(spacing_mm: Sequence[float]) -> HeaderIssue | None:
    """An issue if a voxel side is implausible for a scan of a patient."""
    low, high = PLAUSIBLE_MM
    if all(isfinite(side) and low <= side <= high for side in spacing_mm):
        return None
    sides = " x ".join(f"{side:.3g}" for side in spacing_mm)
    return HeaderIssue(
        "spacing",
        f"voxels of {sides} mm; expected sides of {low:g} to {high:g} mm (micrometers or meters "
        "in place of millimeters?)",
    )


def check_size(path: Path, shape: Sequence[int], item_bytes: int, stored_bytes: int) -> None:
    """Refuse an image before its memory is allocated, if its file cannot or should not hold it.

    Args:
        item_bytes: of a stored voxel.
        stored_bytes: size of the file that holds the voxels, perhaps compressed.

    Raises:
        ValueError: names the declared shape and the memory needed.
    """
    needed = prod(int(side) for side in shape) * (item_bytes + 4)
    if needed > max(_MOST_BYTES, _MOST_RATIO * stored_bytes):
        raise ValueError(
            f"{path}: damaged or too large: the header declares {_sides(shape)} voxels, "
            f"{needed / 2**30:.3g} GiB in memory, in a file of {stored_bytes / 2**20:.3g} MiB"
        )


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(f"{side:.4g}" if side > 10**9 else str(side) for side in shape[:4])


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM by its magic word or its suffix; no hidden file, no DICOMDIR."""
    if path.name.startswith(".") or path.name == "DICOMDIR" or not path.is_file():
        return False
    if path.suffix.lower() == ".dcm":
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
