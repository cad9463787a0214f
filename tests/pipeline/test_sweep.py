"""`tak sweep`: every variant with every seed, resumed, and a table that adds up."""

import csv
import json
import math
import statistics

import pytest
from typer.testing import CliRunner

from pipeline import shipped
from pipeline.cli import app
from pipeline.config import read_config
from pipeline.sweep import cells_of, read_variants

RECIPE = """
title = "tiny"
method = {name = "supervised"}
loss = {name = "dice_ce"}
[network]
width = 4
levels = 3
[training]
steps = 2
patch = [16, 16, 16]
labeled_per_step = 1
unlabeled_per_step = 1
[inference]
overlap = 0.0
"""
VARIANTS = """
[plain]
[cps]
method.name = "cps"
training = {steps = 3, patch = [8, 16, 16]}
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "variants.toml").write_text(VARIANTS)
    return tmp_path


def swept(files, prepared, *words, variants="variants.toml"):
    out = files / "runs"
    recipe = ["--recipe", str(files / "tiny.toml"), "--variants", str(files / variants)]
    return CliRunner().invoke(app, ["sweep", str(prepared.root), *recipe, "-o", str(out), *words])


def table(files):
    lines = (files / "runs/sweep.csv").read_text().splitlines()
    return {row["variant"]: row for row in csv.DictReader(lines)}


def test_a_variant_is_a_piece_of_a_recipe(files):
    variants = read_variants(files / "variants.toml")
    cells = cells_of(files / "tiny.toml", variants, [0, 7], files / "runs", ["training.rate=0.5"])
    assert [(cell.variant, cell.seed) for cell in cells] == [
        ("plain", 0),
        ("plain", 7),
        ("cps", 0),
        ("cps", 7),
    ]
    config = cells[-1].config
    assert (config.seed, config.method.name, config.training.steps) == (7, "cps", 3)
    assert (config.training.patch, config.training.rate) == ((8, 16, 16), 0.5)
    assert cells[0].config.training.steps == 2


def test_the_table_is_mean_and_deviation_over_seeds_and_a_second_call_does_nothing(files, prepared):
    first = swept(files, prepared, "--seeds", "0", "1")
    assert first.exit_code == 0, first.output
    rows = table(files)
    assert list(rows) == ["plain", "cps"]
    for name, row in rows.items():
        means = []
        for seed in (0, 1):
            content = (files / f"runs/{name}/seed-{seed}/evaluation-test.json").read_text()
            means.append(json.loads(content)["means"]["all"]["dice"]["mean"])
        assert float(row["dice_all"]) == pytest.approx(statistics.mean(means), abs=1e-6)
        assert float(row["dice_all_deviation"]) == pytest.approx(statistics.stdev(means), abs=1e-6)
        assert row["seeds"] == "2"
        assert not math.isnan(float(row["dice_untrained"]))
    assert "| plain | " in (files / "runs/sweep.md").read_text()
    checkpoint = files / "runs/cps/seed-1/last.pt"
    before = checkpoint.stat().st_mtime_ns, (files / "runs/sweep.csv").read_text()
    assert swept(files, prepared, "--seeds", "0", "1").exit_code == 0
    assert before == (checkpoint.stat().st_mtime_ns, (files / "runs/sweep.csv").read_text())


def test_a_run_that_fails_is_named_and_the_others_go_on(files, prepared):
    (files / "odd.toml").write_text("[mad]\ntraining.rate = 1e30\n[plain]\n")
    done = swept(files, prepared, variants="odd.toml")
    assert done.exit_code == 1
    assert "mad, seed 0: step" in done.output
    rows = table(files)
    assert rows["mad"]["seeds"] == "0"
    assert rows["mad"]["dice_all"] == ""
    assert rows["plain"]["seeds"] == "1"


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("[a]\nmethod.name = 'cqs'", [], "variant a: no 'cqs' in segmentation.methods"),
        ("[a]\ntraining.stepps = 3", [], r"variant a: .*training\.stepps"),
        ("[a]\nhead.name = 'text'", [], "variant a: this recipe reads text: give --bank"),
        ("[a]", ["--bank", "bank.h5"], "no variant has a text head"),
        ("[a]", ["--seeds", "1", "1"], "a seed is given twice"),
        ("a = 3", [], "a = 3 is not a table of changes"),
        ("[a]", ["--part", "train"], "no part 'train' to score"),
    ],
)
def test_what_cannot_be_is_said_before_the_first_run(files, prepared, text, words, message):
    (files / "odd.toml").write_text(text)
    done = swept(files, prepared, *words, variants="odd.toml")
    with pytest.raises((ValueError, LookupError), match=message):
        raise done.exception
    assert not (files / "runs").exists()


@pytest.mark.parametrize("name", shipped.names("variants"))
def test_shipped_variants_are_pieces_of_the_recipe_of_their_name(name):
    recipe = shipped.find("recipes", name)
    variants = read_variants(shipped.find("variants", name))
    for changes in variants.values():
        read_config(recipe, changes)
