"""Smooth solids in millimeters: ellipsoids, tubes, unions and cuts, by their signed distance.

Points are [3, ...] arrays (x, y, z); a distance is negative inside, in mm, and right near the
surface (for an ellipsoid it is the usual first-order estimate, not the exact distance).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

Array = np.ndarray
Vector = Sequence[float] | Array


class Shape(Protocol):
    """A solid with a signed distance and a bounding box."""

    def distance(self, points: Array) -> Array:
        """Signed distance to the surface in mm, float32 [...], of points [3, ...]."""
        ...

    def bounds(self) -> tuple[Array, Array]:
        """Opposite corners of a bounding box of the solid."""
        ...


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid: center, three radii, rotation about x, y and z in degrees."""

    center: Vector
    radii: Vector
    turn_degrees: Vector = (0, 0, 0)

    def distance(self, points: Array) -> Array:
        """Signed distance in mm of points [3, ...] from the surface, negative inside."""
        axes = Rotation.from_euler("xyz", self.turn_degrees, degrees=True).as_matrix()
        offset = points - _column(self.center, points)
        local = np.tensordot(axes.T.astype(points.dtype), offset, axes=1)
        radii = _column(self.radii, points)
        level = np.linalg.norm(local / radii, axis=0)
        slope = np.linalg.norm(local / radii**2, axis=0)
        at_center = -min(self.radii)
        return np.where(slope > 1e-6, level * (level - 1) / np.maximum(slope, 1e-6), at_center)

    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest corner [3] of a box around the solid, in mm."""
        reach = max(self.radii)
        return np.subtract(self.center, reach), np.add(self.center, reach)


@dataclass(frozen=True)
class Tube:
    """A tube along a smooth path through points, with a radius at each of them."""

    path: Sequence[Vector] | Array
    radii: Vector
    pieces: int = 3

    def distance(self, points: Array) -> Array:
        """Signed distance in mm of points [3, ...] from the surface, negative inside."""
        centers, radii = self._sampled()
        nearest = np.full(points.shape[1:], np.inf, points.dtype)
        for start, end, r0, r1 in zip(
            centers[:-1], centers[1:], radii[:-1], radii[1:], strict=True
        ):
            along = end - start
            offset = points - _column(start, points)
            share = np.tensordot((along / (along @ along)).astype(points.dtype), offset, axes=1)
            share = np.clip(share, 0, 1)
            gap = np.linalg.norm(offset - _column(along, points) * share, axis=0)
            nearest = np.minimum(nearest, gap - (r0 + (r1 - r0) * share))
        return nearest.astype(points.dtype, copy=False)

    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest corner [3] of a box around the solid, in mm."""
        centers, radii = self._sampled()
        return (centers - radii[:, None]).min(0), (centers + radii[:, None]).max(0)

    def _sampled(self) -> tuple[Array, Array]:
        knots = np.arange(len(self.path))
        fine = np.linspace(0, knots[-1], self.pieces * knots[-1] + 1)
        centers = CubicSpline(knots, np.asarray(self.path, float), bc_type="natural")(fine)
        return centers, np.interp(fine, knots, self.radii)


@dataclass(frozen=True)
class Union:
    """A smooth union of solids; `blend_mm` is the width of the rounded seam."""

    parts: Sequence[Shape]
    blend_mm: float = 6.0

    def distance(self, points: Array) -> Array:
        """Signed distance in mm of points [3, ...] from the surface, negative inside."""
        joined, *others = (part.distance(points) for part in self.parts)
        for other in others:
            share = np.clip(0.5 + 0.5 * (other - joined) / self.blend_mm, 0, 1)
            joined = other + (joined - other) * share - self.blend_mm * share * (1 - share)
        return joined

    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest corner [3] of a box around the solid, in mm."""
        corners = [part.bounds() for part in self.parts]
        lower = np.min([low for low, _ in corners], axis=0) - self.blend_mm
        return lower, np.max([high for _, high in corners], axis=0) + self.blend_mm


@dataclass(frozen=True)
class Carved:
    """A solid minus another."""

    whole: Shape
    cut: Shape

    def distance(self, points: Array) -> Array:
        """Signed distance in mm of points [3, ...] from the surface, negative inside."""
        return np.maximum(self.whole.distance(points), -self.cut.distance(points))

    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest corner [3] of a box around the solid, in mm."""
        return self.whole.bounds()


@dataclass(frozen=True)
class Common:
    """The intersection of solids."""

    parts: Sequence[Shape]

    def distance(self, points: Array) -> Array:
        """Signed distance in mm of points [3, ...] from the surface, negative inside."""
        return np.maximum.reduce([part.distance(points) for part in self.parts])

    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest corner [3] of a box around the solid, in mm."""
        corners = [part.bounds() for part in self.parts]
        return (
            np.max([low for low, _ in corners], axis=0),
            np.min([high for _, high in corners], axis=0),
        )


@dataclass(frozen=True)
class Above:
    """The part of a solid beyond a level of one axis (0, 1, 2 for x, y, z), as gas in a bowel."""

    whole: Shape
    axis: int
    level_mm: float

    def distance(self, points: Array) -> Array:
        """Signed distance in mm of points [3, ...] from the surface, negative inside."""
        level = points.dtype.type(self.level_mm)
        return np.maximum(self.whole.distance(points), level - points[self.axis])

    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest corner [3] of a box around the solid, in mm."""
        return self.whole.bounds()


@dataclass(frozen=True)
class Placed:
    """A solid scaled about a point and shifted."""

    whole: Shape
    about: Vector
    factor: float = 1.0
    shift_mm: Vector = (0.0, 0.0, 0.0)

    def distance(self, points: Array) -> Array:
        """Signed distance in mm of points [3, ...] from the surface, negative inside."""
        factor = points.dtype.type(self.factor)
        about, shift = _column(self.about, points), _column(self.shift_mm, points)
        return factor * self.whole.distance((points - shift - about) / factor + about)

    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest corner [3] of a box around the solid, in mm."""
        about, shift = np.asarray(self.about), np.asarray(self.shift_mm)
        low, high = self.whole.bounds()
        middle = about + shift
        return middle + self.factor * (low - about), middle + self.factor * (high - about)


def volume_ml(shape: Shape, step_mm: float = 2.0) -> float:
    """The volume of a solid, by counting the points of a grid of this step inside it."""
    low, high = shape.bounds()
    axes = [np.arange(a, b, step_mm) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    return float(np.count_nonzero(shape.distance(points) < 0)) * step_mm**3 / 1000


def _column(vector: Vector, points: Array) -> Array:
    """A vector [3] shaped so that it broadcasts over points [3, ...]."""
    return np.asarray(vector, points.dtype).reshape((3,) + (1,) * (points.ndim - 1))
