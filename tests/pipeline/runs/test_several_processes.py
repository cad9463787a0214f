"""A run that several processes train together, as `torchrun` starts them."""

import json
import signal
import subprocess

import pytest
import torch

from pipeline.runs.folder import RunFolder
from segmentation.training.checkpoint import load
from tests.support.command_line import changed, tak
from tests.support.processes import wait_until
from tests.support.ranks import run_ranks, start_ranks

pytestmark = pytest.mark.slow  # the start of every pair of processes takes seconds


def words_of(prepared, bank, out, *changes):
    return ["train", prepared.root, "--recipe", "demo", "--bank", bank, "-o", out,
            *changed(*changes)]  # fmt: skip


def assert_same_state(folder, expected, tolerance=1e-5):
    """Equal up to the rounding of sums in another order, which decides ties of pseudo-labels."""
    one, other = load(RunFolder(folder).last), load(RunFolder(expected).last)
    assert one.step == other.step
    for key, value in other.method.items():
        if key == "pending_counts":  # of pseudo-labels
            ties = (one.method[key] - value).abs().sum() / value.sum().clamp(min=1)
            assert ties < 1e-3
        else:
            torch.testing.assert_close(
                one.method[key], value, rtol=tolerance, atol=tolerance, msg=key
            )


def test_two_processes_reach_the_weights_and_scores_of_one(run, prepared, bank, tmp_path):
    out = tmp_path / "run"
    run_ranks(["pipeline", *words_of(prepared, bank, out)])
    assert_same_state(out, run)
    assert load(RunFolder(out).last).best == load(RunFolder(run).last).best
    logs = [
        [json.loads(line) for line in RunFolder(folder).log.read_text().splitlines()]
        for folder in (out, run)
    ]
    assert [record["step"] for record in logs[0]] == [record["step"] for record in logs[1]]
    assert logs[0][-1]["predicted_voxels"] == logs[1][-1]["predicted_voxels"]
    (session,) = json.loads(RunFolder(out).provenance.read_text())["sessions"]
    assert (session["processes"], session["ended"]) == (2, "finished")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_with_a_line_and_one_process_can_resume(
    prepared, bank, tmp_path, victim
):
    out = tmp_path / "run"
    changes = (
        "training.steps=60", "training.warmup_steps=55", "training.checkpoint_every=1000",
        "training.validate_every=1000",
        "training.rate=1e-4",  # higher ones amplify rounding within so many steps
    )  # fmt: skip
    started = start_ranks(
        ["pipeline", *words_of(prepared, bank, out, *changes)], stderr=subprocess.PIPE, text=True
    )
    log = RunFolder(out).log
    wait_until(lambda: log.is_file() and '"step": 5' in log.read_text())
    assert not RunFolder(out).last.exists()
    started[victim].kill()
    survivor = started[1 - victim]
    _, errors = survivor.communicate(timeout=120)
    started[victim].communicate(timeout=120)
    assert survivor.returncode == 1
    assert errors.strip().splitlines()[-1].startswith("error: another process of this training")
    assert "Traceback" not in errors
    step = load(RunFolder(out).last).step
    assert 5 <= step < 60

    tak(*words_of(prepared, bank, out, *changes), "--resume")
    alone = tmp_path / "alone"
    tak(*words_of(prepared, bank, alone, *changes))
    assert_same_state(out, alone, 1e-4)


@pytest.mark.parametrize("asked", [[0, 1], [1]])
def test_a_signal_to_one_or_all_stops_all_after_the_same_step(prepared, bank, tmp_path, asked):
    out = tmp_path / "run"
    changes = (
        "training.steps=60", "training.warmup_steps=55", "training.checkpoint_every=1000",
        "training.validate_every=1000", "training.rate=1e-4",
    )  # fmt: skip
    words = words_of(prepared, bank, out, *changes)
    started = start_ranks(["pipeline", *words], stderr=subprocess.PIPE, text=True)
    log = RunFolder(out).log
    wait_until(lambda: log.is_file() and '"step": 5' in log.read_text())
    for rank in asked:  # torchrun hands SIGTERM on to all
        started[rank].send_signal(signal.SIGTERM)
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 143
        assert "Traceback" not in errors
    assert 5 <= load(RunFolder(out).last).step < 60
    (session,) = json.loads(RunFolder(out).provenance.read_text())["sessions"]
    assert session["ended"] == "stopped by a signal"
    run_ranks(["pipeline", *words, "--resume"])
    assert load(RunFolder(out).last).step == 60


def test_patches_that_cannot_be_shared_are_refused_before_anything_is_written(
    prepared, bank, tmp_path
):
    out = tmp_path / "run"
    words = ["pipeline", *words_of(prepared, bank, out, "training.unlabeled_per_step=3")]
    for process in start_ranks(words, stderr=subprocess.PIPE, text=True):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "training.unlabeled_per_step is 3, which 2 processes cannot share" in errors
    assert not RunFolder(out).config.exists()
