"""Folder layouts of published data sets: where scans and masks are stored.

`npy-ga`, `npy-dhc` and `h5-magicnet` hold arrays without affine, prepared by other repositories;
`segmentation.data.shared_arrays` reads them.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segmentation.data.descriptor import DatasetSpec

SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class RawCase:
    """One case of a raw data set; `label` is None where no mask exists."""

    name: str
    image: Path
    label: Path | None


def find_cases(spec: DatasetSpec, root: Path, layout: str | None = None) -> dict[str, RawCase]:
    """All cases below `root` by name, in the given layout or that of the descriptor.

    Raises:
        LookupError: no such layout.
        FileNotFoundError: no such folder, or no scan in it.
        ValueError: two files for one case, or a `dataset.json` with other label values.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder of scans")
    _check_numbering(spec, root / "dataset.json")
    layout = layout or spec.layout
    if layout not in LAYOUTS:
        raise LookupError(f"no layout {layout!r}; there is {', '.join(LAYOUTS)}")
    find, expected = LAYOUTS[layout]
    images: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    for kind, name, path in find(root):
        known = images if kind == "image" else labels
        if name in known:
            raise ValueError(f"case {name} has two {kind} files: {known[name]} and {path}")
        known[name] = path
    if not images:
        raise FileNotFoundError(f"{root}: no scan in the layout {layout!r} ({expected})")
    return {name: RawCase(name, path, labels.get(name)) for name, path in sorted(images.items())}


Files = Iterator[tuple[str, str, Path]]  # ("image" or "label", case, file)


def _amos(root: Path) -> Files:
    """`images{Tr,Va,Ts}/amos_0001.nii.gz` and `labels{Tr,Va,Ts}/` with the same names."""
    for kind in ("image", "label"):
        for part in ("Tr", "Va", "Ts"):
            for stem, path in _scans(root / f"{kind}s{part}"):
                yield kind, stem, path


def _synapse(root: Path) -> Files:
    """`img0001.nii.gz` and `label0001.nii.gz`, in one folder or several, at any depth."""
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        for stem, path in _scans(folder):
            for kind, prefix in (("image", "img"), ("label", "label")):
                if stem.startswith(prefix) and stem.removeprefix(prefix).isdigit():
                    yield kind, stem.removeprefix(prefix), path


def _nnunet(root: Path) -> Files:
    """`images{Tr,Ts}/case_0000.nii.gz` and `labels{Tr,Ts}/case.nii.gz`; one channel."""
    for part in ("Tr", "Ts"):
        for stem, path in _scans(root / f"images{part}"):
            case, _, channel = stem.rpartition("_")
            if not case or channel != "0000":
                raise ValueError(
                    f"{path}: scans of this layout end in _0000{''.join(path.suffixes)}; "
                    "several channels are not read"
                )
            yield "image", case, path
        for stem, path in _scans(root / f"labels{part}"):
            yield "label", stem, path


def _npy(root: Path) -> Files:
    """`NAME_image.npy` and `NAME_label.npy`, in the folder or its subfolder `npy`."""
    for folder in (root, root / "npy"):
        for stem, path in _files(folder, (".npy",)):
            case, _, kind = stem.rpartition("_")
            if case and kind in ("image", "label"):
                yield kind, case, path


def _h5(root: Path) -> Files:
    """`NAME.h5`: image and label in one file, in the folder or its subfolder `h5` or `data`."""
    for folder in (root, root / "h5", root / "data"):
        for stem, path in _files(folder, (".h5",)):
            yield "image", stem, path
            yield "label", stem, path


LAYOUTS: dict[str, tuple[Callable[[Path], Files], str]] = {
    "amos": (_amos, "imagesTr/NAME.nii.gz, labelsTr/NAME.nii.gz, also Va and Ts"),
    "synapse": (_synapse, "img0001.nii.gz, label0001.nii.gz"),
    "nnunet": (_nnunet, "imagesTr/NAME_0000.nii.gz, labelsTr/NAME.nii.gz, also Ts"),
    "npy-ga": (_npy, "NAME_image.npy, NAME_label.npy, also in npy/"),
    "npy-dhc": (_npy, "NAME_image.npy, NAME_label.npy, also in npy/"),
    "h5-magicnet": (_h5, "NAME.h5, also in h5/ or data/"),
}


def _scans(folder: Path) -> Iterator[tuple[str, Path]]:
    """NIfTI files directly in a folder, with their names without the suffix."""
    return _files(folder, SUFFIXES)


def _files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Files directly in a folder, with their names without the suffix; hidden ones are skipped."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        suffix = next((end for end in suffixes if path.name.endswith(end)), None)
        if suffix and path.is_file() and not path.name.startswith("."):
            yield path.name.removesuffix(suffix), path


def _check_numbering(spec: DatasetSpec, path: Path) -> None:
    """Compare the label table of a `dataset.json`, where there is one, with the descriptor.

    Names that the descriptor does not know are ignored: spellings differ between releases.
    """
    if not path.is_file():
        return
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig")).get("labels", {})
    except (ValueError, AttributeError) as fault:
        raise ValueError(f"{path}: not a JSON table ({fault})") from None
    if not isinstance(table, dict):
        raise ValueError(f"{path}: labels must be a table of names and values, not {table!r}")
    for one, other in table.items():
        name, value = (other, one) if str(one).isdigit() else (one, other)
        try:
            expected = spec.organ(str(name)).label
        except LookupError:
            continue
        if str(value) != str(expected):
            raise ValueError(f"{path}: {name} is label {value}, but {expected} in {spec.name}")
