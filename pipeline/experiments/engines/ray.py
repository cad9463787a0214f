"""Trainings of a study as tasks of a Ray cluster (extra `ray`)."""

import socket
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pipeline.experiments.engines.jobs import CellJob, Job, Option
from pipeline.experiments.engines.memory import needs_of
from pipeline.experiments.planning import Plan
from pipeline.experiments.store import Store

# Options of a task by name, with their types.
OPTIONS: dict[str, type] = {"cpus": float, "gpus": float, "memory_gib": float, "tries": int}
_CONNECT_SECONDS = 5.0
_CANCEL_SECONDS = 60.0


def connect(address: str) -> Any:
    """Ray, connected to a cluster.

    Args:
        address: `HOST:PORT`, `ray://HOST:PORT`, or empty for the cluster of the variable
            RAY_ADDRESS, for the one that runs on this machine, else for one of this machine alone.

    Raises:
        OSError: Ray is not installed, or no cluster answers there.
    """
    try:
        import ray
    except ImportError:
        raise OSError("--on ray needs Ray: pip install 'tak-seg[ray]'") from None
    _check_address(address)
    if not ray.is_initialized():
        try:
            ray.init(address=address or None, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise OSError(f"--on ray:{address}: no Ray cluster answers ({reason})") from None
    return ray


def _check_address(address: str) -> None:
    """Refuse an address where nothing listens; Ray itself would wait for minutes."""
    if not address or address in ("auto", "local"):
        return
    place = urlsplit(address if "//" in address else f"//{address}")
    try:
        host, port = place.hostname, place.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise ValueError(f"--on ray:{address}: expected HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise OSError(
            f"--on ray:{address}: no Ray cluster answers there ({error.strerror or error}); "
            "`ray status` on its head tells the address"
        ) from None


def _run(call: CellJob) -> None:
    """The task: make the stages of a cell."""
    call()


class RayJob:
    """A task with its reference."""

    def __init__(self, ray: Any, reference: Any, name: str) -> None:
        self.ray, self.reference, self.name = ray, reference, name
        self.error = ""

    def done(self) -> bool:
        """Whether it has ended, well or not; Ray repeats one whose node died."""
        ended, _ = self.ray.wait([self.reference], timeout=0)
        if ended and not self.error:
            try:
                self.ray.get(self.reference)
            except Exception as error:  # of the task, its node, or the cluster
                self.error = " ".join(str(error).split())[:300] or type(error).__name__
        return bool(ended)

    def cancel(self) -> None:
        """End it; a training saves first."""
        self.ray.cancel(self.reference, force=False)
        self.ray.wait([self.reference], timeout=_CANCEL_SECONDS)

    def explain(self) -> str:
        """Name and error of the task."""
        return f"Ray task {self.name!r}: {self.error or 'no error is recorded'}"


class RayCluster:
    """Jobs as tasks of Ray, each with CPUs, GPUs and memory.

    Args:
        ray: of `connect`.
        options: see `OPTIONS`; memory is what stages of their kind took in the store, else an
            estimate, and a training gets a GPU where the cluster has any.
    """

    def __init__(
        self, ray: Any, plan: Plan, store: Store, options: Mapping[str, Option], device: str
    ) -> None:
        self.ray, self.options = ray, dict(options)
        self.tries = 1  # Ray repeats a task whose node or worker died by itself
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0 and device != "cpu"
        self.gpus = float(self.options.get("gpus", 1 if has_gpus else 0))
        self.needs = needs_of(plan, store, "cuda" if self.gpus else device)

    def submit(self, calls: Sequence[CellJob]) -> list[Job]:
        """Hand over tasks.

        Raises:
            ValueError: no node of the cluster has what a task needs.
        """
        return [self._submit(call) for call in calls]

    def _submit(self, call: CellJob) -> Job:
        cpus = float(self.options.get("cpus", call.pool.threads))
        memory = self._memory(call)
        self._check_nodes(cpus, memory)
        name = ", ".join(stage.label for stage in call.plan.stages if stage.key in call.wanted)
        task = self.ray.remote(_run).options(
            name=name,
            num_cpus=cpus,
            num_gpus=self.gpus,
            memory=memory,
            max_retries=int(self.options.get("tries", 3)) - 1,
            scheduling_strategy="SPREAD",
        )
        return RayJob(self.ray, task.remote(call), name)

    def _memory(self, call: CellJob) -> int:
        """Bytes of host memory."""
        if "memory_gib" in self.options:
            return int(float(self.options["memory_gib"]) * 2**30)
        needs = [self.needs[key].host for key in call.wanted if key in self.needs]
        return int(max(needs, default=0.0) * 2**20)

    def _check_nodes(self, cpus: float, memory: int) -> None:
        """A task that fits on no node would wait for ever."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        need = {"CPU": cpus, "GPU": self.gpus, "memory": memory}
        if any(all(node.get(key, 0) >= value for key, value in need.items()) for node in nodes):
            return
        largest = {key: max((node.get(key, 0) for node in nodes), default=0) for key in need}
        raise ValueError(
            f"--on ray: no node has {cpus:g} CPUs, {self.gpus:g} GPUs and {memory / 2**30:.1f} "
            f"GiB; the most is {largest['CPU']:g}, {largest['GPU']:g} and "
            f"{largest['memory'] / 2**30:.1f} GiB (--job cpus=N gpus=N memory_gib=N)"
        )
