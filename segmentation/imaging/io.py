"""Voxels and affine out of files and into files: NIfTI, NRRD, MetaImage, a DICOM series' folder.

Arrays are [i, j, k] in file order; an affine [4, 4] maps their indices to RAS+ mm.
"""

import gzip
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from segmentation.common.files import replacing
from segmentation.imaging.affines import is_straight, tilt_degrees

Array = np.ndarray
Pixels = tuple[Array, Array]

# What nibabel, gzip and zlib raise over a file that is not, or not wholly, NIfTI.
_DAMAGE = (
    ImageFileError,
    HeaderDataError,
    WrapStructError,
    OSError,
    EOFError,
    ValueError,
    zlib.error,
)


def read_image(path: Path) -> Pixels:
    """Voxels as float32, scaled as the header says, and the affine; neither is checked.

    Args:
        path: a file, whose suffix decides the format, or the folder of one DICOM series.

    Raises:
        FileNotFoundError: there is no such file, or no DICOM slice in the folder.
        ValueError: another format, a damaged file, or more than one series in the folder.
    """
    if path.is_dir():
        return _read_dicom(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such scan")
    suffix = suffix_of(path)
    if suffix is None:
        raise ValueError(
            f"{path}: not a format that is read here; those are {', '.join(READERS)} "
            "and the folder of a DICOM series"
        )
    return READERS[suffix](path)


def write_image(
    path: Path, voxels: Array, affine: Array, *, labels: bool = False, scale: float | None = None
) -> None:
    """Write voxels with their own dtype, compressed where the suffix allows; whole or not at all.

    Args:
        labels: say in a NIfTI header that values are labels, not intensities.
        scale: what readers multiply the stored numbers by; NIfTI alone.

    Raises:
        ValueError: a suffix that is not written, or what the format cannot hold.
    """
    check_fits(path, affine, voxels.shape)
    suffix = suffix_of(path)
    assert suffix is not None
    if suffix in _NIFTI:
        _write_nifti(path, voxels, affine, labels, scale)
        return
    if scale is not None:
        raise ValueError(f"{path}: only NIfTI holds a scale; write .nii.gz")
    from segmentation.imaging import itk

    itk.write(path, suffix, voxels, affine)


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
    return any(_is_dicom(path) for path in sorted(folder.iterdir()) if path.is_file())


def states_orientation(path: Path) -> bool:
    """Whether a file says which way its axes run; NIfTI may not (sform and qform code 0)."""
    if path.is_dir() or suffix_of(path) not in _NIFTI:
        return True
    try:
        header = nibabel.Nifti1Image.from_filename(path).header
    except _DAMAGE as fault:
        raise _damaged(path, fault) from None
    return bool(header["sform_code"] or header["qform_code"])


def _is_dicom(path: Path) -> bool:
    if path.name.startswith(".") or path.name == "DICOMDIR":
        return False
    with path.open("rb") as file:
        return path.suffix.lower() == ".dcm" or file.read(132)[128:] == b"DICM"


def _read_nifti(path: Path) -> Pixels:
    try:
        image = nibabel.Nifti1Image.from_filename(path)
        if image.get_data_dtype().kind in "iuf":
            return np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged")), image.affine
    except _DAMAGE as fault:
        raise _damaged(path, fault) from None
    raise ValueError(f"{path}: voxels are colors or complex; a scan in gray values is needed")


def _damaged(path: Path, fault: BaseException) -> ValueError:
    reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
    return ValueError(f"{path}: damaged, cut short or no NIfTI file ({reason})")


def _read_itk(path: Path) -> Pixels:
    from segmentation.imaging import itk

    return itk.read(path)


def _read_dicom(folder: Path) -> Pixels:
    from segmentation.imaging import itk

    return itk.read_series(folder)


def _write_nifti(
    path: Path, voxels: Array, affine: Array, labels: bool, scale: float | None
) -> None:
    image = nibabel.Nifti1Image(voxels, affine)
    if is_straight(affine, voxels.shape):  # ITK takes the qform where the sform is a little askew
        image.set_qform(affine, code="aligned", strip_shears=True)
    image.header.set_xyzt_units("mm")
    if labels:
        image.header.set_intent("label")
    if scale is not None:
        image.header.set_slope_inter(scale, 0)
    content = image.to_bytes()
    if path.name.lower().endswith(".gz"):
        content = gzip.compress(content, compresslevel=4, mtime=0)
    with replacing(path) as partial:
        partial.write_bytes(content)


READERS: dict[str, Callable[[Path], Pixels]] = {
    ".nii.gz": _read_nifti,
    ".nii": _read_nifti,
    ".nrrd": _read_itk,
    ".nhdr": _read_itk,
    ".mha": _read_itk,
    ".mhd": _read_itk,
}
_NIFTI = (".nii.gz", ".nii")
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")
