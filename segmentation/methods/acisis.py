"""Class-wise sampling by fused confidences (Basak et al., MICCAI 2022, arXiv 2209.00123).

DHC's framework calls it ACISIS, after the paper's title "Addressing Class Imbalance in
Semi-supervised Image Segmentation". Legend of shapes: L labeled and U unlabeled patches, C classes,
`x y z` space.
"""

import torch
from torch import Tensor

from segmentation.losses import (
    class_counts,
    class_sums,
    entropy,
    masked_cross_entropy,
    most_probable,
)
from segmentation.methods.base.co_training import update_class_averages
from segmentation.methods.base.mean_teacher import MeanTeacher
from segmentation.methods.base.method import Batch, MethodContext, check_choice, masked
from segmentation.methods.cld import bernoulli_mask, sampling_rates


class ACISIS(MeanTeacher):
    """A mean teacher's labels, learned the more often the less certain the student is of a class.

    L = CE(Z[l], Y) + Dice(Z[l], Y) + w ramp mean m l(Z[u], y')
    with l the cross-entropy of a voxel and y' [U, x, y, z] the teacher's labels. The mask m is
    max(P)^trust with probability ((1 - k_c) / max(1 - k))^sharpness, else 0; P and c are what the
    student itself predicts there.

    The certainty k [C] is an average over rounds of `gather_steps` steps, starting at 0, of the
    `fused_certainty` of three doubts of every class, means over the labeled voxels of c and over
    the steps that have any: the entropy, 1 - P_c, and max(P) - P_c. A class that was never labeled
    has k = 0, so that all its voxels are learned.

    The released code (`doubts = "released"`) differs in three ways. It compares the probabilities
    of every labeled patch with the labels of all, so that values mix patches and grow with L; it
    takes P_c sum_k ln P_k for the entropy; and it takes P_c itself for a doubt, against the other
    two. A class counts as 0 in steps without it. It also averages the teacher by epochs, so that
    it equals the student all through the first (`average_every` = steps of an epoch).

    Args:
        consistency_weight: weight w of the loss on unlabeled patches.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        gather_steps: steps of a round; an epoch of AMOS 5 % as published.
        momentum: momentum of the average of certainties.
        top: classes, at most, that a doubt tells apart; the others count as free of it.
        sharpness, trust: as above.
        doubts: `repaired` or `released`.
        decay: upper limit of the teacher's averaging; match it to the length of the run.
        average_every: steps that count as one in min(1 - 1 / (count + 1), decay).
    """

    two_views = pseudo_labels = True
    certainty: Tensor
    sums: Tensor
    visits: Tensor

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 1.0,
        consistency_ramp: float = 1.0,
        gather_steps: int = 103,
        momentum: float = 0.99,
        top: int = 12,
        sharpness: float = 2.5,
        trust: float = 1.5,
        doubts: str = "repaired",
        decay: float = 0.99,
        average_every: int = 1,
    ) -> None:
        super().__init__(
            context,
            consistency_weight=consistency_weight,
            consistency_ramp=consistency_ramp,
            decay=decay,
            average_every=average_every,
            initialization="kaiming",
        )
        if min(gather_steps, top) < 1:
            raise ValueError(f"gather_steps and top must be at least 1, not {gather_steps}, {top}")
        self.gather_steps, self.momentum, self.top = gather_steps, momentum, top
        self.sharpness, self.trust = sharpness, trust
        self.doubts = check_choice("doubts", doubts, ("repaired", "released"))
        self.register_buffer("certainty", torch.zeros(context.classes))
        self.register_buffer("sums", torch.zeros(3, context.classes))
        self.register_buffer("visits", torch.zeros(context.classes))

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice`, `consistency` and, with alignment, `contrast`."""
        labeled = len(batch.image)
        generator = self.generator(step, batch.image.device)
        taught = self.teacher_logits(batch.unlabeled)
        output = self.network(torch.cat([batch.image, batch.student_view]))
        logits = output.logits.float()
        terms = self.supervised_terms(logits[:labeled], batch.label, weight=1)
        with torch.no_grad():
            self._observe(logits[:labeled].softmax(1), batch.label, step)
            mask = self._mask(logits[labeled:].softmax(1), generator)
        target = most_probable(taught)
        mask = masked(mask, self.trusted(target, taught))
        learned = masked_cross_entropy(logits[labeled:], target, mask)
        terms["consistency"] = self.unlabeled_weight(step) * learned
        if self.uses_alignment(step):
            labels = torch.cat([batch.label, self.confident_labels(taught.softmax(1), step)])
            terms["contrast"] = self.contrast(self.network, output.deep, labels, generator)
        return terms

    def warm_up(self, batch: Batch) -> dict[str, Tensor]:
        """The student on the labeled patches; doubts are gathered after the warm-up."""
        return self.supervised_terms(self.network(batch.image).logits, batch.label, weight=1)

    def _observe(self, probabilities: Tensor, label: Tensor, step: int) -> None:
        """Gather the doubts of labeled patches; at the end of a round, fuse them."""
        released = self.doubts == "released"
        counts = class_counts(label, len(self.certainty))
        measure = released_doubts if released else class_doubts
        self.sums += measure(probabilities, label) / counts.clamp(min=1)
        self.visits += torch.ones_like(counts) if released else (counts > 0).to(counts.dtype)
        if (step + 1) % self.gather_steps == 0:
            known = self.visits > 0
            new = fused_certainty(self.sums / self.visits.clamp(min=1), known, self.top)
            update_class_averages(self.certainty, new, self.momentum, known)
            self.sums.zero_()
            self.visits.zero_()

    def _mask(self, probabilities: Tensor, generator: torch.Generator) -> Tensor:
        """The weight of every unlabeled voxel in [0, 1]: [U, x, y, z]."""
        confidence, prediction = probabilities.max(1)
        rates = sampling_rates(self.certainty, self.sharpness)
        return bernoulli_mask(rates[prediction], generator) * confidence.pow(self.trust)


def class_doubts(probabilities: Tensor, label: Tensor) -> Tensor:
    """Sums of entropy, 1 - P_c and max(P) - P_c over the voxels labeled c: [3, C].

    Args:
        probabilities: [L, C, x, y, z].
        label: [L, x, y, z].
    """
    spread = entropy(probabilities)[:, None].expand_as(probabilities)
    gap = probabilities.amax(1, keepdim=True) - probabilities
    return torch.stack([class_sums(each, label) for each in (spread, 1 - probabilities, gap)])


def released_doubts(probabilities: Tensor, label: Tensor) -> Tensor:
    """Sums of P_c sum_k ln P_k, P_c and max(P) - P_c, every patch with the labels of all: [3, C].

    Args:
        probabilities: [L, C, x, y, z].
        label: [L, x, y, z].
    """
    product = probabilities * (probabilities + 1e-12).log().sum(1, keepdim=True)
    gap = probabilities.amax(1, keepdim=True) - probabilities
    sums = [
        torch.stack([class_sums(each, label.roll(shift, 0)) for shift in range(len(label))]).sum(0)
        for each in (product, probabilities, gap)
    ]
    return torch.stack(sums)


def fused_certainty(doubts: Tensor, known: Tensor, top: int) -> Tensor:
    """Certainty of every class by fuzzy fusion of doubts, 1 for the most certain: [C].

    With x the softmax of a doubt over the known classes, 0 but for its `top` largest, and the
    Gompertz function R = 1 - e^(-e^(-2x)): (1 - mean x) sum R over the doubts, divided by its
    maximum over the classes.

    Args:
        doubts: [3, C].
        known: classes that have doubts, [C], at least one; the others get 0.
        top: number of classes.
    """
    shares = doubts.masked_fill(~known, -torch.inf).softmax(1)
    least = shares.topk(min(top, shares.shape[1]), dim=1).values[:, -1:]
    shares = shares.where(shares >= least, 0)
    ranks = 1 - (-(-2 * shares).exp()).exp()
    fused = ((1 - shares.mean(0)) * ranks.sum(0)).where(known, 0)
    return fused / fused.max().clamp(min=1e-8)
