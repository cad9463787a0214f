import math

import numpy as np
import pytest

from segmentation.evaluation.metrics import dice
from segmentation.evaluation.statistics import nan_deviation, nan_mean

CLASSES = ("background", "a", "b", "c", "d")


def test_dice_agrees_with_sets_of_voxels():
    random = np.random.default_rng(0)
    truth, guess = random.integers(0, 4, (2, 6, 7, 8))
    found = dice(guess, truth, CLASSES)
    for label, name in enumerate(CLASSES[1:4], start=1):
        a, b = (set(map(tuple, np.argwhere(mask == label))) for mask in (truth, guess))
        assert found[name] == pytest.approx(2 * len(a & b) / (len(a) + len(b)))


def test_empty_masks_follow_the_written_rule():
    truth, guess = np.zeros((2, 4, 4, 4), dtype=np.uint8)
    truth[0], guess[1] = 1, 2
    found = dice(guess, truth, CLASSES)
    assert found["a"] == 0  # missed
    assert found["b"] == 0  # invented
    assert math.isnan(found["c"])  # rightly absent


def test_two_boxes_of_known_overlap():
    truth, guess = np.zeros((2, 10, 10, 10), dtype=np.uint8)
    truth[2:6, 2:6, 2:6] = 1
    guess[4:8, 2:6, 2:6] = 1
    assert dice(guess, truth, CLASSES)["a"] == pytest.approx(0.5)
    assert dice(truth, truth, CLASSES)["a"] == 1


def test_means_leave_out_what_is_not_scored():
    assert nan_mean([0.2, float("nan"), 0.4]) == pytest.approx(0.3)
    assert math.isnan(nan_mean([float("nan")]))
    assert nan_deviation([0.2, 0.4]) == pytest.approx(0.1414, abs=1e-4)
    assert math.isnan(nan_deviation([0.2]))


def test_masks_on_different_grids_are_refused():
    with pytest.raises(ValueError, match="for a truth of"):
        dice(np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), CLASSES)
