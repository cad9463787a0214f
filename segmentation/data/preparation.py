"""Preparation of a raw data set: orient, window and resample by its descriptor."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from segmentation.common.files import write_text
from segmentation.common.processes import map_processes
from segmentation.common.suggest import did_you_mean
from segmentation.data.case_files import (
    FORMAT_VERSION,
    Case,
    Prepared,
    in_sixteen_bits,
    load_prepared,
    open_case,
    read_any_version,
    read_case,
    read_dataset_json,
    write_case,
)
from segmentation.data.checks import check_case, check_labeled, checked_mask, image_digest
from segmentation.data.descriptor import DatasetSpec, Split
from segmentation.data.raw_cases import RawCase, find_cases
from segmentation.data.readers import Files, Reader
from segmentation.imaging.volume import (
    Array,
    Sizes,
    Volume,
    canonical,
    resample,
    resample_labels,
    resampled_shape,
    window,
)

__all__ = ["Case", "Prepared", "load_prepared", "prepare", "read_case", "to_grid"]

_MOST_VOXELS = 2**30


def to_grid(volume: Volume, spec: DatasetSpec) -> Volume:
    """The network input for a scan in HU: RAS+, in [0, 1], resampled; float32 [x, y, z].

    The outer edges of the field of view are kept, so a spacing is met to within half a voxel over
    the full extent.

    Raises:
        ValueError: a constant scan is to be scaled by its own range; or the descriptor is of
            shared arrays whose intensity scaling is unknown.
    """
    if spec.scaling == "stored":
        raise ValueError(
            f"the data of protocol {spec.protocol} are shared arrays, scaled by a recipe that was "
            "never published, so a scan in HU cannot be brought to them; train on scans that "
            "`tak prepare` read itself"
        )
    upright = canonical(volume)
    shape = grid_shape(upright, spec)
    if spec.windowed == "before":
        grid = resample(Volume(scaled(upright.voxels, spec), upright.affine), shape)
    else:
        in_hu = resample(upright, shape)
        grid = Volume(scaled(in_hu.voxels, spec), in_hu.affine)
    # Prepared cases store 16 bits; predicted scans are rounded alike, so that both see one image.
    return Volume(in_sixteen_bits(grid.voxels), grid.affine)


def scaled(voxels: Array, spec: DatasetSpec) -> Array:
    """HU clipped to the window and scaled to [0, 1] by its ends or by the scan's own range."""
    if spec.scaling == "window":
        return window(voxels, spec.window_hu)
    low, high = (float(end) for end in np.clip([voxels.min(), voxels.max()], *spec.window_hu))
    if low == high:
        raise ValueError(
            f"a scan from {voxels.min():g} to {voxels.max():g} HU is {low:g} throughout the window "
            f"{spec.window_hu[0]:g} to {spec.window_hu[1]:g} HU; {spec.name} stretches each "
            "scan's own range, which needs two values"
        )
    return window(voxels, (low, high))


