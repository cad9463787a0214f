"""The generated head as two Triton kernels for CUDA, forward and backward.

Two classes are computed together: their layers form 16 x 16 matrices (block-diagonal in layer 2),
the size that tensor cores multiply. Bias 1 is row 8 of the first matrix, multiplied by a feature
that is 1. A program computes a block of voxels of an image for all pairs of classes; hidden layers
exist in registers only and are recomputed in the backward kernel. There every program sums the
weights' gradients over its voxels in a memory area that no other program writes; those partial sums
are added afterward in a fixed order, so that results are deterministic (no atomics).

Legend of shapes: B batch, C classes, P pairs of classes, V voxels, T blocks of voxels.
"""

# mypy: disallow-untyped-defs=False
# Triton reads the annotations of its kernels itself.

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_LAUNCH = {"num_warps": 8, "enable_fp_fusion": True}
_TURNS = 8  # blocks of voxels that one program of the backward kernel processes in sequence
_INNER = 8
# Numbers per pair of classes: W1 and W2 [16, 16] each, w3 and b2 [16] each, b3 [2].
_SIZES = (256, 256, 16, 16, 2)
_PACKED = sum(_SIZES)


class PointwiseOnGPU(torch.autograd.Function):
    """Autograd function of both kernels: points [B, 8, V], parameters [B, C, 153] -> [B, C, V]."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, parameters: Tensor) -> Tensor:
        """Logits [B, C, V] in the precision of the points."""
        points, packed = points.contiguous(), pack(parameters)
        batch, _, voxels = points.shape
        classes = parameters.shape[1]
        logits = points.new_empty(batch, classes, voxels)
        block = block_size(points.dtype)
        _forward[triton.cdiv(voxels, block), batch](
            points, packed, logits, voxels, classes, packed.shape[1], block, _PACKED, **_LAUNCH
        )
        ctx.save_for_backward(points, packed)
        ctx.classes, ctx.kind = classes, parameters.dtype
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of points and parameters."""
        points, packed = ctx.saved_tensors
        batch, _, voxels = points.shape
        pairs, block = packed.shape[1], block_size(points.dtype)
        programs = triton.cdiv(voxels, block * _TURNS)
        to_points = torch.empty_like(points)
        sums = torch.zeros(batch, programs, pairs, _PACKED, device=points.device)
        _backward[programs, batch](
            points, packed, gradient.contiguous(), to_points, sums, voxels, ctx.classes, pairs,
            block, _PACKED, _TURNS, **_LAUNCH,
        )  # fmt: skip
        return to_points, unpack(sums.sum(1), ctx.classes).to(ctx.kind)


def block_size(kind: torch.dtype) -> int:
    """Voxels per block; fp32 needs twice the shared memory, of which small GPUs have 99 KiB."""
    return 128 if kind == torch.float32 else 256


def pack(parameters: Tensor) -> Tensor:
    """Parameters [B, C, 153] as matrices of pairs of classes, [B, P, 546] in fp32; see `unpack`."""
    batch, classes, _ = parameters.shape
    padded = F.pad(parameters.float(), (0, 0, 0, classes % 2))
    inner = _INNER
    parts = padded.unflatten(1, (-1, 2)).split([inner**2, inner**2, inner, inner, inner, 1], dim=-1)
    w1, w2, w3, b1, b2, b3 = parts
    pairs = w1.shape[1]
    first = padded.new_zeros(batch, pairs, 2 * inner, 2, inner)  # input, class, output
    first[:, :, :inner] = w1.unflatten(-1, (inner, inner)).permute(0, 1, 4, 2, 3)
    first[:, :, inner] = b1
    second = padded.new_zeros(batch, pairs, 2, inner, 2, inner)  # class, input, class, output
    for place in range(2):
        matrix = w2[:, :, place].unflatten(-1, (inner, inner))
        second[:, :, place, :, place] = matrix.mT  # other blocks stay 0: classes never mix
    flat = [part.flatten(2) for part in (first, second, w3, b2, b3)]
    return torch.cat(flat, dim=-1).contiguous()


def unpack(packed: Tensor, classes: int) -> Tensor:
    """The inverse of `pack` for gradients: [B, P, 546] to [B, C, 153]; its zeros are dropped."""
    inner = _INNER
    first, second, w3, b2, b3 = packed.split(_SIZES, dim=-1)
    first = first.unflatten(-1, (2 * inner, 2, inner))
    second = second.unflatten(-1, (2, inner, 2, inner))
    w1 = first[:, :, :inner].permute(0, 1, 3, 4, 2).flatten(3)
    diagonal = torch.stack([second[:, :, place, :, place] for place in range(2)], dim=2)
    w2 = diagonal.mT.flatten(3)
    halves = [part.unflatten(-1, (2, -1)) for part in (w3, b2, b3)]
    parts = [w1, w2, halves[0], first[:, :, inner], halves[1], halves[2]]
    return torch.cat(parts, dim=-1).flatten(1, 2)[:, :classes]


