"""Memory of stages: needs, and which stages fit at the same time."""

import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.experiments.engines.workers import Worker
from pipeline.experiments.planning import Plan
from pipeline.experiments.stages import Stage
from pipeline.experiments.store import Store, cost_class

# MiB of a stage that was never measured; a training's activations are added.
_ESTIMATES = {
    "phantom": 700,
    "split": 400,
    "prepare": 1200,
    "describe": 400,
    "check": 900,
    "encode": 2000,
    "control": 600,
    "train": 1000,
    "evaluate": 1000,
}
_CUDA_CONTEXT_MIB = 600
_CUDA_HOST_MIB = 3000
# Copies of a full-resolution feature map that a step keeps; measured with CPS and MagicNet, widths
# 8 to 32 and patches of 32 to 64: 35 to 62, the more the smaller the map.
_MAPS = 50
_SHARE = 0.9  # of the free memory; the rest is for other processes


@dataclass(frozen=True)
class Need:
    """Memory of one stage in MiB.

    Attributes:
        measured: whether a finished stage of its class was measured.
    """

    host: float
    gpu: float = 0.0
    measured: bool = False


@dataclass(frozen=True)
class Capacity:
    """Memory for all stages together in MiB; infinite if unknown.

    Attributes:
        gpus: of every device, by number.
    """

    host: float = float("inf")
    gpus: Mapping[str, float] = field(default_factory=dict)


def capacity_of(memory_gib: float | None, gpus: Sequence[str]) -> Capacity:
    """The given limit or the free memory of this machine, and the free memory of its GPUs."""
    host = free_mib() * _SHARE if memory_gib is None else memory_gib * 1024
    return Capacity(host, _free_on_gpus() if gpus else {})


def free_mib() -> float:
    """Free memory by the system and by the limit of the container."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    free = next(float(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable"))
    return min(free, *(limit - used for limit, used in _container_limits()), float("inf"))


def _container_limits() -> list[tuple[float, float]]:
    """Limit and use of the control group in MiB, of version 2 or 1."""
    root = Path("/sys/fs/cgroup")
    pairs = (
        (root / "memory.max", root / "memory.current"),
        (root / "memory/memory.limit_in_bytes", root / "memory/memory.usage_in_bytes"),
    )
    limits = []
    for limit, used in pairs:
        try:
            words = [path.read_text(encoding="ascii").strip() for path in (limit, used)]
            limits.append((float(words[0]) / 2**20, float(words[1]) / 2**20))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return limits


def _free_on_gpus() -> dict[str, float]:
    """Free MiB by device; empty if the tool of the driver does not answer."""
    command = ["nvidia-smi", "--query-gpu=index,memory.free", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=30
        ).stdout
        rows = [line.split(",") for line in text.splitlines() if line.strip()]
        return {index.strip(): float(free) * _SHARE for index, free in rows}
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}


def needs_of(plan: Plan, store: Store, device: str) -> dict[str, Need]:
    """The need of every pending stage: as measured in the store, else estimated.

    Args:
        device: of training; `auto` counts as a CPU.
    """
    pending = plan.pending()
    if not pending:
        return {}
    peaks, on_gpu = store.peaks(), device.startswith("cuda")
    classes = _classes(plan)
    needs = {}
    for stage in pending:
        host, gpu = peaks.get((stage.kind, classes[stage.key]), (0.0, 0.0))
        # A step on a GPU keeps its maps there: figures of one device do not apply to another.
        ran_there = stage.kind not in ("train", "evaluate") or bool(gpu) == on_gpu
        if host and ran_there:
            needs[stage.key] = Need(host, gpu + _CUDA_CONTEXT_MIB if gpu else 0.0, measured=True)
        else:
            needs[stage.key] = _estimate(stage, device)
    return needs


def _classes(plan: Plan) -> dict[str, str]:
    """The cost class of each stage: its recipe, or that of its training."""
    classes = {}
    for stage in plan.stages:
        training = next((each for each in (stage, *stage.inputs) if each.kind == "train"), None)
        classes[stage.key] = cost_class(training.facts) if training else ""
    return classes


def _estimate(stage: Stage, device: str) -> Need:
    base = float(_ESTIMATES[stage.kind])
    training = next((each for each in (stage, *stage.inputs) if each.kind == "train"), None)
    if training is None:
        return Need(base)
    maps = _activations_mib(training.facts.get("recipe", {}))
    if device.startswith("cuda"):
        return Need(base + _CUDA_HOST_MIB, _CUDA_CONTEXT_MIB + maps)
    return Need(base + maps)


def _activations_mib(recipe: Mapping[str, Any]) -> float:
    """Feature maps of a training step: patches x voxels x width x 4 bytes, `_MAPS` times."""
    training, network = recipe.get("training", {}), recipe.get("network", {})
    patch = training.get("patch", (96, 96, 96))
    patches = training.get("labeled_per_step", 2) + training.get("unlabeled_per_step", 2)
    voxels = math.prod(patch if isinstance(patch, list | tuple) else (patch,) * 3)
    return float(patches * voxels * network.get("width", 16) * 4 * _MAPS / 2**20)


class Places:
    """Free workers, and the memory that running stages have reserved.

    Args:
        needs: by key of the stage.
    """

    def __init__(
        self, workers: Sequence[Worker], needs: Mapping[str, Need], capacity: Capacity
    ) -> None:
        self.idle, self.needs, self.capacity = list(workers), needs, capacity
        self.taken: dict[str, Worker] = {}
        self.devices = {each.environment.get("CUDA_VISIBLE_DEVICES") for each in workers}

    def too_large(self, stage: Stage) -> str:
        """Why a stage does not fit even alone; empty if it does."""
        need = self._need(stage)
        how = "measured" if need.measured else "estimated"
        if need.host > self.capacity.host:
            return (
                f"needs {need.host:.0f} MiB of memory ({how}), and {self.capacity.host:.0f} MiB "
                "may be taken; --memory GIB allows more"
            )
        rooms = [room for gpu, room in self.capacity.gpus.items() if gpu in self.devices]
        if rooms and need.gpu > max(rooms):
            return (
                f"needs {need.gpu:.0f} MiB of a GPU ({how}), and at most {max(rooms):.0f} MiB are "
                "free on one"
            )
        return ""

    def take(self, stage: Stage) -> Worker | None:
        """A worker for a stage, if its memory fits next to the running ones."""
        need = self._need(stage)
        reserved = sum(self.needs[key].host for key in self.taken if key in self.needs)
        if reserved + need.host > self.capacity.host:
            return None
        worker = next((each for each in self.idle if self._fits(each, need)), None)
        if worker is not None:
            self.idle.remove(worker)
            self.taken[stage.key] = worker
        return worker

    def give_back(self, stage: Stage) -> None:
        """Release worker and memory of a stage that has ended."""
        self.idle.append(self.taken.pop(stage.key))

    def _need(self, stage: Stage) -> Need:
        return self.needs.get(stage.key, Need(0.0))

    def _fits(self, worker: Worker, need: Need) -> bool:
        gpu = worker.environment.get("CUDA_VISIBLE_DEVICES", "")
        if gpu not in self.capacity.gpus:
            return True
        beside = sum(
            self._gpu_of(key)
            for key, other in self.taken.items()
            if other.environment.get("CUDA_VISIBLE_DEVICES") == gpu
        )
        return beside + need.gpu <= self.capacity.gpus[gpu]

    def _gpu_of(self, key: str) -> float:
        return self.needs[key].gpu if key in self.needs else 0.0
