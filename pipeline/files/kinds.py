"""Kinds of files and folders, recognized by content, and errors for a wrong kind."""

import json
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge.common.suggest import nearest
from segmentation.training.run_files import BEST, LAST, LOG

_SCANS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_RAW = ("imagesTr", "imagesVa", "imagesTs", "dataset.toml")


@dataclass(frozen=True)
class Kind:
    """A kind of file or folder.

    Attributes:
        what: the noun with its article.
        used_by: commands and options that read it.
    """

    what: str
    used_by: str


KINDS = {
    "run": Kind("the folder of a run", "tak evaluate RUN PREPARED, tak predict, tak report"),
    "checkpoint": Kind("a checkpoint of a run", "tak evaluate, tak predict, tak bundle"),
    "bundle": Kind("a bundle", "tak predict, tak evaluate"),
    "bank": Kind("a bank of text vectors", "tak bank, or tak train --bank"),
    "descriptions": Kind("a description set", "tak encode, tak check"),
    "answers": Kind("a store of raw answers", "tak describe --answers"),
    "prepared": Kind("a prepared data set", "tak train PREPARED, tak evaluate RUN PREPARED"),
    "case": Kind("one prepared case", "tak train or tak evaluate, as part of its folder"),
    "raw": Kind("a data set as downloaded", "tak prepare, tak inspect"),
    "arrays": Kind("a shared array", "tak prepare, as part of its folder"),
    "scan": Kind("a scan or a mask", "tak predict RUN SCAN"),
    "lists": Kind("a folder of case lists", "tak prepare --split"),
    "evaluation": Kind("the scores of a run", "tak compare"),
    "recipe": Kind("a recipe", "tak train --recipe"),
    "descriptor": Kind("a descriptor of a data set", "tak prepare --descriptor"),
    "template": Kind("a prompt wording", "tak describe --template"),
    "study": Kind("a study", "tak study"),
    "matrix": Kind("a matrix of version 0.1", "tak study --convert"),
}


def require_kind(path: Path, *wanted: str) -> Path:
    """The path, if something of one of the wanted kinds is there.

    A file of no known kind, a damaged one for instance, passes: its reader raises.

    Raises:
        FileNotFoundError: nothing is there; suggests a similar name.
        ValueError: another kind; names it and the commands that read it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder{_similar(path)}")
    actual = kind_of(path)
    if actual is None or actual in wanted or (path.is_dir() and set(_folder(path)) & set(wanted)):
        return path
    kind, needed = KINDS[actual], " or ".join(KINDS[name].what for name in wanted)
    raise ValueError(f"expected {needed}, but {path} is {kind.what} (use it with {kind.used_by})")


def kind_of(path: Path) -> str | None:
    """The key in `KINDS` of a file or folder, by its content; None for anything else."""
    if path.is_dir():
        return next(_folder(path), None)
    name = path.name.lower()
    if name.endswith(_SCANS):
        return "scan"
    if name.endswith(".npy"):
        return "arrays"
    if name.endswith(".json"):
        return _table(path, json.loads, _json)
    if name.endswith(".toml"):
        return _table(path, tomllib.loads, _toml)
    if zipfile.is_zipfile(path):
        return _zipped(path)
    with path.open("rb") as file:
        return _hdf5(path) if file.read(len(_HDF5)) == _HDF5 else None


def _folder(path: Path) -> Iterator[str]:
    """The kinds of a folder, the most specific first; a folder of mixed content has several."""
    noted = path / "dataset.json"
    if noted.is_file() and _table(noted, json.loads, _json) == "prepared":
        yield "prepared"
    if any((path / name).is_file() for name in (BEST, LAST, LOG)):
        yield "run"
    if (path / "labeled.txt").is_file():
        yield "lists"
    if any((path / name).exists() for name in _RAW):
        yield "raw"


def _zipped(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "configs/metadata.json" in names:
        return "bundle"
    return "checkpoint" if any(name.endswith("/data.pkl") for name in names) else None


def _hdf5(path: Path) -> str | None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") == "tak-bank":
                return "bank"
            if "image" in file:
                return "case" if "format_version" in file.attrs else "arrays"
    except (OSError, RuntimeError):
        pass
    return None


def _table(
    path: Path, parse: Callable[[str], Any], kind: Callable[[set[str]], str | None]
) -> str | None:
    try:
        content = parse(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return kind(set(content)) if isinstance(content, dict) else None


def _json(keys: set[str]) -> str | None:
    for name, required in (
        ("prepared", {"format_version", "spec", "split", "cases"}),
        ("descriptions", {"descriptions", "aspects"}),
        ("answers", {"answers", "template_digest"}),
        ("evaluation", {"cases", "groups", "rules"}),
    ):
        if required <= keys:
            return name
    return None


def _toml(keys: set[str]) -> str | None:
    for name, required in (
        ("recipe", {"method", "training"}),
        ("descriptor", {"organs", "protocol"}),
        ("descriptor", {"extends"}),
        ("template", {"user", "aspects"}),
        ("study", {"title", "data"}),
        ("matrix", {"templates", "models"}),
    ):
        if required <= keys:
            return name
    return None


def _similar(path: Path) -> str:
    """A suggestion of a similar name in the folder of a path that does not exist."""
    parent = path.parent
    if not parent.is_dir():
        return f"; nor is there a folder {parent}"
    near = nearest(path.name, (each.name for each in parent.iterdir()))
    return f"; did you mean {parent / near}?" if near else ""
