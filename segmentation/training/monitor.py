"""What a run tells of itself while it trains, beside its losses.

Legend of shapes: C classes, Q class code width.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segmentation.networks.heads import TextHead
from segmentation.networks.network import DEEP, Network
from segmentation.training.trackers import Picture

Scores = Mapping[str, Mapping[str, float]]  # predictor -> organ -> Dice


@dataclass(frozen=True, eq=False)
class Validation:
    """What a validation found.

    Attributes:
        scores: Dice per predictor and organ; the first predictor chooses the checkpoint.
        predicted_voxels: voxels that the first predictor gave each organ, over all cases.
        measures: further curves by tag.
        pictures: for the trackers, by name.
    """

    scores: Scores
    predicted_voxels: Mapping[str, int] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)


class MissingOrganWarning:
    """Counts, organ by organ, the validations in a row that predicted no voxel of it.

    An organ that no validation case holds is left out: not to predict it is right.

    Args:
        limit: so many in a row are worth a warning, and each further time as many.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_a_row: Counter[str] = Counter()

    def see(self, record: Mapping[str, Any], *, last: bool = False) -> list[str]:
        """Take in the record of a validation; warnings that it gives rise to.

        After the last validation every organ that it did not predict is worth one.
        """
        counts: Mapping[str, int] = record.get("predicted_voxels", {})
        scores: Mapping[str, float] = next(iter(record.get("organs", {}).values()), {})
        for organ, voxels in counts.items():
            absent = math.isnan(scores[organ])
            self._in_a_row[organ] = 0 if voxels or absent else self._in_a_row[organ] + 1
        due: dict[int, list[str]] = {}
        for organ in counts:
            if self._in_a_row[organ] and (last or self._in_a_row[organ] % self._limit == 0):
                due.setdefault(self._in_a_row[organ], []).append(organ)
        return [
            f"never predicted in {_validations(times)}: {', '.join(organs)}"
            for times, organs in sorted(due.items())
        ]


def _validations(times: int) -> str:
    return f"{times} validations in a row" if times > 1 else "the last validation"


class TextHeadState(NamedTuple):
    """How far a text head tells its classes apart.

    Attributes:
        cosines: of every two class codes, [C, C].
        weight_norms: length of the weights that are generated for each class, [C].
    """

    cosines: Tensor
    weight_norms: Tensor

    def measures(self, classes: tuple[str, ...]) -> dict[str, float]:
        """Curves: mean and largest cosine of two different classes, norm per class."""
        count = len(self.cosines)
        apart = self.cosines[~torch.eye(count, dtype=torch.bool)]
        norms = zip(classes, self.weight_norms.tolist(), strict=True)
        return {
            "text/code_cosine_mean": float(apart.mean()),
            "text/code_cosine_max": float(apart.max()),
            **{f"text/weight_norm/{name}": norm for name, norm in norms},
        }


@torch.inference_mode()
def text_head_state(network: Network, patch: Tensor) -> TextHeadState | None:
    """The state of a network's text head on a patch [x, y, z]; None without a text head."""
    if not isinstance(network.head, TextHead):
        return None
    training = network.training
    network.eval()
    try:
        codes = network.class_codes()
        deep = network.encode(patch[None, None])[-DEEP:]
        weights = network.head.generated(deep, codes)[0]
    finally:
        network.train(training)
    directions = F.normalize(codes.float(), dim=1)
    return TextHeadState((directions @ directions.T).cpu(), weights.float().norm(dim=1).cpu())
