"""Readers of the scans and masks of a raw data set."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from segmentation.data.label_values import LabelValues
from segmentation.data.raw_cases import RawCase
from segmentation.imaging.affines import affine_of
from segmentation.imaging.volume import Volume, read_labels, read_volume

_ORIENTATION = ("orientation", "contradiction")  # kinds of issues that --orientation settles


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
        orientation: axis codes for files without an orientation, or with two that contradict
            each other; they are refused without it.
        trust_headers: read files with doubtful headers unchanged instead of refusing them.
        values: label values of the masks; None if those are the class indices.
    """

    layout: str | None = None
    orientation: str | None = None
    trust_headers: bool = False
    values: LabelValues | None = None

    @property
    def stamp(self) -> str:
        """The settings for files with doubtful headers."""
        return " ".join(filter(None, [self.orientation, "trusted" * self.trust_headers]))

    @property
    def note(self) -> str | None:
        """The assumptions about files with doubtful headers, if any."""
        given, sentences = self.orientation, []
        if given:
            sentences.append(f"files that state no orientation were read as {given}, as given")
        if self.trust_headers:
            sentences.append("files with doubtful headers were read unchanged, as given")
        return "; ".join(sentences) or None

    def scan(self, case: RawCase) -> Volume:
        """The scan, float32.

        Raises:
            FileNotFoundError, ValueError: as for `read_volume`; or no orientation is known.
        """
        return self._placed(case.image, read_volume(case.image))

    def mask(self, case: RawCase) -> Volume:
        """The mask, int32; with `values`, its class indices.

        Raises:
            FileNotFoundError, ValueError: as for `read_labels` and `LabelValues.read`; or no
                orientation is known.
        """
        assert case.label is not None
        read = read_labels if self.values is None else self.values.read
        return self._placed(case.label, read(case.label))

    def _placed(self, path: Path, volume: Volume) -> Volume:
        """The volume, unless its header is doubtful and no option settles it."""
        doubtful = [issue for issue in volume.issues if issue.doubtful]
        if self.orientation and any(issue.kind in _ORIENTATION for issue in doubtful):
            affine = affine_of(self.orientation, volume.voxels.shape, volume.spacing_mm)
            volume = replace(volume, affine=affine)
            doubtful = [issue for issue in doubtful if issue.kind not in _ORIENTATION]
        if not doubtful or self.trust_headers:
            return volume
        issue = doubtful[0]
        remedy = "correct the header, or give --trust-headers to read it unchanged"
        if issue.kind in _ORIENTATION:
            remedy = "give --orientation, such as RAS or LPS, if you know, or correct the header"
        raise ValueError(f"{path}: {issue.text}; {remedy}")
