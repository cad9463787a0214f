"""The cases of a raw data set: scan and mask of each, found by the layout of its folder."""

import json
from dataclasses import dataclass
from pathlib import Path

from segmentation.common.text import one_line
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.layouts import LAYOUTS, checked_layout


@dataclass(frozen=True)
class RawCase:
    """One case of a raw data set; `label` is None where no mask exists."""

    name: str
    image: Path
    label: Path | None


def find_cases(spec: DatasetSpec, root: Path, layout: str | None = None) -> dict[str, RawCase]:
    """All cases below `root` by name, in the given layout or that of the descriptor.

    Raises:
        ValueError: no such layout.
        FileNotFoundError: no such folder, or no scan in it.
        ValueError: two files for one case, or a `dataset.json` with other label values.
    """
    if root.is_dir():
        _check_numbering(spec, root / "dataset.json")
    return cases_in(root, layout or spec.layout)


def cases_in(root: Path, layout: str) -> dict[str, RawCase]:
    """All cases below `root` by name, in the given layout.

    Raises:
        FileNotFoundError: no such folder, or no scan in it.
        ValueError: no such layout, or two files for one case.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder of scans")
    layout = checked_layout(layout)
    images: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    for kind, name, path in LAYOUTS[layout].find(root):
        known = images if kind == "image" else labels
        if name in known:
            raise ValueError(f"case {name} has two {kind} files: {known[name]} and {path}")
        known[name] = path
    if not images:
        raise FileNotFoundError(
            f"{root}: no scan in the layout {layout!r} ({LAYOUTS[layout].expected})"
        )
    return {name: RawCase(name, path, labels.get(name)) for name, path in sorted(images.items())}


def _check_numbering(spec: DatasetSpec, path: Path) -> None:
    """Compare the label table of a `dataset.json`, where there is one, with the descriptor.

    Names that the descriptor does not know are ignored: spellings differ between releases.
    """
    if not path.is_file():
        return
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig")).get("labels", {})
    except (ValueError, AttributeError, RecursionError) as fault:
        raise ValueError(f"{path}: not a JSON table ({one_line(fault)})") from None
    if not isinstance(table, dict):
        raise ValueError(
            f"{path}: labels must be a table of names and values, not {one_line(repr(table), 80)}"
        )
    for one, other in table.items():
        name, value = (other, one) if str(one).isdigit() else (one, other)
        try:
            organ = spec.organ(str(name))
        except LookupError:
            continue
        expected = [str(one) for one in organ.values or (organ.label,)]
        if str(value) not in expected:
            name, value = one_line(name, 60), one_line(value, 40)
            raise ValueError(
                f"{path}: {name} is label {value}, but {' and '.join(expected)} in {spec.name}"
            )
