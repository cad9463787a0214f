"""Predictor: segments scans with a trained run or a bundle, and measures the organs."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge.common.suggest import unknown
from pipeline.runs.devices import explain_device_errors, select_device
from pipeline.runs.open_model import open_model
from segmentation.data.descriptor import BACKGROUND, DatasetSpec, Organ
from segmentation.imaging.affines import is_straight, tilt_degrees
from segmentation.imaging.colors import colors
from segmentation.imaging.measure import intensity_warning, measure_organs
from segmentation.imaging.volume import Volume, label_type, read_volume, write_labels
from segmentation.inference.prediction import PlaneSink, predict_scan
from segmentation.inference.slicer_segments import segment_fields
from segmentation.inference.sliding_window import Tick


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The mask of a scan.

    Attributes:
        labels: [i, j, k] on the scan's own grid, in its array order; 0 is background.
        affine: of the scan, voxel index to RAS+ mm.
        classes: class names by label value; organs that were not requested have no voxel.
        organs: label, voxels, volume_ml and mean_hu (None without a voxel) by organ name.
        doubt: a warning that the scan may differ from the training data; None if there is none.
        described: the requested organs as the descriptor has them.
    """

    labels: NDArray[np.integer]
    affine: NDArray[np.float64]
    classes: tuple[str, ...]
    organs: dict[str, dict[str, Any]]
    doubt: str | None = None
    described: tuple[Organ, ...] = ()

    def mask(self, organ: str) -> NDArray[np.bool_]:
        """The mask of an organ, [i, j, k].

        Raises:
            LookupError: no organ of that name.
        """
        if organ not in self.organs:
            raise LookupError(unknown("organ", organ, tuple(self.organs)))
        return self.labels == self.organs[organ]["label"]

    def save(self, path: str | Path) -> None:
        """Write the mask as NIfTI, NRRD or MetaImage by the suffix, atomically.

        NRRD carries names, colors and SNOMED CT codes of the organs for 3D Slicer (`.seg.nrrd`).
        """
        table = colors(self.classes)
        shades = [table[organ.label] for organ in self.described]
        fields = segment_fields(self.described, shades, self.labels.shape)
        write_labels(path, self.labels, self.affine, label_type(len(self.classes)), fields)


class Predictor:
    """Segments scans with the network of a trained run or of a bundle.

    Args:
        path: a run's folder, a checkpoint file or a bundle.
        organs: restrict masks to these, by name or alias; all organs if None. The network still
            chooses among all classes.
        checkpoint: `best` or `last`, where `path` is a run's folder.
        predictor: name of another network than that of the recipe, such as `teacher`.
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        FileNotFoundError, ValueError: no readable model there.
        LookupError: no such organ or network.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        organs: Sequence[str] | None = None,
        checkpoint: str = "best",
        predictor: str | None = None,
        device: str = "auto",
    ) -> None:
        self.opened = open_model(
            Path(path), checkpoint=checkpoint, predictor=predictor, device=select_device(device)
        )
        self.organs = _chosen(self.opened.spec, organs)

    def segment(
        self, scan: str | Path | Volume, *, tick: Tick | None = None, keep: PlaneSink | None = None
    ) -> Segmentation:
        """The mask of a scan; warns if intensities do not look like HU, or orientation is unknown.

        Args:
            scan: a file, the folder of a DICOM series, or voxels in HU with their affine.
            tick: called with the windows done and all windows.
            keep: called with class probabilities on the scan's grid, plane by plane.

        Raises:
            FileNotFoundError, ValueError: no scan there, or a damaged one.
        """
        volume = scan if isinstance(scan, Volume) else read_volume(scan)
        source = None if isinstance(scan, Volume) else Path(scan)
        mask = self.segment_volume(volume, source=source, tick=tick, keep=keep)
        if mask.doubt:
            warnings.warn(f"{source or 'the scan'}: {mask.doubt}", stacklevel=2)
        return mask

    def segment_volume(
        self,
        volume: Volume,
        *,
        source: Path | None = None,
        tick: Tick | None = None,
        keep: PlaneSink | None = None,
    ) -> Segmentation:
        """As `segment`, without warnings; `source` is the path of the scan."""
        opened = self.opened
        planes_of = partial(opened.planes, tick=tick)
        with explain_device_errors(opened.device, "--device cpu does not need it"):
            labels = predict_scan(planes_of, volume, opened.spec, opened.device, keep=keep)
        return self.measure(labels, volume, source=source)

    def measure(
        self, labels: NDArray[np.integer], volume: Volume, *, source: Path | None = None
    ) -> Segmentation:
        """The measured segmentation of a mask [i, j, k], restricted to the chosen organs."""
        opened = self.opened
        count = len(opened.spec.classes)
        shown = np.zeros(count, dtype=label_type(count))
        for name in self.organs:
            shown[opened.spec.labels[name]] = opened.spec.labels[name]
        chosen = shown[labels]
        headers = (issue.text for issue in volume.issues)
        doubts = (*headers, _tilted(volume), intensity_warning(volume))
        organs = {name: opened.spec.labels[name] for name in self.organs}
        return Segmentation(
            labels=chosen,
            affine=volume.affine,
            classes=opened.spec.classes,
            organs=measure_organs(chosen, volume, organs),
            doubt="; ".join(filter(None, doubts)) or None,
            described=tuple(opened.spec.organ(name) for name in self.organs),
        )


def _tilted(volume: Volume) -> str | None:
    """A warning that some viewers cannot show a mask; None if its axes are orthogonal."""
    if is_straight(volume.affine, volume.voxels.shape):
        return None
    return (
        f"its axes are {tilt_degrees(volume.affine):.1f} degrees off the right angle (a tilted "
        "gantry); the mask keeps that, but 3D Slicer and ITK-SNAP open no such NIfTI file, and "
        "stack the slices of a DICOM segmentation straight"
    )


def _chosen(spec: DatasetSpec, organs: Sequence[str] | None) -> tuple[str, ...]:
    """Organ names in label order, from names and aliases."""
    if organs is None:
        return spec.classes[1:]
    unwanted = [name for name in organs if name.casefold() == BACKGROUND]
    if unwanted or not organs:
        raise LookupError(f"{BACKGROUND} is no organ; there is {', '.join(spec.classes[1:])}")
    wanted = {spec.organ(name).name for name in organs}
    return tuple(name for name in spec.classes if name in wanted)
