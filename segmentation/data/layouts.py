"""Folder layouts of published data sets: where scans and masks are stored.

`npy-ga`, `npy-dhc` and `h5-magicnet` hold arrays without affine, prepared by other repositories;
`segmentation.data.shared_arrays` reads them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from segmentation.common.suggest import unknown
from segmentation.imaging.io import READERS, holds_dicom

SUFFIXES = (".nii.gz", ".nii")
SCAN_NAME = "ct"  # the scan of a case in TotalSegmentator's data set
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "scans", "volumes", "ct")
LABEL_FOLDERS = ("labels", "label", "masks", "mask", "segmentations", "segs", "annotations")
_IMAGE_ENDS = ("_0000", "_image", "_img", "_scan", "_ct")
_LABEL_ENDS = ("_label", "_labels", "_mask", "_seg", "_segmentation")


Files = Iterator[tuple[str, str, Path]]  # ("image" or "label", case, file)


class ArrayForm(NamedTuple):
    """Axis order of the arrays of a layout, and whether intensities are HU."""

    axes: str
    in_hu: bool


@dataclass(frozen=True)
class Layout:
    """A folder layout.

    Attributes:
        find: yields the files of a folder in this layout.
        expected: typical names, for messages.
        arrays: form of its arrays; None for layouts of files with an affine.
    """

    find: Callable[[Path], Files]
    expected: str
    arrays: ArrayForm | None = None


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


def _totalsegmentator(root: Path) -> Files:
    """`CASE/ct.nii.gz`, and masks in `CASE/segmentations/` or one label map beside the scan."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        files = dict(files_in(folder, tuple(READERS)))
        scan = files.pop(SCAN_NAME, None)
        if scan is None:
            continue
        yield "image", folder.name, scan
        if (folder / "segmentations").is_dir():
            yield "label", folder.name, folder / "segmentations"
        elif len(files) > 1:
            raise ValueError(
                f"{folder}: expected one label map beside {scan.name}, or masks in the folder "
                f"segmentations, got {', '.join(sorted(path.name for path in files.values())[:6])}"
            )
        for path in files.values() if not (folder / "segmentations").is_dir() else ():
            yield "label", folder.name, path


def _pairs(root: Path) -> Files:
    """`images/NAME.nii.gz` and `labels/NAME.nii.gz`; other usual names of both count, too."""
    for kind, names, ends in (
        ("image", IMAGE_FOLDERS, _IMAGE_ENDS),
        ("label", LABEL_FOLDERS, _LABEL_ENDS),
    ):
        for folder in _named(root, names):
            scans = list(_scans(folder))
            end = _common_end([stem for stem, _ in scans], ends)
            for stem, path in scans:
                yield kind, stem.removesuffix(end), path


def _named(root: Path, names: tuple[str, ...]) -> list[Path]:
    """Folders in `root` with one of the names, whatever the letter case."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name.lower() in names)


def _common_end(stems: list[str], ends: tuple[str, ...]) -> str:
    """The ending that all names have and that says what they are; empty if there is none."""
    return next((end for end in ends if all(s.endswith(end) and s != end for s in stems)), "")


def detect_layout(root: Path) -> str | None:
    """The layout of a folder of files with an affine; None if it is none that is known."""
    scans = [stem for stem, _ in _scans(root / "imagesTr")]
    if scans:
        # A label of the scan's own name shows that _0000 is a number, not nnU-Net's channel.
        labels = {stem for stem, _ in _scans(root / "labelsTr")}
        channels = any(stem.endswith("_0000") and stem not in labels for stem in scans)
        return "nnunet" if channels else "amos"
    if (root / "imagesVa").is_dir():
        return "amos"
    if not root.is_dir():
        return None
    for folder in (path for path in root.iterdir() if path.is_dir()):
        if any(stem == SCAN_NAME for stem, _ in files_in(folder, tuple(READERS))):
            return "totalsegmentator"
    if next((True for kind, *_ in _synapse(root) if kind == "image"), False):
        return "synapse"
    pairs = {kind for kind, *_ in _pairs(root)}
    return "pairs" if pairs == {"image", "label"} else None


def _npy(root: Path) -> Files:
    """`NAME_image.npy` and `NAME_label.npy`, in the folder or its subfolder `npy`."""
    for folder in (root, root / "npy"):
        for stem, path in files_in(folder, (".npy",)):
            case, _, kind = stem.rpartition("_")
            if case and kind in ("image", "label"):
                yield kind, case, path


def _h5(root: Path) -> Files:
    """`NAME.h5`: image and label in one file, in the folder or its subfolder `h5` or `data`."""
    for folder in (root, root / "h5", root / "data"):
        for stem, path in files_in(folder, (".h5",)):
            yield "image", stem, path
            yield "label", stem, path


# GALoss and TAK index their AMOS arrays [x, y, z], DHC keeps SimpleITK's [z, y, x]; both store HU.
# MagicNet's files hold intensities that were scaled by a recipe that was never published.
LAYOUTS = {
    "amos": Layout(_amos, "imagesTr/NAME.nii.gz, labelsTr/NAME.nii.gz, also Va and Ts"),
    "synapse": Layout(_synapse, "img0001.nii.gz, label0001.nii.gz"),
    "nnunet": Layout(_nnunet, "imagesTr/NAME_0000.nii.gz, labelsTr/NAME.nii.gz, also Ts"),
    "totalsegmentator": Layout(
        _totalsegmentator,
        "NAME/ct.nii.gz with NAME/segmentations/ORGAN.nii.gz, or with one label map",
    ),
    "pairs": Layout(_pairs, "images/NAME.nii.gz, labels/NAME.nii.gz"),
    "npy-ga": Layout(_npy, "NAME_image.npy, NAME_label.npy, also in npy/", ArrayForm("xyz", True)),
    "npy-dhc": Layout(_npy, "NAME_image.npy, NAME_label.npy, also in npy/", ArrayForm("zyx", True)),
    "h5-magicnet": Layout(_h5, "NAME.h5, also in h5/ or data/", ArrayForm("xyz", False)),
}


def checked_layout(name: str) -> str:
    """The name of a layout, if it is one of `LAYOUTS`.

    Raises:
        ValueError: no such layout; lists those that exist.
    """
    if name not in LAYOUTS:
        raise ValueError(unknown("layout", name, tuple(LAYOUTS)))
    return name


def _scans(folder: Path) -> Iterator[tuple[str, Path]]:
    """Scans directly in a folder with their names without the suffix; folders of DICOM slices."""
    yield from files_in(folder, tuple(READERS))
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.name.startswith(".") and holds_dicom(path):
                yield path.name, path


def files_in(folder: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Files directly in a folder, with their names without the suffix; hidden ones are skipped."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        suffix = next((end for end in suffixes if path.name.lower().endswith(end)), None)
        if suffix and path.is_file() and not path.name.startswith("."):
            yield path.name[: -len(suffix)], path
