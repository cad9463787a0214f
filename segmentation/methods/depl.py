"""Debiased pseudo-labels (Wang et al., CVPR 2022, arXiv 2201.01490)."""

import torch
from torch import Tensor

from segmentation.losses import masked_cross_entropy
from segmentation.methods.base.co_training import CoTraining, Pair, Prediction
from segmentation.methods.base.method import MethodContext, check_choice, masked


class DePL(CoTraining):
    """Cross pseudo supervision by pseudo-labels corrected for the networks' class prior.

    L = sum over both of CE(Z[l], Y) + Dice(Z[l], Y)
        + w ramp (mean m_B l(Z_A + margin ln q_B, y_B) + mean m_A l(Z_B + margin ln q_A, y_A))
    with l the cross-entropy of a voxel, y and confidence the arg-max and maximum of
    softmax(Z - debias ln q), m = 1 where the confidence is at least `threshold`, and q a running
    average of softmax(Z) on unlabeled patches, 1 / C at first. The margin, added on unlabeled
    patches only, asks for more distance from frequent classes.

    The released code computes the margin and does not use it (`margin = 0`), and keeps q per voxel
    position of its random crops, where a position means nothing (`prior = "voxel"`).
    The cross term is cross-entropy whatever the loss.

    Args:
        consistency_weight: weight w of the loss on unlabeled patches.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        debias, margin, threshold: as above.
        momentum: momentum of the average q.
        prior: whether q is an average per `class`, [C], or per `voxel` of a patch, [C, x, y, z].
    """

    prior: Tensor

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 1.0,
        consistency_ramp: float = 1.0,
        debias: float = 1.0,
        margin: float = 1.0,
        threshold: float = 0.9,
        momentum: float = 0.99,
        prior: str = "class",
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        self.debias, self.margin, self.threshold = debias, margin, threshold
        self.momentum = momentum
        by_voxel = check_choice("prior", prior, ("class", "voxel")) == "voxel"
        places = tuple(context.patch) if by_voxel else (1, 1, 1)
        self.register_buffer(
            "prior", torch.full((2, context.classes, *places), 1 / context.classes)
        )

    def cross(self, predictions: Pair, labeled: int, generator: torch.Generator) -> Tensor:
        """Cross-entropy against the other's debiased labels, where these are sure."""
        scores = [
            debiased(prediction.logits.detach(), prior, self.debias)
            for prediction, prior in zip(predictions, self.prior, strict=True)
        ]
        self._update_prior(predictions, labeled)
        terms = []
        for own, other in ((0, 1), (1, 0)):
            logits = self._with_margin(predictions[own], self.prior[other].clone(), labeled)
            confidence, label = scores[other].softmax(1).max(1)
            sure = (confidence >= self.threshold).to(logits.dtype)
            trusted = self.trusted(label, scores[other])
            terms.append(masked_cross_entropy(logits, label, masked(sure, trusted)))
        return terms[0] + terms[1]

    def _with_margin(self, prediction: Prediction, prior: Tensor, labeled: int) -> Tensor:
        shifted = prediction.logits[labeled:] + self.margin * prior.log()
        return torch.cat([prediction.logits[:labeled], shifted])

    @torch.no_grad()
    def _update_prior(self, predictions: Pair, labeled: int) -> None:
        """Move q toward the mean probabilities of this step's unlabeled patches."""
        for prior, prediction in zip(self.prior, predictions, strict=True):
            mean = prediction.logits[labeled:].softmax(1).mean(0)
            if prior[0].numel() == 1:
                mean = mean.mean((1, 2, 3), keepdim=True)
            prior.lerp_(mean, 1 - self.momentum)


def debiased(logits: Tensor, prior: Tensor, strength: float) -> Tensor:
    """Z - strength ln q, [B, C, x, y, z].

    Args:
        logits: Z, [B, C, x, y, z].
        prior: q, [C, 1, 1, 1] or [C, x, y, z].
    """
    return logits - strength * prior.log()
