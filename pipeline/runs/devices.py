"""Device selection, and readable messages for out-of-memory and unsupported operations."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def explain_device_errors(device: torch.device, less: str) -> Iterator[None]:
    """Turn out-of-memory and unsupported-operation errors into one readable message.

    PyTorch has 3D transposed convolutions on MPS since 2.8 (pytorch issue 130256), only in fp32.
    Unsupported operations raise RuntimeError or NotImplementedError, float64 raises TypeError.

    Args:
        less: a remedy that takes less memory, for the message.

    Raises:
        ValueError: in place of the errors of torch.
    """
    try:
        yield
    except (RuntimeError, TypeError) as fault:
        reason = str(fault).partition("\n")[0].partition(". ")[0] or type(fault).__name__
        if isinstance(fault, torch.OutOfMemoryError) or "out of memory" in reason:
            raise ValueError(f"{device} has too little memory ({reason}); {less}") from fault
        if device.type != "mps":
            raise
        raise ValueError(
            f"PyTorch {torch.__version__} cannot do this on MPS ({reason}); "
            "PYTORCH_ENABLE_MPS_FALLBACK=1 in the environment runs unsupported operations on "
            "the CPU, --device cpu runs all there"
        ) from fault


def select_device(name: str) -> torch.device:
    """The device of a name; `auto` selects CUDA, then MPS, then the CPU.

    Raises:
        ValueError: a device that this machine does not have.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, available in present.items() if available))
    devices = ", ".join(kind for kind, available in present.items() if available)
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device {name}: this machine has {devices}") from None
    if not present.get(device.type, False):
        raise ValueError(f"--device {name}: this machine has {devices}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device {name}: this machine has {torch.cuda.device_count()} of them")
    return device
