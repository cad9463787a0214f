"""Partition of volumes into cubes and their recovery, pure functions with inverses.

MagicNet (Chen et al., CVPR 2023, arXiv 2301.01767). Cubes are enumerated with the last axis
fastest: cube (x, y, z) of an n^3 grid has number n^2 x + n y + z.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def partition(volumes: Tensor, grid: Sequence[int]) -> Tensor:
    """Cut [B, c, X, Y, Z] into [B, n, c, X/nx, Y/ny, Z/nz], n = nx ny nz cubes per volume.

    Raises:
        ValueError: a side is not a multiple of the number of cubes along it.
    """
    batch, channels, *sides = volumes.shape
    if any(side % count for side, count in zip(sides, grid, strict=True)):
        raise ValueError(f"sides {tuple(sides)} cannot be cut into {tuple(grid)} equal parts")
    (nx, ny, nz), (sx, sy, sz) = grid, [s // n for s, n in zip(sides, grid, strict=True)]
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
    blocks = cubes.reshape(batch, nx, ny, nz, channels, sx, sy, sz)
    if order == "published":
        blocks = blocks.transpose(1, 3)
    elif order != "correct":
        raise LookupError(f"no cube order {order!r}; there is correct, published")
    joined = blocks.permute(0, 4, 1, 5, 2, 6, 3, 7)
    return joined.reshape(batch, channels, nx * sx, ny * sy, nz * sz)


def draw_exchange(batch: int, cubes: int, generator: torch.Generator) -> Tensor:
    """A random permutation of the volumes for every cube: [B, n], on the generator's device."""
    noise = torch.rand(batch, cubes, generator=generator, device=generator.device)
    return noise.argsort(0)


def exchange(volumes: Tensor, sources: Tensor, grid: Sequence[int]) -> Tensor:
    """Let cube i of volume b come from volume sources[b, i]; cubes keep their place.

    Undo it with `exchange(mixed, sources.argsort(0), grid)`.
    """
    cubes = partition(volumes, grid)
    places = torch.arange(cubes.shape[1], device=cubes.device)
    return recover(cubes[sources, places], grid)
