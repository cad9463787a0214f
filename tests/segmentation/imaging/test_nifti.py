"""NIfTI headers are read as they are; doubtful geometry is an issue, damage one line."""

import contextlib
import gzip
import struct

import nibabel
import numpy as np
import pytest

from segmentation.imaging.volume import read_volume

AFFINE = np.diag([-2.0, 2.0, 5.0, 1.0])


def stored(path, *, sform=None, qform=AFFINE, kind=nibabel.Nifti1Image, voxels=None, patch=()):
    """A file whose header has only what is given; `patch` is (offset, format, values...)."""
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5) if voxels is None else voxels
    image = kind(voxels, None)
    image.header.set_sform(sform, 0 if sform is None else 1)
    image.header.set_qform(qform, 0 if qform is None else 1)
    content = bytearray(image.to_bytes())
    if patch:
        struct.pack_into(patch[1], content, patch[0], *patch[2:])
    path.write_bytes(gzip.compress(bytes(content)) if path.name.lower()[-2:] == "gz" else content)
    return path


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.Nii.gz"])
def test_valid_files_are_read_as_nibabel_reads_them(tmp_path, name, kind):
    path = stored(tmp_path / name, sform=AFFINE, kind=kind)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, np.arange(60).reshape(3, 4, 5))
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert volume.issues == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize(("slope", "inter"), [(None, None), (2.5, -1024), (0.37, 0)])
def test_scaled_values_are_those_of_nibabel(tmp_path, dtype, slope, inter):
    image = nibabel.Nifti1Image(np.arange(60).reshape(3, 4, 5).astype(dtype), AFFINE)
    image.header.set_slope_inter(slope, inter)
    nibabel.save(image, tmp_path / "a.nii.gz")
    expected = nibabel.load(tmp_path / "a.nii.gz").get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").voxels, expected)


def test_a_quaternion_that_rounding_made_too_long_is_no_damage(tmp_path, capfd):
    path = stored(tmp_path / "a.nii.gz", patch=(256, "<3f", 0, 1.0000005, 0))
    np.testing.assert_allclose(read_volume(path).affine, AFFINE, atol=1e-3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("side", [0.0, float("nan"), float("inf")])
def test_a_voxel_size_of_zero_or_no_number_is_an_issue(tmp_path, side, capfd):
    path = stored(tmp_path / "a.nii.gz", patch=(76 + 12, "<f", side))
    (issue,) = read_volume(path).issues
    assert (issue.kind, issue.doubtful) == ("spacing", True)
    assert "the header states voxels of 2, 2, " in issue.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("factor", [1000, 0.001])
def test_absurd_voxel_sizes_are_an_issue(tmp_path, factor):
    affine = np.diag([-2.0 * factor, 2 * factor, 5 * factor, 1])
    (issue,) = read_volume(stored(tmp_path / "a.nii.gz", sform=affine, qform=None)).issues
    assert issue.kind == "spacing"
    assert "expected sides of 0.05 to 50 mm" in issue.text


@pytest.mark.parametrize(("unit", "factor"), [(1, 0.001), (3, 1000)])
def test_a_header_in_meters_or_micrometers_is_converted(tmp_path, unit, factor):
    affine = np.diag([-2.0 * factor, 2 * factor, 5 * factor, 1])
    volume = read_volume(stored(tmp_path / "a.nii", qform=affine, patch=(123, "<B", unit)))
    np.testing.assert_allclose(volume.spacing_mm, (2, 2, 5), rtol=1e-6)
    assert [issue.kind for issue in volume.issues] == ["note"]


def test_a_unit_that_only_millimeters_make_plausible_is_an_issue(tmp_path):
    volume = read_volume(stored(tmp_path / "a.nii", patch=(123, "<B", 1)))
    np.testing.assert_allclose(volume.spacing_mm, (2, 2, 5))
    assert [issue.kind for issue in volume.issues] == ["spacing"]


@pytest.mark.parametrize(
    ("qform", "words"),
    [
        (np.diag([2.0, 2, 5, 1]), "mirror the scan"),
        (AFFINE[[1, 0, 2, 3]] * [[-1], [1], [1], [1]], "a rotation of 90 degrees"),
        (np.diag([-2.0, 2, 6, 1]), "voxel size by a factor of 0.833"),
    ],
)
def test_an_sform_and_a_qform_that_contradict_each_other_are_an_issue(tmp_path, qform, words):
    (issue,) = read_volume(stored(tmp_path / "a.nii", sform=AFFINE, qform=qform)).issues
    assert issue.kind == "contradiction"
    assert words in issue.text


def test_rounding_between_sform_and_qform_is_no_contradiction(tmp_path):
    near = AFFINE + np.random.default_rng(0).normal(0, 1e-3, (4, 4)) * (np.arange(4) < 3)
    near[3] = 0, 0, 0, 1
    assert read_volume(stored(tmp_path / "a.nii", sform=near)).issues == ()


def test_every_bit_of_a_compressed_file_is_verified(tmp_path):
    noise = np.random.default_rng(0).integers(0, 2, (6, 7, 8)).astype(np.int16)
    whole = stored(tmp_path / "a.nii.gz", sform=AFFINE, voxels=noise).read_bytes()
    expected = read_volume(tmp_path / "a.nii.gz").voxels
    for bit in range(80, len(whole) * 8):  # the first 10 bytes hold names and times
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "b.nii.gz").write_bytes(damaged)
        with contextlib.suppress(ValueError):  # refused
            np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").voxels, expected)


def test_a_declared_size_is_not_allocated(tmp_path):
    path = stored(tmp_path / "a.nii", patch=(40, "<4h", 3, 30000, 30000, 30000))
    with pytest.raises(ValueError, match="30000 x 30000 x 30000 voxels"):
        read_volume(path)
    path = stored(tmp_path / "b.nii", patch=(40, "<4h", 3, 300, 300, 300))
    with pytest.raises(ValueError, match="expected 54000000 bytes of voxels, got 120"):
        read_volume(path)
