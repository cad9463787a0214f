"""Cases to show: scan, truth, prediction and uncertainty on one grid."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.results.scores import Evaluation
from pipeline.runs.trained_model import TrainedModel
from segmentation.data.case_files import Prepared, read_case
from segmentation.evaluation.statistics import nan_mean
from segmentation.inference.sliding_window import labels_of


@dataclass(frozen=True, eq=False)
class ShownCase:
    """One case on the network's grid [x, y, z] in RAS+.

    Attributes:
        rank: best, median or worst, among the cases of the evaluation.
        scores: Dice by organ, as evaluated on the scan's own grid.
        image: float32, as the network reads it.
        entropy: float32 in [0, 1]: of the class probabilities, divided by log C.
        gray: the image values of black and white.
    """

    name: str
    rank: str
    scores: dict[str, float]
    image: NDArray[np.float32]
    truth: NDArray[np.integer]
    prediction: NDArray[np.integer]
    entropy: NDArray[np.float32]
    affine: NDArray[np.float64]
    gray: tuple[float, float] = (0.0, 1.0)

    def shaded(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """The image, or a part of it, scaled to black, 0, and white, 1."""
        low, high = self.gray
        return ((image - low) / max(high - low, 1e-6)).clip(0, 1)

    def glowing(self, entropy: NDArray[np.float32]) -> NDArray[np.float32]:
        """The entropy, or a part of it, scaled to the color scale, [0, 1]."""
        low, high = self.entropy_scale
        return ((entropy - low) / (high - low)).clip(0, 1)

    @cached_property
    def entropy_scale(self) -> tuple[float, float]:
        """The entropies at the ends of the color scale, which covers all but the rarest values."""
        low, high = np.percentile(self.entropy, (1, 99.9))
        return float(low), float(max(high, low + 0.01))

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """Where prediction and truth differ."""
        return self.truth != self.prediction


def show_cases(
    model: TrainedModel,
    prepared: Prepared,
    evaluation: Evaluation,
    chosen: Mapping[str, str],
    tick: Callable[[str], None],
) -> list[ShownCase]:
    """Segment the chosen cases (rank -> case) to show them.

    Raises:
        LookupError: the data set has no such case.
        ValueError: a case without a label.
    """
    shown = []
    for rank, name in chosen.items():
        case = read_case(prepared.file(name))
        if case.label is None:
            raise ValueError(f"{case.path}: case {name} has no label to show")
        probabilities = model.classify(torch.from_numpy(case.image).float())
        shown.append(
            ShownCase(
                name=name,
                rank=rank,
                scores={o: scores["dice"] for o, scores in evaluation.cases[name].items()},
                image=np.asarray(case.image, np.float32),
                truth=np.asarray(case.label),
                prediction=labels_of(probabilities),
                entropy=entropy_of(probabilities).cpu().numpy(),
                affine=case.affine,
                gray=_gray(case.image, prepared.spec.scaling),
            )
        )
        tick(name)
    return shown


def _gray(image: NDArray[np.floating], scaling: str) -> tuple[float, float]:
    """Values of black and white: ends of the scaled range, or percentiles of unscaled values."""
    if scaling != "stored":
        return 0.0, 1.0
    low, high = np.percentile(image, (0.5, 99.5))
    return float(low), float(high)


def entropy_of(probabilities: torch.Tensor) -> torch.Tensor:
    """Entropy [x, y, z] of class probabilities [C, x, y, z] divided by log C, in [0, 1]."""
    total = torch.special.entr(probabilities.clamp(min=0)).sum(0)
    return (total / math.log(len(probabilities))).clamp(0, 1)


def share_of_errors_found(case: ShownCase, share: float) -> float:
    """The share of wrong voxels among the `share` most uncertain ones; NaN without wrong voxels."""
    wrong = case.wrong.ravel()
    count = round(share * wrong.size)
    if not wrong.any() or not count:
        return float("nan")
    most = np.argpartition(-case.entropy.ravel(), count - 1)[:count]
    return float(wrong[most].sum() / wrong.sum())


def mean_of_case(evaluation: Evaluation, case: str) -> float:
    """Mean Dice of a case over its scored organs."""
    return nan_mean([scores["dice"] for scores in evaluation.cases[case].values()])


def ranked(evaluation: Evaluation) -> dict[str, str]:
    """The best, the median and the worst case by mean Dice: rank -> case, fewer if there are fewer.

    Among an even number the lower of the two middle ones is the median.
    """
    order = sorted(
        (case for case in evaluation.cases if mean_of_case(evaluation, case) >= 0),
        key=lambda case: (-mean_of_case(evaluation, case), case),
    )
    places = {"best": 0, "worst": len(order) - 1, "median": len(order) // 2}
    chosen: dict[str, str] = {}
    for rank, place in places.items():
        if order and order[place] not in chosen.values():
            chosen[rank] = order[place]
    return {rank: chosen[rank] for rank in ("best", "median", "worst") if rank in chosen}
