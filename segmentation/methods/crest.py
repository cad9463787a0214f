"""CReST's class weights in cross pseudo supervision (Wei et al., CVPR 2021, arXiv 2102.09559)."""

import torch
from torch import Tensor

from segmentation.losses import class_counts
from segmentation.methods.base.co_training import CoTraining, Pair, update_class_averages
from segmentation.methods.base.method import Batch, MethodContext


class CReST(CoTraining):
    """The rarer a class, the more it counts: its weight is the rate of the class of opposite rank.

    L = sum over both of CE_w(Z[l], Y) + Dice_w(Z[l], Y)
        + w ramp (CE_wA(Z_A, y_B) + CE_wB(Z_B, y_A))
    with w_A, w_B [C] each: `reversed_rates` of the labeled scans, then a running average over the
    labels that the network itself predicts for unlabeled patches.

    This is the form in which DHC's framework compares it: CReST as published samples whole
    pseudo-labeled images, which has no meaning for patches that show many organs at once.

    Args:
        consistency_weight: weight w of the loss on unlabeled patches.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        power: exponent of the class frequencies.
        momentum: momentum of the running average.
        keep_absent: whether classes absent from a step keep their weight; the released code ranks
            them last in the order of their labels, and the most frequent class gets weight 0.
    """

    weights: Tensor

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 0.1,
        consistency_ramp: float = 1.0,
        power: float = 1 / 3,
        momentum: float = 0.99,
        keep_absent: bool = True,
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        self.power, self.momentum, self.keep_absent = power, momentum, keep_absent
        start = reversed_rates(context.class_counts(), power, keep_absent)
        self.register_buffer("weights", start.repeat(2, 1))

    def class_weights(self) -> tuple[Tensor, Tensor]:
        """Separate class weights of the two networks."""
        first, second = self.weights.clone()
        return first, second

    def observe(self, predictions: Pair, batch: Batch, step: int) -> None:
        """Count the labels that each network predicts for unlabeled patches."""
        for weights, prediction in zip(self.weights, predictions, strict=True):
            counts = class_counts(prediction.label[len(batch.image) :], len(weights))
            moved = counts > 0 if self.keep_absent else torch.ones_like(counts) > 0
            new = reversed_rates(counts, self.power, self.keep_absent)
            update_class_averages(weights, new, self.momentum, moved)


def reversed_rates(counts: Tensor, power: float, among_present: bool = True) -> Tensor:
    """(n / max n)^power handed out in reverse: the rarest class gets 1, the most frequent least.

    Args:
        counts: voxels per class, [C].
        among_present: ranks are reversed among the classes present, and absent ones count as the
            rarest; otherwise among all classes, as published.
    """
    order = counts.argsort(descending=True, stable=True)
    rates = (counts[order] / counts.max().clamp(min=1)).pow(power)
    last = (counts > 0).sum() - 1 if among_present else counts.new_tensor(len(counts) - 1)
    ranks = torch.arange(len(counts), device=counts.device)
    reverse = (last - ranks).clamp(min=0).long()
    return torch.empty_like(rates).scatter(0, order, rates[reverse])
