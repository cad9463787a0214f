"""Running of a study: every stage once, on a pool of worker processes."""

import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from pipeline.experiments.engines.making import StageMaker
from pipeline.experiments.engines.memory import Capacity, Places, needs_of
from pipeline.experiments.engines.observer import Observer
from pipeline.experiments.engines.workers import Outcome, Worker
from pipeline.experiments.planning import Plan
from pipeline.experiments.stages import KINDS, Stage
from pipeline.experiments.store import Store


@dataclass(frozen=True)
class Pool:
    """Resources of this machine for stages.

    Attributes:
        jobs: number of concurrent stages.
        threads: CPU threads of each.
        gpus: devices, by number; every job gets one, several jobs may share one.
        device: of training and evaluation, as in `tak train --device`.
        capacity: memory for all stages together.
    """

    jobs: int = 1
    threads: int = 1
    gpus: tuple[str, ...] = ()
    device: str = "auto"
    capacity: Capacity = field(default_factory=Capacity)

    def environments(self) -> list[dict[str, str]]:
        """The environment variables of every worker."""
        threads = {"OMP_NUM_THREADS": str(self.threads)}
        if not self.gpus:
            return [threads for _ in range(self.jobs)]
        return [
            threads | {"CUDA_VISIBLE_DEVICES": self.gpus[i % len(self.gpus)]}
            for i in range(self.jobs)
        ]


def with_inputs(plan: Plan, kinds: Collection[str]) -> set[str]:
    """The keys of all stages of these kinds and of their inputs."""
    wanted: set[str] = set()
    for stage in reversed(plan.stages):  # inputs come before the stages that need them
        if stage.kind in kinds or stage.key in wanted:
            wanted |= {stage.key, *(earlier.key for earlier in stage.inputs)}
    return wanted


@dataclass
class Result:
    """The outcome of a run of a study.

    Attributes:
        failed: errors by key of the stage.
        blocked: stages whose inputs failed.
    """

    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[Stage] = field(default_factory=list)
    interrupted: bool = False
    made: int = 0


class Runner:
    """Runs the pending stages of a plan, each when its inputs are done and a worker is free.

    Args:
        wanted: keys of the stages to run; all by default.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        pool: Pool,
        observer: Observer,
        wanted: Collection[str] | None = None,
    ) -> None:
        self.plan, self.store, self.observer, self.wanted = plan, store, observer, wanted
        self.workers = [Worker(environment) for environment in pool.environments()]
        self.maker = StageMaker(plan, store, observer, pool.device)
        device = "cuda" if pool.gpus else pool.device
        self.places = Places(self.workers, needs_of(plan, store, device), pool.capacity)
        self.result = Result()

    def run(self) -> Result:
        """Run until no stage can run; after Ctrl-C running stages save first."""
        waiting = {stage.key: stage for stage in self.plan.pending()}
        done = {stage.key for stage in self.plan.stages} - set(waiting)
        if self.wanted is not None:
            waiting = {key: stage for key, stage in waiting.items() if key in self.wanted}
        running: dict[Future[Outcome | None], Stage] = {}
        with ThreadPoolExecutor(len(self.workers)) as threads:
            try:
                while waiting or running:
                    for stage in self._ready(waiting.values(), done):
                        self._start(stage, waiting, running, threads)
                    if not running:
                        break
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        stage = running.pop(future)
                        self.places.give_back(stage)
                        self._take(stage, future.result(), done)
            except KeyboardInterrupt:
                self._interrupt(running)
            finally:
                self.maker.stopping.set()
                for worker in self.workers:
                    worker.close()
        self.result.blocked = list(waiting.values())
        return self.result

    def stop(self) -> None:
        """Start no further stage, and ask running commands to save and end."""
        self.maker.stopping.set()
        for worker in self.workers:
            worker.stop()

    def _start(
        self,
        stage: Stage,
        waiting: dict[str, Stage],
        running: dict[Future[Outcome | None], Stage],
        threads: ThreadPoolExecutor,
    ) -> None:
        """Start a stage if a worker is free for it; one that is too large fails."""
        if reason := self.places.too_large(stage):
            del waiting[stage.key]
            self.observer.ended(stage, Outcome(1, reason, 0.0))
            self.result.failed[stage.key] = reason
            return
        worker = self.places.take(stage)
        if worker is not None:
            del waiting[stage.key]
            running[threads.submit(self.maker.make, stage, worker)] = stage

    def _ready(self, waiting: Iterable[Stage], done: set[str]) -> list[Stage]:
        """Stages that can start, the latest kinds first, so that cells finish early."""
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
        self.stop()
        wait(running)


def default_jobs(threads: int, gpus: Sequence[str]) -> int:
    """One job per GPU, else one per `threads` cores."""
    return len(gpus) or max(1, (os.cpu_count() or 1) // max(1, threads))
