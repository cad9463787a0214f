"""NRRD and MetaImage through SimpleITK, whose space is LPS+; here it becomes RAS+."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK

from segmentation.common.files import replacing
from segmentation.common.text import one_line
from segmentation.imaging.affines import straightened
from segmentation.imaging.headers import HeaderIssue, spacing_issue
from segmentation.imaging.itk_headers import check_header

Array = np.ndarray

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read(path: Path) -> tuple[Array, Array, tuple[HeaderIssue, ...]]:
    """Voxels [i, j, k], or with more axes, as float32, the affine to RAS+ mm, header issues.

    Raises:
        ValueError: damaged, of another format, or with several values per voxel.
    """
    issues = check_header(path)
    image = read_itk(path)
    affine = _affine(image)
    implausible = spacing_issue(np.linalg.norm(affine[:3, :3], axis=0))
    if implausible and not any(issue.kind == "spacing" for issue in issues):
        issues = (*issues, implausible)
    return voxels_of(image, path), affine, issues


def write(path: Path, suffix: str, voxels: Array, affine: Array, fields: Mapping[str, str]) -> None:
    """Write voxels [i, j, k] compressed and atomically; see `io.check_fits`.

    Args:
        fields: custom fields of the header.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    itk_affine = TO_RAS @ straightened(affine)
    direction = itk_affine[:3, :3] / spacing
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(itk_affine[:3, 3].tolist())
    image.SetDirection(direction.ravel().tolist())
    for key, value in fields.items():
        image.SetMetaData(key, value)
    with replacing(path) as partial:
        named = partial.with_name(partial.name + suffix)  # the suffix tells ITK the format
        try:
            SimpleITK.WriteImage(image, str(named), useCompression=True)
            named.replace(partial)
        finally:
            named.unlink(missing_ok=True)


def read_itk(path: Path) -> SimpleITK.Image:
    """The image of a file; ITK picks the format by its content.

    Raises:
        ValueError: ITK cannot read it; gives the last line of its reason.
    """
    with _quiet() as printed:
        try:
            return SimpleITK.ReadImage(str(path))
        except (RuntimeError, MemoryError) as fault:
            reason = _reason(fault)
    # MetaIO prints its reason and leaves ITK with that of the system, which says nothing.
    known = [line for line in printed() if line.startswith("MetaImage: ")]
    if known:
        reason = one_line(known[-1].rpartition(": ")[2])
    raise ValueError(f"{path}: damaged or not readable ({reason})")


def voxels_of(image: SimpleITK.Image, path: Path) -> Array:
    """The voxels [i, j, k] of an image as float32 in Fortran order.

    Raises:
        ValueError: several values per voxel.
    """
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
    return TO_RAS @ affine


def _reason(fault: BaseException) -> str:
    """The last line of ITK's message."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else type(fault).__name__


@contextmanager
def _quiet() -> Iterator[Callable[[], list[str]]]:
    """No lines of ITK on the terminal: every problem is raised. Gives the lines, once it has ended.

    MetaIO writes to the process's stderr, past Python's; that goes to a file meanwhile.
    """
    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    lines: list[str] = []
    sys.stderr.flush()
    own = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: lines
        finally:
            sys.stderr.flush()
            os.dup2(own, 2)
            os.close(own)
            SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()
