"""Volumes and mean HU of organs, and intensities that are hardly HU."""

import numpy as np
import pytest

from segmentation.imaging.measure import intensity_warning, measure_organs
from segmentation.imaging.volume import Volume


def scan_of(voxels, spacing=(1.0, 1.0, 1.0)):
    return Volume(np.asarray(voxels, np.float32), np.diag([*spacing, 1.0]))


def test_volume_and_mean_are_those_of_a_direct_count():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, (5, 6, 7))
    scan = scan_of(random.normal(40, 10, (5, 6, 7)), (2.0, 0.5, 3.0))
    measured = measure_organs(labels, scan, {"liver": 1, "spleen": 3, "aorta": 4})
    for name, label in (("liver", 1), ("spleen", 3)):
        mask = labels == label
        assert measured[name]["voxels"] == mask.sum()
        assert measured[name]["volume_ml"] == pytest.approx(mask.sum() * 3.0 / 1000, abs=6e-4)
        assert measured[name]["mean_hu"] == pytest.approx(scan.voxels[mask].mean(), abs=6e-3)
    assert measured["aorta"] == {"label": 4, "voxels": 0, "volume_ml": 0.0, "mean_hu": None}


def test_hu_of_a_body_in_air_give_no_warning():
    voxels = np.full((20, 20, 20), -1000.0)
    voxels[5:15, 5:15, 5:15] = 50.0
    assert intensity_warning(scan_of(voxels)) is None


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.full((9, 9, 9), 7.0), "all intensities are 7"),
        (np.linspace(0, 255, 729).reshape(9, 9, 9), "hold no air"),
        (np.linspace(-1000, 60_000, 729).reshape(9, 9, 9), "% of the voxels are within"),
    ],
)
def test_a_constant_a_windowed_and_a_scaled_image_are_named(voxels, message):
    assert message in str(intensity_warning(scan_of(voxels)))
