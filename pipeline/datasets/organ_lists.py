"""Organ lists of any anatomy: descriptors, user lists, label maps of other tools."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from knowledge.common.files import parse_json, read_text
from knowledge.descriptions import BACKGROUND
from pipeline.files import shipped
from segmentation.data.descriptor import DatasetSpec, read_toml
from segmentation.data.label_values import LabelValues


@dataclass(frozen=True)
class OrganList:
    """An organ list: name, classes in label order, label value per organ.

    Attributes:
        values: label values of mask files, where those are not the labels.
    """

    name: str
    classes: tuple[str, ...]
    labels: dict[str, int]
    values: LabelValues | None = None

    @property
    def mask_values(self) -> dict[str, tuple[int, ...]]:
        """The values of label maps that are each organ.

        Raises:
            ValueError: the organs are mask files.
        """
        if self.values is None:
            return {name: (label,) for name, label in self.labels.items()}
        if self.values.by_file:
            raise ValueError(f"{self.name} names mask files, not the labels of a label map")
        values: dict[str, tuple[int, ...]] = dict.fromkeys(self.labels, ())
        for value, index in self.values.classes.items():
            assert isinstance(value, int)
            values[self.classes[index]] += (value,)
        return values

    @classmethod
    def of(cls, name: str, labels: Mapping[str, int]) -> Self:
        """The list of label values by name, sorted by value, with the background first.

        Raises:
            ValueError: no organs, one without a name, or a label below 1.
        """
        named = {
            organ.replace("_", " ").strip(): value
            for organ, value in sorted(labels.items(), key=lambda item: item[1])
            if value != 0 and organ.lower() != BACKGROUND
        }
        if not named or "" in named:
            raise ValueError("no organs, or one without a name")
        if min(named.values()) < 1:
            raise ValueError("labels of organs must be positive")
        return cls(name, (BACKGROUND, *named), named)


def read_organ_list(source: str) -> OrganList:
    """Read an organ list by name or from a file.

    A shipped data set or a descriptor (TOML); a TOML with nothing but `organs = ["...", ...]`
    and perhaps a `name`; nnU-Net's `dataset.json`; a label map in JSON, value to name or name to
    value (TotalSegmentator); a text file with one class per line, taken unchanged. The others
    get the background as their first class.

    Raises:
        FileNotFoundError, LookupError: there is no such file or data set.
        ValueError: the file lists no organs, or lists them in an unclear way.
    """
    path = Path(source)
    if path.suffix == ".json":
        return _from_json(path)
    if path.suffix == ".txt":
        return _from_lines(path)
    file = shipped.find("data", source)
    raw = read_toml(file) if file == path else {}
    organs = raw.get("organs", [])
    if organs and all(isinstance(name, str) for name in organs):
        return _from_table(raw, file)
    spec = DatasetSpec.read(file)
    return OrganList(spec.name, spec.classes, spec.labels, spec.label_values)


def _from_table(raw: dict[str, Any], path: Path) -> OrganList:
    unknown = set(raw) - {"name", "organs"}
    if unknown:
        raise ValueError(
            f"{path}: unknown key {', '.join(map(repr, sorted(unknown)))}; an organ list has "
            "'organs' and perhaps 'name'"
        )
    named = {str(organ): value for value, organ in enumerate(raw["organs"], start=1)}
    if len(named) != len(raw["organs"]):
        raise ValueError(f"{path}: an organ is listed twice")
    return _checked(str(raw.get("name", path.stem)), named, path)


def _from_lines(path: Path) -> OrganList:
    lines = [line.strip() for line in read_text(path).splitlines()]
    names = tuple(line for line in lines if line)
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{path}: one class per line, each once")
    first = 0 if names[0] == BACKGROUND else 1
    labels = {name: value for value, name in enumerate(names, start=first) if value}
    return OrganList(path.stem, names, labels)


def _from_json(path: Path) -> OrganList:
    raw = parse_json(read_text(path), path)
    labels = raw.get("labels", raw) if isinstance(raw, dict) else None
    if not isinstance(labels, dict) or not labels:
        raise ValueError(f"{path}: no label names; expected nnU-Net's dataset.json or a label map")
    if all(isinstance(value, str) and str(key).isdecimal() for key, value in labels.items()):
        named = {value: int(key) for key, value in labels.items()}
    elif all(isinstance(value, int) for value in labels.values()):
        named = dict(labels)
    else:
        odd = next(key for key, value in labels.items() if not isinstance(value, int))
        raise ValueError(
            f"{path}: label {odd!r} is {labels[odd]!r}; expected one number per name, or one name "
            "per number (regions of several labels are not read)"
        )
    if len(named) != len(labels):
        raise ValueError(f"{path}: two labels have the same name")
    name = raw["name"] if isinstance(raw.get("name"), str) else path.stem
    return _checked(name, named, path)


def _checked(name: str, named: dict[str, int], path: Path) -> OrganList:
    """The list, with the file in messages."""
    try:
        return OrganList.of(name, named)
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}") from None
