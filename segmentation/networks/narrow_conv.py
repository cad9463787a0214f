"""3x3x3 convolution to few channels on a CPU, two neighboring voxels computed at once.

AVX-512 registers hold 16 fp32 numbers; a convolution to 8 channels leaves half of them idle. Two
neighbors along z read four voxels between them, so one convolution with a 3x3x4 kernel, stride 2
along z and twice as many output channels computes both. In channels-last memory, [z / 2, 2 c] and
[z, c] are the same numbers in the same order, so the output needs no copy. The kernel has a third
more products than needed (its zeros), which cost less than the idle half.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_LANES = 16  # fp32 numbers in a register
_STRIDE, _PADDING = (1, 1, 2), (1, 1, 1)


def is_narrow(convolution: nn.Conv3d, features: Tensor) -> bool:
    """Whether `narrow_conv3d` supports this convolution of these features and is faster."""
    return (
        not torch.compiler.is_exporting()  # an exported program has standard operators only
        and features.device.type == "cpu"
        and convolution.in_channels == convolution.out_channels
        and 2 * convolution.out_channels <= _LANES
        and convolution.kernel_size == (3, 3, 3)
        and convolution.stride == convolution.padding == (1, 1, 1)
        and features.shape[-1] % 2 == 0
    )


def narrow_conv3d(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution with padding 1: [B, c, x, y, z] to channels-last [B, c, x, y, z].

    Args:
        features: z must be even.
        weight: [c, c, 3, 3, 3].
        bias: [c].
    """
    layout = torch.channels_last_3d
    return _NarrowConv3d.apply(features.contiguous(memory_format=layout), weight, bias)


class _NarrowConv3d(torch.autograd.Function):
    """Both gradients as convolutions of the same shape; autograd's own would leave the fast path.

    The gradient of the features is the same kind of convolution of the output's gradient, with the
    kernel flipped along every axis and its channels transposed (the adjoint of a convolution).
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(features, weight)
        return _convolved(features, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        features, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        to_features = None
        if ctx.needs_input_grad[0]:
            to_features = _convolved(gradient, weight.flip(2, 3, 4).transpose(0, 1), None)
        pairs = _join(gradient)
        _, both, shift, *_ = torch.ops.aten.convolution_backward(
            pairs, features, _kernel(weight), [pairs.shape[1]], _STRIDE, _PADDING, (1, 1, 1),
            False, (0, 0, 0), 1, (False, True, True),
        )  # fmt: skip
        # The 3x3x4 kernel holds the 3x3x3 one twice, shifted by one along z (see `_kernel`): the
        # weight's gradient is the sum over both places, the bias's that over both halves.
        first, second = both.chunk(2)
        return to_features, first[..., :3] + second[..., 1:], torch.stack(shift.chunk(2)).sum(0)


def _convolved(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A narrow convolution through its kernel for two voxels; channels-last in and out."""
    both = None if bias is None else bias.repeat(2)
    pairs = F.conv3d(features, _kernel(weight), both, stride=_STRIDE, padding=_PADDING)
    points = pairs.contiguous(memory_format=torch.channels_last_3d).permute(0, 2, 3, 4, 1)
    # [B, x, y, z / 2, 2 c] read as [B, x, y, z, c]: the same memory, no copy.
    batch, _, *sides = features.shape
    return points.reshape(batch, *sides, len(weight)).permute(0, 4, 1, 2, 3)


def _join(volumes: Tensor) -> Tensor:
    """Channels-last [B, o, x, y, z] viewed as [B, 2 o, x, y, z / 2], without a copy."""
    batch, channels, x, y, z = volumes.shape
    points = volumes.permute(0, 2, 3, 4, 1).reshape(batch, x, y, z // 2, 2 * channels)
    return points.permute(0, 4, 1, 2, 3)


def _kernel(weight: Tensor) -> Tensor:
    """Kernel [o, i, 3, 3, 3] for two voxels: [2 o, i, 3, 3, 4], for the first, then the second."""
    return torch.cat([F.pad(weight, (0, 1)), F.pad(weight, (1, 0))])
