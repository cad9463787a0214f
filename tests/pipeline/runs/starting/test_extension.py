"""`tak train --extend`: further steps of a run, as if it had been resumed with the new total."""

import json
import shutil

import pytest
import torch

from pipeline.runs.folder import RunFolder
from pipeline.runs.starting.extension import extend
from segmentation.training.checkpoint import load
from segmentation.training.options import poly_rate
from tests.support.command_line import changed, tak
from tests.support.paths import ROOT

BANK = ROOT / "tests" / "support" / "saved" / "bank.h5"


@pytest.fixture(scope="module")
def finished(prepared, tmp_path_factory):
    """A run of 6 steps whose bank has the organs of the phantom."""
    folder = tmp_path_factory.mktemp("extension")
    tak("describe", "phantom", "-o", folder / "texts.json", "--template", "class-name")
    tak("encode", folder / "texts.json", "--encoder", "hashing:16", "-o", folder / "bank.h5")
    tak("train", prepared.root, "--recipe", "demo", "--bank", folder / "bank.h5",
        *changed(), "-o", folder / "run", "--device", "cpu")  # fmt: skip
    return folder / "run"


def test_an_extended_run_goes_on_with_rates_and_ramps_of_the_new_total(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    tak("train", "-o", run, "--extend", 4, "--device", "cpu")
    state = load(run / "last.pt")
    assert state.step == 10
    assert state.config["run"]["training"]["steps"] == 10
    record = json.loads((run / "run.json").read_text())
    assert record["extensions"] == [{"at_step": 6, "from": 6, "to": 10}]
    assert [each["to_step"] for each in record["sessions"]] == [6, 10]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["rate"] for line in lines if "rate" in line}
    assert sorted(rates) == list(range(1, 11))
    initial = state.config["run"]["training"]["rate"]
    assert rates[6] == pytest.approx(poly_rate(initial, 5, 6))
    assert rates[7] == pytest.approx(poly_rate(initial, 6, 10))
    assert "validation" in lines[-1]


def test_an_interrupted_extension_resumes_to_the_same_weights(finished, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        shutil.copytree(finished, folder)
    tak("train", "-o", whole, "--extend", 6, "--device", "cpu")
    extend(parts, 6)  # and killed before the first step
    assert RunFolder(parts).read_config().training.steps == 12
    extend(parts, 6)  # again: the checkpoint still has the old total
    assert RunFolder(parts).read_config().training.steps == 12
    tak("train", "-o", parts, "--resume", "--device", "cpu")
    one, other = load(whole / "last.pt").method, load(parts / "last.pt").method
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert len(json.loads((parts / "run.json").read_text())["extensions"]) == 1


def test_what_cannot_be_extended_is_one_line(finished, tmp_path):
    def fault(*words):
        return tak("train", *words, ok=False).stderr

    assert "no run to resume there" in fault("-o", tmp_path / "nowhere", "--extend", 4)
    assert "expected at least 1 step" in fault("-o", finished, "--extend", 0)
    assert "--extend cannot be combined with --recipe" in fault(
        "-o", finished, "--extend", 4, "--recipe", "demo"
    )
    run = shutil.copytree(finished, tmp_path / "run")
    tak("train", "-o", run, "--extend", 1, "--device", "cpu")
    assert "the run was extended" in tak("rerun", run, ok=False).stderr
