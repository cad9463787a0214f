"""What a report says of runs that are not done, of old scores, other texts and missing organs."""

import dataclasses
import json
import math
import re
import shutil

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from knowledge.bank.bank import Bank
from knowledge.descriptions import DescriptionSet
from knowledge.grounding.claims import CheckReport, check
from pipeline.cli import app
from pipeline.report.content import ReportRequest, collect
from pipeline.report.organ_shapes import OrganShape
from pipeline.report.page import absences
from pipeline.report.runs.arms import read_arms
from pipeline.report.texts import read_outcome, verdict_mismatch
from pipeline.report.views.pictures import shapes
from pipeline.report.views.scores import cautions, intensity_words, summary
from pipeline.results.result_files import write_results
from tests.support.report_material import describe, make_scored_run, scores_of


def gathered(*runs, rules="scan", check=None, descriptions=None):
    """What a report without data shows of runs."""
    asked = ReportRequest(runs, "test", rules, None, None, descriptions, check, torch.device("cpu"))
    return collect(asked, None)


def ran(*words):
    outcome = CliRunner().invoke(app, ["report", *map(str, words)], catch_exceptions=False)
    assert outcome.exit_code == 0
    return outcome.stdout


def alter(run, **training):
    """Change the training of a run in its checkpoint."""
    state = torch.load(run / "best.pt", weights_only=True)
    state["config"]["run"]["training"] |= training
    torch.save(state, run / "best.pt")


def test_a_page_made_again_keeps_no_figure_that_is_not_of_it(small_report, prepared, tmp_path):
    shutil.copytree(small_report[0], tmp_path / "out")
    figures = tmp_path / "out" / "figures"
    (figures / "mine.png").write_bytes((figures / "cases.png").read_bytes())
    own = b"\x89PNG\r\n\x1a\n a drawing of the user's"
    (figures / "shapes.png").write_bytes(own)
    run = make_scored_run(tmp_path / "run", prepared)
    ran(run, "-o", tmp_path / "out")
    assert {path.name for path in figures.iterdir()} == {
        *(f"{name}.png" for name in ("losses", "curves", "dice", "measures", "vectors")),
        *("mine.png", "shapes.png"),
    }
    assert (figures / "shapes.png").read_bytes() == own


