"""Growth of organs against analytic volumes and slow rules."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter

from segmentation.training.enlarge import enlarge


def ball(radius_mm, spacing, side=48):
    places = (np.indices((side,) * 3) - (side - 1) / 2) * np.reshape(spacing, (3, 1, 1, 1))
    return np.sqrt((places**2).sum(0)) <= radius_mm


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 1.5, 2.0), (0.8, 1.0, 2.5)])
def test_a_ball_grows_to_the_volume_of_a_ball_with_that_much_more_radius(spacing):
    """On the average of many growths: a single one moves whole voxels."""
    mask = ball(12.0, spacing)
    label = torch.from_numpy(2 * mask.astype(np.uint8))
    image = torch.from_numpy(mask.astype(np.float32))
    voxel_mm3, ratios = np.prod(spacing), []
    for growth in np.linspace(1.0, 3.0, 9):
        grown_image, grown = enlarge(image, label, {2: growth}, spacing)
        volume_mm3 = int((grown == 2).sum()) * voxel_mm3
        ratios.append(volume_mm3 / (4 / 3 * np.pi * (12 + growth) ** 3))
        # The image's ball has grown with the label.
        assert float(grown_image.sum()) * voxel_mm3 == pytest.approx(volume_mm3, rel=0.1)
        assert float(grown_image[grown == 2].mean()) > 0.9
        assert float(grown_image[grown != 2].mean()) < 0.02
    assert np.mean(ratios) == pytest.approx(1, abs=0.04)
    assert max(abs(ratio - 1) for ratio in ratios) < 0.15


def test_a_gradient_inside_an_organ_is_stretched_and_stays_in_order():
    label = torch.zeros(40, 9, 9, dtype=torch.uint8)
    label[12:28] = 1
    image = torch.arange(40.0)[:, None, None].expand(40, 9, 9).contiguous()
    line = enlarge(image, label, {1: 2.0}, (1, 1, 1))[0][:, 4, 4]
    assert (line.diff() >= 0).all()
    assert torch.equal(line[:5], image[:5, 4, 4])  # farther than three times the growth
    assert line[10] == pytest.approx(12, abs=0.6)  # the organ's edge is two voxels farther out


@pytest.mark.parametrize("seed", range(4))
def test_no_organ_shrinks_others_are_kept_and_far_voxels_stay(seed):
    """Random shapes of three organs: two grow, the third is small as well but was not drawn."""
    random = np.random.default_rng(seed)
    noise = [gaussian_filter(random.normal(size=(30, 26, 22)), 2) for _ in range(5)]
    label = np.argmax(noise, 0).astype(np.uint8)
    label[np.max(noise, 0) < 0.06] = 0
    image = random.random(label.shape).astype(np.float32)
    spacing, growth = (1.5, 1.0, 2.0), {1: 2.5, 3: 1.0}
    grown_image, grown = enlarge(
        torch.from_numpy(image), torch.from_numpy(label), growth, spacing, fixed=(4,)
    )
    after = grown.numpy()
    for organ in (1, 3, 4):
        assert (after[label == organ] == organ).all()
    assert set(np.unique(after)) <= set(np.unique(label))
    far = np.ones(label.shape, bool)
    for organ, mm in growth.items():
        far &= distance_transform_edt(label != organ, sampling=spacing) > 3 * mm + 2.0
    assert (after[far] == label[far]).all()
    assert np.array_equal(grown_image.numpy()[far], image[far])
    assert after.size == label.size
    assert (after == 1).sum() > (label == 1).sum()


def test_an_organ_that_is_absent_or_fills_the_patch_changes_nothing():
    image, empty = torch.rand(6, 6, 6), torch.zeros(6, 6, 6, dtype=torch.uint8)
    for label in (empty, empty + 1):
        same, labels = enlarge(image, label, {1: 2.0}, (1, 1, 1))
        assert torch.equal(same, image)
        assert torch.equal(labels, label)
