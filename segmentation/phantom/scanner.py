"""A synthetic CT scanner: deformed solids of one subject on a grid of any orientation."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from segmentation.anatomy.body import (
    AIR,
    BONE,
    CAVITY_MM,
    DISC,
    FAT,
    LUNG,
    WALL_MM,
    Part,
)
from segmentation.anatomy.shapes import Array
from segmentation.phantom.subject import Scanner, Subject

_SLAB_VOXELS = 2**20
# Field of view of a typical scan, left-right and back-front; the height follows the organs.
WIDTH_MM, DEPTH_MM = 344.0, 262.0


@dataclass(frozen=True)
class Scan:
    """A synthetic CT scan: HU int16 and labels uint8 [i, j, k], and the affine to RAS+ mm."""

    voxels: Array
    labels: Array
    affine: Array


class Canvas:
    """The voxels of a scan onto which solids are painted; later ones overwrite earlier ones.

    Args:
        points: voxel centers in the mean anatomy, [3, n] in mm.
        voxel_mm: width of the partial volume effect at borders.
        fat_mm: thickness of the fat under the skin.
        muscle_hu: of the muscles of the trunk.
    """

    def __init__(self, points: Array, voxel_mm: float, fat_mm: float, muscle_hu: float) -> None:
        self.points = points
        self.voxel_mm = voxel_mm
        self.muscle_hu = muscle_hu
        self.hu = np.full(points.shape[1], AIR, np.float32)
        self.labels = np.zeros(points.shape[1], np.uint8)
        wide, deep = CAVITY_MM
        self.skin = self._oval(wide + WALL_MM + fat_mm, deep + WALL_MM + fat_mm)
        self.wall = self._oval(wide + WALL_MM, deep + WALL_MM)
        self.cavity = self._oval(wide, deep)

    def paint(self, distance: Array, hu: float, *, where: Array | None = None) -> None:
        """Fill the inside of a signed distance [n] (or at the chosen points) with one HU."""
        share = np.clip(0.5 - distance / self.voxel_mm, 0, 1)
        target = slice(None) if where is None else where
        self.hu[target] += share * (hu - self.hu[target])

    def paint_part(self, part: Part, label: int) -> None:
        """Paint a solid, clipped to the abdominal cavity, and label its inside."""
        low, high = (corner.astype(np.float32)[:, None] for corner in part.shape.bounds())
        margin = self.voxel_mm
        near = ((self.points > low - margin) & (self.points < high + margin)).all(axis=0)
        chosen = np.flatnonzero(near)
        distance = part.shape.distance(self.points[:, chosen])
        distance = np.maximum(distance, self.cavity[chosen])
        self.paint(distance, part.hu, where=chosen)
        self.labels[chosen[distance < 0]] = label

    def paint_trunk(self) -> None:
        """Paint fat, muscle wall, cavity, lungs and bones."""
        for distance, hu in ((self.skin, FAT), (self.wall, self.muscle_hu), (self.cavity, FAT)):
            self.paint(distance, hu)
        self._paint_lungs()
        self._paint_ribs()
        self._paint_spine()

    def _oval(self, wide: float, deep: float) -> Array:
        x, y, _ = self.points
        level = np.hypot(x / wide, y / deep)
        slope = np.hypot(x / wide**2, y / deep**2)
        return level * (level - 1) / np.maximum(slope, 1e-6)

    def _paint_lungs(self) -> None:
        x, y, z = self.points
        self.paint(np.maximum(self.cavity, 105 - z), self.muscle_hu)
        for side, top in ((1, 100.0), (-1, 92.0)):
            dome = top - ((x - 70 * side) ** 2 + y**2) / 120
            inside = np.maximum(self.cavity + 3, dome - z)
            self.paint(np.maximum(inside, 26 - side * x), LUNG)

    def _paint_ribs(self) -> None:
        x, y, z = self.points
        middle = np.abs(self.cavity - WALL_MM / 2) - 4
        stripes = np.abs(np.mod(z - 0.35 * y, 27) - 13.5) - 5
        self.paint(np.maximum.reduce([middle, stripes, -10 - z, 25 - np.abs(x)]), BONE)

    def _paint_spine(self) -> None:
        x, y, z = self.points
        for side in (-1, 1):
            back = np.hypot((x - 36 * side) / 1.6, y + 76) - 17
            self.paint(np.maximum(back, self.wall), self.muscle_hu)
        body = np.hypot(x, (y + 46) * 1.15) - 21
        disc = np.abs(np.mod(z, 34) - 17) - 4
        self.paint(body, BONE)
        self.paint(np.maximum(body, disc), DISC)
        arch = np.hypot(x, y + 75) - 14
        spine = np.maximum(np.maximum(np.abs(x) - 4, np.abs(y + 90) - 14), -disc)
        self.paint(np.minimum(arch, spine), BONE)
        self.paint(np.hypot(x, y + 75) - 8, 20)


def scan_subject(
    names: tuple[str, ...],
    subject: Subject,
    scanner: Scanner,
    random: np.random.Generator,
    *,
    spacing_mm: float | None = None,
    shape: tuple[int, int, int] | None = None,
) -> Scan:
    """A scan of a subject with random orientation and spacing; label k is `names[k - 1]`.

    Args:
        names: organs by label value, out of `segmentation.anatomy.body.ORGANS`.
        random: random numbers of grid and noise.
        spacing_mm: mean voxel size of the scanner, or
        shape: voxels along the patient's x, y, z (stored in any order); the spacing follows.

    Raises:
        ValueError: voxels so large that an organ has none.
    """
    affine, sides = _grid(random, subject.height_mm, scanner.margin, spacing_mm, shape)
    voxel_mm = float(np.abs(np.linalg.det(affine[:3, :3])) ** (1 / 3))
    hu, labels = np.empty(sides, np.float32), np.empty(sides, np.uint8)
    for slab in _slabs(sides):  # painting is pointwise, so slabs only bound the memory
        points = subject.pose.to_anatomy(_points(affine, sides, slab))
        canvas = Canvas(points, voxel_mm, subject.pose.fat_mm, subject.muscle_hu)
        canvas.paint_trunk()
        for part in subject.others:
            canvas.paint_part(part, 0)
        for part in subject.parts:
            canvas.paint_part(part, names.index(part.name) + 1)
        hu[slab] = canvas.hu.reshape(hu[slab].shape)
        labels[slab] = canvas.labels.reshape(hu[slab].shape)
    _check_complete(labels.ravel(), names, subject.missing, voxel_mm)
    return Scan(_measured(_blurred(hu, affine, scanner), random, scanner), labels, affine)


def _slabs(sides: tuple[int, int, int]) -> Iterator[slice]:
    """Slices of the first axis, of at most `_SLAB_VOXELS` voxels where a plane has not more."""
    planes = max(_SLAB_VOXELS // (sides[1] * sides[2]), 1)
    for start in range(0, sides[0], planes):
        yield slice(start, min(start + planes, sides[0]))


def _points(affine: Array, sides: tuple[int, int, int], slab: slice) -> Array:
    """Voxel centers [3, n] of a slab in patient space."""
    index = np.indices((slab.stop - slab.start, *sides[1:])).reshape(3, -1)
    index[0] += slab.start
    return affine[:3, :3] @ index + affine[:3, 3:]


def _grid(
    random: np.random.Generator,
    height_mm: tuple[float, float],
    margin: tuple[float, float],
    spacing_mm: float | None,
    shape: tuple[int, int, int] | None,
) -> tuple[Array, tuple[int, int, int]]:
    """Affine and shape of a scan: any of the 48 axis orders, one in four turned obliquely."""
    extent = np.array([WIDTH_MM, DEPTH_MM, height_mm[1] - height_mm[0]])
    extent *= random.uniform(*margin, 3)
    if spacing_mm is not None:
        steps = spacing_mm * random.uniform(0.85, 1.15, 3)
        sides = np.ceil(extent / steps).astype(int)
    elif shape is not None:
        sides = np.array(shape)
        steps = extent / sides
    else:
        raise ValueError("give spacing_mm or shape")
    tilt = random.normal(0, 4, 3) * (random.random() < 0.25)
    turned = Rotation.from_euler("xyz", tilt, degrees=True).as_matrix()
    order, flips = random.permutation(3), random.choice([-1, 1], 3)
    affine = np.eye(4)
    affine[:3, :3] = (turned * steps)[:, order] * flips
    sides = sides[order]
    center = np.array([0, 0, sum(height_mm) / 2])
    affine[:3, 3] = center - affine[:3, :3] @ ((sides - 1) / 2)
    return affine, (int(sides[0]), int(sides[1]), int(sides[2]))


def _blurred(hu: Array, affine: Array, scanner: Scanner) -> Array:
    """HU smoothed by the reconstruction kernel; the same array where there is none."""
    if not any(scanner.blur_mm):
        return hu
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    axes = np.abs(affine[:3, :3]).argmax(axis=0)  # of the patient, by axis of the array
    sigmas = [scanner.blur_mm[axis] / step for axis, step in zip(axes, steps, strict=True)]
    return gaussian_filter(hu, sigmas, mode="nearest")


def _measured(hu: Array, random: np.random.Generator, scanner: Scanner) -> Array:
    """HU with a smooth bias field, tissue texture and noise; int16. `hu` is overwritten."""
    grain = gaussian_filter(random.standard_normal(hu.shape, np.float32), 1.0)
    noise = random.standard_normal(hu.shape, np.float32)
    bend = np.zeros_like(hu)
    for axis, tilt in enumerate(random.normal(0, scanner.bias_hu, 3)):
        line = np.linspace(-1, 1, hu.shape[axis], dtype=np.float32)
        bend += tilt * np.expand_dims(line, [other for other in range(3) if other != axis])
    # In place and in this order: another order of the float32 sums would change voxels.
    hu += bend
    noise *= scanner.noise_hu
    hu += noise
    deviation = grain.std()
    grain *= scanner.texture_hu
    grain /= deviation
    hu += grain
    return np.clip(np.rint(hu, out=hu), -1024, 3071, out=hu).astype(np.int16)


def _check_complete(
    labels: Array, names: tuple[str, ...], missing: frozenset[str], voxel_mm: float
) -> None:
    counts = np.bincount(labels, minlength=len(names) + 1)[1:]
    lost = [
        name
        for name, count in zip(names, counts, strict=True)
        if count == 0 and name not in missing
    ]
    if lost:
        raise ValueError(f"voxels of {voxel_mm:.1f} mm are too large for {', '.join(lost)}")
