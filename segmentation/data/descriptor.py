"""A data set descriptor, read and checked: organs, window, grid, protocol and splits."""

import hashlib
import json
import math
import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, model_validator

from segmentation.common.models import Strict, explain
from segmentation.common.suggest import did_you_mean, unknown
from segmentation.common.text import one_line
from segmentation.data.label_values import LabelValues, Others, renumbered
from segmentation.data.layouts import LAYOUTS, checked_layout
from segmentation.data.split import Split, list_digest, read_list

__all__ = ["BACKGROUND", "DatasetSpec", "Grid", "Organ", "Split", "SplitFiles"]

BACKGROUND = "background"
_EXAMPLES = {  # what to write for a missing key; `tak init` writes all of them
    "name": 'name = "my-study" (small letters, digits, - and _)',
    "title": 'title = "Portal venous CT, five organs"',
    "modality": 'modality = "CT"',
    "layout": f"layout = {' or '.join(LAYOUTS)}, each in quotation marks",
    "orientation": 'orientation = "RAS"',
    "window_hu": "window_hu = [-150, 250]",
    "grid": "a table [grid] with spacing_mm = [1.5, 1.5, 2.0]",
    "protocol": 'protocol = "my-study" (a name for window, grid and organs together)',
    "organs": 'a table [[organs]] per organ with name = "liver", label = 1, size = "large"',
    "splits": 'splits = "data" (lists of cases in the folder splits of the data)',
    "label": "label = 1 (the value in the masks, several as [2, 3], or names of mask files)",
    "size": 'size = "large" or "small" (groups organs in tables)',
}
LayoutName = Annotated[str, AfterValidator(checked_layout)]  # a key of LAYOUTS


class Organ(Strict):
    """One foreground class: name, label value, side, size and code.

    `values` are the label values, or names of mask files, that become the class; None for its
    label alone. A descriptor writes them as the label, see `label_values.renumbered`.
    `snomed` is the SNOMED CT code of the structure, whatever its side; DICOM segments carry it.
    """

    name: str = Field(min_length=1)
    label: int = Field(ge=1, le=255)
    values: tuple[int | str, ...] | None = Field(default=None, min_length=1)
    aliases: tuple[str, ...] = ()
    side: Literal["left", "right"] | None = None
    size: Literal["large", "small"]
    snomed: str | None = Field(default=None, pattern=r"^[0-9]{6,18}$")


