"""`tak rerun`: a run repeated from its own folder is the same, or the first difference is named."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from knowledge.bank.bank import Bank
from pipeline.runs.reproduction import compare_runs, weights_digest
from segmentation.training.checkpoint import load
from tests.support.command_line import changed, tak_here


@pytest.fixture(scope="module")
def scored(prepared, bank, tmp_path_factory):
    """A finished and scored run."""
    folder = tmp_path_factory.mktemp("original") / "run"
    words = ("--recipe", "demo", "--bank", bank, "-o", folder, "--device", "cpu")
    assert tak_here("train", prepared.root, *words, *changed()).exit_code == 0
    assert tak_here("evaluate", folder, prepared.root, "--device", "cpu").exit_code == 0
    return folder


@pytest.fixture
def run(scored, tmp_path):
    """A copy of the run that a test may change."""
    return shutil.copytree(scored, tmp_path / "run")


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_run_repeated_is_the_same_to_the_last_bit(run):
    done = tak_here("rerun", run)
    assert done.exit_code == 0, done.output
    digest = weights_digest(load(run / "last.pt").method)
    verdict = f"the same: 9 records of the log, weights {digest[:12]}, evaluation-test.json"
    assert verdict in done.output
    again = run.with_name("run-rerun")
    before, now = (json.loads((f / "evaluation-test.json").read_text()) for f in (run, again))
    assert before == now
    # The repetition is there: the second call compares and trains nothing.
    written = (again / "last.pt").stat().st_mtime_ns
    done = tak_here("rerun", run)
    assert verdict in done.output
    assert (again / "last.pt").stat().st_mtime_ns == written


def test_another_seed_differs_from_the_first_step_on_and_is_named(run):
    config = run / "config.toml"
    text = config.read_text()
    seed = next(line for line in text.splitlines() if line.startswith("seed = "))
    config.write_text(text.replace(seed, "seed = 77"))
    done = tak_here("rerun", run)
    assert done.exit_code == 3, done.output
    assert "not the same from step 1 on:" in done.output
    assert "  loss is " in done.output
    assert " weights differ, most " in done.output
    assert "evaluation-test.json: dice: " in done.output
    assert f"seed is 77 in config.toml, {seed[7:]} when it was trained" in done.output


def test_a_difference_that_begins_later_is_found_at_its_step(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    lines = [json.loads(line) for line in (other / "log.jsonl").read_text().splitlines()]
    for record in lines:
        if record["step"] >= 4 and "loss" in record:
            record["loss"] *= 1 + 1e-3 * record["step"]
    (other / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in lines))
    comparison = compare_runs(run, other)
    assert [(each.step, each.key) for each in comparison.first] == [(4, "loss")]
    assert comparison.largest == (pytest.approx(0.006, rel=0.01), 6)
    assert not comparison.same
    assert comparison.weights == {}


def test_other_weights_under_an_equal_log_are_found(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    content = torch.load(other / "last.pt", weights_only=True)
    name = next(name for name, value in content["method"].items() if value.is_floating_point())
    content["method"][name].view(-1)[0] += 0.5
    torch.save(content, other / "last.pt")
    comparison = compare_runs(run, other)
    assert comparison.first == ()
    assert comparison.weights == {name: pytest.approx(0.5)}


def test_conditions_that_were_others_are_shown_beside_a_difference(run):
    edit(run / "run.json", lambda record: record["sessions"][0]["versions"].update(torch="0.9"))
    config = run / "config.toml"
    config.write_text(config.read_text().replace("rate = 0.0", "rate = 0.9", 1))
    done = tak_here("rerun", run)
    assert done.exit_code == 3, done.output
    assert "changed since then: torch 0.9 then, " in done.output
    assert "training.rate is " in done.output


def test_a_changed_bank_is_one_clear_line(run):
    bank = Bank.read(run / "bank.h5")
    replace(bank, vectors=bank.vectors + 1).write(run / "bank.h5")
    done = tak_here("rerun", run)
    assert done.exit_code == 1
    assert f"{run / 'bank.h5'} has changed: its digest is " in str(done.exception)
    (run / "bank.h5").unlink()
    assert "the run's copy of its bank is gone" in str(tak_here("rerun", run).exception)


def test_data_that_moved_or_changed_are_one_clear_line(run, prepared, tmp_path):
    edit(run / "run.json", lambda record: record.update(data=str(tmp_path / "gone")))
    done = tak_here("rerun", run)
    assert f"the run's data were in {tmp_path / 'gone'}: there is no such folder" in str(
        done.exception
    )
    moved = shutil.copytree(prepared.root, tmp_path / "moved")
    assert "the same: " in tak_here("rerun", run, "--data", moved).output
    edit(moved / "dataset.json", lambda facts: facts["split"]["labeled"].pop())
    done = tak_here("rerun", run, "--data", moved, "-o", tmp_path / "x")
    assert f"{moved} has changed: it is " in str(done.exception)


def test_what_cannot_be_repeated_is_refused(run, tmp_path):
    assert "no run there" in str(tak_here("rerun", tmp_path / "nothing").exception)
    assert "is the run itself" in str(tak_here("rerun", run, "-o", run).exception)
    content = torch.load(run / "last.pt", weights_only=True)
    torch.save({**content, "step": 3}, run / "last.pt")
    assert "the run has done 3 of 6 steps; finish it first" in str(tak_here("rerun", run).exception)
    (run / "run.json").write_text('{"data": ')
    torch.save(content, run / "last.pt")
    assert "run.json is not valid JSON" in str(tak_here("rerun", run).exception)
