"""Anatomical relations: an organ must not lie on the wrong side of another one.

The text head reads sentences as codes; here their testable content is used: `liver right_of
spleen`, as a loss and as a filter of pseudo-labels. Legend of shapes: B patches, C classes, R
relations, `x y z` space in RAS+, n the longest side of a patch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Axis of each directional relation, and whether the first organ has the larger coordinate.
AXES = {
    "left_of": (0, False),
    "right_of": (0, True),
    "posterior_to": (1, False),
    "anterior_to": (1, True),
    "inferior_to": (2, False),
    "superior_to": (2, True),
}
SURE = 0.1  # largest `allowed` of a relation that may filter pseudo-labels


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


class _Table(nn.Module):
    """Relations as buffers [R], which move with the module: a step copies nothing to the device.

    They are no part of a state: a run has its relations in a file.
    """

    axis: Tensor
    high: Tensor
    low: Tensor
    allowed: Tensor
    weight: Tensor

    def __init__(self, relations: Sequence[Relation]) -> None:
        super().__init__()
        for name, values in zip(Relation._fields, zip(*relations, strict=True), strict=True):
            number = torch.float32 if name in ("allowed", "weight") else torch.int64
            self.register_buffer(name, torch.tensor(values, dtype=number), persistent=False)

    def rows(self, classes: int) -> tuple[Tensor, Tensor]:
        """Rows [R] of `high` and of `low` in a table [3 C, ...] of all axes and classes."""
        return self.axis * classes + self.high, self.axis * classes + self.low


class _Marginals(NamedTuple):
    """Shares of each organ's mass by plane along each axis [B, 3 C, n], and its mass [B, 3 C]."""

    shares: Tensor
    total: Tensor

    @classmethod
    def of(cls, mass: Tensor) -> "_Marginals":
        """Of a mass [B, C, x, y, z]; shorter axes have empty planes at their end."""
        longest = max(mass.shape[2:])
        planes = [mass.sum([2 + other for other in range(3) if other != axis]) for axis in range(3)]
        padded = torch.cat([F.pad(each, (0, longest - each.shape[-1])) for each in planes], dim=1)
        total = padded.sum(-1)
        return cls(padded / total.clamp(min=1e-6)[..., None], total)

    def both_present(self, high: Tensor, low: Tensor, least: float) -> Tensor:
        """Whether both organs of each relation have the least mass [B, R]."""
        present = self.total >= least
        return present.index_select(1, high) & present.index_select(1, low)


def _beyond(shares: Tensor, margin: int) -> Tensor:
    """Share in the planes after k + margin, for every plane k: [..., n] -> [..., n]."""
    rest = shares.flip(-1).cumsum(-1).flip(-1)
    return F.pad(rest, (0, margin + 1))[..., margin + 1 :]


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
    return _violations(mass, _Table(relations).to(mass.device), margin, least)


def _violations(mass: Tensor, table: _Table, margin: int, least: float) -> Violations:
    marginals = _Marginals.of(mass)
    high, low = table.rows(mass.shape[1])
    beyond = _beyond(marginals.shares.index_select(1, low), margin)
    values = (marginals.shares.index_select(1, high) * beyond).sum(-1)
    return Violations(values, marginals.both_present(high, low, least))


def _confident_mass(probabilities: Tensor, threshold: float, sharpness: float) -> Tensor:
    """P^sharpness where the probability P is above the threshold, else 0: [B, C, x, y, z]."""
    return probabilities**sharpness * (probabilities > threshold)


