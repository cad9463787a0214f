"""The report's page as a file: nothing from outside, nothing unescaped, no empty section."""

import base64
import dataclasses
import hashlib
import json
import math
import shutil
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from knowledge.bank.bank import Bank
from pipeline.cli import app
from pipeline.report.page import SECTIONS, prose
from pipeline.results.result_files import write_results
from tests.support.paths import ROOT
from tests.support.report_material import make_scored_run, scores_of

SENTENCES = {
    "organs": "has no evaluation-test.json",
    "cases": "give --data PREPARED",
    "uncertainty": "give --data PREPARED",
    "shapes": "give --data PREPARED",
    "learning": "has no log.jsonl",
    "texts": "Give it by --bank FILE",
    "vectors": "Give it by --bank FILE",
}


class Page(HTMLParser):
    """Elements with their attributes, text by section and what stands in scripts."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.scripts, self.texts = [], [], {}
        self.section, self.inside = "", ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "section":
            self.section = dict(attrs)["id"]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        else:
            self.texts[self.section] = self.texts.get(self.section, "") + data


def ran(*words):
    outcome = CliRunner().invoke(app, ["report", *map(str, words)], catch_exceptions=False)
    assert outcome.exit_code == 0
    return outcome.stdout


def test_the_page_loads_nothing_and_runs_its_own_script_alone(small_report):
    page = Page((small_report[0] / "report.html").read_text(encoding="utf-8"))
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv"))
    programs = [
        text
        for (_, attributes), text in zip(
            [e for e in page.elements if e[0] == "script"], page.scripts, strict=True
        )
        if "type" not in attributes
    ]
    assert len(programs) == 1
    digest = base64.b64encode(hashlib.sha256(programs[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    for tag, attributes in page.elements:
        for name in ("src", "href", "data", "action", "srcset"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), f"{tag} {name}={value}"
        assert not any(name.startswith("on") for name in attributes), tag
    assert "@import" not in (small_report[0] / "report.html").read_text(encoding="utf-8")


def test_text_of_a_model_stays_text(small_report):
    page = Page((small_report[0] / "report.html").read_text(encoding="utf-8"))
    assert '<script>document.title = "owned"</script><img src=x' in page.texts["texts"]
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert all(attributes["src"].startswith("data:image/png") for attributes in pictures)


def test_every_section_says_something(small_report):
    page = Page((small_report[0] / "report.html").read_text(encoding="utf-8"))
    assert [name for name, _ in SECTIONS] == [
        attributes["id"] for tag, attributes in page.elements if tag == "section"
    ]
    assert all(len(page.texts[name].split()) > 10 for name, _ in SECTIONS)
    assert "contradicted" in page.texts["texts"]
    assert "left of stomach" in page.texts["texts"]
    assert "+5.0" in page.texts["summary"]


def test_scores_on_the_page_and_in_json_are_those_of_the_evaluation(small_report, prepared):
    folder, told = small_report
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    scores = json.loads((folder.parent / "run" / "evaluation-test.json").read_text())
    mean = scores["means"]["small"]["dice"]["mean"]
    assert told["arms"][0]["dice"]["small"]["mean"] == pytest.approx(mean)
    assert f"{100 * mean:.1f}" in page.texts["summary"]
    assert told["gain"]["liver"] == pytest.approx(0.05)
    assert told["cases"] == {"best": prepared.split.test[0], "worst": prepared.split.test[1]}


def test_figures_lie_beside_the_page_as_png(small_report):
    folder, told = small_report
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {
        f"{name}.png"
        for name in (
            "losses",
            "curves",
            "dice",
            "measures",
            "shapes",
            "cases",
            "surfaces",
            "uncertainty",
            "vectors",
        )
    }
    assert {path.name for path in folder.iterdir()} == {"report.html", "figures"}
    for name in names:
        assert (folder / "figures" / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert str(folder / "figures" / name) in told["files"]


def test_what_is_missing_is_said_in_its_place(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    for name in ("log.jsonl", "bank.h5", "evaluation-test.json"):
        (run / name).unlink()
    told = ran(run, "-o", tmp_path / "bare.html")
    assert f"wrote {tmp_path / 'bare.html'}" in told
    page = Page((tmp_path / "bare.html").read_text(encoding="utf-8"))
    for section, sentence in SENTENCES.items():
        assert sentence in page.texts[section], section


def test_missing_scores_are_made_where_the_data_are_given(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    (run / "evaluation-test.json").unlink()
    ran(run, "--data", prepared.root)
    assert (run / "report.html").is_file()
    found = json.loads((run / "evaluation-test.json").read_text())
    assert sorted(found["cases"]) == sorted(prepared.split.test)


def test_what_does_not_belong_together_is_refused(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    other = tmp_path / "other"
    shutil.copytree(prepared.root, other)
    noted = json.loads((other / "dataset.json").read_text())
    noted["spec"]["window_hu"] = [-100, 200]
    (other / "dataset.json").write_text(json.dumps(noted))
    refused = CliRunner().invoke(app, ["report", str(run), "--data", str(other)])
    assert "is not what" in str(refused.exception)
    bank = tmp_path / "another.h5"
    known = Bank.read(run / "bank.h5")
    dataclasses.replace(known, vectors=known.vectors + 1).write(bank)
    refused = CliRunner().invoke(app, ["report", str(run), "--bank", str(bank)])
    assert "was trained with" in str(refused.exception)
    refused = CliRunner().invoke(app, ["report", str(run), "-o", str(prepared.root)])
    assert "is a prepared data set; give another folder" in str(refused.exception)
    assert not (prepared.root / "report.html").exists()
    refused = CliRunner().invoke(app, ["report", str(run), "--part", "train"])
    assert "no part 'train'" in str(refused.exception)


def refusal(*words):
    outcome = CliRunner().invoke(app, ["report", *map(str, words)])
    assert outcome.exit_code != 0
    return str(outcome.exception)


def test_pictures_are_of_the_state_that_was_scored(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    changed = dataclasses.replace(scores_of(prepared), step=3)
    write_results(changed, run / "evaluation-test")
    told = refusal(run, "--data", prepared.root)
    assert "was scored at step 3, but best.pt is of step 7" in told
    assert not (run / "report.html").exists()


def test_verdicts_on_other_claims_are_refused(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    empty = {"cases": [], "results": [], "problems": []}
    (tmp_path / "check.json").write_text(json.dumps(empty))
    words = ["--check", tmp_path / "check.json", "--descriptions", run / "descriptions.json"]
    assert "verdicts on other claims" in refusal(run, *words)


def test_a_gain_that_no_case_tells_is_a_dash_and_names_with_dollars_are_names(prepared, tmp_path):
    runs = [make_scored_run(tmp_path / name, prepared) for name in ("a $x_$", "b")]
    small = {organ.name for organ in prepared.spec.organs if organ.size == "small"}
    known = scores_of(prepared)
    cases = {
        case: {
            name: dict.fromkeys(scores, math.nan) if name in small else scores
            for name, scores in organs.items()
        }
        for case, organs in known.cases.items()
    }
    for run in runs:
        write_results(dataclasses.replace(known, cases=cases), run / "evaluation-test")
    ran(*runs, "-o", tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "nan" not in page.texts["summary"].split()
    assert "+nan" not in page.texts["summary"]
    assert "– against the baseline" in page.texts["summary"]
    assert "(a $x_$)" in page.texts["summary"]


def test_prose_escapes_and_marks_code():
    assert prose("a <b> `tak & go` c") == "a &lt;b&gt; <code>tak &amp; go</code> c"


def test_edited_texts_are_marked(tmp_path, prepared):
    run = make_scored_run(tmp_path / "run", prepared)
    bank = Bank.read(run / "bank.h5")
    dataclasses.replace(bank, origin={"edited": ["liver, shape"]}).write(run / "bank.h5")
    ran(run, "-o", tmp_path / "report")
    page = Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert "Edited by hand after the answer: liver, shape." in page.texts["texts"]


def test_the_library_that_draws_surfaces_is_the_noted_one_and_brings_its_license(small_report):
    folder = ROOT / "pipeline" / "report" / "templates" / "vendor"
    content = (folder / "twgl.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() in (folder / "README.md").read_text()
    license_text = (folder / "twgl-LICENSE.md").read_text().strip()
    assert license_text in content.decode()
    assert license_text in (small_report[0] / "report.html").read_text(encoding="utf-8")
