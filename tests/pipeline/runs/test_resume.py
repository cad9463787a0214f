"""A run that is stopped, fails or is started again: what it leaves, and that it goes on exactly."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from knowledge.bank.bank import Bank
from segmentation.training.checkpoint import load
from tests.support.command_line import changed, tak, tak_here

# A script that is run in the background ignores SIGINT, and so would all that it starts.
WAITING = """
import signal
import sys

signal.signal(signal.SIGINT, signal.default_int_handler)

from pipeline.cli import main
from segmentation.training.trainer import Trainer

learn = Trainer._learn

def learn_and_wait(self, batch):
    terms = learn(self, batch)
    if self.step == 2:
        print("waiting in the third step", flush=True)
        sys.stdin.readline()
    return terms

Trainer._learn = learn_and_wait
main()
"""


def waiting_run(command):
    """`tak`, in a group of processes of its own, when it waits for a line in its third step."""
    started = subprocess.Popen(
        [sys.executable, "-c", WAITING, *map(str, command)], encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    told = next((line for line in started.stdout if "waiting" in line), None)
    assert told, f"the run ended with {started.wait()}"
    return started


def same_weights(one, other):
    states = [load(folder / "last.pt").method for folder in (one, other)]
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize(
    ("number", "workers"),
    [(signal.SIGTERM, 2), pytest.param(signal.SIGINT, 2, marks=pytest.mark.slow)],
)
def test_a_stopped_run_ends_its_step_and_goes_on_to_the_same_weights(
    run, prepared, bank, tmp_path, number, workers
):
    out, changes = tmp_path / "run", changed(f"training.workers={workers}")
    command = ["train", prepared.root, "--recipe", "demo", "--bank", bank, "-o", out, *changes]
    started = waiting_run(command)
    os.killpg(started.pid, number)
    rest, _ = started.communicate("\n", timeout=120)
    assert started.returncode == 128 + number
    assert "--resume` resumes it" in rest
    assert load(out / "last.pt").step == 3
    assert tak_here(*command, "--resume").exit_code == 0
    assert same_weights(run, out)
    sessions = json.loads((out / "run.json").read_text())["sessions"]
    assert [(one["from_step"], one["to_step"]) for one in sessions] == [(0, 3), (3, 6)]
    assert [one["ended"] for one in sessions] == ["stopped by a signal", "finished"]


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_no_other_process_trains_in_the_folder_of_a_run_that_goes_on(run, prepared, bank, tmp_path):
    out = tmp_path / "run"
    command = ["train", prepared.root, "--recipe", "demo", "--bank", bank, "-o", out]
    started = waiting_run([*command, *changed("training.checkpoint_every=6")])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    done = tak_here(*command, *changed("training.rate=0.5"))
    assert "another process trains there now" in str(done.exception)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    os.killpg(started.pid, signal.SIGKILL)
    started.communicate()
    assert tak_here(*command, *changed()).exit_code == 0
    assert same_weights(run, out)
    assert not (out / "run.lock").exists()


def test_a_second_ctrl_c_stops_within_the_step_and_leaves_valid_files(
    run, prepared, bank, tmp_path
):
    out = tmp_path / "run"
    command = ["train", prepared.root, "--recipe", "demo", "--bank", bank, "-o", out, *changed()]
    started = waiting_run(command)
    limit = time.monotonic() + 120
    while started.poll() is None and time.monotonic() < limit:
        os.killpg(started.pid, signal.SIGINT)
        time.sleep(0.3)
    assert started.wait(timeout=5) not in (0, None)
    started.stdout.close()
    started.stdin.close()
    assert load(out / "last.pt").step == 2
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert steps == [0, 1, 2]
    (session,) = json.loads((out / "run.json").read_text())["sessions"]
    assert (session["to_step"], session["ended"]) == (2, "interrupted within a step")
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
    assert tak_here(*command, "--resume").exit_code == 0
    assert same_weights(run, out)


def test_a_run_goes_on_with_its_own_bank_and_with_no_other(run, prepared, bank, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    command = ["train", prepared.root, "--recipe", "demo", "-o", out, *changed(), "--resume"]
    assert tak_here(*command).exit_code == 0
    whole = Bank.read(bank)
    replace(whole, vectors=whole.vectors + 1).write(tmp_path / "other.h5")
    done = tak_here(*command, "--bank", tmp_path / "other.h5")
    assert "was trained with the bank" in str(done.exception)
    assert (out / "bank.h5").read_bytes() == bank.read_bytes()


def test_a_bank_that_an_earlier_start_left_does_not_keep_a_run_without_text_from_going_on(
    prepared, bank, tmp_path
):
    out = tmp_path / "run"
    out.mkdir()
    shutil.copy(bank, out / "bank.h5")
    command = ["train", prepared.root, "--recipe", "demo", "-o", out, *changed()]
    command += ["--set", "head.name=conv", "--set", 'alignment={name="none"}']
    for words in ([], ["--resume"]):
        done = tak_here(*command, *words)
        assert done.exit_code == 0, done.exception


def test_a_run_is_never_overwritten_and_resumes_only_as_it_was_started(run, prepared, bank):
    command = ["train", prepared.root, "--recipe", "demo", "--bank", bank, "-o", run]
    before = (run / "last.pt").read_bytes()
    assert "resume it with --resume" in tak(*command, *changed(), ok=False).stderr
    other = tak(*command, *changed("training.rate=0.5"), "--resume", ok=False)
    assert "in the run, 0.5 given" in other.stderr
    assert (run / "last.pt").read_bytes() == before


def test_a_start_that_failed_can_be_started_again(prepared, bank, tmp_path):
    out = tmp_path / "run"
    command = ["train", prepared.root, "--recipe", "demo", "--bank", bank, "-o", out]
    wrong = tak(*command, *changed("training.rate=1e30", "training.checkpoint_every=6"), ok=False)
    assert "lower training.rate" in wrong.stderr
    assert (out / "config.toml").is_file()
    tak(*command, *changed())
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "loss" in record] == [1, 2, 3, 4, 5, 6]


def test_resume_needs_the_run_alone(run, tmp_path):
    """The recipe, the data and the bank are the run's; a key may be spelled as config.toml does."""
    again = tmp_path / "run"
    shutil.copytree(run, again)
    done = tak("train", "-o", again, "--resume")
    assert "steps are completed" in done.stdout
    assert same_weights(run, again)
    refused = tak("train", "-o", again, "--resume", "--set", "training.rate=0.5", ok=False)
    assert re.search(r"training\.rate is [\d.]+ in the run, 0\.5 given", refused.stderr)
    moved = json.loads((again / "run.json").read_text())
    (again / "run.json").write_text(json.dumps({**moved, "data": str(tmp_path / "gone")}))
    refused = tak("train", "-o", again, "--resume", ok=False)
    assert "which is not there; give the prepared folder" in refused.stderr
    refused = tak("train", "-o", tmp_path / "new", ok=False)
    assert "PREPARED is missing" in refused.stderr
