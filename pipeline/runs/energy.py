"""Energy that devices count themselves: NVIDIA's GPUs by NVML, processors by RAPL on Linux.

A counter counts all that its device does, other processes included.
"""

import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segmentation.training.distributed.ranks import Ranks

_POWERCAP = Path("/sys/class/powercap")
_SECONDS = 60.0  # between readings; a RAPL counter starts anew after some minutes at full power
_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Counter:
    """A growing count of energy.

    Attributes:
        read: joules since some moment; OSError if they cannot be read.
        span: joules after which the count starts at 0 again; None if it does not.
    """

    read: Callable[[], float]
    span: float | None = None


def counters(device: torch.device, ranks: Ranks) -> list[Counter]:
    """The counters of the devices of all processes of a training, which all call this.

    Empty if one of the devices has none that this process can read: another machine's, or that of
    a processor whose counters only the administrator may read (on most systems).
    """
    named = ranks.collect((platform.node(), _name(device)))
    names = {name for _, name in named}
    if "" in names or any(machine != platform.node() for machine, _ in named):
        return []
    found = _sockets(_POWERCAP) if names == {"cpu"} else [_nvml(name) for name in sorted(names)]
    with suppress(OSError, ValueError):
        for counter in found:
            counter.read()
        return found
    return []


@contextmanager
def metered(chosen: Sequence[Counter]) -> Iterator[Callable[[], float | None]]:
    """Read the counters now and every minute.

    Yields:
        A function that returns the kilowatt-hours since then; None without counters, or if one
        could not be read in between.
    """
    meter = _Meter(chosen)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SECONDS):
            meter.kilowatt_hours()

    if chosen:
        threading.Thread(target=watch, name="energy", daemon=True).start()
    try:
        yield meter.kilowatt_hours
    finally:
        ended.set()


class _Meter:
    def __init__(self, chosen: Sequence[Counter]) -> None:
        self._counters = chosen
        self._last: list[float] = []
        self._joules = 0.0
        self._known = bool(chosen)
        self._lock = threading.Lock()
        self.kilowatt_hours()

    def kilowatt_hours(self) -> float | None:
        """The energy up to now."""
        with self._lock:
            try:
                now = [counter.read() for counter in self._counters]
            except (OSError, ValueError):
                self._known = False
                return None
            for counter, last, current in zip(self._counters, self._last or now, now, strict=True):
                if current < last and counter.span is None:
                    self._known = False  # the driver was started anew
                self._joules += current - last + (counter.span or 0.0) * (current < last)
            self._last = now
            return self._joules / _JOULES_PER_KWH if self._known else None


def _name(device: torch.device) -> str:
    """`cpu`, or the GPU's name for NVML; empty for what nobody counts, as a part of a GPU (MIG)."""
    if device.type != "cuda":
        return "cpu" if device.type == "cpu" else ""
    properties: Any = torch.cuda.get_device_properties(device)
    name = f"GPU-{getattr(properties, 'uuid', '')}"  # older versions of torch do not know it
    try:
        _nvml(name).read()
    except OSError:
        return ""
    return name


def _nvml(name: str) -> Counter:
    import pynvml

    def read() -> float:
        try:
            pynvml.nvmlInit()
            handle: Any = pynvml.nvmlDeviceGetHandleByUUID(name)
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
        except pynvml.NVMLError as fault:
            raise OSError(f"{name}: {fault}") from fault

    return Counter(read)


def _sockets(powercap: Path) -> list[Counter]:
    found = []
    for zone in sorted(powercap.glob("intel-rapl:*")):  # AMD's processors have the same name
        with suppress(OSError, ValueError):
            if (zone / "name").read_text(encoding="ascii").startswith("package"):
                span = int((zone / "max_energy_range_uj").read_text(encoding="ascii")) / 1e6
                found.append(Counter(_microjoules(zone / "energy_uj"), span))
    return found


def _microjoules(file: Path) -> Callable[[], float]:
    return lambda: int(file.read_text(encoding="ascii")) / 1e6
