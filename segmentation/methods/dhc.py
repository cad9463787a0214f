"""Dual-debiased heterogeneous co-training (Wang & Li, MICCAI 2023, arXiv 2307.11960).

Legend of shapes: C classes with background.
"""

import torch
from torch import Tensor

from segmentation.losses import class_counts
from segmentation.methods.base.co_training import CoTraining, Pair, update_class_averages
from segmentation.methods.base.difficulty import SMOOTH, TracksDifficulty
from segmentation.methods.base.method import Batch, MethodContext


class DHC(CoTraining, TracksDifficulty):
    """Cross pseudo supervision whose networks weigh classes by difficulty (A) and rarity (B).

    L = sum over both of CE_w(Z[l], Y) + Dice_w(Z[l], Y)
        + w ramp (CE_wA(Z_A, y_B) + CE_wB(Z_B, y_A))

    w_B (DistDW) follows `rarity_weights` of the labels that B predicts for unlabeled patches, and
    starts at those of the labeled scans. w_A (DiffDW): with d the hard Dice of A on the step's
    labeled patches and D its change, learning D ln(d/d') where D > 0 and unlearning where D <= 0
    are averaged over `memory` steps to K and R, 1 - d to W; w_A = C x / max x with
    x = ((R + e) / (K + e))^(1/5) W.

    Statistics of classes absent from a step stay unchanged. In the
    released code it is the rarest of all for DistDW, which squeezes all others, and comes and goes
    with Dice 0.5 in DiffDW; `keep_absent = false` brings that back. The most frequent class always
    has w_B = 0, so a patch of background alone gives CE 0; the released code divides 0 by 0.

    Args:
        consistency_weight: weight w of the loss on unlabeled patches; 1 as the script's default,
            0.1 in the authors' documented run.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        rarity_momentum: momentum of the average w_B.
        memory: steps over which learning and unlearning are averaged.
        keep_absent: whether classes absent from a step keep their statistics.
    """

    rarity: Tensor

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 1.0,
        consistency_ramp: float = 1.0,
        rarity_momentum: float = 0.99,
        memory: int = 50,
        keep_absent: bool = True,
    ) -> None:
        super().__init__(
            context,
            consistency_weight=consistency_weight,
            consistency_ramp=consistency_ramp,
            initialization=("kaiming", "kaiming"),
        )
        counts, classes = context.class_counts(), context.classes
        self.rarity_momentum = rarity_momentum
        self.register_buffer("rarity", rarity_weights(counts, keep_absent))
        self.begin_difficulty(classes, memory=memory, keep_absent=keep_absent)

    def class_weights(self) -> tuple[Tensor, Tensor]:
        """Difficulty for A, rarity for B."""
        return self.difficulty.clone(), self.rarity.clone()

    def observe(self, predictions: Pair, batch: Batch, step: int) -> None:
        """Difficulty from A's labeled patches, rarity from B's unlabeled ones."""
        labeled = len(batch.image)
        self.observe_difficulty(predictions[0].label[:labeled], batch.label)
        counts = class_counts(predictions[1].label[labeled:], len(self.rarity))
        present = counts > 0
        # One class alone is not rare or frequent; it has nothing to be compared with.
        moved = present & (present.sum() > 1) if self.keep_absent else torch.ones_like(present)
        new = rarity_weights(counts, self.keep_absent)
        update_class_averages(self.rarity, new, self.rarity_momentum, moved)


def rarity_weights(counts: Tensor, absent_as_rarest_present: bool = True) -> Tensor:
    """C a_c / max a with a_c = ln(max n / n_c): 0 for the most frequent class, C for the rarest.

    Args:
        counts: voxels per class, [C].
        absent_as_rarest_present: an absent class counts as the rarest present one; otherwise as one
            of 1e-8 voxels, as published.

    Returns:
        [C]; all ones where all counts are equal, so that no class is rarer than another.
    """
    if absent_as_rarest_present:
        rarest = counts.masked_fill(counts == 0, torch.inf).min()
        counts = counts.where(counts > 0, rarest)
    rarity = ((counts.max() + SMOOTH) / (counts + SMOOTH)).log()
    largest = rarity.max()
    weights = len(counts) * rarity / largest.clamp(min=SMOOTH)
    return weights.where(largest > 0, 1.0)
