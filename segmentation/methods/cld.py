"""Calibrating label distribution (Lin et al., MICCAI 2022, arXiv 2205.03644)."""

import torch
from torch import Tensor

from segmentation.losses import class_counts, class_sums, masked_cross_entropy
from segmentation.methods.base.co_training import CoTraining, Pair, update_class_averages
from segmentation.methods.base.method import Batch, MethodContext, masked


class CLD(CoTraining):
    """Rare classes count more, and confident ones are sampled less often.

    L = sum over both of CE_w(Z[l], Y) + Dice_w(Z[l], Y)
        + w ramp (mean m_A w_y l(Z_A, y_B) + mean m_B w_y l(Z_B, y_A))
    with l the cross-entropy of a voxel and w_c = (max n / n_c)^power from the labeled scans. The
    mask m_A [L + U, x, y, z] keeps a voxel with probability ((1 - k_c) / max(1 - k))^sharpness,
    c the class that A itself predicts there and k_c A's mean probability of c where the label is c,
    gathered over `gather_steps` steps and then averaged with `momentum`.

    The cross term is cross-entropy whatever the loss. A class that no labeled scan has would weigh
    infinitely as published; here it weighs as the rarest one present. Until a class has been seen,
    all its voxels are kept; the released code draws the first confidences at random.

    Args:
        consistency_weight: weight w of the loss on unlabeled patches.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        power, sharpness, gather_steps, momentum: as above.
    """

    weight: Tensor
    confidence: Tensor
    seen: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 1.0,
        consistency_ramp: float = 1.0,
        power: float = 1 / 3,
        sharpness: float = 0.5,
        gather_steps: int = 8,
        momentum: float = 0.999,
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        self.sharpness, self.gather_steps, self.momentum = sharpness, gather_steps, momentum
        counts = context.class_counts()
        self.register_buffer("weight", rarity(counts, power))
        for name in ("confidence", "sums", "counts"):
            self.register_buffer(name, torch.zeros(2, len(counts)))
        self.register_buffer("seen", torch.zeros(2, len(counts), dtype=torch.bool))

    def class_weights(self) -> tuple[Tensor, Tensor]:
        """The same constant weights for both networks."""
        return self.weight, self.weight

    def observe(self, predictions: Pair, batch: Batch, step: int) -> None:
        """Gather each network's confidence in the true classes of the labeled patches."""
        for place, prediction in enumerate(predictions):
            probabilities = prediction.logits[: len(batch.image)].softmax(1)
            self.sums[place] += class_sums(probabilities, batch.label)
            self.counts[place] += class_counts(batch.label, len(self.weight))
        if (step + 1) % self.gather_steps == 0:
            self._update_confidence()

    def _update_confidence(self) -> None:
        present = self.counts > 0
        mean = self.sums / self.counts.clamp(min=1)
        update_class_averages(self.confidence, mean, self.momentum, present & self.seen)
        # The first mean of a class replaces the initial 0; an average would start far too low.
        self.confidence.copy_(torch.where(present & ~self.seen, mean, self.confidence))
        self.seen |= present
        self.sums.zero_()
        self.counts.zero_()

    def cross(self, predictions: Pair, labeled: int, generator: torch.Generator) -> Tensor:
        """Weighted cross-entropy on the voxels that each network's own mask keeps."""
        rates = sampling_rates(self.confidence, self.sharpness)
        masks = [
            bernoulli_mask(rate[prediction.label], generator)
            for rate, prediction in zip(rates, predictions, strict=True)
        ]
        first, second = predictions
        return masked_cross_entropy(
            first.logits, second.label, masked(masks[0], self.trust(second)), self.weight
        ) + masked_cross_entropy(
            second.logits, first.label, masked(masks[1], self.trust(first)), self.weight
        )


def rarity(counts: Tensor, power: float) -> Tensor:
    """(max n / n_c)^power for voxels per class [C]; an absent class as the rarest one present."""
    rarest = counts.masked_fill(counts == 0, torch.inf).min()
    return (counts.max() / counts.where(counts > 0, rarest)).pow(power)


def sampling_rates(confidence: Tensor, sharpness: float) -> Tensor:
    """((1 - k) / max(1 - k))^sharpness along the last axis; all 1 where every class is certain."""
    doubt = (1 - confidence).clamp(min=0)
    largest = doubt.amax(-1, keepdim=True)
    rates = (doubt / largest.clamp(min=1e-8)).pow(sharpness)
    return rates.where(largest > 0, 1.0)


def bernoulli_mask(rates: Tensor, generator: torch.Generator) -> Tensor:
    """Independent random values: 1 with the given probabilities, else 0."""
    draws = torch.rand(rates.shape, generator=generator, device=rates.device)
    return (draws < rates).to(rates.dtype)
