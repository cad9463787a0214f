"""Small DICOM objects written by pydicom: slices, enhanced multi-frame files, odd objects."""

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
DOSE = "1.2.840.10008.5.1.4.1.1.481.2"


def body(slices=6, rows=8, columns=10) -> np.ndarray:
    """HU [slices, rows, columns]; every voxel differs."""
    return np.arange(slices * rows * columns, dtype=float).reshape(slices, rows, columns) - 1000


def positions(count, step=5.0, tilt=0.0):
    return [(-100.0, -90.0 + tilt * i, step * i) for i in range(count)]


def write_slice(path, hu, position, *, slope=1.0, intercept=-1024.0, series="1.2.3.5", **tags):
    """One CT slice [rows, columns] of HU; `tags` are set, or deleted if None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = tags.get("SOPClassUID", CT)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    stored = np.clip(np.round((hu - intercept) / slope), 0, 65535).astype(np.uint16)
    values = {
        "SOPClassUID": CT,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "PatientName": "Doe^Jane",
        "PatientID": "1",
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyID": "",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "StudyDate": "20200101",
        "StudyTime": "000000",
        "StudyInstanceUID": "1.2.3.4",
        "SeriesInstanceUID": series,
        "FrameOfReferenceUID": "1.2.3.6",
        "Modality": "CT",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "SliceThickness": 5,
        "ImagePositionPatient": list(position),
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [2, 3],
        "Rows": hu.shape[-2],
        "Columns": hu.shape[-1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
        **tags,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(header, keyword, list(value) if isinstance(value, tuple) else value)
    header.PixelData = stored.tobytes()
    header.save_as(path, enforce_file_format=True)
    return stored * slope + intercept


def write_series(folder, hu, places=None, **tags):
    """A file per slice; a tag may be a list, one value per slice. Returns the stored HU."""
    stored = []
    for i, plane in enumerate(hu):
        here = {k: v[i] if isinstance(v, list) else v for k, v in tags.items()}
        place = (places or positions(len(hu)))[i]
        here = {"InstanceNumber": i, **here}
        stored.append(write_slice(folder / f"{i:03}.dcm", plane, place, **here))
    return np.stack(stored)


def _item(**values):
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return Sequence([item])


def write_enhanced(path, hu, places, *, slopes=None, order=None, stacks=None, **tags):
    """One enhanced CT file; `places[i]`, `slopes[i]` and `stacks[i]` are those of slice i."""
    order = list(range(len(hu)) if order is None else order)
    slopes = [1.0] * len(hu) if slopes is None else slopes
    shared = Dataset()
    shared.PixelMeasuresSequence = _item(PixelSpacing=[2, 3], SliceThickness=5)
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    frames = []
    for i in order:
        frame = Dataset()
        frame.PlanePositionSequence = _item(ImagePositionPatient=list(places[i]))
        frame.PixelValueTransformationSequence = _item(
            RescaleSlope=slopes[i], RescaleIntercept=-1024, RescaleType="HU"
        )
        if stacks:
            frame.FrameContentSequence = _item(StackID=stacks[i])
        frames.append(frame)
    stored = np.stack([np.round((hu[i] + 1024) / slopes[i]).astype(np.uint16) for i in order])
    none = dict.fromkeys(
        ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
         "RescaleSlope", "RescaleIntercept"), None
    )  # fmt: skip
    write_slice(
        path, stored - 1024.0, (0, 0, 0), **none | {
            "SOPClassUID": EnhancedCTImageStorage,
            "NumberOfFrames": len(hu),
            "SharedFunctionalGroupsSequence": Sequence([shared]),
            "PerFrameFunctionalGroupsSequence": Sequence(frames),
        } | tags
    )  # fmt: skip
