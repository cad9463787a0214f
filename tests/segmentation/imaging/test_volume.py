import itertools

import nibabel
import numpy as np
import pytest
import SimpleITK
from scipy import ndimage
from scipy.spatial.transform import Rotation

from segmentation.imaging.volume import (
    Volume,
    canonical,
    canonical_shape,
    from_canonical,
    read_labels,
    read_volume,
    resample,
    resample_labels,
    resampled_shape,
    window,
    write_labels,
    write_volume,
)

ORIENTATIONS = [
    (order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]
OBLIQUE = Rotation.from_euler("xyz", (12, -8, 20), degrees=True).as_matrix()


def affine_of(order, flips, turn=None) -> np.ndarray:
    affine = np.eye(4)
    axes = (np.eye(3) if turn is None else turn) * (2.0, 3.0, 5.0)
    affine[:3, :3] = axes[:, order] * flips
    affine[:3, 3] = (-40, 25, 7)
    return affine


def marked(shape=(5, 6, 7)) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def place(volume: Volume, voxel) -> np.ndarray:
    return volume.affine[:3, :3] @ voxel + volume.affine[:3, 3]


@pytest.mark.parametrize("turn", [None, OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_canonical_moves_no_voxel_in_space_and_has_an_inverse(order, flips, turn):
    scan = Volume(marked(), affine_of(order, flips, turn))
    upright = canonical(scan)
    assert nibabel.aff2axcodes(upright.affine) == ("R", "A", "S")
    assert upright.voxels.shape == canonical_shape(scan.affine, scan.voxels.shape)
    for value in (0.0, 50.0, 101.0, 209.0):
        before = place(scan, np.argwhere(scan.voxels == value)[0])
        after = place(upright, np.argwhere(upright.voxels == value)[0])
        np.testing.assert_allclose(after, before, atol=1e-9)
    back = from_canonical(upright.voxels, scan.affine, scan.voxels.shape)
    np.testing.assert_array_equal(back, scan.voxels)


def test_canonical_agrees_with_nibabel():
    scan = Volume(marked(), affine_of((2, 0, 1), (1, -1, -1), OBLIQUE))
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(scan.voxels, scan.affine))
    np.testing.assert_array_equal(canonical(scan).voxels, expected.get_fdata())
    np.testing.assert_allclose(canonical(scan).affine, expected.affine)


def test_an_array_of_another_shape_cannot_be_put_back():
    with pytest.raises(ValueError, match=r"\(5, 6, 8\) voxels cannot be put back into \(5, 6, 7\)"):
        from_canonical(np.zeros((5, 6, 8)), np.eye(4), (5, 6, 7))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_written_blob_lies_where_another_reader_sees_it(tmp_path, order):
    affine = affine_of(order, (1, -1, 1), OBLIQUE)
    labels = np.zeros((12, 10, 8), np.uint8)
    labels[7:10, 2:4, 5:7] = 3
    write_labels(tmp_path / "mask.nii.gz", labels, affine)
    image = SimpleITK.ReadImage(str(tmp_path / "mask.nii.gz"))
    statistics = SimpleITK.LabelShapeStatisticsImageFilter()
    statistics.Execute(image)
    left, posterior, superior = statistics.GetCentroid(3)
    ours = read_labels(tmp_path / "mask.nii.gz")
    center = place(ours, np.argwhere(ours.voxels == 3).mean(0))
    np.testing.assert_allclose(center, (-left, -posterior, superior), atol=1e-3)
    np.testing.assert_allclose(ours.spacing_mm, image.GetSpacing(), rtol=1e-5)


def test_a_volume_written_by_another_library_is_read_with_its_values(tmp_path):
    image = SimpleITK.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    image.SetSpacing((1.0, 2.0, 3.0))
    SimpleITK.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    scan = read_volume(tmp_path / "scan.nii.gz")
    assert scan.voxels.shape == (4, 3, 2)
    assert scan.voxels[3, 2, 1] == 23
    assert scan.voxels.dtype == np.float32


def test_the_scale_of_the_header_is_applied(tmp_path):
    image = nibabel.Nifti1Image(np.full((2, 2, 2), 30, np.int16), np.eye(4))
    image.header.set_slope_inter(2.0, -1000.0)
    nibabel.save(image, tmp_path / "scan.nii")
    assert read_volume(tmp_path / "scan.nii").voxels.max() == -940


def test_what_is_written_is_read_again_bit_for_bit(tmp_path):
    voxels = np.random.default_rng(0).integers(-1000, 2000, (4, 5, 6)).astype(np.int16)
    affine = affine_of((1, 2, 0), (-1, 1, 1))
    write_volume(tmp_path / "scan.nii.gz", voxels, affine)
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii.gz").voxels, voxels)
    np.testing.assert_allclose(read_volume(tmp_path / "scan.nii.gz").affine, affine)
    first = (tmp_path / "scan.nii.gz").read_bytes()
    write_volume(tmp_path / "scan.nii.gz", voxels, affine)
    assert (tmp_path / "scan.nii.gz").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_a_fourth_axis_of_one_frame_is_dropped_and_of_two_refused(tmp_path):
    for frames in (1, 2):
        array = np.zeros((3, 4, 5, frames), np.int16)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{frames}.nii.gz")
    assert read_volume(tmp_path / "1.nii.gz").voxels.shape == (3, 4, 5)
    with pytest.raises(ValueError, match=r"2\.nii\.gz: shape \(3, 4, 5, 2\)"):
        read_volume(tmp_path / "2.nii.gz")


def test_a_voxel_that_is_no_number_is_refused(tmp_path):
    voxels = np.zeros((3, 3, 3), np.float32)
    voxels[1, 1, 1] = np.nan
    write_volume(tmp_path / "scan.nii.gz", voxels, np.eye(4))
    with pytest.raises(ValueError, match="1 voxels are not a finite number"):
        read_volume(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("kept", [0, 20, 300, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_truncated_file_is_one_clear_message(tmp_path, kept, suffix):
    path = tmp_path / f"scan{suffix}"
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    write_volume(path, noise, np.eye(4))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    with pytest.raises(ValueError, match="damaged, cut short or no NIfTI file") as fault:
        read_volume(path)
    assert str(path) in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_file_of_another_kind_or_none_is_refused(tmp_path):
    (tmp_path / "scan.nii.gz").write_text("no scan")
    with pytest.raises(ValueError, match="no NIfTI file"):
        read_volume(tmp_path / "scan.nii.gz")
    (tmp_path / "scan.jpg").write_text("no scan")
    with pytest.raises(ValueError, match=r"scan\.jpg: not a format that is read here"):
        read_volume(tmp_path / "scan.jpg")
    with pytest.raises(FileNotFoundError, match=r"none\.nii: no such scan"):
        read_volume(tmp_path / "none.nii")


@pytest.mark.parametrize("value", [1.5, -1])
def test_a_mask_holds_whole_numbers(tmp_path, value):
    write_volume(tmp_path / "mask.nii.gz", np.full((2, 2, 2), value, np.float32), np.eye(4))
    with pytest.raises(ValueError, match=f"{value} is no label value"):
        read_labels(tmp_path / "mask.nii.gz")


def test_a_label_that_does_not_fit_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="300 does not fit into uint8"):
        write_labels(tmp_path / "mask.nii.gz", np.full((2, 2, 2), 300), np.eye(4))
    assert not list(tmp_path.iterdir())


def test_resampling_keeps_the_outer_edges():
    scan = Volume(marked((10, 12, 9)), affine_of((1, 0, 2), (1, -1, 1), OBLIQUE))
    for shape in [(5, 30, 9), (7, 7, 7), (1, 1, 1)]:
        small = resample(scan, shape)
        for corner in itertools.product((0, 1), repeat=3):
            before = place(scan, np.multiply(corner, scan.voxels.shape) - 0.5)
            after = place(small, np.multiply(corner, shape) - 0.5)
            np.testing.assert_allclose(after, before, atol=1e-9)


def test_resampling_to_the_same_shape_changes_nothing():
    scan = Volume(marked(), affine_of((0, 1, 2), (1, 1, 1)))
    np.testing.assert_array_equal(resample(scan, (5, 6, 7)).voxels, scan.voxels)
    labels = Volume((marked() % 4).astype(np.int32), scan.affine)
    np.testing.assert_array_equal(resample_labels(labels, (5, 6, 7)).voxels, labels.voxels)


@pytest.mark.parametrize("shape", [(40, 44, 36), (27, 11, 30), (13, 15, 10)])
def test_a_ramp_in_space_stays_a_ramp_in_space(shape):
    affine = affine_of((0, 1, 2), (1, 1, 1))
    index = np.moveaxis(np.indices((20, 22, 18)), 0, -1)
    heights = index @ affine[:3, :3].T @ (0.5, -1.0, 0.25)
    new = resample(Volume(heights.astype(np.float32), affine), shape)
    index = np.moveaxis(np.indices(shape), 0, -1)
    moved = index @ new.affine[:3, :3].T + (new.affine - affine)[:3, 3]
    expected = moved @ (0.5, -1.0, 0.25)
    inner = tuple(slice(side // 4, -side // 4) for side in shape)
    np.testing.assert_allclose(new.voxels[inner], expected[inner], atol=0.05)


def test_shrinking_averages_what_it_cannot_hold():
    checker = Volume((np.indices((24, 24, 24)).sum(0) % 2).astype(np.float32), np.eye(4))
    inner = resample(checker, (8, 8, 8)).voxels[1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(inner, 0.5, atol=0.05)


def balls() -> Volume:
    x, y, z = np.indices((40, 36, 30))
    labels = np.zeros((40, 36, 30), np.int32)
    labels[(x - 12) ** 2 + (y - 14) ** 2 + (2 * (z - 14)) ** 2 < 100] = 2
    labels[(x - 28) ** 2 + (y - 20) ** 2 + (2 * (z - 16)) ** 2 < 70] = 5
    return Volume(labels, affine_of((0, 1, 2), (1, 1, 1)))


@pytest.mark.parametrize("shape", [(80, 60, 50), (27, 25, 22), (20, 18, 15)])
@pytest.mark.parametrize("label", [2, 5])
def test_a_resampled_organ_keeps_center_and_volume(shape, label):
    before, after = balls(), resample_labels(balls(), shape)
    centers, volumes = [], []
    for mask in (before, after):
        centers.append(place(mask, np.argwhere(mask.voxels == label).mean(0)))
        volumes.append((mask.voxels == label).sum() * abs(np.linalg.det(mask.affine[:3, :3])))
    np.testing.assert_allclose(centers[1], centers[0], atol=0.2 * max(after.spacing_mm))
    assert volumes[1] == pytest.approx(volumes[0], rel=0.12)


def test_label_resampling_equals_the_slow_version_over_whole_masks():
    before = balls()
    shape = (23, 25, 22)
    factor = np.divide(before.voxels.shape, shape)
    shares = []
    for value in range(6):
        mask = (before.voxels == value).astype(np.float32)
        mask = ndimage.gaussian_filter(mask, np.maximum(factor - 1, 0) / 2, mode="nearest")
        at = [(np.arange(n) + 0.5) * f - 0.5 for n, f in zip(shape, factor, strict=True)]
        points = np.meshgrid(*at, indexing="ij")
        shares.append(ndimage.map_coordinates(mask, points, order=1, mode="nearest"))
    expected = np.argmax(shares, axis=0)
    found = resample_labels(before, shape).voxels
    clear = np.sort(shares, axis=0)[-1] - np.sort(shares, axis=0)[-2] > 1e-3
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert clear.mean() > 0.99


def test_the_shape_for_a_spacing_is_the_nearest_whole_one():
    scan = Volume(np.zeros((100, 100, 50), np.float32), np.diag([0.8, 0.8, 5.0, 1]))
    assert resampled_shape(scan, (1.5, 1.5, 2.0)) == (53, 53, 125)
    assert resampled_shape(scan, (1000, 1000, 1000)) == (1, 1, 1)


def test_the_window_maps_its_ends_to_zero_and_one():
    seen = window(np.array([-1000.0, -125.0, 75.0, 275.0, 3000.0]), (-125, 275))
    np.testing.assert_array_equal(seen, [0, 0, 0.5, 1, 1])
    assert seen.dtype == np.float32
