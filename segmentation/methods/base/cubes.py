"""Partition of volumes into cubes and recovery of volumes from cubes, pure functions.

MagicNet (Chen et al., CVPR 2023, arXiv 2301.01767). Cubes are enumerated with the last axis
fastest: cube (x, y, z) of an n^3 grid has number n^2 x + n y + z.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from segmentation.common.suggest import unknown


def partition(volumes: Tensor, grid: Sequence[int]) -> Tensor:
    """Cut [B, c, X, Y, Z] into [B, n, c, X/nx, Y/ny, Z/nz], n = nx ny nz cubes per volume.

    Raises:
        ValueError: a side is not a multiple of the number of cubes along it.
    """
    batch, channels, *sides = volumes.shape
    if any(side % count for side, count in zip(sides, grid, strict=True)):
        raise ValueError(f"sides {tuple(sides)} cannot be cut into {tuple(grid)} equal parts")
    (nx, ny, nz), (sx, sy, sz) = grid, [s // n for s, n in zip(sides, grid, strict=True)]
    if _channels_last(volumes):
        split = volumes.permute(0, 2, 3, 4, 1).reshape(batch, nx, sx, ny, sy, nz, sz, channels)
        cubes = split.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, -1, sx, sy, sz, channels)
        return cubes.permute(0, 1, 5, 2, 3, 4)
    split = volumes.reshape(batch, channels, nx, sx, ny, sy, nz, sz)
    return split.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, nx * ny * nz, channels, sx, sy, sz)


def recover(cubes: Tensor, grid: Sequence[int], order: str = "correct") -> Tensor:
    """Put [B, n, c, x, y, z] together to [B, c, nx x, ny y, nz z], the inverse of `partition`.

    Args:
        order: `correct`, or `published`: the released code of MagicNet, GALoss and TAK reads the
            cubes with the first axis fastest, which exchanges the first and last axis of the cube
            grid, so that 18 of 27 cubes land in the wrong place (only for equal grids).
    """
    nx, ny, nz = grid
    batch, _, channels, sx, sy, sz = cubes.shape
    blocks = cubes.unflatten(1, (nx, ny, nz))
    if order == "published":
        blocks = blocks.transpose(1, 3)
    elif order != "correct":
        raise LookupError(unknown("cube order", order, ("correct", "published")))
    if _channels_last(cubes.flatten(0, 1)):
        joined = blocks.permute(0, 1, 5, 2, 6, 3, 7, 4)
        return joined.reshape(batch, nx * sx, ny * sy, nz * sz, channels).permute(0, 4, 1, 2, 3)
    joined = blocks.permute(0, 4, 1, 5, 2, 6, 3, 7)
    return joined.reshape(batch, channels, nx * sx, ny * sy, nz * sz)


def draw_exchange(batch: int, cubes: int, generator: torch.Generator) -> Tensor:
    """A random permutation of the volumes for every cube: [B, n], on the generator's device."""
    noise = torch.rand(batch, cubes, generator=generator, device=generator.device)
    return noise.argsort(0)


def exchange(volumes: Tensor, sources: Tensor, grid: Sequence[int]) -> Tensor:
    """Let cube i of volume b come from volume sources[b, i]; cubes keep their place.

    The inverse is `exchange(mixed, sources.argsort(0), grid)`. One copy, which keeps the memory
    layout of the volumes.
    """
    return _Exchange.apply(volumes, sources, tuple(grid))


class _Exchange(torch.autograd.Function):
    """The gradient of an exchange is the inverse exchange of the output's gradient.

    Autograd's gradient of `index_select` would add into zeros (`index_add`); a permutation needs
    one copy only.
    """

    @staticmethod
    def forward(ctx: Any, volumes: Tensor, sources: Tensor, grid: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(sources)
        ctx.grid = grid
        return _gathered(volumes, sources, grid)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (sources,) = ctx.saved_tensors
        return _gathered(gradient, sources.argsort(0), ctx.grid), None, None


def _gathered(volumes: Tensor, sources: Tensor, grid: Sequence[int]) -> Tensor:
    """The exchange as one `index_select` of rows: runs of memory within one cube."""
    batch, channels, *sides = volumes.shape
    (nx, ny, nz), (sx, sy, sz) = grid, [s // n for s, n in zip(sides, grid, strict=True)]
    places = torch.arange(batch * volumes[0].numel() // sz, device=volumes.device)
    if _channels_last(volumes):
        memory = volumes.permute(0, 2, 3, 4, 1)
        rows = memory.reshape(-1, sz * channels)
        places = places[: len(rows)].view(batch, 1, nx, sx, ny, sy, nz)
    else:
        memory = volumes.contiguous()
        rows = memory.view(-1, sz)
        places = places.view(batch, channels, nx, sx, ny, sy, nz)
    # A cube keeps its place within the volume, so its source row is a whole number of volumes away.
    offsets = sources - torch.arange(batch, device=sources.device)[:, None]
    offsets = offsets.view(batch, 1, nx, 1, ny, 1, nz) * places[0].numel()
    mixed = rows.index_select(0, (places + offsets).flatten()).view(memory.shape)
    return mixed.permute(0, 4, 1, 2, 3) if _channels_last(volumes) else mixed


def _channels_last(volumes: Tensor) -> bool:
    """Whether [B, c, x, y, z] is channels-last in memory."""
    return not volumes.is_contiguous() and volumes.is_contiguous(
        memory_format=torch.channels_last_3d
    )
