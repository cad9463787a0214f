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
_SMALL, _BLOCK = 2**18, 2**12  # up to _SMALL voxels in one sum, more in blocks of _BLOCK voxels


class Loss(ABC):
    """Cross-entropy and Dice, the two terms of which every method builds its losses.

    Logits are [B, C, x, y, z], labels are integers [B, x, y, z], class weights are [C] with any
    sum; weights that are all zero give the loss 0. A mask [B, x, y, z] is 1 for voxels that count
    and 0 for voxels that are left out, as if they were not in the patch; all count by default.
    """

    @abstractmethod
    def cross_entropy(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy, a scalar; all classes have weight 1 by default."""

    @abstractmethod
    def dice(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Dice loss, a scalar: mean over classes of weight times loss; in [0, 1] by default."""

    def pseudo_cross_entropy(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy against pseudo-labels; that against true labels by default."""
        return self.cross_entropy(logits, target, weight, mask)


class DiceCE(Loss):
    """Mean cross-entropy and squared Dice over all classes, background included (MagicNet)."""

    def cross_entropy(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The mean cross-entropy over voxels, in nats."""
        return mean_cross_entropy(logits, target, weight, mask)

    def dice(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """1 - mean of the squared Dice of every class."""
        return _mean(squared_dice(logits.float().softmax(1), target, mask), weight)


class OrganDiceCE(Loss):
    """Mean cross-entropy, and linear Dice over the organs without background (nnU-Net, DHC).

    DHC states Dice as a negative number, - mean of weight times Dice; 1 - Dice has the same
    gradient and cannot fall below 0.
    """

    def cross_entropy(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The mean cross-entropy over voxels, in nats."""
        return mean_cross_entropy(logits, target, weight, mask)

    def dice(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """1 - mean of the Dice of every organ."""
        lost = linear_dice(logits.float().softmax(1), target, mask)
        return _mean(lost[1:], None if weight is None else weight[1:])


class GA(Loss):
    """GA-CE and GA-Dice. Class weights, which the paper does not use, multiply the class terms.

    Args:
        top_percent: share of the voxels with the largest loss in GA-CE, in percent.
        pseudo_percent: the same against pseudo-labels.
        gamma: 0 for the mean per class, 1 for the mean over all selected voxels.
    """

    def __init__(
        self, *, top_percent: float = 10.0, pseudo_percent: float = 100.0, gamma: float = 0.5
    ) -> None:
        for name, percent in {"top_percent": top_percent, "pseudo_percent": pseudo_percent}.items():
            if not 0 < percent <= 100:
                raise ValueError(f"{name} must be in (0, 100], not {percent}")
        self.top_percent, self.pseudo_percent, self.gamma = top_percent, pseudo_percent, gamma

    def cross_entropy(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """GA-CE; it sums over classes, so it grows with their number."""
        return self._hardest(logits, target, weight, mask, self.top_percent)

    def dice(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """GA-Dice of the softmax."""
        return ga_dice(logits.float().softmax(1), target, weight, mask)

    def pseudo_cross_entropy(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """GA-CE over `pseudo_percent` of the voxels; all of them in GALoss on CPS."""
        return self._hardest(logits, target, weight, mask, self.pseudo_percent)

    def _hardest(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None,
        mask: Tensor | None,
        percent: float,
    ) -> Tensor:
        return ga_cross_entropy(
            logits,
            target,
            top_percent=percent,
            gamma=self.gamma,
            class_weight=weight,
            mask=mask,
        )


LOSSES: dict[str, type[Loss]] = {"dice_ce": DiceCE, "ga": GA, "organ_dice_ce": OrganDiceCE}


def class_sums(values: Tensor, target: Tensor) -> Tensor:
    """Sum of values[b, target] per class: values [B, C, ...], labels [B, ...] -> [C]."""
    at_target = values.gather(1, target[:, None]).flatten()
    return _sums_by_class(at_target, target.flatten(), values.shape[1])


def class_counts(target: Tensor, classes: int, mask: Tensor | None = None) -> Tensor:
    """Voxels of the mask per class, [C] in fp32, without waiting for the device."""
    flat = target.flatten()
    ones = torch.ones_like(flat, dtype=torch.float32) if mask is None else mask.flatten().float()
    return _sums_by_class(ones, flat, classes)


def _sums_by_class(values: Tensor, kinds: Tensor, classes: int) -> Tensor:
    """Sum of values [V] per class; many voxels are summed block by block.

    One running fp32 sum over the 1.8 million voxels of two 96^3 patches is wrong by 5e-4 when the
    values are much alike, as they are in an untrained network.
    """
    block = max(len(values), 1) if len(values) <= _SMALL else _BLOCK
    blocks = -(-len(values) // block)
    if blocks > 1:
        kinds = kinds + classes * (torch.arange(len(kinds), device=kinds.device) // block)
    sums = values.new_zeros(blocks * classes).index_add(0, kinds, values)
    return sums.view(blocks, classes).sum(0)


def squared_dice(probabilities: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - (2 sum pt + e) / (sum p^2 + sum t + e) for every class: [C].

    Args:
        probabilities: [B, C, x, y, z].
        target: integer labels [B, x, y, z].
        mask: voxels that count [B, x, y, z].
    """
    counts = class_counts(target, probabilities.shape[1], mask)
    probabilities = _within(probabilities, mask)
    return _squared_dice(probabilities, target, _squares(probabilities), counts)


def _squared_dice(p: Tensor, target: Tensor, squares: Tensor, counts: Tensor) -> Tensor:
    overlap = class_sums(p, target)
    return 1 - (2 * overlap + _EPSILON) / (squares + counts + _EPSILON)


def _within(probabilities: Tensor, mask: Tensor | None) -> Tensor:
    """Probabilities [B, C, x, y, z], 0 outside a mask [B, x, y, z]."""
    return probabilities if mask is None else probabilities * mask[:, None]


def _squares(probabilities: Tensor) -> Tensor:
    """Sum of p^2 per class, [C], of [B, C, x, y, z]."""
    return probabilities.square().flatten(2).sum(2).sum(0)


def linear_dice(probabilities: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - (2 sum pt + 1) / (sum p + sum t + 1) for every class: [C].

    Args:
        probabilities: [B, C, x, y, z].
        target: integer labels [B, x, y, z].
        mask: voxels that count [B, x, y, z].
    """
    probabilities = _within(probabilities, mask)
    overlap = class_sums(probabilities, target)
    mass = probabilities.flatten(2).sum(2).sum(0)
    counts = class_counts(target, probabilities.shape[1], mask)
    return 1 - (2 * overlap + 1) / (mass + counts + 1)


def mean_cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """sum m w_y l / sum m w_y over voxels; 0 where every voxel has weight 0, not 0 / 0."""
    losses = F.cross_entropy(logits.float(), target, reduction="none")
    if weight is None and mask is None:
        return losses.mean()  # reduction="mean" over volumes is not deterministic on a GPU
    each = torch.ones_like(losses) if weight is None else weight[target]
    each = each if mask is None else mask * each
    return (each * losses).sum() / each.sum().clamp(min=_EPSILON)


def masked_cross_entropy(
    logits: Tensor, target: Tensor, mask: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Mean over all voxels of m w_y l: fewer voxels in the mask [B, x, y, z], less loss."""
    losses = F.cross_entropy(logits.float(), target, reduction="none")
    each = mask if weight is None else mask * weight[target]
    return (each * losses).mean()


def ga_dice(
    probabilities: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Squared Dice of the classes present; for an absent class, its probability pushed down.

    An absent class has value mean p^2 and gradient p / M, M the number of voxels: the published
    form, in which one factor is held constant.
    """
    counts = class_counts(target, probabilities.shape[1], mask)
    probabilities = _within(probabilities, mask)
    squares = _squares(probabilities)
    voxels = target.numel() if mask is None else mask.sum().clamp(min=1)
    absent = (squares + squares.detach()) / (2 * voxels)
    dice = _squared_dice(probabilities, target, squares, counts)
    return _mean(torch.where(counts > 0, dice, absent), weight)


def ga_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    top_percent: float = 10.0,
    gamma: float = 0.5,
    class_weight: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the hardest voxels, every class weighted by its count among them.

    With K selected voxels, n_c of them of class c: sum over voxels of l / (n_c^(1-gamma) K^gamma),
    times the class weight [C], if given. The hardest voxels are that share of all; of those, the
    ones outside a mask [B, x, y, z] are not selected.
    """
    losses = F.cross_entropy(logits.float(), target, reduction="none").flatten()
    losses = losses if mask is None else losses * mask.flatten()
    selected = int(losses.numel() * top_percent / 100)
    if selected == 0:
        raise ValueError(f"{top_percent} % of {losses.numel()} voxels is not one voxel")
    hardest, places = losses.topk(selected, sorted=False)
    labels = target.flatten()[places]
    inside = None if mask is None else mask.flatten()[places]
    counts = class_counts(labels, logits.shape[1], inside)
    total = selected if inside is None else inside.sum().clamp(min=1)
    weight = 1 / ((counts[labels] + _EPSILON) ** (1 - gamma) * total**gamma)
    if class_weight is not None:
        weight = weight * class_weight[labels]
    return (hardest * weight).sum()


def most_probable(scores: Tensor) -> Tensor:
    """The class of the largest score, the first of equal ones: [B, C, ...] -> [B, ...], int64."""
    if scores.device.type != "cpu":
        return scores.argmax(1)
    # torch's arg-max over an axis that is not the last takes ten times as long on a CPU. Ranks fall
    # with the class, so that the largest rank among equal scores is that of the first class.
    classes = scores.shape[1]
    dtype = torch.uint8 if classes <= 255 else torch.int16
    rank = torch.arange(classes, 0, -1, dtype=dtype)
    largest = scores == scores.amax(1, keepdim=True)
    first = largest.to(dtype) * rank.view(-1, *(1 for _ in scores.shape[2:]))
    return (classes - first.amax(1).long()).clamp_(max=classes - 1)  # without a largest: NaN


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy over classes in nats: [B, C, ...] -> [B, ...]."""
    return -(probabilities * (probabilities + 1e-6).log()).sum(1)


def _mean(losses: Tensor, weight: Tensor | None) -> Tensor:
    return (losses if weight is None else weight * losses).mean()
