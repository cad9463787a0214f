"""Published Dice per organ of other methods, for results that are comparable with them."""

import csv
import io
import json
import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from knowledge.common.files import read_text, without_nan, write_whole
from knowledge.common.suggest import did_you_mean
from pipeline.files import shipped
from pipeline.results.scores import GROUPS, Evaluation, rows_of
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.protocol import ProtocolLabel

SHOWN = ("GA", "TAK")  # and the best of the others, unless methods are named
_UPPER_BOUND = "V-Net (fully)"  # trained with all labels


@dataclass(frozen=True)
class PublishedTable:
    """A published table: data, split and rules, and Dice in [0, 1] by method and organ.

    Attributes:
        means: by method, as published; of `all`, `large` and `small`.
    """

    protocol: str
    split: str
    part: str
    rules: str
    methods: dict[str, dict[str, float]]
    means: dict[str, dict[str, float]]

    def __str__(self) -> str:
        return _key(self.protocol, self.split, self.part, self.rules)


def published_rows(protocol: str, split: str) -> dict[str, dict[str, float]]:
    """Published Dice in [0, 1] by method and organ, methods in the order of the publication.

    Raises:
        LookupError: nothing was published for that protocol and split; lists what was.
    """
    for setting in settings():
        if (setting.protocol, setting.split) == (protocol, split):
            return setting.methods
    known = ", ".join(f"{setting.protocol} {setting.split}" for setting in settings())
    raise LookupError(f"no published numbers for {protocol} {split}; there are some for {known}")


def published_notes() -> tuple[str, ...]:
    """Sources of the numbers, and doubts about them."""
    content = _content()
    return (f"{content['source']}; {content['unit']}", *content["notes"])


@cache
def settings() -> tuple[PublishedTable, ...]:
    """All published tables."""
    tables = []
    for table in _content()["settings"].values():
        spec = _descriptor(table["protocol"])
        methods = {
            method: {spec.organ(name).name: dice / 100 for name, dice in row["per_class"].items()}
            for method, row in table["methods"].items()
        }
        means = {
            method: {group: row[group] / 100 for group in GROUPS}
            for method, row in table["methods"].items()
        }
        known = {key: table[key] for key in ("protocol", "split", "part", "rules")}
        tables.append(PublishedTable(**known, methods=methods, means=means))
    return tuple(tables)


def setting_for(claim: ProtocolLabel, part: str, rules: str) -> PublishedTable:
    """The published table that a result is comparable with.

    Raises:
        ValueError: there is none; names the differences.
    """
    key = _key(claim.protocol, claim.split, part, rules)
    similar = []
    for setting in settings():
        if str(setting) == key:
            return setting
        if (setting.protocol, setting.split) == (claim.protocol, claim.split):
            similar.append(setting)
    hints = [*claim.departures]
    if not similar:
        hints.append("those of another protocol or split are not comparable with this result")
    for setting in similar:
        if setting.rules != rules:
            hints.append("--rules published scores by their rules")
        if setting.part != part:
            hints.append(f"--part {setting.part} scores their cases")
    known = ", ".join(f"{setting.protocol} {setting.split}" for setting in settings())
    raise ValueError(
        f"--beside: this result is of {key}; numbers were published for {known}, part test, "
        f"rules ga: {'; '.join(hints)}"
    )


def chosen_methods(setting: PublishedTable, asked: str) -> tuple[str, ...]:
    """The methods to show: `published` for a few, or names separated by commas.

    Raises:
        LookupError: a method that is not in the table; lists those that are.
    """
    if asked == "published":
        others = [name for name in setting.methods if name not in (*SHOWN, _UPPER_BOUND)]
        best = max(others, key=lambda name: setting.means[name]["all"])
        return (best, *SHOWN)
    known = {name.casefold(): name for name in setting.methods}
    names = [name.strip() for name in asked.split(",") if name.strip()]
    unlisted = [name for name in names if name.casefold() not in known]
    if unlisted or not names:
        raise LookupError(
            f"--beside {asked}: no published {', '.join(unlisted) or 'method'}; there is "
            f"published, {', '.join(setting.methods)}"
            + (did_you_mean(unlisted[0], ("published", *setting.methods)) if unlisted else "")
        )
    return tuple(known[name.casefold()] for name in names)


