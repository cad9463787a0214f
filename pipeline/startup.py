"""Settings of the process that must stand before a heavy library is imported."""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # names and numbers of glibc's malloc.h
_LARGEST_INT = 2**31 - 1


def configure_process() -> None:
    """Let idle OpenMP threads sleep, and let glibc keep freed memory for the next tensor.

    Spinning threads make a step ten times slower as soon as another process wants a core. Memory
    that goes back to the system after every tensor has to be faulted in again: on two cores a
    training step took twice the time. Blocks of 64 MiB and more, as patches of 96^3 need them, go
    back all the same: kept, they left a step at that size 3 GiB of holes. The user's own
    environment variables win.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        malloc = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library has no such setting
        return
    malloc(_M_MMAP_THRESHOLD, 2**26)
    malloc(_M_TRIM_THRESHOLD, _LARGEST_INT)
