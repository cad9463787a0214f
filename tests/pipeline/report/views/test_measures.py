"""Surface metrics of a report: what stands in the table, and on how many cases it rests."""

import dataclasses
import json
import math

import pytest

from pipeline.report.runs.arms import read_arms
from pipeline.report.views.measures import metric_cell, other_metrics
from pipeline.results.result_files import write_results
from segmentation.evaluation.rules import named
from tests.pipeline.report.test_page import Page, ran
from tests.support.report_material import make_scored_run, scores_of

MISSED = {"dice": 0.0, "nsd": 0.0, "hd95_mm": math.nan, "assd_mm": math.nan}
ABSENT = dict.fromkeys(MISSED, math.nan)


def with_scores(evaluation, **organs):
    """The evaluation with other scores of organs in its first case."""
    first, *others = evaluation.cases
    changed = {first: {**evaluation.cases[first], **organs}}
    return dataclasses.replace(
        evaluation, cases=changed | {name: evaluation.cases[name] for name in others}
    )


def test_distances_say_on_how_many_of_the_scored_cases_they_rest(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    evaluation = with_scores(scores_of(prepared), liver=MISSED, spleen=ABSENT)
    write_results(evaluation, run / "evaluation-test")
    (arm,) = read_arms([run], "test")
    cases, organs = len(evaluation.cases), len(prepared.spec.organs)
    assert arm.counted("liver", "hd95_mm") == (cases - 1, cases)
    assert arm.counted("spleen", "hd95_mm") == (cases - 1, cases - 1)
    assert arm.counted("stomach", "assd_mm") == (cases, cases)
    assert arm.counted("all", "assd_mm") == (cases * organs - 2, cases * organs - 1)
    assert arm.over_seeds("liver", "nsd")[0] == pytest.approx(0.5 * (cases - 1) / cases)
    assert arm.over_seeds("liver", "hd95_mm")[0] == 9.0
    summary = json.loads(ran(run, "-o", tmp_path / "page.html", "--json"))
    liver = summary["arms"][0]["metrics"]["hd95_mm"]["liver"]
    assert (liver["mean"], liver["count"]) == (9.0, cases - 1)
    text = Page((tmp_path / "page.html").read_text(encoding="utf-8")).texts["measures"]
    assert f"{cases - 1} of {cases}" in text
    assert f"{cases * organs - 2} of {cases * organs - 1}" in text


def test_rules_without_other_metrics_have_those_they_compute(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    assert [one.key for one in other_metrics(read_arms([run], "test"))] == [
        "nsd",
        "hd95_mm",
        "assd_mm",
    ]
    (run / "evaluation-test.json").unlink()
    assert other_metrics(read_arms([run], "test")) == []


def test_shares_are_in_percent_and_distances_have_two_digits():
    nsd, distance = named("scan").metrics[1:3]
    assert metric_cell((0.5, 0.25), nsd) == {"mean": "50.0", "deviation": "± 25.0"}
    assert metric_cell((9.876, math.nan), distance) == {"mean": "9.88", "deviation": ""}
    assert metric_cell((math.nan, math.nan), distance)["mean"] == "–"
