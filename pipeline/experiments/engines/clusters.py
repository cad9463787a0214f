"""The clusters that trainings of a study can run on, by what follows `--on`."""

from collections.abc import Sequence
from dataclasses import replace

from knowledge.common.suggest import unknown
from pipeline.experiments.engines import ray, slurm
from pipeline.experiments.engines.jobs import Cluster, read_options
from pipeline.experiments.engines.run_study import Pool
from pipeline.experiments.planning import Plan
from pipeline.experiments.store import Store

ENGINES = ("here", "slurm", "ray")


def check_engine(engine: str) -> None:
    """Refuse an engine that does not exist.

    Raises:
        LookupError: lists those that do.
    """
    name, colon, _ = engine.partition(":")
    if name not in ENGINES or (colon and name != "ray"):
        raise LookupError(unknown("engine", engine, ("here", "slurm", "ray", "ray:ADDRESS")))


def open_cluster(
    engine: str, words: Sequence[str], plan: Plan, store: Store, pool: Pool
) -> tuple[Cluster, Pool]:
    """A cluster, and the pool of one job there.

    Args:
        engine: `slurm`, `ray` or `ray:ADDRESS`.
        words: options of jobs, `KEY=VALUE`.
        pool: of this machine; its threads and device are those of jobs.

    Raises:
        LookupError, ValueError: options that do not exist, or values that cannot be.
        OSError: what the engine needs is not installed, or does not answer.
    """
    job = Pool(1, pool.threads, device=pool.device)
    name, _, address = engine.partition(":")
    if name == "slurm":
        options = slurm.DEFAULTS | read_options(words, slurm.OPTIONS, "SLURM jobs")
        executor = slurm.slurm_executor(store.root / "jobs", options)
        threads = int(options.get("cpus_per_task", pool.threads))
        return slurm.SlurmCluster(executor), replace(job, threads=threads)
    options = read_options(words, ray.OPTIONS, "Ray tasks")
    cluster = ray.RayCluster(ray.connect(address), plan, store, options, pool.device)
    return cluster, replace(job, threads=max(1, int(options.get("cpus", pool.threads))))
