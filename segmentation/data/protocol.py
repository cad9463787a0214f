"""Protocols: what a result must have kept to so that its numbers may stand beside others.

A descriptor claims a protocol by its name; a `Protocol` says what the name stands for. A result
that departs from it is not refused, but does not carry the bare name.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError

from segmentation.common.models import Strict, explain
from segmentation.data.descriptor import DatasetSpec, Grid, Layout, read_toml
from segmentation.data.split import Split, list_digest

Triple = tuple[int, int, int]


class PinnedSplit(Strict):
    """SHA-256 of the lists of one split, whatever their order; see `split.list_digest`."""

    labeled: str = Field(pattern=r"^[0-9a-f]{64}$")
    unlabeled: str = Field(pattern=r"^[0-9a-f]{64}$")
    validation: str = Field(pattern=r"^[0-9a-f]{64}$")
    test: str = Field(pattern=r"^[0-9a-f]{64}$")


class Protocol(Strict):
    """What the name of a protocol stands for.

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
        sources: where all this was read.
        doubts: what is not known of it, or not followed here.
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
    shared: Layout | None = None
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
            raise ValueError(explain(fault, path)) from None

    def split_name(self, split: Split) -> str | None:
        """The name under which a split is pinned here; None if its lists are others."""
        found = split.digests
        pinned = {name: lists.model_dump() for name, lists in self.splits.items()}
        return next((name for name, lists in pinned.items() if lists == found), None)

    def departures(self, spec: DatasetSpec) -> dict[str, str]:
        """In what a descriptor departs from the protocol: which part, and both sides in words."""
        found = {}
        if class_digest(spec.classes) != self.classes:
            found["organs"] = "other organs, or in another order"
        known = self._known_from(spec)
        for part, one, other in (
            ("window", _hu(spec.window_hu), _hu(self.window_hu)),
            ("scaling", spec.scaling, self.scaling),
            ("grid", str(spec.grid), str(self.grid)),
        ):
            if one != other and part not in known:
                found[part] = f"{part} {one} where {self.name} has {other}"
        return found

    def _known_from(self, spec: DatasetSpec) -> set[str]:
        """What is the protocol's because the data are its authors' arrays, as they were stored."""
        if spec.layout != self.shared:
            return set()
        known = {"window", "scaling"} if spec.scaling == "stored" else set()
        shrunk = [grid.shrink not in (None, (1, 1, 1)) for grid in (spec.grid, self.grid)]
        return known if any(shrunk) else known | {"grid"}


@dataclass(frozen=True)
class ProtocolLabel:
    """What a prepared data set, and what is measured on it, may be called.

    Attributes:
        protocol: the name to be carried: bare if all is as the protocol says, otherwise with
            what is not, such as `amos-ga, own grid and split`.
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
    """What of the protocol that a descriptor claims holds for it and for a split.

    Args:
        protocol: what the name that the descriptor claims stands for; None if the name is the
            user's own, and stands for whatever the descriptor says.
        own: other things that are not the protocol's, and why, in words.
    """
    named = None if protocol is None else protocol.split_name(split)
    lists = [f"{part} {digest}" for part, digest in split.digests.items()]
    name = named or f"own-{list_digest(lists)[:8]}"
    found = {} if protocol is None else protocol.departures(spec)
    if protocol is not None and named is None:
        known = ", ".join(protocol.splits)
        found["split"] = f"lists of cases that are none of {protocol.name}'s ({known})"
    found |= own or {}
    base = spec.protocol if protocol is None else protocol.name
    label = f"{base}, own {_joined(list(found))}" if found else base
    return ProtocolLabel(label, name, tuple(found.values()))


def class_digest(names: Sequence[str]) -> str:
    """SHA-256 of class names in the order of their labels, a line feed after each."""
    return hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()


def _hu(window: tuple[float, float]) -> str:
    return f"{window[0]:g} to {window[1]:g} HU"


def _joined(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
