"""Label values of mask files: chosen, merged, renumbered, stacked from a file per organ."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from segmentation.data.label_values import LabelValues, renumbered


def write(path, data, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.asarray(data, np.uint8), np.eye(4) if affine is None else affine)
    nibabel.save(image, path)


def organs(*labels):
    return [{"name": f"o{place}", "label": label} for place, label in enumerate(labels)]


def test_class_indices_stay_as_they_are():
    assert renumbered(organs(2, 1, 3)) == organs(2, 1, 3)


@pytest.mark.parametrize("label", [None, 1.5, [1, None], True, []])
def test_what_is_unclear_is_left_to_the_checks(label):
    assert renumbered(organs(label, 7)) == organs(label, 7)


def test_numbers_are_sorted_and_names_keep_their_order():
    found = renumbered(organs(52, [7, 3]))
    assert [(o["name"], o["label"], o["values"]) for o in found] == [
        ("o1", 1, [7, 3]), ("o0", 2, [52]),
    ]  # fmt: skip
    found = renumbered(organs("spleen", ["kidney_left", "kidney_right"]))
    assert [(o["name"], o["label"]) for o in found] == [("o0", 1), ("o1", 2)]


def test_values_become_class_indices():
    values = LabelValues({52: 1, 3: 2, 7: 2}, others="background")
    assert values.apply(np.array([0, 52, 3, 7, 99]), Path("m")).tolist() == [0, 1, 2, 2, 0]
    strict = LabelValues({52: 1, 3: 2, 7: 2})
    with pytest.raises(ValueError, match=r"m holds label 99, which no organ .* other_labels = "):
        strict.apply(np.array([0, 52, 99]), Path("m"))


@pytest.mark.parametrize("inner", ["", "segmentations"])
def test_a_file_per_organ_is_stacked(tmp_path, inner):
    first, second = np.zeros((2, 3, 4, 5), np.uint8)
    first[0], second[2] = 1, 255
    write(tmp_path / inner / "left.nii.gz", first)
    write(tmp_path / inner / "right.nii.gz", second)
    write(tmp_path / inner / "third.nii.gz", np.ones((9, 9, 9)))
    values = LabelValues({"left": 1, "right": 2})
    assert np.array_equal(values.read(tmp_path).voxels, first + 2 * (second > 0))
    merged = LabelValues({"left": 1, "right": 1})
    assert np.array_equal(merged.read(tmp_path).voxels, first + (second > 0))


def test_masks_that_do_not_fit_together_are_refused(tmp_path):
    values = LabelValues({"a": 1, "b": 2})
    write(tmp_path / "a.nii.gz", np.ones((3, 4, 5)))
    with pytest.raises(FileNotFoundError, match=r"no mask b \(\.nii\.gz\); there is a"):
        values.read(tmp_path)
    write(tmp_path / "b.nii.gz", np.ones((3, 4, 5)))
    with pytest.raises(ValueError, match=r"b\.nii\.gz: 60 voxels belong to another organ"):
        values.read(tmp_path)
    write(tmp_path / "b.nii.gz", np.zeros((3, 4, 6)))
    with pytest.raises(
        ValueError, match=r"b\.nii\.gz: on another grid than the other masks of the case"
    ):
        values.read(tmp_path)
    write(tmp_path / "b.nii.gz", np.arange(60).reshape(3, 4, 5))
    with pytest.raises(ValueError, match="expected the mask of one organ"):
        values.read(tmp_path)
