"""Anatomical relations as a loss: an organ must not lie on the wrong side of another one.

The text head reads sentences as codes; here their testable content is used: `liver right_of
spleen`. Legend of shapes: B patches, C classes, R relations, `x y z` space in RAS+.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# Axis of each directional relation, and whether the first organ has the larger coordinate.
AXES = {
    "left_of": (0, False),
    "right_of": (0, True),
    "posterior_to": (1, False),
    "anterior_to": (1, True),
    "inferior_to": (2, False),
    "superior_to": (2, True),
}


class Relation(NamedTuple):
    """Organ `high` has the larger coordinate of two; class indices both.

    Attributes:
        axis: 0, 1 or 2 for x, y or z, which grow to the right, the front and the head.
        allowed: violation up to which the loss is 0, measured on labeled patches.
        weight: factor of this relation in the loss.
    """

    high: int
    low: int
    axis: int
    allowed: float = 0.0
    weight: float = 1.0


class Violations(NamedTuple):
    """Violations [B, R] in [0, 1], and which of them count [B, R]: both organs are in the patch."""

    values: Tensor
    counted: Tensor


def violations(
    mass: Tensor, relations: Sequence[Relation], *, margin: int = 0, least: float = 8.0
) -> Violations:
    """The probability that a random voxel of `low` is beyond a random voxel of `high`.

    With a(k) and b(k) the normalized masses of `high` and `low` in plane k of the axis, it is the
    sum over k of a(k) times the sum of b(j) over j > k + margin. Two organs side by side give about
    1/2.

    Args:
        mass: [B, C, x, y, z], not negative: probabilities, or a mask in one-hot form.
        relations: at least one.
        margin: voxels by which an organ may be on the wrong side.
        least: mass in voxels below which an organ does not count as present.
    """
    values = mass.new_zeros((len(mass), len(relations)))
    counted = torch.zeros_like(values, dtype=torch.bool)
    for axis in range(3):
        chosen = [index for index, each in enumerate(relations) if each.axis == axis]
        if not chosen:
            continue
        high = [relations[index].high for index in chosen]
        low = [relations[index].low for index in chosen]
        planes = mass.sum([2 + other for other in range(3) if other != axis])
        total = planes.sum(-1, keepdim=True)
        planes = planes / total.clamp(min=1e-6)
        # beyond[..., k]: share of `low` in planes k + margin + 1 and further
        beyond = planes[:, low].flip(-1).cumsum(-1).flip(-1)[..., margin + 1 :]
        values[:, chosen] = (planes[:, high, : beyond.shape[-1]] * beyond).sum(-1)
        present = total[..., 0] >= least
        counted[:, chosen] = present[:, high] & present[:, low]
    return Violations(values, counted)


@dataclass(frozen=True)
class RelationLoss:
    """The mean over relations of weight * relu(violation - allowed), times the term's weight.

    Attributes:
        relations: with `allowed` and `weight` of each.
        weight: factor of the term.
        threshold: probabilities up to it are no mass; 0 for soft masses. Diffuse probabilities of
            small organs far from their place would dominate the term.
        sharpness: exponent of the probabilities.
        margin, least: see `violations`.
    """

    relations: tuple[Relation, ...]
    weight: float = 0.5
    threshold: float = 0.5
    sharpness: float = 1.0
    margin: int = 0
    least: float = 8.0

    def __call__(self, logits: Tensor) -> Tensor:
        """The weighted term of logits [B, C, x, y, z] of unlabeled patches."""
        probabilities = logits.float().softmax(1)
        mass = probabilities**self.sharpness * (probabilities > self.threshold)
        violated = violations(mass, self.relations, margin=self.margin, least=self.least)
        allowed = torch.tensor([each.allowed for each in self.relations], device=logits.device)
        weights = torch.tensor([each.weight for each in self.relations], device=logits.device)
        terms = weights * (violated.values - allowed).relu() * violated.counted
        return self.weight * terms.sum() / violated.counted.sum().clamp(min=1)
