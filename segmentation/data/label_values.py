"""Label values of mask files and the class indices they become: chosen, merged, renumbered.

A descriptor may give an organ the label 52, the labels [2, 3], or the names of mask files, as
`["kidney_left", "kidney_right"]`; its class index is then its place in the list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segmentation.common.suggest import did_you_mean
from segmentation.data.layouts import files_in
from segmentation.imaging.io import READERS
from segmentation.imaging.volume import Array, Volume, read_labels

Source = int | str
Others = Literal["refuse", "background"]
_BELOW = "segmentations"  # subfolder of a case in TotalSegmentator's data set


def renumbered(organs: list[Any]) -> list[Any]:
    """Organs of a descriptor with class indices as labels, and `values` where those differ.

    Labels 1..N are class indices already. Others become the `values` of the organ: integers in
    the order of the smallest, names in the order of the list. Anything unclear is left as it is,
    for the checks of the descriptor.
    """
    if not all(isinstance(organ, Mapping) for organ in organs):
        return organs
    labels = [organ.get("label") for organ in organs]
    plain = all(type(label) is int for label in labels)
    if plain and sorted(labels) == list(range(1, len(labels) + 1)):
        return organs
    sources = [_sources(label) for label in labels]
    if any(not one or "values" in organ for one, organ in zip(sources, organs, strict=True)):
        return organs
    numbers = all(type(value) is int for values in sources for value in values)
    order = list(range(len(organs)))
    if numbers:
        order.sort(key=lambda place: min(sources[place]))
    return [
        {**organs[place], "label": index, "values": sources[place]}
        for index, place in enumerate(order, start=1)
    ]


def _sources(label: Any) -> list[Source]:
    """The values or names of one organ; empty if they are neither."""
    values = label if isinstance(label, list) else [label]
    return values if all(type(value) in (int, str) for value in values) else []


@dataclass(frozen=True)
class LabelValues:
    """Class index by label value, or by the name of a mask file.

    Attributes:
        others: whether label values that no organ has are refused, or become background.
    """

    classes: dict[Source, int]
    others: Others = "refuse"

    @property
    def by_file(self) -> bool:
        """Whether every organ has a separate mask file."""
        return any(isinstance(source, str) for source in self.classes)

    def read(self, path: Path) -> Volume:
        """A mask as class indices: one label map, or a folder with a file per organ.

        Raises:
            FileNotFoundError: no such file, or the folder has no file of an organ.
            ValueError: a damaged file, an unknown label value, overlapping organs.
        """
        if self.by_file:
            return self._stacked(path)
        mask = read_labels(path)
        return Volume(self.apply(mask.voxels, path), mask.affine, mask.issues)

    def apply(self, labels: Array, path: Path) -> Array:
        """Class indices, int32, of label values.

        Raises:
            ValueError: a value that no organ has, unless others are background.
        """
        known = {value: index for value, index in self.classes.items() if isinstance(value, int)}
        present = [int(value) for value in np.unique(labels) if value]
        unknown = [value for value in present if value not in known]
        if unknown and self.others == "refuse":
            more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
            raise ValueError(
                f"{path} holds label {', '.join(map(str, unknown[:8]))}{more}, which no organ of "
                'the descriptor has; add the organ, or write other_labels = "background"'
            )
        table = np.zeros(max(present, default=0) + 1, np.int32)
        for value in present:
            table[value] = known.get(value, 0)
        return table[labels]

    def _stacked(self, folder: Path) -> Volume:
        files = organ_files(folder)
        missing = [str(name) for name in self.classes if name not in files]
        if missing:
            raise FileNotFoundError(
                f"{folder}: no mask {', '.join(missing[:6])} (.nii.gz); there is "
                f"{', '.join(sorted(files)[:8]) or 'none'}{did_you_mean(missing[0], files)}; an "
                "organ that is not in the scan needs an empty mask"
            )
        first: Volume | None = None
        labels: Array = np.zeros(0, np.int32)
        for name, index in self.classes.items():
            mask = read_labels(files[str(name)])
            if first is None:
                first, labels = mask, np.zeros(mask.voxels.shape, np.int32)
            inside = _one_organ(mask, files[str(name)])
            same = mask.voxels.shape == labels.shape
            if not same or not np.allclose(mask.affine, first.affine, atol=1e-3):
                raise ValueError(
                    f"{files[str(name)]}: on another grid than the other masks of the case"
                )
            if np.any(inside & (labels > 0) & (labels != index)):
                count = int((inside & (labels > 0) & (labels != index)).sum())
                raise ValueError(
                    f"{files[str(name)]}: {count} voxels belong to another organ as well; true "
                    "masks must not overlap"
                )
            labels[inside] = index
        assert first is not None
        return Volume(labels, first.affine, first.issues)


def organ_files(folder: Path) -> dict[str, Path]:
    """Mask files of a case by organ, in its folder or in `segmentations` below."""
    inner = folder / _BELOW
    return dict(files_in(inner if inner.is_dir() else folder, tuple(READERS)))


def _one_organ(mask: Volume, path: Path) -> Array:
    values = np.setdiff1d(np.unique(mask.voxels), [0])
    if len(values) > 1:
        raise ValueError(
            f"{path}: expected the mask of one organ, 0 and one other value, got "
            f"{', '.join(map(str, values[:6]))}"
        )
    return mask.voxels > 0
