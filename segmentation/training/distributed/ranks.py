"""The processes of one training, started by `torchrun`: rank and size, and their exchange."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from segmentation.methods.base.method import Batch
from segmentation.training.distributed.sharding import Sharding, gathered

# Long: a rank may wait for the validation of another. Gloo notices a dead rank at once.
_TIMEOUT = timedelta(days=1)
_DEATH = ("closed by peer", "Connection reset", "Broken pipe", "Connection refused", "timed out",
          "NCCL")  # fmt: skip


class ProcessDied(ChildProcessError):
    """Another process of the training has ended."""


@dataclass
class Ranks:
    """This process among those of a training; the only one by default.

    Attributes:
        control: process group on the CPU, for what is no gradient.
    """

    rank: int = 0
    size: int = 1
    control: Any = None
    sharding: Sharding | None = field(default=None, repr=False)

    @property
    def first(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.rank == 0

    def share(self, method: nn.Module) -> None:
        """Share out the passes of the method's networks, and start from equal weights."""
        if self.size > 1:
            self.sharding = Sharding(method, self.rank, self.size)
            with explain_death():
                for tensor in method.state_dict().values():
                    dist.broadcast(tensor, 0)

    def gather(self, batch: Batch) -> Batch:
        """The patches of all processes in the order of their places in the step."""
        if self.size == 1:
            return batch
        strong = None if batch.strong is None else self._all(batch.strong)
        return Batch(self._all(batch.image), self._all(batch.label), self._all(batch.unlabeled),
                     strong)  # fmt: skip

    def _all(self, share: Tensor) -> Tensor:
        return gathered(share, self.size) if share.numel() else share

    def passes(self) -> AbstractContextManager[None]:
        """A context in which passes of the method's networks are shared out."""
        return nullcontext() if self.sharding is None else self.sharding.active()

    def average_gradients(self, method: nn.Module) -> None:
        """The mean of every gradient over the processes, in one exchange per type."""
        if self.size == 1:
            return
        gradients = [each.grad for each in method.parameters() if each.grad is not None]
        for dtype in dict.fromkeys(each.dtype for each in gradients):
            alike = [each for each in gradients if each.dtype == dtype]
            flat = torch.cat([each.flatten() for each in alike])
            dist.all_reduce(flat)
            parts = (flat / self.size).split([each.numel() for each in alike])
            for gradient, part in zip(alike, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def largest(self, number: int) -> int:
        """The largest number of all processes, which wait for each other here."""
        if self.size == 1:
            return number
        largest = torch.tensor(number)
        with explain_death():
            dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.control)
        return int(largest)

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.largest(0)

    def collect(self, value: Any) -> list[Any]:
        """The values of all processes by rank; they are pickled."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with explain_death():
            dist.all_gather_object(values, value, group=self.control)
        return values


@contextmanager
def explain_death() -> Iterator[None]:
    """Turn the error of an exchange with a process that has ended into one line.

    Raises:
        ProcessDied: in place of torch's RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _DEATH):
            raise
        raise ProcessDied(
            "another process of this training has ended; its own message says why, unless it was "
            "killed. --resume continues from the last checkpoint, with any number of processes"
        ) from error


def several_processes() -> bool:
    """Whether `torchrun` started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """The processes that `torchrun` started, connected; this one alone without `torchrun`.

    Args:
        device: of this process, as `local_device` selects it.
    """
    if not several_processes():
        yield Ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        control = dist.new_group(backend="gloo", timeout=_TIMEOUT)
        yield Ranks(dist.get_rank(), dist.get_world_size(), control)
    finally:
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """The device of this process: the GPU of its number on this machine, if there are several.

    Raises:
        ValueError: more processes than GPUs, or a device other than CUDA and CPU.
    """
    if not several_processes() or device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ValueError(f"several processes train on CUDA or CPU, not on {device}; --device cpu")
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= count:
        raise ValueError(
            f"process {local + 1} of this machine has no GPU; there are {count}: --nproc-per-node "
            f"{count}"
        )
    return torch.device("cuda", local)


def copy_of_buffers(method: nn.Module) -> dict[str, Tensor]:
    """Copies of a method's statistics, which a step changes before its weights."""
    return {name: buffer.clone() for name, buffer in method.named_buffers()}


def restore_buffers(method: nn.Module, copies: Mapping[str, Tensor]) -> None:
    """Undo what an unfinished step has changed."""
    for name, buffer in method.named_buffers():
        buffer.copy_(copies[name])
