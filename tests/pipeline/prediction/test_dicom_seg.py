"""DICOM segmentations, read again by pydicom alone and placed by the standard's own formula."""

import importlib.util
import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.colors import colors
from segmentation.imaging.volume import read_volume
from segmentation.inference.dicom_seg import write_dicom_seg
from tests.support.dicom_series import write_series
from tests.support.paths import DATA
from tests.support.small_run import make_run

SPEC = DatasetSpec.read(DATA / "phantom.toml")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("seg") / "run", SPEC)


@pytest.fixture
def series(tmp_path) -> Path:
    """An oblique scan of air and tissue, in which an untrained network sees several organs."""
    gray = np.random.default_rng(0).normal(40, 150, (9, 12, 10))
    gray[:, :2] = -1000
    image = SimpleITK.GetImageFromArray(2 * (gray // 2).astype(np.int16))
    image.SetSpacing((5.0, 6.0, 8.0))
    image.SetOrigin((-40, 25, 7))
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    image.SetDirection(turn.ravel().tolist())
    write_series(tmp_path / "series", image)
    return tmp_path / "series"


def voxels_in_patient(found: pydicom.Dataset) -> dict[int, np.ndarray]:
    """Centers of all voxels of every segment in LPS mm (PS3.3, C.7.6.2.1.1), rounded."""
    shared = found.SharedFunctionalGroupsSequence[0]
    row, column = np.reshape(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)
    ).astype(float)
    down, right = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    places: dict[int, list[np.ndarray]] = {}
    for frame, group in zip(found.pixel_array, found.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        rows, columns = np.nonzero(frame)
        steps = columns[:, None] * row * right + rows[:, None] * column * down
        places.setdefault(number, []).append(corner + steps)
    return {number: as_set(np.concatenate(found)) for number, found in places.items()}


def as_set(places: np.ndarray) -> np.ndarray:
    return np.unique(np.round(places, 2) + 0.0, axis=0)


def test_every_voxel_lies_in_the_patient_where_the_nifti_mask_has_it(tak, run, series, tmp_path):
    words = ["-o", tmp_path / "mask.nii.gz", "--dicom-seg"]
    code, out, err = tak("predict", run, series, *words)
    assert code == 0, err
    assert f"wrote {tmp_path}/mask.nii.gz, {tmp_path}/mask.seg.dcm" in out
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    labels = np.asarray(mask.dataobj)
    found = pydicom.dcmread(tmp_path / "mask.seg.dcm")
    places = voxels_in_patient(found)
    assert set(places) == set(np.unique(labels)) - {0}
    assert len(places) > 2
    for number, expected in places.items():
        ras = nibabel.affines.apply_affine(mask.affine, np.argwhere(labels == number))
        there = as_set(ras * (-1, -1, 1))
        assert there.shape == expected.shape
        np.testing.assert_allclose(there, expected, atol=0.02)


def test_segments_carry_name_side_code_and_color(tak, run, series, tmp_path):
    assert tak("predict", run, series, "-o", tmp_path / "mask.nii.gz", "--dicom-seg")[0] == 0
    found = pydicom.dcmread(tmp_path / "mask.seg.dcm")
    assert found.SOPClassUID == pydicom.uid.SegmentationStorage
    assert found["ContentCreatorName"].is_empty
    assert [one.SegmentLabel for one in found.SegmentSequence] == list(SPEC.classes[1:])
    kidney = found.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0]
    assert (kidney.CodeValue, kidney.CodeMeaning) == ("64033007", "Kidney")
    assert kidney.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Right"
    shades = {tuple(one.RecommendedDisplayCIELabValue) for one in found.SegmentSequence}
    assert len(shades) == len(SPEC.organs)
    scan = pydicom.dcmread(next(series.iterdir()))
    assert found.StudyInstanceUID == scan.StudyInstanceUID
    assert found.FrameOfReferenceUID == scan.FrameOfReferenceUID
    referred = found.ReferencedSeriesSequence[0]
    assert referred.SeriesInstanceUID == scan.SeriesInstanceUID
    report = json.loads((tmp_path / "mask.json").read_text())
    assert report["dicom_seg"] == str(tmp_path / "mask.seg.dcm")


def test_chosen_organs_are_numbered_from_one(tak, run, series, tmp_path):
    words = ["-o", tmp_path / "mask.nii.gz", "--dicom-seg"]
    assert tak("predict", run, series, *words)[0] == 0
    labels = np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj)
    last = SPEC.classes[np.unique(labels)[-1]]
    assert tak("predict", run, series, *words, "--classes", last)[0] == 0
    found = pydicom.dcmread(tmp_path / "mask.seg.dcm")
    assert [one.SegmentLabel for one in found.SegmentSequence] == [last]
    assert found.pixel_array.sum() == (labels == np.unique(labels)[-1]).sum()


