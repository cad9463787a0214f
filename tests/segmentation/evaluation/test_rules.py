import math
import time

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segmentation.evaluation.rules import GA_SHAPE, RULES, named, resize_nearest
from segmentation.evaluation.surface import surface_distances, surface_scores

CLASSES = ("background", "a", "b", "c", "d")
UNIT = (1.0, 1.0, 1.0)


def cube(side, start, shape=(40, 40, 40)):
    labels = np.zeros(shape, dtype=np.uint8)
    labels[tuple(slice(first, first + side) for first in start)] = 1
    return labels


def score(rules, prediction, truth, classes=CLASSES, spacing=UNIT, tolerance=1.0):
    return named(rules).score(prediction, truth, classes, spacing, tolerance)


def slow_one_way(one, other):
    """Mean distance from the surface of a mask to that of another, over all pairs of voxels."""

    def surface(mask):
        around = np.pad(mask, 1)
        inner = np.ones_like(mask)
        for axis in range(3):
            for step in (-1, 1):
                inner &= np.roll(around, step, axis)[1:-1, 1:-1, 1:-1]
        return np.argwhere(mask & ~inner)

    gaps = surface(one)[:, None] - surface(other)[None]
    return np.sqrt((gaps**2).sum(-1)).min(1).mean()


def test_two_cubes_of_known_scores():
    """Figures that the published evaluation code gives for these cubes (medpy 0.5.2)."""
    prediction, truth = cube(10, (15, 15, 15)), cube(12, (10, 10, 10))
    found = score("magicnet", prediction, truth)["a"]
    assert found["dice"] == pytest.approx(0.2515, abs=5e-5)
    assert found["hd95_voxels"] == pytest.approx(6.403, abs=5e-4)
    assert found["asd_voxels"] == pytest.approx(2.561, abs=5e-4)
    assert score("magicnet", truth, prediction)["a"]["asd_voxels"] == pytest.approx(4.116, abs=5e-4)
    assert score("scan", prediction, truth)["a"]["assd_mm"] == pytest.approx(3.492, abs=5e-4)
    assert score("dhc", prediction, truth)["a"]["asd_voxels"] == found["asd_voxels"]


def test_the_area_of_surfaces_is_weighed_as_in_the_published_package():
    """Surface Dice of these boxes by DeepMind's surface-distance 0.1, at 1 mm and spacing 1."""
    prediction, truth = np.zeros((2, 24, 24, 24), dtype=np.uint8)
    prediction[4:14, 4:14, 4:14] = 1
    truth[6:18, 5:16, 8:19] = 1
    found = score("magicnet", prediction, truth)["a"]
    assert found["nsd_1_voxel"] == pytest.approx(0.2624051, abs=1e-6)
    assert score("magicnet", truth, truth)["a"]["nsd_1_voxel"] == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_one_directional_distances_agree_with_all_pairs_of_voxels(seed):
    random = np.random.default_rng(seed)
    prediction, truth = (random.random((2, 9, 8, 7)) > 0.7).astype(np.uint8)
    slow = slow_one_way(prediction == 1, truth == 1)
    for rules in ("dhc", "magicnet"):
        assert score(rules, prediction, truth)["a"]["asd_voxels"] == pytest.approx(slow)


def test_both_directions_come_from_the_right_surface():
    one, other = cube(10, (15, 15, 15)) == 1, cube(12, (10, 10, 10)) == 1
    ahead, back = surface_distances(one, other, UNIT)
    assert (len(ahead), len(back)) == (10**3 - 8**3, 12**3 - 10**3)


@pytest.mark.parametrize("shape", [(97, 83, 41), (160, 160, 80), (299, 299, 150), (200, 33, 81)])
def test_nearest_is_what_the_published_code_calls(shape):
    labels = np.random.default_rng(0).integers(0, 16, shape, dtype=np.uint8)
    wanted = F.interpolate(torch.from_numpy(labels)[None, None].float(), GA_SHAPE, mode="nearest")
    assert np.array_equal(resize_nearest(labels, GA_SHAPE), wanted[0, 0].numpy())


def test_nearest_takes_the_planes_that_torch_takes_for_every_size():
    for new in GA_SHAPE[1:]:
        for old in range(1, 700):
            planes = torch.arange(old).float()
            wanted = F.interpolate(planes[None, None], new, mode="nearest")[0, 0].numpy()
            found = resize_nearest(np.arange(old).reshape(old, 1, 1), (new, 1, 1)).ravel()
            assert np.array_equal(found, wanted), (old, new)


