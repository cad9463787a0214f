"""A raw data set to prepared cases: oriented, windowed and resampled as its descriptor says."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segmentation.common.files import write_text
from segmentation.common.processes import map_processes
from segmentation.data.case_files import (
    FORMAT_VERSION,
    Case,
    Prepared,
    load_prepared,
    opened,
    read_case,
    read_noted,
    read_own,
    write_case,
)
from segmentation.data.checks import check_labeled, image_digest
from segmentation.data.descriptor import DatasetSpec, Split
from segmentation.data.layouts import RawCase, find_cases
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


def to_grid(volume: Volume, spec: DatasetSpec) -> Volume:
    """A scan in HU as networks see it: RAS+, windowed to [0, 1], on the grid; float32 [x, y, z].

    The outer edges of the field of view stay, so a spacing is met to within half a voxel over the
    whole extent.

    Raises:
        ValueError: the scan's own range is to be stretched to [0, 1], and it has none; or the
            descriptor is of shared arrays whose intensities nobody knows how to make from HU.
    """
    if spec.scaling == "stored":
        raise ValueError(
            f"the data of protocol {spec.protocol} are shared arrays, scaled by a recipe that was "
            "never published, so a scan in HU cannot be brought to them; train on scans that "
            "`tak prepare` read itself"
        )
    upright = canonical(volume)
    seen = Volume(scaled(upright.voxels, spec), upright.affine)
    return resample(seen, grid_shape(upright, spec))


def scaled(voxels: Array, spec: DatasetSpec) -> Array:
    """HU clipped to the window; its ends, or the scan's own extremes in it, become 0 and 1."""
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
    """The number of voxels [x, y, z] that the descriptor's grid has over a volume in RAS+."""
    if spec.grid.spacing_mm is not None:
        return resampled_shape(upright, spec.grid.spacing_mm)
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
    progress: Callable[[str], None] | None = None,
) -> Prepared:
    """Write every case of the split to `out`, then `dataset.json`.

    The mask of an unlabeled case is never opened, even if there is one. Cases that an earlier
    call finished from the same files by the same descriptor are kept, unless `force`. `reader`
    reads scans and masks; without one they are files that say themselves where they lie.
    `progress` is called with the name of each case.

    Raises:
        FileNotFoundError: a scan or mask that the split needs.
        ValueError: a damaged file, an unknown label value, image and mask that do not fit, no
            organ in the mask of any labeled case, or `out` holds data of another descriptor.
        FileExistsError, NotADirectoryError: `out` holds something else, or is a file.
    """
    if out.resolve() == root.resolve():
        raise ValueError(f"{out} holds the raw data; prepared data need a folder of their own")
    reader = reader or Files()
    tasks = _tasks(find_cases(spec, root, reader.layout), split, root)
    _claim(out, spec, force)
    records = {}
    work = partial(_prepare_case, spec=spec, reader=reader, out=out, force=force)
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


def _claim(out: Path, spec: DatasetSpec, force: bool) -> None:
    """Make the folder, refuse one with data of another descriptor, take back its completeness."""
    noted = out / "dataset.json"
    if not noted.is_file():
        _check_free(out)
        out.mkdir(parents=True, exist_ok=True)
        return
    read_own(noted)  # nobody else's file is removed, whatever is forced
    if not force:
        before = DatasetSpec.check(read_noted(noted)["spec"], noted)
        if before.digest != spec.digest:
            raise ValueError(
                f"{out} holds data prepared by another descriptor: {_changes(before, spec)}; "
                "take another folder or --force"
            )
    noted.unlink()


def _changes(before: DatasetSpec, now: DatasetSpec) -> str:
    """What decides a case and differs, in words; the protocol, named after it, only if alone."""
    changed = [key for key, value in now.deciding.items() if value != before.deciding[key]]
    changed = [key for key in changed if key != "protocol"] or changed
    told = []
    for key in changed:
        if key == "labels":
            names = sorted({name for name, _ in before.labels.items() ^ now.labels.items()})
            told.append(f"labels of {_few(names)}")
        else:
            told.append(f"{key} {_plain(before, key)} there against {_plain(now, key)} now")
    return ", ".join(told)


def _plain(spec: DatasetSpec, key: str) -> str:
    """A value of a descriptor without brackets: `-150 to 250`, `12 x 12 x 12 mm`."""
    value = getattr(spec, key)
    return " to ".join(f"{end:g}" for end in value) if key == "window_hu" else str(value)


def _check_free(out: Path) -> None:
    """Refuse a file, and a folder that holds more than cases of an unfinished call."""
    above = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"-o {out}: {above} is a file, where a folder is needed")
    held = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    strange = [name for name in held if not name.startswith(".") and not name.endswith(".h5")]
    if strange:
        raise FileExistsError(
            f"{out} holds {_few(strange)}; prepared data need a folder of their own"
        )