class RelationLoss(nn.Module):
    """The mean over relations of weight * relu(violation - allowed), times the term's weight.

    Args:
        relations: with `allowed` and `weight` of each.
        weight: factor of the term.
        threshold: probabilities up to it are no mass; 0 for soft masses. Diffuse probabilities of
            small organs far from their place would dominate the term.
        sharpness: exponent of the probabilities.
        margin, least: see `violations`.
    """

    def __init__(
        self,
        relations: Sequence[Relation],
        *,
        weight: float = 0.5,
        threshold: float = 0.5,
        sharpness: float = 1.0,
        margin: int = 0,
        least: float = 8.0,
    ) -> None:
        super().__init__()
        self.table = _Table(relations)
        self.weight, self.threshold, self.sharpness = weight, threshold, sharpness
        self.margin, self.least = margin, least

    def forward(self, logits: Tensor) -> Tensor:
        """The weighted term of logits [B, C, x, y, z] of unlabeled patches."""
        mass = _confident_mass(logits.float().softmax(1), self.threshold, self.sharpness)
        violated = _violations(mass, self.table, self.margin, self.least)
        excess = (violated.values - self.table.allowed).relu()
        terms = self.table.weight * excess * violated.counted
        return self.weight * terms.sum() / violated.counted.sum().clamp(min=1)


class ClaimFilter(nn.Module):
    """Pseudo-labels that no relation contradicts.

    A voxel labeled `high` violates a relation where more than `share` of the confident mass of
    `low` in its patch lies beyond it, more than `margin` planes further along the axis; a voxel
    labeled `low` where more than `share` of that of `high` lies before it. A relation counts in
    patches in which both organs have the mass `least`. Voxels are compared with the whole of the
    other organ, by its marginals, so that a few misplaced voxels do not condemn an organ.

    With `allowed` the violation that 95 % of the labeled patches keep, no more than allowed / share
    of the true voxels of `high`, or of `low`, violate it there (Markov's inequality); `SURE` bounds
    that. Legend of shapes: see the module.

    Args:
        relations: those with an `allowed` above `SURE` are not used.
        share: in [0.5, 1).
        threshold, sharpness: of the confident mass, see `RelationLoss`.
        margin, least: see `violations`.

    Raises:
        ValueError: no relation is sure.
    """

    def __init__(
        self,
        relations: Sequence[Relation],
        *,
        share: float = 0.9,
        threshold: float = 0.5,
        sharpness: float = 1.0,
        margin: int = 0,
        least: float = 8.0,
    ) -> None:
        super().__init__()
        sure = [each for each in relations if each.allowed <= SURE]
        if not sure:
            raise ValueError(f"a filter needs a relation with an allowed violation up to {SURE}")
        self.table = _Table(sure)
        self.share, self.threshold, self.sharpness = share, threshold, sharpness
        self.margin, self.least = margin, least

    @torch.no_grad()
    def forward(self, label: Tensor, probabilities: Tensor) -> Tensor:
        """Whether a voxel keeps its label [B, x, y, z], bool.

        Args:
            label: pseudo-labels [B, x, y, z]; background and negative ones are kept.
            probabilities: those that the pseudo-labels come from [B, C, x, y, z].
        """
        mass = _confident_mass(probabilities, self.threshold, self.sharpness)
        classes, longest = mass.shape[1], max(mass.shape[2:])
        marginals = _Marginals.of(mass)
        high, low = self.table.rows(classes)
        counted = marginals.both_present(high, low, self.least)[..., None]
        after = _beyond(marginals.shares.index_select(1, low), self.margin)
        before = _beyond(marginals.shares.index_select(1, high).flip(-1), self.margin).flip(-1)
        # The number of relations that a class violates in a plane, per axis and class [B, 3 C, n].
        hits = mass.new_zeros(len(mass), 3 * classes, longest)
        hits = hits.index_add(1, high, ((after > self.share) & counted).to(hits.dtype))
        hits = hits.index_add(1, low, ((before > self.share) & counted).to(hits.dtype))
        found = torch.zeros_like(label, dtype=hits.dtype)
        for axis, side in enumerate(label.shape[1:]):
            planes = torch.arange(side, device=label.device)
            planes = planes.view([-1 if other == axis else 1 for other in range(3)])
            rows = axis * classes + label.clamp(min=0)
            places = (rows * longest + planes).flatten(1)
            found = found + hits.flatten(1).gather(1, places).view_as(found)
        return found == 0
