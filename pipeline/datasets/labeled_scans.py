"""Labeled scans of a folder for the knowledge stage, read one at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from knowledge.grounding.scene import Scene
from pipeline.datasets.descriptors import OWN
from pipeline.datasets.opening import DataFolder, open_data
from pipeline.files.kinds import require_kind
from segmentation.data.case_files import Prepared, read_case
from segmentation.data.raw_cases import RawCase, find_cases
from segmentation.data.readers import Reader


class ReadLabels(Protocol):
    """Label values [x, y, z] and affine of one case."""

    def __call__(self) -> tuple[NDArray[Any], NDArray[Any]]: ...


@dataclass(frozen=True)
class LabeledScans:
    """Labeled cases by name, read lazily, and the label value of each organ.

    Attributes:
        ct: readers of the CT scans in HU, of cases that have one; empty for prepared data.
    """

    labels: dict[str, int]
    cases: dict[str, ReadLabels]
    ct: dict[str, Callable[[], NDArray[Any]]] = field(default_factory=dict)

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
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{require_kind(folder, 'prepared', 'raw')} is a file; expected a folder of labeled "
            "scans"
        )
    data = open_data(
        folder,
        descriptor or _fallback(folder, fallback),
        split,
        accept=("prepared", "raw", "arrays", "masks"),
        trust_headers=True,
    )
    cases = _readers(data) if data.kind == "masks" else _training_cases(data)
    if not cases:
        raise FileNotFoundError(f"{folder} has no labeled case")
    names = sorted(cases)[: limit or None]
    return LabeledScans(data.labels, {name: cases[name] for name in names}, _ct(data, names))


def _fallback(folder: Path, descriptor: str | None) -> str | None:
    """The fallback descriptor, for a folder that has none."""
    described = any((folder / name).is_file() for name in ("dataset.json", OWN))
    return None if described else descriptor


def _training_cases(data: DataFolder) -> dict[str, ReadLabels]:
    """The labeled training cases of a prepared or raw folder."""
    assert data.split is not None
    if data.prepared is not None:
        return {case: partial(_prepared, data.prepared, case) for case in data.split.labeled}
    assert data.reader is not None
    assert data.spec is not None
    cases = find_cases(data.spec, data.root, data.reader.layout)
    missing = [c for c in data.split.labeled if c not in cases or cases[c].label is None]
    if missing:
        raise FileNotFoundError(f"{data.root} has no mask of the labeled case {missing[0]}")
    return {case: partial(_raw, data.reader, cases[case]) for case in data.split.labeled}


def _ct(data: DataFolder, names: list[str]) -> dict[str, Callable[[], NDArray[Any]]]:
    """Readers of the CT scans of a raw folder; other folders and modalities have no HU."""
    if data.kind != "raw" or data.reader is None or data.spec is None or data.spec.modality != "CT":
        return {}
    cases = find_cases(data.spec, data.root, data.reader.layout)
    return {name: partial(_scan, data.reader, cases[name]) for name in names if name in cases}


def _scan(reader: Reader, case: RawCase) -> NDArray[Any]:
    return reader.scan(case).voxels


def _prepared(data: Prepared, case: str) -> tuple[NDArray[Any], NDArray[Any]]:
    content = read_case(data.file(case))
    if content.label is None:
        raise ValueError(f"{data.file(case)} has no label")
    return content.label, content.affine


def _raw(reader: Reader, case: RawCase) -> tuple[NDArray[Any], NDArray[Any]]:
    volume = reader.mask(case)
    return volume.voxels, volume.affine


def _readers(data: DataFolder) -> dict[str, ReadLabels]:
    """Readers of a plain folder of masks without scans."""
    assert data.reader is not None
    masks = {case: RawCase(case, path, path) for case, path in data.masks.items()}
    return {name: partial(_raw, data.reader, case) for name, case in masks.items()}
