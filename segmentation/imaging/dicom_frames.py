"""The frames of a DICOM series: place and scale of every slice, in order, checked to agree.

A frame is one slice: a file of a classic series, or a frame of an enhanced multi-frame object.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from segmentation.common.text import one_line
from segmentation.imaging.dicom_files import DicomFile, Series, value_of
from segmentation.imaging.headers import HeaderIssue

Array = np.ndarray

_SAME_DIRECTION = 1e-3  # of direction cosines; digits that headers leave out
_SAME_MM = 1e-3
_ROUNDED_MM = 0.11  # what positions rounded to 0.1 mm can be off a straight line
_UNEVEN = 0.05  # of the slice distance: deviations that are accepted
_MISSING = 0.25  # of the slice distance: more is a missing slice, whatever the rounding


@dataclass(frozen=True, eq=False)
class Frame:
    """Place and scale of one slice.

    Attributes:
        index: of the frame in its file.
        position: of the first voxel in LPS mm; None where the header states none.
        axes: direction cosines [2, 3] along a row and along a column.
        spacing_mm: between rows, and between columns.
        slope, intercept: from stored values to HU.
        group: what tells phases and stacks apart.
    """

    file: DicomFile
    index: int
    position: Array | None
    axes: Array
    spacing_mm: tuple[float, float]
    shape: tuple[int, int]
    thickness_mm: float | None
    slope: float
    intercept: float
    reference: str
    group: str

    @property
    def name(self) -> str:
        """File, and number of the frame if it has several."""
        name = self.file.path.name
        return f"{name} frame {self.index + 1}" if _frames_in(self.file) > 1 else name

    @cached_property
    def normal(self) -> Array:
        """The direction across the slice."""
        return np.cross(*self.axes)


def ordered_frames(series: Series) -> tuple[list[Frame], tuple[HeaderIssue, ...]]:
    """The frames of a series in the order of their positions, checked to agree.

    Raises:
        ValueError: frames that disagree; names the first that is unlike most.
    """
    frames = [frame for file in series.files for frame in _frames(file)]
    issues = []
    if series.left_out:
        few = ", ".join(series.left_out[:3])
        more = f" and {len(series.left_out) - 3} more" if len(series.left_out) > 3 else ""
        text = f"left out, for they are no slices of the series: {one_line(few)}{more}"
        issues.append(HeaderIssue("note", text))
    _check_equal(series.path, frames)
    if len(frames) > 1 and all(frame.position is None for frame in frames):
        return frames, (*issues, _stacked_by_thickness(series.path, frames))
    lost = [frame.name for frame in frames if frame.position is None]
    if lost:
        raise ValueError(f"{series.path}: {lost[0]} has no ImagePositionPatient")
    frames.sort(key=lambda frame: float(frame.normal @ position_of(frame)))
    _check_positions(series.path, frames)
    return frames, tuple(issues)


def _frames(file: DicomFile) -> list[Frame]:
    header = file.header
    count = _frames_in(file)
    shared = _item(header, "SharedFunctionalGroupsSequence")
    each = value_of(header, "PerFrameFunctionalGroupsSequence")
    groups = list(each) if each is not None else []
    if groups and len(groups) != count:
        raise ValueError(
            f"{file.path}: {count} frames, but positions of {len(groups)}; damaged header"
        )
    if value_of(header, "PhotometricInterpretation") == "MONOCHROME1":
        raise ValueError(f"{file.path}: MONOCHROME1 (an inverted X-ray image), no CT or MR slice")
    if (values := int(_number(file, header, "SamplesPerPixel") or 1)) != 1:
        raise ValueError(f"{file.path}: {values} values per pixel; expected gray values")
    several = count > 1 and not groups
    return [
        _frame(file, index, [groups[index] if groups else Dataset(), shared, header], several)
        for index in range(count)
    ]


def _frame(file: DicomFile, index: int, places: list[Dataset], several: bool) -> Frame:
    """A frame whose values are taken from its own group, the shared one, or the file."""
    header = places[-1]

    def look(sequence: str, keyword: str, count: int) -> Array | None:
        for place in places:
            for item in (_item(place, sequence), place):
                if value_of(item, keyword) is not None:
                    return _numbers(file, item, keyword, count)
        return None

    axes = look("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = look("PixelMeasuresSequence", "PixelSpacing", 2)
    for keyword, value in (("ImageOrientationPatient", axes), ("PixelSpacing", spacing)):
        if value is None:
            raise ValueError(f"{file.path}: {keyword} is missing or empty")
    assert axes is not None
    assert spacing is not None
    lengths = np.linalg.norm(axes.reshape(2, 3), axis=1)
    if min(spacing) <= 0 or (np.abs(lengths - 1) > 0.01).any() or abs(axes[:3] @ axes[3:]) > 0.01:
        raise ValueError(
            f"{file.path}: PixelSpacing {spacing.tolist()}, ImageOrientationPatient "
            f"{axes.tolist()}; expected positive sides and two perpendicular unit vectors"
        )
    position = look("PlanePositionSequence", "ImagePositionPatient", 3)
    distance = look("PixelMeasuresSequence", "SpacingBetweenSlices", 1)
    thickness = look("PixelMeasuresSequence", "SliceThickness", 1)
    thickness = thickness if distance is None else distance
    slope = look("PixelValueTransformationSequence", "RescaleSlope", 1)
    intercept = look("PixelValueTransformationSequence", "RescaleIntercept", 1)
    if slope is not None and slope[0] == 0:
        raise ValueError(f"{file.path}: RescaleSlope is 0")
    content = _item(places[0], "FrameContentSequence")
    rows, columns = (int(_number(file, header, word) or 0) for word in ("Rows", "Columns"))
    return Frame(
        file=file,
        index=index,
        # one position for all frames of an old multi-frame object is that of the first alone
        position=None if several else position,
        axes=axes.reshape(2, 3),
        spacing_mm=(float(spacing[0]), float(spacing[1])),
        shape=(rows, columns),
        thickness_mm=None if thickness is None else abs(float(thickness[0])),
        slope=1.0 if slope is None else float(slope[0]),
        intercept=0.0 if intercept is None else float(intercept[0]),
        reference=file.text("FrameOfReferenceUID"),
        group=" ".join(
            f"{word} {one_line(value, 20)}"
            for word in ("StackID", "TemporalPositionIndex")
            if (value := value_of(content, word)) is not None
        ),
    )


def _check_equal(path: Path, frames: Sequence[Frame]) -> None:
    """Refuse frames that disagree, naming one of the minority, wherever it stands."""
    facts = {
        "orientation": lambda frame: tuple(np.round(frame.axes / _SAME_DIRECTION / 2).ravel()),
        "size": lambda frame: frame.shape,
        "pixel spacing": lambda frame: tuple(np.round(np.array(frame.spacing_mm) / _SAME_MM / 2)),
        "frame of reference": lambda frame: frame.reference,
    }
    for word, fact in facts.items():
        usual = Counter(map(fact, frames)).most_common(1)[0][0]
        typical = next(frame for frame in frames if fact(frame) == usual)
        for frame in frames:
            if fact(frame) == usual or _alike(word, frame, typical):
                continue
            crossing = word == "orientation" and abs(frame.normal @ typical.normal) < 0.5
            hint = " (planes that cross: a scout, or several series?)" if crossing else ""
            raise ValueError(
                f"{path}: {frame.name} has another {word} than {typical.name} and most slices of "
                f"the series{hint}; give the slices of one series"
            )


def _alike(word: str, frame: Frame, typical: Frame) -> bool:
    """Whether a difference is one of rounding, at the edge of what was rounded together."""
    if word == "orientation":
        return bool(np.abs(frame.axes - typical.axes).max() < _SAME_DIRECTION)
    if word == "pixel spacing":
        return bool(np.abs(np.subtract(frame.spacing_mm, typical.spacing_mm)).max() < _SAME_MM)
    return False


def _stacked_by_thickness(path: Path, frames: list[Frame]) -> HeaderIssue:
    """Give frames without positions those of a stack, one slice thickness apart."""
    thickness = frames[0].thickness_mm
    if not thickness:
        raise ValueError(
            f"{path}: its frames have neither positions nor SliceThickness, so nothing says how "
            "far apart they are"
        )
    first = value_of(frames[0].file.header, "ImagePositionPatient")
    start = np.zeros(3) if first is None else np.array(first, float)
    for k, frame in enumerate(frames):
        frames[k] = replace(frame, position=start + k * thickness * frame.normal)
    return HeaderIssue(
        "spacing",
        f"its {len(frames)} frames have no positions; they were stacked {thickness:g} mm apart "
        "(SliceThickness), in the order of the file",
    )


def _check_positions(path: Path, frames: Sequence[Frame]) -> None:
    """Refuse positions that are not those of one evenly spaced stack."""
    if len(frames) < 2:
        return
    heights = np.array([frame.normal @ position_of(frame) for frame in frames])
    places = np.array([position_of(frame) for frame in frames])
    copies = [len(list(same)) for _, same in groupby(np.round(heights / _SAME_MM))]
    if len(copies) == 1:
        raise ValueError(f"{path}: all {len(frames)} slices are at the same position")
    if min(copies) > 1:
        named = sorted({frame.group for frame in frames if frame.group})
        names = f" ({one_line(', '.join(named[:4]))})" if len(named) > 1 else ""
        raise ValueError(
            f"{path}: {min(copies)} slices at every position, several phases or stacks{names}; "
            "give each a separate folder"
        )
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    step = (places[-1] - places[0]) / (len(frames) - 1)
    typical = float(np.median(steps))
    # A missing slice moves its neighbors by half a step from the line through first and last.
    line = places[0] + np.arange(len(frames))[:, None] * step
    allowed = min(max(_UNEVEN * typical, _ROUNDED_MM), _MISSING * typical)
    if np.linalg.norm(places - line, axis=1).max() > allowed:
        at = int(np.argmax(np.abs(steps - typical)))
        raise ValueError(
            f"{path}: slices are {steps[at]:.3g} mm apart between {frames[at].name} and "
            f"{frames[at + 1].name} where {typical:.3g} mm is the rule; a slice is missing, or "
            "there twice, or the spacing is uneven"
        )


def _frames_in(file: DicomFile) -> int:
    count = int(_number(file, file.header, "NumberOfFrames") or 1)
    if not 1 <= count <= 100_000:
        raise ValueError(f"{file.path}: NumberOfFrames {count}")
    return count


def position_of(frame: Frame) -> Array:
    """The position of a frame of `ordered_frames`, which has one."""
    assert frame.position is not None
    return frame.position


def _item(header: Dataset, sequence: str) -> Dataset:
    """The first item of a sequence; empty where there is none."""
    items = value_of(header, sequence)
    return items[0] if isinstance(items, DicomSequence) else Dataset()


def _number(file: DicomFile, header: Dataset, keyword: str) -> float | None:
    if value_of(header, keyword) is None:
        return None
    return float(_numbers(file, header, keyword, 1)[0])


def _numbers(file: DicomFile, header: Dataset, keyword: str, count: int) -> Array:
    value = value_of(header, keyword)
    try:
        numbers = np.atleast_1d(np.array(value, float))
    except (TypeError, ValueError):
        numbers = np.array([])
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(
            f"{file.path}: {keyword} is {one_line(value, 60)!r}; expected {count} numbers"
        )
    return numbers
