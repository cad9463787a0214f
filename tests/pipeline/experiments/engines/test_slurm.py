"""Trainings as jobs: each cell once, killed and preempted jobs continued, the table unchanged."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from pipeline.experiments.engines.jobs import JobRunner, read_options
from pipeline.experiments.engines.run_study import Pool, Runner
from pipeline.experiments.engines.slurm import DEFAULTS, OPTIONS, SlurmCluster, slurm_executor
from pipeline.experiments.planning import plan
from pipeline.experiments.store import Store
from pipeline.experiments.study import Study
from tests.support import fake_slurm
from tests.support.paths import ROOT
from tests.support.processes import wait_until
from tests.support.study_runs import Recorder, table
from tests.support.tiny_study import TINY_FIXED, write_study

submitit = pytest.importorskip("submitit", reason="needs the extra slurm")
linux = pytest.mark.skipif(sys.platform != "linux", reason="kills process groups")
LONG = TINY_FIXED.replace('"training.steps" = 6', '"training.steps" = 24')
HEAD = 'title = "Tiny"\nseeds = [0, 1]\n'


def opened(folder):
    store = Store(folder / "store")
    store.create()
    return plan(Study.read(folder / "tiny.toml"), store), store


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The table of the study, run on this machine."""
    folder = tmp_path_factory.mktemp("plain")
    write_study(folder, HEAD, fixed=LONG)
    planned, store = opened(folder)
    assert not Runner(planned, store, Pool(2), Recorder()).run().failed
    return table(folder, planned, store)


def follow(runner):
    """Run jobs in a thread; gives the thread and the place of the result."""
    results = []
    runner.poll_seconds = 0.2
    thread = threading.Thread(target=lambda: results.append(runner.run()))
    thread.start()
    return thread, results


def finished(folder, thread, results, undisturbed):
    thread.join(timeout=300)
    (result,) = results
    assert (result.failed, result.interrupted) == ({}, False)
    planned, store = opened(folder)
    assert planned.pending() == []
    assert table(folder, planned, store) == undisturbed


@pytest.mark.slow
@linux
def test_a_preempted_job_saves_is_requeued_and_ends_with_the_same_table(
    tmp_path, monkeypatch, undisturbed
):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    write_study(tmp_path, HEAD, fixed=LONG)
    planned, store = opened(tmp_path)
    executor = submitit.LocalExecutor(tmp_path / "jobs")
    executor.update_parameters(timeout_min=60)
    jobs, submit = [], executor.submit

    def noted(call):
        jobs.append((submit(call), call))
        return jobs[-1][0]

    monkeypatch.setattr(executor, "submit", noted)
    cluster = SlurmCluster(executor)
    thread, results = follow(JobRunner(planned, store, cluster, Recorder(), Pool(1), Pool(1)))
    wait_until(lambda: list(store.root.glob("train/*/run/last.pt")))
    (saved, *_) = store.root.glob("train/*/run/last.pt")
    job = next(job for job, call in jobs if saved.parents[1].name in call.wanted)
    _, task, *_ = _descendants(job.job_id)  # the controller of a local job passes no signal on
    os.kill(int(task), signal.SIGUSR2)
    finished(tmp_path, thread, results, undisturbed)
    logs = [path.read_text() for path in store.root.glob("train/*/log.txt")]
    assert sum("--resume" in log for log in logs) == 1


@pytest.mark.slow
@linux
def test_a_job_that_dies_is_submitted_again_and_every_cell_is_computed_once(
    tmp_path, monkeypatch, undisturbed
):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    slurm = tmp_path / "slurm"
    monkeypatch.setenv("PATH", f"{fake_slurm.install(slurm)}:{os.environ['PATH']}")
    monkeypatch.setattr(submitit.SlurmJob.watcher, "_delay_s", 0.2)
    write_study(tmp_path, HEAD, fixed=LONG)
    planned, store = opened(tmp_path)
    options = DEFAULTS | read_options(["partition=gpu", "mem=8GB"], OPTIONS, "SLURM jobs")
    executor = slurm_executor(tmp_path / "jobs", options)
    cluster = SlurmCluster(executor)
    thread, results = follow(JobRunner(planned, store, cluster, Recorder(), Pool(1), Pool(1)))
    wait_until(lambda: list(store.root.glob("train/*/run/last.pt")))
    (saved, *_) = store.root.glob("train/*/run/last.pt")
    groups = [s.key for s in planned.pending("train")]
    number = groups.index(saved.parents[1].name)
    for pid in _descendants(fake_slurm.jobs(slurm)[f"1_{number}"]):
        os.kill(int(pid), signal.SIGKILL)
    finished(tmp_path, thread, results, undisturbed)
    submitted = (slurm / "submitted").read_text()
    assert "#SBATCH --array=0-1%2" in submitted
    assert "#SBATCH --partition=gpu" in submitted
    assert "#SBATCH --requeue" in submitted
    trainings = [path.read_text() for path in store.root.glob("train/*/log.txt")]
    assert sorted(log.count("$ tak train") for log in trainings) == [1, 2]
    assert sum("--resume" in log for log in trainings) == 1


def _descendants(pid):
    """A process and everything that it started, by parent."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return [str(pid), *(each for child in children.split() for each in _descendants(child))]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("partiton=gpu", "no option of SLURM jobs 'partiton'.*partition"),
        ("time=long", "--job time=long: expected a whole number"),
        ("mem=", "--job mem=: write mem=VALUE"),
    ],
)
def test_an_option_that_cannot_be_is_refused(word, message):
    with pytest.raises((LookupError, ValueError), match=message):
        read_options([word], OPTIONS, "SLURM jobs")


def test_without_slurm_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match=r"--on slurm: .*run it where `sbatch` is"):
        slurm_executor(tmp_path / "jobs", {})
