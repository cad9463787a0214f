"""A claim (organ A, relation, organ B) tested on a labeled volume.

What the relations mean, in patient space (RAS+ mm: x to the right, y to the front, z up). A voxel
counts as its center, and as its box where gaps are measured. Each test gives supported,
contradicted, or untestable when neither is clear.

- left_of, right_of, anterior_to, posterior_to, superior_to, inferior_to: the offset of the
  centroids along the axis exceeds a margin, and A fits the fuzzy directional landscape of B in
  that direction at least as well as in the opposite one (Bloch 1999, "Fuzzy relative position
  between objects in image processing", IEEE PAMI 21(7)): the membership of a point is
  1 - 2 angle / pi for the smallest angle between the direction and the rays from B.
- adjacent_to: the gap between the surfaces is at most `near_mm`; contradicted beyond twice that.
- surrounds: seen from points of B in an axial, coronal or sagittal slab through B, voxels of A
  fill on average at least 3/4 of the circle (contradicted below 2/5 in every slab). After the
  "degree of surroundedness" of Rosenfeld and Klette 1985, in a plane.
- inside: at least 9/10 of A lies in the convex hull of B; contradicted below 1/2.
- crosses: along an axis A reaches beyond B on both sides, the two overlap along another axis and
  the gap is at most `reach_mm`; contradicted when A reaches beyond B on both sides along none.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, Delaunay, QhullError, cKDTree

from knowledge.descriptions import Claim

Verdict = Literal["supported", "contradicted", "untestable"]
Points = NDArray[np.float64]

DIRECTIONS: dict[str, tuple[float, float, float]] = {
    "left_of": (-1, 0, 0),
    "right_of": (1, 0, 0),
    "anterior_to": (0, 1, 0),
    "posterior_to": (0, -1, 0),
    "superior_to": (0, 0, 1),
    "inferior_to": (0, 0, -1),
}
_SAMPLE = 400  # points per organ in the directional landscape
_VIEWPOINTS = 30  # points from which surroundedness is looked at
_SECTORS = 72  # directions in which surroundedness is counted


@dataclass(frozen=True)
class ClaimVerdict:
    """The outcome on one volume. `measured` is in `unit`: mm, or a share of 1."""

    verdict: Verdict
    measured: float | None
    unit: str


@dataclass(frozen=True)
class Margins:
    """How clear a relation must be. All in mm."""

    offset_mm: float = 3.0
    near_mm: float = 6.0
    reach_mm: float = 30.0


class Scene:
    """The organs of one labeled volume as points in patient space.

    Args:
        labels: label values [x, y, z], in any orientation.
        affine: [4, 4], voxel index to RAS+ mm.
        values: organ name to label value.
    """

    def __init__(
        self,
        labels: NDArray[np.integer],
        affine: NDArray[np.floating],
        values: Mapping[str, int],
        margins: Margins | None = None,
    ) -> None:
        if labels.ndim != 3 or np.shape(affine) != (4, 4):
            raise ValueError(
                f"a scene needs labels [x, y, z] and an affine [4, 4], not {labels.shape} and "
                f"{np.shape(affine)}"
            )
        self.margins = margins or Margins()
        self.voxel_mm = float(np.linalg.norm(np.asarray(affine)[:3, :3], axis=0).max())
        self._points: dict[str, Points] = {}
        self._surfaces: dict[str, Points] = {}
        self._corners: dict[str, Points] = {}
        boxes = ndimage.find_objects(labels.astype(np.int32))
        for name, value in values.items():
            box = boxes[value - 1] if 0 < value <= len(boxes) else None
            if box is None:
                continue
            mask = labels[box] == value
            start = np.array([side.start for side in box])
            rim = mask & ~ndimage.binary_erosion(mask)
            self._points[name] = _in_mm(mask, start, affine)
            self._surfaces[name] = _in_mm(rim, start, affine)
            self._corners[name] = _in_mm(_corners(rim), start - 0.5, affine)

    @property
    def organs(self) -> tuple[str, ...]:
        """The organs that the volume shows."""
        return tuple(self._points)

    def test(self, claim: Claim) -> ClaimVerdict:
        """The claim on this volume; untestable when it does not show both organs."""
        if claim.organ not in self._points or claim.other not in self._points:
            return ClaimVerdict("untestable", None, "")
        if claim.relation in DIRECTIONS:
            return self._directed(claim.organ, claim.other, DIRECTIONS[claim.relation])
        return _TESTS[claim.relation](self, claim.organ, claim.other)

    def _directed(
        self, one: str, other: str, direction: tuple[float, float, float]
    ) -> ClaimVerdict:
        toward = np.asarray(direction, float)
        near, far = self._points[one], self._points[other]
        offset = float((near.mean(0) - far.mean(0)) @ toward)
        along, against = landscape(near, far, toward), landscape(near, far, -toward)
        margin = self.margins.offset_mm
        if offset >= margin and along >= against:
            return ClaimVerdict("supported", offset, "mm")
        if offset <= -margin and against >= along:
            return ClaimVerdict("contradicted", offset, "mm")
        return ClaimVerdict("untestable", offset, "mm")

    def _gap(self, one: str, other: str) -> float:
        """Surface distance in mm: 0 for neighboring voxels, however long and thin they are.

        Of two boxes of one grid, two corners are as near to each other as the boxes are.
        """
        distance, _ = cKDTree(self._corners[other]).query(self._corners[one])
        return float(distance.min())

    def _adjacent(self, one: str, other: str) -> ClaimVerdict:
        gap = self._gap(one, other)
        near = self.margins.near_mm
        return ClaimVerdict(_judge(gap <= near, gap > 2 * near), gap, "mm gap")

    def _surrounds(self, one: str, other: str) -> ClaimVerdict:
        core = self._points[other]
        half = np.maximum(np.ptp(core, axis=0) / 2, self.voxel_mm)
        shares = []
        for axis in range(3):
            height = np.abs(self._points[one][:, axis] - core[:, axis].mean())
            ring = np.delete(self._points[one][height <= half[axis]], axis, axis=1)
            seen_from = np.delete(_thinned(core, _VIEWPOINTS), axis, axis=1)
            shares.append(float(np.mean([_circle_share(ring - point) for point in seen_from])))
        share = max(shares)
        return ClaimVerdict(_judge(share >= 0.75, share < 0.4), share, "of the circle")

    def _inside(self, one: str, other: str) -> ClaimVerdict:
        try:
            surface = self._surfaces[other]
            hull = Delaunay(surface[ConvexHull(surface).vertices])
        except (QhullError, ValueError):
            return ClaimVerdict("untestable", None, "")
        share = float((hull.find_simplex(self._points[one]) >= 0).mean())
        return ClaimVerdict(_judge(share >= 0.9, share < 0.5), share, "of the volume")

    def _crosses(self, one: str, other: str) -> ClaimVerdict:
        low, high = self._points[one].min(0), self._points[one].max(0)
        low_other, high_other = self._points[other].min(0), self._points[other].max(0)
        margin = self.margins.offset_mm
        beyond = (low <= low_other - margin) & (high >= high_other + margin)
        overlap = (low <= high_other) & (low_other <= high)
        gap = self._gap(one, other)
        passes = any(
            beyond[axis] and any(overlap[rest] for rest in range(3) if rest != axis)
            for axis in range(3)
        )
        return ClaimVerdict(
            _judge(passes and gap <= self.margins.reach_mm, not beyond.any()), gap, "mm gap"
        )


_TESTS: dict[str, Callable[[Scene, str, str], ClaimVerdict]] = {
    "adjacent_to": Scene._adjacent,
    "surrounds": Scene._surrounds,
    "inside": Scene._inside,
    "crosses": Scene._crosses,
}


def landscape(points: Points, reference: Points, direction: Points) -> float:
    """How well `points` [N, 3] lie in a direction from `reference` [M, 3]: mean membership, 0 to 1.

    Fuzzy directional landscape of Bloch 1999, on at most 400 points of each.
    """
    near, far = _thinned(points), _thinned(reference)
    rays = near[:, None] - far[None]
    lengths = np.linalg.norm(rays, axis=2)
    cosines = (rays @ direction) / np.where(lengths == 0, 1.0, lengths)
    angles = np.arccos(np.clip(np.where(lengths == 0, 1.0, cosines), -1.0, 1.0)).min(axis=1)
    return float(np.maximum(0.0, 1.0 - 2.0 * angles / np.pi).mean())


def _corners(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which corners of the grid [x + 1, y + 1, z + 1] a voxel of the mask [x, y, z] has."""
    found = np.zeros([length + 1 for length in mask.shape], bool)
    for corner in itertools.product((0, 1), repeat=3):
        found[tuple(slice(at, at + n) for at, n in zip(corner, mask.shape, strict=True))] |= mask
    return found


def _in_mm(
    mask: NDArray[np.bool_], start: NDArray[np.floating | np.integer], affine: NDArray[np.floating]
) -> Points:
    index = np.argwhere(mask) + start
    return np.asarray(index @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3], np.float64)


def _thinned(points: Points, most: int = _SAMPLE) -> Points:
    return points[:: max(1, -(-len(points) // most))]


def _circle_share(plane: Points) -> float:
    """The share of directions in which points [N, 2] are seen from the origin."""
    if not len(plane):
        return 0.0
    angles = np.arctan2(plane[:, 1], plane[:, 0])
    sectors = np.floor((angles + np.pi) / (2 * np.pi) * _SECTORS).astype(int) % _SECTORS
    seen = np.zeros(_SECTORS, bool)
    seen[sectors] = True
    # Voxels are coarse: a sector between two seen ones is seen.
    seen = ndimage.binary_closing(np.tile(seen, 3), np.ones(5))[_SECTORS : 2 * _SECTORS]
    return float(seen.mean())


def _judge(supported: bool, contradicted: bool) -> Verdict:
    if supported:
        return "supported"
    return "contradicted" if contradicted else "untestable"
