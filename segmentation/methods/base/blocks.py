"""Vectors sorted by organ into padded blocks of equal size, so that one batched operation handles
all organs.

Legend of shapes: V vectors of width F, O organs, N blocks with R places.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from segmentation.losses import class_counts

_PLACES = 256  # R, vectors per block


class OrganBlocks(NamedTuple):
    """Padded blocks of vectors, one or more per organ.

    Attributes:
        organ: organ of every block, counted from 0, [N].
        rows: index of the vector at every place, [N, R].
        valid: False at padded places, [N, R].
        counts: vectors per organ, [O].
    """

    organ: Tensor
    rows: Tensor
    valid: Tensor
    counts: Tensor

    def gather(self, vectors: Tensor) -> Tensor:
        """Vectors [V, F] at their places, [N, R, F]; arbitrary vectors at padded places."""
        return vectors.index_select(0, self.rows.flatten()).unflatten(0, self.rows.shape)

    def scatter(self, values: Tensor, vectors: int) -> Tensor:
        """Values [N, R] in the order of the vectors, [V]; 0 for vectors in no block."""
        values = values.where(self.valid, 0).flatten()
        return values.new_zeros(vectors).index_add(0, self.rows.flatten(), values)

    def per_block(self, weights: Tensor) -> Tensor:
        """Weights per organ [O, F] repeated for every block, [N, 1, F] to broadcast over places."""
        return weights.index_select(0, self.organ)[:, None]

    def sums(self, values: Tensor) -> Tensor:
        """Sums [O, F] of values [N, R, F] over the vectors of every organ."""
        values = values.where(self.valid[:, :, None], 0).sum(1)
        return values.new_zeros(len(self.counts), values.shape[1]).index_add(0, self.organ, values)


def sort_into_blocks(kinds: Tensor, organs: int) -> OrganBlocks:
    """Blocks for vectors whose organs are `kinds` [V]: 1 to `organs`, or 0 for no organ.

    The number of blocks is the worst case for V vectors, so that the host never waits for counts of
    a device.
    """
    counts = class_counts(kinds, organs + 1).long()
    needed = (counts[1:] + _PLACES - 1) // _PLACES
    end = needed.cumsum(0)
    number = torch.arange(len(kinds) // _PLACES + organs, device=kinds.device)
    organ = torch.searchsorted(end, number, right=True).clamp(max=organs - 1)
    block = number - (end - needed)[organ]  # number of the block within its organ
    place = block[:, None] * _PLACES + torch.arange(_PLACES, device=kinds.device)
    valid = place < counts[organ + 1][:, None]
    begin = counts.cumsum(0)[organ][:, None]
    order = kinds.argsort(stable=True)
    rows = order[(begin + place).clamp(max=len(kinds) - 1)]
    return OrganBlocks(organ, rows, valid, counts[1:])
