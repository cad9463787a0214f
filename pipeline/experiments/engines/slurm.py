"""Trainings of a study as jobs of a SLURM array, through submitit (extra `slurm`)."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.experiments.engines.jobs import CellJob, Job, Option

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
DEFAULTS: dict[str, Option] = {"time": 24 * 60, "signal_delay_s": 120}
_SAVE_SECONDS = 100


class SlurmCellJob(CellJob):
    """A job that SLURM stops and requeues."""

    def checkpoint(self) -> Any:
        """Save and end what runs, for submitit to requeue the job; called in a signal handler."""
        from submitit.helpers import DelayedSubmission

        runner, self.runner = self.runner, None
        if runner is not None:
            runner.stop()
            end = time.monotonic() + _SAVE_SECONDS
            for worker in runner.workers:
                worker.idle.wait(max(0.0, end - time.monotonic()))
        return DelayedSubmission(SlurmCellJob(self.plan, self.root, self.pool, self.wanted))


class _SlurmJob:
    """A job of an array.

    Args:
        job: of submitit.
    """

    def __init__(self, job: Any) -> None:
        self.job = job

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return bool(self.job.done())

    def cancel(self) -> None:
        """End it; a training saves first."""
        self.job.cancel(check=False)

    def explain(self) -> str:
        """Number and log of the job."""
        return f"job {self.job.job_id}, its log is {self.job.paths.stderr}"


class SlurmCluster:
    """Jobs as arrays of SLURM.

    Args:
        executor: of submitit.
    """

    tries = 3

    def __init__(self, executor: Any) -> None:
        self.executor = executor

    def submit(self, calls: Sequence[CellJob]) -> list[Job]:
        """Submit jobs as one array."""
        with self.executor.batch():
            jobs = [
                self.executor.submit(SlurmCellJob(c.plan, c.root, c.pool, c.wanted)) for c in calls
            ]
        return [_SlurmJob(job) for job in jobs]


def slurm_executor(folder: Path, options: Mapping[str, Option]) -> Any:
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
