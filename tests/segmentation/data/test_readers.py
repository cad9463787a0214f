"""Files with an affine: doubtful headers are refused until an option settles them."""

import nibabel
import numpy as np
import pytest

from segmentation.data.raw_cases import RawCase
from segmentation.data.readers import Files


@pytest.fixture
def case(tmp_path):
    """A case whose scan states no orientation, and whose mask does."""
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([2.0, 2.0, 3.0, 1.0]))
    nibabel.save(image, tmp_path / "mask.nii.gz")
    image.header["sform_code"] = image.header["qform_code"] = 0
    nibabel.Nifti1Image(image.dataobj, None, image.header).to_filename(tmp_path / "scan.nii.gz")
    return RawCase("a", tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz")


def test_a_scan_without_orientation_is_refused_with_the_remedy(case):
    with pytest.raises(ValueError, match=r"scan\.nii\.gz: .*; give --orientation, such as RAS"):
        Files().scan(case)


def test_a_given_orientation_settles_it_and_leaves_stated_ones_alone(case):
    reader = Files(orientation="LPS")
    affine = reader.scan(case).affine
    assert np.allclose(np.diag(affine)[:3], (-2, -2, 3))
    assert np.allclose(reader.mask(case).affine, np.diag([2.0, 2.0, 3.0, 1.0]))
    assert reader.stamp == "LPS"
    assert "were read as LPS" in str(reader.note)


def test_trusted_headers_are_read_unchanged_and_noted(case):
    reader = Files(trust_headers=True)
    assert reader.scan(case).voxels.shape == (4, 5, 6)
    assert reader.stamp == "trusted"
    assert "read unchanged" in str(reader.note)


def test_without_options_nothing_is_noted():
    assert (Files().stamp, Files().note) == ("", None)
