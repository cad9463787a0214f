"""The leak that names cannot show: one image under two names in different parts of a split."""

import hashlib
from itertools import combinations
from pathlib import Path

from segmentation.data.case_files import Prepared, read_case
from segmentation.imaging.volume import Array


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
