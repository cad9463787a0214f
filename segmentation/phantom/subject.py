"""A subject and a scanner: what `scan_subject` needs to make a scan, and the plain kind of both.

Plain subjects vary little: every organ is there, has its usual size and a HU of its own. The
subjects of `clinical` differ as patients do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from segmentation.anatomy.body import (
    ABDOMEN_MM,
    MUSCLE,
    PELVIC,
    PELVIS_MM,
    Part,
    Variation,
    organs,
    surroundings,
)
from segmentation.anatomy.shapes import Array


@dataclass(frozen=True)
class Pose:
    """Map from patient space to the mean anatomy: shift, rotation, scale, smooth deformation.

    Attributes:
        bow_mm, bow_phase: sideways curve of the spine, one period over `BOW_PERIOD_MM`.
    """

    shift_mm: Array
    turn: Array
    size: Array
    fat_mm: float
    waves: Array
    phases: Array
    swings_mm: Array
    bow_mm: float = 0.0
    bow_phase: float = 0.0

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
        if self.bow_mm:
            angle = 2 * np.pi * straight[2] / BOW_PERIOD_MM + self.bow_phase
            straight[0] += self.bow_mm * np.sin(angle)
        straight = straight.astype(np.float32)
        waves = self.waves.astype(np.float32) @ straight
        np.sin(waves + self.phases.astype(np.float32)[:, None], out=waves)
        return straight + self.swings_mm.astype(np.float32) @ waves


BOW_PERIOD_MM = 420.0


@dataclass(frozen=True)
class Subject:
    """One subject in the space of the mean anatomy, and the map to its own.

    Attributes:
        parts: solids of the labeled organs in painting order.
        others: unlabeled solids, painted before them.
        pose: map from patient space to the mean anatomy.
        height_mm: lowest and highest z of the field of view.
        missing: organs that the subject does not have or the scan does not show.
        muscle_hu: of the muscles of the trunk.
    """

    parts: Sequence[Part]
    others: Sequence[Part]
    pose: Pose
    height_mm: tuple[float, float]
    missing: frozenset[str] = frozenset()
    muscle_hu: float = MUSCLE


@dataclass(frozen=True)
class Scanner:
    """Effects of a scanner on the HU of a subject.

    Attributes:
        noise_hu, texture_hu, bias_hu: white noise, noise smoothed over a voxel, and tilt of the
            field per axis, as standard deviations.
        blur_mm: standard deviation of the reconstruction kernel along the patient's axes.
        margin: least and greatest factor of the field of view.
    """

    noise_hu: float = 10.0
    texture_hu: float = 7.0
    bias_hu: float = 8.0
    blur_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    margin: tuple[float, float] = (1.0, 1.06)


def plain_subject(names: tuple[str, ...], random: np.random.Generator) -> Subject:
    """A subject near the mean anatomy, in the portal venous phase.

    Raises:
        LookupError: an organ without a shape.
    """
    vary = Variation(random)
    parts = organs(vary, names)
    low, high = field_of_view_mm(names)
    others = surroundings(vary, low)
    return Subject(parts, others, Pose.draw(random), (low, high))


def field_of_view_mm(names: tuple[str, ...]) -> tuple[float, float]:
    """The lowest and highest z in mm of a field of view with these organs."""
    low = PELVIS_MM if set(names) & set(PELVIC) else ABDOMEN_MM[0]
    return low, ABDOMEN_MM[1]
