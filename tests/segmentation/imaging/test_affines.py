"""Grids that are a little askew can be opened by ITK; those of a tilted gantry are told apart."""

import nibabel
import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from segmentation.imaging.affines import is_straight, straightened, tilt_degrees
from segmentation.imaging.io import check_fits
from segmentation.imaging.volume import read_volume, write_labels

TURN = Rotation.from_euler("xyz", (9, -6, 12), degrees=True).as_matrix()
SHAPE = (40, 50, 30)


def askew(shear: float) -> np.ndarray:
    """An oblique grid of 1 x 1 x 5 mm whose slices are shifted by `shear` of their distance."""
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    affine[1, 2] = 5 * shear
    affine[:3, :3] = TURN @ affine[:3, :3]
    affine[:3, 3] = (3, -40, 50)
    return affine


def test_straight_axes_are_the_nearest_rotation_with_the_same_voxels():
    found = straightened(askew(0.1))
    spacing = np.linalg.norm(found[:3, :3], axis=0)
    np.testing.assert_allclose(spacing, np.linalg.norm(askew(0.1)[:3, :3], axis=0))
    directions = found[:3, :3] / spacing
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    near, _ = Rotation.align_vectors(
        (askew(0.1)[:3, :3] / spacing).T, np.eye(3)
    )  # by quaternions, an independent way
    np.testing.assert_allclose(directions, near.as_matrix(), atol=1e-6)
    np.testing.assert_allclose(straightened(askew(0)), askew(0), atol=1e-12)
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(straightened(mirrored), mirrored)


@pytest.mark.parametrize("degrees", [0.0, 0.2, 15.0])
def test_a_tilt_is_told_in_degrees(degrees):
    assert tilt_degrees(askew(np.tan(np.radians(degrees)))) == pytest.approx(degrees, abs=1e-6)
    assert is_straight(askew(np.tan(np.radians(degrees))), SHAPE) == (degrees < 0.1)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("shear", [0.0, 1e-5, 1e-4, 1e-3])
def test_a_mask_a_little_askew_is_opened_by_itk_in_its_place(tmp_path, suffix, shear):
    """As DICOM headers with few digits leave it; ITK refuses an sform that is askew by 1e-4."""
    affine = askew(shear)
    assert is_straight(affine, SHAPE)
    write_labels(tmp_path / f"mask{suffix}", np.ones(SHAPE, np.uint8), affine)
    image = SimpleITK.ReadImage(str(tmp_path / f"mask{suffix}"))
    for index in ((0, 0, 0), (39, 0, 29), (39, 49, 29)):
        place = affine[:3, :3] @ index + affine[:3, 3]
        there = np.multiply(image.TransformIndexToPhysicalPoint(index), (-1, -1, 1))
        assert np.linalg.norm(place - there) <= 0.25
    if suffix.startswith(".nii"):
        np.testing.assert_allclose(
            read_volume(tmp_path / f"mask{suffix}").affine, affine, atol=1e-5
        )


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_a_tilted_gantry_is_kept_where_it_can_be_and_refused_elsewhere(tmp_path, suffix):
    path, labels = tmp_path / f"mask{suffix}", np.ones(SHAPE, np.uint8)
    if suffix == ".nrrd":
        with pytest.raises(ValueError, match=r"off by 16\.7 degrees, a tilted gantry"):
            check_fits(path, askew(0.3), SHAPE)
        with pytest.raises(ValueError, match=r"right angles .*; write \.nii\.gz instead"):
            write_labels(path, labels, askew(0.3))
        assert not list(tmp_path.iterdir())
        return
    write_labels(path, labels, askew(0.3))
    image = nibabel.load(path)
    np.testing.assert_allclose(image.affine, askew(0.3), atol=1e-5)
    assert image.header["qform_code"] == 0, "a qform would put the slices elsewhere"
    with pytest.raises(RuntimeError, match="orthonormal"):
        SimpleITK.ReadImage(str(path))
