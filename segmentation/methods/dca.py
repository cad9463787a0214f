"""Divide, Conquer and Aggregate (DCA, CVPR 2026): experts for frequent and rare organs.

Written from the formulas of the paper; its code was not at hand. Legend of shapes: L labeled and U
unlabeled patches, B both, C classes, G = 3 groups, `x y z` space.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from segmentation.losses import most_probable
from segmentation.methods.base.method import Batch, Method, MethodContext
from segmentation.networks.heads.base.head import Head
from segmentation.networks.network import DEEP, Output
from segmentation.networks.vnet import VNet, build_decoder, decode_levels

GROUPS = ("head", "middle", "tail")  # classes by falling frequency
# Decoder of each expert: convolutions per level, finest first, and their dilation.
_CONVOLUTIONS = ((1, 1, 2, 2), (1, 2, 3, 3), (2, 3, 4, 4))
_DILATIONS = (2, 1, 1)


class DCA(Method):
    """Three expert decoders for head, middle and tail classes, and a decoder that joins them.

    Organs are sorted by their voxels in the labeled cases; the largest gap between the logarithms
    of neighbors separates head and middle, the largest gap after it middle and tail. One encoder
    has four decoders. Expert g learns labels in which the organs of other groups are background.
    The decoder of the network itself, the aggregator, gets at every level a mixture of the
    experts' features and learns from their stitched pseudo-labels alone:

    L = sum_g (CE + Dice)(Z_g[l], Y_g) / 2 + w ramp (CE + Dice)(Z[u], y) / 2

    with y the arg-max of the logits of which each class comes from its expert, background from the
    mean of the three. No gradient of the second term reaches an expert. Reported: 69.9 % on AMOS
    with 5 % labels (theirs); the paper leaves open whether the encoder learns from the second term.

    Aggregator and experts each have a head of the kind that the recipe names. Warm-up steps, which
    the paper does not have, train the aggregator on the labels, too.

    Args:
        consistency_weight: weight w of the loss on unlabeled patches.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        encoder_learns: whether the aggregator's loss reaches the encoder.
    """

    pseudo_labels = True
    group: Tensor

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 10.0,
        consistency_ramp: float = 1.0,
        encoder_learns: bool = True,
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        vnet = self.network.vnet
        self.encoder_learns = encoder_learns
        context.class_counts()  # refuses a context without counts
        self.register_buffer("group", torch.tensor(class_groups(context.voxels or ())))
        self.experts = nn.ModuleList(
            Expert(vnet, context.build().head, convolutions, dilation)
            for convolutions, dilation in zip(_CONVOLUTIONS, _DILATIONS, strict=True)
        )
        self.mixtures = nn.ModuleList(ExpertMixture(width) for width in vnet.widths[:-1])

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice` (sums over experts), `pseudo` and, with alignment, `contrast`."""
        labeled = len(batch.image)
        features = self.network.encode(torch.cat([batch.image, batch.unlabeled]))
        pyramids = self._pyramids(features)
        logits = self._expert_logits(features, pyramids)
        terms = self._expert_terms([each[:labeled] for each in logits], batch.label)
        stitched = self._stitched(logits).detach()[labeled:]
        target = most_probable(stitched)
        kept = self.trusted(target, stitched)
        unlabeled = [level[labeled:] for level in features]
        joined = self._aggregate(
            unlabeled if self.encoder_learns else [level.detach() for level in unlabeled],
            [[level[labeled:].detach() for level in pyramid] for pyramid in pyramids],
        ).float()
        pseudo = self.loss.pseudo_cross_entropy(joined, target, mask=kept) + self.loss.dice(
            joined, target, mask=kept
        )
        terms["pseudo"] = self.unlabeled_weight(step) * pseudo / 2
        if self.uses_alignment(step):
            confident = self.confident_labels(stitched.softmax(1), step)
            generator = self.generator(step, batch.image.device)
            terms["contrast"] = self.contrast(
                self.network,
                features[-DEEP:],
                torch.cat([batch.label, confident]),
                generator,
            )
        return terms

    def warm_up(self, batch: Batch) -> dict[str, Tensor]:
        """Experts and aggregator on the labeled patches."""
        features = self.network.encode(batch.image)
        pyramids = self._pyramids(features)
        terms = self._expert_terms(self._expert_logits(features, pyramids), batch.label)
        fixed = [[level.detach() for level in pyramid] for pyramid in pyramids]
        joined = self.supervised_terms(self._aggregate(features, fixed), batch.label)
        return {name: term + joined[name] for name, term in terms.items()}

    def predictors(self) -> dict[str, nn.Module]:
        """The aggregator, and the experts with stitched logits."""
        return {"aggregate": _Aggregator(self), "experts": _Stitched(self)}

    def _expert_terms(self, logits: Sequence[Tensor], label: Tensor) -> dict[str, Tensor]:
        """Half cross-entropy, half Dice of every expert against the labels of its group, summed."""
        terms = [
            self.supervised_terms(own, torch.where(self.group[label] == group, label, 0))
            for group, own in enumerate(logits)
        ]
        return {name: torch.stack([each[name] for each in terms]).sum() for name in terms[0]}

    def _pyramids(self, features: Sequence[Tensor]) -> list[list[Tensor]]:
        """Decoded features of every expert, finest level first."""
        return [cast(Expert, expert).pyramid(features) for expert in self.experts]

    def _expert_logits(
        self, features: Sequence[Tensor], pyramids: Sequence[Sequence[Tensor]]
    ) -> list[Tensor]:
        """Logits of every expert [B, C, x, y, z] in fp32."""
        deep, vectors = list(features[-DEEP:]), self.network.vectors
        return [
            cast(Expert, expert).head(pyramid[0], deep, vectors).float()
            for expert, pyramid in zip(self.experts, pyramids, strict=True)
        ]

    def _stitched(self, logits: Sequence[Tensor]) -> Tensor:
        """Each class from its expert, background from the mean of all: [B, C, x, y, z]."""
        number = torch.arange(len(logits), device=self.group.device)[:, None]
        share = (self.group == number).float()
        share[:, 0] = 1 / len(logits)
        shares = share[:, None, :, None, None, None]  # [G, 1, C, 1, 1, 1]
        return torch.stack([own * part for own, part in zip(logits, shares, strict=True)]).sum(0)

    def _aggregate(
        self, features: Sequence[Tensor], pyramids: Sequence[Sequence[Tensor]]
    ) -> Tensor:
        """Logits of the aggregator [B, C, x, y, z].

        Args:
            features: of the encoder, finest first.
            pyramids: of each expert, decoded features per level, finest first.
        """
        vnet = self.network.vnet
        added = [
            mixture([pyramid[level] for pyramid in pyramids])
            for level, mixture in enumerate(self.mixtures)
        ]
        # A stage reads its input plus the skip features: the mixture joins the latter.
        skips = [level + more for level, more in zip(features[:-1], added, strict=True)]
        finest = decode_levels([*skips, features[-1]], vnet.up, vnet.decoder)[0]
        return self.network.logits(vnet.dropout(finest), list(features[-DEEP:]))


