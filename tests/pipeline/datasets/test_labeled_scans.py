"""Labeled scans for the knowledge stage: masks whose labels are not the class indices."""

import nibabel
import numpy as np

from pipeline.datasets.labeled_scans import find_labeled

OWN = """
name = "own"
title = "Two organs, one of them merged"
modality = "CT"
layout = "nnunet"
orientation = "RAS"
window_hu = [-150, 250]
protocol = "own"
splits = "data"
other_labels = "background"
grid = {spacing_mm = [1.0, 1.0, 1.0]}

[[organs]]
name = "liver"
label = 52
size = "large"

[[organs]]
name = "kidney"
label = [3, 7]
size = "large"
"""


def test_plain_masks_are_renumbered_by_the_descriptor(tmp_path):
    voxels = np.array([0, 3, 7, 52, 99, 0], np.uint8).reshape(1, 2, 3)
    (tmp_path / "masks").mkdir()
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "masks" / "a.nii.gz")
    (tmp_path / "own.toml").write_text(OWN)
    labeled = find_labeled(tmp_path / "masks", descriptor=str(tmp_path / "own.toml"))
    assert labeled.labels == {"kidney": 1, "liver": 2}
    labels, _ = labeled.cases["a"]()
    assert labels.ravel().tolist() == [0, 1, 1, 2, 0, 0]