def test_a_report_without_figures_leaves_no_folder_of_them(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    ran(run)
    assert (run / "figures").is_dir()
    for name in ("log.jsonl", "bank.h5", "evaluation-test.json"):
        (run / name).unlink()
    assert ran(run) == f"wrote {run / 'report.html'}, without figures\n"
    assert not (run / "figures").exists()


def test_no_window_is_claimed_where_nobody_knows_it(prepared):
    spec = prepared.spec
    low, high = spec.window_hu
    assert intensity_words(spec) == f"{low:g} to {high:g} HU".replace("-", "−")
    stored = intensity_words(spec.model_copy(update={"scaling": "stored"}))
    assert "HU" not in stored
    assert "unknown" in stored
    assert "each scan" in intensity_words(spec.model_copy(update={"scaling": "volume"}))


def test_a_run_in_training_is_said_to_be_not_done(prepared, tmp_path):
    run = make_scored_run(tmp_path / "still <b>ü", prepared)
    assert cautions(gathered(run)) == []
    alter(run, steps=60)
    (run / "evaluation-test.json").unlink()
    found = gathered(run)
    assert "`still <b>ü` is not done: its log ends at step 40 of 60" in cautions(found)[0]
    assert summary(found)["arms"][0]["groups"][0]["mean"] == "–"


def test_scores_of_an_earlier_state_are_pointed_out(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    write_results(dataclasses.replace(scores_of(prepared), step=3), run / "evaluation-test")
    found = cautions(gathered(run))
    assert len(found) == 1
    assert "are of step 3, but its best.pt is of step 7" in found[0]


def test_a_run_scored_by_two_rules_is_shown_by_those_asked_for(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    ga = dataclasses.replace(scores_of(prepared, -0.3), rules="ga")
    cases = {
        case: {
            name: {metric.key: scores["dice"] for metric in ga.metrics}
            for name, scores in organs.items()
        }
        for case, organs in ga.cases.items()
    }
    write_results(dataclasses.replace(ga, cases=cases), run / "evaluation-test-ga")
    by_scan, by_ga = gathered(run), gathered(run, rules="ga")
    for found, own, other in ((by_scan, "scan", "ga"), (by_ga, "ga", "scan")):
        told = dict(summary(found)["facts"])["Scored"]
        assert f"rules {own}; by other rules as well: {other}" in told
    gap = by_scan.arms[0].over_seeds("all", "dice")[0] - by_ga.arms[0].over_seeds("all", "dice")[0]
    assert gap == pytest.approx(0.3)
    (run / "evaluation-test.json").unlink()
    assert "scored by other rules: `--rules ga`." in absences(gathered(run))["scores"]


def test_a_baseline_is_told_by_what_it_has_instead(prepared, tmp_path):
    runs = [make_scored_run(tmp_path / name / "run", prepared) for name in ("a", "b")]
    alter(runs[1], rate=0.25)
    arms = read_arms(runs, "test")
    assert arms[0].departures == ()
    assert arms[1].departures == ("training.rate 0.25 instead of 0.01",)
    assert [arm.folders for arm in arms] == [("a/run",), ("b/run",)]
    assert arms[0].label.endswith("(a/run)")
    assert arms[1].label.endswith("(b/run)")


def test_runs_of_other_organs_are_refused_by_what_each_alone_knows(prepared, tmp_path):
    runs = [make_scored_run(tmp_path / name, prepared) for name in ("one", "other")]
    state = torch.load(runs[1] / "best.pt", weights_only=True)
    state["config"]["dataset"]["organs"][0]["name"] = "hub"
    torch.save(state, runs[1] / "best.pt")
    known = prepared.spec.classes[1]
    with pytest.raises(ValueError, match=f"other alone knows hub; .*one alone knows {known};"):
        read_arms(runs, "test")


@pytest.fixture(scope="module")
def told(prepared, tmp_path_factory):
    """A run with its descriptions, and what `check` said of them."""
    folder = tmp_path_factory.mktemp("told")
    run = make_scored_run(folder / "run", prepared)
    described = DescriptionSet.read(run / "descriptions.json")
    outcome = check(described, [])
    outcome.write(folder / "check.json")
    return run, folder / "check.json", described, outcome


def test_verdicts_carry_the_digest_of_the_texts_that_they_are_of(told):
    run, file, described, outcome = told
    assert read_outcome(file).descriptions == outcome.descriptions == described.digest
    assert gathered(run, check=file).doubt == ""


def test_verdicts_on_other_texts_are_said_to_be_that(told, prepared, tmp_path):
    run, _, described, outcome = told
    other = CheckReport.model_validate(outcome.model_dump() | {"descriptions": "f" * 64})
    other.write(tmp_path / "check.json")
    found = gathered(run, check=tmp_path / "check.json")
    assert "of other texts: of descriptions ffffffffffff" in found.doubt
    assert described.digest[:12] in found.doubt
    ran(run, "--check", tmp_path / "check.json", "-o", tmp_path / "report.html")
    assert found.doubt.partition(" Give")[0] in (tmp_path / "report.html").read_text(
        encoding="utf-8"
    )


def test_verdicts_of_an_earlier_version_are_of_unknown_texts(told, tmp_path):
    run, file, _, outcome = told
    content = json.loads(file.read_text())
    del content["descriptions"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert "unknown of which texts" in gathered(run, check=tmp_path / "old.json").doubt
    bank = dataclasses.replace(Bank.read(run / "bank.h5"), description_digest="")
    assert "from which ones the bank was made is unknown" in verdict_mismatch(outcome, bank)


def without_organs(prepared, folder):
    """A copy of prepared data whose labeled scans show no organ."""
    shutil.copytree(prepared.root, folder)
    for path in folder.glob("*.h5"):
        with h5py.File(path, "r+") as file:
            for name in {"label", "source_label"} & set(file):
                file[name][:] = 0
    return folder


def test_scans_without_any_organ_are_said_to_be_that(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    nothing = scores_of(prepared)
    cases = {
        case: {name: dict.fromkeys(scores, math.nan) for name, scores in organs.items()}
        for case, organs in nothing.cases.items()
    }
    write_results(dataclasses.replace(nothing, cases=cases), run / "evaluation-test")
    record = {"step": 10, "organs": {"student": {"liver": math.nan}}}
    (run / "log.jsonl").write_text(json.dumps(record))
    ran(run, "--data", without_organs(prepared, tmp_path / "empty"), "-o", tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "no case of the part test has a score for any organ" in page
    assert "labeled scans shows an organ" in page
    assert ">not scored<" in page
    names = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
    assert names == {"curves", "dice", "measures", "vectors"}


def test_an_organ_that_no_scan_shows_is_named_below_the_chart(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    organs = prepared.spec.classes[1:]
    measured = dict.fromkeys(organs[:2], (0.5, 0.1)) | dict.fromkeys(organs[2:], (np.nan, np.nan))
    found = dataclasses.replace(
        gathered(run), shapes={name: OrganShape(*pair) for name, pair in measured.items()},
        shape_cases=3,
    )  # fmt: skip
    shown = shapes(found)
    assert f"In none of these scans: {', '.join(organs[2:])}." in shown["caption"]
    for name in organs:
        assert (f">{name}<" in shown["svg"]) == (name in organs[:2])


def test_markup_in_names_stays_text(prepared, tmp_path):
    names = ['<script>x="1"', "größe'&\"<img src=x onerror=y>"]
    runs = [make_scored_run(tmp_path / name, prepared) for name in names]
    described = describe(tmp_path, prepared)
    alter(runs[1], rate=0.25)
    state = torch.load(runs[0] / "best.pt", weights_only=True)
    state["config"]["run"]["title"] = "</title><script>alert(1)</script>"
    torch.save(state, runs[0] / "best.pt")
    ran(*runs, "--descriptions", described, "-o", tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<script\b", page)) == 1
    assert "onerror=y>" not in page
    assert "größe&#39;&amp;&#34;&lt;img" in page
