"""Networks that share the patches of a batch out over processes, without a change of any method.

Every process computes a method's losses for the whole batch; a network's forward pass takes the
process's own patches only and gathers the outputs of all. So losses, random draws and statistics
are those of one process with the whole batch, while features, which take nearly all time and
memory, are shared out.

A tensor that all processes hold has its true gradient on each of them. Within a network's pass
gradients are `size` times as large, so that the mean over processes of a weight's gradients is
right, wherever the weight is used.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from segmentation.networks.network import Branch, Network
from segmentation.networks.vnet import VNet

# The passes that are shared out. One within another is the process's own already.
_PASSES: dict[type[nn.Module], tuple[str, ...]] = {
    Network: ("forward", "encode", "decode", "read", "logits"),
    Branch: ("forward",),
    VNet: ("pyramid",),
}


class Sharding:
    """Shares out the passes of a method's networks while `active`.

    Args:
        rank: number of this process.
        size: number of processes.
    """

    def __init__(self, method: nn.Module, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._active = False
        self._total = 0  # patches of the running pass in all processes, 0 outside of one
        for module in method.modules():
            for name in _PASSES.get(type(module), ()):
                # Set past nn.Module, which would take a method for an attribute all the same.
                object.__setattr__(module, name, self._shared(getattr(module, name)))
            if type(module) in _PASSES:
                self._patch_layers(module)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Share passes out within the block, as every process must at the same time."""
        self._active = True
        try:
            yield
        finally:
            self._active = False

    def _shared(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def shared(*inputs: Any) -> Any:
            if not self._active or self._total:
                return run(*inputs)
            self._total = len(_first(inputs))
            try:
                outputs = run(*_mapped(lambda each: _Split.apply(each, self), inputs))
                return _mapped(lambda each: _Gather.apply(each, self, self._total), outputs)
            finally:
                self._total = 0

        return shared

    def _patch_layers(self, network: nn.Module) -> None:
        """Layers that look at more than one patch: batch norm, and the draws of dropout."""
        for layer in network.modules():
            if isinstance(layer, _BatchNorm):
                object.__setattr__(layer, "forward", MethodType(_joint(_norm, self), layer))
            elif isinstance(layer, _DropoutNd):
                object.__setattr__(layer, "forward", MethodType(_joint(_dropout, self), layer))

    def indices(self, total: int) -> Tensor:
        """Indices of this process's patches; the last one is repeated to fill up."""
        share = -(-total // self.size)
        return torch.arange(self.rank * share, (self.rank + 1) * share).clamp(max=total - 1)

    def valid(self, total: int) -> int:
        """Number of this process's patches without the repeated ones."""
        share = -(-total // self.size)
        return max(0, min(share, total - self.rank * share))

    @property
    def total(self) -> int:
        """Patches of the running pass in all processes; 0 outside of one."""
        return self._total


class _Split(torch.autograd.Function):
    """Own patches of a tensor that all processes hold; the gradient is gathered."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, sharding: Sharding) -> Tensor:
        ctx.sharding, ctx.total = sharding, len(whole)
        return whole.index_select(0, sharding.indices(len(whole)).to(whole.device))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gathered(gradient, ctx.sharding.size)[: ctx.total] / ctx.sharding.size, None


class _Gather(torch.autograd.Function):
    """The patches of all processes; the gradient is that of the own ones, times `size`."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, sharding: Sharding, total: int) -> Tensor:
        ctx.sharding, ctx.share = sharding, len(own)
        return gathered(own, sharding.size)[:total]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        begin = ctx.sharding.rank * ctx.share
        own = gradient[begin : begin + ctx.share]
        if len(own) < ctx.share:  # repeated patches have no gradient
            own = torch.cat([own, own.new_zeros((ctx.share - len(own), *own.shape[1:]))])
        return own * ctx.sharding.size, None, None


class _Sum(torch.autograd.Function):
    """The sum of a tensor over processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return _summed(part)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(part: Tensor) -> Tensor:
    whole = part.detach().clone().contiguous()
    dist.all_reduce(whole)
    return whole


def gathered(own: Tensor, size: int) -> Tensor:
    """Equal shares of all processes one after the other along the first axis."""
    last = own.ndim == 5 and own.is_contiguous(memory_format=torch.channels_last_3d)
    last = last and not own.is_contiguous()
    dense = (own.permute(0, 2, 3, 4, 1) if last else own).contiguous()
    shares = [torch.empty_like(dense) for _ in range(size)]
    dist.all_gather(shares, dense)
    whole = torch.cat(shares)
    return whole.permute(0, 4, 1, 2, 3) if last else whole


def _joint(layer: Callable[..., Tensor], sharding: Sharding) -> Callable[..., Tensor]:
    """A layer's forward pass that looks at the patches of all processes, in a shared pass."""

    def forward(self: Any, inputs: Tensor) -> Tensor:
        if not sharding.total or not self.training:
            return type(self).forward(self, inputs)
        return layer(self, inputs, sharding)

    return forward


def _norm(layer: _BatchNorm, inputs: Tensor, sharding: Sharding) -> Tensor:
    """Batch norm with the statistics of all patches; moves the running ones."""
    own = inputs[: sharding.valid(sharding.total)].float()
    axes = [0, *range(2, inputs.ndim)]
    voxels = inputs[0, 0].numel() * sharding.total
    mean = _Sum.apply(own.sum(axes)) / voxels
    shape = (1, -1, *(1 for _ in axes[1:]))
    # Two passes: the difference of two large sums would lose digits.
    variance = _Sum.apply((own - mean.view(shape)).square().sum(axes)) / voxels
    if layer.track_running_stats and layer.running_mean is not None:
        assert layer.running_var is not None
        assert layer.num_batches_tracked is not None
        with torch.no_grad():
            layer.num_batches_tracked.add_(1)
            momentum = layer.momentum
            weight = 1 / float(layer.num_batches_tracked) if momentum is None else momentum
            layer.running_mean.lerp_(mean.detach(), weight)
            layer.running_var.lerp_(variance.detach() * voxels / (voxels - 1), weight)
    scale = (variance + layer.eps).rsqrt()
    scale = scale if layer.weight is None else scale * layer.weight
    result = (inputs - mean.view(shape)) * scale.view(shape)
    result = result if layer.bias is None else result + layer.bias.view(shape)
    return result.to(inputs.dtype)


def _dropout(layer: _DropoutNd, inputs: Tensor, sharding: Sharding) -> Tensor:
    """Dropout of channels or numbers with the draws of the whole batch, of which the own are used.

    They are drawn as torch draws them, so that masks are those of one process.
    """
    if not layer.p:
        return inputs
    by_channel = isinstance(layer, nn.Dropout1d | nn.Dropout2d | nn.Dropout3d)
    rest = (inputs.shape[1], *(1 for _ in inputs.shape[2:])) if by_channel else inputs.shape[1:]
    noise = inputs.new_empty((sharding.total, *rest)).bernoulli_(1 - layer.p).div_(1 - layer.p)
    return inputs * noise.index_select(0, sharding.indices(sharding.total).to(inputs.device))


def _first(value: Any) -> Tensor:
    """The first tensor of nested sequences."""
    while not isinstance(value, Tensor):
        value = value[0]
    return value


def _mapped(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Nested sequences with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    items = [_mapped(change, each) for each in value]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*items)
    return tuple(items) if isinstance(value, tuple) else items
