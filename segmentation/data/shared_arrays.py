"""Reader of prepared arrays that other repositories share: no affine, no header.

The order of their axes follows from their layout; their directions are given by the user or
estimated from the organs. Their spacing is given, or assumed to be that of the protocol's grid.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from segmentation.common.suggest import unknown
from segmentation.common.text import one_line
from segmentation.data.checks import is_empty
from segmentation.data.descriptor import DatasetSpec, Grid
from segmentation.data.layouts import LAYOUTS
from segmentation.data.orientation import orientation_by_organs
from segmentation.data.raw_cases import RawCase, find_cases
from segmentation.imaging.affines import affine_of, axes_of
from segmentation.imaging.headers import check_size
from segmentation.imaging.volume import (
    Array,
    Sizes,
    Volume,
    canonical_shape,
    checked_volume,
    label_volume,
)

Spacing = tuple[float, float, float]


FORMS = {name: layout.arrays for name, layout in LAYOUTS.items() if layout.arrays}


@dataclass(frozen=True)
class SharedArrays:
    """Reads shared arrays as volumes with an assumed affine.

    Attributes:
        layout: one of `FORMS`.
        orientation: axis codes of the arrays, such as LPS.
        spacing_mm: along the patient's x, y and z; None if unknown, then 1 mm is used.
        shape: the number of voxels [x, y, z], if fixed by the protocol.
        orientation_given: whether the user gave the orientation; else it is estimated.
        against: number of masks whose organs indicate another orientation.
        volumes_ml: of each organ, the median over the masks that have it; none without a spacing.
    """

    layout: str
    orientation: str
    spacing_mm: Spacing | None
    shape: Sizes | None = None
    orientation_given: bool = False
    against: int = 0
    volumes_ml: dict[str, float] = field(default_factory=dict)

    @property
    def stamp(self) -> str:
        """Layout, orientation and spacing."""
        return f"{self.layout} {self.orientation} {self.spacing_mm}"

    @property
    def note(self) -> str:
        """The assumed axes and spacing, in words."""
        source = "as given" if self.orientation_given else "by their organs"
        if self.against:
            source += f", though the organs of {self.against} masks indicate others"
        spacing = "spacing unknown, so that distances count voxels"
        if self.spacing_mm is not None:
            spacing = f"spacing {' x '.join(f'{side:g}' for side in self.spacing_mm)} mm assumed"
        return (
            f"arrays of {self.layout} as they are: axes {self.orientation} {source}, {spacing}; "
            "scores are on the folder's grid"
        )

    def scan(self, case: RawCase) -> Volume:
        """The stored intensities, float32, in the order of the array.

        Raises:
            ValueError: damaged, not three-dimensional, or not a number.
        """
        return self._placed(case.image, read_array(case.image, "image"))

    def mask(self, case: RawCase) -> Volume:
        """The stored labels as int32, in the order of the array.

        Raises:
            ValueError: damaged, or a value that is no whole number; quotes it.
        """
        assert case.label is not None
        placed = self._placed(case.label, read_array(case.label, "label"))
        return label_volume(case.label, placed)

    def _placed(self, path: Path, voxels: Array) -> Volume:
        sides = self.spacing_mm or (1.0, 1.0, 1.0)
        steps = [sides["xyz".index(axis)] for axis in axes_of(self.orientation)]
        if voxels.ndim != 3:
            return checked_volume(path, voxels, np.eye(4))
        there = canonical_shape(affine_of(self.orientation, voxels.shape, steps), voxels.shape)
        if self.shape is not None and there != self.shape:
            raise ValueError(
                f"{path}: {there} voxels [x, y, z] where the protocol has {self.shape}; arrays are "
                "taken as they are, so the descriptor of their own protocol is needed"
            )
        return checked_volume(path, voxels, affine_of(self.orientation, voxels.shape, steps))


def layouts_in(root: Path) -> tuple[str, ...]:
    """The layouts that fit the shared arrays in a folder; empty if it holds none.

    The two .npy layouts differ in the order of their axes alone; `open_arrays` decides.

    Raises:
        ValueError: cases that `tak prepare` wrote, or a damaged file.
    """
    if any(LAYOUTS["npy-ga"].find(root)):
        return "npy-ga", "npy-dhc"
    first = next((path for _, _, path in LAYOUTS["h5-magicnet"].find(root)), None)
    if first is None:
        return ()
    with _h5(first) as file:
        if "format_version" in file.attrs:
            raise ValueError(f"{root}: prepared already; train on it")
        return ("h5-magicnet",) if "image" in file and "label" in file else ()


def open_arrays(
    spec: DatasetSpec,
    root: Path,
    cases: Sequence[str],
    layouts: Sequence[str],
    *,
    orientation: str | None = None,
    spacing_mm: Spacing | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[DatasetSpec, SharedArrays]:
    """The descriptor and the reader for a folder of shared arrays.

    Args:
        cases: cases with a mask, from whose organs the orientation is estimated or checked.
        layouts: candidates; the order of the axes decides.
        orientation: axis codes of the arrays; None estimates them.
        spacing_mm: along x, y, z; None for that of the descriptor's grid.

    Raises:
        FileNotFoundError: no such folder, or no array in it.
        ValueError: organs that fit no or several orientations, or an axis order of no layout.
    """
    survey = _survey_masks(spec, find_cases(spec, root, layouts[0]), cases, progress)
    codes = orientation or _common_orientation(survey, root)
    fitting = [name for name in layouts if FORMS[name].axes == axes_of(codes)]
    if not fitting:
        known = "; ".join(f"{name} has {', '.join(form.axes)}" for name, form in FORMS.items())
        raise ValueError(
            f"{root}: axes {codes} run along {', '.join(axes_of(codes))}, which is not the order "
            f"of {' or '.join(layouts)}: {known}"
        )
    against = sum(len(names) for way, names in survey.ways.items() if way not in (codes, None))
    spacing = spacing_mm or spec.grid.spacing_mm
    reader = SharedArrays(
        fitting[0],
        codes,
        spacing,
        shape=spec.grid.shape,
        orientation_given=orientation is not None,
        against=against,
        volumes_ml={} if spacing is None else _volumes(spec, survey.counts, spacing),
    )
    return _descriptor(spec, fitting[0], spacing_mm), reader


@dataclass
class _MaskSurvey:
    """Orientations and organ sizes estimated from masks.

    Attributes:
        ways: names of cases by the orientation of their organs, None if undecided.
        empty: names of cases without an organ.
        counts: voxels per class, for each mask.
    """

    ways: dict[str | None, list[str]] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    counts: list[NDArray[np.intp]] = field(default_factory=list)


def _survey_masks(
    spec: DatasetSpec,
    known: dict[str, RawCase],
    cases: Sequence[str],
    progress: Callable[[str], None] | None,
) -> _MaskSurvey:
    survey = _MaskSurvey()
    for name in cases:
        path = known[name].label if name in known else None
        if path is not None:
            bare = checked_volume(path, read_array(path, "label"), np.eye(4))
            labels = label_volume(path, bare).voxels
            if is_empty(labels):
                survey.empty.append(name)
            else:
                survey.ways.setdefault(orientation_by_organs(labels, spec), []).append(name)
            listed = labels[(labels >= 0) & (labels < len(spec.classes))]
            survey.counts.append(np.bincount(listed, minlength=len(spec.classes)))
        if progress:
            progress(name)
    return survey


def _volumes(
    spec: DatasetSpec, counts: Sequence[NDArray[np.intp]], spacing_mm: Spacing
) -> dict[str, float]:
    """Median volume in ml of each organ over the masks that have it."""
    ml = float(np.prod(spacing_mm)) / 1000
    voxels = {
        name: [mask[label] for mask in counts if mask[label]] for name, label in spec.labels.items()
    }
    return {name: ml * float(np.median(sizes)) for name, sizes in voxels.items() if sizes}


def _common_orientation(survey: _MaskSurvey, root: Path) -> str:
    """The orientation that all masks with an organ agree on."""
    codes = next(iter(survey.ways), None)
    if len(survey.ways) == 1 and codes is not None:
        return codes
    votes = "; ".join(
        f"{way or 'undecided'} in {len(names)} (such as {names[0]})"
        for way, names in [
            *sorted(survey.ways.items(), key=lambda pair: -len(pair[1])),
            *([("empty", survey.empty)] if survey.empty else []),
        ]
    )
    raise ValueError(
        f"{root}: the arrays do not say which way their axes run, and the organs in their masks "
        f"do not settle it: {votes or 'no mask to look at'}; give --orientation, such as RAS or "
        "LPS, to take all arrays so"
    )


def _descriptor(spec: DatasetSpec, layout: str, spacing_mm: Spacing | None) -> DatasetSpec:
    """The descriptor; its protocol name mentions the arrays unless they are the protocol's."""
    changes: dict[str, Any] = {"layout": layout}
    if spec.shared != layout:
        changes["protocol"] = f"{spec.protocol}, arrays of {layout}"
    if spacing_mm is not None and spec.grid.spacing_mm is not None:
        changes["grid"] = Grid(spacing_mm=spacing_mm)
    if not FORMS[layout].in_hu:
        changes["scaling"] = "stored"
    return spec.model_copy(update=changes)


