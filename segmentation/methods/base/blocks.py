"""Vectors sorted by organ into blocks of equal size, so that all organs are worked on at once.

Legend of shapes: V vectors of width F, O organs, N blocks with R places.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from segmentation.losses import class_counts

_PLACES = 256  # R


class Blocks(NamedTuple):
    """Every organ has blocks of its own, of which some places are empty.

    Attributes:
        organ: whose block it is, counted from 0, [N].
        rows: which of the vectors stands at a place, [N, R].
        there: whether one stands there, [N, R].
        counts: vectors per organ, [O].
    """

    organ: Tensor
    rows: Tensor
    there: Tensor
    counts: Tensor

    def take(self, vectors: Tensor) -> Tensor:
        """Vectors [V, F] at their places, [N, R, F]; any vector at an empty place."""
        return vectors.index_select(0, self.rows.flatten()).unflatten(0, self.rows.shape)

    def back(self, values: Tensor, vectors: int) -> Tensor:
        """Values [N, R] in the order of the vectors, [V]; 0 for vectors that stand nowhere."""
        own = values.where(self.there, 0).flatten()
        return own.new_zeros(vectors).index_add(0, self.rows.flatten(), own)

    def of(self, weights: Tensor) -> Tensor:
        """The weights [O, F] of every block's organ, for all of its places: [N, 1, F]."""
        return weights.index_select(0, self.organ)[:, None]

    def sums(self, values: Tensor) -> Tensor:
        """Sums [O, F] of values [N, R, F] over the vectors of every organ."""
        own = values.where(self.there[:, :, None], 0).sum(1)
        return own.new_zeros(len(self.counts), own.shape[1]).index_add(0, self.organ, own)


def blocks_of(kinds: Tensor, organs: int) -> Blocks:
    """Blocks for vectors of these kinds [V], 0 for those that take no part, else 1 to `organs`.

    There are as many blocks as the worst kinds need, so that nothing waits for the device to count.
    """
    counts = class_counts(kinds, organs + 1).long()
    needed = (counts[1:] + _PLACES - 1) // _PLACES
    end = needed.cumsum(0)
    number = torch.arange(len(kinds) // _PLACES + organs, device=kinds.device)
    organ = torch.searchsorted(end, number, right=True).clamp(max=organs - 1)
    block = number - (end - needed)[organ]  # in its organ
    place = block[:, None] * _PLACES + torch.arange(_PLACES, device=kinds.device)
    there = place < counts[organ + 1][:, None]
    begin = counts.cumsum(0)[organ][:, None]
    order = kinds.argsort(stable=True)
    rows = order[(begin + place).clamp(max=len(kinds) - 1)]
    return Blocks(organ, rows, there, counts[1:])
