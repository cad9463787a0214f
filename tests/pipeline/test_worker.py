"""A process that runs commands for a study: it ends with it, and tells a used folder apart."""

import json
import os
import subprocess
import sys

import pytest

from pipeline.experiments.engines.workers import IN_USE, Worker
from pipeline.runs.folder import RunFolder
from tests.support.command_line import changed
from tests.support.paths import ROOT
from tests.support.processes import wait_until

posix = pytest.mark.skipif(os.name != "posix", reason="polls a pipe")


def words_of(prepared, bank, out, *changes):
    return [*map(str, ["train", prepared.root, "--recipe", "demo", "--bank", bank, "-o", out]),
            *changed(*changes)]  # fmt: skip


def test_a_folder_in_which_another_process_trains_is_told_from_a_failure(prepared, bank, tmp_path):
    worker = Worker({})
    try:
        with RunFolder(tmp_path / "run").lock():
            told = worker.run(words_of(prepared, bank, tmp_path / "run"), tmp_path / "log.txt")
        assert told.code == IN_USE
        assert "another process trains there now" in told.error
        assert worker.run(["train", "nowhere", "-o", "x"], tmp_path / "log.txt").code == 1
    finally:
        worker.close()


@posix
@pytest.mark.parametrize("when", ["at once", pytest.param("in training", marks=pytest.mark.slow)])
def test_a_training_ends_when_the_study_that_asked_for_it_is_gone(when, prepared, bank, tmp_path):
    long = ("training.steps=2000", "training.warmup_steps=1999", "training.validate_every=2000")
    words = words_of(prepared, bank, tmp_path / "run", *long)
    worker = subprocess.Popen(
        [sys.executable, "-m", "pipeline.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    request = {"words": words, "log": str(tmp_path / "log.txt")}
    worker.stdin.write(json.dumps(request).encode() + b"\n")
    worker.stdin.flush()
    if when == "in training":
        wait_until((tmp_path / "run" / "last.pt").is_file)
    worker.stdin.close()  # as the system does for a killed process
    worker.wait(timeout=60)
    worker.stdout.close()
    run = RunFolder(tmp_path / "run")
    with run.lock():  # free
        pass
    assert run.last.is_file() or when == "at once"
