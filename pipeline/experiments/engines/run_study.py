"""A study planned and run: every stage once, on a pool of worker processes."""

import os
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Protocol

from pipeline.experiments.engines.workers import Outcome, Worker
from pipeline.experiments.estimates import spent
from pipeline.experiments.planning import Plan
from pipeline.experiments.stages import KINDS, Stage
from pipeline.experiments.store import Store

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Pool:
    """How stages are spread over this machine.

    Attributes:
        jobs: stages that run at once.
        threads: CPU threads of each.
        gpus: devices, by number; every job gets one, several jobs may share one.
        device: of training and evaluation, as in `tak train --device`.
    """

    jobs: int = 1
    threads: int = 1
    gpus: tuple[str, ...] = ()
    device: str = "auto"

    def environments(self) -> list[dict[str, str]]:
        """The environment variables of every worker."""
        threads = {"OMP_NUM_THREADS": str(self.threads)}
        if not self.gpus:
            return [threads for _ in range(self.jobs)]
        return [
            threads | {"CUDA_VISIBLE_DEVICES": self.gpus[i % len(self.gpus)]}
            for i in range(self.jobs)
        ]


class Observer(Protocol):
    """Follows a run of a study."""

    def started(self, stage: Stage) -> None:
        """A stage begins."""

    def ended(self, stage: Stage, outcome: Outcome) -> None:
        """A stage is done, failed or was interrupted."""

    def reused(self, stage: Stage) -> None:
        """Another process made the stage meanwhile."""


def _with_inputs(plan: Plan, kinds: Collection[str]) -> set[str]:
    """The keys of all stages of these kinds and of everything that they need."""
    wanted: set[str] = set()
    for stage in reversed(plan.stages):  # inputs stand before what needs them
        if stage.kind in kinds or stage.key in wanted:
            wanted |= {stage.key, *(earlier.key for earlier in stage.inputs)}
    return wanted


@dataclass
class Result:
    """How a run of a study ended.

    Attributes:
        failed: why, by key of the stage.
        blocked: stages whose inputs failed.
    """

    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[Stage] = field(default_factory=list)
    interrupted: bool = False
    made: int = 0