def grid_shape(upright: Volume, spec: DatasetSpec) -> Sizes:
    """The number of voxels [x, y, z] that the descriptor's grid has over a volume in RAS+.

    Raises:
        ValueError: more than fit into memory, as a wrong voxel size asks for.
    """
    if spec.grid.spacing_mm is not None:
        shape = resampled_shape(upright, spec.grid.spacing_mm)
        if prod(shape) > _MOST_VOXELS:  # before the memory is asked for
            sides = " x ".join(f"{side:.3g}" for side in upright.spacing_mm)
            raise ValueError(
                f"{' x '.join(map(str, shape))} voxels on a grid of {spec.grid}, for a scan of "
                f"{' x '.join(map(str, upright.voxels.shape))} voxels of {sides} mm; is the voxel "
                "size in its header right?"
            )
        return shape
    if spec.grid.shrink is not None:
        x, y, z = (
            max(side // count, 1)
            for side, count in zip(upright.voxels.shape, spec.grid.shrink, strict=True)
        )
        return x, y, z
    assert spec.grid.shape is not None
    return spec.grid.shape


def prepare(
    spec: DatasetSpec,
    root: Path,
    out: Path,
    split: Split,
    *,
    reader: Reader | None = None,
    jobs: int = 1,
    force: bool = False,
    compress: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Prepared:
    """Write every case of the split to `out`, then `dataset.json`.

    The mask of an unlabeled case is never opened, even if there is one. Cases that an earlier
    call finished from the same files by the same descriptor are kept, unless `force`. `reader`
    reads scans and masks; the default reads files with an affine. `compress` saves disk space (see
    `write_case`). `progress` is called with the name of each case.

    Raises:
        FileNotFoundError: a scan or mask of the split is missing.
        ValueError: a damaged file, an unknown label value, image and mask that do not fit, no
            organ in the mask of any labeled case, or `out` holds data of another descriptor.
        FileExistsError, NotADirectoryError: `out` holds something else, or is a file.
    """
    if out.resolve() == root.resolve():
        raise ValueError(f"{out} holds the raw data; give another folder for the prepared data")
    reader = reader or Files(values=spec.label_values)
    tasks = _tasks(find_cases(spec, root, reader.layout), split, root)
    check_output(out, [task.image for task in tasks])
    _claim(out, spec, force)
    records = {}
    work = partial(_prepare_case, spec=spec, reader=reader, out=out, force=force, compress=compress)
    for case, record in map_processes(work, tasks, jobs):
        records[case] = record
        if case in split.labeled:
            check_labeled(records, split, out)
        if progress:
            progress(case)
    content = {
        "format_version": FORMAT_VERSION,
        "spec": spec.model_dump(mode="json"),
        "split": split.model_dump(mode="json"),
        "note": reader.note,
        "cases": dict(sorted(records.items())),
    }
    write_text(out / "dataset.json", json.dumps(content, indent=1) + "\n")
    return load_prepared(out)


def check_output(out: Path, scans: Sequence[Path]) -> None:
    """Refuse an output inside the folder of a DICOM series: it would be read as a slice.

    Raises:
        ValueError: names both.
    """
    place = out.resolve()
    for scan in scans:
        if scan.is_dir() and place.is_relative_to(scan.resolve()):
            raise ValueError(f"-o {out}: lies in the folder of the series {scan}; give another")


def _claim(out: Path, spec: DatasetSpec, force: bool) -> None:
    """Create the folder, or refuse one with data of another descriptor; remove `dataset.json`."""
    record_file = out / "dataset.json"
    if not record_file.is_file():
        _check_free(out)
        out.mkdir(parents=True, exist_ok=True)
        return
    read_any_version(record_file)  # never remove a file of another program, even with force
    if not force:
        before = DatasetSpec.check(read_dataset_json(record_file)["spec"], record_file)
        if before.digest != spec.digest:
            raise ValueError(
                f"{out} holds data prepared by another descriptor: {_changes(before, spec)}; "
                "give another folder, or --force"
            )
    record_file.unlink()


def _changes(before: DatasetSpec, now: DatasetSpec) -> str:
    """The settings that differ, in words; the protocol's name only if nothing else differs."""
    changed = [k for k, value in now.deciding.items() if value != before.deciding.get(k)]
    changed = [key for key in changed if key != "protocol"] or changed
    differences = []
    for key in changed:
        if key == "labels":
            names = sorted({name for name, _ in before.labels.items() ^ now.labels.items()})
            differences.append(f"labels of {_few(names)}")
        else:
            differences.append(f"{key} {_plain(before, key)} there, {_plain(now, key)} now")
    return ", ".join(differences)


def _plain(spec: DatasetSpec, key: str) -> str:
    """A value of a descriptor as text: `-150 to 250`, `12 x 12 x 12 mm`."""
    value = getattr(spec, key)
    return " to ".join(f"{end:g}" for end in value) if key == "window_hu" else str(value)


def _check_free(out: Path) -> None:
    """Refuse a file, or a folder with anything but cases of an unfinished call."""
    above = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"-o {out}: expected a folder, but {above} is a file")
    held = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    foreign = [name for name in held if not name.startswith(".") and not name.endswith(".h5")]
    if foreign:
        raise FileExistsError(
            f"{out} holds {_few(foreign)}; expected a new or empty folder for prepared data"
        )


def _few(names: Sequence[str]) -> str:
    """The first names of a long list, and the number of the others."""
    if len(names) <= 4:
        return ", ".join(names)
    return f"{', '.join(names[:3])} and {len(names) - 3} more"


def _tasks(cases: dict[str, RawCase], split: Split, root: Path) -> list[RawCase]:
    """The cases to prepare; unlabeled ones without a mask, even if a file exists."""
    missing = [case for case in split.cases if case not in cases]
    if missing:
        raise FileNotFoundError(
            f"{root}: no scan for {_few(missing)}; there is {_few(list(cases))}"
            f"{did_you_mean(missing[0], cases)}"
        )
    bare = [case for case in split.with_labels if cases[case].label is None]
    if bare:
        raise FileNotFoundError(
            f"{root}: no mask for {_few(bare)}; labeled, validation and test cases need one"
        )
    unlabeled = [RawCase(case, cases[case].image, None) for case in split.unlabeled]
    return [cases[case] for case in split.with_labels] + unlabeled


def _prepare_case(
    task: RawCase, spec: DatasetSpec, reader: Reader, out: Path, force: bool, compress: bool
) -> tuple[str, dict[str, Any]]:
    """Write one case, unless it is up to date, and return its record for `dataset.json`."""
    path = out / f"{task.name}.h5"
    stamp = _stamp(task, spec, reader)
    existing = None if force else _existing_record(path, stamp)
    if existing is not None:
        return task.name, existing
    scan = reader.scan(task)
    in_unit_range = spec.scaling != "stored"
    grid = to_grid(scan, spec) if in_unit_range else canonical(scan)
    arrays = {"image": grid.voxels}
    counts = mask = None
    if task.label is not None:
        mask = checked_mask(reader.mask(task), scan, task, spec)
        arrays["source_label"] = mask.voxels
        arrays["label"] = resample_labels(canonical(mask), grid.voxels.shape).voxels
        counts = np.bincount(arrays["label"].ravel(), minlength=len(spec.classes)).tolist()
    issues, organs = check_case(scan, mask, task, spec)
    record = {
        "source_file": task.image.name,
        "source_shape": list(scan.voxels.shape),
        "source_spacing_mm": list(scan.spacing_mm),
        "shape": list(grid.voxels.shape),
        "spacing_mm": list(grid.spacing_mm),
        "voxels_per_class": counts,
        "image_sha256": image_digest(grid.voxels),
        "warnings": [issue.text for issue in issues if issue.kind != "empty mask"],
        "volumes_ml": organs and {n: o["volume_ml"] for n, o in organs.items() if o["voxels"]},
    }
    attributes = {
        "case": task.name,
        "format_version": FORMAT_VERSION,
        "spec_digest": spec.digest,
        "affine": grid.affine,
        "source_affine": scan.affine,
        "source_shape": scan.voxels.shape,
        "source_file": task.image.name,
        "stamp": stamp,
        "record": json.dumps(record),
    }
    write_case(path, arrays, attributes, sixteen_bits=in_unit_range, compress=compress)
    return task.name, record


def _stamp(task: RawCase, spec: DatasetSpec, reader: Reader) -> str:
    """The inputs of a case: digest of descriptor, reader, and size and time of its files."""
    stamps = [spec.digest, *([reader.stamp] if reader.stamp else [])]
    for path in (task.image, task.label):
        if path is not None:
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:  # a DICOM series
                facts = file.stat()
                stamps.append(f"{file.name}:{facts.st_size}:{facts.st_mtime_ns}")
    return " ".join(stamps)


def _existing_record(path: Path, stamp: str) -> dict[str, Any] | None:
    """The record of an existing case file; None unless it was made from the same inputs."""
    try:
        with open_case(path) as file:
            return json.loads(file.attrs["record"]) if file.attrs["stamp"] == stamp else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return None  # damaged: prepare it again