def test_ga_compares_on_its_own_grid():
    truth = np.zeros((320, 80, 160), dtype=np.uint8)
    truth[:160] = 1
    prediction = np.zeros_like(truth)
    prediction[2:160] = 1  # 2 of 320 voxels are 1 of 160
    found = score("ga", prediction, truth)["a"]
    assert found["dice"] == pytest.approx(2 * 79 / (79 + 80))


def empties():
    """a in truth and prediction, b only in the truth, c only in the prediction, d in neither."""
    truth, prediction = np.zeros((2, 12, 12, 12), dtype=np.uint8)
    truth[:4], prediction[:4] = 1, 1
    truth[6:8] = 2
    prediction[9:] = 3
    return prediction, truth


@pytest.mark.parametrize("rules", ["ga", "dhc"])
def test_empty_masks_by_the_rules_of_ga_and_dhc(rules):
    found = score(rules, *empties())
    assert found["a"] == {"dice": 1, "asd_voxels": 0}
    assert found["b"] == found["c"] == {"dice": 0, "asd_voxels": 128}
    assert found["d"] == {"dice": 1, "asd_voxels": 0}


def test_empty_masks_by_the_rules_of_magicnet():
    found = score("magicnet", *empties())
    nothing = {"dice": 0, "nsd_1_voxel": 0, "hd95_voxels": 0, "asd_voxels": 0}
    assert found["b"] == found["c"] == found["d"] == nothing
    assert found["a"]["dice"] == 1


def test_a_prediction_without_any_organ_has_perfect_distances_by_ga_alone():
    _, truth = empties()
    blank = np.zeros_like(truth)
    assert all(row == {"dice": 0, "asd_voxels": 0} for row in score("ga", blank, truth).values())
    assert score("dhc", blank, truth)["a"] == {"dice": 0, "asd_voxels": 128}
    assert score("dhc", blank, truth)["d"] == {"dice": 1, "asd_voxels": 0}


def test_scan_cuts_the_volume_without_changing_a_score():
    random = np.random.default_rng(3)
    prediction, truth = random.integers(0, 4, (2, 11, 12, 13), dtype=np.uint8)
    truth[truth == 3] = 0
    found = score("scan", prediction, truth, spacing=(0.7, 1.1, 2.0), tolerance=1.2)
    for label, organ in enumerate(CLASSES[1:], start=1):
        whole = surface_scores(
            prediction == label, truth == label, (0.7, 1.1, 2.0), tolerance_mm=1.2
        )
        for key, value in whole._asdict().items():
            assert found[organ][key] == pytest.approx(value, nan_ok=True)
    assert math.isnan(found["d"]["dice"])
    assert found["c"]["dice"] == 0


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules.name)
def test_rules_give_what_they_name_and_say_how(rules):
    prediction, truth = empties()
    for scores in rules.score(prediction, truth, CLASSES, UNIT, 1.0).values():
        assert scores.keys() == {metric.key for metric in rules.metrics}
    assert {"grid", "empty_masks", "distances"} <= rules.facts.keys()
    assert rules.metrics[0].key == "dice"


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules.name)
def test_masks_on_different_grids_are_refused(rules):
    with pytest.raises(ValueError, match="for a truth of"):
        score(rules.name, np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 5), np.uint8))


def test_unknown_rules_are_answered_with_the_names():
    with pytest.raises(LookupError, match="no metric rules 'tak'; there is scan, ga, magicnet"):
        named("tak")


@pytest.mark.slow
def test_fifteen_organs_at_full_size_take_seconds():
    places = np.ogrid[:256, :256, :160]
    random = np.random.default_rng(0)
    truth, prediction = np.zeros((2, 256, 256, 160), dtype=np.uint8)
    for label in range(1, 16):
        center, radii = random.uniform(0.25, 0.75, 3) * truth.shape, random.uniform(8, 60, 3)
        for labels, shift in ((truth, 0), (prediction, 2)):
            gaps = [(p - c - shift) / r for p, c, r in zip(places, center, radii, strict=True)]
            labels[sum(gap**2 for gap in gaps) <= 1] = label
    classes = ("background", *(str(label) for label in range(1, 16)))
    begin = time.perf_counter()
    score("scan", prediction, truth, classes, (0.8, 0.8, 2.5))
    assert time.perf_counter() - begin < 10
