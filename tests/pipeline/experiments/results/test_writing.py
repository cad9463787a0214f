"""Results of a study never replace those of another, and its table reads at 80 columns."""

import json
import shutil

import pytest

from pipeline.experiments.planning import plan
from pipeline.experiments.results.analysis import Run, summarize
from pipeline.experiments.results.study_results import ScoreTable, StudyResults
from pipeline.experiments.results.tables import show_study
from pipeline.experiments.results.writing import notes, require_same_study, write_results
from pipeline.experiments.store import Store
from pipeline.experiments.study import Study
from pipeline.files import shipped

TEXT = """
title = "{title}"
until = "bank"
[data]
descriptor = "phantom"
[fixed]
encoder = "hashing:64"
[axes]
wording = {wordings}
"""
NOTHING = StudyResults(banks=[], scores=None, missing={})


def study(folder, title="Wordings", wordings='["paper", "terse"]'):
    folder.mkdir(exist_ok=True)
    path = folder / "study.toml"
    path.write_text(TEXT.format(title=title, wordings=wordings), encoding="utf-8")
    return Study.read(path)


def write(chosen, out, results=NOTHING):
    store = Store(out.parent / "store")
    write_results(results, plan(chosen, store), store, out)


def test_results_of_another_file_of_the_same_name_are_not_replaced(tmp_path):
    out = tmp_path / "study"
    write(study(tmp_path / "a"), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(FileExistsError, match=r"another study, \.\./a/study.toml; give another"):
        write(study(tmp_path / "b"), out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    write(study(tmp_path / "a", wordings='["paper"]'), out)  # the same file, edited
    assert (out / "study.json").read_bytes() != before["study.json"]


def test_the_file_is_noted_without_a_path_of_this_machine_and_may_move_with_its_results(tmp_path):
    first = tmp_path / "first"
    write(study(first), first / "out")
    text = (first / "out" / "study.json").read_text(encoding="utf-8")
    assert json.loads(text)["file"] == "../study.toml"
    assert str(tmp_path) not in text
    shutil.move(first, tmp_path / "second")
    require_same_study(Study.read(tmp_path / "second" / "study.toml"), tmp_path / "second" / "out")


def test_a_shipped_study_is_noted_by_name(tmp_path):
    write(Study.read(shipped.find("studies", "text-controls"), tmp_path), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "study.json").read_text())["file"] == (
        "shipped: text-controls"
    )


@pytest.mark.parametrize(("title", "same"), [("Wordings", True), ("Others", False)])
def test_results_of_earlier_versions_are_known_by_digest_or_title(tmp_path, title, same):
    out = tmp_path / "study"
    write(study(tmp_path / "a", title), out)
    content = json.loads((out / "study.json").read_text())
    del content["file"]
    (out / "study.json").write_text(json.dumps(content))
    if same:
        write(study(tmp_path / "b"), out)
    else:
        with pytest.raises(FileExistsError, match="another study, Others"):
            write(study(tmp_path / "b"), out)


def test_the_table_of_scores_reads_at_80_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    arms = ["magicnet, detailed, gpt-4o-mini-2024-07-18, openclip:ViT-B-32@openai", "random"]
    runs = [
        Run(arm, (0, seed), {}, {"case": {"liver": 0.9 + seed / 50, "spleen": 0.02 + place}})
        for place, arm in enumerate(arms)
        for seed in range(3)
    ]
    rows = {"all": ("liver", "spleen"), "small": ("spleen",), "liver": ("liver",)}
    scores = ScoreTable(
        arms=summarize(runs, rows, arms[1], 0.01), runs=runs, rows=rows, components={},
        metric="dice", protocol="toy", factor=100.0,
    )  # fmt: skip
    results = StudyResults(banks=[], scores=scores, missing={})
    chosen = study(tmp_path / "a")
    show_study(results, plan(chosen, Store(tmp_path / "store")), Store(tmp_path / "store"))
    lines = capsys.readouterr().out.splitlines()
    end = next(place for place, line in enumerate(lines) if line.startswith("dice in percent"))
    assert max(map(len, lines[:end])) <= 80
    assert "…" not in "".join(lines[:end])
    first_column = "".join(line[:18].strip() for line in lines[:end])
    assert "openclip:ViT-B-32@openai" in first_column


def test_missing_cells_of_an_arm_share_a_line(tmp_path):
    text = TEXT.replace("[data]", "seeds = [0, 1, 2]\n[data]").replace('until = "bank"\n', "")
    text = text.replace('descriptor = "phantom"', "phantom = {{labeled = 2}}")
    text += '[[arms]]\nname = "a"\n[[arms]]\nname = "b"\n'
    path = tmp_path / "study.toml"
    path.write_text(text.format(title="T", wordings='["paper"]'), encoding="utf-8")
    chosen, store = Study.read(path), Store(tmp_path / "store")
    names = [cell.name for cell in chosen.cells]
    assert len(names) == 6
    missing = dict.fromkeys(names[1:], "not run yet") | {names[1]: "train 0a: broken"}
    planned = plan(chosen, store)
    told = notes(StudyResults([], None, missing), planned, store)
    arms = [cell.arm for cell in chosen.cells]
    assert told == [
        f"Missing: {names[1]}: train 0a: broken.",
        f"Missing: {names[2]}: not run yet.",
        f"Missing: {arms[3]}: 3 of 3 runs: not run yet.",
    ]
