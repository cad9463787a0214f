"""Uncertainty rectified pyramid consistency (Luo et al., MICCAI 2021, arXiv 2012.07042)."""

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation.methods.base.co_training import sum_of
from segmentation.methods.base.method import Batch, Method, MethodContext
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.network import DEEP


class URPC(Method):
    """Outputs of every level of the decoder agree with their mean, least where they are far off.

    L = mean over S outputs of (CE(Z_s[l], Y) + Dice(Z_s[l], Y)) / 2
        + w ramp mean over S outputs of (mean |P - P_s|^2 e^-V_s / mean e^-V_s + mean V_s)
    with P_s [U, C, x, y, z] the probabilities of unlabeled patches, P their mean over the outputs
    and V_s = KL(P || P_s) [U, x, y, z]; the first mean is over classes as well.

    The published network is a 3D U-Net of 5.9 million parameters whose decoder has four outputs.
    Here the outputs sit on the V-Net that all methods share, one 1x1x1 convolution on every level
    of its decoder, four at the usual five levels, each enlarged trilinearly. The full-resolution
    output comes from the network's own head, text or convolution, and alone predicts.

    Args:
        consistency_weight: weight w of the loss on unlabeled patches.
        consistency_ramp: share of the run; 0 for the full weight from the start.
    """

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 1.0,
        consistency_ramp: float = 1.0,
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        coarser = self.network.vnet.widths[1:-1]
        self.side = nn.ModuleList(ConvHead(width, context.classes) for width in coarser)

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice`, `consistency` and, with alignment, `contrast`."""
        labeled = len(batch.image)
        outputs, deep = self._outputs(torch.cat([batch.image, batch.unlabeled]))
        terms = self._labeled_terms([logits[:labeled] for logits in outputs], batch.label)
        unlabeled = torch.stack([logits[labeled:] for logits in outputs])
        terms["consistency"] = self.unlabeled_weight(step) * rectified_consistency(unlabeled)
        if self.uses_alignment(step):
            sure = self.confident_labels(unlabeled.detach().softmax(2).mean(0), step)
            labels = torch.cat([batch.label, sure])
            generator = self.generator(step, labels.device)
            terms["contrast"] = self.contrast(self.network, deep, labels, generator)
        return terms

    def warm_up(self, batch: Batch) -> dict[str, Tensor]:
        """All outputs on the labeled patches."""
        outputs, _ = self._outputs(batch.image)
        return self._labeled_terms(outputs, batch.label)

    def _outputs(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Logits [B, C, x, y, z] of every output, the network's own first; the deep features."""
        features = self.network.encode(images)
        deep = features[-DEEP:]
        finest, *coarser = self.network.vnet.pyramid(features)
        outputs = [self.network.logits(finest, deep).float()]
        for head, decoded in zip(self.side, coarser, strict=True):
            small = head(decoded).float()
            outputs.append(F.interpolate(small, size=images.shape[2:], mode="trilinear"))
        return outputs, deep

    def _labeled_terms(self, outputs: Sequence[Tensor], label: Tensor) -> dict[str, Tensor]:
        """Half cross-entropy, half Dice, each the mean over the outputs."""
        entropies = [self.loss.cross_entropy(logits, label) for logits in outputs]
        dices = [self.loss.dice(logits, label) for logits in outputs]
        return {
            "cross_entropy": sum_of(entropies) / (2 * len(outputs)),
            "dice": sum_of(dices) / (2 * len(outputs)),
        }


def rectified_consistency(logits: Tensor) -> Tensor:
    """Mean over S outputs of mean |P - P_s|^2 e^-V_s / mean e^-V_s + mean V_s; never negative.

    Args:
        logits: [S, B, C, x, y, z].
    """
    logs = logits.log_softmax(2)
    mean_log = logs.logsumexp(0) - log(len(logs))
    mean = mean_log.exp()
    divergence = (mean * (mean_log - logs)).sum(2).clamp(min=0)
    trust = (-divergence).exp()
    squares = (mean - logs.exp()).square().mean(2)
    places = (1, 2, 3, 4)
    rectified = (squares * trust).mean(places) / trust.mean(places).clamp(min=1e-8)
    return (rectified + divergence.mean(places)).mean()
