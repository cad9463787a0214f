"""Surface Dice by area (Nikolov et al., 2018, arXiv 1809.04430) of masks with cubic voxels of 1.

A surface is where the eight voxels around a corner of the grid disagree; its area there is that of
the triangles by which marching cubes would part them.
"""

from functools import cache
from itertools import combinations, product
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation.evaluation.surface import Mask

_CORNERS = tuple(product((0, 1), repeat=3))

# The area between up to four voxels inside and the rest of eight. A key counts the pairs of the
# voxels inside that share a face, an edge, a corner: turned and mirrored patterns have one area.
_AREAS = {
    1: {(0, 0, 0): sqrt(3) / 8},
    2: {(1, 0, 0): sqrt(2) / 2, (0, 1, 0): sqrt(3) / 4, (0, 0, 1): sqrt(3) / 4},
    3: {
        (2, 1, 0): 1 / 2 + 3 * sqrt(3) / 8,
        (1, 1, 1): sqrt(2) / 2 + sqrt(3) / 8,
        (0, 3, 0): 3 * sqrt(3) / 8,
    },
    4: {
        (4, 2, 0): 1.0,
        (3, 3, 0): 3 * sqrt(3) / 4,
        (3, 2, 1): sqrt(2) / 2 + sqrt(3) / 2,
        (2, 3, 1): 1 / 2 + sqrt(3) / 2,
        (2, 2, 2): sqrt(2),
        (0, 6, 0): sqrt(3) / 2,
    },
}


@cache
def areas() -> NDArray[np.float64]:
    """The area at a corner of the grid, [256], by the pattern of the eight voxels around it.

    Bit i of a pattern is set where the voxel at the i-th of the offsets 000, 001, ... 111 is
    inside.
    """
    table = np.zeros(256)
    for pattern in range(1, 255):
        inside = [corner for bit, corner in enumerate(_CORNERS) if pattern >> bit & 1]
        if len(inside) > 4:  # the surface is that of the voxels outside
            inside = [corner for corner in _CORNERS if corner not in inside]
        apart = [
            sum(a != b for a, b in zip(*pair, strict=True)) for pair in combinations(inside, 2)
        ]
        pairs = apart.count(1), apart.count(2), apart.count(3)
        table[pattern] = _AREAS[len(inside)][pairs]
    return table


def surface_dice(one: Mask, other: Mask, tolerance: float = 1.0) -> float:
    """Share of both surfaces' area within the tolerance of the other surface, in [0, 1].

    Both masks [x, y, z] need a voxel. Distances are Euclidean, between corners of the grid, in
    voxels.
    """
    # One voxel of margin, so that the surface at the border of the arrays has its corners.
    codes = [_patterns(np.pad(mask, 1)) for mask in (one, other)]
    near, far = ((code > 0) & (code < 255) for code in codes)
    shares = [areas()[code[edge]] for code, edge in zip(codes, (near, far), strict=True)]
    # Within a distance of a surface is where a ball of that radius around its corners reaches.
    ball = _ball(tolerance)
    pairs = ((far, near), (near, far))
    reached = [ndimage.binary_dilation(target, ball)[edge] for target, edge in pairs]
    within = sum(share[close].sum() for share, close in zip(shares, reached, strict=True))
    return float(within / sum(share.sum() for share in shares))


def _ball(radius: float) -> Mask:
    """The points of a grid within a radius of the one in the middle."""
    axis = np.arange(-int(radius), int(radius) + 1) ** 2
    ball: Mask = axis[:, None, None] + axis[:, None] + axis <= radius**2
    return ball


def _patterns(mask: Mask) -> NDArray[np.uint8]:
    """The pattern of the eight voxels around every inner corner of the grid."""
    x, y, z = mask.shape
    patterns = np.zeros((x - 1, y - 1, z - 1), dtype=np.uint8)
    for bit, (i, j, k) in enumerate(_CORNERS):
        part = mask[i : x - 1 + i, j : y - 1 + j, k : z - 1 + k]
        patterns |= part.view(np.uint8) << bit
    return patterns
