"""Choices of a descriptor from a fingerprint: window, grid, patch, cube, sizes of organs."""

from dataclasses import dataclass
from math import ceil, floor, prod

from pipeline.datasets.drafts.fingerprint import Fingerprint, Triple

SMALL_BELOW_ML = 120.0  # the largest organ that AMOS counts as small, the pancreas, is below
# One step of the recipe tak (fp16, 2 + 2 patches, 16 classes) on an H100; 9.3 GiB with fp32.
MEASURED_GIB, MEASURED_SIDE = 5.7, 96
USED = 0.85  # part of the memory that is planned with
_SHARE = 8  # a patch holds at least this part of a scan, or the grid is made coarser
_ACROSS = 4  # voxels across the thinnest organ that a coarser grid keeps
_FORMS = ((5, 32), (4, 16), (3, 8))  # levels of the network and side of a cube, see MagicNet


@dataclass(frozen=True)
class Plan:
    """Suggested grid and training sizes.

    Attributes:
        spacing_mm: of the grid, [x, y, z].
        shape: voxels of a typical scan on it.
        patch, cube, levels: of training within the memory.
        coarser: whether the grid is coarser than the median spacing.
    """

    spacing_mm: Triple
    shape: tuple[int, int, int]
    patch: tuple[int, int, int]
    cube: int
    levels: int
    coarser: bool

    @property
    def share(self) -> float:
        """The part of a typical scan that a patch holds, at most 1."""
        return min(prod(self.patch) / prod(self.shape), 1.0)


def plan(fingerprint: Fingerprint, memory_gib: float) -> Plan:
    """Grid, patch and cube for a device memory.

    The grid is the median spacing, made coarser, finest axis first, until a patch holds an eighth
    of a typical scan; but four voxels across the thinnest organ stay.

    Raises:
        ValueError: a memory that is not positive.
    """
    if not memory_gib > 0:
        raise ValueError(f"--memory {memory_gib:g}: expected GiB, more than 0")
    voxels = USED * memory_gib / MEASURED_GIB * MEASURED_SIDE**3
    limit = max(fingerprint.thinnest_mm / _ACROSS, *fingerprint.spacing_mm)
    extent, spacing = fingerprint.extent_mm, list(fingerprint.spacing_mm)
    while prod(_shape(extent, spacing)) > _SHARE * voxels and min(spacing) < limit:
        finest = 1.01 * min(spacing)  # axes of equal spacing stay equal
        spacing = [min(1.05 * side, limit) if side <= finest else side for side in spacing]
    rounded = [_rounded(side) for side in spacing]
    shape = _shape(extent, rounded)
    patch, cube, levels = _patch(shape, voxels)
    return Plan(
        (rounded[0], rounded[1], rounded[2]),
        shape,
        patch,
        cube,
        levels,
        coarser=any(b > 1.02 * a for a, b in zip(fingerprint.spacing_mm, rounded, strict=True)),
    )


def _patch(shape: tuple[int, int, int], voxels: float) -> tuple[tuple[int, int, int], int, int]:
    """Patch, cube and levels: whole cubes, at least two, of about the scan's proportions."""
    for form in _FORMS:
        sides = _whole_cubes(shape, form[1], voxels)
        if prod(sides) <= voxels and prod(side // form[1] for side in sides) >= 8:
            break
    levels, cube = form
    if prod(sides) == cube**3:
        sides[shape.index(max(shape))] *= 2  # a patch of one cube has nothing to exchange
    return (sides[0], sides[1], sides[2]), cube, levels


def _whole_cubes(shape: tuple[int, int, int], cube: int, voxels: float) -> list[int]:
    """Sides of whole cubes near a scan's, the relatively longest shortened until they fit."""
    sides = [max(round(side / cube), 1) * cube for side in shape]
    while prod(sides) > voxels and max(sides) > cube:
        ratios = [s / n if s > cube else 0.0 for s, n in zip(sides, shape, strict=True)]
        sides[ratios.index(max(ratios))] -= cube
    return sides


def window_hu(fingerprint: Fingerprint) -> tuple[int, int]:
    """The labeled intensities but for half a percent at either end, in tens of HU outward."""
    low, high = fingerprint.percentiles_hu
    first, last = floor(low / 10) * 10, ceil(high / 10) * 10
    return first, max(last, first + 10)


def size_of(volume_ml: float) -> str:
    """`large` or `small`, the groups of organs in tables."""
    return "large" if volume_ml >= SMALL_BELOW_ML else "small"


def _shape(extent_mm: Triple, spacing_mm: list[float]) -> tuple[int, int, int]:
    sides = [max(round(e / s), 1) for e, s in zip(extent_mm, spacing_mm, strict=True)]
    return sides[0], sides[1], sides[2]


def _rounded(side: float) -> float:
    """Two digits of a spacing, three below 1 mm."""
    return round(side, 2) if side < 1 else round(side, 1)