def write_beside(evaluation: Evaluation, setting: PublishedTable, stem: Path) -> tuple[Path, Path]:
    """`stem`.json and `stem`.csv: mean Dice of the run and of all published methods, in [0, 1]."""
    rows = rows_of(evaluation)
    table = {"this run": {row: own_dice(evaluation, row) for row in rows}}
    table |= {m: {row: published_dice(setting, m, row) for row in rows} for m in setting.methods}
    known = {key: getattr(setting, key) for key in ("protocol", "split", "part", "rules")}
    content = {**known, "dice": table, "notes": published_notes()}
    files = stem.with_suffix(".json"), stem.with_suffix(".csv")
    write_whole(files[0], json.dumps(without_nan(content), indent=2, ensure_ascii=False) + "\n")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", *table, *known])
    for row in rows:
        cells = ["" if math.isnan(v := scores[row]) else f"{v:.4f}" for scores in table.values()]
        writer.writerow([row, *cells, *known.values()])
    write_whole(files[1], text.getvalue())
    return files


def own_dice(evaluation: Evaluation, row: str) -> float:
    """Mean Dice of an organ or group of this run, in [0, 1]."""
    return (evaluation.group if row in GROUPS else evaluation.organ)(row, "dice")[0]


def published_dice(setting: PublishedTable, method: str, row: str) -> float:
    """Published mean Dice of an organ or group of a method, in [0, 1]."""
    if row in GROUPS:
        return setting.means[method][row]
    return setting.methods[method][row]


def _key(protocol: str, split: str | None, part: str, rules: str) -> str:
    return f"{protocol}, split {split}, part {part}, rules {rules}"


def _content() -> dict[str, Any]:
    return json.loads(read_text(shipped.reference("data") / "published_tables.json"))


def _descriptor(protocol: str) -> DatasetSpec:
    """The shipped descriptor of a protocol, with the abbreviations of its organs."""
    paths = sorted(shipped.reference("data").glob("*.toml"))
    specs = (DatasetSpec.read(path) for path in paths)
    return next(spec for spec in specs if spec.protocol == protocol)


@dataclass(frozen=True)
class Published:
    """Dice in [0, 1] by method, then by organ or group; empty where there is nothing to show.

    Attributes:
        why_none: why nothing is shown, in words.
        notes: sources of the numbers, and doubts about them.
    """

    methods: dict[str, dict[str, float]] = field(default_factory=dict)
    why_none: str = ""
    notes: tuple[str, ...] = ()


def published_beside(evaluation: Evaluation | None) -> Published:
    """Published numbers to compare with a result: GA, TAK and the best of the others."""
    if evaluation is None:
        return Published(why_none="Published numbers are shown beside scores, and there are none.")
    wanted = (evaluation.protocol, evaluation.split)
    similar = [one for one in settings() if (one.protocol, one.split) == wanted]
    for setting in similar:
        if (setting.part, setting.rules) == (evaluation.part, evaluation.rules):
            methods = chosen_methods(setting, "published")
            return Published(
                {name: _rows(setting, name) for name in methods}, "", published_notes()
            )
    return Published(why_none=_why_none(evaluation, similar))


def _rows(setting: PublishedTable, method: str) -> dict[str, float]:
    return setting.methods[method] | {group: setting.means[method][group] for group in GROUPS}


def _why_none(evaluation: Evaluation, similar: list[PublishedTable]) -> str:
    if not similar:
        split = f", split {evaluation.split}" if evaluation.split else ""
        return (
            f"No published numbers for the protocol {evaluation.protocol}{split}; numbers of other "
            "protocols are not comparable and are not shown."
        )
    known = "; ".join(f"the part {one.part} by the rules {one.rules}" for one in similar)
    return (
        f"Published numbers for {evaluation.protocol} {evaluation.split} are of {known}, this "
        f"result is of the part {evaluation.part} by the rules {evaluation.rules}: `tak evaluate "
        "--rules published`, then `tak report --rules published`."
    )
