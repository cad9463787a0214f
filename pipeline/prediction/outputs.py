"""The work of `tak predict`, one scan at a time: what is written, and what is there already."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """What was made of a scan: the report beside its mask, and the files that were written."""

    report: dict[str, Any]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class ScanJob:
    """How scans are segmented.

    Attributes:
        skip_existing: write only what is not there yet; masks are written last, so they are whole.
        probabilities: also write a probability map per organ.
        dicom_seg: also write a DICOM segmentation beside the mask of a DICOM series.
    """

    predictor: Predictor
    model: Path
    skip_existing: bool = False
    probabilities: bool = False
    dicom_seg: bool = False

    def segment(self, target: Target, share: Callable[[float], None]) -> ScanResult | None:
        """Segment one scan and write its files; None if all that is asked for was there.

        A mask that is there and is to stay is what further files are made from, also where
        somebody has corrected it by hand.

        Args:
            share: told the part of the scan that is done, from 0 to 1.

        Raises:
            FileNotFoundError, ValueError: the scan cannot be read, or a mask that is to stay shows
                other organs.
        """
        stays = self.skip_existing and target.mask.is_file()
        told = self._told(target) if stays else {}
        maps_lack = self.probabilities and not (stays and self._has_maps(target))
        seg_lacks = self.dicom_seg and not (stays and _has_seg(target, told))
        if stays and not maps_lack and not seg_lacks:
            return None
        volume = read_volume(target.scan)
        check_fits(target.mask, volume.affine, volume.voxels.shape)
        found = self._found(target, volume, share) if maps_lack or not stays else None
        if found is None or stays:
            found = self._there(target, volume)
        report = self._report(target, found)
        if stays:
            organs = {**told.get("organs", {}), **found.organs}
            report = {**report, **told, "organs": organs}
        if self.dicom_seg or "dicom_seg" in told:
            report["dicom_seg"] = str(target.dicom_seg) if found.labels.any() else None
        seg_lacks &= bool(found.labels.any())  # DICOM knows no segmentation without a frame
        write_whole(target.report, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        if not stays:
            found.save(target.mask)
        if seg_lacks:  # after the mask: a fault in a series' tags must not lose it
            self._write_dicom_seg(target, found)
        written = {
            target.mask: not stays,
            target.dicom_seg: seg_lacks,
            target.probabilities: maps_lack,
            target.report: True,
        }
        return ScanResult(report, tuple(path for path, new in written.items() if new))

    def _found(
        self, target: Target, volume: Volume, share: Callable[[float], None]
    ) -> Segmentation:
        """What the network sees; its probabilities are written on the way."""
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

    def _there(self, target: Target, volume: Volume) -> Segmentation:
        """What the mask on disk shows, if it lies where the scan lies and knows the same organs."""
        case = RawCase(stem_of(target.mask), target.scan, target.mask)
        mask = checked_mask(read_labels(target.mask), volume, case, self.predictor.opened.spec)
        return self.predictor.measure(mask.voxels, volume, source=target.scan)

    def _told(self, target: Target) -> dict[str, Any]:
        """The report beside a mask that is to stay, none if somebody has put the mask there."""
        if not target.report.is_file():
            return {}
        try:
            told = json.loads(read_text(target.report))
            shown = set(told["organs"])
        except (ValueError, TypeError, KeyError) as fault:
            raise ValueError(
                f"{target.report}: not what tak predict writes ({fault}); remove it"
            ) from None
        lacking = [name for name in self.predictor.organs if name not in shown]
        if lacking:
            raise ValueError(
                f"{target.mask}: made without {', '.join(lacking)}; leave away --skip-existing, "
                "or give another folder"
            )
        return told

    def _has_maps(self, target: Target) -> bool:
        return all(file_of(target.probabilities, name).is_file() for name in self.predictor.organs)

    def _write_dicom_seg(self, target: Target, found: Segmentation) -> None:
        from segmentation.inference.dicom_seg import write_dicom_seg  # needs the extra `dicom`

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


def make_folders(found: Iterable[Target]) -> None:
    """Make the folders of the masks and see that they can be written to.

    Raises:
        OSError: one cannot, or a folder stands where a mask is to be.
    """
    found = list(found)
    for folder in dict.fromkeys(target.mask.parent for target in found):
        make_writable(folder)
    for target in found:
        if target.mask.is_dir():
            raise OSError(f"{target.mask}: a folder of that name is in the way of the mask")


def write_colors(found: Sequence[Target], output: Path, classes: Sequence[str]) -> list[Path]:
    """Names and colors for 3D Slicer (.ctbl) and ITK-SNAP (.label), beside the masks."""
    file_given = len(found) == 1 and found[0].mask == output
    stem = output.with_name(stem_of(output)) if file_given else output / "organs"
    files = [stem.with_name(stem.name + suffix) for suffix in (".ctbl", ".label")]
    write_slicer_colors(files[0], classes)
    write_itksnap_labels(files[1], classes)
    return files


def _has_seg(target: Target, told: dict[str, Any]) -> bool:
    """Whether the DICOM segmentation is there, or was left out because no organ was found."""
    return target.dicom_seg.is_file() or told.get("dicom_seg", "") is None
