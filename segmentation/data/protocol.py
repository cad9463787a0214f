"""Study protocols: the settings that make two results comparable.

A descriptor claims a protocol by its name; a `Protocol` defines the name. A result that departs
from it is not refused, but does not carry the bare name.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError

from segmentation.common.models import Strict, explain
from segmentation.data.descriptor import DatasetSpec, Grid, LayoutName, read_toml
from segmentation.data.split import Split, list_digest

Triple = tuple[int, int, int]


class PinnedSplit(Strict):
    """SHA-256 of the lists of one split, whatever their order; see `split.list_digest`."""

    labeled: str = Field(pattern=r"^[0-9a-f]{64}$")
    unlabeled: str = Field(pattern=r"^[0-9a-f]{64}$")
    validation: str = Field(pattern=r"^[0-9a-f]{64}$")
    test: str = Field(pattern=r"^[0-9a-f]{64}$")


class Protocol(Strict):
    """The definition of a protocol: classes, window, grid, splits, evaluation.

    Attributes:
        classes: SHA-256 of the class names in the order of their labels, a line feed after each.
        window_hu, scaling, grid: as in `DatasetSpec`.
        patch, stride: of the sliding window of the published evaluation, voxels [x, y, z].
        blend: how the windows are averaged there.
        rules: name of the metric rules of the published evaluation; see `rules`.
        shared: layout of the prepared arrays that the authors hand out. Data read from them have
            the protocol's grid, unless they are shrunk here; and its window and scaling, if their
            intensities are taken as they are stored.
        splits: SHA-256 of every list, by the split's name.
        sources: papers and code that these values are from.
        doubts: details that are unknown or not followed here.
    """

    name: str
    title: str
    classes: str = Field(pattern=r"^[0-9a-f]{64}$")
    window_hu: tuple[float, float]
    scaling: Literal["window", "volume"]
    grid: Grid
    patch: Triple
    stride: Triple
    blend: Literal["constant", "gaussian"]
    rules: str
    shared: LayoutName | None = None
    splits: dict[str, PinnedSplit]
    sources: tuple[str, ...] = Field(min_length=1)
    doubts: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The protocol in a TOML file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not TOML, an unknown or missing key, or a value that cannot be.
        """
        try:
            return cls.model_validate(read_toml(path))
        except ValidationError as fault:
            raise ValueError(explain(fault, path, cls)) from None

    def split_name(self, split: Split) -> str | None:
        """The name under which a split is pinned here; None if its lists are others."""
        digests = split.digests
        pinned = {name: lists.model_dump() for name, lists in self.splits.items()}
        return next((name for name, lists in pinned.items() if lists == digests), None)

    def departures(self, spec: DatasetSpec) -> dict[str, str]:
        """The parts in which a descriptor departs from the protocol, with both values in words."""
        departures = {}
        if class_digest(spec.classes) != self.classes:
            departures["organs"] = "other organs, or in another order"
        known = self._known_from(spec)
        for part, one, other in (
            ("window", _hu(spec.window_hu), _hu(self.window_hu)),
            ("scaling", spec.scaling, self.scaling),
            ("grid", str(spec.grid), str(self.grid)),
        ):
            if one != other and part not in known:
                departures[part] = f"{part} {one} where {self.name} has {other}"
        return departures

    def _known_from(self, spec: DatasetSpec) -> set[str]:
        """The parts that hold because the data are the arrays of the protocol's authors."""
        if spec.layout != self.shared:
            return set()
        known = {"window", "scaling"} if spec.scaling == "stored" else set()
        shrunk = [grid.shrink not in (None, (1, 1, 1)) for grid in (spec.grid, self.grid)]
        return known if any(shrunk) else known | {"grid"}


@dataclass(frozen=True)
class ProtocolLabel:
    """The protocol name that a data set and its results may carry.

    Attributes:
        protocol: the bare name if every part is the protocol's, otherwise followed by the parts
            that are not, such as `amos-ga, own grid and split`.
        split: name of the split; `own-` and the first letters of its digest if it is not pinned.
        departures: both sides in words, one entry for each thing that differs.
    """

    protocol: str
    split: str
    departures: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Protocol and split in one line."""
        return f"{self.protocol}; split {self.split}"


def claim_of(
    spec: DatasetSpec, split: Split, protocol: Protocol | None, own: Mapping[str, str] | None = None
) -> ProtocolLabel:
    """The protocol label of a descriptor and a split.

    Args:
        protocol: the definition of the claimed name; None if the name is the user's own and
            stands for the descriptor itself.
        own: further departures: part, and the reason in words.
    """
    named = None if protocol is None else protocol.split_name(split)
    lists = [f"{part} {digest}" for part, digest in split.digests.items()]
    name = named or f"own-{list_digest(lists)[:8]}"
    departures = {} if protocol is None else protocol.departures(spec)
    if protocol is not None and named is None:
        known = ", ".join(protocol.splits)
        departures["split"] = f"lists of cases that are none of {protocol.name}'s ({known})"
    departures |= own or {}
    base = spec.protocol if protocol is None else protocol.name
    label = f"{base}, own {_joined(list(departures))}" if departures else base
    return ProtocolLabel(label, name, tuple(departures.values()))


def class_digest(names: Sequence[str]) -> str:
    """SHA-256 of class names in the order of their labels, a line feed after each."""
    return hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()


def _hu(window: tuple[float, float]) -> str:
    return f"{window[0]:g} to {window[1]:g} HU"


def _joined(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
