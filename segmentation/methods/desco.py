"""The cross supervision of DeSCO (Cai et al., CVPR 2023, arXiv 2303.05434) for dense labels."""

from math import log

import torch
from torch import Tensor

from segmentation.losses import entropy, mean_cross_entropy
from segmentation.methods.base.co_training import CoTraining, Pair, sum_of
from segmentation.methods.base.mean_teacher import perturb
from segmentation.methods.base.method import Batch, MethodContext, masked
from segmentation.methods.base.ramps import entropy_threshold
from segmentation.networks.network import Network


class DeSCO(CoTraining):
    """Cross pseudo supervision with a mask of certain voxels.

    L = (1 - v) sum over both of (CE + Dice)(Z[l], Y) / 2 + v (m CE(Z_A, y_B) + m CE(Z_B, y_A))
    with v = w ramp, and m = 1 where the entropy of the mean of `passes` noisy passes of the network
    that gives the labels is below ln C (0.75 + 0.25 ramp).

    As published, DeSCO learns from two labeled slices per scan, each registered through the volume.
    With dense labels, as they are here, both networks see the same labels and this form remains.

    Args:
        consistency_weight: share w of the cross term at the end of the ramp, at most 1.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        passes: noisy passes of each network.
        noise: scale of the Gaussian noise, clipped at twice that.
    """

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 0.1,
        consistency_ramp: float = 1.0,
        passes: int = 8,
        noise: float = 0.1,
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        if not 0 <= consistency_weight <= 1:
            raise ValueError(
                f"consistency_weight: expected a share in [0, 1], got {consistency_weight}"
            )
        if passes < 1:
            raise ValueError(f"passes: expected at least 1, got {passes}")
        self.passes, self.noise, self.classes = passes, noise, context.classes
        self._certain: tuple[Tensor, ...] = ()

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice`, `cross` and, with alignment, `contrast`."""
        images = torch.cat([batch.image, batch.unlabeled])
        generator = self.generator(step, images.device)
        limit = entropy_threshold(self.progress(step), self.consistency_ramp)
        limit = limit / log(2) * log(self.classes)
        self._certain = tuple(
            entropy(self._mean_of_noisy(network, images, generator)) < limit
            for network in self.networks
        )
        terms = super().losses(batch, step)
        share = self.unlabeled_weight(step)
        for name in ("cross_entropy", "dice"):
            terms[name] = (1 - share) * terms[name] / 2
        return terms

    def cross(self, predictions: Pair, labeled: int, generator: torch.Generator) -> Tensor:
        """Cross-entropy of each network against the labels of which the other is certain."""
        certain_first, certain_second = self._certain
        pairs = (
            (predictions[0], predictions[1], certain_second),
            (predictions[1], predictions[0], certain_first),
        )
        return sum_of(
            [
                mean_cross_entropy(own.logits, other.label, mask=masked(mask, self.trust(other)))
                for own, other, mask in pairs
            ]
        )

    @torch.no_grad()
    def _mean_of_noisy(
        self, network: Network, images: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Mean probabilities of noisy passes [L + U, C, x, y, z]."""
        passes = [
            network(perturb(images, generator, scale=self.noise)).logits.float().softmax(1)
            for _ in range(self.passes)
        ]
        return torch.stack(passes).mean(0)
