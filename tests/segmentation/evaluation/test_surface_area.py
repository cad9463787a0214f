import math
import warnings

import numpy as np
import pytest
import torch
from monai.metrics import compute_surface_dice
from scipy import ndimage

from segmentation.evaluation.surface_area import areas, surface_dice


def by_monai(one, other, tolerance):
    masks = [torch.from_numpy(np.pad(mask, 2))[None, None] for mask in (one, other)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return float(
            compute_surface_dice(
                *masks, [tolerance], include_background=True, spacing=(1.0,) * 3,
                use_subvoxels=True,
            )
        )  # fmt: skip


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_equals_monai_on_rough_and_smooth_masks(seed, tolerance):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(20, 17, 23))
    smooth = ndimage.gaussian_filter(noise, seed)  # seed 0: every pattern of eight voxels
    one, other = smooth > 0, np.roll(smooth, 1, seed % 3) + 0.1 * smooth.std() > 0
    expected = by_monai(one, other, tolerance)
    assert surface_dice(one, other, tolerance) == pytest.approx(expected, abs=1e-6)


def test_a_mask_has_the_surface_of_itself():
    mask = np.random.default_rng(0).random((5, 6, 7)) > 0.5
    assert surface_dice(mask, mask) == 1


def test_areas_are_those_of_simple_bodies():
    table = areas()
    assert table[0] == table[255] == 0
    assert table[0b00001111] == 1  # a face of the grid
    assert table[0b00000001] == pytest.approx(math.sqrt(3) / 8)  # a corner cut off
    assert (table == table[::-1]).all()  # inside and outside have one surface


def test_a_single_voxel_and_one_far_away():
    one, other = np.zeros((2, 9, 9, 9), dtype=bool)
    one[0, 0, 0] = other[8, 8, 8] = True
    assert surface_dice(one, other) == 0
