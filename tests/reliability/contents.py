"""The contents of files without dates and durations, so that two runs can be compared."""

import csv
import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

_VARIABLE = re.compile(
    r"date|time|seconds|minutes|created|written|started|ended|peak|memory|command|session|host|pid|"
    r"step_s|from_step|to_step|mib|path|spent|usage|totals|stamp",
    re.IGNORECASE,
)
_EVENTS = "events.out.tfevents"


def contents_of(folder: Path, ignored: tuple[str, ...] = ()) -> dict[str, Any]:
    """Comparable contents by relative path; raises where a file cannot be read whole."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or any(part in name for part in (_EVENTS, *ignored)):
            continue
        found[name] = content_of(path)
    return found


def content_of(path: Path) -> Any:
    """The content of one file in a form that can be compared."""
    if path.suffix == ".json":
        return stable(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").splitlines()
        return [stable(json.loads(line)) for line in lines]
    if path.suffix == ".pt":
        return stable(torch.load(path, weights_only=True, map_location="cpu"))
    if path.suffix == ".h5":
        return _hdf5(path)
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return [stable(row) for row in csv.DictReader(file)]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as file:
            return {name: _digest(file.read(name)) for name in sorted(file.namelist())}
    if path.suffix == ".html":
        text = path.read_text(encoding="utf-8")
        assert text.rstrip().endswith("</html>"), f"{path} is not whole"
        return "html"
    return _digest(path.read_bytes())


def stable(content: Any) -> Any:
    """Plain content without what differs from run to run; tensors as digests."""
    if isinstance(content, dict):
        return {
            str(key): stable(value)
            for key, value in content.items()
            if not _VARIABLE.search(str(key))
        }
    if isinstance(content, list | tuple):
        return [stable(value) for value in content]
    if isinstance(content, torch.Tensor):
        return _digest(content.contiguous().numpy().tobytes())
    return content


def _hdf5(path: Path) -> dict[str, Any]:
    items: dict[str, Any] = {}
    with h5py.File(path) as file:
        items["attributes"] = stable({key: _plain(value) for key, value in file.attrs.items()})

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                items[name] = _plain(item[()])

        file.visititems(visit)
    return items


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype != object:
        return _digest(np.ascontiguousarray(value).tobytes())
    return repr(value)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of files that are missing, additional or differ."""
    lines = [f"missing {name}" for name in one.keys() - other.keys()]
    lines += [f"left over {name}" for name in other.keys() - one.keys()]
    for name in one.keys() & other.keys():
        if one[name] != other[name]:
            lines.append(f"differs {name}{_first_difference(one[name], other[name])}")
    return sorted(lines)


def _first_difference(one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key):
                return f".{key}{_first_difference(one.get(key), other.get(key))}"
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        place = next(i for i in range(len(one)) if one[i] != other[i])
        return f"[{place}]{_first_difference(one[place], other[place])}"
    return f": {str(one)[:60]!r}, now {str(other)[:60]!r}"
