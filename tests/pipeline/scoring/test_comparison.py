"""`tak compare`: paired differences, checked against closed forms and enumeration."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.results.result_files import write_results
from pipeline.results.scores import METRICS, Evaluation
from pipeline.scoring.comparison import differences
from pipeline.scoring.seeds import read_scored
from segmentation.evaluation.statistics import holm, interval, signed_rank

ORGANS = ("liver", "spleen", "duodenum")


def evaluation(dice, **changes):
    """Scores [case, organ]; all metrics hold the same numbers."""
    cases = {
        f"case_{row}": {
            organ: dict.fromkeys(METRICS, float(value))
            for organ, value in zip(ORGANS, values, strict=True)
        }
        for row, values in enumerate(dice)
    }
    groups = {"all": ORGANS, "large": ORGANS[:2], "small": ORGANS[2:]}
    content = {
        "data_set": "toy",
        "protocol": "toy",
        "part": "test",
        "checkpoint": "best.pt",
        "step": 1,
        "predictor": "student",
        "tolerance_mm": 1.0,
        "cases": cases,
        "groups": groups,
    }
    return Evaluation(**{**content, **changes})


def written(folder, dice, **changes):
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f"seed = {len(str(folder))}\n[training]\nsteps = 60\n")
    write_results(evaluation(dice, **changes), folder / "evaluation-test")
    return folder


def test_differences_are_paired_by_case_and_organ(tmp_path):
    random = np.random.default_rng(0)
    first, second = random.random((2, 8, 3))
    one = read_scored(written(tmp_path / "one", first), "test")
    other = read_scored(written(tmp_path / "other", second), "test")
    rows = {row.row: row for row in differences(one, other)}
    for column, organ in enumerate(ORGANS):
        gaps = second[:, column] - first[:, column]
        assert rows[organ].difference == pytest.approx(gaps.mean())
        assert rows[organ].low < gaps.mean() < rows[organ].high
    assert rows["large"].difference == pytest.approx((second - first)[:, :2].mean())
    assert rows["all"].cases == 8


def test_a_score_that_only_one_run_has_is_left_out_and_counted(tmp_path):
    first, second = np.full((4, 3), 0.5), np.full((4, 3), 0.7)
    first[0, 0] = np.nan
    one = read_scored(written(tmp_path / "one", first), "test")
    other = read_scored(written(tmp_path / "other", second), "test")
    rows = {row.row: row for row in differences(one, other)}
    assert (rows["liver"].cases, rows["liver"].unpaired) == (3, 1)
    assert rows["all"].difference == pytest.approx(0.2)


def test_seeds_are_averaged_case_by_case(tmp_path):
    random = np.random.default_rng(1)
    seeds = random.random((3, 5, 3))
    for number, scores in enumerate(seeds):
        written(tmp_path / "run" / f"seed-{number}", scores)
    found = read_scored(tmp_path / "run", "test")
    assert found.seeds == 3
    means = seeds.mean(0)
    assert found.evaluation.cases["case_4"]["spleen"]["dice"] == pytest.approx(means[4, 1])


def test_seeds_of_different_splits_are_not_averaged_and_runs_of_different_splits_are_told(tmp_path):
    for number, split in enumerate(("5p", "10p")):
        written(tmp_path / "run" / f"seed-{number}", np.zeros((2, 3)), split=split)
    with pytest.raises(ValueError, match=r"seed-1.* is of the split 10p and .*seed-0.* of 5p"):
        read_scored(tmp_path / "run", "test")
    pair = [str(tmp_path / "run" / f"seed-{number}") for number in (0, 1)]
    shown = " ".join(CliRunner().invoke(app, ["compare", *pair]).output.split())
    assert "Trained on different splits: 5p and 10p." in shown
    content = json.loads(CliRunner().invoke(app, ["compare", *pair, "--json"]).output)
    assert (content["first"]["split"], content["second"]["split"]) == ("5p", "10p")
    same = CliRunner().invoke(app, ["compare", pair[0], pair[0]]).output
    assert "different splits" not in same


def test_runs_of_other_recipes_are_no_seeds_of_one(tmp_path):
    for number in range(2):
        written(tmp_path / "run" / f"seed-{number}", np.zeros((2, 3)))
    (tmp_path / "run/seed-1/config.toml").write_text("seed = 1\n[training]\nsteps = 400\n")
    with pytest.raises(ValueError, match=r"seed-1/config\.toml differs from .* in training; seeds"):
        read_scored(tmp_path / "run", "test")


def test_the_signed_rank_test_is_that_of_all_sign_patterns():
    gaps = np.array([0.11, -0.02, 0.3, 0.07, 0.25, -0.01, 0.4])
    ranks = np.argsort(np.argsort(np.abs(gaps))) + 1
    observed = ranks[gaps > 0].sum()
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
        for signs in itertools.product((0, 1), repeat=len(gaps))
    ]
    middle = ranks.sum() / 2
    extreme = np.mean(np.abs(np.array(sums) - middle) >= abs(observed - middle))
    assert signed_rank(gaps) == pytest.approx(extreme)
    assert signed_rank(np.zeros(5)) == 1.0
    assert math.isnan(signed_rank(np.zeros(0)))


@pytest.mark.parametrize("cases", [2, 6, 40])
def test_the_interval_covers_a_known_mean_about_as_often_as_it_says(cases):
    random = np.random.default_rng(2)
    inside = 0
    for _ in range(1000):
        low, high = interval(random.normal(0.3, 1.0, size=cases))
        inside += low <= 0.3 <= high
    assert 930 <= inside <= 970  # three deviations


def test_the_interval_is_that_of_the_paired_t_test():
    gaps = np.random.default_rng(3).normal(size=7)
    known = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert interval(gaps) == pytest.approx((known.low, known.high))
    assert interval(np.full(3, 0.25)) == (0.25, 0.25)
    assert all(math.isnan(end) for end in interval(np.array([0.1])))


def test_p_values_are_adjusted_as_in_holms_paper():
    found = holm([0.01, 0.04, 0.03, math.nan, 0.005])
    assert found[:3] == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(found[3])
    assert found[4] == pytest.approx(0.02)
