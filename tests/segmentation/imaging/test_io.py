import itertools

import nibabel
import numpy as np
import pytest
import SimpleITK

from segmentation.imaging.io import READERS, holds_dicom, stem_of, suffix_of
from segmentation.imaging.volume import read_labels, read_volume, write_labels, write_volume
from tests.support.dicom_series import OBLIQUE, oblique_image, write_series

ORIENTATIONS = [
    (order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def assert_same_place(scan, image: SimpleITK.Image) -> None:
    """Every voxel has the value that SimpleITK finds at its place in space."""
    for index in itertools.product(*map(range, scan.voxels.shape)):
        right, front, up = scan.affine[:3, :3] @ index + scan.affine[:3, 3]
        there = image.TransformPhysicalPointToIndex((-right, -front, up))
        assert scan.voxels[index] == image[there]


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii.gz", ".nii"])
def test_every_format_of_another_library_lies_where_that_library_says(tmp_path, suffix):
    image = oblique_image()
    SimpleITK.WriteImage(image, str(tmp_path / f"scan{suffix}"))
    scan = read_volume(tmp_path / f"scan{suffix}")
    assert scan.voxels.dtype == np.float32
    assert scan.voxels.shape == (7, 6, 5)
    np.testing.assert_allclose(scan.spacing_mm, (0.8, 1.1, 2.5), rtol=1e-5)
    assert_same_place(scan, image)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS[::5])
def test_what_is_written_is_read_again_here_and_elsewhere(tmp_path, suffix, order, flips):
    affine = np.eye(4)
    affine[:3, :3] = (OBLIQUE * (2.0, 3.0, 5.0))[:, order] * flips
    affine[:3, 3] = (4, -5, 6)
    labels = np.random.default_rng(0).integers(0, 5, (4, 5, 6)).astype(np.uint8)
    write_labels(tmp_path / f"mask{suffix}", labels, affine)
    again = read_labels(tmp_path / f"mask{suffix}")
    np.testing.assert_array_equal(again.voxels, labels)
    np.testing.assert_allclose(again.affine, affine, atol=1e-4)
    image = SimpleITK.ReadImage(str(tmp_path / f"mask{suffix}"))
    assert image.GetPixelID() == SimpleITK.sitkUInt8
    assert_same_place(again, image)
    assert [path.name for path in tmp_path.iterdir()] == [f"mask{suffix}"]


def test_a_sheared_grid_is_refused_where_the_format_cannot_hold_it(tmp_path):
    affine = np.eye(4)
    affine[1, 2] = 0.3
    write_volume(tmp_path / "scan.nii.gz", np.zeros((2, 2, 2), np.int16), affine)
    with pytest.raises(ValueError, match=r"right angles .*; write \.nii\.gz instead"):
        write_volume(tmp_path / "scan.nrrd", np.zeros((2, 2, 2), np.int16), affine)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("kept", [0, 0.3, 0.9])
def test_a_truncated_file_is_one_clear_message(tmp_path, suffix, kept):
    path = tmp_path / f"scan{suffix}"
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise), str(path))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match="damaged or not readable") as fault:
        read_volume(path)
    assert str(path) in str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_flat_or_colored_picture_and_several_frames_are_refused(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    SimpleITK.WriteImage(SimpleITK.Image(4, 5, SimpleITK.sitkInt16), str(path))
    with pytest.raises(ValueError, match=r"shape \(4, 5\); one three-dimensional scan"):
        read_volume(path)
    SimpleITK.WriteImage(SimpleITK.Image((4, 5, 6), SimpleITK.sitkVectorUInt8, 3), str(path))
    with pytest.raises(ValueError, match="3 values per voxel"):
        read_volume(path)
    SimpleITK.WriteImage(SimpleITK.Image((4, 5, 6, 2), SimpleITK.sitkInt16), str(path))
    with pytest.raises(ValueError, match=r"shape \(4, 5, 6, 2\)"):
        read_volume(path)


@pytest.mark.parametrize("kind", [[("R", "u1"), ("G", "u1"), ("B", "u1")], np.complex64])
def test_a_nifti_in_colors_or_complex_numbers_is_refused(tmp_path, kind):
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), dtype=kind), np.eye(4))
    nibabel.save(image, tmp_path / "scan.nii.gz")
    with pytest.raises(ValueError, match=r"scan\.nii\.gz: voxels are colors or complex; a scan in"):
        read_volume(tmp_path / "scan.nii.gz")


def test_suffixes_are_known_whatever_their_case():
    from pathlib import Path

    assert suffix_of(Path("a/CT.NII.GZ")) == ".nii.gz"
    assert suffix_of(Path("CT.dcm")) is None
    assert [stem_of(Path(f"ct.1{suffix}")) for suffix in READERS] == ["ct.1"] * len(READERS)


def series_image() -> SimpleITK.Image:
    """What SimpleITK stores as (value - intercept) / slope, so these are the HU."""
    return oblique_image() * 2


def test_a_dicom_series_is_in_hu_and_in_the_order_of_its_positions(tmp_path):
    write_series(tmp_path / "ct", series_image())
    scan = read_volume(tmp_path / "ct")
    assert holds_dicom(tmp_path / "ct")
    assert not holds_dicom(tmp_path)
    assert scan.voxels.shape == (7, 6, 5)
    np.testing.assert_allclose(scan.spacing_mm, (0.8, 1.1, 2.5), rtol=1e-4)
    assert_same_place(scan, series_image())


def test_a_lost_slice_several_series_or_none_are_errors(tmp_path):
    write_series(tmp_path / "ct", series_image())
    lost = sorted((tmp_path / "ct").iterdir())[2]
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(ValueError, match=r"slices are 5 mm apart .* where 2\.5 mm is"):
        read_volume(tmp_path / "ct")
    lost.write_bytes(content)
    write_series(tmp_path / "ct", series_image(), "1.2.826.0.1.3680043.2.1125.3")
    with pytest.raises(ValueError, match=r"holds 2 DICOM series; .*1125.1 \(5 files\)"):
        read_volume(tmp_path / "ct")
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="no DICOM slice in this folder"):
        read_volume(tmp_path / "none")


def test_a_tilted_gantry_is_kept_in_the_affine(tmp_path):
    """The slices of a tilted scan are shifted against each other, not only stacked."""
    image = series_image()
    image.SetDirection(np.eye(3).ravel().tolist())
    write_series(tmp_path / "ct", image, tilt=0.4)
    scan = read_volume(tmp_path / "ct")
    np.testing.assert_allclose(scan.affine[:3, 2], (0, -1.0, 2.5), atol=1e-5)
    np.testing.assert_allclose(scan.affine[:3, 0], (-0.8, 0, 0), atol=1e-5)


def test_a_damaged_slice_is_one_clear_message(tmp_path):
    write_series(tmp_path / "ct", series_image())
    path = sorted((tmp_path / "ct").iterdir())[1]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=rf"{path.name}: damaged or not readable") as fault:
        read_volume(tmp_path / "ct")
    assert "\n" not in str(fault.value)
