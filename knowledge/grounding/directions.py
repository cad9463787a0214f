"""Relative directions of two organs, from the columns that both of them fill.

The test is symmetric: what it finds of (A, B, direction) it finds of (B, A, opposite direction).
"""

import numpy as np

from knowledge.grounding.regions import Region, Vector

SHARED = 1 / 3  # of the smaller shadow: fewer shared columns speak of a part, and centroids decide
CLEAR = 2 / 3  # of the shared columns that agree, or of the weight of the landscape


def side_share(one: Region, other: Region, axis: int) -> tuple[float, float] | None:
    """Share of the shared columns along an axis in which `one` has the higher mean, and by how far.

    A column in which both have the same mean counts half. The distance is the median over the
    columns, in cells, positive where `one` is higher. None if too few columns are shared.
    """
    first, second = one.shadows[axis], other.shadows[axis]
    shared = first.covered & second.covered
    smaller = min(first.covered.sum(), second.covered.sum())
    if shared.sum() < max(1, SHARED * smaller):
        return None
    ahead = first.mean[shared] - second.mean[shared]
    share = float((np.sign(ahead) + 1).mean() / 2)
    return share, float(np.median(ahead))


def directional_share(one: Vector, other: Vector, direction: Vector) -> float:
    """The share of a direction of `one` [N, 3] from `other` [M, 3], against the opposite one.

    From 0 (opposite) over 1/2 (sideways) to 1, from fuzzy directional landscapes seen from both.
    """
    along = landscape(one, other, direction) + landscape(other, one, -direction)
    against = landscape(one, other, -direction) + landscape(other, one, direction)
    return along / (along + against) if along + against else 0.5


def landscape(points: Vector, reference: Vector, direction: Vector) -> float:
    """Mean membership, 0 to 1, of `points` [N, 3] in a direction from `reference` [M, 3].

    Fuzzy directional landscape of Bloch 1999 ("Fuzzy relative position between objects in image
    processing", IEEE PAMI 21(7)), on at most 400 points of each: the membership of a point is
    1 - 2 angle / pi for the smallest angle between the direction and the rays from the reference.
    """
    near, far = thin_out(points), thin_out(reference)
    rays = near[:, None] - far[None]
    lengths = np.linalg.norm(rays, axis=2)
    cosines = (rays @ direction) / np.where(lengths == 0, 1.0, lengths)
    angles = np.arccos(np.clip(np.where(lengths == 0, 1.0, cosines), -1.0, 1.0)).min(axis=1)
    return float(np.maximum(0.0, 1.0 - 2.0 * angles / np.pi).mean())


def thin_out(points: Vector, most: int = 400) -> Vector:
    """At most so many of the points, evenly spaced in their order."""
    return points[:: max(1, -(-len(points) // most))]
