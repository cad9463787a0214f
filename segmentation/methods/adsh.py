"""Adaptive thresholding in cross pseudo supervision (Guo & Li, ICML 2022, PMLR 162)."""

import torch
from torch import Tensor

from segmentation.losses import class_counts, masked_cross_entropy, mean_cross_entropy
from segmentation.methods.base.co_training import CoTraining, Pair
from segmentation.methods.base.method import Batch, MethodContext, check_choice, masked


class Adsh(CoTraining):
    """A pseudo-label counts where it is more probable than its class's own threshold.

    L = sum over both of CE(Z[l], Y) + Dice(Z[l], Y)
        + w ramp (mean m_B l(Z_A, y_B) + mean m_A l(Z_B, y_A))
    with l the cross-entropy of a voxel and m = 1 where P_y > t_y. The thresholds t [C] let the same
    share of every class pass: that of the most frequent class whose probability is above
    `confidence`. Over the unlabeled patches of `refresh_steps` steps, with n_c voxels predicted
    as c and M the most frequent class, t_c is the value at place s n_c of P_c in descending order,
    s = #(P_M > confidence) / n_M. Until the first refresh t = 0.

    The released code stores all those probabilities (3.4 GB per network for AMOS) and sorts them;
    here they are counted in `bins`, so that a threshold is exact to 1 / bins. Its mask multiplies
    the logits of every class that is below its threshold by 0 instead of dropping voxels
    (`mask = "channels"`): a wholly masked voxel then still costs ln C.

    Args:
        consistency_weight: weight w of the loss on unlabeled patches.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        confidence: as above.
        refresh_steps: steps between thresholds; a quarter of the unlabeled scans, two a step, in
            the released code: 26 for AMOS 5 %.
        bins: bins of the histogram of probabilities in [0, 1].
        mask: `voxels` or `channels`.
    """

    histogram: Tensor
    thresholds: Tensor
    guessed: Tensor

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 0.1,
        consistency_ramp: float = 1.0,
        confidence: float = 0.9,
        refresh_steps: int = 26,
        bins: int = 1000,
        mask: str = "voxels",
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        self.mask = check_choice("mask", mask, ("voxels", "channels"))
        self.confidence, self.refresh_steps = confidence, refresh_steps
        self.register_buffer("histogram", torch.zeros(2, context.classes, bins, dtype=torch.int64))
        self.register_buffer("guessed", torch.zeros(2, context.classes, dtype=torch.int64))
        self.register_buffer("thresholds", torch.zeros(2, context.classes))

    def observe(self, predictions: Pair, batch: Batch, step: int) -> None:
        """Count the probabilities of unlabeled patches; now and then, draw thresholds from them."""
        classes, bins = self.histogram.shape[1:]
        for place, prediction in enumerate(predictions):
            probabilities = prediction.logits[len(batch.image) :].softmax(1)
            self.histogram[place] += probability_counts(probabilities, bins)
            labels = prediction.label[len(batch.image) :]
            self.guessed[place] += class_counts(labels, classes).long()
        if (step + 1) % self.refresh_steps == 0:
            for place in range(2):
                self.thresholds[place] = class_thresholds(
                    self.histogram[place], self.guessed[place], self.confidence
                )
            self.histogram.zero_()
            self.guessed.zero_()

    def cross(self, predictions: Pair, labeled: int, generator: torch.Generator) -> Tensor:
        """Cross-entropy against the other's labels, where these pass."""
        terms = []
        for own, other in ((0, 1), (1, 0)):
            logits, label = predictions[own].logits, predictions[other].label
            passes = predictions[other].probabilities > self.thresholds[other][:, None, None, None]
            trusted = self.trust(predictions[other])
            if self.mask == "channels":
                terms.append(mean_cross_entropy(logits * passes, label, mask=trusted))
            else:
                mask = passes.gather(1, label[:, None])[:, 0].to(logits.dtype)
                terms.append(masked_cross_entropy(logits, label, masked(mask, trusted)))
        return terms[0] + terms[1]


def probability_counts(probabilities: Tensor, bins: int) -> Tensor:
    """Voxels per class and bin of probability, [C, bins], of probabilities [B, C, x, y, z]."""
    classes = probabilities.shape[1]
    bin_of = (probabilities.transpose(0, 1).flatten(1) * bins).long().clamp(0, bins - 1)
    places = (bin_of + bins * torch.arange(classes, device=bin_of.device)[:, None]).flatten()
    counts = torch.zeros(classes * bins, dtype=torch.int64, device=places.device)
    return counts.index_add(0, places, torch.ones_like(places)).reshape(classes, bins)


def class_thresholds(histogram: Tensor, guessed: Tensor, confidence: float) -> Tensor:
    """The lower edge of the bin that holds place s n_c, from 0, of the falling probabilities: [C].

    Args:
        histogram: voxels per class and bin, [C, bins].
        guessed: voxels whose most probable class it is, n, [C].
        confidence: what a probability of the most frequent class must exceed to count in s.
    """
    bins = histogram.shape[1]
    frequent = guessed.argmax()
    confident = histogram[frequent, round(confidence * bins) :].sum()
    places = confident * guessed // guessed[frequent].clamp(min=1)
    places = places.minimum(histogram.sum(1) - 1).clamp(min=0)
    above = histogram.flip(1).cumsum(1)  # voxels in the highest 1, 2, 3 ... bins
    reached = (above <= places[:, None]).sum(1)  # the bins that end before the place
    return (bins - 1 - reached).clamp(min=0) / bins
