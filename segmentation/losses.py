"""Dice and cross-entropy, and their gradient-aware (GA) forms.

GA: Qi et al., ECCV 2024, "Gradient-Aware for Class-Imbalanced Semi-supervised Medical Image
Segmentation". Legend of shapes: B batch, C classes with background, V voxels; sums run over batch
and space together. Everything is computed in fp32, whatever the precision of the logits.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

_EPSILON = 1e-10


class Loss(ABC):
    """The two terms that every method is built from."""

    @abstractmethod
    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar from logits [B, C, x, y, z] and integer labels [B, x, y, z]."""

    @abstractmethod
    def dice(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar in [0, 1] from logits [B, C, x, y, z] and integer labels [B, x, y, z]."""


class DiceCE(Loss):
    """Mean cross-entropy and squared Dice over all classes, background included (MagicNet)."""

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean cross-entropy over voxels, in nats."""
        return F.cross_entropy(logits.float(), target)

    def dice(self, logits: Tensor, target: Tensor) -> Tensor:
        """1 - mean of the squared Dice of every class."""
        return squared_dice(logits.float().softmax(1), target).mean()


class GA(Loss):
    """GA-CE and GA-Dice.

    Args:
        top_percent: share of the voxels with the largest loss that GA-CE keeps, in percent.
        gamma: 0 gives a mean per class, 1 the plain mean over the kept voxels.
    """

    def __init__(self, *, top_percent: float = 10.0, gamma: float = 0.5) -> None:
        if not 0 < top_percent <= 100:
            raise ValueError(f"top_percent must be in (0, 100], not {top_percent}")
        self.top_percent, self.gamma = top_percent, gamma

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """GA-CE; it sums over classes, so it grows with their number."""
        return ga_cross_entropy(logits, target, top_percent=self.top_percent, gamma=self.gamma)

    def dice(self, logits: Tensor, target: Tensor) -> Tensor:
        """GA-Dice of the softmax."""
        return ga_dice(logits.float().softmax(1), target)


LOSSES: dict[str, type[Loss]] = {"dice_ce": DiceCE, "ga": GA}


def class_sums(values: Tensor, target: Tensor) -> Tensor:
    """Sum of values[b, target] per class: values [B, C, ...], labels [B, ...] -> [C]."""
    own = values.gather(1, target[:, None]).flatten()
    sums = values.new_zeros(values.shape[1])
    return sums.index_add(0, target.flatten(), own)


def class_counts(target: Tensor, classes: int) -> Tensor:
    """Voxels per class, [C] in fp32, without waiting for the device."""
    flat = target.flatten()
    counts = torch.zeros(classes, device=target.device)
    return counts.index_add(0, flat, torch.ones_like(flat, dtype=counts.dtype))


def squared_dice(probabilities: Tensor, target: Tensor) -> Tensor:
    """1 - (2 sum pt + e) / (sum p^2 + sum t + e) for every class: [C].

    Args:
        probabilities: [B, C, x, y, z].
        target: integer labels [B, x, y, z].
    """
    overlap = class_sums(probabilities, target)
    squares = probabilities.square().transpose(0, 1).flatten(1).sum(1)
    counts = class_counts(target, probabilities.shape[1])
    return 1 - (2 * overlap + _EPSILON) / (squares + counts + _EPSILON)


def ga_dice(probabilities: Tensor, target: Tensor) -> Tensor:
    """Squared Dice of the classes present; for an absent class, its probability pushed down.

    An absent class has value mean p^2 and gradient p / M, M the number of voxels: the published
    form, in which one factor is held constant.
    """
    present = class_counts(target, probabilities.shape[1]) > 0
    flat = probabilities.transpose(0, 1).flatten(1)
    absent = (flat.detach() * flat).mean(1)
    return torch.where(present, squared_dice(probabilities, target), absent).mean()


def ga_cross_entropy(
    logits: Tensor, target: Tensor, *, top_percent: float = 10.0, gamma: float = 0.5
) -> Tensor:
    """Cross-entropy of the hardest voxels, every class weighted by its count among them.

    With K kept voxels, n_c of them of class c: sum over voxels of l / (n_c^(1-gamma) K^gamma).
    """
    losses = F.cross_entropy(logits.float(), target, reduction="none").flatten()
    kept = int(losses.numel() * top_percent / 100)
    if kept == 0:
        raise ValueError(f"{top_percent} % of {losses.numel()} voxels is not one voxel")
    hardest, places = losses.topk(kept, sorted=False)
    labels = target.flatten()[places]
    counts = class_counts(labels, logits.shape[1])
    weight = 1 / ((counts[labels] + _EPSILON) ** (1 - gamma) * kept**gamma)
    return (hardest * weight).sum()


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy over classes in nats: [B, C, ...] -> [B, ...]."""
    return -(probabilities * (probabilities + 1e-6).log()).sum(1)
