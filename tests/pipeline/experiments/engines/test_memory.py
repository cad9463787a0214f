"""Memory of stages: measured before estimated, and never more at once than there is."""

import sys
import threading

import pytest

from pipeline.experiments.engines.memory import (
    Capacity,
    Need,
    Places,
    capacity_of,
    free_mib,
    needs_of,
)
from pipeline.experiments.engines.run_study import Pool, Runner
from pipeline.experiments.engines.workers import Outcome, Worker
from pipeline.experiments.planning import plan
from pipeline.experiments.stages import Stage
from pipeline.experiments.store import Store
from pipeline.experiments.study import Study
from tests.support.study_runs import Recorder
from tests.support.tiny_study import write_study


def stage(number):
    return Stage("encode", {"number": number}, ())


def test_stages_start_only_while_their_memory_fits():
    stages = [stage(i) for i in range(4)]
    needs = {s.key: Need(need) for s, need in zip(stages, (60, 50, 40, 101), strict=True)}
    places = Places([Worker({}) for _ in range(4)], needs, Capacity(100))
    assert places.take(stages[0])
    assert places.take(stages[1]) is None, "60 + 50 are too much"
    assert places.take(stages[2])
    places.give_back(stages[0])
    assert places.take(stages[1])
    assert not places.too_large(stages[1])
    assert "needs 101 MiB of memory (estimated), and 100 MiB" in places.too_large(stages[3])


def test_small_runs_share_a_card_and_large_ones_get_the_one_with_room():
    stages = [stage(i) for i in range(4)]
    needs = {s.key: Need(1, gpu) for s, gpu in zip(stages, (40, 30, 70, 90), strict=True)}
    workers = [Worker({"CUDA_VISIBLE_DEVICES": gpu}) for gpu in ("0", "1", "0", "1")]
    places = Places(workers, needs, Capacity(gpus={"0": 80, "1": 80, "2": 999}))
    on = [places.take(each) for each in stages[:3]]
    assert [each and each.environment["CUDA_VISIBLE_DEVICES"] for each in on] == ["0", "1", None]
    places.give_back(stages[0])
    assert places.take(stages[2]).environment["CUDA_VISIBLE_DEVICES"] == "0"
    assert "needs 90 MiB of a GPU (estimated), and at most 80 MiB" in places.too_large(stages[3])


class Recording:
    """A worker that notes how many run beside it."""

    running, most = 0, 0
    lock = threading.Lock()
    both = threading.Event()

    def __init__(self, environment):
        self.environment = environment

    def run(self, words, log):
        with self.lock:
            Recording.running += 1
            Recording.most = max(Recording.most, Recording.running)
        self.both.wait(0.2)
        with self.lock:
            Recording.running -= 1
        return Outcome(1, "only noted", 0.1)

    def stop(self):
        pass

    close = stop


@pytest.mark.parametrize(("memory", "most"), [(750.0, 1), (1000.0, 2)])
def test_a_runner_keeps_below_its_memory(tmp_path, monkeypatch, memory, most):
    from pipeline.experiments.engines import run_study

    Recording.running = Recording.most = 0
    monkeypatch.setattr(run_study, "Worker", Recording)
    axes = '[axes]\nwording = ["paper", "terse", "detailed"]\n'
    path = write_study(tmp_path, tail=axes)
    store = Store(tmp_path / "store")
    store.create()
    pool = Pool(3, capacity=Capacity(memory))
    result = Runner(plan(Study.read(path), store), store, pool, Recorder()).run()
    assert Recording.most == most, "phantom and descriptions take 700 and 400 MiB each"
    assert set(result.failed.values()) == {"only noted"}


def test_what_cannot_fit_fails_with_its_figure_and_the_rest_runs(tmp_path, monkeypatch):
    from pipeline.experiments.engines import run_study

    monkeypatch.setattr(run_study, "Worker", Recording)
    path = write_study(tmp_path)
    store = Store(tmp_path / "store")
    store.create()
    result = Runner(
        plan(Study.read(path), store), store, Pool(1, capacity=Capacity(500)), Recorder()
    ).run()
    reasons = sorted(result.failed.values())
    assert reasons[1] == "only noted", "descriptions fit"
    assert reasons[0].startswith("needs 700 MiB of memory (estimated), and 500 MiB may be taken")


def test_a_measured_stage_needs_what_it_took(tmp_path):
    path = write_study(tmp_path, 'title = "T"\nseeds = [0, 1]\n')
    store = Store(tmp_path / "store")
    store.create()
    planned = plan(Study.read(path), store)
    first, second = (s for s in planned.stages if s.kind == "train")
    store.product(first).mkdir(parents=True)
    store.finish(first, 1.0, 1234.5, None)
    again = plan(Study.read(path), store)
    assert needs_of(again, store, "cpu")[second.key] == Need(1234.5, 0.0, measured=True)
    assert not needs_of(again, store, "cuda")[second.key].measured, "measured on another device"
    store.finish(first, 1.0, 4000.0, 2000.0)
    on_gpu = needs_of(again, store, "cuda")[second.key]
    assert (on_gpu.host, on_gpu.measured) == (4000.0, True)
    assert on_gpu.gpu > 2000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_free_memory_is_that_of_the_system():
    import os

    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    assert 0 < free_mib() <= total
    assert capacity_of(None, ()).host < free_mib() * 0.95
    assert capacity_of(2, ()) == Capacity(2048)


@pytest.mark.skipif(sys.platform != "linux", reason="resets the peak in /proc")
def test_a_worker_reports_the_peak_of_each_command_alone(tmp_path):
    worker = Worker({})
    try:
        log = tmp_path / "log.txt"
        large = worker.run(["bank", "control", "nothing", "--like", "none.h5"], log)
        small = worker.run(["info", "tak"], log)
    finally:
        worker.close()
    assert large.code == 1
    assert small.code == 0
    assert 20 < small.peak_mib < 5000
    assert small.gpu_mib is None
