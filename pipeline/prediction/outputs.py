"""Outputs of `tak predict` per scan: planning of missing files, writing, reports."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from knowledge.common.files import read_text, write_whole
from pipeline.prediction.predictor import Predictor, Segmentation
from pipeline.prediction.targets import Target
from segmentation.common.files import make_writable
from segmentation.data.checks import checked_mask
from segmentation.data.raw_cases import RawCase
from segmentation.imaging.colors import colors, write_itksnap_labels, write_slicer_colors
from segmentation.imaging.io import check_fits, stem_of
from segmentation.imaging.volume import Volume, read_labels, read_volume
from segmentation.inference.probability_maps import file_of, kept_probabilities


@dataclass(frozen=True)
class ScanResult:
    """The report of a scan, and the written files."""

    report: dict[str, Any]
    files: tuple[Path, ...]


class _Plan(NamedTuple):
    """The outputs of a scan to write."""

    mask: bool
    maps: bool
    dicom_seg: bool


@dataclass(frozen=True)
class ScanJob:
    """Options for segmenting scans.

    Attributes:
        skip_existing: write only missing outputs.
        probabilities: also write a probability map per organ.
        dicom_seg: also write a DICOM segmentation of a DICOM series.
    """

    predictor: Predictor
    model: Path
    skip_existing: bool = False
    probabilities: bool = False
    dicom_seg: bool = False

    def segment(self, target: Target, share: Callable[[float], None]) -> ScanResult | None:
        """Segment one scan and write its files; None if all requested outputs exist.

        An existing mask that is kept is the source of further files, even if it was corrected by
        hand.

        Args:
            share: called with the completed share of the scan, from 0 to 1.

        Raises:
            FileNotFoundError, ValueError: the scan cannot be read, or an existing mask shows other
                organs; or no DICOM segmentation can refer to the series, after mask and report were
                written.
        """
        kept = self.skip_existing and target.mask.is_file()
        earlier = self._earlier_report(target) if kept else {}
        plan = self._plan(target, kept, earlier)
        if not any(plan):
            return None
        volume = read_volume(target.scan)
        check_fits(target.mask, volume.affine, volume.voxels.shape)
        if plan.mask or plan.maps:
            segmentation = self._predict(target, volume, share)
        if not plan.mask:
            segmentation = self._from_mask(target, volume)
        report = self._report(target, segmentation)
        if kept:
            organs = {**earlier.get("organs", {}), **segmentation.organs}
            report = {**report, **earlier, "organs": organs}
        _write_report(target, report)
        if plan.mask:
            segmentation.save(target.mask)
        # Last, so that the mask is written even if no DICOM segmentation can refer to the series.
        seg_written = plan.dicom_seg and bool(segmentation.labels.any())
        if seg_written:
            self._write_dicom_seg(target, segmentation)
        if self.dicom_seg or "dicom_seg" in earlier:
            there = bool(segmentation.labels.any())  # DICOM has no segmentation without a frame
            report["dicom_seg"] = str(target.dicom_seg) if there else None
            _write_report(target, report)
        written = {
            target.mask: plan.mask,
            target.dicom_seg: seg_written,
            target.probabilities: plan.maps,
            target.report: True,
        }
        return ScanResult(report, tuple(path for path, new in written.items() if new))

    def _plan(self, target: Target, kept: bool, earlier: dict[str, Any]) -> _Plan:
        """The requested outputs that are missing."""
        return _Plan(
            mask=not kept,
            maps=self.probabilities and not (kept and self._has_maps(target)),
            dicom_seg=self.dicom_seg and not (kept and _has_seg(target, earlier)),
        )

    def _predict(
        self, target: Target, volume: Volume, share: Callable[[float], None]
    ) -> Segmentation:
        """Segment with the network, and write its probabilities plane by plane."""
        with kept_probabilities(
            target.probabilities if self.probabilities else None,
            volume,
            self.predictor.opened.spec,
            self.predictor.organs,
        ) as keep:
            return self.predictor.segment_volume(
                volume,
                source=target.scan,
                tick=lambda done, windows: share(done / windows),
                keep=keep,
            )

    def _from_mask(self, target: Target, volume: Volume) -> Segmentation:
        """The segmentation in an existing mask, checked against scan and organs."""
        case = RawCase(stem_of(target.mask), target.scan, target.mask)
        mask = checked_mask(read_labels(target.mask), volume, case, self.predictor.opened.spec)
        return self.predictor.measure(mask.voxels, volume, source=target.scan)

    def _earlier_report(self, target: Target) -> dict[str, Any]:
        """The report of an existing mask; empty if there is none."""
        if not target.report.is_file():
            return {}
        try:
            report: dict[str, Any] = json.loads(read_text(target.report))
            shown = set(report["organs"])
        except (ValueError, TypeError, KeyError, RecursionError) as fault:
            raise ValueError(
                f"{target.report}: not a report of tak predict ({fault}); remove it"
            ) from None
        missing = [name for name in self.predictor.organs if name not in shown]
        if missing:
            raise ValueError(
                f"{target.mask}: written without {', '.join(missing)}; omit --skip-existing, "
                "or give another folder"
            )
        return report

    def _has_maps(self, target: Target) -> bool:
        return all(file_of(target.probabilities, name).is_file() for name in self.predictor.organs)

    def _write_dicom_seg(self, target: Target, segmentation: Segmentation) -> None:
        from segmentation.inference.dicom_seg import write_dicom_seg  # needs the extra `dicom`

        opened = self.predictor.opened
        organs = [opened.spec.organ(name) for name in self.predictor.organs]
        shades = colors(opened.spec.classes)
        write_dicom_seg(
            target.dicom_seg,
            segmentation.labels,
            target.scan,
            organs,
            [shades[organ.label] for organ in organs],
            algorithm=opened.config.title,
            version=f"step {opened.step}",
        )

    def _report(self, target: Target, segmentation: Segmentation) -> dict[str, Any]:
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
            "warning": segmentation.doubt,
            "organs": segmentation.organs,
        }


def make_folders(targets: Iterable[Target]) -> None:
    """Create the folders of the masks, and check that they are writable.

    Raises:
        OSError: one is not, or a folder has the name of a mask.
    """
    targets = list(targets)
    for folder in dict.fromkeys(target.mask.parent for target in targets):
        make_writable(folder)
    for target in targets:
        if target.mask.is_dir():
            raise OSError(f"{target.mask}: a folder of that name exists")


def write_colors(targets: Sequence[Target], output: Path, classes: Sequence[str]) -> list[Path]:
    """Write names and colors for 3D Slicer (.ctbl) and ITK-SNAP (.label) next to the masks."""
    file_given = len(targets) == 1 and targets[0].mask == output
    stem = output.with_name(stem_of(output)) if file_given else output / "organs"
    files = [stem.with_name(stem.name + suffix) for suffix in (".ctbl", ".label")]
    write_slicer_colors(files[0], classes)
    write_itksnap_labels(files[1], classes)
    return files


def _has_seg(target: Target, report: dict[str, Any]) -> bool:
    """Whether the DICOM segmentation exists, or was omitted because no organ was found."""
    return target.dicom_seg.is_file() or report.get("dicom_seg", "") is None


def _write_report(target: Target, report: dict[str, Any]) -> None:
    write_whole(target.report, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
