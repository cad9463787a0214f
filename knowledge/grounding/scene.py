"""A claim (organ A, relation, organ B) tested on a labeled volume.

The relations, in patient space (RAS+ mm: x to the right, y to the front, z up). Each test gives
supported, contradicted, or untestable when neither is clear.

- left_of, right_of, anterior_to, posterior_to, superior_to, inferior_to: among the columns along
  the axis that both organs fill, A's mean lies on the claimed side of B's in at least 2/3, and by a
  margin in the median column. Where they share few columns, the centroids differ by the margin
  and the directional landscapes of the two agree. A claim and its inverse get the same verdict.
- adjacent_to: the gap between the surfaces is at most `near_mm`; contradicted beyond twice that.
- surrounds: seen from one end of B (a quarter of its volume, such as the head of the pancreas), A
  fills at least 2/3 of the circle in one plane; contradicted below 1/2.
- inside: at least 9/10 of the rays in all directions from A meet B; contradicted below 3/4.
- crosses: seen along an axis A and B overlap like the bars of an X, A is not much broader than B
  there, does not run along a body that B crosses, and the gap is at most `near_mm`; contradicted
  where no view shows an X.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from knowledge.descriptions import Claim
from knowledge.grounding.crossings import crossing
from knowledge.grounding.directions import CLEAR, directional_share, side_share
from knowledge.grounding.enclosure import enclosed_share, surrounded_share
from knowledge.grounding.regions import regions_of

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


@dataclass(frozen=True)
class ClaimVerdict:
    """The outcome on one volume. `measured` is in `unit`: mm, or a share of 1."""

    verdict: Verdict
    measured: float | None
    unit: str


@dataclass(frozen=True)
class Margins:
    """Margins that make a relation clear, in mm."""

    offset_mm: float = 3.0
    near_mm: float = 6.0


class Scene:
    """The organs of one labeled volume in patient space.

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
                f"expected labels [x, y, z] and an affine [4, 4], got {labels.shape} and "
                f"{np.shape(affine)}"
            )
        self.margins = margins or Margins()
        self._regions, self.cell_mm = regions_of(labels, affine, values)
        self._corners: dict[str, Points] = {}
        self._centers: dict[str, Points] = {}
        boxes = ndimage.find_objects(labels.astype(np.int32, copy=False))
        for name in self._regions:
            box = boxes[values[name] - 1]
            mask = labels[box] == values[name]
            start = np.array([side.start for side in box])
            rim = mask & ~ndimage.binary_erosion(mask)
            self._corners[name] = _in_mm(_corners(rim), start - 0.5, affine)
            self._centers[name] = _in_mm(mask, start, affine).mean(0)

    @property
    def organs(self) -> tuple[str, ...]:
        """The organs that the volume shows."""
        return tuple(self._regions)

    def test(self, claim: Claim) -> ClaimVerdict:
        """The claim on this volume; untestable when it does not show both organs."""
        if claim.organ not in self._regions or claim.other not in self._regions:
            return ClaimVerdict("untestable", None, "")
        if claim.relation in DIRECTIONS:
            return self._direction(claim.organ, claim.other, DIRECTIONS[claim.relation])
        return _TESTS[claim.relation](self, claim.organ, claim.other)

    def _direction(
        self, one: str, other: str, direction: tuple[float, float, float]
    ) -> ClaimVerdict:
        toward = np.asarray(direction, float)
        axis = int(np.abs(toward).argmax())
        sign = toward[axis]
        first, second = self._regions[one], self._regions[other]
        columns = side_share(first, second, axis)
        if columns is None:
            share = directional_share(first.cells, second.cells, toward)
            offset = float((self._centers[one] - self._centers[other]) @ toward)
            clear = 0.5  # the offset decides, if the landscape does not disagree
        else:
            share = columns[0] if sign > 0 else 1 - columns[0]
            offset, clear = float(sign) * columns[1] * self.cell_mm, CLEAR
        margin = self.margins.offset_mm
        supported = share >= clear and offset >= margin
        return ClaimVerdict(
            _judge(supported, share <= 1 - clear and offset <= -margin), offset, "mm"
        )

    def _adjacent(self, one: str, other: str) -> ClaimVerdict:
        gap = self._gap(one, other)
        near = self.margins.near_mm
        return ClaimVerdict(_judge(gap <= near, gap > 2 * near), gap, "mm gap")

    def _surrounds(self, one: str, other: str) -> ClaimVerdict:
        share = surrounded_share(self._regions[other], self._regions[one], self.cell_mm)
        return ClaimVerdict(_judge(share >= 2 / 3, share < 0.5), share, "of the circle")

    def _inside(self, one: str, other: str) -> ClaimVerdict:
        share = enclosed_share(self._regions[one], self._regions[other])
        return ClaimVerdict(_judge(share >= 0.9, share < 0.75), share, "of the directions")

    def _crosses(self, one: str, other: str) -> ClaimVerdict:
        near = self.margins.near_mm
        kind = crossing(self._regions[one], self._regions[other], self.cell_mm, near)
        gap = self._gap(one, other)
        return ClaimVerdict(_judge(kind == "crosses", kind == "apart"), gap, "mm gap")

    def _gap(self, one: str, other: str) -> float:
        """Surface distance in mm: 0 for neighboring voxels, however long and thin they are.

        Of two boxes of one grid, two corners are as near to each other as the boxes are.
        """
        distance, _ = cKDTree(self._corners[other]).query(self._corners[one])
        return float(distance.min())


_TESTS: dict[str, Callable[[Scene, str, str], ClaimVerdict]] = {
    "adjacent_to": Scene._adjacent,
    "surrounds": Scene._surrounds,
    "inside": Scene._inside,
    "crosses": Scene._crosses,
}


def _corners(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The corners [x + 1, y + 1, z + 1] of the grid that belong to a voxel of the mask."""
    corners = np.zeros([length + 1 for length in mask.shape], bool)
    for corner in itertools.product((0, 1), repeat=3):
        corners[tuple(slice(at, at + n) for at, n in zip(corner, mask.shape, strict=True))] |= mask
    return corners


def _in_mm(
    mask: NDArray[np.bool_], start: NDArray[np.floating | np.integer], affine: NDArray[np.floating]
) -> Points:
    index = np.argwhere(mask) + start
    return np.asarray(index @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3], np.float64)


def _judge(supported: bool, contradicted: bool) -> Verdict:
    if supported:
        return "supported"
    return "contradicted" if contradicted else "untestable"
