"""The most memory that this process has used."""

import resource
from pathlib import Path


def peak_gib() -> float:
    """Of resident memory, in GiB.

    On Linux from /proc: `getrusage` counts what the process that started this one had used.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 2**20
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
