"""Statistics of studies on made-up scores whose answer is known."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from pipeline.experiments.results.analysis import Run, paired, summarize, variance_components

ROWS = {"all": ("liver", "spleen"), "liver": ("liver",), "spleen": ("spleen",)}


def make(arm, draw, seed, liver, spleen=0.5, **factors):
    scores = {case: {"liver": liver, "spleen": spleen} for case in ("a", "b")}
    return Run(arm, (draw, seed), factors, scores, minutes=2.0)


def test_paired_statistics_are_those_of_scipy_and_statsmodels():
    random = np.random.default_rng(0)
    one, other = random.normal(0.7, 0.02, 9), random.normal(0.69, 0.02, 9)
    found = paired(one - other, margin=0.01)
    reference = stats.ttest_rel(one, other)
    low, high = reference.confidence_interval(0.95)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    equivalent = ttost_paired(one, other, -0.01, 0.01)[0]
    assert found.p_equivalent == pytest.approx(equivalent)


def test_equal_arms_are_equivalent_and_one_pair_decides_nothing():
    same = paired(np.zeros(5), margin=0.01)
    assert (same.p, same.p_equivalent) == (1.0, 0.0)
    apart = paired(np.full(5, 0.2), margin=0.01)
    assert (apart.p, apart.p_equivalent) == (0.0, 1.0)
    single = paired(np.array([0.1]), margin=0.01)
    assert single.mean == pytest.approx(0.1)
    assert np.isnan([single.p, single.p_equivalent, single.low]).all()


def test_arms_are_paired_by_draw_and_seed_and_adjusted_by_holm():
    random = np.random.default_rng(1)
    difficulty = {(d, s): random.normal(0, 0.1) for d in range(3) for s in range(2)}
    runs = []
    for arm, gain in (("base", 0.0), ("better", 0.02), ("same", 0.0), ("noisy", 0.001)):
        for (draw, seed), level in difficulty.items():
            noise = random.normal(0, 0.002)
            runs.append(make(arm, draw, seed, 0.6 + level + gain + noise))
    runs.append(make("better", 9, 9, 0.0))  # has no partner in the baseline
    summary = {each.arm: each for each in summarize(runs, ROWS, "base", 0.01)}
    assert summary["base"].difference is None
    gaps = {arm: summary[arm].difference["liver"] for arm in ("better", "same", "noisy")}
    assert gaps["better"].pairs == 6
    assert gaps["better"].mean == pytest.approx(0.02, abs=0.003)
    assert gaps["better"].low > 0, "the spread of draws cancels in pairs"
    expected = multipletests([gap.p for gap in gaps.values()], method="holm")[1]
    assert [gap.p_adjusted for gap in gaps.values()] == pytest.approx(list(expected))
    assert summary["better"].runs == 7
    assert gaps["same"].p_equivalent < 0.05


def test_draws_of_a_control_are_averaged_and_do_not_count_as_replicates():
    base = [make("text", 0, seed, 0.60 + 0.01 * seed) for seed in range(3)]
    control = [
        make("random", 0, seed, 0.60 + 0.01 * seed + gain)
        for seed in range(3)
        for gain in (-0.02, 0.0, 0.05)
    ]
    summary = {each.arm: each for each in summarize([*base, *control], ROWS, "text", 0.01)}
    assert summary["random"].runs == 9
    gap = summary["random"].difference["liver"]
    assert gap.pairs == 3
    assert gap.mean == pytest.approx(0.01)
    assert summary["random"].mean["liver"] == pytest.approx(0.62)


def test_organs_that_a_run_never_learned_are_counted():
    runs = [make("a", 0, 0, 0.9, spleen=0.0), make("a", 0, 1, 0.0, spleen=0.004)]
    (summary,) = summarize(runs, ROWS, "a", 0.01)
    assert summary.lost == 3
    assert runs[1].never_learned(ROWS["all"]) == ["liver", "spleen"]


def test_an_organ_that_no_case_scores_stays_out_of_the_mean():
    runs = [make("a", 0, 0, 0.8, spleen=float("nan"))]
    assert runs[0].mean(ROWS["all"]) == pytest.approx(0.8)
    assert np.isnan(runs[0].mean(["spleen"]))


def test_variance_is_shared_out_over_factors_as_it_was_put_in():
    random = np.random.default_rng(2)
    effect = {"paper": -0.03, "terse": 0.03}
    noise = {"x": -0.01, "y": 0.01}
    runs = [
        make(f"{w}, {e}", d, s, 0.6 + effect[w] + noise[e] + random.normal(0, 0.001), wording=w,
             encoder=e)
        for w in effect for e in noise for d in range(2) for s in range(3)
    ]  # fmt: skip
    shares = variance_components(runs, ["liver"])
    assert sum(shares.values()) == pytest.approx(1, abs=0.02)
    assert shares["wording"] == pytest.approx(0.9, abs=0.02)
    assert shares["encoder"] == pytest.approx(0.1, abs=0.02)
    assert max(shares["draw"], shares["seed"], shares["residual"]) < 0.01
    assert variance_components(runs[:1], ["liver"]) == {}
