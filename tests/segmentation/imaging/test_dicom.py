"""DICOM series are read as they are, or refused with the slice named."""

import logging
import re
import warnings

import numpy as np
import pydicom
import pytest

from segmentation.imaging.dicom_files import find_series, folders_with_dicom
from segmentation.imaging.dicom_frames import ordered_frames
from segmentation.imaging.volume import read_volume
from tests.support.dicom_objects import (
    DOSE,
    body,
    positions,
    write_enhanced,
    write_series,
    write_slice,
)


def check(volume, hu, step=(0, 0, 5.0)):
    """Every voxel has the HU of its place; the affine is that of the positions, in RAS."""
    np.testing.assert_allclose(volume.voxels, hu.transpose(2, 1, 0), atol=1e-3)
    expected = np.array([[-3, 0, -step[0]], [0, -2, -step[1]], [0, 0, step[2]]])
    np.testing.assert_allclose(volume.affine[:3, :3], expected, atol=1e-6)


@pytest.mark.parametrize("order", [range(6), (3, 1, 5, 0, 2, 4)])
@pytest.mark.parametrize("slopes", [[1.0] * 6, [1.0] * 3 + [0.5] * 3])
@pytest.mark.parametrize("tilt", [0.0, 1.5])
def test_frames_of_an_enhanced_object_are_sorted_scaled_and_placed(tmp_path, order, slopes, tilt):
    write_enhanced(tmp_path / "a.dcm", body(), positions(6, tilt=tilt), slopes=slopes, order=order)
    check(read_volume(tmp_path), body(), (0, tilt, 5.0))
    check(read_volume(tmp_path / "a.dcm"), body(), (0, tilt, 5.0))


def test_several_files_of_one_enhanced_series_are_joined(tmp_path):
    places, hu = positions(6), body()
    write_enhanced(tmp_path / "b.dcm", hu[:2], places[:2])
    write_enhanced(tmp_path / "a.dcm", hu[2:], places[2:])
    check(read_volume(tmp_path), hu)


def test_gaps_phases_and_stacks_of_an_enhanced_object_are_refused(tmp_path):
    gap = [(x, y, z + 50 * (z > 12)) for x, y, z in positions(6)]
    write_enhanced(tmp_path / "gap" / "a.dcm", body(), gap)
    with pytest.raises(ValueError, match=r"55 mm apart between a.dcm frame 3 and a.dcm frame 4"):
        read_volume(tmp_path / "gap")
    twice = [place for place in positions(3) for _ in range(2)]
    write_enhanced(tmp_path / "two" / "a.dcm", body(), twice, stacks=["1", "2"] * 3)
    with pytest.raises(ValueError, match=r"2 slices at every position.*StackID 1, StackID 2"):
        read_volume(tmp_path / "two")


def test_frames_without_positions_and_single_slices_take_the_slice_thickness(tmp_path):
    write_slice(tmp_path / "old" / "a.dcm", body(), (0, 0, 0), NumberOfFrames=6)
    volume = read_volume(tmp_path / "old")
    check(volume, body())
    assert "stacked 5 mm apart (SliceThickness)" in volume.issues[0].text
    write_slice(tmp_path / "one" / "a.dcm", body()[0], (0, 0, 0))
    volume = read_volume(tmp_path / "one")
    assert volume.spacing_mm == (3, 2, 5)
    assert volume.issues[0].doubtful
    write_slice(tmp_path / "thin" / "a.dcm", body()[0], (0, 0, 0), SliceThickness=None)
    with pytest.raises(ValueError, match="a single slice without SliceThickness"):
        read_volume(tmp_path / "thin")


@pytest.mark.parametrize(
    ("slopes", "intercepts"),
    [
        ([1.0] * 6, [0.0] + [-1024.0] * 5),
        ([1.0] + [0.37] * 5, [-1024.0] * 6),
        ([0.37] + [1.0] * 5, [-1024.0] * 6),
        ([1.0] * 6, [-1024.5] * 6),
    ],
)
def test_every_slice_has_its_own_rescale_slope_and_intercept(tmp_path, slopes, intercepts):
    hu = write_series(tmp_path, body(), slope=slopes, intercept=intercepts)
    check(read_volume(tmp_path), hu)


@pytest.mark.parametrize("odd", [0, 2, 5])
@pytest.mark.parametrize(
    ("keyword", "usual", "other", "word"),
    [
        ("ImageOrientationPatient", (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), "orientation.*cross"),
        ("ImageOrientationPatient", (1, 0, 0, 0, 1, 0), (0, 1, 0, 1, 0, 0), "orientation"),
        ("PixelSpacing", (2, 3), (2, 3.1), "pixel spacing"),
        ("FrameOfReferenceUID", "1.2.3.6", "1.2.3.7", "frame of reference"),
    ],
)
def test_a_slice_unlike_the_others_is_named_wherever_it_stands(
    tmp_path, odd, keyword, usual, other, word
):
    values = [other if i == odd else usual for i in range(6)]
    values = [v if isinstance(v, str) else list(map(float, v)) for v in values]
    write_series(tmp_path, body(), **{keyword: values})
    with pytest.raises(ValueError, match=rf"00{odd}\.dcm has another {word}"):
        read_volume(tmp_path)


