"""A synthetic CT scanner: deformed solids of one subject on a grid of any orientation."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from segmentation.anatomy.body import (
    ABDOMEN_MM,
    AIR,
    BONE,
    CAVITY_MM,
    DISC,
    FAT,
    LUNG,
    MUSCLE,
    PELVIC,
    PELVIS_MM,
    WALL_MM,
    Part,
    Variation,
    organs,
    surroundings,
)
from segmentation.anatomy.shapes import Array

_SLAB_VOXELS = 2**20
NOISE_HU = 10.0
TEXTURE_HU = 7.0
BIAS_HU = 8.0
# Field of view of a typical scan, left-right and back-front; the height follows the organs.
WIDTH_MM, DEPTH_MM = 344.0, 262.0


@dataclass(frozen=True)
class Scan:
    """A synthetic CT scan: HU int16 and labels uint8 [i, j, k], and the affine to RAS+ mm."""

    voxels: Array
    labels: Array
    affine: Array


@dataclass(frozen=True)
class Pose:
    """Map from patient space to the mean anatomy: shift, rotation, scale, smooth deformation."""

    shift_mm: Array
    turn: Array
    size: Array
    fat_mm: float
    waves: Array
    phases: Array
    swings_mm: Array

    @classmethod
    def draw(cls, random: np.random.Generator) -> "Pose":
        """A random pose; bends of 4 mm over an organ, ripples of 1 mm over its surface."""
        lengths = np.concatenate([random.uniform(150, 320, 6), random.uniform(60, 110, 6)])
        swing = np.repeat([4.0, 1.0], 6) / np.sqrt(3)
        directions = random.normal(size=(12, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return cls(
            shift_mm=random.normal(0, (5, 4, 5)),
            turn=Rotation.from_euler("xyz", random.normal(0, 2, 3), degrees=True).as_matrix(),
            size=np.exp(random.normal(0, 0.03) + random.normal(0, 0.025, 3)),
            fat_mm=random.uniform(9, 26),
            waves=2 * np.pi * directions / lengths[:, None],
            phases=random.uniform(0, 2 * np.pi, 12),
            swings_mm=random.normal(size=(3, 12)) * swing,
        )

    def to_anatomy(self, points: Array) -> Array:
        """Points [3, n] of patient space mapped to the mean anatomy, float32 [3, n]."""
        straight = (self.turn.T @ (points - self.shift_mm[:, None])) / self.size[:, None]
        straight = straight.astype(np.float32)
        waves = self.waves.astype(np.float32) @ straight
        np.sin(waves + self.phases.astype(np.float32)[:, None], out=waves)
        return straight + self.swings_mm.astype(np.float32) @ waves


class Canvas:
    """The voxels of a scan onto which solids are painted; later ones overwrite earlier ones.

    Args:
        points: voxel centers in the mean anatomy, [3, n] in mm.
        voxel_mm: width of the partial volume effect at borders.
        fat_mm: thickness of the fat under the skin.
    """

    def __init__(self, points: Array, voxel_mm: float, fat_mm: float) -> None:
        self.points = points
        self.voxel_mm = voxel_mm
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
        for distance, hu in ((self.skin, FAT), (self.wall, MUSCLE), (self.cavity, FAT)):
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
        self.paint(np.maximum(self.cavity, 105 - z), MUSCLE)
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
            self.paint(np.maximum(back, self.wall), MUSCLE)
        body = np.hypot(x, (y + 46) * 1.15) - 21
        disc = np.abs(np.mod(z, 34) - 17) - 4
        self.paint(body, BONE)
        self.paint(np.maximum(body, disc), DISC)
        arch = np.hypot(x, y + 75) - 14
        spine = np.maximum(np.maximum(np.abs(x) - 4, np.abs(y + 90) - 14), -disc)
        self.paint(np.minimum(arch, spine), BONE)
        self.paint(np.hypot(x, y + 75) - 8, 20)


def field_of_view_mm(names: tuple[str, ...]) -> tuple[float, float]:
    """The lowest and highest z in mm of a field of view with these organs."""
    low = PELVIS_MM if set(names) & set(PELVIC) else ABDOMEN_MM[0]
    return low, ABDOMEN_MM[1]


def scan_subject(
    names: tuple[str, ...],
    random: np.random.Generator,
    *,
    spacing_mm: float | None = None,
    shape: tuple[int, int, int] | None = None,
) -> Scan:
    """A scan of one subject with random orientation and spacing; label k is `names[k - 1]`.

    Args:
        names: organs by label value, out of `segmentation.anatomy.body.ORGANS`.
        random: random numbers of subject and scanner.
        spacing_mm: mean voxel size of the scanner, or
        shape: voxels along the patient's x, y, z (stored in any order); the spacing follows.

    Raises:
        LookupError: an organ without a shape.
        ValueError: voxels so large that an organ has none.
    """
    vary = Variation(random)
    parts = organs(vary, names)
    low, high = field_of_view_mm(names)
    others = surroundings(vary, low)
    pose = Pose.draw(random)
    affine, sides = _grid(random, (low, high), spacing_mm, shape)
    voxel_mm = float(np.abs(np.linalg.det(affine[:3, :3])) ** (1 / 3))
    hu, labels = np.empty(sides, np.float32), np.empty(sides, np.uint8)
    for slab in _slabs(sides):  # painting is pointwise, so slabs only bound the memory
        canvas = Canvas(pose.to_anatomy(_points(affine, sides, slab)), voxel_mm, pose.fat_mm)
        canvas.paint_trunk()
        for part in others:
            canvas.paint_part(part, 0)
        for part in parts:
            canvas.paint_part(part, names.index(part.name) + 1)
        hu[slab] = canvas.hu.reshape(hu[slab].shape)
        labels[slab] = canvas.labels.reshape(hu[slab].shape)
    _check_complete(labels.ravel(), names, voxel_mm)
    return Scan(_measured(hu, random), labels, affine)


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
    spacing_mm: float | None,
    shape: tuple[int, int, int] | None,
) -> tuple[Array, tuple[int, int, int]]:
    """Affine and shape of a scan: any of the 48 axis orders, one in four turned obliquely."""
    extent = np.array([WIDTH_MM, DEPTH_MM, height_mm[1] - height_mm[0]])
    extent *= random.uniform(1.0, 1.06, 3)
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


def _measured(hu: Array, random: np.random.Generator) -> Array:
    """HU with a smooth bias field, tissue texture and noise; int16. `hu` is overwritten."""
    grain = gaussian_filter(random.standard_normal(hu.shape, np.float32), 1.0)
    noise = random.standard_normal(hu.shape, np.float32)
    bend = np.zeros_like(hu)
    for axis, tilt in enumerate(random.normal(0, BIAS_HU, 3)):
        line = np.linspace(-1, 1, hu.shape[axis], dtype=np.float32)
        bend += tilt * np.expand_dims(line, [other for other in range(3) if other != axis])
    # In place and in this order: another order of the float32 sums would change voxels.
    hu += bend
    noise *= NOISE_HU
    hu += noise
    deviation = grain.std()
    grain *= TEXTURE_HU
    grain /= deviation
    hu += grain
    return np.clip(np.rint(hu, out=hu), -1024, 3071, out=hu).astype(np.int16)


def _check_complete(labels: Array, names: tuple[str, ...], voxel_mm: float) -> None:
    counts = np.bincount(labels, minlength=len(names) + 1)[1:]
    lost = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if lost:
        raise ValueError(f"voxels of {voxel_mm:.1f} mm are too large for {', '.join(lost)}")