class Grid(Strict):
    """The target voxel grid of scans, [x, y, z], given in one of three ways.

    Attributes:
        spacing_mm: the same voxel size for all scans.
        shape: the same number of voxels for all scans.
        shrink: the native grid of every scan, divided by these factors along each axis.
    """

    spacing_mm: tuple[float, float, float] | None = None
    shape: tuple[int, int, int] | None = None
    shrink: tuple[int, int, int] | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        given = [way for way in (self.spacing_mm, self.shape, self.shrink) if way is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of spacing_mm, shape and shrink = [x, y, z]")
        if min(given[0]) <= 0:
            raise ValueError("every entry must be positive")
        return self

    def __str__(self) -> str:
        """In words: `1.5 x 1.5 x 2 mm`, `160 x 160 x 80 voxels`, `own voxels / 2 x 2 x 1`."""
        sides = self.spacing_mm or self.shape or self.shrink or ()
        text = " x ".join(f"{side:g}" for side in sides)
        if self.shrink:
            return f"own voxels / {text}"
        return f"{text} {'mm' if self.spacing_mm else 'voxels'}"


class SplitFiles(Strict):
    """The text files of one split, one case per line, relative to the descriptor."""

    train: str
    labeled: str
    validation: str
    test: str


class DatasetSpec(Strict):
    """The descriptor of a data set: classes, and how scans are prepared.

    Attributes:
        shared: the layout of the prepared arrays that the protocol's authors distribute.
        scaling: the values mapped to 0 and 1: the ends of the window, or the minimum and maximum
            of a scan within it. `stored`: shared arrays scaled by an unpublished recipe, used
            unchanged; no scan in HU can be converted to them.
        windowed: whether intensities are clipped to the window `before` a scan is resampled, or
            `after`, as published for TAK and GALoss: interpolation then mixes air and bone into
            the voxels beside them. Shared arrays were resampled by their authors.
        other_labels: whether label values of masks that no organ has are refused, or background.
        refused: reasons against lists of labeled cases that are known to be flawed, by the
            list's SHA-256 (see `split.list_digest`).
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    modality: Literal["CT"]
    layout: LayoutName
    shared: LayoutName | None = None
    orientation: Literal["RAS"]
    window_hu: tuple[float, float]
    scaling: Literal["window", "volume", "stored"] = "window"
    windowed: Literal["before", "after"] = "before"
    grid: Grid
    protocol: str = Field(min_length=1)
    organs: tuple[Organ, ...] = Field(min_length=1)
    splits: Literal["data"] | dict[str, SplitFiles]
    other_labels: Others = "refuse"
    refused: dict[str, str] = Field(default_factory=dict)
    _folder: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _renumbered(cls, content: Any) -> Any:
        organs = content.get("organs") if isinstance(content, dict) else None
        return {**content, "organs": renumbered(organs)} if isinstance(organs, list) else content

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.window_hu
        if low >= high:
            raise ValueError(f"window_hu must rise, not go from {low:g} to {high:g}")
        labels = sorted(organ.label for organ in self.organs)
        if labels != list(range(1, len(labels) + 1)):
            raise ValueError(
                f"labels must be 1..{len(labels)} without gaps or repetition, not {labels}"
            )
        values = Counter(value for organ in self.organs for value in organ.values or ())
        twice = [str(value) for value, count in values.items() if count > 1]
        if any(isinstance(value, int) and value < 1 for value in values):
            raise ValueError("labels of organs must be 1 or more; 0 is the background")
        if twice or len({type(value) for value in values}) > 1:
            raise ValueError(
                f"label {', '.join(twice)} belongs to two organs"
                if twice
                else "labels are either numbers or names of mask files, not both"
            )
        words = [word.casefold() for organ in self.organs for word in (organ.name, *organ.aliases)]
        twice = [word for word, count in Counter([BACKGROUND, *words]).items() if count > 1]
        if twice:
            raise ValueError(f"names and aliases must differ; used twice: {', '.join(twice)}")
        return self

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The descriptor in a TOML file.

        `extends = "other.toml"` inherits missing keys from a file in the same folder.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not TOML, an unknown or missing key, or an invalid value; the message
                names file and key.
        """
        path = Path(path)
        content = read_toml(path)
        base = content.pop("extends", None)
        if base is not None:
            if not isinstance(base, str) or Path(base).name != base:
                raise ValueError(f"{path}: extends names a file in the same folder, not {base!r}")
            content = read_toml(path.parent / base) | content
        return cls.check(content, path)

    @classmethod
    def check(cls, content: dict[str, Any], path: Path) -> Self:
        """The descriptor in `content`, which was read from `path`.

        Raises:
            ValueError: as for `read`.
        """
        try:
            spec = cls.model_validate(content)
        except ValidationError as fault:
            raise ValueError(explain(fault, path, cls, _EXAMPLES)) from None
        spec._folder = path.parent
        return spec

    @property
    def by_label(self) -> tuple[Organ, ...]:
        """The organs in the order of their labels."""
        return tuple(sorted(self.organs, key=lambda organ: organ.label))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by class index: background, then the organs in the order of their labels."""
        return (BACKGROUND, *(organ.name for organ in self.by_label))

    @property
    def labels(self) -> dict[str, int]:
        """Label value by organ name."""
        return {organ.name: organ.label for organ in self.by_label}

    @property
    def label_values(self) -> LabelValues | None:
        """The label values of mask files; None if those are the class indices."""
        if self.other_labels == "refuse" and not any(organ.values for organ in self.organs):
            return None
        values = {
            value: organ.label
            for organ in self.by_label
            for value in organ.values or (organ.label,)
        }
        return LabelValues(values, self.other_labels)

    @property
    def paired(self) -> tuple[tuple[int, int], ...]:
        """(right, left) label values of organs that differ in their side alone."""
        sides: dict[str, dict[str, int]] = {}
        for organ in self.by_label:
            if organ.side:
                kind = organ.name.replace(organ.side, "").strip()
                sides.setdefault(kind, {})[organ.side] = organ.label
        return tuple((pair["right"], pair["left"]) for pair in sides.values() if len(pair) == 2)

    @property
    def deciding(self) -> dict[str, Any]:
        """The settings that determine a prepared case, JSON-able: labels, window, grid, ..."""
        keys = {"name", "modality", "orientation", "window_hu", "scaling", "grid", "protocol"}
        deciding = self.model_dump(mode="json", include=keys) | {"labels": self.labels}
        if self.label_values is not None:  # absent otherwise: digests of earlier versions stay
            values = {str(value): index for value, index in self.label_values.classes.items()}
            deciding |= {"label_values": values, "other_labels": self.other_labels}
        if self.windowed != "before":  # likewise
            deciding["windowed"] = self.windowed
        return deciding

    @property
    def digest(self) -> str:
        """SHA-256 of the settings that determine a prepared case."""
        return hashlib.sha256(json.dumps(self.deciding, sort_keys=True).encode()).hexdigest()

    def with_spacing(self, spacing_mm: tuple[float, float, float]) -> Self:
        """The same data set on another grid; the protocol's name says so.

        Raises:
            ValueError: a spacing that is not positive.
        """
        if not all(0 < side < math.inf for side in spacing_mm):
            raise ValueError(f"a spacing must be positive, not {spacing_mm}")
        grid = Grid(spacing_mm=spacing_mm)
        sides = "x".join(f"{side:g}" for side in spacing_mm)
        return self.model_copy(update={"grid": grid, "protocol": f"{self.protocol}-{sides}mm"})

    def organ(self, name: str) -> Organ:
        """The organ of that name or alias, whatever the letter case.

        Raises:
            LookupError: no organ is called so.
        """
        for organ in self.organs:
            if name.casefold() in (word.casefold() for word in (organ.name, *organ.aliases)):
                return organ
        raise LookupError(unknown("organ", name, tuple(self.labels), f"in {self.name}"))

    @property
    def split_names(self) -> tuple[str, ...]:
        """The names that `split` accepts; `data` if the splits are stored with the data."""
        return ("data",) if self.splits == "data" else tuple(self.splits)

    def split(self, name: str | Path | None = None, root: Path | None = None) -> Split:
        """The named split, or that of a folder of text files.

        Args:
            name: one of `split_names`, or a folder as `Split.read` takes it. None: the only one.
            root: folder of the raw data; needed if the splits are stored in `root/splits`.

        Raises:
            LookupError: no such name.
            ValueError: parts that share a case, or no root where one is needed.
        """
        if name is None and len(self.split_names) == 1:
            name = self.split_names[0]
        if name is not None and str(name) in self.split_names:
            return self._named_split(str(name), root)
        if name is not None and Path(name).is_dir():
            return self._own_split(Path(name))
        asked = "which split?" if name is None else f"no split {str(name)!r}:"
        meant = "" if name is None else did_you_mean(str(name), self.split_names)
        raise LookupError(
            f"{asked} {self.name} has {', '.join(self.split_names)}{meant}; "
            "your own is given as a folder with train, labeled, validation and test .txt"
        )

    def _own_split(self, folder: Path) -> Split:
        try:
            return Split.read(folder)
        except ValueError as fault:
            labeled = folder / "labeled.txt"
            known = self.refused.get(list_digest(read_list(labeled))) if labeled.is_file() else None
            raise ValueError(f"{fault}; {known}" if known else str(fault)) from None

    def _named_split(self, name: str, root: Path | None) -> Split:
        if self.splits == "data":
            if root is None:
                raise ValueError(
                    f"the splits of {self.name} are stored with its data; give their folder"
                )
            lists = root / "splits"
            if not lists.is_dir():
                raise FileNotFoundError(
                    f"{root} has no folder splits, where {self.name} looks for its lists of cases; "
                    "`tak split` draws them, --split FOLDER names a folder with train, labeled, "
                    "validation and test .txt"
                )
            return Split.read(lists)
        if self._folder is None:
            raise ValueError(
                f"{self.name} was not read from a file, so its split files are unknown"
            )
        files = self.splits[name].model_dump()
        return Split.from_lists({part: self._folder / file for part, file in files.items()})


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not TOML, or not UTF-8.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError(f"{path}: not a TOML file: nested too deeply") from None
    except ValueError as fault:  # also of bytes that are no text, and of too many digits
        raise ValueError(f"{path}: not a TOML file: {one_line(fault)}") from None
