"""Relations of organs tested on labeled patches: those that hold at the patch's scale."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

from segmentation.relations import SURE, Relation, violations
from segmentation.training.patches import PatchStream

HOLDS = 0.2  # largest mean violation of a relation that is used
_FEWEST = 5  # labeled patches that must show both organs
_QUANTILE = 0.95


class Tested(NamedTuple):
    """A candidate, the labeled patches that show both organs, and its violations there.

    Attributes:
        mean: mean violation, NaN without a patch.
        allowed: the violation that 95 % of the patches do not exceed, NaN without a patch.
    """

    relation: Relation
    patches: int
    mean: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether the relation holds in patches of this size, as far as labeled cases show it."""
        return self.patches >= _FEWEST and self.mean <= HOLDS and self.allowed < 0.5

    @property
    def sure(self) -> bool:
        """Whether the relation holds so well that single voxels may be judged by it."""
        return self.holds and self.allowed <= SURE

    @property
    def usable(self) -> Relation:
        """The relation with its limit; the weight falls to 0 at a limit of 1/2, which is chance."""
        return self.relation._replace(allowed=self.allowed, weight=1 - 2 * self.allowed)


def measure_relations(
    stream: PatchStream,
    candidates: Sequence[Relation],
    *,
    classes: int,
    steps: int,
    margin: int = 0,
    least: float = 8.0,
) -> list[Tested]:
    """Test relations on the labeled patches of the first steps of a stream.

    Args:
        stream: of labeled patches; its unlabeled ones are not looked at.
        candidates: relations without limits.
        classes: C, background included.
        steps: batches that are looked at.
        margin, least: as in `violations`.
    """
    if not candidates:
        return []
    values, counted = [], []
    for step in range(steps):
        for label in stream[step].label:
            mask = F.one_hot(label, classes).permute(3, 0, 1, 2)[None].float()
            patch = violations(mask, candidates, margin=margin, least=least)
            values.append(patch.values[0])
            counted.append(patch.counted[0])
    table = torch.stack(values).masked_fill(~torch.stack(counted), torch.nan)
    shown = torch.stack(counted).sum(0)
    allowed = table.nanquantile(_QUANTILE, dim=0)
    return [
        Tested(relation, int(count), float(mean), float(limit))
        for relation, count, mean, limit in zip(
            candidates, shown, table.nanmean(0), allowed, strict=True
        )
    ]
