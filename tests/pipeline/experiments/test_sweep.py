"""`tak sweep`: every variant with every seed, resumed, and a table that adds up."""

import csv
import json
import math
import statistics
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config.recipe_files import read_config
from pipeline.experiments.sweep import SweepSetup, cells_of, heading_of, read_variants
from pipeline.files import shipped
from segmentation.data.descriptor import DatasetSpec
from segmentation.training.trainer import Trainer
from tests.support.small_run import SMALL

VARIANTS = """
[plain]
[cps]
method.name = "cps"
training = {steps = 3, patch = [8, 16, 16]}
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "variants.toml").write_text(VARIANTS)
    return tmp_path


def swept(files, prepared, *words, variants="variants.toml"):
    out = files / "runs"
    recipe = ["--recipe", str(SMALL), "--variants", str(files / variants)]
    return CliRunner().invoke(app, ["sweep", str(prepared.root), *recipe, "-o", str(out), *words])


def table(files):
    lines = (files / "runs/sweep.csv").read_text().splitlines()
    return {row["variant"]: row for row in csv.DictReader(lines)}


def test_a_variant_is_a_piece_of_a_recipe(files):
    variants = read_variants(files / "variants.toml")
    cells = cells_of(SMALL, variants, [0, 7], files / "runs", ["training.rate=0.5"])
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


@pytest.mark.parametrize("fault", [RuntimeError("a kernel failed"), OSError("no space left")])
def test_whatever_ends_one_run_the_others_go_on(files, prepared, monkeypatch, fault):
    learn = Trainer._learn

    def fails_with_seed_0(self, batch):
        if self.config["run"]["seed"] == 0:
            raise fault
        return learn(self, batch)

    monkeypatch.setattr(Trainer, "_learn", fails_with_seed_0)
    (files / "plain.toml").write_text("[plain]\n")
    done = swept(files, prepared, "--seeds", "0", "1", variants="plain.toml")
    assert done.exit_code == 1
    assert f"plain, seed 0: {type(fault).__name__}: {fault}" in done.output
    assert table(files)["plain"]["seeds"] == "1"


def test_an_evaluation_from_the_middle_of_a_run_does_not_get_into_the_table(files, prepared):
    (files / "plain.toml").write_text("[plain]\n")
    assert swept(files, prepared, variants="plain.toml").exit_code == 0
    whole = (files / "runs/sweep.csv").read_text()
    path = files / "runs/plain/seed-0/evaluation-test.json"
    early = json.loads(path.read_text())
    early["step"] -= 1
    for organs in early["cases"].values():
        organs["liver"]["dice"] = 1.0
    path.write_text(json.dumps(early))
    assert swept(files, prepared, variants="plain.toml").exit_code == 0
    assert (files / "runs/sweep.csv").read_text() == whole


def test_a_log_that_was_cut_off_does_not_keep_the_table_from_being_written(files, prepared):
    (files / "plain.toml").write_text("[plain]\n")
    assert swept(files, prepared, variants="plain.toml").exit_code == 0
    with (files / "runs/plain/seed-0/log.jsonl").open("a") as log:
        log.write('{"step": 3, "lo')
    (files / "runs/plain/seed-0/last.pt").write_bytes(b"cut off")
    done = swept(files, prepared, variants="plain.toml")
    assert "not a readable checkpoint" in done.output
    assert table(files)["plain"]["minutes"]


def test_a_heading_does_not_give_a_protocol_s_name_to_other_data(prepared):
    pinned = shipped.find("data", "amos")
    spec = DatasetSpec.read(pinned)
    own = replace(prepared, spec=spec)
    heading = heading_of(SweepSetup(own, None, torch.device("cpu"), "test"))
    assert "protocol amos-ga, own split, split own-" in heading


def test_without_validation_cases_nothing_is_trained(files, prepared):
    split = prepared.split.model_copy(update={"validation": ()})
    bench = SweepSetup(replace(prepared, split=split), None, torch.device("cpu"), "test")
    with pytest.raises(ValueError, match="no validation case; a sweep chooses checkpoints"):
        bench.check(cells_of(SMALL, {"run": []}, [0], files / "runs"))


def test_runs_of_another_configuration_are_found_before_the_first_run(files, prepared):
    folder = files / "runs/plain/seed-1"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("seed = 1\n")
    done = swept(files, prepared, "--seeds", "0", "1")
    assert "holds a run of another configuration" in str(done.exception)
    assert not (files / "runs/plain/seed-0").exists()


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("[a]\nmethod.name = 'cqs'", [], "variant a: .*no 'cqs' in segmentation.methods"),
        ("[a]\ntraining.stepps = 3", [], r"variant a: .*training\.stepps"),
        ("[a]\nhead.name = 'text'", [], "variant a: this recipe reads text: give --bank"),
        ("[a]\ninference.predictor = 'tutor'", [], "variant a: no predictor 'tutor'"),
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