class Expert(nn.Module):
    """A decoder with its own depth and dilation, and a head."""

    def __init__(self, vnet: VNet, head: Head, convolutions: Sequence[int], dilation: int) -> None:
        super().__init__()
        self.up, self.decoder = build_decoder(
            vnet.widths, vnet.norm, convolutions=convolutions, dilation=dilation
        )
        self.dropout, self.head = vnet.dropout, head

    def pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Decoded features of every level but the deepest, finest first."""
        finest, *coarser = decode_levels(features, self.up, self.decoder)
        return [self.dropout(finest), *coarser]


class ExpertMixture(nn.Module):
    """Per voxel a weighted mean of the experts' features, each projected first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv3d(width, width, 1) for _ in GROUPS)
        self.weights = nn.Sequential(
            nn.Conv3d(len(GROUPS) * width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv3d(width, len(GROUPS), 1),
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """[B, width, x, y, z] from the features of the three experts, of the same shape."""
        projected = [each(own) for each, own in zip(self.projections, features, strict=True)]
        weights = self.weights(torch.cat(projected, dim=1)).softmax(1)
        return torch.stack(
            [own * weights[:, number : number + 1] for number, own in enumerate(projected)]
        ).sum(0)


class _Aggregator(nn.Module):
    """Prediction of the aggregator."""

    def __init__(self, method: DCA) -> None:
        super().__init__()
        self.method = method
        self.training = method.training

    def forward(self, image: Tensor) -> Output:
        """Logits [B, C, x, y, z] of an image [B, 1, x, y, z]."""
        features = self.method.network.encode(image)
        pyramids = self.method._pyramids(features)
        logits = self.method._aggregate(features, pyramids)
        return Output(logits, list(features[-DEEP:]))


class _Stitched(_Aggregator):
    """Prediction of the experts, each for its classes."""

    def forward(self, image: Tensor) -> Output:
        """Logits [B, C, x, y, z] of an image [B, 1, x, y, z]."""
        features = self.method.network.encode(image)
        pyramids = self.method._pyramids(features)
        logits = self.method._stitched(self.method._expert_logits(features, pyramids))
        return Output(logits, list(features[-DEEP:]))


def class_groups(counts: Sequence[float]) -> list[int]:
    """The group of every class by its voxels [C]: 0 head, 1 middle, 2 tail, -1 background.

    Raises:
        ValueError: fewer than three organs.
    """
    organs = [max(count, 1) for count in counts[1:]]
    if len(organs) < len(GROUPS):
        raise ValueError(
            f"dca needs at least {len(GROUPS)} organs, one per group, got {len(organs)}"
        )
    order = sorted(range(len(organs)), key=lambda organ: -organs[organ])
    gaps = [math.log(organs[one] / organs[other]) for one, other in pairwise(order)]
    # The last gap is left for the second border.
    first = max(range(len(gaps) - 1), key=gaps.__getitem__)
    second = max(range(first + 1, len(gaps)), key=gaps.__getitem__)
    groups = [-1] * len(counts)
    for place, organ in enumerate(order):
        groups[organ + 1] = 0 if place <= first else 1 if place <= second else 2
    return groups
