"""The abdomen as solids in patient space: position, variation and attenuation of organs.

Millimeters in RAS+ about the body's axis at the level of the pancreas: x to the patient's right,
y to the front, z to the head. Positions, sizes and HU are those of an adult in the portal venous
phase, rounded; thin glands are a little plumper than in life so that coarse grids keep them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segmentation.anatomy.shapes import Carved, Ellipsoid, Shape, Tube, Union
from segmentation.common.suggest import unknown

AIR, LUNG, FAT, DISC, MUSCLE, BONE = -1000.0, -850.0, -100.0, 80.0, 55.0, 400.0
CAVITY_MM = (132.0, 84.0)
WALL_MM = 12.0
ABDOMEN_MM = (-112.0, 128.0)
PELVIS_MM = -300.0
PELVIC = ("bladder", "prostate or uterus")


@dataclass(frozen=True)
class Part:
    """One solid of a subject: its name, shape and mean HU."""

    name: str
    shape: Shape
    hu: float


class Variation:
    """Random deviations of one subject from the mean anatomy, all from one generator."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def blob(
        self,
        center: tuple[float, float, float],
        radii: tuple[float, float, float],
        turn: tuple[float, float, float] = (0, 0, 0),
        *,
        shift_mm: float = 3.0,
    ) -> Ellipsoid:
        """A randomly shifted, scaled and rotated ellipsoid."""
        size = np.exp(self.random.normal(0, 0.06) + self.random.normal(0, 0.03, 3))
        return Ellipsoid(
            tuple(center + self.random.normal(0, shift_mm, 3)),
            tuple(radii * size),
            tuple(turn + self.random.normal(0, 5, 3)),
        )

    def tube(self, *knots: tuple[float, float, float, float], wander_mm: float = 2.0) -> Tube:
        """A randomly shifted and bent tube through knots (x, y, z, radius)."""
        table = np.array(knots)
        path = table[:, :3] + self.random.normal(0, wander_mm, 3)
        path = path + self.random.normal(0, wander_mm / 2, path.shape)
        return Tube(path, table[:, 3] * np.exp(self.random.normal(0, 0.06)))


def _spleen(vary: Variation) -> Shape:
    body = vary.blob((-96, -24, 52), (27, 42, 46), (20, 0, -15))
    hollow = Ellipsoid(np.add(body.center, (34, 18, -6)), (28, 36, 48))
    return Carved(body, hollow)


def _kidney(vary: Variation, side: int, height: float) -> Shape:
    body = vary.blob((62 * side, -46, height), (26, 23, 48), (8, -8 * side, 0))
    hilum = Ellipsoid(np.add(body.center, (-26 * side, 8, 0)), (12, 9, 13))
    return Carved(body, hilum)


def _liver(vary: Variation) -> Shape:
    right = vary.blob((70, 8, 46), (61, 74, 68), (0, 10, 0))
    left = vary.blob((0, 50, 66), (64, 26, 32), (0, 8, 10))
    return Union((right, left), blend_mm=12)


def _adrenal(vary: Variation, side: int, height: float) -> Shape:
    move = np.add((37 * side, -26, height), vary.random.normal(0, 1.5, 3))
    limbs = [[(0, 4, 13), (side * 2, -9, -11)], [(0, 4, 13), (side * 10, 0, -12)]]
    return Union([Tube(np.add(limb, move), (5.6, 4.8)) for limb in limbs], blend_mm=2)


def _prostate_or_uterus(vary: Variation) -> Shape:
    if vary.random.random() < 0.5:
        return vary.blob((0, 2, -272), (24, 18, 19))
    return vary.blob((0, -22, -232), (25, 20, 30), (25, 0, 0))


