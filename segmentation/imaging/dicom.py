"""A DICOM series as a volume: geometry and values of every frame, read as they are or refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from segmentation.common.text import one_line
from segmentation.imaging.dicom_files import DicomFile, find_series, quiet
from segmentation.imaging.dicom_frames import Frame, ordered_frames, position_of
from segmentation.imaging.headers import HeaderIssue, check_size, spacing_issue

Array = np.ndarray

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read(path: Path) -> tuple[Array, Array, tuple[HeaderIssue, ...]]:
    """Voxels [i, j, k] in HU as float32, the affine to RAS+ mm, and header issues.

    Frames are sorted by position, whatever their order in files and in the series. The affine
    comes from the frames' own positions, so that a tilted gantry is kept.

    Args:
        path: the folder of one series, or a file with several frames.

    Raises:
        FileNotFoundError: no DICOM file.
        ValueError: several series, no CT or MR slices, a damaged slice, slices that disagree in
            orientation, size, spacing or frame of reference, or are missing or there twice.
    """
    series = find_series(path)
    frames, issues = ordered_frames(series)
    rows, columns = frames[0].shape
    stored = sum(file.path.stat().st_size for file in series.files)
    check_size(path, (columns, rows, len(frames)), 4, stored)
    voxels = np.empty((columns, rows, len(frames)), np.float32, order="F")
    places = {(frame.file.path, frame.index): k for k, frame in enumerate(frames)}
    for file in series.files:
        own = sorted((f for f in frames if f.file is file), key=lambda frame: frame.index)
        for frame, plane in zip(own, _planes(file, own), strict=True):
            voxels[:, :, places[file.path, frame.index]] = plane.T
    affine, spacing_issues = _affine(path, frames)
    return voxels, affine, (*issues, *spacing_issues)


def _affine(path: Path, frames: Sequence[Frame]) -> tuple[Array, list[HeaderIssue]]:
    """Voxel index to RAS+ mm, and issues of the voxel size."""
    first, issues = frames[0], []
    if len(frames) > 1:
        step = (position_of(frames[-1]) - position_of(first)) / (len(frames) - 1)
    elif first.thickness_mm:
        step = first.normal * first.thickness_mm
        text = f"a single slice; its thickness, {first.thickness_mm:g} mm, was taken as voxel side"
        issues.append(HeaderIssue("spacing", text))
    else:
        raise ValueError(
            f"{path}: a single slice without SliceThickness, so nothing says how thick it is"
        )
    row, column = first.axes
    row_mm, column_mm = first.spacing_mm  # the distance between rows comes first
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * column_mm, column * row_mm, step
    affine[:3, 3] = position_of(first)
    affine = _TO_RAS @ affine
    if issue := spacing_issue(np.linalg.norm(affine[:3, :3], axis=0)):
        issues.append(issue)
    return affine, issues


def _planes(file: DicomFile, frames: Sequence[Frame]) -> list[Array]:
    """HU [rows, columns] of every frame of a file: its own slope and intercept, float32."""
    try:
        with quiet():
            stored = _stored(file, frames)
    except Exception as fault:  # pydicom, GDCM and their plugins raise nearly everything
        reason = one_line(fault, 150) or type(fault).__name__
        raise ValueError(f"{file.path}: damaged or not readable ({reason})") from None
    shape = len(frames), *frames[0].shape
    if stored.size != np.prod(shape):
        raise ValueError(f"{file.path}: {stored.size} pixels; expected {shape}")
    stored = stored.reshape(shape)
    # float64 on the way: a slope below 1 must not be rounded to whole numbers
    return [
        (plane.astype(np.float64) * frame.slope + frame.intercept).astype(np.float32)
        for frame, plane in zip(frames, stored, strict=True)
    ]


def _stored(file: DicomFile, frames: Sequence[Frame]) -> Array:
    """Stored values by pydicom or, for compressed pixels that it cannot decode, by GDCM."""
    import pydicom

    dataset = pydicom.dcmread(file.path, force=True)
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None) if _has_meta(dataset) else None
    if syntax is None:
        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2")  # the standard's default
        syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax == "1.2.840.10008.1.2.5":
        return np.asarray(dataset.pixel_array)
    from segmentation.imaging.itk import read_itk, voxels_of

    scales = {(frame.slope, frame.intercept) for frame in frames}
    if len(scales) > 1:
        raise ValueError("compressed frames with several rescale slopes; decompress it first")
    slope, intercept = scales.pop()
    scaled = voxels_of(read_itk(file.path), file.path).astype(np.float64)  # GDCM rescales
    return ((scaled - intercept) / slope).transpose()


def _has_meta(header: Dataset) -> bool:
    return getattr(header, "file_meta", None) is not None