def _few(names: Sequence[str]) -> str:
    """The first names of many, and how many there are."""
    if len(names) <= 4:
        return ", ".join(names)
    return f"{', '.join(names[:3])} and {len(names) - 3} more"


def _tasks(found: dict[str, RawCase], split: Split, root: Path) -> list[RawCase]:
    """The cases to prepare; those without a label are not to have one, even if a file exists."""
    missing = [case for case in split.cases if case not in found]
    if missing:
        raise FileNotFoundError(
            f"{root}: no scan for {_few(missing)}; there is {_few(list(found))}"
        )
    bare = [case for case in split.with_labels if found[case].label is None]
    if bare:
        raise FileNotFoundError(
            f"{root}: no mask for {_few(bare)}; labeled, validation and test cases need one"
        )
    unlabeled = [RawCase(case, found[case].image, None) for case in split.unlabeled]
    return [found[case] for case in split.with_labels] + unlabeled


def _prepare_case(
    task: RawCase, spec: DatasetSpec, reader: Reader, out: Path, force: bool
) -> tuple[str, dict[str, Any]]:
    """Write one case, unless it is there, and return what `dataset.json` tells of it."""
    path = out / f"{task.name}.h5"
    stamp = _stamp(task, spec, reader)
    kept = None if force else _record(path, stamp)
    if kept is not None:
        return task.name, kept
    scan = reader.scan(task)
    grid = canonical(scan) if spec.scaling == "stored" else to_grid(scan, spec)
    arrays = {"image": grid.voxels}
    counts = None
    if task.label is not None:
        mask = checked_mask(reader.mask(task), scan, task, spec)
        arrays["source_label"] = mask.voxels
        arrays["label"] = resample_labels(canonical(mask), grid.voxels.shape).voxels
        counts = np.bincount(arrays["label"].ravel(), minlength=len(spec.classes)).tolist()
    record = {
        "source_file": task.image.name,
        "source_shape": list(scan.voxels.shape),
        "source_spacing_mm": list(scan.spacing_mm),
        "shape": list(grid.voxels.shape),
        "spacing_mm": list(grid.spacing_mm),
        "voxels_per_class": counts,
        "image_sha256": image_digest(grid.voxels),
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
    write_case(path, arrays, attributes)
    return task.name, record


def checked_mask(mask: Volume, scan: Volume, task: RawCase, spec: DatasetSpec) -> Volume:
    """The mask as uint8, if it lies where the scan lies and holds no unknown value.

    Raises:
        ValueError: another shape or affine than the scan's, or a label that the descriptor lacks.
    """
    if mask.voxels.shape != scan.voxels.shape:
        raise ValueError(
            f"case {task.name}: {task.image} has shape {scan.voxels.shape}, "
            f"its mask {task.label} has {mask.voxels.shape}"
        )
    corners = np.array(np.meshgrid(*([0, side - 1] for side in mask.voxels.shape))).reshape(3, -1)
    gap = (mask.affine - scan.affine) @ np.vstack([corners, np.ones(8)])
    distance = float(np.linalg.norm(gap, axis=0).max())
    if distance > 0.25 * min(scan.spacing_mm):
        raise ValueError(
            f"case {task.name}: the affines of {task.image} and its mask {task.label} "
            f"differ by up to {distance:.3g} mm"
        )
    unknown = np.setdiff1d(np.unique(mask.voxels), range(len(spec.classes)))
    if unknown.size:
        names = ", ".join(f"{value} {name}" for value, name in enumerate(spec.classes))
        raise ValueError(
            f"case {task.name}: {task.label} holds label {', '.join(map(str, unknown))}, which "
            f"{spec.name} does not know; it knows {names}"
        )
    return Volume(mask.voxels.astype(np.uint8), scan.affine)


def _stamp(task: RawCase, spec: DatasetSpec, reader: Reader) -> str:
    """What a case was made from: descriptor, way of reading, and size and time of its files."""
    stamps = [spec.digest, *([reader.stamp] if reader.stamp else [])]
    for path in (task.image, task.label):
        if path is not None:
            facts = path.stat()
            stamps.append(f"{path.name}:{facts.st_size}:{facts.st_mtime_ns}")
    return " ".join(stamps)


def _record(path: Path, stamp: str) -> dict[str, Any] | None:
    """What is known of a case that was prepared before; None unless it is made from the same."""
    try:
        with opened(path) as file:
            return json.loads(file.attrs["record"]) if file.attrs["stamp"] == stamp else None
    except (FileNotFoundError, ValueError):
        return None