@pytest.mark.parametrize("name", ["amos", "synapse", "phantom"])
def test_snomed_codes_are_those_of_the_standards_own_list(name):
    """pydicom carries the codes of DICOM's context groups by keyword."""
    keywords = {"": "Organ"}
    for organ in DatasetSpec.read(DATA / f"{name}.toml").organs:
        word = organ.name.replace(organ.side or "", "").strip()
        keywords[organ.name] = "".join(part.capitalize() for part in word.split())
        if organ.snomed is None:
            assert not hasattr(codes.SCT, keywords[organ.name])
        else:
            assert getattr(codes.SCT, keywords[organ.name]).value == organ.snomed
    assert len(keywords) > 13


def test_a_mask_without_organs_gets_no_segmentation_but_a_warning(run, series, tmp_path, tak):
    words = ["-o", tmp_path / "mask.nii.gz", "--dicom-seg"]
    assert tak("predict", run, series, *words)[0] == 0
    labels = np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj)
    absent = [name for name, label in SPEC.labels.items() if not (labels == label).any()]
    (tmp_path / "mask.seg.dcm").unlink()
    code, _, err = tak("predict", run, series, *words, "--classes", absent[0])
    assert code == 0
    assert "no organ was found, so no DICOM segmentation was written" in err
    assert not (tmp_path / "mask.seg.dcm").exists()


def test_what_is_no_series_and_a_missing_library_are_said_at_once(
    tak, run, series, tmp_path, monkeypatch
):
    (tmp_path / "ct.nii.gz").write_bytes(b"never read")
    words = ["-o", tmp_path / "out", "--dicom-seg"]
    code, _, err = tak("predict", run, series, tmp_path / "ct.nii.gz", *words)
    assert code == 1
    assert f"--dicom-seg refers to the slices of a DICOM series, which {tmp_path}/ct.nii.gz" in err
    monkeypatch.setattr("pipeline.prediction.targets.find_spec", lambda name: None)
    code, _, err = tak("predict", run, series, *words)
    assert (code, "pip install 'tak-seg[dicom]'" in err) == (1, True)
    assert not (tmp_path / "out").exists()
    assert importlib.util.find_spec("highdicom") is not None


def test_another_grid_and_an_empty_mask_are_refused_and_a_lost_uid_is_replaced(series, tmp_path):
    scan = read_volume(series)
    labels = np.ones(scan.voxels.shape, np.uint8)

    def write(labels: np.ndarray) -> None:
        organs = SPEC.by_label[:1]
        shades = colors(SPEC.classes)[1:2]
        path = tmp_path / "x.seg.dcm"
        write_dicom_seg(path, labels, series, organs, shades, algorithm="test", version="1")

    with pytest.raises(ValueError, match=r"has \(10, 12, 9\) voxels, the mask \(10, 12, 8\)"):
        write(labels[:, :, :8])
    with pytest.raises(ValueError, match="the mask is empty"):
        write(np.zeros_like(labels))
    for path in series.iterdir():
        one = pydicom.dcmread(path)
        del one.FrameOfReferenceUID
        one.save_as(path)
    assert not list(tmp_path.glob("*.dcm"))
    write(labels)  # a lost UID is replaced
    assert UID(pydicom.dcmread(tmp_path / "x.seg.dcm").FrameOfReferenceUID).is_valid


def test_a_series_that_no_segmentation_refers_to_keeps_its_mask_and_the_other_scans(
    tak, run, series, tmp_path, monkeypatch
):
    import shutil

    from segmentation.inference import dicom_seg

    def refuse(path, labels, source, *args, **kwargs):
        if source.name == "bare":
            raise ValueError(f"{source}: refused")
        write_dicom_seg(path, labels, source, *args, **kwargs)

    monkeypatch.setattr(dicom_seg, "write_dicom_seg", refuse)
    shutil.copytree(series, tmp_path / "in" / "whole")
    shutil.copytree(series, tmp_path / "in" / "bare")
    code, _, err = tak("predict", run, tmp_path / "in", "-o", tmp_path / "out", "--dicom-seg")
    assert code == 1
    assert "bare: refused" in err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"bare.nii.gz", "whole.nii.gz", "whole.seg.dcm", "bare.json"} <= names
    assert "bare.seg.dcm" not in names
    assert "dicom_seg" not in json.loads((tmp_path / "out/bare.json").read_text())
