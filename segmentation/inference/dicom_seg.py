"""Masks as DICOM segmentation objects, which viewers and archives lay over the series itself.

The one file that needs highdicom and pydicom (the extra `dicom`).
"""

import re
from collections.abc import Sequence
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, generate_uid

from segmentation.common.files import replacing
from segmentation.data.descriptor import Organ
from segmentation.imaging.colors import Color
from segmentation.imaging.dicom_files import find_series, quiet, value_of
from segmentation.imaging.dicom_frames import ordered_frames

Array = np.ndarray

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")
_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
# Tags that a segmentation copies and that may be empty (type 2), with patterns of valid values.
_TYPE_2 = {
    "PatientName": r".{0,64}", "PatientID": r".{0,64}", "PatientBirthDate": r"\d{8}",
    "PatientSex": r"[MFO]", "StudyID": r".{0,16}", "AccessionNumber": r".{0,16}",
    "ReferringPhysicianName": r".{0,64}", "StudyDate": r"\d{8}",
    "StudyTime": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?",
}  # fmt: skip
_SIDES = {"right": codes.SCT.Right, "left": codes.SCT.Left}


def write_dicom_seg(
    path: Path,
    labels: Array,
    series: Path,
    organs: Sequence[Organ],
    shades: Sequence[Color],
    *,
    algorithm: str,
    version: str,
) -> None:
    """Write a binary DICOM segmentation, a segment per organ, atomically.

    Segments are numbered 1, 2, ... in the order of `organs`; they carry name, color and SNOMED CT
    code, with the side as a modifier. An organ whose descriptor gives no code is an `Organ`. A
    segment without a voxel is described, but has no frame. Patient, study and place are those of
    the series (DICOM PS3.3, A.51); tags that de-identification removed are empty, lost UIDs are
    replaced by generated ones.

    Args:
        labels: uint8 [i, j, k] on the grid of the series as `read_volume` reads it.
        series: folder of the DICOM series.
        shades: red, green, blue of each organ.
        algorithm, version: of the program that made the mask.

    Raises:
        FileNotFoundError, ValueError: no series there, one that has other slices than the mask,
            several frames in a file, or a mask without any organ.
    """
    frames_read, _ = ordered_frames(find_series(series))
    slices = [frame.file.header for frame in frames_read]
    with quiet():
        _check(slices, labels, series)
        _complete(slices, series)
        _fill_thickness(slices)
    numbers = np.zeros(256, dtype=np.uint8)
    numbers[[organ.label for organ in organs]] = range(1, len(organs) + 1)
    frames = np.ascontiguousarray(numbers[labels].transpose(2, 1, 0))  # slices, rows, columns
    if not frames.any():
        raise ValueError(f"{series}: the mask is empty, and an empty DICOM segmentation is invalid")
    with quiet():
        segmentation = _segmentation(slices, frames, organs, shades, algorithm, version)
    with replacing(path) as partial, quiet():
        segmentation.save_as(partial)


def _segmentation(
    slices: Sequence[pydicom.Dataset],
    frames: Array,
    organs: Sequence[Organ],
    shades: Sequence[Color],
    algorithm: str,
    version: str,
) -> Segmentation:
    segmentation = Segmentation(
        source_images=slices,
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=[
            _described(number, organ, shade, algorithm, version)
            for number, (organ, shade) in enumerate(zip(organs, shades, strict=True), start=1)
        ],
        series_instance_uid=highdicom.UID(),
        series_number=_series_number(slices[0]),
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="tak-seg",
        manufacturer_model_name=algorithm,
        software_versions=version,
        device_serial_number="0",
        content_label="SEGMENTATION",
        content_description="Made by a research network; not for diagnosis",
    )
    segmentation.ContentCreatorName = ""  # has to be there, may be empty (type 2 of PS3.3, 10.9)
    segmentation.SeriesDescription = f"{algorithm} segmentation"[:64]
    return segmentation


def _described(
    number: int, organ: Organ, shade: Color, algorithm: str, version: str
) -> SegmentDescription:
    kind = codes.SCT.Organ
    if organ.snomed is not None:
        name = organ.name.replace(organ.side or "", "").strip()
        kind = Code(organ.snomed, "SCT", name.capitalize())
    description = SegmentDescription(
        segment_number=number,
        segment_label=organ.name[:64],
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=algorithm[:64], version=version, family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=highdicom.UID(),
        tracking_id=organ.name[:64],
        display_color=highdicom.color.CIELabColor.from_rgb(*shade),
    )
    if organ.side is not None:
        side = highdicom.sr.CodedConcept.from_code(_SIDES[organ.side])
        kinds = description.SegmentedPropertyTypeCodeSequence
        kinds[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return description


def _check(slices: Sequence[pydicom.Dataset], labels: Array, series: Path) -> None:
    first = slices[0]
    if int(getattr(first, "NumberOfFrames", 1)) > 1:
        raise ValueError(
            f"{series}: a file with several frames; DICOM segmentations are written for series "
            "of one slice per file"
        )
    shape = int(first.Columns), int(first.Rows), len(slices)
    if labels.shape != shape:
        raise ValueError(f"{series}: has {shape} voxels, the mask {labels.shape}")


def _complete(slices: Sequence[pydicom.Dataset], series: Path) -> None:
    """Fill in what de-identification removed: empty type 2 tags, and UIDs in place of lost ones."""
    for number, one in enumerate(slices):
        for keyword, pattern in _TYPE_2.items():
            text = str(value_of(one, keyword) or "")
            if not text or not re.fullmatch(pattern, text):
                setattr(one, keyword, "")
        for keyword in _UIDS:
            if not UID(str(value_of(one, keyword) or "")).is_valid:
                source = [keyword, str(series.resolve())]
                source += [str(number)] if keyword == "SOPInstanceUID" else []
                setattr(one, keyword, generate_uid(entropy_srcs=source))  # the same every time
        if not UID(str(value_of(one, "SOPClassUID") or "")).is_valid:
            one.SOPClassUID = _CT_IMAGE


def _fill_thickness(slices: Sequence[pydicom.Dataset]) -> None:
    """Slices may leave their thickness empty; a segmentation may not: the distance stands in."""
    x, y = np.array(slices[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    heights = [np.cross(x, y) @ np.array(one.ImagePositionPatient, dtype=float) for one in slices]
    distance = float(np.abs(np.diff(heights)).mean()) if len(slices) > 1 else 1.0
    for one in slices:
        if not value_of(one, "SliceThickness"):
            one.SliceThickness = round(distance, 6)


def _series_number(first: pydicom.Dataset) -> int:
    """A number that viewers sort behind the series itself."""
    try:
        return int(value_of(first, "SeriesNumber") or 0) + 1000
    except (TypeError, ValueError):
        return 1000
