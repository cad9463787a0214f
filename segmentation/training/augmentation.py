"""Random transforms of patches as a pure function of (seed, step), by MONAI's transforms.

A patch is read from a box that holds everything a rotation or a smaller scale looks at, so that
nothing is made up at its border. Legend of shapes: `x y z` space in nibabel order.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    model_validator,
)
from torch import Tensor

Array = NDArray[Any]
_AUGMENTED = 2  # first word of its random seeds; patches are drawn with 0 and 1
_INTENSITY = ("gamma", "brightness", "contrast", "blur", "low_resolution", "noise")


def _rising(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"expected two numbers that do not fall, got {list(limits)}")
    return limits


Limits = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], AfterValidator(_rising)]
Factors = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_rising)]


class Augmentation(BaseModel):
    """`[augmentation]`: random transforms of patches; none by default, as published for TAK.

    Every transform that is set is drawn for every patch by itself, with `probability`.

    Attributes:
        probability: of each transform in each patch.
        rotation: largest angle in degrees about each of the three axes.
        scaling: smallest and largest factor of the size.
        mirror: axes along which half of the patches are mirrored; `x`, left and right, only if no
            organ of the data has a side.
        enlarge: least and most growth of a small organ on every side, in mm; labeled patches only.
        gamma: least and largest exponent of the intensities between a patch's minimum and maximum.
        brightness: largest offset of the intensities, up or down.
        contrast: least and largest factor of the distance to the mean intensity.
        blur: least and largest standard deviation of a Gaussian, in voxels.
        low_resolution: least and largest share of the voxels along each axis that remain.
        noise: largest standard deviation of added Gaussian noise.
        views: `one`: unlabeled patches are transformed as labeled ones are. `two`: a teacher sees
            them without transforms of the intensity (weak), its student with them (strong).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    probability: float = Field(default=0.3, gt=0, le=1)
    rotation: float = Field(default=0.0, ge=0, le=180)
    scaling: Factors = (1.0, 1.0)
    mirror: tuple[Literal["x", "y", "z"], ...] = ()
    enlarge: Limits = (0.0, 0.0)
    gamma: Factors = (1.0, 1.0)
    brightness: float = Field(default=0.0, ge=0)
    contrast: Limits = (1.0, 1.0)
    blur: Limits = (0.0, 0.0)
    low_resolution: Factors = (1.0, 1.0)
    noise: float = Field(default=0.0, ge=0)
    views: Literal["one", "two"] = "one"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.low_resolution[1] > 1:
            raise ValueError(
                f"low_resolution: expected shares of at most 1, got {list(self.low_resolution)}"
            )
        if self.views == "two" and not any(map(self.changes, _INTENSITY)):
            raise ValueError(
                f"views = two needs a transform of the intensity: {', '.join(_INTENSITY)}"
            )
        return self

    def changes(self, key: str) -> bool:
        """Whether a transform is set."""
        return bool(getattr(self, key) != type(self).model_fields[key].default)

    @property
    def active(self) -> bool:
        """Whether any transform is set."""
        transforms = set(type(self).model_fields) - {"probability", "views"}
        return any(map(self.changes, transforms))


class Spatial(NamedTuple):
    """The drawn spatial transforms of one patch.

    Attributes:
        matrix: from the offset of a voxel to the patch's center to that of its source [3, 3], in
            voxels; None for the identity.
        growth_mm: growth of small organs by label value.
    """

    matrix: Array | None
    growth_mm: dict[int, float]


