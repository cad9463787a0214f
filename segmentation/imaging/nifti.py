"""NIfTI-1 and NIfTI-2 files: voxels, affine and header issues.

Headers are parsed by nibabel. Voxels are read here as a stream, so that the checksum of gzip is
verified and a declared size is never allocated before the file has shown that it holds it.
"""

import gzip
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np
from nibabel.volumeutils import apply_read_scaling

from segmentation.common.files import replacing
from segmentation.common.text import one_line
from segmentation.imaging.affines import is_straight, turn_degrees
from segmentation.imaging.headers import (
    PLAUSIBLE_MM,
    HeaderIssue,
    check_size,
    spacing_issue,
)

Array = np.ndarray

_CHUNK = 2**24  # bytes that are decompressed and converted at once
_MOST_TRAILING = 2**26  # bytes behind the voxels; more are no padding
_TURNED_DEGREES = 2.0  # between sform and qform; rounding and shears stay below
_UNITS_MM = {1: ("meters", 1000.0), 3: ("micrometers", 0.001)}  # xyzt_units & 7


class _Header1(nibabel.Nifti1Header):
    """nibabel accepts no quaternion that rounding made longer than 1; ITK does."""

    quaternion_threshold = -1e-5


class _Header2(nibabel.Nifti2Header):
    quaternion_threshold = -1e-5


Header = _Header1 | _Header2


def read(path: Path) -> tuple[Array, Array, tuple[HeaderIssue, ...]]:
    """Voxels as float32, scaled by the header, the affine to RAS+ mm, and header issues.

    Raises:
        ValueError: damaged, cut short, no NIfTI file, too large, or colors or complex numbers.
    """
    try:
        with _opened(path) as file, _quiet(), np.errstate(all="ignore"):
            header = _header(file)
            dtype = header.get_data_dtype()
            if dtype.kind not in "iuf":
                raise _Unusable("voxels are colors or complex; a scan in gray values is needed")
            shape = _shape(header)
            check_size(path, shape, dtype.itemsize, path.stat().st_size)
            voxels = _voxels(file, header, shape)
            affine, issues = _geometry(header)
    except _Unusable as fault:
        raise ValueError(f"{path}: {fault}") from None
    except Exception as fault:  # nibabel, gzip and numpy raise nearly everything over damage
        if str(fault).startswith(f"{path}: "):
            raise
        reason = one_line(fault) or type(fault).__name__
        raise ValueError(f"{path}: damaged, cut short or no NIfTI file ({reason})") from None
    return voxels, affine, issues


def write(path: Path, voxels: Array, affine: Array, labels: bool, scale: float | None) -> None:
    """Write a NIfTI-1 file atomically, compressed if its name ends in `.gz`."""
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


class _Unusable(Exception):
    """A valid file that is no scan in gray values."""


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The uncompressed bytes, whatever the name says: some `.nii` files are compressed."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if packed:
            with gzip.GzipFile(fileobj=raw) as file:
                yield file  # type: ignore[misc]
        else:
            yield raw


def _header(file: BinaryIO) -> Header:
    """The header as it is on disk: nibabel's repairs would hide a voxel size of 0."""
    start = file.read(348)
    size = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    if len(start) < 348 or not size & {348, 540}:
        raise ValueError("no NIfTI header at its beginning")
    kind = _Header1 if 348 in size else _Header2
    header: Header = kind(start if kind is _Header1 else start + file.read(192), check=False)
    if bytes(header["magic"].item())[:3] not in (b"n+1", b"n+2"):
        raise ValueError("no NIfTI file with header and voxels in one")
    offset = int(header["vox_offset"])
    if not 0 <= offset < 2**30:
        raise ValueError(f"voxels begin at byte {offset}")
    read_already = 348 if kind is _Header1 else 540
    _skip(file, max(offset, read_already) - read_already)  # extensions, or an offset of 0
    return header


def _skip(file: BinaryIO, count: int) -> None:
    while count > 0:
        block = file.read(min(count, _CHUNK))
        if not block:
            raise EOFError("ends before its voxels")
        count -= len(block)


def _shape(header: Header) -> tuple[int, ...]:
    axes = int(header["dim"][0])
    if not 1 <= axes <= 7:
        raise ValueError(f"{axes} dimensions")
    shape = tuple(int(side) for side in header["dim"][1 : axes + 1])
    if min(shape) < 1:
        raise ValueError(f"shape {shape}")
    return shape


