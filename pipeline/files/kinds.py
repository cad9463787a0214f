"""What a file or folder is, so that a wrong one is answered with its name and its place."""

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
        what: it is, with its article.
        taken: by which command or option.
    """

    what: str
    taken: str


KINDS = {
    "run": Kind("the folder of a run", "tak evaluate RUN PREPARED, tak predict, tak report"),
    "checkpoint": Kind("a checkpoint of a run", "tak evaluate, tak predict, tak bundle"),
    "bundle": Kind("a bundle", "tak predict, tak evaluate"),
    "bank": Kind("a bank of text vectors", "tak bank, and tak train by --bank"),
    "descriptions": Kind("a description set", "tak encode, tak check"),
    "answers": Kind("a store of raw answers", "tak describe by --answers"),
    "prepared": Kind("a prepared data set", "tak train PREPARED, tak evaluate RUN PREPARED"),
    "case": Kind("one prepared case", "tak train and tak evaluate as part of its folder"),
    "raw": Kind("a data set as downloaded", "tak prepare, tak inspect"),
    "arrays": Kind("a shared array", "tak prepare as part of its folder"),
    "scan": Kind("a scan or a mask", "tak predict RUN SCAN"),
    "lists": Kind("a folder of case lists", "tak prepare by --split"),
    "evaluation": Kind("the scores of a run", "tak compare"),
    "recipe": Kind("a recipe", "tak train by --recipe"),
    "descriptor": Kind("a descriptor of a data set", "tak prepare by --descriptor"),
    "template": Kind("a prompt wording", "tak describe by --template"),
    "study": Kind("a study", "tak study"),
    "matrix": Kind("a matrix of version 0.1", "tak study --convert"),
}


def require_kind(path: Path, *wanted: str) -> Path:
    """The path, unless it leads nowhere or to something of another kind than those wanted.

    What is of no known kind, a damaged file for instance, is left to whoever reads it.

    Raises:
        FileNotFoundError: nothing is there; names what is called alike.
        ValueError: another kind; says which, and who takes it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder{_beside(path)}")
    actual = kind_of(path)
    if actual is None or actual in wanted or (path.is_dir() and set(_folder(path)) & set(wanted)):
        return path
    kind, needed = KINDS[actual], " or ".join(KINDS[name].what for name in wanted)
    raise ValueError(f"{path} is {kind.what}, for {kind.taken}; here goes {needed}")


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
    """What a folder is, the most particular first; one that was mixed up is several."""
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
    path: Path, parse: Callable[[str], Any], tell: Callable[[set[str]], str | None]
) -> str | None:
    try:
        content = parse(path.read_text(encoding="utf-8-sig"))
    except ValueError:
        return None
    return tell(set(content)) if isinstance(content, dict) else None


def _json(keys: set[str]) -> str | None:
    for name, own in (
        ("prepared", {"format_version", "spec", "split", "cases"}),
        ("descriptions", {"descriptions", "aspects"}),
        ("answers", {"answers", "template_digest"}),
        ("evaluation", {"cases", "groups", "rules"}),
    ):
        if own <= keys:
            return name
    return None


def _toml(keys: set[str]) -> str | None:
    for name, own in (
        ("recipe", {"method", "training"}),
        ("descriptor", {"organs", "protocol"}),
        ("template", {"user", "aspects"}),
        ("study", {"title", "data"}),
        ("matrix", {"templates", "models"}),
    ):
        if own <= keys:
            return name
    return None


def _beside(path: Path) -> str:
    """What lies where the path was to lead, as far as it is called alike."""
    parent = path.parent
    if not parent.is_dir():
        return f"; nor is there a folder {parent}"
    near = nearest(path.name, (each.name for each in parent.iterdir()))
    return f"; did you mean {parent / near}?" if near else ""
