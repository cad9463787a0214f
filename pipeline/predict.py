"""Which scans are segmented, which files they become, and the work itself, one scan at a time."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from knowledge.files import read_text, write_whole
from pipeline.predictor import Predictor, Segmentation
from segmentation.colors import colors, write_itksnap_labels, write_slicer_colors
from segmentation.formats import READERS, WRITABLE, holds_dicom, stem_of, suffix_of
from segmentation.probability import kept_probabilities
from segmentation.volume import read_volume

_PLAIN = ".nii.gz"  # of masks whose scan's format is not written


@dataclass(frozen=True)
class Target:
    """A scan, the mask it becomes and the JSON file with what was measured."""

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

    Args:
        inputs: scans (files, or folders of one DICOM series), folders of scans, and `.txt` lists
            of any of these, a path per line, relative to the list.
        output: a mask file for a single scan, else a folder.

    Raises:
        FileNotFoundError: no scan there.
        ValueError: an output that does not fit, would overwrite a scan, or is there for two.
    """
    single = len(inputs) == 1 and _is_scan(inputs[0])
    scans = [scan for given in inputs for scan in scans_of(given)]
    if suffix_of(output) is not None or output.is_file():
        if not single:
            raise ValueError(f"-o {output}: for several scans, a folder or a list, give a folder")
        if suffix_of(output) not in WRITABLE:
            raise ValueError(f"-o {output}: masks end in {', '.join(WRITABLE)}")
        found = [Target(scans[0], output)]
    else:
        found = [Target(scan, output / _mask_name(scan)) for scan in scans]
    _check(found, output)
    return found


def check_dicom_seg(found: Sequence[Target]) -> None:
    """Whether DICOM segmentations can be written for all of these, before any work is done.

    Raises:
        ValueError: a scan that is no DICOM series, or highdicom is not installed.
    """
    if find_spec("highdicom") is None:
        raise ValueError(
            "--dicom-seg needs highdicom, which is not installed: pip install 'tak-seg[dicom]'"
        )
    other = [str(target.scan) for target in found if not target.scan.is_dir()]
    if other:
        raise ValueError(
            f"--dicom-seg refers to the slices of a DICOM series, which {', '.join(other[:3])} "
            "is not; give folders of DICOM slices, or leave it away"
        )


def scans_of(given: Path) -> list[Path]:
    """The scans that a path stands for: itself, those in a folder, or those of a list.

    Raises:
        FileNotFoundError: no scan there.
        ValueError: a file of another format.
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
    if not scans:
        raise FileNotFoundError(
            f"{given}: no scan in this folder ({known}, or folders of DICOM slices)"
        )
    return scans


@dataclass(frozen=True)
class Work:
    """How scans are segmented.

    Attributes:
        skip_existing: leave alone what has a mask; masks are written last, so they are whole.
        probabilities: also write a probability map per organ.
        dicom_seg: also write a DICOM segmentation beside the mask of a DICOM series.
    """

    predictor: Predictor
    model: Path
    skip_existing: bool = False
    probabilities: bool = False
    dicom_seg: bool = False

    def segment(self, target: Target, share: Callable[[float], None]) -> dict[str, Any] | None:
        """Segment one scan, write its files, and return its report; None if it was skipped.

        Args:
            share: told the part of the scan that is done, from 0 to 1.

        Raises:
            FileNotFoundError, ValueError: the scan cannot be read.
        """
        if self.skip_existing and target.mask.is_file():
            return None
        volume = read_volume(target.scan)
        target.mask.parent.mkdir(parents=True, exist_ok=True)
        with kept_probabilities(
            target.probabilities if self.probabilities else None,
            volume,
            self.predictor.opened.spec,
            self.predictor.organs,
        ) as keep:
            found = self.predictor.segment_volume(
                volume,
                source=target.scan,
                tick=lambda done, windows: share(done / windows),
                keep=keep,
            )
        report = self._report(target, found)
        if self.dicom_seg:
            report["dicom_seg"] = str(target.dicom_seg) if found.labels.any() else None
        if self.dicom_seg and found.labels.any():  # DICOM knows no segmentation without a frame
            self._write_dicom_seg(target, found)
        write_whole(target.report, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        found.save(target.mask)
        return report

    def _write_dicom_seg(self, target: Target, found: Segmentation) -> None:
        from segmentation.dicom_seg import write_dicom_seg  # needs the extra `dicom`

        opened = self.predictor.opened
        organs = [opened.spec.organ(name) for name in self.predictor.organs]
        shades = colors(opened.spec.classes)
        write_dicom_seg(
            target.dicom_seg,
            found.labels,
            target.scan,
            organs,
            [shades[organ.label] for organ in organs],
            algorithm=opened.config.title,
            version=f"step {opened.step}",
        )

    def _report(self, target: Target, found: Segmentation) -> dict[str, Any]:
        opened = self.predictor.opened
        return {
            "scan": str(target.scan),
            "mask": str(target.mask),
            "model": {
                "path": str(self.model),
                "title": opened.config.title,
                "data_set": opened.spec.name,
                "protocol": opened.trained_on,
                "step": opened.step,
                "predictor": opened.predictor,
            },
            "warning": found.doubt,
            "organs": found.organs,
        }


def write_colors(found: Sequence[Target], output: Path, classes: Sequence[str]) -> list[Path]:
    """Names and colors for 3D Slicer (.ctbl) and ITK-SNAP (.label), beside the masks."""
    file_given = len(found) == 1 and found[0].mask == output
    stem = output.with_name(stem_of(output)) if file_given else output / "organs"
    files = [stem.with_name(stem.name + suffix) for suffix in (".ctbl", ".label")]
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_slicer_colors(files[0], classes)
    write_itksnap_labels(files[1], classes)
    return files


def _is_scan(path: Path) -> bool:
    if path.is_dir():
        return holds_dicom(path)
    return path.is_file() and suffix_of(path) is not None


def _mask_name(scan: Path) -> str:
    """The scan's own name where its format is written, else with `.nii.gz`."""
    if not scan.is_dir() and suffix_of(scan) in WRITABLE:
        return scan.name
    return stem_of(scan.resolve() if scan.is_dir() else scan) + _PLAIN


def _check(found: Iterable[Target], output: Path) -> None:
    taken: dict[Path, Path] = {}
    sources = {target.scan.resolve() for target in found}
    for target in found:
        place = target.mask.resolve()
        if place in sources:
            raise ValueError(f"-o {output}: would overwrite the scan {target.mask}")
        report = target.report.resolve()
        if report in taken:
            raise ValueError(
                f"-o {output}: {taken[report]} and {target.scan} would both become "
                f"{target.mask}; segment them into folders of their own"
            )
        taken[report] = target.scan
