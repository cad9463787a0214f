"""Dice of a run on held-out cases, on each scan's own grid: table, CSV and JSON."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from knowledge.files import write_whole
from pipeline.run import Opened
from segmentation.dataset import DatasetSpec
from segmentation.metrics import EMPTY_RULE, dice, group_means, nan_deviation, nan_mean
from segmentation.predict import labels_at
from segmentation.prepare import Prepared, read_case
from segmentation.volume import canonical_shape, from_canonical

GROUPS = ("all", "large", "small")


@dataclass(frozen=True)
class Evaluation:
    """Scores of one predictor on one part of a data set.

    Attributes:
        cases: Dice per case and organ, in [0, 1]; NaN where an organ is not scored.
        groups: organ names of `all`, `large` and `small`.
    """

    data_set: str
    protocol: str
    part: str
    checkpoint: str
    step: int
    predictor: str
    cases: dict[str, dict[str, float]]
    groups: dict[str, tuple[str, ...]]

    def mean(self, organ: str) -> float:
        """The mean Dice of an organ over the cases that score it."""
        return nan_mean([scores[organ] for scores in self.cases.values()])

    def deviation(self, organ: str) -> float:
        """The standard deviation of an organ's Dice over cases."""
        return nan_deviation([scores[organ] for scores in self.cases.values()])

    def group(self, name: str) -> tuple[float, float]:
        """Mean and standard deviation over cases of a group's mean Dice per case."""
        per_case = [
            group_means(scores, {name: self.groups[name]})[name] for scores in self.cases.values()
        ]
        return nan_mean(per_case), nan_deviation(per_case)


def evaluate(
    opened: Opened, prepared: Prepared, part: str, tick: Callable[[str], None]
) -> Evaluation:
    """Predict every case of a part and compare on the scan's own grid.

    Raises:
        ValueError: the run was made for other classes than the data have, or the part is empty.
    """
    if opened.spec.classes != prepared.spec.classes:
        raise ValueError(
            f"{opened.checkpoint} knows {', '.join(opened.spec.classes)}; "
            f"{prepared.root} has {', '.join(prepared.spec.classes)}"
        )
    names: Sequence[str] = getattr(prepared.split, part)
    if not names:
        raise ValueError(f"{prepared.root}: the part {part!r} has no case")
    cases = {}
    for name in names:
        cases[name] = _score(opened, prepared, name)
        tick(name)
    return Evaluation(
        data_set=prepared.spec.name,
        protocol=prepared.spec.protocol,
        part=part,
        checkpoint=opened.checkpoint.name,
        step=opened.step,
        predictor=opened.predictor,
        cases=cases,
        groups=organ_groups(prepared.spec),
    )


def _score(opened: Opened, prepared: Prepared, name: str) -> dict[str, float]:
    case = read_case(prepared.file(name))
    if case.source_label is None:
        raise ValueError(f"{prepared.file(name)}: case {name} has no label to compare with")
    found = opened.classify(torch.from_numpy(case.image).float())
    shape = canonical_shape(case.source_affine, case.source_shape)
    labels = from_canonical(labels_at(found, shape), case.source_affine, case.source_shape)
    return dice(labels, case.source_label, prepared.spec.classes)


def organ_groups(spec: DatasetSpec) -> dict[str, tuple[str, ...]]:
    """Names of all, the large and the small organs."""
    return {
        group: tuple(organ.name for organ in spec.by_label if group in ("all", organ.size))
        for group in GROUPS
    }


def table_of(columns: Mapping[str, Evaluation]) -> Table:
    """A terminal table: a row per organ and group, a column per evaluation, Dice in percent."""
    first = next(iter(columns.values()))
    table = Table(title=f"Dice, % (mean ± deviation over {len(first.cases)} {first.part} cases)")
    table.add_column("organ")
    for name in columns:
        table.add_column(name, justify="right")
    for organ in first.groups["all"]:
        cells = [_cell(e.mean(organ), e.deviation(organ)) for e in columns.values()]
        table.add_row(organ, *cells)
    table.add_section()
    for group in GROUPS:
        if first.groups[group]:
            cells = [_cell(*e.group(group)) for e in columns.values()]
            table.add_row(f"mean of {group}", *cells, style="bold")
    return table


def _cell(mean: float, deviation: float) -> str:
    return f"{100 * mean:.1f} ± {100 * deviation:.1f}"


def write_results(evaluation: Evaluation, stem: Path) -> tuple[Path, Path]:
    """`stem`.json with everything and `stem`.csv with a row per case, Dice in [0, 1]."""
    organs = evaluation.groups["all"]
    summary: dict[str, Any] = {
        "organs": {
            name: {"mean": evaluation.mean(name), "deviation": evaluation.deviation(name)}
            for name in organs
        },
        "groups": {
            name: dict(zip(("mean", "deviation"), evaluation.group(name), strict=True))
            for name in GROUPS
        },
    }
    content = {"metric": "dice", "empty_masks": EMPTY_RULE, **asdict(evaluation), **summary}
    text = json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n"
    files = stem.with_suffix(".json"), stem.with_suffix(".csv")
    write_whole(files[0], text)
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["case", *organs])
    for case, scores in evaluation.cases.items():
        writer.writerow([case, *(_number(scores[name]) for name in organs)])
    write_whole(files[1], rows.getvalue())
    return files


def _number(value: float) -> str:
    return "" if value != value else f"{value:.6f}"


def _without_nan(content: Any) -> Any:
    """NaN as null: JSON knows no NaN."""
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and content != content else content
