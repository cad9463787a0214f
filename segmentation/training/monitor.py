"""Monitoring of a run: validation results, warnings about organs, state of the text head.

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

from segmentation.networks.heads.text import TextHead
from segmentation.networks.network import DEEP, Network
from segmentation.training.trackers import Picture

Scores = Mapping[str, Mapping[str, float]]  # predictor -> organ -> Dice


@dataclass(frozen=True, eq=False)
class Validation:
    """Results of one validation.

    Attributes:
        scores: Dice per predictor and organ; the first predictor selects the best checkpoint.
        predicted_voxels: voxels per organ that the first predictor predicts, over all cases.
        measures: values of further curves by tag.
        pictures: pictures for the trackers by name.
    """

    scores: Scores
    predicted_voxels: Mapping[str, int] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)


class MissingOrganWarning:
    """Warns about organs that several validations in a row did not predict at all.

    An organ that no validation case contains is never warned about.

    Args:
        limit: validations in a row after which a warning is given, and given again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_a_row: Counter[str] = Counter()

    def see(self, record: Mapping[str, Any], *, last: bool = False) -> list[str]:
        """Count the record of a validation; returns the warnings that are due.

        After the last validation, every organ without a predicted voxel gets a warning.
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
    """Separation of the classes by a text head.

    Attributes:
        cosines: cosine similarities of class codes, [C, C].
        weight_norms: norm of the generated weights of each class, [C].
    """

    cosines: Tensor
    weight_norms: Tensor

    def measures(self, classes: tuple[str, ...]) -> dict[str, float]:
        """Curves: mean and largest cosine of two different classes, norm per class."""
        count = len(self.cosines)
        others = self.cosines[~torch.eye(count, dtype=torch.bool)]
        norms = zip(classes, self.weight_norms.tolist(), strict=True)
        return {
            "text/code_cosine_mean": float(others.mean()),
            "text/code_cosine_max": float(others.max()),
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