class Augmenter:
    """Draws and applies the transforms of a run's patches.

    Args:
        options: the `[augmentation]` table of the recipe.
        small: label values that may grow.
        seed: random seed of the run.
        sided: whether an organ of the data has a side.

    Raises:
        ValueError: left and right would be mirrored although organs have sides.
    """

    def __init__(
        self, options: Augmentation, *, small: Sequence[int] = (), seed: int = 0, sided: bool = True
    ) -> None:
        if sided and "x" in options.mirror:
            raise ValueError(
                'augmentation.mirror: "x" exchanges left and right, and organs of these data have '
                "a side (`side` in the descriptor); leave it out"
            )
        self.options, self.small, self.seed = options, tuple(small), seed

    def spatial(
        self, place: Sequence[int], spacing_mm: Sequence[float], *, labeled: bool
    ) -> Spatial:
        """The spatial transforms of the patch at a place.

        Args:
            place: stream, step and number of the patch.
            spacing_mm: voxel size of the case.
            labeled: whether the patch has a label, which organs can grow in.
        """
        options, random = self.options, self._random(place, 0)
        # All numbers are drawn whatever is chosen: one option never changes another's draws.
        turned, scaled = random.random(2) < options.probability
        angles = np.radians(options.rotation) * random.uniform(-1, 1, 3) * turned
        factor = math.exp(random.uniform(*np.log(options.scaling))) if scaled else 1.0
        flips = np.where(random.random(3) < 0.5, -1.0, 1.0)
        flips = np.where([axis in options.mirror for axis in "xyz"], flips, 1.0)
        grown = random.random(len(self.small)) < options.probability
        growth = random.uniform(*options.enlarge, len(self.small)) * grown * labeled
        matrix = _matrix(angles, factor, flips, np.asarray(spacing_mm, float))
        identity = np.allclose(matrix, np.eye(3), atol=1e-12)
        chosen = zip(self.small, growth.tolist(), strict=True)
        return Spatial(None if identity else matrix, {organ: mm for organ, mm in chosen if mm > 0})

    def margins(self, spatial: Spatial, patch: Sequence[int], spacing_mm: Sequence[float]) -> Array:
        """Half the side of the box that a patch is computed from, in voxels along each axis."""
        half = (np.asarray(patch) - 1) / 2
        if spatial.matrix is not None:
            half = np.abs(spatial.matrix) @ half + 1  # the interpolation reads one more
        reach = max(spatial.growth_mm.values(), default=0.0)
        return half + np.ceil(reach / np.asarray(spacing_mm))

    def grow(
        self, image: Tensor, label: Tensor, spatial: Spatial, spacing_mm: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """A box [x, y, z] with its small organs grown."""
        if not spatial.growth_mm:
            return image, label
        from segmentation.training.enlarge import enlarge

        return enlarge(image, label, spatial.growth_mm, spacing_mm, self.small)

    def resample(
        self, box: Tensor, spatial: Spatial, offset: Array, patch: Sequence[int], mode: str
    ) -> Tensor:
        """The patch, computed from a box [x, y, z] around it.

        Args:
            offset: of the patch's center to the box's center, in voxels.
            mode: `bilinear`, or `nearest` for labels.
        """
        from monai.transforms.spatial.array import Affine
        from monai.utils.type_conversion import convert_to_tensor

        affine = np.eye(4)
        affine[:3, :3] = np.eye(3) if spatial.matrix is None else spatial.matrix
        affine[:3, 3] = offset
        transform = Affine(
            affine=torch.from_numpy(affine),
            spatial_size=tuple(patch),
            mode=mode,
            padding_mode="zeros",
            image_only=True,
            device=box.device,
        )
        values = convert_to_tensor(transform(box[None].float()))[0]
        return values if box.is_floating_point() else values.round().to(box.dtype)

    def intensity(self, image: Tensor, place: Sequence[int]) -> Tensor:
        """The image [x, y, z] with the transforms of the intensity at a place."""
        from monai.transforms.intensity.array import (
            AdjustContrast,
            GaussianSmooth,
            RandGaussianNoise,
            ScaleIntensityFixedMean,
            ShiftIntensity,
        )
        from monai.transforms.spatial.array import RandSimulateLowResolution
        from monai.utils.type_conversion import convert_to_tensor

        options, random = self.options, self._random(place, 1)
        chosen = dict(zip(_INTENSITY, random.random(6) < options.probability, strict=True))
        share, offset = random.random(6), random.uniform(-1, 1)
        noise_seed = int(random.integers(2**31))

        def between(limits: tuple[float, float], number: int) -> float:
            return limits[0] + float(share[number]) * (limits[1] - limits[0])

        zoom = between(options.low_resolution, 4)
        deviation = options.noise * float(share[5])
        noise = RandGaussianNoise(prob=1.0, mean=0.0, std=deviation, sample_std=False)
        steps = {
            "blur": GaussianSmooth(sigma=between(options.blur, 3)),
            "low_resolution": RandSimulateLowResolution(prob=1.0, zoom_range=(zoom, zoom)),
            "noise": noise.set_random_state(seed=noise_seed),
            "brightness": ShiftIntensity(offset=options.brightness * float(offset)),
            "contrast": ScaleIntensityFixedMean(factor=between(options.contrast, 2) - 1.0),
            "gamma": AdjustContrast(gamma=between(options.gamma, 0)),
        }
        values: Any = image[None]
        for name, transform in steps.items():
            if chosen[name] and options.changes(name):
                values = transform(values)
        return convert_to_tensor(values)[0].to(image.dtype)

    def _random(self, place: Sequence[int], kind: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, _AUGMENTED, kind, *place))


def _matrix(angles: Array, factor: float, flips: Array, spacing: Array) -> Array:
    """From a voxel's offset to that of its source [3, 3]: rotated in mm, then voxels again."""
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_euler("xyz", angles).as_matrix()
    return (rotation * spacing[None] / spacing[:, None]) @ np.diag(flips) / factor
