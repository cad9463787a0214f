"""Knowledge transfer cross pseudo supervision of GuidedNet (Zhao et al., ACM MM 2024)."""

import torch
from torch import Tensor

from segmentation.losses import class_counts
from segmentation.methods.base.co_training import CoTraining, Pair
from segmentation.methods.base.method import Batch, MethodContext
from segmentation.methods.dhc import rarity_weights


class KTCPS(CoTraining):
    """Cross pseudo supervision in which classes that are rarely right weigh more.

    L = sum over both of CE(Z[l], Y) + Dice(Z[l], Y)
        + w ramp (CE_wA(Z_A, y_B) + CE_wB(Z_B, y_A))
    with w_A, w_B [C] = C r / max r, r_c = ln(max n / n_c) (`rarity_weights` of DHC), and n_c a
    running average of the share of labeled voxels that are of class c and that the network finds.
    It begins with the labeled cases; the released code begins with 42 labeled scans where 18 may be
    used.

    Left out is the other part of GuidedNet, the agreement with Gaussian prototypes per image.

    Args:
        consistency_weight: weight w of the loss on pseudo-labels.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        momentum: momentum of the running average.
    """

    found: Tensor

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 0.1,
        consistency_ramp: float = 1.0,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum: expected a number in [0, 1), got {momentum}")
        self.momentum = momentum
        counts = context.class_counts()
        self.register_buffer("found", (counts / counts.sum()).repeat(2, 1))

    def observe(self, predictions: Pair, batch: Batch, step: int) -> None:
        """Average the share of labeled voxels of each class that each network finds."""
        outside = self.found.shape[1]  # a class for voxels that are wrong
        for found, prediction in zip(self.found, predictions, strict=True):
            right = prediction.label[: len(batch.label)] == batch.label
            hits = class_counts(torch.where(right, batch.label, outside), outside + 1)[:-1]
            found.lerp_(hits / batch.label.numel(), 1 - self.momentum)

    def cross(self, predictions: Pair, labeled: int, generator: torch.Generator) -> Tensor:
        """Cross-entropy of each network against the other's labels, with its own weights."""
        first, second = predictions
        weight_first, weight_second = map(rarity_weights, self.found.clone())
        return self.loss.pseudo_cross_entropy(
            first.logits, second.label, weight_first, self.trust(second)
        ) + self.loss.pseudo_cross_entropy(
            second.logits, first.label, weight_second, self.trust(first)
        )
