"""Scans to segment, and their output files."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from knowledge.common.files import read_text
from segmentation.data.preparation import check_output
from segmentation.imaging.headers import is_dicom_file
from segmentation.imaging.io import READERS, WRITABLE, holds_dicom, stem_of, suffix_of

_PLAIN = ".nii.gz"  # of masks of scans whose format cannot be written
_FIRST = "0000"  # first of nnU-Net's numbers after a case name, one per modality


@dataclass(frozen=True)
class Target:
    """A scan, its mask and the JSON file of measurements."""

    scan: Path
    mask: Path

    @property
    def report(self) -> Path:
        """`ct.json` beside `ct.nii.gz`."""
        return self.mask.with_name(f"{stem_of(self.mask)}.json")

    @property
    def dicom_seg(self) -> Path:
        """`ct.seg.dcm` beside `ct.nii.gz`."""
        return self.mask.with_name(f"{stem_of(self.mask)}.seg.dcm")

    @property
    def probabilities(self) -> Path:
        """The folder `ct-probabilities` beside `ct.nii.gz`."""
        return self.mask.with_name(f"{stem_of(self.mask)}-probabilities")


def targets(inputs: Sequence[Path], output: Path) -> list[Target]:
    """Scans and the masks to write.

    A mask in a folder has the name of its scan. As in nnU-Net, the mask of the only scan of a case,
    `case_0000`, is called `case`, unless the inputs have further numbers of that name.

    Args:
        inputs: scans (files, or folders of one DICOM series), folders of scans, and `.txt` lists
            of any of these, a path per line, relative to the list.
        output: a mask file for a single scan, else a folder.

    Raises:
        FileNotFoundError: no scan there.
        ValueError: an output of the wrong kind, one that would overwrite a scan, or one of two
            scans; or several modalities of a case.
    """
    single = len(inputs) == 1 and _is_scan(inputs[0])
    scans = [scan for given in inputs for scan in scans_of(given)]
    _check_modalities([given for given in inputs if _is_scan(given)])
    if _names_a_file(output, single):
        targets = [Target(scans[0], output)]
    else:
        masks = (output / name for name in _mask_names(scans))
        targets = [Target(scan, mask) for scan, mask in zip(scans, masks, strict=True)]
    _check(targets, output)
    folders = [given for given in inputs if given.is_dir() and not _is_scan(given)]
    if any(folder.resolve() == output.resolve() for folder in folders):
        raise ValueError(
            f"-o {output}: holds the scans, and masks beside them would be taken for scans the "
            "next time; give another folder"
        )
    return targets


def check_dicom_seg(targets: Sequence[Target]) -> None:
    """Check that DICOM segmentations can be written for all targets, before any work.

    Raises:
        ValueError: a scan that is no DICOM series, or highdicom is not installed.
    """
    if find_spec("highdicom") is None:
        raise ValueError(
            "--dicom-seg needs highdicom, which is not installed: pip install 'tak-seg[dicom]'"
        )
    other = [str(target.scan) for target in targets if not target.scan.is_dir()]
    if other:
        raise ValueError(
            f"--dicom-seg refers to the slices of a DICOM series, which {', '.join(other[:3])} "
            "is not; give folders of DICOM slices, or omit --dicom-seg"
        )


def scans_of(given: Path) -> list[Path]:
    """The scans of a path: the file itself, those in a folder, or those of a list.

    Raises:
        FileNotFoundError: no scan there.
        ValueError: a file of another format, or a folder with several modalities of a case.
    """
    if _is_scan(given):
        return [given]
    if given.is_file() and given.suffix.lower() == ".txt":
        lines = [line.strip() for line in read_text(given).splitlines()]
        listed = [given.parent / line for line in lines if line and not line.startswith("#")]
        if not listed:
            raise FileNotFoundError(f"{given}: an empty list of scans")
        return [scan for line in listed for scan in scans_of(line)]
    if not given.exists():
        raise FileNotFoundError(f"{given}: no such scan")
    known = ", ".join(READERS)
    if given.is_file():
        raise ValueError(
            f"{given}: neither a scan ({known}, or the folder of a DICOM series) nor a .txt list"
        )
    inside = [path for path in sorted(given.iterdir()) if not path.name.startswith(".")]
    scans = [path for path in inside if _is_scan(path)]
    for path in inside:  # series may be two levels down: patient, study, series
        if path.is_dir() and not path.is_symlink() and not _is_scan(path):
            scans += [below for below in sorted(path.rglob("*")) if _is_series(below)]
    if not scans:
        raise FileNotFoundError(
            f"{given}: no scan in this folder ({known}, or folders of DICOM slices)"
        )
    _check_modalities(scans)
    return scans


def _is_scan(path: Path) -> bool:
    if path.is_dir():
        return holds_dicom(path)
    return path.is_file() and (suffix_of(path) is not None or is_dicom_file(path))


def _is_series(path: Path) -> bool:
    """Whether a path below a folder of scans is the folder of a DICOM series."""
    return path.is_dir() and not path.is_symlink() and holds_dicom(path)


def _names_a_file(output: Path, single: bool) -> bool:
    """Whether masks go to one file, not into a folder.

    Raises:
        ValueError: a file for several scans, or one of an unsupported format.
    """
    if output.is_dir():
        return False
    if not single and (suffix_of(output) is not None or output.is_file()):
        raise ValueError(f"-o {output}: for several scans, a folder or a list, give a folder")
    if not output.suffix and not output.is_file():
        return False
    if single and suffix_of(output) not in WRITABLE:
        raise ValueError(
            f"-o {output}: masks end in {', '.join(WRITABLE)}; if a folder is meant, make it first"
        )
    return single


def _numbered(scan: Path) -> tuple[str, str] | None:
    """`case`, `0000` of `case_0000.nii.gz`; None for other names and for DICOM folders."""
    match = None if scan.is_dir() else re.fullmatch(r"(.+)_(\d{4})", stem_of(scan))
    return (match[1], match[2]) if match else None


def _check_modalities(scans: Iterable[Path]) -> None:
    """Refuse `case_0000` next to `case_0001`, except in a .txt list, which is explicit."""
    first: dict[tuple[Path, str], Path] = {}
    others: dict[tuple[Path, str], Path] = {}
    for scan in scans:
        if (parts := _numbered(scan)) is not None:
            kind = first if parts[1] == _FIRST else others
            kind.setdefault((scan.parent, parts[0]), scan)
    for place in filter(others.__contains__, first):
        raise ValueError(
            f"{first[place]} and {others[place].name} are by nnU-Net's names two modalities of one "
            "case, and a network here reads one: give the CT alone. If they are separate "
            "scans, write them into a .txt list, a path per line, and give that"
        )


def _mask_names(scans: Sequence[Path]) -> list[str]:
    """The mask name of every scan, with `.nii.gz` if its format cannot be written."""
    numbered = [_numbered(scan) for scan in scans]
    counted = {parts[0] for parts in numbered if parts and parts[1] != _FIRST}
    names = []
    for scan, parts in zip(scans, numbered, strict=True):
        stem = stem_of(scan.resolve() if scan.is_dir() else scan)
        if parts and parts[1] == _FIRST and parts[0] not in counted:
            stem = parts[0]
        kept = not scan.is_dir() and suffix_of(scan) in WRITABLE
        names.append(stem + (scan.name[len(stem_of(scan)) :] if kept else _PLAIN))
    return names


def _check(targets: Sequence[Target], output: Path) -> None:
    check_output(output, [target.scan for target in targets])
    taken: dict[Path, Path] = {}
    sources = {target.scan.resolve() for target in targets}
    for target in targets:
        place = target.mask.resolve()
        if place in sources:
            raise ValueError(f"-o {output}: would overwrite the scan {target.mask}")
        report = target.report.resolve()
        if report in taken:
            raise ValueError(
                f"-o {output}: {taken[report]} and {target.scan} would both become "
                f"{target.mask}; segment them into separate folders"
            )
        taken[report] = target.scan
