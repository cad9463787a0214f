"""The prepared form of a data set on disk: one HDF5 file per case, and `dataset.json`.

A case file holds `image` [x, y, z], and, unless the case is unlabeled, `label` uint8 [x, y, z] and
`source_label` uint8 in the array order of the scan. Images in [0, 1] are stored as uint16 (0 to
65535, format version 2): for a window of 400 HU that is exact to 0.003 HU, and to half a HU up to
a window of 65,535 HU. Version 1, and images of the scaling `stored`, are float32. `dataset.json`
is written last: if it exists, the folder is complete.
"""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pydantic import ValidationError

from segmentation.common.files import replacing
from segmentation.common.models import explain
from segmentation.common.suggest import unknown
from segmentation.common.text import one_line
from segmentation.data.descriptor import DatasetSpec, Split
from segmentation.imaging.headers import check_size
from segmentation.imaging.volume import Array, Sizes

FORMAT_VERSION = 1  # of dataset.json, and of case files with a float32 image
_SIXTEEN_BITS = 2  # version of case files with a uint16 image, which version 1 would misread
_MOST = np.float32(65535)
_CHUNK = 32
_MOST_RATIO = 1100  # more than gzip or lzf can compress
_DAMAGE = (OSError, RuntimeError, KeyError, TypeError, ValueError, IndexError, AttributeError)


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
        with open_case(self.path) as file, _damage(self.path):
            return _data(file, "source_label")[:] if "source_label" in file else None


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
            raise LookupError(unknown("case", case, tuple(self.cases), f"in {self.root}"))
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
        split = Split.model_validate(content["split"])
    except ValidationError as fault:
        raise ValueError(
            f"{explain(fault, record_file, Split)}; damaged, so prepare again"
        ) from None
    _check_records(record_file, content["cases"], split, spec)
    prepared = Prepared(spec, split, out, content["cases"], content.get("note"))
    deleted = [case for case in prepared.split.cases if not prepared.file(case).is_file()]
    if deleted:
        raise FileNotFoundError(f"{out}: case files are gone: {', '.join(deleted)}; prepare again")
    return prepared


def _check_records(path: Path, cases: Any, split: Split, spec: DatasetSpec) -> None:
    """Refuse a `dataset.json` whose records are not those that `prepare` writes."""
    if not isinstance(cases, dict):
        raise ValueError(f"{path}: damaged, cases is no table; prepare again")
    unknown = [case for case in split.cases if case not in cases]
    if unknown:
        name = one_line(unknown[0], 80)
        raise ValueError(f"{path}: damaged, it lacks the case {name}; prepare again")
    for case, record in cases.items():
        counts = record.get("voxels_per_class") if isinstance(record, dict) else 0
        sound = counts is None or (
            isinstance(counts, list)
            and len(counts) == len(spec.classes)
            and all(isinstance(count, int) and count >= 0 for count in counts)
        )
        if not sound or Path(case).name != case or not case.isprintable():
            name = one_line(case, 80)
            raise ValueError(f"{path}: damaged, the record of case {name}; prepare again")


def read_case(path: str | Path) -> Case:
    """Read a prepared case into memory; its `source_label` is read lazily.

    Raises:
        FileNotFoundError, ValueError: no such file, damaged, or not a case of this version.
    """
    path = Path(path)
    with open_case(path) as file, _damage(path):
        x, y, z = (int(side) for side in file.attrs["source_shape"])
        image = _data(file, "image")
        label = _data(file, "label") if "label" in file else None
        if label is not None and label.shape != image.shape:
            raise ValueError(f"image of {image.shape} and label of {label.shape} voxels")
        return Case(
            path=path,
            image=_decoded(image[:]),
            label=None if label is None else label[:],
            affine=_affine(file, "affine"),
            source_affine=_affine(file, "source_affine"),
            source_shape=(x, y, z),
        )


def case_shape(path: Path) -> Sizes:
    """The shape [x, y, z] of a prepared image, without reading its voxels."""
    with open_case(path) as file, _damage(path):
        x, y, z = _data(file, "image").shape
    return x, y, z


def case_spacing(path: Path) -> tuple[float, float, float]:
    """The voxel size [x, y, z] of a prepared image in mm, without reading its voxels."""
    with open_case(path) as file, _damage(path):
        x, y, z = np.linalg.norm(_affine(file, "affine")[:3, :3], axis=0)
    return float(x), float(y), float(z)


def read_crop(path: Path, box: tuple[slice, ...], *, labeled: bool) -> tuple[Array, Array | None]:
    """Image and, if requested and present, label of a box [x, y, z] of a case.

    Only the chunks of the box are read: 96^3 out of 400 x 400 x 200 voxels takes a twentieth of
    the time of the full case.
    """
    with open_case(path) as file, _damage(path):
        image = _decoded(_data(file, "image")[box])
        return image, _data(file, "label")[box] if labeled and "label" in file else None


