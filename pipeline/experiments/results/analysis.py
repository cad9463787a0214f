"""The statistics of a study: means over replicates, paired differences, equivalence, factors.

A replicate is one pair of draw and seed; arms are compared replicate by replicate, so that the
common effect of a seed or a draw of labeled cases cancels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from segmentation.evaluation.statistics import holm, interval, nan_mean

Scores = Mapping[str, Mapping[str, float]]  # by case, by organ
Replicate = tuple[int, ...]
NEVER = 0.01  # Dice below which an organ counts as never learned by a run


@dataclass(frozen=True)
class Run:
    """The scores of one finished cell.

    Attributes:
        replicate: draw of labeled cases and seed, which pair runs of different arms. Several draws
            of a control are runs of one replicate, and are averaged.
        scores: the endpoint's metric by case and organ; NaN where an organ is not scored.
        minutes: of training.
        folder: of the trained run, for `tak report` and `tak compare`.
        cost_usd: of its descriptions; several runs may share them.
        untrained: mean before the first step, if the study measures it.
    """

    arm: str
    replicate: Replicate
    factors: Mapping[str, str]
    scores: Scores
    minutes: float = math.nan
    folder: str = ""
    cost_usd: float = 0.0
    supported: float | None = None
    untrained: float | None = None

    def mean(self, organs: Sequence[str]) -> float:
        """Mean over cases of the mean over the scored organs of a group."""
        return nan_mean([nan_mean([case[organ] for organ in organs]) for case in self._cases])

    def never_learned(self, organs: Sequence[str]) -> list[str]:
        """Organs whose mean over the cases stays below `NEVER`."""
        return [organ for organ in organs if self.mean([organ]) < NEVER]

    @property
    def _cases(self) -> list[Mapping[str, float]]:
        return list(self.scores.values())


@dataclass(frozen=True)
class ArmSummary:
    """Means of an arm over its runs, and its difference from the baseline.

    Attributes:
        mean, deviation: of the runs' means, by row (group or organ).
        lost: never-learned organs, summed over runs.
        difference: by row; None for the baseline itself.
    """

    arm: str
    runs: int
    mean: Mapping[str, float]
    deviation: Mapping[str, float]
    lost: int
    minutes: float
    cost_usd: float
    supported: float | None
    difference: "Mapping[str, Difference] | None" = None


@dataclass(frozen=True)
class Difference:
    """An arm minus the baseline, over paired replicates.

    Attributes:
        low, high: 95 % interval of the mean by Student's t over replicates.
        p: two-sided paired t test; `p_adjusted` by Holm over arms.
        p_equivalent: larger p of the two one-sided tests against the margin (Schuirmann 1987);
            small means equivalent.
        pairs: replicates that both arms have.
    """

    mean: float
    low: float
    high: float
    p: float
    p_equivalent: float
    pairs: int
    p_adjusted: float = math.nan


def paired(gaps: NDArray[np.float64], margin: float) -> Difference:
    """The statistics of paired differences; NaN for fewer than two pairs."""
    low, high = interval(gaps)
    mean = float(gaps.mean()) if len(gaps) else math.nan
    if len(gaps) < 2:
        return Difference(mean, low, high, math.nan, math.nan, len(gaps))
    error = float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
    free = len(gaps) - 1
    if error == 0:
        equal = 0.0 if abs(mean) < margin else 1.0
        return Difference(mean, low, high, 1.0 if mean == 0 else 0.0, equal, len(gaps))
    p = 2 * float(stats.t.sf(abs(mean) / error, free))
    below = float(stats.t.sf((mean + margin) / error, free))
    above = float(stats.t.cdf((mean - margin) / error, free))
    return Difference(mean, low, high, p, max(below, above), len(gaps))


def summarize(
    runs: Sequence[Run], rows: Mapping[str, Sequence[str]], baseline: str, margin: float
) -> list[ArmSummary]:
    """One summary per arm, in the order of the runs.

    Args:
        rows: organs of every row of the table: groups and single organs.
        margin: of equivalence, in the unit of the scores.
    """
    arms = list(dict.fromkeys(run.arm for run in runs))
    by_arm: dict[str, dict[Replicate, list[Run]]] = {arm: {} for arm in arms}
    for run in runs:
        by_arm[run.arm].setdefault(run.replicate, []).append(run)
    differences = {
        arm: {
            row: paired(_gaps(by_arm[arm], by_arm.get(baseline, {}), organs), margin)
            for row, organs in rows.items()
        }
        for arm in arms
        if arm != baseline and baseline in by_arm
    }
    _adjust(differences, rows)
    return [
        _summary(arm, [run for run in runs if run.arm == arm], rows, differences.get(arm))
        for arm in arms
    ]


def _gaps(
    one: Mapping[Replicate, list[Run]], base: Mapping[Replicate, list[Run]], organs: Sequence[str]
) -> NDArray[np.float64]:
    """Arm minus baseline for every replicate that both have; NaN scores leave a pair out."""
    common = sorted(set(one) & set(base))
    gaps = np.array(
        [_mean_of(one[key], organs) - _mean_of(base[key], organs) for key in common], float
    )
    return gaps[~np.isnan(gaps)]


def _mean_of(runs: Sequence[Run], organs: Sequence[str]) -> float:
    return nan_mean([run.mean(organs) for run in runs])


def _adjust(differences: dict[str, dict[str, Difference]], rows: Mapping[str, Any]) -> None:
    """Holm over arms, row by row (Holm 1979)."""
    for row in rows:
        adjusted = holm([each[row].p for each in differences.values()])
        for each, p in zip(differences.values(), adjusted, strict=True):
            each[row] = Difference(**{**vars(each[row]), "p_adjusted": p})


def _summary(
    arm: str,
    runs: list[Run],
    rows: Mapping[str, Sequence[str]],
    difference: Mapping[str, Difference] | None,
) -> ArmSummary:
    means = {row: [run.mean(organs) for run in runs] for row, organs in rows.items()}
    shares = [run.supported for run in runs if run.supported is not None]
    every = rows["all"]
    return ArmSummary(
        arm=arm,
        runs=len(runs),
        mean={row: nan_mean(values) for row, values in means.items()},
        deviation={row: _deviation(values) for row, values in means.items()},
        lost=sum(len(run.never_learned(every)) for run in runs),
        minutes=nan_mean([run.minutes for run in runs]),
        cost_usd=max((run.cost_usd for run in runs), default=0.0),
        supported=sum(shares) / len(shares) if shares else None,
        difference=difference,
    )


def _deviation(values: Sequence[float]) -> float:
    scored = [value for value in values if not math.isnan(value)]
    return float(np.std(scored, ddof=1)) if len(scored) > 1 else math.nan


def variance_components(runs: Sequence[Run], organs: Sequence[str]) -> dict[str, float]:
    """Share of the variance of the runs' means that each factor explains, main effects only.

    Sums of squares of type II (statsmodels); what is left, interactions included, is `residual`.
    Draw and seed are factors like the others. Empty where nothing varies.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.factors))
    columns: dict[str, list[Any]] = {
        name: [run.factors.get(name, "-") for run in runs] for name in names
    }
    columns |= {"draw": [run.replicate[0] for run in runs]}
    columns |= {"seed": [run.replicate[1] for run in runs]}
    varied = {name: values for name, values in columns.items() if len(set(values)) > 1}
    scores = [run.mean(organs) for run in runs]
    if not varied or len(set(scores)) < 2 or any(map(math.isnan, scores)):
        return {}
    free = len(runs) - 1 - sum(len(set(values)) - 1 for values in varied.values())
    if free < 1:
        return {}  # as many parameters as runs: any share would be arbitrary
    import pandas
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    frame = pandas.DataFrame({f"f{i}": values for i, values in enumerate(varied.values())})
    frame["score"] = scores
    model = ols("score ~ " + " + ".join(f"C(f{i})" for i in range(len(varied))), frame).fit()
    squares = anova_lm(model, typ=2)["sum_sq"]
    total = float(((frame["score"] - frame["score"].mean()) ** 2).sum())
    shares = {name: float(squares[f"C(f{i})"]) / total for i, name in enumerate(varied)}
    return shares | {"residual": float(squares["Residual"]) / total}
