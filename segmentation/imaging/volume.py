"""Volumes: read, write, orient, resample and window scans and masks.

Arrays are [i, j, k] in file order; after `canonical` they are [x, y, z] in RAS+: x grows to the
patient's right, y to the front, z to the head. An affine maps voxel indices to RAS+ mm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from nibabel import orientations
from scipy import ndimage

from segmentation.imaging.headers import HeaderIssue
from segmentation.imaging.io import read_image, write_image

Array = np.ndarray
Sizes = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels [i, j, k] and the affine [4, 4] that maps their indices to RAS+ mm.

    `issues` are those of the header of the file that it was read from.
    """

    voxels: Array
    affine: Array
    issues: tuple[HeaderIssue, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbors along each array axis."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)


def read_volume(path: str | Path) -> Volume:
    """A scan as float32, scaled as its header says.

    Args:
        path: NIfTI, NRRD or MetaImage by its suffix, or the folder of one DICOM series.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another format, a damaged file, not three-dimensional, or not a number.
    """
    voxels, affine, issues = read_image(Path(path))
    return replace(checked_volume(Path(path), voxels, affine), issues=issues)


def read_labels(path: str | Path) -> Volume:
    """A mask as int32 label values.

    Raises:
        FileNotFoundError, ValueError: as for `read_volume`.
        ValueError: a value that is no whole number, or is below 0; quotes it.
    """
    return label_volume(Path(path), read_volume(path))


def label_volume(path: Path, volume: Volume) -> Volume:
    """The volume as int32 label values, checked to be integers from 0 on.

    Raises:
        ValueError: another value; quotes it and the file.
    """
    labels = np.rint(volume.voxels)
    wrong = volume.voxels[(labels != volume.voxels) | (labels < 0) | (labels > 2**24)]
    if wrong.size:
        raise ValueError(f"{path}: {wrong[0]:g} is no label value; a mask holds 0, 1, 2, ...")
    return Volume(labels.astype(np.int32), volume.affine, volume.issues)


def write_volume(path: str | Path, voxels: Array, affine: Array) -> None:
    """Write NIfTI, NRRD or MetaImage by the suffix, with the array's dtype, atomically."""
    write_image(Path(path), voxels, affine)


def label_type(classes: int) -> type[np.unsignedinteger]:
    """The smallest type that holds the labels of so many classes, background included."""
    return np.uint8 if classes <= 2**8 else np.uint16


def write_labels(
    path: str | Path,
    labels: Array,
    affine: Array,
    dtype: type[np.integer] = np.uint8,
    fields: Mapping[str, str] | None = None,
) -> None:
    """Write a mask as NIfTI, NRRD or MetaImage by the suffix, atomically.

    Args:
        fields: custom fields of an NRRD header.

    Raises:
        ValueError: a label value that `dtype` cannot hold.
    """
    stored = labels.astype(dtype)
    if not np.array_equal(stored, labels):
        wrong = labels[stored != labels][0]
        raise ValueError(f"{path}: {wrong} does not fit into {np.dtype(dtype).name}")
    write_image(Path(path), stored, affine, labels=True, fields=fields)


def canonical(volume: Volume) -> Volume:
    """The same voxels with axes permuted and flipped toward RAS+; nothing is interpolated."""
    turn = orientations.io_orientation(volume.affine)
    back = orientations.inv_ornt_aff(turn, volume.voxels.shape)
    voxels = np.ascontiguousarray(orientations.apply_orientation(volume.voxels, turn))
    return Volume(voxels, volume.affine @ back)


def canonical_shape(source_affine: Array, source_shape: Sizes) -> Sizes:
    """The shape that a volume of that affine and shape has after `canonical`."""
    turn = orientations.io_orientation(source_affine)
    x, y, z = (source_shape[int(axis)] for axis in np.argsort(turn[:, 0]))
    return x, y, z


def from_canonical(array: Array, source_affine: Array, source_shape: Sizes) -> Array:
    """Undo `canonical`: an array [x, y, z] back in the axis order of its source.

    Raises:
        ValueError: the array does not have the voxels of a source of that shape.
    """
    turn = orientations.io_orientation(source_affine)
    back = orientations.ornt_transform(orientations.io_orientation(np.eye(4)), turn)
    restored = orientations.apply_orientation(array, back)
    if restored.shape != tuple(source_shape):
        raise ValueError(f"{restored.shape} voxels cannot be put back into {tuple(source_shape)}")
    return np.ascontiguousarray(restored)


def resampled_shape(volume: Volume, spacing_mm: tuple[float, float, float]) -> Sizes:
    """The whole numbers of voxels that come nearest to a spacing over the volume's extent."""
    extent = np.multiply(volume.voxels.shape, volume.spacing_mm)
    sides = np.maximum(np.rint(extent / spacing_mm), 1).astype(int)
    return int(sides[0]), int(sides[1]), int(sides[2])


def resample(volume: Volume, shape: Sizes) -> Volume:
    """An image on `shape` voxels over the same extent: outer voxel edges stay where they are.

    Linear; along axes that shrink by a factor f, after a Gaussian of (f - 1) / 2 voxels
    (anti-aliasing). Returns float32.
    """
    factor = np.divide(volume.voxels.shape, shape)
    smooth = _smoothed(volume.voxels.astype(np.float32), factor)
    return Volume(_sample(smooth, factor, factor / 2 - 0.5, shape), _stretched(volume, factor))


def resample_labels(volume: Volume, shape: Sizes) -> Volume:
    """A mask on `shape` voxels over the same extent: each voxel gets its most frequent class.

    Every class is resampled as a binary image and the largest share wins; ties go to the larger
    label. Nearest neighbor would shift thin organs by up to half a voxel and leave holes when
    downsampling. Only the bounding box of each class is processed.
    """
    factor = np.divide(volume.voxels.shape, shape)
    best = np.full(shape, 0.0, np.float32)
    labels = np.zeros(shape, volume.voxels.dtype)
    covered = np.zeros(shape, np.float32)
    boxes = ndimage.find_objects(volume.voxels)
    for value, box in enumerate(boxes, start=1):
        if box is not None:
            place, share = _class_share(volume.voxels, value, box, factor, shape)
            covered[place] += share
            wins = (share > 0) & (share >= best[place])
            labels[place][wins] = value
            best[place] = np.maximum(best[place], share)
    labels[best < 1 - covered] = 0
    return Volume(labels, _stretched(volume, factor))


def window(image: Array, window_hu: tuple[float, float]) -> Array:
    """HU clipped to a window and mapped linearly to [0, 1], float32."""
    low, high = window_hu
    return ((np.clip(image, low, high) - low) / (high - low)).astype(np.float32)


def _class_share(
    labels: Array, value: int, box: tuple[slice, ...], factor: Array, shape: Sizes
) -> tuple[tuple[slice, ...], Array]:
    """The box of the new grid in which a class can occur, and its share of each voxel there."""
    reach = np.ceil(4 * np.maximum(factor - 1, 0) / 2 + factor + 1).astype(int)
    low = np.maximum([side.start for side in box] - reach, 0)
    high = np.minimum([side.stop for side in box] + reach, labels.shape)
    cut = tuple(slice(*ends) for ends in zip(low, high, strict=True))
    first = np.maximum(np.floor(low / factor), 0).astype(int)
    last = np.minimum(np.ceil(high / factor), shape).astype(int)
    place = tuple(slice(*ends) for ends in zip(first, last, strict=True))
    mask = _smoothed((labels[cut] == value).astype(np.float32), factor)
    start = (first + 0.5) * factor - 0.5 - low
    return place, _sample(mask, factor, start, tuple(last - first))


def _smoothed(image: Array, factor: Array) -> Array:
    spread = np.maximum(factor - 1, 0) / 2
    return ndimage.gaussian_filter(image, spread, mode="nearest") if spread.any() else image


def _sample(image: Array, factor: Array, start: Array, shape: Sizes) -> Array:
    """Linear samples at `start + factor * index`; border values are replicated."""
    return ndimage.affine_transform(
        image, factor, start, output_shape=tuple(shape), order=1, mode="nearest"
    )


def _stretched(volume: Volume, factor: Array) -> Array:
    """The affine of a grid with voxels `factor` times as large and the same outer edges."""
    change = np.diag([*factor, 1.0])
    change[:3, 3] = factor / 2 - 0.5
    return volume.affine @ change


def checked_volume(path: Path, voxels: Array, affine: Array) -> Volume:
    """A volume, checked: three-dimensional, finite intensities, invertible affine.

    Raises:
        ValueError: one of these does not hold; quotes shape or count and the file.
    """
    if voxels.ndim > 3 and voxels.shape[:3] and voxels.size == np.prod(voxels.shape[:3]):
        voxels = voxels.reshape(voxels.shape[:3])
    if voxels.ndim != 3 or 0 in voxels.shape:
        raise ValueError(f"{path}: shape {voxels.shape}; one three-dimensional scan is needed")
    if not np.isfinite(voxels).all():
        count = int((~np.isfinite(voxels)).sum())
        raise ValueError(f"{path}: {count} voxels are not a finite number")
    sound = affine is not None and np.isfinite(affine).all()
    if not sound or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ValueError(f"{path}: its affine is missing or flat, so nothing says where voxels lie")
    return Volume(voxels, np.asarray(affine, float))
