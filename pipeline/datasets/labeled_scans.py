"""Labeled scans of a folder for the knowledge stage, read one at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from knowledge.grounding.scene import Scene
from pipeline.datasets.organ_lists import read_organ_list
from pipeline.files import shipped
from pipeline.files.kinds import require_kind
from segmentation.data.case_files import load_prepared, read_case
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.layouts import SUFFIXES, find_cases
from segmentation.imaging.volume import read_labels


class ReadLabels(Protocol):
    """Label values [x, y, z] and affine of one case."""

    def __call__(self) -> tuple[NDArray[Any], NDArray[Any]]: ...


@dataclass(frozen=True)
class LabeledScans:
    """Labeled cases by name, read lazily, and the label value of each organ."""

    labels: dict[str, int]
    cases: dict[str, ReadLabels]

    def scenes(self) -> Iterator[tuple[str, Scene]]:
        """Iterate over cases with their organs, reading one at a time."""
        for case, read in self.cases.items():
            labels, affine = read()
            yield case, Scene(labels, affine, self.labels)


def find_labeled(
    folder: Path,
    *,
    descriptor: str | None = None,
    fallback: str | None = None,
    split: str | None = None,
    limit: int = 0,
) -> LabeledScans:
    """The labeled training cases of a folder; validation and test cases are never read.

    The folder is a prepared one, a raw data set (its own `dataset.toml`, or a descriptor and one
    of its splits), or a plain folder of masks `*.nii.gz` with a descriptor. `fallback` is the
    descriptor of a folder without one. `limit` is the maximal number of cases (0: all).

    Raises:
        FileNotFoundError: no such folder, no mask in it, or no mask for a labeled case.
        ValueError: no descriptor defines the label values.
    """
    if not require_kind(folder, "prepared", "raw").is_dir():
        raise NotADirectoryError(f"{folder} is a file; here goes a folder of labeled scans")
    is_prepared = (folder / "dataset.json").is_file() and any(folder.glob("*.h5"))
    if descriptor is None and not is_prepared and not (folder / "dataset.toml").is_file():
        descriptor = fallback
    if descriptor is None and is_prepared:
        scans = _prepared(folder)
    elif masks := _plain_masks(folder):
        scans = LabeledScans(read_organ_list(_named(folder, descriptor)).labels, _readers(masks))
    else:
        scans = _raw(folder, _named(folder, descriptor), split)
    if not scans.cases:
        raise FileNotFoundError(f"{folder} has no labeled case")
    names = sorted(scans.cases)[: limit or None]
    return LabeledScans(scans.labels, {name: scans.cases[name] for name in names})


def _prepared(folder: Path) -> LabeledScans:
    prepared = load_prepared(folder)

    def read(case: str) -> tuple[NDArray[Any], NDArray[Any]]:
        content = read_case(prepared.file(case))
        if content.label is None:
            raise ValueError(f"{prepared.file(case)} has no label")
        return content.label, content.affine

    return LabeledScans(
        prepared.spec.labels, {case: partial(read, case) for case in prepared.split.labeled}
    )


def _raw(folder: Path, descriptor: str, split: str | None) -> LabeledScans:
    spec = DatasetSpec.read(shipped.find("data", descriptor))
    scans = find_cases(spec, folder)
    masks = {}
    for case in spec.split(split, folder).labeled:
        mask = scans[case].label if case in scans else None
        if mask is None:
            raise FileNotFoundError(f"{folder} has no mask of the labeled case {case}")
        masks[case] = mask
    return LabeledScans(spec.labels, _readers(masks))


def _readers(masks: dict[str, Path]) -> dict[str, ReadLabels]:
    def read(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
        volume = read_labels(path)
        return volume.voxels, volume.affine

    return {case: partial(read, path) for case, path in masks.items()}


def _plain_masks(folder: Path) -> dict[str, Path]:
    """Masks directly in a folder, by name."""
    return {
        path.name.removesuffix(suffix): path
        for suffix in SUFFIXES
        for path in folder.glob(f"*{suffix}")
    }


def _named(folder: Path, descriptor: str | None) -> str:
    """The descriptor of the label values: the user's, or the folder's."""
    own = folder / "dataset.toml"
    if descriptor is None and not own.is_file():
        raise ValueError(
            f"{folder} has no dataset.toml: say which label is which organ by --descriptor NAME"
        )
    return descriptor or str(own)
