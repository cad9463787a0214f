"""Scores of an evaluation: means over organs, cases and seeds, and when two are comparable."""

import math
from dataclasses import replace

import pytest

from pipeline.results.scores import METRICS, Evaluation, comparable, mean_of, organ_groups, rows_of
from segmentation.data.descriptor import DatasetSpec
from tests.support.paths import DATA

GROUPS = {"all": ("liver", "spleen", "duodenum"), "large": ("liver", "spleen"), "small": ()}


def evaluation(**dice):
    """An evaluation with the Dice of every organ by case; other metrics hold the same number."""
    cases = {
        case: {
            organ: dict.fromkeys(METRICS, value)
            for organ, value in zip(GROUPS["all"], values, strict=True)
        }
        for case, values in dice.items()
    }
    return Evaluation(
        data_set="toy", protocol="toy", part="test", checkpoint="best.pt", step=1,
        predictor="student", tolerance_mm=1.0, cases=cases, groups=GROUPS,
    )  # fmt: skip


ONE = evaluation(a=(0.4, 0.8, math.nan), b=(0.6, 0.6, 0.9))


def test_an_organ_s_mean_is_over_the_cases_that_score_it():
    assert ONE.organ("liver", "dice") == pytest.approx((0.5, math.sqrt(0.02)))
    assert ONE.organ("duodenum", "dice")[0] == 0.9


def test_a_group_s_mean_is_over_cases_of_means_over_organs():
    mean, deviation = ONE.group("all", "dice")
    assert (mean, deviation) == pytest.approx((0.65, math.sqrt(2) * 0.05))
    assert math.isnan(ONE.group("small", "dice")[0])


def test_rows_are_organs_then_groups_that_have_one():
    assert rows_of(ONE) == ("liver", "spleen", "duodenum", "all", "large")


def test_seeds_are_averaged_where_scored():
    other = evaluation(a=(0.6, 0.8, 0.5), b=(0.8, 0.6, 0.7))
    mean = mean_of([ONE, other])
    assert mean.cases["a"]["liver"]["dice"] == pytest.approx(0.5)
    assert mean.cases["a"]["duodenum"]["dice"] == 0.5
    assert mean.cases["b"]["duodenum"]["dice"] == pytest.approx(0.8)


def test_groups_of_organs_are_those_of_the_descriptor():
    groups = organ_groups(DatasetSpec.read(DATA / "phantom.toml"))
    assert set(groups["all"]) == {*groups["large"], *groups["small"]}
    assert "liver" in groups["large"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_set": "other"}, "data set toy and other are not to be compared"),
        ({"rules": "ga"}, "rules scan and ga are not to be compared"),
        ({"protocol": "toy, own split"}, "protocol toy and toy, own split"),
        ({"part": "validation"}, "part test and validation"),
        ({"tolerance_mm": 2.0}, "tolerance mm 1.0 and 2.0"),
        ({"groups": {**GROUPS, "small": ("duodenum",)}}, "scored on other organs"),
        ({"cases": {"b": ONE.cases["b"]}}, "scored in one of the two alone: a"),
    ],
)
def test_results_that_were_not_measured_alike_are_not_comparable(change, message):
    comparable(ONE, replace(ONE, checkpoint="last.pt", step=2, split="another"))
    with pytest.raises(ValueError, match=message):
        comparable(ONE, replace(ONE, **change))
