"""True masks to score masks of other programs against: prepared, raw, or a plain folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.descriptors import OWN
from pipeline.datasets.mask_folders import MaskFolder, open_masks
from pipeline.datasets.opening import open_data
from pipeline.datasets.organ_lists import OrganList
from pipeline.datasets.organ_names import names_of_masks
from pipeline.datasets.protocols import claim_of_data
from pipeline.files import shipped
from pipeline.files.kinds import kind_of
from pipeline.results.scores import organ_groups
from segmentation.data.case_files import Prepared, read_case
from segmentation.data.checks import checked_mask
from segmentation.data.descriptor import DatasetSpec, Split
from segmentation.data.label_values import organ_files
from segmentation.data.layouts import files_in
from segmentation.data.raw_cases import RawCase, find_cases
from segmentation.data.readers import Reader
from segmentation.data.split import list_digest
from segmentation.imaging.io import READERS
from segmentation.imaging.volume import Volume


@dataclass(frozen=True, eq=False)
class TrueCase:
    """The true mask of a case.

    Attributes:
        mask: class indices on the scan's own grid, with its affine.
        stored: class indices [x, y, z] on the prepared grid; None unless the case is prepared.
    """

    mask: Volume
    stored: NDArray[np.integer] | None = None


@dataclass(frozen=True)
class Truth:
    """The cases to score against, and the names for results on them.

    Attributes:
        aliases: of each organ, by its name, in the order of the class indices.
        groups: organ names of `all`, `large` and `small`.
        cases: reads each case by its name.
        prepared: whether the cases are also on a prepared grid.
        spec: the descriptor of the data; None for a plain list of organs.
    """

    root: Path
    data_set: str
    protocol: str
    split: str
    aliases: dict[str, tuple[str, ...]]
    groups: dict[str, tuple[str, ...]]
    cases: Mapping[str, Callable[[], TrueCase]]
    prepared: bool = False
    spec: DatasetSpec | None = None


def open_truth(folder: Path, part: str, descriptor: str | None, split: str | None) -> Truth:
    """The true masks of a folder.

    Args:
        folder: as `tak prepare` wrote it, a data set as downloaded, or a plain folder of masks.
        part: of the split that is scored; all masks of a folder without a split.
        descriptor: names the organs of a folder without a descriptor.
        split: of a data set as downloaded.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder, or no mask in it.
        LookupError, ValueError: nothing names the organs, or the part has no case.
    """
    if not folder.is_dir():
        reason = "is a file" if folder.exists() else "there is no such folder"
        raise NotADirectoryError(f"--truth {folder}: {reason}; expected a folder of true masks")
    kind = kind_of(folder)
    if kind == "prepared":
        for option, value in (("--descriptor", descriptor), ("--split", split)):
            if value is not None:
                raise ValueError(f"{option} {value}: {folder} is prepared and has one already")
        return _prepared(open_data(folder, accept=("prepared",)).prepared, part)
    flat = any(True for _ in files_in(folder, tuple(READERS)))
    if not flat and (kind == "raw" or descriptor is not None) and _is_raw(folder, descriptor):
        return _raw(folder, part, descriptor, split)
    if split is not None:
        raise ValueError(f"--split {split}: {folder} is a plain folder of masks, all are scored")
    return _plain(folder, descriptor)


def _is_raw(folder: Path, descriptor: str | None) -> bool:
    """Whether a folder is a data set with images, not folders of masks by case."""
    return descriptor is not None or (folder / OWN).is_file() or (folder / "imagesTr").is_dir()


def _prepared(prepared: Prepared | None, part: str) -> Truth:
    assert prepared is not None
    names = getattr(prepared.split, part)
    if not names:
        raise ValueError(f"{prepared.root}: the part {part!r} has no case")
    claim = claim_of_data(prepared)
    read = {name: partial(_prepared_case, prepared.file(name)) for name in names}
    return _of_spec(prepared.root, prepared.spec, claim.protocol, claim.split, read, prepared=True)


def _prepared_case(path: Path) -> TrueCase:
    case = read_case(path)
    if case.label is None or case.source_label is None:
        raise ValueError(f"{path}: the case has no label to compare with")
    return TrueCase(Volume(case.source_label, case.source_affine), case.label)


def _raw(folder: Path, part: str, descriptor: str | None, split: str | None) -> Truth:
    data = open_data(folder, descriptor, require_split=False)
    spec, reader = data.spec, data.reader
    assert spec is not None
    assert reader is not None
    cases = find_cases(spec, folder, reader.layout)
    names = _part_of(spec, folder, part, split)
    if names is None:
        names = tuple(name for name, case in cases.items() if case.label is not None)
    bare = [name for name in names if name not in cases or cases[name].label is None]
    if bare or not names:
        raise FileNotFoundError(
            f"{folder}: no mask of {', '.join(bare[:6]) or 'any case'}; every case of the part "
            f"{part!r} needs a true mask"
        )
    read = {name: partial(_raw_case, reader, cases[name], spec) for name in names}
    return _of_spec(folder, spec, spec.protocol, _own_name(names), read)


def _part_of(
    spec: DatasetSpec, folder: Path, part: str, split: str | None
) -> tuple[str, ...] | None:
    """The cases of the part; None for a folder that comes without lists of cases."""
    if split is None and spec.splits == "data" and not (folder / "splits").is_dir():
        return None
    lists: Split = spec.split(split, folder)
    names: tuple[str, ...] = getattr(lists, part)
    if not names:
        raise ValueError(f"{folder}: the part {part!r} of its split has no case")
    return names


def _raw_case(reader: Reader, case: RawCase, spec: DatasetSpec) -> TrueCase:
    mask = reader.mask(case)
    return TrueCase(checked_mask(mask, mask, case, spec))


def _plain(folder: Path, descriptor: str | None) -> Truth:
    stems = [stem for stem, _ in files_in(folder, tuple(READERS))]
    cases = stems or sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not cases:
        raise FileNotFoundError(f"--truth {folder}: no mask there")
    spec = None if descriptor is None else _spec_of(descriptor)
    if spec is not None:
        masks = open_masks(folder, cases, _aliases(spec), labels=descriptor if stems else None)
        return _of_spec(folder, spec, spec.protocol, _own_name(cases), _readers(masks))
    names = _names_in(folder, cases, descriptor, by_case=not stems)
    masks = open_masks(folder, cases, dict.fromkeys(names.labels, ()), labels=descriptor)
    organs = tuple(names.labels)
    return Truth(
        root=folder,
        data_set=names.name,
        protocol=names.name,
        split=_own_name(cases),
        aliases=dict.fromkeys(organs, ()),
        groups={"all": organs, "large": (), "small": ()},
        cases=_readers(masks),
    )


def _names_in(
    folder: Path, cases: list[str], descriptor: str | None, *, by_case: bool
) -> OrganList:
    """The organs that plain masks name: by a table, or one mask per organ by their files."""
    if not by_case:
        first = next(path for _, path in files_in(folder, tuple(READERS)))
        return names_of_masks(folder, descriptor, first)[0]
    stems = list(organ_files(folder / cases[0]))
    if not stems:
        raise FileNotFoundError(f"--truth {folder}: no mask in {folder / cases[0]}")
    return OrganList.of(folder.name, {stem: value for value, stem in enumerate(stems, start=1)})


def _readers(masks: MaskFolder) -> dict[str, Callable[[], TrueCase]]:
    return {case: partial(_plain_case, masks, case) for case in masks.files}


def _plain_case(masks: MaskFolder, case: str) -> TrueCase:
    scan = masks.grid(case)
    organs = masks.read(case, scan, "the truth")
    if organs.overlap:
        raise ValueError(
            f"{masks.root}: case {case}: {organs.overlap} voxels belong to several organs; true "
            "masks must not overlap"
        )
    return TrueCase(Volume(organs.labels, scan.affine))


def _spec_of(descriptor: str) -> DatasetSpec | None:
    """The descriptor, if the source is one and not a plain list of organs."""
    if descriptor.endswith((".json", ".txt")):
        return None
    return DatasetSpec.read(shipped.find("data", descriptor))


def _of_spec(
    folder: Path,
    spec: DatasetSpec,
    protocol: str,
    split: str,
    cases: Mapping[str, Callable[[], TrueCase]],
    *,
    prepared: bool = False,
) -> Truth:
    groups = organ_groups(spec)
    aliases = _aliases(spec)
    return Truth(folder, spec.name, protocol, split, aliases, groups, cases, prepared, spec)


def _aliases(spec: DatasetSpec) -> dict[str, tuple[str, ...]]:
    return {organ.name: organ.aliases for organ in spec.by_label}


def _own_name(cases: tuple[str, ...] | list[str]) -> str:
    return f"own-{list_digest(cases)[:8]}"
