"""Uncertainty-aware mean teacher (Yu et al., MICCAI 2019, arXiv 1907.07034)."""

from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from segmentation.losses import entropy, most_probable
from segmentation.methods.base.mean_teacher import MeanTeacher, perturb
from segmentation.methods.base.method import Batch, MethodContext, masked
from segmentation.methods.base.ramps import entropy_threshold


class TeacherPasses(NamedTuple):
    """Teacher probabilities of unlabeled patches.

    Attributes:
        target: probabilities of one noisy pass, [U, C, x, y, z].
        mean: mean probabilities of the other passes, [U, C, x, y, z].
    """

    target: Tensor
    mean: Tensor


class UAMT(MeanTeacher):
    """The student agrees with its running average wherever that one is certain.

    L = (CE + Dice) / 2 on labeled patches
        + w ramp sum_v m_v |P_v - P'_v|^2 / (n sum_v m_v)
    with P [U, C, x, y, z] the student's probabilities of clean unlabeled patches, P' the teacher's
    of noisy ones, and m_v = 1 where the entropy of the mean of `passes` further noisy passes is
    below ln n (0.75 + 0.25 ramp). n is the number of classes, so that the threshold is a share of
    the largest possible entropy and the sum over classes becomes a mean.

    The released code keeps n = 2 of the paper's binary task for any number of classes
    (`assumed_classes = 2`), and averages the teacher by epochs, so that it equals the student all
    through the first (`average_every` = steps of an epoch).

    Args:
        consistency_weight: weight w of the loss on unlabeled patches.
        consistency_ramp, entropy_ramp: shares of the run; 0 for the full value from the start.
        passes: T, of the teacher, for the uncertainty.
        noise: scale of the Gaussian noise that the teacher sees, clipped at twice that.
        decay: upper limit of the teacher's averaging; match it to the length of the run.
        average_every: steps that count as one in min(1 - 1 / (count + 1), decay).
        assumed_classes: n, if not C.
    """

    two_views = pseudo_labels = True

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 1.0,
        consistency_ramp: float = 1.0,
        entropy_ramp: float = 1.0,
        passes: int = 8,
        noise: float = 0.1,
        decay: float = 0.99,
        average_every: int = 1,
        assumed_classes: int | None = None,
    ) -> None:
        super().__init__(
            context,
            consistency_weight=consistency_weight,
            consistency_ramp=consistency_ramp,
            decay=decay,
            average_every=average_every,
        )
        if passes < 1:
            raise ValueError(f"passes must be at least 1, not {passes}")
        self.entropy_ramp, self.passes, self.noise = entropy_ramp, passes, noise
        self.assumed_classes = assumed_classes or context.classes

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice`, `consistency` and, with alignment, `contrast`."""
        labeled = len(batch.image)
        generator = self.generator(step, batch.image.device)
        teacher = self._teacher_pass(batch.unlabeled, generator)
        output = self.network(torch.cat([batch.image, batch.student_view]))
        logits = output.logits.float()
        certain = entropy(teacher.mean) < self._limit(step)
        trusted = self.trusted(most_probable(teacher.target), teacher.target.log())
        terms = self.supervised_terms(logits[:labeled], batch.label)
        terms["consistency"] = self.unlabeled_weight(step) * masked_difference(
            logits[labeled:].softmax(1),
            teacher.target,
            masked(certain, trusted),
            self.assumed_classes,
        )
        if self.uses_alignment(step):
            labels = torch.cat([batch.label, self.confident_labels(teacher.mean, step)])
            terms["contrast"] = self.contrast(self.network, output.deep, labels, generator)
        return terms

    @torch.no_grad()
    def _teacher_pass(self, unlabeled: Tensor, generator: torch.Generator) -> TeacherPasses:
        # Passes over the same patch differ by noise and by the teacher's dropout (Monte-Carlo).
        def noisy_pass() -> Tensor:
            return self.teacher_logits(perturb(unlabeled, generator, scale=self.noise)).softmax(1)

        target, mean = noisy_pass(), noisy_pass() / self.passes
        for _ in range(self.passes - 1):
            mean = mean + noisy_pass() / self.passes
        return TeacherPasses(target, mean)

    def _limit(self, step: int) -> float:
        """Entropy in nats below which a voxel counts as certain."""
        binary = entropy_threshold(self.progress(step), self.entropy_ramp)
        return binary / log(2) * log(self.assumed_classes)


def masked_difference(student: Tensor, teacher: Tensor, mask: Tensor, classes: int) -> Tensor:
    """sum_v m_v |P_v - P'_v|^2 / (classes sum_v m_v); 0 where the mask is empty.

    Args:
        student, teacher: probabilities [B, C, x, y, z].
        mask: [B, x, y, z].
        classes: what the sum over classes is divided by.
    """
    squares = (student - teacher).square().sum(1)
    return (mask * squares).sum() / (classes * mask.sum()).clamp(min=1)
