"""Scores of one predictor by case and organ, with their means over organs and seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from segmentation.data.descriptor import DatasetSpec
from segmentation.evaluation.rules import Metric, Scores, named
from segmentation.evaluation.statistics import nan_deviation, nan_mean

GROUPS = ("all", "large", "small")
METRICS = tuple(metric.key for metric in named("scan").metrics)


@dataclass(frozen=True)
class Sensitivity:
    """Changes in the predictions of a model when another text takes the place of its own.

    On the prepared grid.

    Attributes:
        changed: share of the voxels whose class changes, of those that are an organ before or
            after; mean over cases.
        dice, dice_lost: Dice with the model's own text, and what of it is lost, by organ; NaN
            where an organ is in no case.
    """

    changed: float
    dice: dict[str, float]
    dice_lost: dict[str, float]

    @property
    def mean_lost(self) -> float:
        """Mean over the organs of the Dice that is lost."""
        return nan_mean(list(self.dice_lost.values()))


@dataclass(frozen=True)
class Evaluation:
    """Scores of one predictor on one part of a data set.

    Attributes:
        protocol: its name, with the deviations from it if there are any; see `ProtocolLabel`.
        tolerance_mm: of NSD, by the rules `scan`.
        cases: by case, organ and metric; NaN where an organ is not scored.
        groups: organ names of `all`, `large` and `small`.
        split: its name, or `own-` and a digest.
        rules: name of the metric rules.
        note: a caveat to show with the scores; empty for a run.
        text_sensitivity: by the name of the other text; empty where it was not measured.
    """

    data_set: str
    protocol: str
    part: str
    checkpoint: str
    step: int
    predictor: str
    tolerance_mm: float
    cases: dict[str, Scores]
    groups: dict[str, tuple[str, ...]]
    split: str | None = None
    rules: str = "scan"
    note: str = ""
    text_sensitivity: dict[str, Sensitivity] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the rules."""
        return named(self.rules).metrics

    def organ(self, name: str, metric: str) -> tuple[float, float]:
        """Mean and standard deviation of an organ over the cases that score it."""
        values = [scores[name][metric] for scores in self.cases.values()]
        return nan_mean(values), nan_deviation(values)

    def group(self, name: str, metric: str) -> tuple[float, float]:
        """Mean and standard deviation over cases of the mean over a group's scored organs."""
        values = [
            nan_mean([scores[organ][metric] for organ in self.groups[name]])
            for scores in self.cases.values()
        ]
        return nan_mean(values), nan_deviation(values)

    def count(self, name: str, metric: str) -> int:
        """The number of scored values that the mean of an organ or group rests on.

        Cases for an organ, pairs of case and organ for a group.
        """
        organs = self.groups.get(name, (name,))
        values = [scores[organ][metric] for scores in self.cases.values() for organ in organs]
        return sum(not math.isnan(value) for value in values)

    def missed(self, name: str) -> int:
        """The number of cases with an organ only in the truth or only in the prediction.

        By the rules `scan`; the others count an empty mask as a value like any other.
        """
        scores_of_organ = [scores[name] for scores in self.cases.values()]
        return sum(s["dice"] == 0 and math.isnan(s.get("hd95_mm", 0)) for s in scores_of_organ)


def comparable(one: Evaluation, other: Evaluation) -> None:
    """Refuse to compare two results that were not measured alike.

    Raises:
        ValueError: another data set, protocol, part, metric rules, tolerance, organs or cases.
    """
    for key in ("data_set", "protocol", "part", "rules", "tolerance_mm"):
        first, second = getattr(one, key), getattr(other, key)
        if first != second:
            raise ValueError(f"{key.replace('_', ' ')} {first} and {second} are not to be compared")
    if one.groups != other.groups:
        raise ValueError("the two runs were scored on other organs")
    only = sorted(set(one.cases) ^ set(other.cases))
    if only:
        raise ValueError(f"scored in one of the two alone: {', '.join(only)}; score both alike")


def organ_groups(spec: DatasetSpec) -> dict[str, tuple[str, ...]]:
    """The names of all, large and small organs."""
    return {
        group: tuple(organ.name for organ in spec.by_label if group in ("all", organ.size))
        for group in GROUPS
    }


def rows_of(evaluation: Evaluation) -> tuple[str, ...]:
    """The rows of a table: organs, then groups that are not empty."""
    return (*evaluation.groups["all"], *(group for group in GROUPS if evaluation.groups[group]))


def mean_of(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The evaluation of means over seeds, of scored values only."""
    first = evaluations[0]
    keys = [metric.key for metric in first.metrics]
    cases = {
        case: {
            organ: {
                metric: nan_mean([each.cases[case][organ][metric] for each in evaluations])
                for metric in keys
            }
            for organ in first.groups["all"]
        }
        for case in first.cases
    }
    return replace(first, cases=cases)
