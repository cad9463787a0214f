"""The process of a run: signals, deterministic algorithms, peak memory."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a flag; the second one acts as ever."""
    caught: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def remember(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, remember)
    except ValueError:  # not in the main thread: whoever runs us there stops us
        pass
    try:
        yield lambda: bool(caught)
    finally:
        for caught_signal, handler in before.items():
            signal.signal(caught_signal, handler)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Let torch take deterministic algorithms alone, which may be slower, and refuse any other.

    A CPU needs none of this. URPC is refused on a GPU: it enlarges coarse guesses, whose gradient
    torch has in no deterministic form. cuBLAS reads its variable at the first product of the
    process, so a product before this leaves it without effect, which torch then says.
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


def count_memory(device: torch.device) -> None:
    """Let the peak of a GPU's memory begin anew; that of a process lasts as long as it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def memory_used(device: torch.device) -> dict[str, Any]:
    """The most memory so far as `peak_memory_mib`, and `memory_of`, what took it.

    On CUDA, `GPU`: what tensors took since `count_memory`, not what PyTorch keeps for later. On a
    CPU, `process`: this whole process since it began, so that the second run of a sweep never
    shows less than the first. MPS counts no peak; nor does Windows. None there.
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
