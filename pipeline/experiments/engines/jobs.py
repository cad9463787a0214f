"""Trainings of a study as jobs of a cluster, whichever it is.

What comes before training runs where the command is given, where keys and the network are; a job
trains one cell and scores it. Jobs and the command meet in the store, which all machines must see.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from knowledge.common.suggest import unknown
from pipeline.experiments.engines.observer import LineObserver, Observer
from pipeline.experiments.engines.run_study import Pool, Result, Runner
from pipeline.experiments.engines.workers import Outcome
from pipeline.experiments.planning import Plan, states_of
from pipeline.experiments.stages import Stage
from pipeline.experiments.store import Store

Option = str | int | float


class CellJob:
    """The function of a job: run stages of a plan.

    Args:
        wanted: keys of the stages to run.
    """

    def __init__(self, plan: Plan, root: Path, pool: Pool, wanted: frozenset[str]) -> None:
        self.plan, self.root, self.pool, self.wanted = plan, root, pool, wanted
        self.runner: Runner | None = None

    def __call__(self) -> None:
        """Run the stages; failures are recorded in the store."""
        store = Store(self.root)
        plan = replace(self.plan, states=states_of(self.plan.stages, store))
        self.runner = Runner(plan, store, self.pool, LineObserver(), self.wanted)
        self.runner.run()


class Job(Protocol):
    """A job on a cluster."""

    def done(self) -> bool:
        """Whether it has ended, well or not."""

    def cancel(self) -> None:
        """End it; a training saves first."""

    def explain(self) -> str:
        """The reason why a job ended without a result, and the place of its log."""


class Cluster(Protocol):
    """A cluster that runs jobs.

    Attributes:
        tries: of a job that was killed and left no error.
    """

    tries: int

    def submit(self, calls: Sequence[CellJob]) -> list[Job]:
        """Hand over jobs."""


class JobRunner:
    """Runs the pending trainings of a plan as jobs, the stages before them on a pool here.

    Args:
        here: pool for what comes before training.
        job: pool of a job: one stage at a time.
    """

    def __init__(
        self, plan: Plan, store: Store, cluster: Cluster, observer: Observer, here: Pool, job: Pool
    ) -> None:
        self.plan, self.store, self.cluster, self.observer = plan, store, cluster, observer
        self.here, self.job = here, job
        self.poll_seconds = 5.0

    def run(self) -> Result:
        """Run until every job has ended; Ctrl-C cancels them, and they save first."""
        late = ("train", "evaluate")
        early = frozenset(s.key for s in self.plan.pending() if s.kind not in late)
        result = Runner(self.plan, self.store, self.here, self.observer, early).run()
        if result.interrupted:
            return result
        missing = set(result.failed) | {stage.key for stage in result.blocked}
        groups = []
        for stages in _groups(self.plan).values():
            needed = {earlier.key for stage in stages for earlier in stage.inputs}
            if needed & missing:
                result.blocked += stages
            else:
                groups.append(stages)
        self._run_jobs(groups, result)
        return result

    def _run_jobs(self, groups: list[list[Stage]], result: Result) -> None:
        tries = self.cluster.tries
        running: list[tuple[Job, list[Stage]]] = []
        try:
            while groups and tries:
                tries -= 1
                running = self._submit(groups)
                groups = self._follow(running, result, last=not tries)
        except KeyboardInterrupt:
            for job, _ in running:
                job.cancel()
            result.interrupted = True

    def _submit(self, groups: Sequence[list[Stage]]) -> list[tuple[Job, list[Stage]]]:
        """One job per group."""
        calls = [
            CellJob(
                _part(self.plan, stages),
                self.store.root,
                self.job,
                frozenset(s.key for s in stages),
            )
            for stages in groups
        ]
        jobs = self.cluster.submit(calls)
        for stages in groups:
            self.observer.started(stages[0])
        return list(zip(jobs, groups, strict=True))

    def _follow(
        self, running: list[tuple[Job, list[Stage]]], result: Result, *, last: bool
    ) -> list[list[Stage]]:
        """Wait for jobs; gives the groups whose job was killed, to be submitted again."""
        again = []
        while running:
            for job, stages in [pair for pair in running if pair[0].done()]:
                running.remove((job, stages))
                if not self._take(job, stages, result, last=last):
                    again.append(stages)
            if running:
                time.sleep(self.poll_seconds)
        return again

    def _take(self, job: Job, stages: Sequence[Stage], result: Result, *, last: bool) -> bool:
        """Read from the store how the stages of a job ended; False if it should run again."""
        for stage in stages:
            record = self.store.record(stage)
            if self.store.state(stage) == "done":
                seconds = record.seconds if record else 0.0
                self.observer.ended(stage, Outcome(0, "", seconds))
                result.made += 1
            elif record is not None and record.status == "failed":
                self.observer.ended(stage, Outcome(1, record.error, record.seconds))
                result.failed[stage.key] = record.error
                result.blocked += [each for each in stages if stage in each.inputs]
                return True
            elif not last:
                return False
            else:
                error = f"killed {self.cluster.tries} times; {job.explain()}"
                self.observer.ended(stage, Outcome(1, error, 0.0))
                result.failed[stage.key] = error
                return True
        return True


def _groups(plan: Plan) -> dict[str, list[Stage]]:
    """Pending trainings and evaluations by training, in the order in which they are made."""
    groups: dict[str, list[Stage]] = {}
    for kind in ("train", "evaluate"):
        for stage in plan.pending(kind):
            training = next(s for s in (stage, *stage.inputs) if s.kind == "train")
            groups.setdefault(training.key, []).append(stage)
    return groups


def _keys(stages: Sequence[Stage]) -> frozenset[str]:
    return frozenset(stage.key for stage in stages)


def _part(plan: Plan, stages: Sequence[Stage]) -> Plan:
    """The plan of some stages with what they need: a job of 1,000 carries its own cell alone."""
    needed: dict[str, Stage] = {}

    def add(stage: Stage) -> None:
        for earlier in stage.inputs:
            add(earlier)
        needed.setdefault(stage.key, stage)

    for stage in stages:
        add(stage)
    states = {key: plan.states[key] for key in needed}
    # Without the cells, which a study computes once and keeps.
    return replace(
        plan, study=replace(plan.study), cells=(), stages=tuple(needed.values()), states=states
    )


def read_options(words: Sequence[str], known: Mapping[str, type], of: str) -> dict[str, Option]:
    """Options of jobs from `KEY=VALUE` words.

    Args:
        known: types by name.
        of: whose options they are, for messages.

    Raises:
        LookupError, ValueError: an option that does not exist, or a value of another type.
    """
    options: dict[str, Option] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in known:
            raise LookupError(unknown(f"option of {of}", key, list(known)))
        if not equals or not value:
            raise ValueError(f"--job {word}: write {key}=VALUE")
        try:
            options[key] = known[key](value)
        except ValueError:
            number = "a whole number" if known[key] is int else "a number"
            raise ValueError(f"--job {word}: expected {number}, got {value!r}") from None
    return options
