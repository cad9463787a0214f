"""Readers of the scans and masks of a raw data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from segmentation.data.layouts import RawCase
from segmentation.imaging.affines import affine_of
from segmentation.imaging.io import states_orientation
from segmentation.imaging.volume import Volume, read_labels, read_volume


class Reader(Protocol):
    """Reads the cases of one raw data set; picklable, shared by all worker processes."""

    @property
    def layout(self) -> str | None:
        """The layout of the folder; None for that of the descriptor."""

    @property
    def stamp(self) -> str:
        """Settings of the reader that a prepared case depends on."""

    @property
    def note(self) -> str | None:
        """Assumptions of the reader, for users of the prepared cases; None if there are none."""

    def scan(self, case: RawCase) -> Volume:
        """The scan, float32."""

    def mask(self, case: RawCase) -> Volume:
        """The mask of a case that has one, int32."""


@dataclass(frozen=True)
class Files:
    """Files with an affine: NIfTI, NRRD, MetaImage, DICOM.

    Attributes:
        orientation: axis codes for files without an orientation; they are refused without it.
    """

    layout: str | None = None
    orientation: str | None = None

    @property
    def stamp(self) -> str:
        """The orientation that was given, if any."""
        return self.orientation or ""

    @property
    def note(self) -> str | None:
        """The orientation that was given, if any."""
        given = self.orientation
        return given and f"files that state no orientation were read as {given}, as given"

    def scan(self, case: RawCase) -> Volume:
        """The scan, float32.

        Raises:
            FileNotFoundError, ValueError: as for `read_volume`; or no orientation is known.
        """
        return self._placed(case.image, read_volume(case.image))

    def mask(self, case: RawCase) -> Volume:
        """The mask, int32.

        Raises:
            FileNotFoundError, ValueError: as for `read_labels`; or no orientation is known.
        """
        assert case.label is not None
        return self._placed(case.label, read_labels(case.label))

    def _placed(self, path: Path, volume: Volume) -> Volume:
        if states_orientation(path):
            return volume
        if self.orientation is None:
            raise ValueError(
                f"{path}: neither sform nor qform is set, so nothing says which way its axes run, "
                "and left and right may be exchanged; give --orientation, such as RAS or LPS, if "
                "you know, or correct the header"
            )
        affine = affine_of(self.orientation, volume.voxels.shape, volume.spacing_mm)
        return Volume(volume.voxels, affine)
