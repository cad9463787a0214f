"""DICOM files of a folder: which of them are the slices of its one series, which are left out."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from segmentation.common.text import one_line
from segmentation.imaging.headers import is_dicom_file

_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR, whatever its file is called
_VOLUMES = ("CT", "MR", "PT", "NM")  # modalities of slices; others are refused by name
_NAMES = {
    "RTDOSE": "radiotherapy dose", "RTSTRUCT": "radiotherapy contours",
    "RTPLAN": "radiotherapy plan", "RTIMAGE": "radiotherapy image", "SEG": "segmentation",
    "REG": "registration", "PR": "presentation state", "KO": "key object selection",
    "SR": "structured report", "CR": "X-ray image", "DX": "X-ray image", "RG": "X-ray image",
    "MG": "mammogram", "US": "ultrasound image", "XA": "angiogram", "RF": "fluoroscopy",
    "OT": "object of modality OT", "SC": "screenshot", "DOC": "document",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A DICOM file and its header without pixels."""

    path: Path
    header: Dataset

    def text(self, keyword: str) -> str:
        """The value of a tag as text; empty where it is missing, empty or not readable."""
        return str(value_of(self.header, keyword) or "").strip()

    @property
    def kind(self) -> str | None:
        """The reason why the file is no slice of a volume, in words; None if it is one."""
        modality = self.text("Modality").upper()
        if modality in _NAMES:
            return _NAMES[modality]
        if not value_of(self.header, "Rows") or not value_of(self.header, "Columns"):
            return f"object of modality {one_line(modality, 20) or 'unknown'} without pixels"
        if modality and modality not in _VOLUMES:
            return f"object of modality {one_line(modality, 20)}"
        return None

    @property
    def is_localizer(self) -> bool:
        """Whether its image type says that it is a localizer (scout, topogram)."""
        return "LOCALIZER" in self.text("ImageType").upper()


@dataclass(frozen=True)
class Series:
    """The files of one DICOM series, and what was left out of its folder, in words."""

    path: Path
    files: tuple[DicomFile, ...]
    left_out: tuple[str, ...] = ()


def find_series(path: Path) -> Series:
    """The one series of a folder, or the object in a single multi-frame file.

    Localizers, and objects that are no slices (dose, segmentation, report), are left out.

    Raises:
        FileNotFoundError: no DICOM file in the folder.
        ValueError: a damaged file, several series, or none of slices; names what is there.
    """
    if path.is_dir():
        paths = [each for each in sorted(path.iterdir()) if is_dicom_file(each)]
    else:
        paths = [path]
    files = [file for each in paths if (file := read_header(each)) is not None]
    if not files:
        raise FileNotFoundError(f"{path}: no DICOM slice in this folder")
    left_out = [f"{file.path.name} ({file.kind})" for file in files if file.kind]
    slices = [file for file in files if not file.kind]
    if not slices:
        raise ValueError(f"{path}: no slices of a CT or MR series, only {_few(left_out)}")
    scouts = [file for file in slices if file.is_localizer]
    if len(scouts) == len(slices):
        raise ValueError(f"{path}: holds localizers (scouts) alone, such as {scouts[0].path.name}")
    left_out += [f"{file.path.name} (localizer)" for file in scouts]
    rest = [file for file in slices if not file.is_localizer]
    series = _by_series(rest)
    if len(series) > 1:
        listed = ", ".join(f"{name} ({len(group)} files)" for name, group in series.items())
        raise ValueError(
            f"{path}: holds {len(series)} DICOM series; give each a separate folder: "
            f"{one_line(listed, 250)}"
        )
    if path.is_file() and not int(value_of(rest[0].header, "NumberOfFrames") or 1) > 1:
        raise ValueError(
            f"{path}: one slice of a DICOM series; give the folder with all of its slices"
        )
    return Series(path, tuple(rest), tuple(left_out))


def read_header(path: Path) -> DicomFile | None:
    """The header of a DICOM file; None for a directory file (DICOMDIR).

    Raises:
        ValueError: damaged, or no DICOM file.
    """
    try:
        with quiet():
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            meta = getattr(header, "file_meta", Dataset())
            kind = str(value_of(meta, "MediaStorageSOPClassUID") or "")
            if _DIRECTORY in (kind, str(value_of(header, "SOPClassUID") or "")):
                return None
            if not {"SOPClassUID", "Modality", "Rows"} & set(header.dir()):
                raise ValueError("no tag of a DICOM image in it")
    except Exception as fault:  # pydicom raises nearly everything over damaged files
        reason = one_line(fault, 120) or type(fault).__name__
        raise ValueError(f"{path}: damaged or no DICOM file ({reason})") from None
    return DicomFile(path, header)


def value_of(header: Dataset, keyword: str) -> Any:
    """The value of a tag; None where it is missing, empty or cannot be converted."""
    try:
        with quiet():
            value = header.get(keyword)
    except Exception:  # a value that does not fit its type
        return None
    return None if value is None or (hasattr(value, "__len__") and len(value) == 0) else value


def folders_with_dicom(folder: Path, depth: int = 4) -> list[Path]:
    """The folder and those below it, to some depth, that hold a DICOM file directly."""
    inside = sorted(folder.iterdir())
    folders = [folder] if any(is_dicom_file(path) for path in inside) else []
    if depth > 0:
        for path in inside:
            if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
                folders += folders_with_dicom(path, depth - 1)
    return folders


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings and log lines of pydicom: they quote values, such as the patient's name."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _by_series(files: Sequence[DicomFile]) -> dict[str, list[DicomFile]]:
    """Files by their series: its UID or, where anonymizers emptied it, its number."""
    groups: dict[str, list[DicomFile]] = {}
    for file in files:
        name = file.text("SeriesInstanceUID") or f"series {file.text('SeriesNumber') or '?'}"
        groups.setdefault(name, []).append(file)
    return groups


def _few(words: Sequence[str]) -> str:
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return one_line(", ".join(words[:3]), 200) + more
