"""Files of version 0.1 as studies: the same cells, with paths that still lead to their files."""

import tomllib

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config.recipe_files import read_config
from pipeline.experiments.cell_stages import stages_of
from pipeline.experiments.convert import convert
from pipeline.experiments.recipe_changes import as_words, recipe_changes
from pipeline.experiments.study import Study
from tests.support.small_run import SMALL

MATRIX = """
organs = "hand.toml"
templates = ["terse", "mine.toml", "class-name"]
encoder = "hashing:16"
samples = 2
attempts = 4
max_cost = 2.5
scans = "masks"
prices = "prices.toml"
[[models]]
name = "live"
model = "gpt"
base_url = "http://127.0.0.1:9/v1"
headers = {api-key = "env:KEY"}
query = {api-version = "1"}
seed = 3
[[models]]
name = "shipped"
provider = "recorded"
"""
VARIANTS = """
[plain]
[cps]
method.name = "cps"
training = {steps = 3, patch = [8, 16, 16]}
"""


def test_a_matrix_becomes_a_study_of_texts(tmp_path, monkeypatch):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (new / "answers").mkdir(parents=True)
    (new / "answers" / "mine.json").write_text("{}")
    monkeypatch.setenv("TAK_DATA", str(new))
    (old / "masks").mkdir()
    (old / "matrix.toml").write_text(MATRIX)
    (old / "hand.toml").write_text('organs = ["lunate", "scaphoid"]')
    (old / "mine.toml").write_text('title = "m"\n[aspects]\nplace = "Where is {organ}?"\n')
    (old / "prices.toml").write_text("")
    (new / "study.toml").write_text(convert(old / "matrix.toml", new / "study.toml"))
    study = Study.read(new / "study.toml")
    assert study.arms == tuple(
        f"{model}, {wording}"
        for model in ("live", "shipped")
        for wording in ("terse", "mine", "class-name")
    )
    assert study.file.limits.max_cost == 2.5
    stages = [stages_of(study, cell) for cell in study.cells]
    live, mine, literal = (each.describe.words for each in stages[:3])
    assert live[1] == str(old / "hand.toml")
    asked = " ".join(live)
    for option in (
        "--provider openai_compatible", "--model gpt", "--samples 2", "--attempts 4", "--seed 3",
        "--header api-key=env:KEY", "--query api-version=1", f"--prices {old / 'prices.toml'}",
    ):  # fmt: skip
        assert option in asked
    assert str(old / "mine.toml") in mine
    assert "--provider" not in literal
    assert stages[2].describe.key == stages[5].describe.key, "a literal wording asks no model"
    check = " ".join(stages[0].check.words)
    assert f"--scans {old / 'masks'} --descriptor {old / 'hand.toml'}" in check
    assert {stage.kind for each in stages for stage in each.all()} == {
        "describe", "encode", "check",
    }  # fmt: skip


def test_variants_become_arms_with_the_configurations_that_a_sweep_trained(tmp_path):
    (tmp_path / "variants.toml").write_text(VARIANTS)
    target = tmp_path / "study.toml"
    target.write_text(convert(tmp_path / "variants.toml", target))
    study = Study.read(target)
    assert study.arms == ("plain", "cps")
    changes = as_words(recipe_changes(study.cells[1].settings))
    config = read_config(SMALL, changes)
    assert (config.method.name, config.training.steps) == ("cps", 3)
    assert config.training.patch == (8, 16, 16)
    with pytest.raises(FileNotFoundError, match="there is no folder prepared"):
        stages_of(study, study.cells[0])


def test_the_command_writes_the_study_and_says_what_to_fill_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "variants.toml").write_text(VARIANTS)
    done = CliRunner().invoke(app, ["study", "variants.toml", "--convert", "-o", "study.toml"])
    assert done.exit_code == 0, done.exception
    assert "Set data.root, fixed.recipe, fixed.bank and seeds" in done.output
    assert tomllib.loads((tmp_path / "study.toml").read_text())["fixed"]["recipe"] == "tak"
    again = CliRunner().invoke(app, ["study", "study.toml", "--convert", "-o", "again.toml"])
    assert "study.toml is already a study" in str(again.exception)
    over = CliRunner().invoke(app, ["study", "variants.toml", "--convert", "-o", "variants.toml"])
    assert "would replace a file that it is computed from" in str(over.exception)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 3", "a = 3 is not a table of changes"),
        ("", "names no variant"),
        ("[a]\nseed = 3", r"a\.seed: no such axis of a study.*a seed goes to seeds"),
        ("a = ", "not valid TOML"),
        ('templates = ["paper"]\nmodels = []\norgan = "x"', "unknown key 'organ'"),
    ],
)
def test_a_file_that_is_neither_is_refused(tmp_path, text, message):
    (tmp_path / "odd.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "odd.toml", tmp_path / "study.toml")