Draw = Callable[[Variation], Shape]
# Painted in this order: where two overlap, the later one overwrites the earlier.
ORGANS: dict[str, tuple[float, Draw]] = {
    "liver": (110, _liver),
    "spleen": (120, _spleen),
    "stomach": (
        40,
        lambda vary: vary.tube(
            (-44, -6, 84, 20),
            (-62, 8, 68, 29),
            (-62, 30, 38, 27),
            (-42, 50, 8, 22),
            (-6, 54, -8, 17),
            (24, 44, -4, 12),
        ),
    ),
    "right kidney": (150, lambda vary: _kidney(vary, +1, -40)),
    "left kidney": (150, lambda vary: _kidney(vary, -1, -28)),
    "inferior vena cava": (
        140,
        lambda vary: vary.tube(
            (20, -4, 140, 12), (22, -7, 60, 12), (20, -11, -10, 11), (16, -13, -104, 10)
        ),
    ),
    "aorta": (
        155,
        lambda vary: vary.tube(
            (-8, -16, 145, 11), (-9, -13, 60, 10.5), (-10, -12, -20, 9.5), (-6, -13, -98, 8.5)
        ),
    ),
    "gallbladder": (
        10,
        lambda vary: vary.tube((38, 36, 8, 8), (46, 50, -6, 13), (52, 60, -20, 14)),
    ),
    "pancreas": (
        90,
        lambda vary: vary.tube(
            (32, 12, -26, 13),
            (24, 18, -12, 14),
            (4, 24, -2, 10),
            (-26, 17, 10, 10),
            (-62, -8, 22, 9),
        ),
    ),
    "duodenum": (
        55,
        lambda vary: vary.tube(
            (30, 42, 0, 11),
            (52, 24, -6, 12),
            (57, 8, -30, 12),
            (46, 6, -60, 11),
            (14, 9, -66, 10),
            (-14, 12, -58, 10),
            (-26, 14, -36, 10),
        ),
    ),
    "esophagus": (
        60,
        lambda vary: vary.tube(
            (-4, 9, 145, 8), (-8, 10, 108, 8), (-20, 9, 90, 8.5), (-34, 4, 80, 8.5)
        ),
    ),
    "right adrenal gland": (80, lambda vary: _adrenal(vary, +1, 18)),
    "left adrenal gland": (80, lambda vary: _adrenal(vary, -1, 26)),
    "bladder": (8, lambda vary: vary.blob((0, 30, -238), (38, 30, 28))),
    "prostate or uterus": (70, _prostate_or_uterus),
}


def surroundings(vary: Variation, low_mm: float) -> list[Part]:
    """Tissue between the organs (heart, muscles, bowel, bones), down to `low_mm`."""
    parts = [
        Part("heart", vary.blob((-18, 34, 142), (52, 42, 38)), 130),
        *(
            Part("psoas", vary.tube((27 * side, -46, -10, 7), (38 * side, -40, low_mm, 19)), MUSCLE)
            for side in (-1, 1)
        ),
    ]
    coils = int((-15 - low_mm) / 9)
    heights = vary.random.uniform(low_mm, -35, coils)
    for height in heights:
        place = (vary.random.uniform(-85, 70), vary.random.uniform(25, 68), height)
        radii = vary.random.uniform((14, 11, 10), (26, 16, 15))
        hu = vary.random.normal(30, 15)
        parts.append(Part("bowel", vary.blob(place, tuple(radii)), hu))
    if low_mm < ABDOMEN_MM[0]:
        parts += _pelvic_bones(vary)
    return parts


def _pelvic_bones(vary: Variation) -> list[Part]:
    bones = []
    for side in (-1, 1):
        wing = Ellipsoid((88 * side, -12, -165), (30, 62, 60), (0, 20 * side, 0))
        inside = Ellipsoid((76 * side, -2, -155), (32, 64, 62), (0, 20 * side, 0))
        bones.append(Part("ilium", Carved(wing, inside), BONE))
        bones.append(Part("femur", vary.blob((90 * side, 6, -262), (24, 24, 24)), BONE))
        vessel = vary.tube(
            (8 * side, -12, -98, 8), (34 * side, -4, -170, 7), (60 * side, 30, -300, 6)
        )
        bones.append(Part("iliac vessel", vessel, 150))
    return bones


def organs(vary: Variation, names: tuple[str, ...]) -> list[Part]:
    """The named organs of one subject in painting order; paired organs have the same HU.

    Raises:
        LookupError: a name that no shape is known for; lists those that are.
    """
    for name in names:
        if name not in ORGANS:
            raise LookupError(unknown("shape for", name, tuple(ORGANS)))
    brighter = vary.random.normal(0, 5)
    parts = []
    for name, (hu, draw) in ORGANS.items():
        shape = draw(vary)  # every organ is drawn, so that the random numbers stay in step
        if name in names:
            parts.append(Part(name, shape, hu + brighter))
    return parts
