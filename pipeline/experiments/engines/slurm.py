"""Trainings of a study as jobs of a SLURM array, through submitit (extra `slurm`).

What comes before training runs where the command is given, where keys and the network are; a job
trains one cell and scores it. Jobs and the command meet in the store, which all machines must see.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from knowledge.common.suggest import unknown
from pipeline.experiments.engines.observer import LineObserver, Observer
from pipeline.experiments.engines.run_study import Pool, Result, Runner
from pipeline.experiments.engines.workers import Outcome
from pipeline.experiments.planning import Plan, states_of
from pipeline.experiments.stages import Stage
from pipeline.experiments.store import Store

# Options of a job by name, with their types; those of `sbatch` that most clusters ask for.
OPTIONS: dict[str, type] = {
    "partition": str,
    "account": str,
    "qos": str,
    "constraint": str,
    "gres": str,
    "time": int,
    "mem": str,
    "cpus_per_task": int,
    "gpus_per_node": int,
    "array_parallelism": int,
    "signal_delay_s": int,
}
_DEFAULTS = {"time": 24 * 60, "signal_delay_s": 120}
_TRIES = 3  # of a job that was killed and left no error
_SAVE_SECONDS = 100


class CellJob:
    """What a job does: make some stages of a plan, and be stopped and continued.

    Args:
        wanted: keys of the stages to make.
    """

    def __init__(self, plan: Plan, root: Path, pool: Pool, wanted: frozenset[str]) -> None:
        self.plan, self.root, self.pool, self.wanted = plan, root, pool, wanted
        self.runner: Runner | None = None

    def __call__(self) -> None:
        """Make the stages; failures are recorded in the store."""
        store = Store(self.root)
        plan = replace(self.plan, states=states_of(self.plan.stages, store))
        self.runner = Runner(plan, store, self.pool, LineObserver(), self.wanted)
        self.runner.run()

    def checkpoint(self) -> Any:
        """Save and end what runs, for submitit to requeue the job; called in a signal handler."""
        from submitit.helpers import DelayedSubmission

        runner, self.runner = self.runner, None
        if runner is not None:
            runner.stop()
            end = time.monotonic() + _SAVE_SECONDS
            for worker in runner.workers:
                worker.idle.wait(max(0.0, end - time.monotonic()))
        return DelayedSubmission(CellJob(self.plan, self.root, self.pool, self.wanted))


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """Options of the jobs from `KEY=VALUE` words.

    Raises:
        LookupError, ValueError: an option that does not exist, or a value of another type.
    """
    options: dict[str, Any] = dict(_DEFAULTS)
    for word in words:
        key, equals, value = word.partition("=")
        if key not in OPTIONS:
            raise LookupError(unknown("option of SLURM jobs", key, list(OPTIONS)))
        try:
            options[key] = OPTIONS[key](value)
        except ValueError:
            raise ValueError(f"--job {word}: expected a whole number, got {value!r}") from None
        if not equals or not value:
            raise ValueError(f"--job {word}: write {key}=VALUE")
    return options


def slurm_executor(folder: Path, options: Mapping[str, Any]) -> Any:
    """The executor that submits to SLURM.

    Raises:
        OSError: submitit is not installed, or this machine has no `sbatch`.
    """
    try:
        import submitit
    except ImportError:
        raise OSError("--on slurm needs submitit: pip install 'tak-seg[slurm]'") from None
    try:
        executor = submitit.SlurmExecutor(folder)
    except RuntimeError as error:
        raise OSError(f"--on slurm: {error}; run it where `sbatch` is") from None
    executor.update_parameters(
        job_name="tak-study", additional_parameters={"requeue": True}, **options
    )
    return executor


class JobRunner:
    """Runs the pending trainings of a plan as jobs, the stages before them on a pool here.

    Args:
        executor: of submitit.
        here: pool for what comes before training.
        job: pool of a job: one stage at a time.
    """

    def __init__(
        self, plan: Plan, store: Store, executor: Any, observer: Observer, here: Pool, job: Pool
    ) -> None:
        self.plan, self.store, self.executor, self.observer = plan, store, executor, observer
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
        tries = _TRIES
        running: list[tuple[Any, list[Stage]]] = []
        try:
            while groups and tries:
                tries -= 1
                running = self._submit(groups)
                groups = self._follow(running, result, last=not tries)
        except KeyboardInterrupt:
            for job, _ in running:
                job.cancel(check=False)
            result.interrupted = True

    def _submit(self, groups: Sequence[list[Stage]]) -> list[tuple[Any, list[Stage]]]:
        """One job per group, as one array."""
        calls = [
            CellJob(self.plan, self.store.root, self.job, frozenset(s.key for s in stages))
            for stages in groups
        ]
        with self.executor.batch():
            jobs = [self.executor.submit(call) for call in calls]
        for stages in groups:
            self.observer.started(stages[0])
        return list(zip(jobs, groups, strict=True))

    def _follow(
        self, running: list[tuple[Any, list[Stage]]], result: Result, *, last: bool
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

    def _take(self, job: Any, stages: Sequence[Stage], result: Result, *, last: bool) -> bool:
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
                error = f"job {job.job_id} was killed {_TRIES} times; its log is {job.paths.stderr}"
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