@pytest.mark.parametrize("odd", [0, 3])
def test_a_slice_of_another_size_is_named(tmp_path, odd):
    write_series(tmp_path, body())
    write_slice(tmp_path / f"00{odd}.dcm", body(1, 4, 5)[0], positions(6)[odd])
    with pytest.raises(ValueError, match=rf"00{odd}\.dcm has another size"):
        read_volume(tmp_path)


@pytest.mark.parametrize("series", ["1.2.3.5", "1.2.3.99"])
def test_a_localizer_is_left_out_and_reported(tmp_path, series):
    write_series(tmp_path, body())
    write_slice(
        tmp_path / "zz.dcm", body(1, 4, 4)[0], (0, 0, 0), series=series,
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
    )  # fmt: skip
    volume = read_volume(tmp_path)
    check(volume, body())
    assert [issue.kind for issue in volume.issues] == ["note"]
    assert "zz.dcm (localizer)" in volume.issues[0].text


def test_an_rt_dose_a_report_and_a_directory_beside_a_series_are_left_out(tmp_path):
    write_series(tmp_path, body())
    write_slice(tmp_path / "dose.dcm", body()[0], (0, 0, 0), SOPClassUID=DOSE, Modality="RTDOSE",
                series="1.2.9")  # fmt: skip
    write_slice(tmp_path / "report.dcm", body()[0], (0, 0, 0), Modality="SR", series="1.2.8")
    write_slice(tmp_path / "index", body()[0], (0, 0, 0), SOPClassUID="1.2.840.10008.1.3.10")
    volume = read_volume(tmp_path)
    check(volume, body())
    assert "dose.dcm (radiotherapy dose), report.dcm (structured report)" in volume.issues[0].text


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Modality": "RTDOSE"}, "only 000.dcm (radiotherapy dose)"),
        ({"Modality": "SEG"}, "(segmentation)"),
        ({"Modality": "CR"}, "(X-ray image)"),
        ({"Modality": "XYZ"}, "(object of modality XYZ)"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1"),
        ({"ImageType": "LOCALIZER"}, "localizers (scouts) alone"),
    ],
)
def test_what_is_no_slice_is_refused_by_name(tmp_path, tags, message):
    write_series(tmp_path, body(), **tags)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_volume(tmp_path)


def test_empty_uids_of_anonymized_series_do_not_matter(tmp_path):
    write_series(tmp_path, body(), series="", FrameOfReferenceUID="", StudyInstanceUID=None)
    check(read_volume(tmp_path), body())


def test_missing_tags_and_positions_are_named(tmp_path):
    lost = [None if i == 2 else place for i, place in enumerate(map(list, positions(6)))]
    write_series(tmp_path / "a", body(), ImagePositionPatient=lost)
    with pytest.raises(ValueError, match=r"002\.dcm has no ImagePositionPatient"):
        read_volume(tmp_path / "a")
    write_series(tmp_path / "b", body(), PixelSpacing=None)
    with pytest.raises(ValueError, match=r"000\.dcm: PixelSpacing is missing or empty"):
        read_volume(tmp_path / "b")
    write_series(tmp_path / "c", body(), [(0, 0, 0)] * 6)
    with pytest.raises(ValueError, match="all 6 slices are at the same position"):
        read_volume(tmp_path / "c")


def test_positions_rounded_to_a_tenth_are_no_missing_slice(tmp_path):
    hu = body(24)
    write_series(tmp_path, hu, [(0, 0, round(0.625 * i, 1)) for i in range(24)])
    assert read_volume(tmp_path).spacing_mm[2] == pytest.approx(0.625, rel=0.01)


def test_series_below_a_study_are_found(tmp_path):
    write_series(tmp_path / "patient" / "study" / "series", body())
    write_series(tmp_path / "patient" / "other", body())
    found = folders_with_dicom(tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in found] == [
        "patient/other",
        "patient/study/series",
    ]


def test_a_single_slice_is_no_scan(tmp_path):
    write_series(tmp_path, body())
    with pytest.raises(ValueError, match="one slice of a DICOM series; give the folder"):
        read_volume(tmp_path / "000.dcm")


def test_frames_are_those_that_pydicom_reads(tmp_path):
    write_series(tmp_path, body(), list(reversed(positions(6))))
    frames, _ = ordered_frames(find_series(tmp_path))
    heights = [float(pydicom.dcmread(f.file.path).ImagePositionPatient[2]) for f in frames]
    assert heights == sorted(heights)


def test_no_warning_or_log_line_shows_a_patient_s_name(tmp_path, capfd, caplog):
    write_series(tmp_path, body(), PatientName="Doe^Jane")
    for path in tmp_path.iterdir():
        content = path.read_bytes().replace(b"Doe^Jane", b"D\xffe\\Jane").replace(b"DA", b"UI")
        path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        read_volume(tmp_path)
    assert "Jane" not in " ".join([*map(str, caught), caplog.text, *capfd.readouterr()])
