"""Process state of a training run: signals, deterministic algorithms, peak memory."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], int | None]]:
    """Remember the number of the first SIGINT or SIGTERM; the second one has its usual effect."""
    caught: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def remember(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, remember)
    except ValueError:  # only the main thread may set handlers; elsewhere the caller stops the run
        pass
    try:
        yield lambda: caught[0] if caught else None
    finally:
        for caught_signal, handler in before.items():
            signal.signal(caught_signal, handler)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Let torch use deterministic algorithms only, which may be slower, and refuse all others.

    Without effect on a CPU. URPC is refused on a GPU: torch has no deterministic gradient of the
    trilinear interpolation of its coarse outputs. cuBLAS reads its environment variable at the
    first matrix product of the process; after an earlier product, torch warns that it has no
    effect.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak of a GPU's memory; that of a process cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def memory_used(device: torch.device) -> dict[str, Any]:
    """Peak memory as `peak_memory_mib`, and `memory_of`, the owner of that memory.

    On CUDA, `GPU`: memory of tensors since `reset_peak_memory`, without PyTorch's cache. On a CPU,
    `process`: the whole process since its start, so that the second run of a sweep never has a
    lower peak than the first. None on MPS and on Windows, which have no such counter.
    """
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 2**20
        return {"peak_memory_mib": peak, "memory_of": "GPU"}
    peak_of_process = _process_peak_mib() if device.type == "cpu" else None
    return {"peak_memory_mib": peak_of_process, "memory_of": "process"}


def _process_peak_mib() -> float | None:
    if sys.platform == "win32":
        return None
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
