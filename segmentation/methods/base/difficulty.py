"""Difficulty of classes: how slowly and how badly each is learned (DHC, 2023, arXiv 2307.11960)."""

import torch
from torch import Tensor, nn

from segmentation.losses import class_counts
from segmentation.methods.base.co_training import update_class_averages

SMOOTH = 1e-8


class TracksDifficulty(nn.Module):
    """Class weights that a method averages over its steps, as buffers of the method itself.

    With d the hard Dice of labeled patches and D its change, learning D ln(d/d') where D > 0 and
    unlearning where D <= 0 are averaged over `memory` steps to K and R, 1 - d to W; the score of a
    class is ((R + e) / (K + e))^(1/5) W. Legend of shapes: C classes with background.
    """

    difficulty: Tensor
    last_dice: Tensor
    learned: Tensor
    unlearned: Tensor
    gap: Tensor

    def begin_difficulty(
        self, classes: int, *, memory: int, keep_absent: bool, bounded: bool = True
    ) -> None:
        """Register the buffers.

        Args:
            memory: steps over which learning and unlearning are averaged.
            keep_absent: whether classes absent from a step keep their statistics.
            bounded: whether the weights are C score / max score; otherwise C score, which has no
                upper limit.
        """
        self.memory, self.keep_absent, self.bounded = memory, keep_absent, bounded
        self.register_buffer("difficulty", torch.full((classes,), float(classes)))
        self.register_buffer("last_dice", torch.full((classes,), SMOOTH))
        self.register_buffer("learned", torch.zeros(classes))
        self.register_buffer("unlearned", torch.zeros(classes))
        self.register_buffer("gap", torch.ones(classes))

    def observe_difficulty(self, prediction: Tensor, label: Tensor) -> None:
        """Update the weights from predicted and true labels [L, x, y, z]."""
        classes, momentum = len(self.difficulty), 1 - 1 / self.memory
        dice = hard_dice(prediction, label, classes)
        known = class_counts(label, classes) > 0 if self.keep_absent else torch.ones_like(dice) > 0
        change = dice - self.last_dice
        growth = change * (dice / self.last_dice).log()  # never negative
        update_class_averages(self.learned, growth.where(change > 0, 0), momentum, known)
        update_class_averages(self.unlearned, growth.where(change <= 0, 0), momentum, known)
        update_class_averages(self.gap, 1 - dice, momentum, known)
        self.last_dice.copy_(torch.where(known, dice, self.last_dice))
        ratio = (self.unlearned + SMOOTH) / (self.learned + SMOOTH)
        score = ratio.pow(1 / 5) * self.gap
        largest = score.max().clamp(min=SMOOTH) if self.bounded else 1.0
        self.difficulty.copy_(classes * score / largest)


def hard_dice(prediction: Tensor, label: Tensor, classes: int) -> Tensor:
    """Dice of every class between two label maps [B, x, y, z]; 0.5 where both lack it: [C]."""
    same = (prediction == label).flatten().float()
    both = same.new_zeros(classes).index_add(0, label.flatten(), same)
    total = class_counts(prediction, classes) + class_counts(label, classes)
    return (2 * both + SMOOTH) / (total + 2 * SMOOTH)
