"""Paired differences of two runs per organ, with an interval and a test."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from knowledge.common.files import without_nan
from knowledge.common.suggest import unknown
from pipeline.results.scores import GROUPS, Evaluation, comparable
from pipeline.scoring.seeds import Scored
from segmentation.evaluation.statistics import LEVEL, holm, interval, nan_mean, signed_rank


@dataclass(frozen=True)
class PairedDifference:
    """Second run minus first run, over the cases that both score; shares or mm.

    Attributes:
        cases: number of cases where both are scored.
        unpaired: number of cases where only one is scored, for instance an absent organ.
        low, high: interval of the mean difference; NaN for fewer than two cases.
        p: two-sided Wilcoxon signed-rank test; 1 if all differences are 0.
        p_adjusted: for the number of organs (Holm 1979); NaN for means over organs.
    """

    row: str
    cases: int
    unpaired: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float


def differences(one: Scored, other: Scored, metric: str = "dice") -> list[PairedDifference]:
    """Differences per organ, then of the means over all, large and small organs.

    A mean is over the organs that both runs score in a case.

    Raises:
        ValueError: runs that were not measured alike.
        LookupError: a metric that is not scored.
    """
    keys = [each.key for each in one.evaluation.metrics]
    if metric not in keys:
        raise LookupError(unknown("metric", metric, tuple(keys)))
    comparable(one.evaluation, other.evaluation)
    organs = one.evaluation.groups["all"]
    first, second = (_table(scored.evaluation, metric) for scored in (one, other))
    both = ~(np.isnan(first) | np.isnan(second))
    first, second = np.where(both, first, np.nan), np.where(both, second, np.nan)
    missing = np.isnan(_table(one.evaluation, metric)) ^ np.isnan(_table(other.evaluation, metric))
    rows = [
        _difference(name, first[:, column], second[:, column], int(missing[:, column].sum()))
        for column, name in enumerate(organs)
    ]
    adjusted = holm([row.p for row in rows])
    rows = [replace(row, p_adjusted=p) for row, p in zip(rows, adjusted, strict=True)]
    for group in GROUPS:
        columns = [organs.index(name) for name in one.evaluation.groups[group]]
        if columns:
            before, after = _row_means(first[:, columns]), _row_means(second[:, columns])
            rows.append(_difference(group, before, after, int(missing[:, columns].sum())))
    return rows


def _table(evaluation: Evaluation, metric: str) -> NDArray[np.float64]:
    """Scores [case, organ], cases by name."""
    organs = evaluation.groups["all"]
    return np.array(
        [
            [evaluation.cases[case][organ][metric] for organ in organs]
            for case in sorted(evaluation.cases)
        ]
    )


def _row_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([nan_mean(list(row)) for row in values])


def _difference(
    row: str, first: NDArray[np.float64], second: NDArray[np.float64], unpaired: int
) -> PairedDifference:
    scored = ~np.isnan(first)
    gaps = (second - first)[scored]
    low, high = interval(gaps)
    return PairedDifference(
        row,
        cases=len(gaps),
        unpaired=unpaired,
        first=nan_mean(list(first[scored])),
        second=nan_mean(list(second[scored])),
        difference=nan_mean(list(gaps)),
        low=low,
        high=high,
        p=signed_rank(gaps),
        p_adjusted=math.nan,
    )


def as_json(one: Scored, other: Scored, metric: str, rows: Sequence[PairedDifference]) -> str:
    """The comparison with its methods as JSON; NaN as null."""
    kept = one.evaluation

    content = {
        "first": _side(one),
        "second": _side(other),
        "protocol": kept.protocol,
        "part": kept.part,
        "metric": metric,
        "difference": "second minus first",
        "interval": f"{LEVEL:.0%} of the mean over cases, Student's t",
        "test": "Wilcoxon signed-rank, two-sided; adjusted over organs by Holm's method",
        "rows": without_nan([asdict(row) for row in rows]),
    }
    return json.dumps(content, indent=2, allow_nan=False)


def _side(scored: Scored) -> dict[str, str | int | None]:
    """Name, seeds, split and, where there is one, the note of one side of a comparison."""
    evaluation = scored.evaluation
    note = {"note": evaluation.note} if evaluation.note else {}
    return {"name": scored.name, "seeds": scored.seeds, "split": evaluation.split, **note}
