"""Debiased self-training (Chen et al., NeurIPS 2022, arXiv 2202.07136).

Legend of shapes: L labeled and U unlabeled patches, C classes, `x y z` space.
"""

from collections.abc import Sequence
from math import exp
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation.losses import masked_cross_entropy, mean_cross_entropy
from segmentation.methods.base.co_training import CoTraining, Prediction, prediction_of, sum_of
from segmentation.methods.base.method import Batch, MethodContext, check_choice, masked
from segmentation.networks.network import Branch
from segmentation.networks.vnet import initialize

_SCHEMES = ("kaiming", "xavier")


class DST(CoTraining):
    """Cross pseudo supervision of two networks whose encoders carry three decoders each.

    L = sum over both of CE(Z[l], Y) + Dice(Z[l], Y)
        + w ramp (mean m_B l(Q_A, y_B) + mean m_A l(Q_B, y_A)
                  + sum over both of `worst_case` of R and y)
    with l the cross-entropy of a voxel, Z, Q and R [L + U, C, x, y, z] the logits of the main, the
    pseudo and the worst decoder, y the arg-max of Z and m = 1 where max(P) of Z is above
    `threshold`.

    Main decoders learn from labels alone and give the pseudo-labels, pseudo decoders learn these,
    so that no decoder learns from its own mistakes; both teach the encoder, the main one predicts.
    The worst decoder looks for what would be right on labeled and wrong on unlabeled patches. Its
    gradient reaches the encoder reversed, times reversal (2 / (1 + e^(-i / reversal_steps)) - 1)
    after i steps, so that such a decoder becomes hard to find.

    In DHC's released form (`roles = "released"`) the two decoders change places: the main ones
    learn the labels that the pseudo ones give. No loss contains the pseudo decoders then, so they
    stay as they were drawn; few of their labels pass the threshold, and those are noise.

    A text head is carried by all three decoders; the contrast with text looks at the encoder.

    Args:
        consistency_weight: weight w of the loss on unlabeled patches.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        threshold: as above.
        reversal, reversal_steps: as above.
        roles: `paper` or `released`.
    """

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 1.0,
        consistency_ramp: float = 1.0,
        threshold: float = 0.95,
        reversal: float = 0.1,
        reversal_steps: int = 500,
        roles: str = "paper",
    ) -> None:
        super().__init__(
            context,
            consistency_weight=consistency_weight,
            consistency_ramp=consistency_ramp,
            initialization=_SCHEMES,
        )
        if reversal_steps < 1:
            raise ValueError(f"reversal_steps must be at least 1, not {reversal_steps}")
        self.threshold = threshold
        self.roles = check_choice("roles", roles, ("paper", "released"))
        self.reversal, self.reversal_steps = reversal, reversal_steps
        self.pseudo = nn.ModuleList(Branch(context.build()) for _ in _SCHEMES)
        self.worst = nn.ModuleList(Branch(context.build()) for _ in _SCHEMES)
        for branches in (self.pseudo, self.worst):
            for branch, scheme in zip(branches, _SCHEMES, strict=True):
                initialize(branch, scheme)

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice`, `cross`, `worst` and, with alignment, `contrast`."""
        labeled, images = len(batch.image), torch.cat([batch.image, batch.unlabeled])
        features = [network.encode(images) for network in self.networks]
        main = [
            prediction_of(net.read(own)) for net, own in zip(self.networks, features, strict=True)
        ]
        terms = self._labeled_terms([prediction.logits[:labeled] for prediction in main], batch)
        unlabeled_weight = self.unlabeled_weight(step)
        terms["cross"] = unlabeled_weight * self._crossed(main, features)
        coefficient = self._reversal_at(step)
        worst = []
        for prediction, branch, own in zip(main, self.worst, features, strict=True):
            logits = branch([_Reversed.apply(level, coefficient) for level in own])
            worst.append(worst_case(logits, prediction.label, labeled, self.trust(prediction)))
        terms["worst"] = unlabeled_weight * sum_of(worst)
        if self.uses_alignment(step):
            generator = self.generator(step, images.device)
            terms["contrast"] = self._contrasts((main[0], main[1]), batch, step, generator)
        return terms

    def _crossed(self, main: Sequence[Prediction], features: Sequence[Sequence[Tensor]]) -> Tensor:
        """Masked cross-entropy of each network against the other's pseudo-labels."""
        side = [branch(own) for branch, own in zip(self.pseudo, features, strict=True)]
        heads = [prediction.logits for prediction in main]
        learners, givers = (side, heads) if self.roles == "paper" else (heads, side)
        terms = []
        for logits, other in zip(learners, givers[::-1], strict=True):
            confidence, label = other.detach().float().softmax(1).max(1)
            sure = (confidence > self.threshold).to(confidence.dtype)
            trusted = self.trusted(label, other.detach())
            terms.append(masked_cross_entropy(logits, label, masked(sure, trusted)))
        return sum_of(terms)

    def _reversal_at(self, step: int) -> float:
        """The share of the worst decoder's gradient that reaches the encoder, reversed."""
        done = (step - self.warmup_steps) / self.reversal_steps
        return self.reversal * (2 / (1 + exp(-done)) - 1)


def worst_case(logits: Tensor, label: Tensor, labeled: int, mask: Tensor | None = None) -> Tensor:
    """2 CE(R[l], y) - mean ln(min(1 - P_y + 1e-6, 1)) on unlabeled patches; P the softmax of R.

    Args:
        logits: R, [L + U, C, x, y, z].
        label: y, [L + U, x, y, z].
        labeled: L.
        mask: voxels whose label counts, [L + U, x, y, z]; all by default.
    """
    inside = None if mask is None else mask[:labeled]
    right = mean_cross_entropy(logits[:labeled], label[:labeled], mask=inside)
    wrong = 1 - logits[labeled:].float().softmax(1)
    surprise = (wrong + 1e-6).clamp(max=1).log()
    missed = F.nll_loss(surprise, label[labeled:], reduction="none")
    if mask is not None:
        missed = masked(missed, mask[labeled:])
    return 2 * right + missed.mean()


class _Reversed(torch.autograd.Function):
    """Gradient reversal: identity forward, gradient times -coefficient (2014, arXiv 1409.7495)."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, coefficient: float) -> Tensor:
        ctx.coefficient = coefficient
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.coefficient * gradient, None
