"""Issues of headers, and sizes that no file can hold."""

from pathlib import Path

import pytest

from segmentation.imaging.headers import HeaderIssue, check_size, spacing_issue


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 5.0), (0.05, 50.0, 1.0)])
def test_voxel_sizes_of_patients_are_no_issue(spacing):
    assert spacing_issue(spacing) is None


@pytest.mark.parametrize("spacing", [(700.0, 1.0, 1.0), (0.0, 1.0, 1.0), (float("nan"), 1.0, 1.0)])
def test_absurd_voxel_sizes_are_doubtful(spacing):
    issue = spacing_issue(spacing)
    assert issue is not None
    assert issue.doubtful
    assert "expected sides of 0.05 to 50 mm" in issue.text


def test_a_note_is_not_doubtful():
    assert not HeaderIssue("note", "the header is in meters").doubtful


def test_a_declared_size_that_its_file_cannot_hold_is_refused_before_memory_is_taken():
    check_size(Path("ct.nii.gz"), (512, 512, 600), 2, 10**8)
    with pytest.raises(ValueError, match=r"ct\.nii\.gz: damaged or too large: .* GiB in memory"):
        check_size(Path("ct.nii.gz"), (30000, 30000, 30000), 2, 1000)