def _voxels(file: BinaryIO, header: Header, shape: Sequence[int]) -> Array:
    """All voxels as float32 in Fortran order, scaled as nibabel scales them."""
    dtype = header.get_data_dtype()
    count = int(np.prod(shape, dtype=np.int64))
    slope, inter = _scale(header)
    flat = np.empty(count, np.float32)
    for start in range(0, count, _CHUNK // dtype.itemsize):
        number = min(count - start, _CHUNK // dtype.itemsize)
        block = _exactly(file, number * dtype.itemsize)
        if len(block) < number * dtype.itemsize:
            stored = start * dtype.itemsize + len(block)
            raise EOFError(f"expected {count * dtype.itemsize} bytes of voxels, got {stored}")
        values = apply_read_scaling(np.frombuffer(block, dtype), slope, inter)
        flat[start : start + number] = values
    _check_end(file)
    return flat.reshape(shape, order="F")


def _scale(header: Header) -> tuple[Array, Array]:
    """Slope and intercept, float32 where that loses nothing, as in nibabel's ArrayProxy."""
    slope, inter = header.get_slope_inter()
    pair = np.asanyarray(1.0 if slope is None else slope), np.asanyarray(inter or 0.0)
    one, other = (part.astype(np.float32) if np.can_cast(part, np.float32) else part
                  for part in pair)  # fmt: skip
    return one, other


def _exactly(file: BinaryIO, count: int) -> bytes:
    """So many bytes, or all that are left."""
    blocks = []
    while count > 0:
        block = file.read(count)
        if not block:
            break
        blocks.append(block)
        count -= len(block)
    return b"".join(blocks)


def _check_end(file: BinaryIO) -> None:
    """Read to the end: gzip verifies its checksum only there."""
    trailing = 0
    while block := file.read(2**20):
        trailing += len(block)
        if trailing > _MOST_TRAILING:
            raise ValueError("more bytes behind its voxels than padding can explain")


def _geometry(header: Header) -> tuple[Array, tuple[HeaderIssue, ...]]:
    """The affine in mm that nibabel takes, and the issues of the fields it comes from."""
    issues = []
    sides = np.array(header["pixdim"][1:4], float)
    has_sform, has_qform = bool(header["sform_code"]), bool(header["qform_code"])
    if not has_sform and not (np.isfinite(sides) & (sides != 0)).all():
        issues.append(_pixdim_issue(sides))
    good = np.where(np.isfinite(sides) & (sides != 0), np.abs(sides), 1.0)
    header["pixdim"][1:4] = good
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1  # qfac; the standard reads 0 as 1
    affine = np.array(header.get_best_affine(), float)
    if not has_sform and not has_qform:
        issues.append(
            HeaderIssue(
                "orientation",
                "neither sform nor qform is set, so nothing says which way its axes run; they "
                "were taken as nibabel takes them, and left and right may be exchanged",
            )
        )
    if has_sform and has_qform:
        issues += _contradiction(affine, np.array(header.get_qform(), float))
    affine, unit_issues = _in_mm(affine, int(header["xyzt_units"]) & 7)
    issues += unit_issues
    implausible = spacing_issue(np.linalg.norm(affine[:3, :3], axis=0))
    if implausible and not any(issue.kind == "spacing" for issue in issues):
        issues.append(implausible)
    return affine, tuple(issues)


def _pixdim_issue(sides: Array) -> HeaderIssue:
    values = ", ".join(f"{side:g}" for side in sides)
    return HeaderIssue(
        "spacing",
        f"the header states voxels of {values} mm (pixdim); 1 mm was taken where a side is "
        "missing, so volumes and distances may be wrong",
    )


def _contradiction(sform: Array, qform: Array) -> list[HeaderIssue]:
    """Whether sform and qform mirror or turn the scan against each other."""
    if not np.isfinite(sform).all() or abs(np.linalg.det(sform[:3, :3])) < 1e-12:
        return []  # refused later
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        difference = "mirror the scan against each other"
    elif (angle := turn_degrees(sform, qform)) > _TURNED_DEGREES:
        difference = f"differ by a rotation of {angle:.0f} degrees"
    else:
        sizes = np.linalg.norm(sform[:3, :3], axis=0) / np.linalg.norm(qform[:3, :3], axis=0)
        if (np.abs(sizes - 1) < 0.02).all():
            return []
        difference = f"differ in voxel size by a factor of {sizes[np.abs(sizes - 1).argmax()]:.3g}"
    text = f"sform and qform {difference}; the sform was taken"
    return [HeaderIssue("contradiction", text)]


def _in_mm(affine: Array, unit: int) -> tuple[Array, list[HeaderIssue]]:
    """The affine in mm where the header states another unit, unless that is implausible."""
    if unit not in _UNITS_MM:
        return affine, []
    name, factor = _UNITS_MM[unit]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    converted = np.vstack([affine[:3] * factor, affine[3:]])
    low, high = PLAUSIBLE_MM
    if ((spacing * factor >= low) & (spacing * factor <= high)).all():
        return converted, [HeaderIssue("note", f"the header is in {name}, converted to mm")]
    if ((spacing >= low) & (spacing <= high)).all():
        text = f"the header says {name}, but its voxel sizes are plausible only in mm; mm was taken"
        return affine, [HeaderIssue("spacing", text)]
    return converted, []


@contextmanager
def _quiet() -> Iterator[None]:
    """No log lines of nibabel on the terminal: every problem is raised or returned."""
    logger = logging.getLogger("nibabel.global")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
