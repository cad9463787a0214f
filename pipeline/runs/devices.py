"""What a device cannot do, said in one sentence instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def explain_device_errors(device: torch.device, less: str) -> Iterator[None]:
    """Say what to do where memory ends, or MPS lacks an operation.

    PyTorch has the 3D transposed convolution on MPS from 2.8 on (pytorch issue 130256), in fp32
    alone; it names some lacking operations by a RuntimeError, others by NotImplementedError, and
    float64, which MPS has not, by a TypeError.

    Args:
        less: what takes less memory, for the error.

    Raises:
        ValueError: instead of what torch raises.
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
            "PYTORCH_ENABLE_MPS_FALLBACK=1 in the environment lets the CPU do what is lacking, "
            "--device cpu does without MPS"
        ) from fault


def select_device(name: str) -> torch.device:
    """The device of a name; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        ValueError: a device that this machine does not have.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in present.items() if there))
    have = ", ".join(kind for kind, there in present.items() if there)
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device {name}: this machine has {have}") from None
    if not present.get(device.type, False):
        raise ValueError(f"--device {name}: this machine has {have}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device {name}: this machine has {torch.cuda.device_count()} of them")
    return device