def open_case(path: Path) -> h5py.File:
    """A case file, open for reading.

    Raises:
        FileNotFoundError, ValueError: no such file, or not a case of this version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such prepared case")
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError) as fault:
        raise ValueError(f"{path}: damaged or no HDF5 file ({one_line(fault)})") from None
    try:
        version = int(file.attrs["format_version"])
    except _DAMAGE:
        version = -1
    if version not in (FORMAT_VERSION, _SIXTEEN_BITS):
        file.close()
        stated = "none" if version < 0 else version
        raise ValueError(
            f"{path}: format version {stated} where {FORMAT_VERSION} and {_SIXTEEN_BITS} are "
            "read; prepare again"
        )
    return file


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Errors of h5py, and items of another kind than expected, as one line."""
    try:
        yield
    except _DAMAGE as fault:
        reason = one_line(fault) or type(fault).__name__
        raise ValueError(f"{path}: damaged ({reason}); prepare again") from None


def _data(file: h5py.File, name: str) -> h5py.Dataset:
    """A data set of a case, checked before a voxel of it is read.

    Declared sizes that were never written would allocate memory without end.
    """
    link = file.get(name, getlink=True)
    data = file.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external:
        raise ValueError(f"{name} is no data set of this file")
    kinds = ("<f4", "<u2") if name == "image" else ("|u1",)
    if data.ndim != 3 or 0 in data.shape or data.dtype.str not in kinds:
        raise ValueError(f"{name} is {data.dtype} of shape {data.shape}; expected {kinds[0]}, 3-D")
    packed = _MOST_RATIO if data.compression else 1
    if data.nbytes > packed * data.id.get_storage_size() + 4096:
        raise ValueError(f"{name} of shape {data.shape} was never fully written")
    check_size(Path(file.filename), data.shape, data.dtype.itemsize, data.id.get_storage_size())
    return data


def _affine(file: h5py.File, name: str) -> Array:
    affine = np.asarray(file.attrs[name], float)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ValueError(f"{name} is no finite 4 x 4 matrix")
    return affine


def _decoded(stored: Array) -> Array:
    """An image as float32; 0 and 65535 become exactly 0 and 1."""
    if stored.dtype == np.uint16:
        return np.divide(stored, _MOST, dtype=np.float32)
    return stored


def in_sixteen_bits(image: Array) -> Array:
    """An image in [0, 1] with the values that it has after 16-bit storage, float32."""
    return _decoded(_encoded(image))


def _encoded(image: Array) -> Array:
    return np.rint(image * _MOST).astype(np.uint16)


def read_dataset_json(path: Path) -> dict[str, Any]:
    """The content of a `dataset.json` of this version."""
    content = read_any_version(path)
    if content["format_version"] != FORMAT_VERSION:
        version = one_line(content["format_version"], 40)
        raise ValueError(
            f"{path}: format version {version} where {FORMAT_VERSION} is read; prepare again"
        )
    return content


def read_any_version(path: Path) -> dict[str, Any]:
    """The content of a `dataset.json` of any version.

    Raises:
        ValueError: the file is something else; other programs write a `dataset.json`, too.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or "format_version" not in content:
        raise ValueError(
            f"{path}: not written by `tak prepare`, whose output needs a separate folder"
        )
    return content


def write_case(
    path: Path,
    arrays: dict[str, Array],
    attributes: dict[str, Any],
    *,
    sixteen_bits: bool = False,
    compress: bool = False,
) -> None:
    """Write a case file atomically, in chunks so that crops are read fast.

    Args:
        sixteen_bits: store the image, which is in [0, 1], as uint16.
        compress: compress the image by LZF, which decompresses fast; masks always are, by gzip.
    """
    if sixteen_bits:
        arrays = {**arrays, "image": _encoded(arrays["image"])}
        attributes = {**attributes, "format_version": _SIXTEEN_BITS}
    # In memory first: on a full disk, HDF5 cannot even close the file and crashes at exit.
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, array in arrays.items():
            packed = "gzip" if name != "image" else "lzf" if compress else None
            file.create_dataset(
                name,
                data=array,
                chunks=_chunks(array.shape),
                compression=packed,
                shuffle=packed == "lzf" or None,
            )
        file.attrs.update(attributes)
    with replacing(path) as partial:
        partial.write_bytes(content.getbuffer())


def _chunks(shape: Sequence[int]) -> tuple[int, ...]:
    """Equal chunks of at most 32 voxels a side: HDF5 stores the last chunk in full, too."""
    return tuple(-(-side // -(-side // _CHUNK)) for side in shape)
