"""The prepared form of a data set on disk: one HDF5 file per case, and `dataset.json`.

A case file holds `image` float32 [x, y, z], in [0, 1] unless the descriptor's `scaling` is
`stored`, and, unless the case is unlabeled, `label` uint8 [x, y, z] and `source_label` uint8 in the
array order of the scan. `dataset.json` is written last: if it exists, the folder is complete.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
from pydantic import ValidationError

from segmentation.common.files import replacing
from segmentation.common.models import explain
from segmentation.data.descriptor import DatasetSpec, Split
from segmentation.imaging.volume import Array, Sizes

FORMAT_VERSION = 1
CHUNK = 32


@dataclass(frozen=True, eq=False)
class Case:
    """A prepared case. `label` is None for unlabeled cases.

    Attributes:
        image: float32 [x, y, z]; in [0, 1], unless the data's `scaling` is `stored`.
        label: uint8 [x, y, z], class indices.
        affine: of the grid, voxel index to RAS+ mm.
        source_affine, source_shape: of the scan that the case was prepared from.
    """

    path: Path
    image: Array
    label: Array | None
    affine: Array
    source_affine: Array
    source_shape: Sizes

    @cached_property
    def source_label(self) -> Array | None:
        """The mask on the scan's native grid and in its array order; read lazily."""
        with opened(self.path) as file:
            return file["source_label"][:] if "source_label" in file else None


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: descriptor, split, folder, and a record per case.

    `note` states assumptions about data that do not define the position of their voxels.
    """

    spec: DatasetSpec
    split: Split
    root: Path
    cases: dict[str, dict[str, Any]]
    note: str | None = None

    def file(self, case: str) -> Path:
        """The file of a case.

        Raises:
            LookupError: the data set has no such case.
        """
        if case not in self.cases:
            raise LookupError(f"no case {case!r} in {self.root}; there is {', '.join(self.cases)}")
        return self.root / f"{case}.h5"


def load_prepared(out: str | Path) -> Prepared:
    """Load the data set that `prepare` wrote to a folder.

    Raises:
        FileNotFoundError: nothing was prepared there, not completely, or a case file is missing.
        ValueError: written by another version, or damaged.
    """
    out = Path(out)
    record_file = out / "dataset.json"
    if not record_file.is_file():
        raise FileNotFoundError(
            f"{record_file}: not there, so {out} is not (or not fully) prepared"
        )
    content = read_dataset_json(record_file)
    missing = sorted({"spec", "split", "cases"} - content.keys())
    if missing:
        raise ValueError(f"{record_file}: damaged, it lacks {', '.join(missing)}; prepare again")
    spec = DatasetSpec.check(content["spec"], record_file)
    try:
        split = Split(**content["split"])
    except ValidationError as fault:
        raise ValueError(f"{explain(fault, record_file)}; damaged, so prepare again") from None
    unknown = [case for case in split.cases if case not in content["cases"]]
    if unknown:
        raise ValueError(f"{record_file}: damaged, it lacks the case {unknown[0]}; prepare again")
    prepared = Prepared(spec, split, out, content["cases"], content.get("note"))
    deleted = [case for case in prepared.split.cases if not prepared.file(case).is_file()]
    if deleted:
        raise FileNotFoundError(f"{out}: case files are gone: {', '.join(deleted)}; prepare again")
    return prepared


def read_case(path: str | Path) -> Case:
    """Read a prepared case into memory; its `source_label` is read lazily.

    Raises:
        FileNotFoundError, ValueError: no such file, or not a case of this version.
    """
    path = Path(path)
    with opened(path) as file:
        x, y, z = (int(side) for side in file.attrs["source_shape"])
        return Case(
            path=path,
            image=file["image"][:],
            label=file["label"][:] if "label" in file else None,
            affine=file.attrs["affine"],
            source_affine=file.attrs["source_affine"],
            source_shape=(x, y, z),
        )


def case_shape(path: Path) -> Sizes:
    """The shape [x, y, z] of a prepared image, without reading its voxels."""
    with opened(path) as file:
        x, y, z = file["image"].shape
    return x, y, z


def read_crop(path: Path, box: tuple[slice, ...], *, labeled: bool) -> tuple[Array, Array | None]:
    """Image and, if requested and present, label of a box [x, y, z] of a case.

    Only the chunks of the box are read: 96^3 out of 400 x 400 x 200 voxels takes a twentieth of
    the time of the full case.
    """
    with opened(path) as file:
        return file["image"][box], file["label"][box] if labeled and "label" in file else None


def opened(path: Path) -> h5py.File:
    """A case file, open for reading.

    Raises:
        FileNotFoundError, ValueError: no such file, or not a case of this version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such prepared case")
    try:
        file = h5py.File(path, "r")
    except OSError as fault:
        raise ValueError(f"{path}: damaged or no HDF5 file ({fault})") from None
    version = file.attrs.get("format_version")
    if version != FORMAT_VERSION:
        file.close()
        raise ValueError(
            f"{path}: format version {version} where {FORMAT_VERSION} is read; prepare again"
        )
    return file


def read_dataset_json(path: Path) -> dict[str, Any]:
    """The content of a `dataset.json` of this version."""
    content = read_any_version(path)
    if content["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"{path}: format version {content['format_version']} where {FORMAT_VERSION} is read; "
            "prepare again"
        )
    return content


def read_any_version(path: Path) -> dict[str, Any]:
    """The content of a `dataset.json` of any version.

    Raises:
        ValueError: the file is something else; other programs write a `dataset.json`, too.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or "format_version" not in content:
        raise ValueError(
            f"{path}: not written by `tak prepare`, which makes of raw data a folder of its own"
        )
    return content


def write_case(path: Path, arrays: dict[str, Array], attributes: dict[str, Any]) -> None:
    """Write a case file atomically, in chunks so that crops are read fast."""
    with replacing(path) as target, h5py.File(target, "w") as file:
        for name, array in arrays.items():
            chunks = tuple(min(CHUNK, side) for side in array.shape)
            compression = None if name == "image" else "gzip"
            file.create_dataset(name, data=array, chunks=chunks, compression=compression)
        file.attrs.update(attributes)
