"""Probability maps: rounded to 1/255, on the scan's grid, all or none."""

import nibabel
import numpy as np
import pytest
import torch

from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.volume import Volume
from segmentation.inference.probability_maps import STEPS, file_of, kept_probabilities
from tests.support.paths import DATA

SPEC = DatasetSpec.read(DATA / "phantom.toml")
ORGANS = ("liver", "right kidney")
SCAN = Volume(np.zeros((4, 5, 6), np.float32), np.diag([-2.0, -2.0, 3.0, 1.0]))  # stored LPS


def planes():
    generator = torch.Generator().manual_seed(0)
    return torch.rand((4, len(SPEC.classes), 5, 6), generator=generator)


def test_maps_hold_the_probabilities_of_their_organ_in_the_order_of_the_scan(tmp_path):
    probabilities = planes()
    with kept_probabilities(tmp_path / "maps", SCAN, SPEC, ORGANS) as keep:
        for x, plane in enumerate(probabilities):
            keep(x, plane)
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {
        "liver.nii.gz",
        "right_kidney.nii.gz",
    }
    for organ in ORGANS:
        image = nibabel.load(file_of(tmp_path / "maps", organ))
        stored = np.asarray(image.dataobj)[::-1, ::-1]  # back to RAS+
        expected = probabilities[:, SPEC.labels[organ]].numpy()
        assert np.abs(stored - expected).max() <= 0.5 / STEPS + 1e-6
        assert np.allclose(image.affine, SCAN.affine)


def fail_after_a_plane(folder):
    with kept_probabilities(folder, SCAN, SPEC, ORGANS) as keep:
        keep(0, planes()[0])
        raise RuntimeError("out of memory")


def test_an_error_on_the_way_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="out of memory"):
        fail_after_a_plane(tmp_path / "maps")
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_nothing_is_kept():
    with kept_probabilities(None, SCAN, SPEC, ORGANS) as keep:
        assert keep is None