def read_array(path: Path, kind: str) -> Array:
    """The array of a .npy file, or the data set `kind` of a .h5 file, as float32.

    Raises:
        FileNotFoundError, ValueError: no such file, a damaged one, or not an array of numbers.
    """
    if path.suffix == ".npy":
        stored = _npy(path)
        check_size(path, stored.shape, stored.dtype.itemsize, path.stat().st_size)
    else:
        with _h5(path) as file:
            if not isinstance(file.get(kind), h5py.Dataset):
                message = unknown("data set", kind, [one_line(name, 40) for name in file][:9])
                raise ValueError(f"{path}: {message}")
            data = file[kind]
            check_size(path, data.shape, data.dtype.itemsize, path.stat().st_size)
            try:
                stored = data[()]
            except (OSError, RuntimeError, TypeError, ValueError) as fault:
                raise ValueError(f"{path}: damaged ({one_line(fault)})") from None
    if stored.dtype.kind not in "iufb":
        raise ValueError(f"{path}: holds {stored.dtype}, not numbers")
    return np.asarray(stored, dtype=np.float32)


def _npy(path: Path) -> Array:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, OverflowError, TypeError) as fault:
        raise ValueError(f"{path}: damaged or no .npy array ({one_line(fault)})") from None


def _h5(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as fault:
        raise ValueError(f"{path}: damaged or no HDF5 file ({one_line(fault)})") from None
