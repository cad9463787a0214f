"""Instance normalization and ReLU in one step, fast on a CPU as well.

Legend of shapes: B batch, c channels, `x y z` space, V voxels, k voxels side by side in a row.
"""

from collections.abc import Iterator
from math import gcd
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_EPSILON = 1e-5  # of torch's InstanceNorm and GroupNorm
_SMALL = 2**13  # numbers of an image up to which torch's own norm is as fast
_BESIDE = 32  # voxels in a row, at most
_SHORT = 64  # rows that are summed in fp32
_CACHED = 2**18  # numbers of small images that are worked on at a time
_BLOCK = 2**19  # the same of a large image

_relu_backward = torch.ops.aten.threshold_backward.grad_input


def instance_norm_relu(
    features: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """ReLU(scale (x - mean) / sqrt(variance + 1e-5) + shift), per image and channel.

    On a CPU, features that are not small are taken with the channels innermost in memory, the
    layout in which convolutions are fast, and come back so; torch's instance norm leaves it.

    Args:
        features: [B, c, x, y, z].
        scale, shift: [c], both or neither; without them 1 and 0.

    Raises:
        ValueError: a single voxel per channel, which has no variance.
    """
    if features.shape[2:].numel() < 2:
        raise ValueError(f"features of shape {tuple(features.shape)} have one voxel per channel")
    if features.device.type != "cpu" or features.shape[1:].numel() <= _SMALL:
        return F.relu(F.instance_norm(features, weight=scale, bias=shift, eps=_EPSILON))
    layout = torch.channels_last_3d
    return _NormReLU.apply(features.contiguous(memory_format=layout), scale, shift)


class _NormReLU(torch.autograd.Function):
    """The function above on channels-last features; what is normalized is made again backward."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
        rows, channels = _rows(features), features.shape[1]
        count = features.shape[2:].numel()
        made = torch.empty_like(rows)
        mean, spread = (rows.new_empty(len(rows), channels) for _ in range(2))
        for part, blocks in _parts(rows):
            sums = [_sums(rows[block], channels) for block in blocks]
            mean[part] = torch.stack(sums).sum(0) / count
            middle = _wide(mean[part], rows)
            squares = [_sums((rows[block] - middle).square_(), channels) for block in blocks]
            variance = torch.stack(squares).sum(0) / count
            spread[part] = (variance + _EPSILON).rsqrt_()  # 1 / standard deviation
            inverse = _wide(spread[part], rows)
            for block in blocks:
                normed = torch.sub(rows[block], middle, out=made[block]).mul_(inverse)
                if scale is not None and shift is not None:
                    torch.addcmul(_wide(shift, rows), normed, _wide(scale, rows), out=normed)
                normed.clamp_min_(0)
        ctx.save_for_backward(rows, mean, spread, scale, shift)
        return _volumes(made, features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        saved, mean, spread, scale, shift = ctx.saved_tensors
        count, channels = gradient.shape[2:].numel(), gradient.shape[1]
        rows = _rows(gradient.contiguous(memory_format=torch.channels_last_3d))
        back = torch.empty_like(rows)
        total, along = (torch.zeros_like(spread, dtype=torch.float64) for _ in range(2))
        factor = spread if scale is None else spread * scale
        for part, blocks in _parts(rows):
            middle, inverse = _wide(mean[part], rows), _wide(spread[part], rows)
            for block in blocks:
                made = normed = (saved[block] - middle).mul_(inverse)
                if scale is not None:
                    made = torch.addcmul(_wide(shift, rows), normed, _wide(scale, rows))
                through = _relu_backward(rows[block], made, 0, grad_input=back[block])
                total[part] += _sums(through, channels)
                along[part] += _sums(through * normed, channels)
            some = factor[part]
            level, slope = (_wide(one[part] * some / -count, rows) for one in (total, along))
            for block in blocks:
                if len(blocks) > 1:  # rather made again than kept
                    normed = (saved[block] - middle).mul_(inverse)
                back[block].mul_(_wide(some, rows)).add_(level).addcmul_(normed, slope)
        to_features = _volumes(back, gradient)
        if scale is None:
            return to_features, None, None
        return to_features, along.sum(0).to(scale.dtype), total.sum(0).to(scale.dtype)


def _rows(features: Tensor) -> Tensor:
    """Channels-last [B, c, x, y, z] as [B, V / k, k c] without a copy.

    Vector instructions want long rows: k voxels stand side by side.
    """
    points = features.permute(0, 2, 3, 4, 1).flatten(1, 3)
    beside = gcd(points.shape[1], _BESIDE)
    return points.unflatten(1, (-1, beside)).flatten(2)


def _parts(rows: Tensor) -> Iterator[tuple[slice, list[tuple[slice, slice]]]]:
    """Images of a batch and the blocks of their rows, small enough that they stay in the cache."""
    images = max(_CACHED // rows[0].numel(), 1)
    height = max(_BLOCK // rows.shape[2] // _SHORT, 1) * _SHORT
    for first in range(0, len(rows), images):
        part = slice(first, first + images)
        yield part, [(part, slice(row, row + height)) for row in range(0, rows.shape[1], height)]


def _sums(rows: Tensor, channels: int) -> Tensor:
    """Sums over voxels, [B, c] in fp64, of [B, V / k, k c]; only short sums are made in fp32.

    A running sum in fp32 would leave a gradient that the norm nearly cancels wrong by a percent.
    """
    short = rows.unflatten(1, (-1, gcd(rows.shape[1], _SHORT))).sum(2)
    return short.double().sum(1).unflatten(1, (-1, channels)).sum(1)


def _wide(values: Tensor, rows: Tensor) -> Tensor:
    """Values per channel, [B, c] or [c], repeated for the voxels side by side: [..., 1, k c]."""
    times = rows.shape[2] // values.shape[-1]
    wide = values.to(rows.dtype)[..., None, :].expand(*values.shape[:-1], times, -1)
    return wide.flatten(-2)[..., None, :]


def _volumes(rows: Tensor, like: Tensor) -> Tensor:
    """[B, V / k, k c] back to the shape of `like`, without a copy."""
    points = rows.reshape(len(rows), *like.shape[2:], like.shape[1])
    return points.permute(0, 4, 1, 2, 3)
