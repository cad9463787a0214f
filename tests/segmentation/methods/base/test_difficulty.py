"""Hard Dice and class weights; `test_dhc.py` compares them with loops over classes."""

import torch

from segmentation.methods.base.difficulty import TracksDifficulty, hard_dice


class Tracker(TracksDifficulty):
    def __init__(self, **options):
        super().__init__()
        self.begin_difficulty(3, memory=4, keep_absent=True, **options)


def test_a_perfect_prediction_has_dice_one_and_a_class_of_neither_one_half():
    label = torch.tensor([[[[0, 0, 1]]]])
    assert hard_dice(label, label, 3).tolist() == [1, 1, 0.5]


def test_a_class_that_is_never_found_weighs_most_and_an_absent_one_keeps_its_statistics():
    tracker = Tracker()
    label, prediction = torch.tensor([[[[0, 0, 1]]]]), torch.tensor([[[[0, 0, 0]]]])
    for _ in range(6):
        tracker.observe_difficulty(prediction, label)
    assert tracker.difficulty.argmax() == 1
    assert tracker.difficulty.max() == 3
    assert tracker.gap[2] == 1
