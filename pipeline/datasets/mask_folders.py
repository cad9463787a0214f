"""Folders of masks of other programs: a label map per case, or a mask per organ and case.

Label maps are `CASE.nii.gz` (nnU-Net, TotalSegmentator `--ml`). One mask per organ is
`CASE/ORGAN.nii.gz` or `CASE/segmentations/ORGAN.nii.gz` (TotalSegmentator), or
`CASE_ORGAN.nii.gz` (VoxTell). NRRD and MetaImage files count as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.organ_names import match_organs, names_of_masks
from segmentation.data.checks import on_grid_of
from segmentation.data.label_values import organ_files
from segmentation.data.layouts import files_in
from segmentation.imaging.io import READERS
from segmentation.imaging.volume import Volume, read_labels


@dataclass(frozen=True, eq=False)
class OrganMasks:
    """Predicted organs of one case on a scan's grid.

    Attributes:
        labels: class indices; of overlapping organs the later one.
        layers: the mask of every organ by class index, if organs overlap; else empty.
        overlap: number of voxels with several organs.
    """

    labels: NDArray[np.integer]
    layers: dict[int, NDArray[np.bool_]]
    overlap: int = 0


@dataclass(frozen=True)
class MaskFolder:
    """The masks of a folder, by case.

    Attributes:
        files: of each case a label map, or a file per organ name.
        values: label values by name of label maps; empty for one mask per organ.
        organs: name in the masks by organ, in the order of the class indices.
        unused: names in the masks that belong to no organ.
    """

    root: Path
    files: dict[str, Path | dict[str, Path]]
    values: dict[str, tuple[int, ...]]
    organs: dict[str, str]
    unused: tuple[str, ...] = ()

    def grid(self, case: str) -> Volume:
        """The first mask of a case, for its grid.

        Raises:
            ValueError: the file cannot be read.
        """
        files = self.files[case]
        return _read(files if isinstance(files, Path) else next(iter(files.values())))

    def read(self, case: str, scan: Volume, truth: str) -> OrganMasks:
        """The organs of a case on the grid of a scan or its true mask.

        Args:
            truth: what the scan is called in messages.

        Raises:
            ValueError: a file that cannot be read, on another grid, or with several values where
                it should hold one organ.
        """
        files = self.files[case]
        if isinstance(files, Path):
            mask = on_grid_of(_read(files), scan, f"case {case}", (truth, f"the mask {files}"))
            table = np.zeros(int(mask.voxels.max()) + 1, np.int32)
            for index, name in enumerate(self.organs.values(), start=1):
                for value in self.values[name]:
                    table[value : value + 1] = index  # empty where the mask has no such label
            return OrganMasks(table[mask.voxels], {})
        layers: dict[int, NDArray[np.bool_]] = {}
        for index, name in enumerate(self.organs.values(), start=1):
            where = (truth, f"the mask {files[name]}")
            mask = on_grid_of(_read_organ(files[name]), scan, f"case {case}", where)
            layers[index] = mask.voxels > 0
        return _joined(layers, scan.voxels.shape)


def open_masks(
    root: Path,
    cases: Sequence[str],
    organs: Mapping[str, Sequence[str]],
    *,
    labels: str | None = None,
    match: Sequence[str] = (),
) -> MaskFolder:
    """The masks of the given cases, their labels matched with organs by name.

    Args:
        organs: aliases of each organ, by its name.
        labels: what names the labels of label maps; None to find it, see `names_of_masks`.
        match: pairs `ORGAN=NAME`; see `match_organs`.

    Raises:
        NotADirectoryError, FileNotFoundError: no such folder, or a case without a mask.
        LookupError, ValueError: labels without a name, or organs without a label.
    """
    if not root.is_dir():
        reason = "is a file" if root.exists() else "there is no such folder"
        raise NotADirectoryError(f"{root}: {reason}; expected a folder of masks")
    files = _files_of(root, cases)
    first = next(iter(files.values()))
    values: dict[str, tuple[int, ...]] = {}
    if isinstance(first, Path):
        values = names_of_masks(root, labels, first)[0].mask_values
        names = list(values)
    elif labels is not None:
        raise ValueError(f"--labels {labels}: {root} holds one mask per organ, named by its file")
    else:
        per_organ = [each for each in files.values() if isinstance(each, dict)]
        names = sorted({name for each in per_organ for name in each})
    matched = match_organs(organs, names, match, str(root))
    used = set(matched.values())
    _check_complete(root, files, used)
    return MaskFolder(root, files, values, matched, tuple(n for n in names if n not in used))


def _files_of(root: Path, cases: Sequence[str]) -> dict[str, Path | dict[str, Path]]:
    """Label map or masks per organ of every case; all cases are stored in one of the forms.

    Raises:
        FileNotFoundError: a case without a mask.
        ValueError: cases stored in two forms.
    """
    flat = dict(files_in(root, tuple(READERS)))
    forms: tuple[dict[str, Path | dict[str, Path]], ...] = (
        {case: path for case in cases if (path := _label_map(flat, case))},
        {case: files for case in cases if (files := organ_files(root / case))},
        dict(_by_prefix(flat, cases)),
    )
    best = max(forms, key=len)
    missing = [case for case in cases if case not in best]
    if missing and best:
        raise FileNotFoundError(
            f"{root}: no mask of {_few(missing)}; {len(best)} of {len(cases)} cases have one. "
            "Every case of the truth is scored: predict the others, too, or give a split"
        )
    if missing:
        raise FileNotFoundError(
            f"{root}: no mask of {_few(missing)}; expected {missing[0]}.nii.gz, "
            f"{missing[0]}/ORGAN.nii.gz or {missing[0]}_ORGAN.nii.gz, found "
            f"{_few(sorted(path.name for path in root.iterdir())) or 'nothing'}"
        )
    return best


def _check_complete(
    root: Path, files: Mapping[str, Path | dict[str, Path]], used: set[str]
) -> None:
    """Refuse cases without the file of an organ that other cases have: empty, or forgotten?

    Raises:
        FileNotFoundError: names case and organs.
    """
    for case, organs in files.items():
        missing = sorted(used - organs.keys()) if isinstance(organs, dict) else []
        if missing:
            raise FileNotFoundError(
                f"{root}: case {case} has no mask of {_few(missing)}, which other cases have; "
                "an organ without a voxel needs an empty mask"
            )


def _label_map(flat: Mapping[str, Path], case: str) -> Path | None:
    """The label map of a case: under its name, or as nnU-Net and BTCV name files."""
    for stem in (case, f"{case}_0000", f"label{case}", f"img{case}"):
        if stem in flat:
            return flat[stem]
    return None


def _by_prefix(flat: Mapping[str, Path], cases: Sequence[str]) -> dict[str, dict[str, Path]]:
    """Masks by case and organ of files `CASE_ORGAN`; the longest name of a case wins."""
    files: dict[str, dict[str, Path]] = {}
    for stem, path in flat.items():
        owners = [case for case in cases if stem.startswith(f"{case}_")]
        if owners:
            case = max(owners, key=len)
            organ = stem.removeprefix(f"{case}_").removeprefix("0000_")
            files.setdefault(case, {})[organ] = path
    return files


def _read(path: Path) -> Volume:
    """A mask, unless its header leaves open where it is.

    Raises:
        ValueError: damaged, no label values, or a doubtful header.
    """
    mask = read_labels(path)
    doubt = next((issue.text for issue in mask.issues if issue.doubtful), None)
    if doubt is not None:
        raise ValueError(f"{path}: {doubt}; correct the header of the mask")
    return mask


def _read_organ(path: Path) -> Volume:
    """The mask of one organ: 0 and one other value.

    Raises:
        ValueError: several values.
    """
    mask = _read(path)
    values = np.setdiff1d(np.unique(mask.voxels), [0])
    if len(values) > 1:
        raise ValueError(
            f"{path}: expected the mask of one organ, 0 and one other value, got "
            f"{_few([str(value) for value in values])}"
        )
    return mask


def _joined(layers: dict[int, NDArray[np.bool_]], shape: tuple[int, ...]) -> OrganMasks:
    """One label map of masks of organs, with the layers if organs overlap."""
    labels: NDArray[Any] = np.zeros(shape, np.int32)
    several = np.zeros(shape, bool)
    for index, layer in layers.items():
        several |= layer & (labels > 0)
        labels[layer] = index
    overlap = int(several.sum())
    return OrganMasks(labels, layers if overlap else {}, overlap)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
