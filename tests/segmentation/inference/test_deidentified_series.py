"""A DICOM segmentation can be written for a series whatever de-identification left of its tags."""

import numpy as np
import pydicom
import pytest

from segmentation.data.descriptor import Organ
from segmentation.inference.dicom_seg import write_dicom_seg
from tests.support.dicom_objects import body, write_series

ORGAN = Organ(name="liver", label=1, size="large")
TAGS = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "StudyDate", "StudyTime", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "SOPInstanceUID", "SeriesNumber", "SliceThickness", "InstanceNumber",
)  # fmt: skip


def segmentation(folder):
    labels = np.zeros((10, 8, 4), np.uint8)
    labels[2:5, 3:6, 1:3] = 1
    write_dicom_seg(
        folder.parent / "seg.dcm", labels, folder, [ORGAN], [(255, 0, 0)],
        algorithm="a", version="1",
    )  # fmt: skip
    return pydicom.dcmread(folder.parent / "seg.dcm")


def series(folder, **tags):
    write_series(folder, body(4), **tags)
    return folder


@pytest.mark.parametrize("value", [None, "", "odd \\ value"])
@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.filterwarnings("ignore:::pydicom")
def test_any_tag_may_be_missing_empty_or_odd(tmp_path, tag, value):
    folder = series(tmp_path / "s")
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        if value is None:
            delattr(header, tag)
        elif value == "" or header[tag].VR not in ("IS", "DS", "PN"):
            header[tag]._value = value
        header.save_as(path)
    assert segmentation(folder).NumberOfFrames == 2


@pytest.mark.filterwarnings("ignore:::pydicom")
def test_all_tags_may_be_empty_and_generated_uids_are_the_same_every_time(tmp_path):
    folder = series(
        tmp_path / "s", **{tag: "" for tag in TAGS if not tag.endswith(("Number", "Thickness"))}
    )
    one, other = segmentation(folder), segmentation(folder)
    assert one.FrameOfReferenceUID == other.FrameOfReferenceUID
    assert one.StudyInstanceUID == other.StudyInstanceUID != one.FrameOfReferenceUID


def test_valid_tags_are_copied(tmp_path):
    seg = segmentation(series(tmp_path / "s", PatientSex="F", PatientBirthDate="19700131"))
    assert (seg.PatientName, seg.PatientSex, seg.PatientBirthDate) == ("Doe^Jane", "F", "19700131")
    assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID) == ("1.2.3.4", "1.2.3.6")
