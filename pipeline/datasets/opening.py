"""Opening of a data folder: the only place that decides which kind of folder it is.

Kinds: `prepared` (by `tak prepare`), `raw` (files with an affine in a known layout), `arrays`
(shared arrays of other repositories), `masks` (a plain folder of masks).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.datasets.descriptors import OWN, find_descriptor
from pipeline.datasets.drafts.draft import Draft, draft_descriptor
from pipeline.datasets.organ_lists import read_organ_list
from pipeline.files import shipped
from pipeline.files.kinds import require_kind
from segmentation.data.case_files import Prepared, load_prepared
from segmentation.data.descriptor import DatasetSpec, Split
from segmentation.data.layouts import SUFFIXES, detect_layout
from segmentation.data.raw_cases import find_cases
from segmentation.data.readers import Files, Reader
from segmentation.data.shared_arrays import FORMS, layouts_in, open_arrays
from segmentation.imaging.affines import checked_orientation

Kind = Literal["prepared", "raw", "arrays", "masks"]
Counted = Callable[[str, int], AbstractContextManager[Callable[[str], None]]]


@dataclass(frozen=True)
class DataFolder:
    """An opened data folder.

    Attributes:
        labels: label value by organ name.
        spec: the descriptor; None for a folder of masks.
        split: the requested split; None for `masks`, or if none was required.
        reader: reads its scans and masks; None for `prepared`.
        prepared: the data set of a prepared folder.
        masks: files of a folder of masks, by case.
        drafted: message about the descriptor drafted for a folder without one; else None.
    """

    kind: Kind
    root: Path
    labels: dict[str, int]
    spec: DatasetSpec | None = None
    split: Split | None = None
    reader: Reader | None = None
    prepared: Prepared | None = None
    masks: dict[str, Path] = field(default_factory=dict)
    drafted: str | None = None


def open_data(
    folder: Path,
    descriptor: str | None = None,
    split: str | None = None,
    layout: str | None = None,
    orientation: str | None = None,
    spacing: tuple[float, float, float] | None = None,
    *,
    accept: tuple[Kind, ...] = ("raw", "arrays"),
    require_split: bool = True,
    trust_headers: bool = False,
    draft: bool = False,
    counted: Counted | None = None,
) -> DataFolder:
    """Open a folder of scans: its kind, descriptor, split and reader.

    Args:
        descriptor: name or TOML file; None for the folder's `dataset.toml`.
        layout: None to detect it from the files, or else that of the descriptor.
        orientation: axis codes of arrays, and of files whose header states none.
        spacing: of arrays; of files, the grid of the prepared cases.
        accept: kinds that the caller can work with; `raw` and `arrays` are always accepted.
        require_split: whether a missing split is an error.
        trust_headers: read files with doubtful headers unchanged.
        draft: measure a folder without a descriptor and make one up, which the caller prints.
        counted: progress bar for reading masks.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder.
        LookupError, ValueError: no descriptor or split, another kind of folder, or damaged data.
    """
    if descriptor is None and "prepared" in accept and _is_prepared(folder):
        prepared = load_prepared(folder)
        spec = prepared.spec
        return DataFolder("prepared", folder, spec.labels, spec, prepared.split, prepared=prepared)
    if "masks" in accept and (masks := _plain_masks(folder)):
        organs = read_organ_list(descriptor or _own(folder))
        reader: Reader = Files(trust_headers=True, values=organs.values)
        return DataFolder("masks", folder, organs.labels, reader=reader, masks=masks)
    drafted = None
    if draft and descriptor is None and _is_bare(folder):
        if require_split and split is None and not (folder / "splits").is_dir():
            raise FileNotFoundError(
                f"{folder} has no lists of cases: `tak split {folder} -o lists` draws them, and "
                "--split lists names them"
            )
        proposal = draft_descriptor(folder, layout=layout, counted=counted)
        spec, drafted = proposal.spec, _draft_note(folder, proposal)
    else:
        spec = find_descriptor(folder, descriptor)
    codes = None if orientation is None else checked_orientation(orientation)
    parts = _split(spec, folder, descriptor, split) if require_split or split else None
    layouts = (layout,) if layout else layouts_in(folder) or (spec.layout,)
    if layouts[0] not in FORMS:
        spec = spec if spacing is None else spec.with_spacing(spacing)
        reader = Files(layouts[0], codes, trust_headers, spec.label_values)
        return DataFolder("raw", folder, spec.labels, spec, parts, reader, drafted=drafted)
    if spec.label_values is not None:
        raise ValueError(
            f"{spec.name} renumbers labels, but {folder} holds shared arrays, whose labels are "
            "the protocol's; take its descriptor"
        )
    cases = parts.with_labels if parts else tuple(find_cases(spec, folder, layouts[0]))
    with _progress(counted, len(cases)) as tick:
        spec, arrays = open_arrays(
            spec, folder, cases, layouts, orientation=codes, spacing_mm=spacing, progress=tick
        )
    return DataFolder("arrays", folder, spec.labels, spec, parts, arrays)


def _is_prepared(folder: Path) -> bool:
    return (folder / "dataset.json").is_file() and any(folder.glob("*.h5"))


def _is_bare(folder: Path) -> bool:
    """Whether a folder has scans in a known layout, and no descriptor."""
    if not require_kind(folder, "raw", "lists").is_dir():
        return False
    if (folder / OWN).is_file() or layouts_in(folder):
        return False
    return detect_layout(folder) is not None


def _draft_note(folder: Path, draft: Draft) -> str:
    warnings = "".join(f"; {warning}" for warning in draft.warnings)
    published = [name for name in shipped.names("data") if name == draft.spec.layout]
    if published:
        warnings += f"; --descriptor {published[0]} is that of the published protocol"
    return (
        f"{folder} has no {OWN}: drafted {draft.spec.name}, {draft.summary}{warnings}; "
        f"`tak init {folder}` writes it, with reasons and to be edited"
    )


def _plain_masks(folder: Path) -> dict[str, Path]:
    """Masks directly in a folder, by name."""
    if not require_kind(folder, "prepared", "raw").is_dir():
        raise NotADirectoryError(f"{folder} is a file; expected a folder of labeled scans")
    return {
        path.name.removesuffix(suffix): path
        for suffix in SUFFIXES
        for path in folder.glob(f"*{suffix}")
    }


def _own(folder: Path) -> str:
    """The descriptor in the folder itself."""
    own = folder / OWN
    if not own.is_file():
        raise ValueError(f"{folder} has no {OWN}: name its labels by --descriptor NAME")
    return str(own)


def _split(spec: DatasetSpec, root: Path, descriptor: str | None, split: str | None) -> Split:
    """The requested split; if there is none, the message mentions the folder's own descriptor."""
    try:
        return spec.split(split, root)
    except LookupError as fault:
        own = root / OWN
        if descriptor is None or not own.is_file():
            raise
        if shipped.find("data", descriptor).resolve() == own.resolve():
            raise
        raise LookupError(
            f"{fault.args[0]}; {root} has a {OWN} of its own, which is used without --descriptor"
        ) from None


def _progress(counted: Counted | None, total: int) -> AbstractContextManager[Callable[[str], None]]:
    from contextlib import nullcontext

    return counted("reading masks", total) if counted else nullcontext(lambda case: None)
