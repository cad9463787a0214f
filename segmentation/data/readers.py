"""How scans and masks of a raw data set are read: what `prepare` asks, and the answer for files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from segmentation.data.layouts import RawCase
from segmentation.imaging.affines import affine_of
from segmentation.imaging.io import states_orientation
from segmentation.imaging.volume import Volume, read_labels, read_volume


class Reader(Protocol):
    """Reads the cases of one raw data set; the same for every process that prepares."""

    @property
    def layout(self) -> str | None:
        """How the folder is laid out; None as the descriptor says."""

    @property
    def stamp(self) -> str:
        """What a case depends on beside its files."""

    @property
    def note(self) -> str | None:
        """What a user of the prepared cases has to know; None if nothing was assumed."""

    def scan(self, case: RawCase) -> Volume:
        """The scan, float32."""

    def mask(self, case: RawCase) -> Volume:
        """The mask, int32, of a case that has one."""


@dataclass(frozen=True)
class Files:
    """Files that say themselves where their voxels lie: NIfTI, NRRD, MetaImage, DICOM.

    Attributes:
        orientation: axis codes for NIfTI files that state none; such files are refused without.
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
        return given and f"files that state no orientation were taken as {given}, as told"

    def scan(self, case: RawCase) -> Volume:
        """The scan, float32.

        Raises:
            FileNotFoundError, ValueError: as for `read_volume`; or nothing says how it lies.
        """
        return self._placed(case.image, read_volume(case.image))

    def mask(self, case: RawCase) -> Volume:
        """The mask, int32.

        Raises:
            FileNotFoundError, ValueError: as for `read_labels`; or nothing says how it lies.
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
