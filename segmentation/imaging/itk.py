"""NRRD, MetaImage and DICOM through SimpleITK, whose space is LPS+; here it becomes RAS+."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK

from segmentation.common.files import replacing
from segmentation.imaging.affines import straightened

Array = np.ndarray

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_POSITION, _ORIENTATION, _PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"
_UNEVEN_MM = 0.05  # two slices more unevenly spaced than this share of their distance: one lacks


def read(path: Path) -> tuple[Array, Array]:
    """Voxels [i, j, k], or with more axes, as float32, and the affine to RAS+ mm.

    Raises:
        ValueError: damaged, of another format, or with several values per voxel.
    """
    with _quiet():
        try:
            image = SimpleITK.ReadImage(str(path))
        except RuntimeError as fault:
            raise ValueError(f"{path}: damaged or not readable ({_reason(fault)})") from None
    return _voxels(image, path), _affine(image)


def write(path: Path, suffix: str, voxels: Array, affine: Array) -> None:
    """Write voxels [i, j, k] compressed, whole or not at all; see `formats.check_fits`."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    itk_affine = _TO_RAS @ straightened(affine)
    direction = itk_affine[:3, :3] / spacing
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(itk_affine[:3, 3].tolist())
    image.SetDirection(direction.ravel().tolist())
    with replacing(path) as partial:
        named = partial.with_name(partial.name + suffix)  # the suffix tells ITK the format
        try:
            SimpleITK.WriteImage(image, str(named), useCompression=True)
            named.replace(partial)
        finally:
            named.unlink(missing_ok=True)


def read_series(folder: Path) -> tuple[Array, Array]:
    """The one DICOM series of a folder, slices in the order of their positions, in HU.

    The affine comes from the slices' own positions, so that a tilted gantry is kept.

    Raises:
        FileNotFoundError: no DICOM slice in the folder.
        ValueError: several series, a damaged slice, a slice that is missing or there twice.
    """
    names = series_files(folder)
    with _quiet():
        try:
            reader = SimpleITK.ImageSeriesReader()
            reader.SetFileNames(names)
            image = reader.Execute()
        except RuntimeError as fault:
            raise ValueError(
                f"{folder}: damaged or not one series of equal slices ({_reason(fault)})"
            ) from None
        affine = _affine(image) if len(names) == 1 else _series_affine(folder, names)
    return _voxels(image, folder), affine


def series_files(folder: Path) -> list[str]:
    """The files of the only series, ordered by position along the slices' normal.

    Raises:
        FileNotFoundError, ValueError: no series in the folder, or several.
    """
    reader = SimpleITK.ImageSeriesReader
    with _quiet():
        series = {
            name: reader.GetGDCMSeriesFileNames(str(folder), name)
            for name in reader.GetGDCMSeriesIDs(str(folder))
        }
    if not series:
        raise FileNotFoundError(f"{folder}: no DICOM slice in this folder")
    if len(series) > 1:
        found = ", ".join(f"{name} ({len(files)} files)" for name, files in series.items())
        raise ValueError(
            f"{folder}: holds {len(series)} DICOM series; give each a folder of its own: {found}"
        )
    return list(next(iter(series.values())))


def _series_affine(folder: Path, names: list[str]) -> Array:
    """Voxel index to RAS+ mm, from position, orientation and pixel spacing of every slice."""
    headers = [_header(folder, name) for name in names]
    positions = np.array([header[_POSITION] for header in headers])
    row, column = np.array(headers[0][_ORIENTATION]).reshape(2, 3)
    row_mm, column_mm = headers[0][_PIXEL_SPACING]  # between rows first
    steps = np.diff(positions, axis=0)
    typical = np.median(steps, axis=0)
    distance = float(np.linalg.norm(typical))
    wrong = np.linalg.norm(steps - typical, axis=1) > max(_UNEVEN_MM * distance, 1e-3)
    if distance < 1e-3 or wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(
            f"{folder}: slices lie {np.linalg.norm(steps[at]):.3g} mm apart between "
            f"{Path(names[at]).name} and {Path(names[at + 1]).name} where {distance:.3g} mm is "
            "the rule; a slice is missing or there twice"
        )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * column_mm, column * row_mm
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(names) - 1)
    affine[:3, 3] = positions[0]
    return _TO_RAS @ affine


def _header(folder: Path, name: str) -> dict[str, list[float]]:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(name)
    reader.ReadImageInformation()
    found = {}
    for tag in (_POSITION, _ORIENTATION, _PIXEL_SPACING):
        if not reader.HasMetaDataKey(tag):
            raise ValueError(f"{folder}: {Path(name).name} lacks DICOM tag {tag.replace('|', ',')}")
        found[tag] = [float(value) for value in reader.GetMetaData(tag).split("\\")]
    return found


def _voxels(image: SimpleITK.Image, path: Path) -> Array:
    values = image.GetNumberOfComponentsPerPixel()
    if values != 1:
        raise ValueError(f"{path}: {values} values per voxel; a scan in gray values is needed")
    array = SimpleITK.GetArrayViewFromImage(image)
    return np.array(array.transpose(), dtype=np.float32, order="F")


def _affine(image: SimpleITK.Image) -> Array:
    axes = image.GetDimension()
    if axes < 3:
        return np.eye(4)  # a flat picture, refused later for its shape
    direction = np.array(image.GetDirection()).reshape(axes, axes)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return _TO_RAS @ affine


def _reason(fault: RuntimeError) -> str:
    """What ITK says at the end of its many lines."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[-1] if lines else type(fault).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of ITK on the terminal: what matters is raised."""
    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)
