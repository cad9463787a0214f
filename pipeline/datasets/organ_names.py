"""Organs matched by name across data sets and tools: `kidney_left` is `left kidney`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from knowledge.common.suggest import did_you_mean
from pipeline.datasets.organ_lists import OrganList, read_organ_list
from segmentation.imaging.label_table import label_table

_TABLES = ("dataset.json", "dataset.toml")


def plain_words(name: str) -> tuple[str, ...]:
    """The words of a name, sorted, in lower case, separators dropped; equal for equal organs."""
    return tuple(sorted(re.findall(r"[^\W_]+", name.casefold())))


def match_organs(
    organs: Mapping[str, Sequence[str]],
    names: Iterable[str],
    given: Sequence[str] = (),
    where: str = "the masks",
) -> dict[str, str]:
    """The name in other masks of every organ, by its name or one of its aliases.

    Args:
        organs: aliases of each organ, by its name.
        names: of the labels of the other masks.
        given: pairs `ORGAN=NAME`, for names that differ by more than word order.
        where: what holds the names, for messages.

    Raises:
        ValueError: a pair that is none.
        LookupError: an organ without a name, or with two; a pair that names no organ or label.
    """
    names = list(names)
    pairs = _pairs(given, organs, names, where)
    by_words: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        by_words.setdefault(plain_words(name), []).append(name)
    matched, missing = dict(pairs), []
    for organ, aliases in organs.items():
        if organ in matched:
            continue
        words = dict.fromkeys(plain_words(word) for word in (organ, *aliases))
        alike = [name for each in words for name in by_words.get(each, ())]
        if len(alike) > 1:
            raise LookupError(
                f"{organ!r} is named {' and '.join(map(repr, alike))} in {where}; choose one by "
                f"--match '{organ}={alike[0]}'"
            )
        if alike:
            matched[organ] = alike[0]
        else:
            missing.append(organ)
    if missing:
        hint = did_you_mean(missing[0], names)
        raise LookupError(
            f"{where}: no label is named {_few(missing)}; there is {_few(names)}{hint}; "
            f"--match '{missing[0]}=NAME' names it"
        )
    return {organ: matched[organ] for organ in organs}


def _pairs(
    given: Sequence[str], organs: Mapping[str, Sequence[str]], names: Sequence[str], where: str
) -> dict[str, str]:
    pairs = {}
    for text in given:
        organ, sign, name = text.partition("=")
        if not sign:
            raise ValueError(f"--match {text}: expected ORGAN=NAME, such as 'postcava=IVC'")
        if organ not in organs:
            raise LookupError(
                f"--match {text}: no organ {organ!r} in the truth; there is {_few(list(organs))}"
                f"{did_you_mean(organ, organs)}"
            )
        if name not in names:
            raise LookupError(
                f"--match {text}: no label {name!r} in {where}; there is {_few(names)}"
                f"{did_you_mean(name, names)}"
            )
        pairs[organ] = name
    return pairs


def names_of_masks(folder: Path, source: str | None, first: Path | None) -> tuple[OrganList, str]:
    """The names of the labels of a folder of label maps, and where they are from, in words.

    Args:
        source: a list of organs as `read_organ_list` takes it; None to look for `dataset.json` or
            `dataset.toml` in the folder and the one above, then into the header of a mask.
        first: a mask of the folder.

    Raises:
        LookupError: nothing names the labels.
        ValueError: what names them cannot be read.
    """
    if source is not None:
        return read_organ_list(source), source
    for place in (folder, folder.absolute().parent):
        for name in _TABLES:
            if (place / name).is_file():
                return read_organ_list(str(place / name)), name
    table = {} if first is None else label_table(first)
    if table:
        return OrganList.of(folder.name, table), "the headers of the masks"
    raise LookupError(
        f"{folder}: nothing names its labels (no dataset.json of nnU-Net, no dataset.toml, no "
        "table in the header of a mask); --labels SOURCE does: a dataset.json, a descriptor, a "
        "label map in JSON, or a text file with one organ per line"
    )


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more
