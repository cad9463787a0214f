"""Co-BioNet: co-training with critics (Peiris et al., Nature Machine Intelligence 2023).

Legend of shapes: L labeled and U unlabeled patches, B any, C classes, `x y z` space.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from segmentation.losses import mean_cross_entropy
from segmentation.methods.base.co_training import CoTraining, Pair, Prediction, sum_of
from segmentation.methods.base.method import Batch, MethodContext, check_choice, masked

_WIDTHS = (16, 32, 64)


class CoBioNet(CoTraining):
    """Two networks teach each other where the other's critic takes its prediction for a label.

    L = sum over both of CE(Z[l], Y) + Dice(Z[l], Y)
        + w ramp (m_B CE(Z_A, y_B) + m_A CE(Z_B, y_A))
        + sum over both of a BCE(D(P), 1) + (BCE(D(onehot Y), 1) + BCE(D(P[l]), 0)) / 2
    with P the softmax, y the arg-max, D the network's critic and m = 1 where sigmoid D(P) is above
    `threshold`. The third term, `adversarial`, moves networks by its first part and critics by its
    second.

    In the released code the critics' loss is detached before its backward pass, so that critics are
    never trained, and the mask is averaged to one number: `critic = released` keeps random critics.
    The paper is binary; here critics read C channels, and have instance norm.

    Args:
        consistency_weight: weight w of the loss on pseudo-labels.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        adversarial_weight: a.
        threshold: of the critic's confidence.
        critic: `trained` or `released`.
    """

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 1.0,
        consistency_ramp: float = 1.0,
        adversarial_weight: float = 0.01,
        threshold: float = 0.2,
        critic: str = "trained",
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold: expected a number in [0, 1), got {threshold}")
        self.adversarial_weight, self.threshold = adversarial_weight, threshold
        self.classes = context.classes
        self.trained = check_choice("critic", critic, ("trained", "released")) == "trained"
        self.critics = nn.ModuleList(Critic(context.classes) for _ in self.networks)
        self.critics.requires_grad_(self.trained)
        self._predictions: Pair | None = None

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice`, `cross`, `adversarial` and, with alignment, `contrast`."""
        terms = super().losses(batch, step)
        assert self._predictions is not None  # kept by `observe`
        pairs = list(zip(self.critics, self._predictions, strict=True))
        self._predictions = None
        each = [self._adversarial(cast(Critic, critic), own) for critic, own in pairs]
        if self.trained:
            each += [
                self._critic_loss(cast(Critic, critic), own, batch.label) for critic, own in pairs
            ]
        terms["adversarial"] = sum_of(each)
        return terms

    def observe(self, predictions: Pair, batch: Batch, step: int) -> None:
        """Keep the predictions of the step for the critics."""
        self._predictions = predictions

    def cross(self, predictions: Pair, labeled: int, generator: torch.Generator) -> Tensor:
        """Cross-entropy of each network against the other's labels where these look true."""
        with torch.no_grad():
            true_looking = [
                critic(own.probabilities).sigmoid() > self.threshold
                for critic, own in zip(self.critics, predictions, strict=True)
            ]
        first, second = predictions
        return mean_cross_entropy(
            first.logits, second.label, mask=masked(true_looking[1], self.trust(second))
        ) + mean_cross_entropy(
            second.logits, first.label, mask=masked(true_looking[0], self.trust(first))
        )

    def _adversarial(self, critic: "Critic", own: Prediction) -> Tensor:
        """How far the critic is from taking a prediction for a label; moves the network alone."""
        fixed = {name: weight.detach() for name, weight in critic.named_parameters()}
        scores = functional_call(critic, fixed, (own.logits.softmax(1),))
        return self.adversarial_weight * _score_loss(scores, 1.0)

    def _critic_loss(self, critic: "Critic", own: Prediction, label: Tensor) -> Tensor:
        """How well the critic tells labels from predictions; moves the critic alone."""
        numbers = torch.arange(self.classes, device=label.device)[:, None, None, None]
        true = critic((label[:, None] == numbers).float())
        predicted = critic(own.probabilities[: len(label)])
        return (_score_loss(true, 1.0) + _score_loss(predicted, 0.0)) / 2


class Critic(nn.Sequential):
    """Score per voxel of how much probabilities look like a label: four 1x1x1 convolutions."""

    def __init__(self, classes: int) -> None:
        layers: list[nn.Module] = []
        for inner, outer in zip((classes, *_WIDTHS[:-1]), _WIDTHS, strict=True):
            layers += [nn.Conv3d(inner, outer, 1), nn.InstanceNorm3d(outer), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv3d(_WIDTHS[-1], 1, 1))

    def forward(self, probabilities: Tensor) -> Tensor:
        """Scores [B, x, y, z] of probabilities [B, C, x, y, z]."""
        return super().forward(probabilities)[:, 0]


def _score_loss(scores: Tensor, truth: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, truth))
