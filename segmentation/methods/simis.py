"""SimiS's class weights in cross pseudo supervision (Chen et al., 2022, arXiv 2211.11086)."""

import torch
from torch import Tensor

from segmentation.losses import class_counts
from segmentation.methods.base.co_training import CoTraining, Pair, update_class_averages
from segmentation.methods.base.method import Batch, MethodContext


class SimiS(CoTraining):
    """A class counts by how much rarer it is than the most frequent one.

    L = sum over both of CE_w(Z[l], Y) + Dice_w(Z[l], Y)
        + w ramp (CE_wA(Z_A, y_B) + CE_wB(Z_B, y_A))
    with w_A, w_B [C] each a running average of C (max p - p_c), p the class frequencies: of the
    labeled scans at first, then of the labels that the network itself predicts for all patches. It
    starts at 0.99 C, as published. The weight of the most frequent class falls toward 0; patches
    that show nothing else give CE 0, where the released code would divide 0 by 0.

    This is the form in which DHC's framework compares it; SimiS itself resamples labeled images.

    Args:
        consistency_weight: weight w of the loss on unlabeled patches.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        momentum: momentum of the running average.
    """

    weights: Tensor

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
        self.momentum = momentum
        counts = context.class_counts()
        start = momentum * len(counts) + (1 - momentum) * missing_share(counts)
        self.register_buffer("weights", start.repeat(2, 1))

    def class_weights(self) -> tuple[Tensor, Tensor]:
        """Separate class weights of the two networks."""
        first, second = self.weights.clone()
        return first, second

    def observe(self, predictions: Pair, batch: Batch, step: int) -> None:
        """Count the labels that each network predicts for all patches."""
        for weights, prediction in zip(self.weights, predictions, strict=True):
            new = missing_share(class_counts(prediction.label, len(weights)))
            update_class_averages(weights, new, self.momentum, torch.ones_like(new) > 0)


def missing_share(counts: Tensor) -> Tensor:
    """C (max p - p_c) with p the frequencies of the classes; voxels per class [C] -> [C]."""
    shares = counts / counts.sum().clamp(min=1)
    return len(counts) * (shares.max() - shares)
