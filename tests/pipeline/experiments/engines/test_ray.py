"""Trainings as Ray tasks: a killed node changes neither the cells nor the table."""

import os
import socket
import sys
import threading

import pytest

from pipeline.experiments.engines.clusters import check_engine, open_cluster
from pipeline.experiments.engines.jobs import JobRunner
from pipeline.experiments.engines.ray import connect
from pipeline.experiments.engines.run_study import Pool, Runner
from pipeline.experiments.planning import plan
from pipeline.experiments.store import Store
from pipeline.experiments.study import Study
from tests.support.paths import ROOT
from tests.support.processes import wait_until
from tests.support.study_runs import Recorder, table
from tests.support.tiny_study import TINY_FIXED, write_study

LONG = TINY_FIXED.replace('"training.steps" = 6', '"training.steps" = 24')
HEAD = 'title = "Tiny"\nseeds = [0, 1]\n'
GIB = 2**30


@pytest.fixture
def cluster(monkeypatch):
    """A Ray cluster of processes of this machine: a head without CPUs, and two nodes with one."""
    pytest.importorskip("ray", reason="needs the extra ray")
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    head = {"num_cpus": 0, **small}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.workers = [cluster.add_node(num_cpus=1, memory=6 * GIB, **small) for _ in range(2)]
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def opened(folder):
    store = Store(folder / "store")
    store.create()
    return plan(Study.read(folder / "tiny.toml"), store), store


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(sys.platform != "linux", reason="kills processes")
def test_a_node_that_dies_costs_no_cell_and_the_table_is_that_of_the_undisturbed_study(
    tmp_path, cluster
):
    plain, disturbed = tmp_path / "plain", tmp_path / "ray"
    for folder in (plain, disturbed):
        folder.mkdir()
        write_study(folder, HEAD, fixed=LONG)
    planned, store = opened(plain)
    assert not Runner(planned, store, Pool(2), Recorder()).run().failed
    undisturbed = table(plain, planned, store)

    planned, store = opened(disturbed)
    on, of_job = open_cluster(f"ray:{cluster.address}", [], planned, store, Pool(1))
    runner = JobRunner(planned, store, on, Recorder(), Pool(1), of_job)
    runner.poll_seconds = 0.2
    results = []
    thread = threading.Thread(target=lambda: results.append(runner.run()))
    thread.start()
    wait_until(lambda: len(list(store.root.glob("train/*/run/last.pt"))) == 2, seconds=240)
    assert not list(store.root.glob("train/*/stage.json"))  # both are in the middle
    cluster.remove_node(cluster.workers[0], allow_graceful=False)
    thread.join(timeout=400)
    (result,) = results
    assert (result.failed, result.interrupted) == ({}, False)
    planned, store = opened(disturbed)
    assert planned.pending() == []
    assert table(disturbed, planned, store) == undisturbed
    logs = [path.read_text() for path in store.root.glob("train/*/log.txt")]
    assert sorted(log.count("$ tak train") for log in logs) == [1, 2]
    assert sum("--resume" in log for log in logs) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_task_that_fits_on_no_node_is_refused_with_what_there_is(tmp_path, cluster):
    write_study(tmp_path, HEAD, fixed=LONG)
    planned, store = opened(tmp_path)
    words = ["memory_gib=900", "cpus=2"]
    on, of_job = open_cluster(f"ray:{cluster.address}", words, planned, store, Pool(1))
    assert of_job.threads == 2
    runner = JobRunner(planned, store, on, Recorder(), Pool(1), of_job)
    with pytest.raises(ValueError, match=r"no node has 2 CPUs, 0 GPUs and 900\.0 GiB; the most"):
        runner._submit([planned.pending("train")[:1]])


def test_a_dead_address_is_one_line():
    pytest.importorskip("ray", reason="needs the extra ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(OSError, match=f"--on ray:{address}: no Ray cluster answers there"):
            connect(address)
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        connect("nowhere")


@pytest.mark.parametrize("engine", ["rey", "here:1", "slurm:1"])
def test_an_engine_that_does_not_exist_is_refused(engine):
    with pytest.raises(LookupError, match=rf"no engine '{engine}'.*ray:ADDRESS"):
        check_engine(engine)


def test_an_option_of_another_engine_is_refused(tmp_path):
    with pytest.raises(LookupError, match=r"no option of Ray tasks 'partition'.*memory_gib"):
        open_cluster("ray", ["partition=gpu"], None, None, Pool(1))