@triton.jit
def _hidden(inputs, base, kind: tl.constexpr, exact: tl.constexpr):
    """Both hidden layers [block, 16] of a pair of classes after ReLU, and the two matrices."""
    row, column = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    w1 = tl.load(base + row * 16 + column).to(kind)
    w2 = tl.load(base + 256 + row * 16 + column).to(kind)
    b2 = tl.load(base + 528 + tl.arange(0, 16))
    first = tl.maximum(tl.dot(inputs, w1, input_precision=exact), 0.0)
    second = tl.dot(first.to(kind), w2, input_precision=exact) + b2[None, :]
    return first, tl.maximum(second, 0.0), w1, w2


@triton.jit
def _inputs(points, image, voxel, voxels, kind: tl.constexpr):
    """Features of a block, then a 1 for the bias, then zeros: [block, 16]."""
    channel = tl.arange(0, 16)
    valid = (voxel[:, None] < voxels) & (channel[None, :] < 8)
    places = (image * 8 + channel[None, :]).to(tl.int64) * voxels + voxel[:, None]
    loaded = tl.load(points + places, mask=valid, other=0.0).to(tl.float32)
    return tl.where(channel[None, :] == 8, 1.0, loaded).to(kind)


@triton.jit
def _forward(
    points, packed, logits, voxels, classes, pairs, block: tl.constexpr, size: tl.constexpr
):
    """Logits of all classes for one block of voxels of one image."""
    image = tl.program_id(1)
    voxel = tl.program_id(0) * block + tl.arange(0, block)
    kind: tl.constexpr = points.dtype.element_ty
    exact: tl.constexpr = "ieee"
    inputs = _inputs(points, image, voxel, voxels, kind)
    half = tl.arange(0, 16) // 8
    for pair in range(pairs):
        base = packed + (image * pairs + pair) * size
        _, second, _, _ = _hidden(inputs, base, kind, exact)
        weighted = second * tl.load(base + 512 + tl.arange(0, 16))[None, :]
        for place in tl.static_range(2):
            logit = tl.sum(tl.where(half[None, :] == place, weighted, 0.0), 1)
            logit += tl.load(base + 544 + place)
            label = pair * 2 + place
            target = logits + (image * classes + label).to(tl.int64) * voxels + voxel
            if label < classes:  # the last pair of an odd number of classes has one only
                tl.store(target, logit.to(kind), mask=voxel < voxels)


@triton.jit
def _add(target, values):
    """Add to sums in memory that only this program writes."""
    tl.store(target, tl.load(target) + values)


@triton.jit
def _backward(
    points, packed, gradient, to_points, sums, voxels, classes, pairs,
    block: tl.constexpr, size: tl.constexpr, turns: tl.constexpr,
):  # fmt: skip
    """Gradients of the features of `turns` blocks, and these blocks' sums for the weights."""
    image, part = tl.program_id(1), tl.program_id(0)
    kind: tl.constexpr = points.dtype.element_ty
    exact: tl.constexpr = "ieee"
    column, row = tl.arange(0, 16)[None, :], tl.arange(0, 16)[:, None]
    flat = tl.arange(0, 16)
    for turn in range(turns):
        voxel = (part * turns + turn) * block + tl.arange(0, block)
        inputs = _inputs(points, image, voxel, voxels, kind)
        back = tl.zeros((block, 16), tl.float32)
        for pair in range(pairs):
            base = packed + (image * pairs + pair) * size
            total = (image * tl.num_programs(0) + part).to(tl.int64) * pairs + pair
            target = sums + total * size
            first, second, w1, w2 = _hidden(inputs, base, kind, exact)
            label = pair * 2 + column // 8
            places = (image * classes + label).to(tl.int64) * voxels + voxel[:, None]
            valid = (voxel[:, None] < voxels) & (label < classes)
            g3 = tl.load(gradient + places, mask=valid, other=0.0).to(tl.float32)
            w3 = tl.load(base + 512 + flat)[None, :]
            g2 = tl.where(second > 0, g3 * w3, 0.0)
            g1 = tl.dot(g2.to(kind), tl.trans(w2), input_precision=exact)
            g1 = tl.where(first > 0, g1, 0.0)
            back += tl.dot(g1.to(kind), tl.trans(w1), input_precision=exact)
            to_w1 = tl.dot(tl.trans(inputs), g1.to(kind), input_precision=exact)
            to_w2 = tl.dot(tl.trans(first.to(kind)), g2.to(kind), input_precision=exact)
            _add(target + row * 16 + column, to_w1)
            _add(target + 256 + row * 16 + column, to_w2)
            _add(target + 512 + flat, tl.sum(second * g3, 0))
            _add(target + 528 + flat, tl.sum(g2, 0))
            bias = tl.sum(g3, 0) / 8  # every class fills eight columns with the same gradient
            for place in tl.static_range(2):
                _add(target + 544 + place, tl.sum(tl.where(flat // 8 == place, bias, 0.0), 0))
        places = (image * 8 + column).to(tl.int64) * voxels + voxel[:, None]
        inside = (voxel[:, None] < voxels) & (column < 8)
        tl.store(to_points + places, back.to(kind), mask=inside)
        tl.debug_barrier()  # the sums written here are read by other threads in the next turn
