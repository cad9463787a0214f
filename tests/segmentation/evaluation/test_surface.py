import math

import numpy as np
import pytest

from segmentation.evaluation.surface import surface_scores


def box(shape, low, high):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def slow_surface(mask):
    points = []
    for place in np.argwhere(mask):
        for step in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
            near = place + step
            if (near < 0).any() or (near >= mask.shape).any() or not mask[tuple(near)]:
                points.append(place)
                break
    return np.array(points)


def slow_distances(a, b, spacing):
    gaps = (a[:, None] - b[None]) * np.array(spacing)
    pairs = np.sqrt((gaps**2).sum(-1))
    return np.concatenate([pairs.min(1), pairs.min(0)])


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.8, 1.5, 3.0)])
@pytest.mark.parametrize("seed", range(4))
def test_scores_agree_with_all_pairs_of_surface_voxels(spacing, seed):
    random = np.random.default_rng(seed)
    masks = random.random((2, 9, 8, 7)) > 0.7
    distances = slow_distances(*(slow_surface(mask) for mask in masks), spacing)
    found = surface_scores(*masks, spacing, tolerance_mm=1.2)
    assert found.hd95_mm == pytest.approx(np.percentile(distances, 95))
    assert found.nsd == pytest.approx((distances <= 1.2).mean())
    assert found.assd_mm == pytest.approx(distances.mean())


def test_a_mask_that_touches_the_border_has_a_surface_there():
    whole = np.ones((4, 4, 4), dtype=bool)
    assert surface_scores(whole, whole, (1, 1, 1)) == (0, 1, 0)
    small = box((4, 4, 4), (1, 1, 1), (3, 3, 3))
    distances = slow_distances(slow_surface(whole), slow_surface(small), (1, 1, 1))
    assert surface_scores(whole, small, (1, 1, 1)).assd_mm == pytest.approx(distances.mean())


def test_parallel_plates_lie_their_distance_apart():
    plates = [box((30, 6, 6), (x, 0, 0), (x + 1, 6, 6)) for x in (3, 13)]
    found = surface_scores(*plates, (0.7, 1, 1), tolerance_mm=7.0)
    assert found.hd95_mm == found.assd_mm == pytest.approx(7.0)
    assert found.nsd == 1
    assert surface_scores(*plates, (0.7, 1, 1), tolerance_mm=6.9).nsd == 0


def test_empty_masks_follow_the_written_rule():
    full, empty = box((5, 5, 5), (1, 1, 1), (4, 4, 4)), np.zeros((5, 5, 5), dtype=bool)
    for pair in ((full, empty), (empty, full)):
        found = surface_scores(*pair, (1, 1, 1))
        assert found.nsd == 0
        assert math.isnan(found.hd95_mm)
        assert math.isnan(found.assd_mm)
    assert all(math.isnan(value) for value in surface_scores(empty, empty, (1, 1, 1)))


def test_masks_on_different_grids_are_refused():
    with pytest.raises(ValueError, match="for a truth of"):
        surface_scores(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool), (1, 1, 1))
