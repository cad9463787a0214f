"""Voxels and affine out of files and into files: NIfTI, NRRD, MetaImage, a DICOM series' folder.

Arrays are [i, j, k] in file order; an affine [4, 4] maps their indices to RAS+ mm.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from segmentation.imaging import nifti
from segmentation.imaging.affines import is_straight, tilt_degrees
from segmentation.imaging.headers import HeaderIssue, is_dicom_file

Array = np.ndarray
Image = tuple[Array, Array, tuple[HeaderIssue, ...]]  # voxels, affine, issues


def read_image(path: Path) -> Image:
    """Voxels as float32, scaled by the header, the affine, and issues of the header.

    Args:
        path: a file, whose suffix decides the format, or the folder of one DICOM series.

    Raises:
        FileNotFoundError: no such file, or no DICOM slice in the folder.
        ValueError: another format, a damaged file, or more than one series in the folder.
    """
    if path.is_dir():
        return _read_dicom(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such scan")
    suffix = suffix_of(path)
    if suffix is not None:
        return READERS[suffix](path)
    if is_dicom_file(path):
        return _read_dicom(path)
    raise ValueError(
        f"{path}: not a format that is read here; those are {', '.join(READERS)} "
        "and the folder of a DICOM series"
    )


def write_image(
    path: Path,
    voxels: Array,
    affine: Array,
    *,
    labels: bool = False,
    scale: float | None = None,
    fields: Mapping[str, str] | None = None,
) -> None:
    """Write voxels with their own dtype, compressed where the suffix allows; whole or not at all.

    Args:
        labels: say in a NIfTI header that values are labels, not intensities.
        scale: what readers multiply the stored numbers by; NIfTI alone.
        fields: custom fields of the header; left out where the format is not NRRD.

    Raises:
        ValueError: a suffix that is not written, or what the format cannot hold.
    """
    check_fits(path, affine, voxels.shape)
    suffix = suffix_of(path)
    assert suffix is not None
    if suffix in _NIFTI:
        nifti.write(path, voxels, affine, labels, scale)
        return
    if scale is not None:
        raise ValueError(f"{path}: only NIfTI holds a scale; write .nii.gz")
    from segmentation.imaging import itk

    itk.write(path, suffix, voxels, affine, (fields or {}) if suffix == ".nrrd" else {})


def check_fits(path: Path, affine: Array, shape: Sequence[int]) -> None:
    """Whether a grid can be written to a file of that name.

    Raises:
        ValueError: a suffix that is not written, or axes far from right angles, as those of a
            tilted gantry, which only NIfTI holds.
    """
    suffix = suffix_of(path)
    if suffix not in WRITABLE:
        raise ValueError(f"{path}: written files end in {', '.join(WRITABLE)}")
    if suffix not in _NIFTI and not is_straight(affine, shape):
        raise ValueError(
            f"{path}: the scan's axes are not at right angles (off by {tilt_degrees(affine):.1f} "
            "degrees, a tilted gantry?); write .nii.gz instead"
        )


def suffix_of(path: Path) -> str | None:
    """The suffix, in lower case, that decides the format of a file; None if it is not read."""
    name = path.name.lower()
    return next((suffix for suffix in READERS if name.endswith(suffix)), None)


def stem_of(path: Path) -> str:
    """The name of a scan without the suffix of its format: `ct` for `scans/ct.nii.gz`."""
    suffix = suffix_of(path)
    return path.name[: -len(suffix)] if suffix and not path.is_dir() else path.name


def holds_dicom(folder: Path) -> bool:
    """Whether a file directly in the folder is DICOM by its magic word or its suffix."""
    return any(is_dicom_file(path) for path in sorted(folder.iterdir()))


def _read_itk(path: Path) -> Image:
    from segmentation.imaging import itk

    return itk.read(path)


def _read_dicom(path: Path) -> Image:
    from segmentation.imaging import dicom  # loads pydicom

    return dicom.read(path)


READERS: dict[str, Callable[[Path], Image]] = {
    ".nii.gz": nifti.read,
    ".nii": nifti.read,
    ".nrrd": _read_itk,
    ".nhdr": _read_itk,
    ".mha": _read_itk,
    ".mhd": _read_itk,
}
_NIFTI = (".nii.gz", ".nii")
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")