class Runner:
    """Runs the pending stages of a plan, each as soon as its inputs are done.

    Args:
        kinds: only stages of these kinds, and what they need, are made; all by default.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        pool: Pool,
        observer: Observer,
        kinds: Collection[str] | None = None,
    ) -> None:
        self.plan, self.store, self.observer = plan, store, observer
        self.wanted = None if kinds is None else _with_inputs(plan, kinds)
        self.device = pool.device
        self.workers = [Worker(environment) for environment in pool.environments()]
        self.idle: Queue[Worker] = Queue()
        for worker in self.workers:
            self.idle.put(worker)
        self.result = Result()
        self.stopping = threading.Event()
        limits = plan.study.file.limits
        self._spending = threading.Lock() if limits.max_tokens or limits.max_cost else None

    def run(self) -> Result:
        """Run until nothing is left that can run; Ctrl-C lets running stages save first."""
        waiting = {stage.key: stage for stage in self.plan.pending()}
        done = {stage.key for stage in self.plan.stages} - set(waiting)
        if self.wanted is not None:
            waiting = {key: stage for key, stage in waiting.items() if key in self.wanted}
        running: dict[Future[Outcome | None], Stage] = {}
        with ThreadPoolExecutor(len(self.workers)) as threads:
            try:
                while waiting or running:
                    free = len(self.workers) - len(running)
                    for stage in self._ready(waiting.values(), done)[:free]:
                        del waiting[stage.key]
                        running[threads.submit(self._make, stage)] = stage
                    if not running:
                        break
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        self._take(running.pop(future), future.result(), done)
            except KeyboardInterrupt:
                self._interrupt(running)
            finally:
                self.stopping.set()
                for worker in self.workers:
                    worker.close()
        self.result.blocked = list(waiting.values())
        return self.result

    def _ready(self, waiting: Iterable[Stage], done: set[str]) -> list[Stage]:
        """Stages that can start; those nearest to a result first, so that cells end early."""
        ready = [s for s in waiting if all(earlier.key in done for earlier in s.inputs)]
        return sorted(ready, key=lambda stage: -KINDS.index(stage.kind))

    def _take(self, stage: Stage, outcome: Outcome | None, done: set[str]) -> None:
        if outcome is None:
            self.observer.reused(stage)
        else:
            self.observer.ended(stage, outcome)
            if outcome.code != 0:
                self.result.failed[stage.key] = outcome.error
                return
            self.result.made += 1
        done.add(stage.key)

    def _interrupt(self, running: dict[Future[Outcome | None], Stage]) -> None:
        self.result.interrupted = True
        self.stopping.set()
        for worker in self.workers:
            worker.stop()
        wait(running)

    def _make(self, stage: Stage) -> Outcome | None:
        """Make one stage, or wait for the process that does; None if it was made elsewhere."""
        while not self.stopping.is_set():
            with self.store.lock(stage) as held:
                if held:
                    # Another study may have made it since the plan, or while this one waited.
                    state = self.store.state(stage, thorough=True)
                    if state == "done":
                        return None
                    if state in ("damaged", "removed"):
                        self.store.clear(stage)
                    return self._make_locked(stage)
            time.sleep(_POLL_SECONDS)
        return Outcome(130, "interrupted", 0.0)

    def _make_locked(self, stage: Stage) -> Outcome:
        if self.stopping.is_set():
            return Outcome(130, "interrupted", 0.0)
        for earlier in stage.inputs:
            if self.store.state(earlier, thorough=True) != "done":
                error = f"its input {earlier.label} changed on disk; run the study again"
                return Outcome(1, error, 0.0)
        self.observer.started(stage)
        limited = stage.kind == "describe" and self._spending
        if limited:
            limited.acquire()
        worker = self.idle.get()
        try:
            outcome = worker.run(self._words(stage), self.store.log(stage))
        finally:
            self.idle.put(worker)
            if limited:
                limited.release()
        if outcome.code == 1 and stage.kind == "check" and self.store.product(stage).is_file():
            # `tak check` ends with 1 if claims are contradicted: a result, not a failure.
            outcome = Outcome(0, "", outcome.seconds, outcome.peak_mib)
        if outcome.code == 0:
            self.store.finish(stage, outcome.seconds, outcome.peak_mib)
        else:
            interrupted = outcome.code in (130, 143) or self.stopping.is_set()
            self.store.fail(stage, outcome.error, outcome.seconds, interrupted=interrupted)
        return outcome

    def _words(self, stage: Stage) -> list[str]:
        """The command with every placeholder filled in."""
        places = {"out": self.store.product(stage), "store": self.store.root}
        places |= {earlier.key: self.store.product(earlier) for earlier in _inputs(stage)}
        words = [_filled(word, places) for word in stage.words]
        if stage.kind == "train" and (self.store.product(stage) / "last.pt").is_file():
            words.append("--resume")
        if stage.kind in ("train", "evaluate"):
            words += ["--device", self.device]
        if stage.kind == "check":
            self.store.product(stage).unlink(missing_ok=True)
        if stage.kind == "split" and self.store.product(stage).is_dir():
            self._remove_lists(stage)
        if stage.kind == "evaluate":
            self.store.product(stage).mkdir(parents=True, exist_ok=True)
        if stage.kind == "describe" and self._spending:
            words += self._remaining()
        return words

    def _remove_lists(self, stage: Stage) -> None:
        """`tak split` wants a new folder; lists of an interrupted try are made again."""
        for path in self.store.product(stage).iterdir():
            path.unlink()

    def _remaining(self) -> list[str]:
        """What is left of the study's limits, after every description set made so far."""
        limits = self.plan.study.file.limits
        tokens, cost = spent(self.plan.stages, self.store)
        words = []
        if limits.max_tokens is not None:
            words += ["--max-tokens-total", str(max(1, limits.max_tokens - tokens))]
        if limits.max_cost is not None:
            words += ["--max-cost", str(max(0.0, limits.max_cost - cost))]
        return words


def _inputs(stage: Stage) -> list[Stage]:
    return [each for earlier in stage.inputs for each in (*_inputs(earlier), earlier)]


def _filled(word: str, places: dict[str, Path]) -> str:
    for name, path in places.items():
        word = word.replace(f"{{{name}}}", str(path))
    return word


def default_jobs(threads: int, gpus: Sequence[str]) -> int:
    """One job per GPU, else one per `threads` cores."""
    return len(gpus) or max(1, (os.cpu_count() or 1) // max(1, threads))
