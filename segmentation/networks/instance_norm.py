"""Fused instance normalization and ReLU with a custom backward pass for channels-last CPU tensors.

Legend of shapes: B batch, c channels, `x y z` space, V voxels, k neighboring voxels per row.
"""

from collections.abc import Iterator
from math import gcd
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_EPSILON = 1e-5  # of torch's InstanceNorm and GroupNorm
_SMALL = 2**13  # numbers per image up to which torch's own norm is as fast
_VOXELS_PER_ROW = 32  # at most
_ROWS_IN_FP32 = 64  # longest sum in fp32; longer sums go on in fp64
_CACHED = 2**18  # numbers of several small images that are processed at a time
_BLOCK = 2**19  # numbers of a block of one large image

_relu_backward = torch.ops.aten.threshold_backward.grad_input


def instance_norm_relu(
    features: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """ReLU(scale (x - mean) / sqrt(variance + 1e-5) + shift), per image and channel.

    On a CPU, features that are not small are converted to channels-last memory, the layout in which
    convolutions are fast, and returned in it; torch's instance norm would return another layout.

    Args:
        features: [B, c, x, y, z].
        scale, shift: [c], both or neither; without them 1 and 0.

    Raises:
        ValueError: a single voxel per channel, which has no variance.
    """
    if features.shape[2:].numel() < 2:
        raise ValueError(f"features of shape {tuple(features.shape)} have one voxel per channel")
    if torch.compiler.is_exporting():  # instance_norm would fix the batch size of the program
        return F.relu(F.group_norm(features, features.shape[1], scale, shift, _EPSILON))
    if features.device.type != "cpu" or features.shape[1:].numel() <= _SMALL:
        return F.relu(F.instance_norm(features, weight=scale, bias=shift, eps=_EPSILON))
    layout = torch.channels_last_3d
    return _NormReLU.apply(features.contiguous(memory_format=layout), scale, shift)


class _NormReLU(torch.autograd.Function):
    """`instance_norm_relu` of channels-last features; normalized values are recomputed backward.

    With x' = (x - m) s, m the mean, s = 1 / sqrt(variance + e) and g the gradient behind the ReLU
    (times the scale), the gradient of x over V voxels is s (g - mean(g) - x' mean(g x')): the norm
    removes the parts of g along 1 and along x'. Only x, m and s are kept.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
        rows, channels = _rows(features), features.shape[1]
        count = features.shape[2:].numel()
        output = torch.empty_like(rows)
        mean, spread = (rows.new_empty(len(rows), channels) for _ in range(2))
        for part, blocks in _parts(rows):
            sums = [_sums(rows[block], channels) for block in blocks]
            mean[part] = torch.stack(sums).sum(0) / count
            middle = _wide(mean[part], rows)
            # Two passes: mean(x^2) - mean(x)^2 would cancel where the mean is large.
            squares = [_sums((rows[block] - middle).square_(), channels) for block in blocks]
            variance = torch.stack(squares).sum(0) / count
            spread[part] = (variance + _EPSILON).rsqrt_()  # 1 / standard deviation
            inverse = _wide(spread[part], rows)
            for block in blocks:
                normed = torch.sub(rows[block], middle, out=output[block]).mul_(inverse)
                if scale is not None and shift is not None:
                    torch.addcmul(_wide(shift, rows), normed, _wide(scale, rows), out=normed)
                normed.clamp_min_(0)
        ctx.save_for_backward(rows, mean, spread, scale, shift)
        return _volumes(output, features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        saved, mean, spread, scale, shift = ctx.saved_tensors
        count, channels = gradient.shape[2:].numel(), gradient.shape[1]
        rows = _rows(gradient.contiguous(memory_format=torch.channels_last_3d))
        back = torch.empty_like(rows)
        # Sums over voxels of g and of g x'; they are the gradients of shift and scale, too.
        sum_g, sum_gx = (torch.zeros_like(spread, dtype=torch.float64) for _ in range(2))
        factor = spread if scale is None else spread * scale
        for part, blocks in _parts(rows):
            middle, inverse = _wide(mean[part], rows), _wide(spread[part], rows)
            for block in blocks:  # first pass: g through the ReLU into `back`, and both sums
                output = normed = (saved[block] - middle).mul_(inverse)
                if scale is not None:
                    output = torch.addcmul(_wide(shift, rows), normed, _wide(scale, rows))
                g = _relu_backward(rows[block], output, 0, grad_input=back[block])
                sum_g[part] += _sums(g, channels)
                sum_gx[part] += _sums(g * normed, channels)
            each = factor[part]
            level, slope = (_wide(one[part] * each / -count, rows) for one in (sum_g, sum_gx))
            for block in blocks:  # second pass: s (g - mean(g) - x' mean(g x')), in place
                if len(blocks) > 1:  # recomputed: keeping x' of all blocks would take a volume
                    normed = (saved[block] - middle).mul_(inverse)
                back[block].mul_(_wide(each, rows)).add_(level).addcmul_(normed, slope)
        to_features = _volumes(back, gradient)
        if scale is None:
            return to_features, None, None
        return to_features, sum_gx.sum(0).to(scale.dtype), sum_g.sum(0).to(scale.dtype)


def _rows(features: Tensor) -> Tensor:
    """Channels-last [B, c, x, y, z] viewed as [B, V / k, k c], without a copy.

    k neighboring voxels share a row, because vector instructions are fast on long rows.
    """
    points = features.permute(0, 2, 3, 4, 1).flatten(1, 3)
    per_row = gcd(points.shape[1], _VOXELS_PER_ROW)
    return points.unflatten(1, (-1, per_row)).flatten(2)


def _parts(rows: Tensor) -> Iterator[tuple[slice, list[tuple[slice, slice]]]]:
    """Images of a batch and the blocks of their rows, small enough for the processor's cache."""
    images = max(_CACHED // rows[0].numel(), 1)
    height = max(_BLOCK // rows.shape[2] // _ROWS_IN_FP32, 1) * _ROWS_IN_FP32
    for first in range(0, len(rows), images):
        part = slice(first, first + images)
        yield part, [(part, slice(row, row + height)) for row in range(0, rows.shape[1], height)]


def _sums(rows: Tensor, channels: int) -> Tensor:
    """Sums over voxels, [B, c] in fp64, of [B, V / k, k c]; only short sums are in fp32.

    A gradient that the norm nearly cancels would be wrong by a percent after a long fp32 sum.
    """
    short = rows.unflatten(1, (-1, gcd(rows.shape[1], _ROWS_IN_FP32))).sum(2)
    return short.double().sum(1).unflatten(1, (-1, channels)).sum(1)


def _wide(values: Tensor, rows: Tensor) -> Tensor:
    """Values per channel, [B, c] or [c], repeated for the k voxels of a row: [..., 1, k c]."""
    times = rows.shape[2] // values.shape[-1]
    wide = values.to(rows.dtype)[..., None, :].expand(*values.shape[:-1], times, -1)
    return wide.flatten(-2)[..., None, :]


def _volumes(rows: Tensor, like: Tensor) -> Tensor:
    """Rows [B, V / k, k c] viewed in the shape of `like`, without a copy."""
    points = rows.reshape(len(rows), *like.shape[2:], like.shape[1])
    return points.permute(0, 4, 1, 2, 3)
