"""Scores of a run on held-out cases, on each scan's own grid: table, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from knowledge.files import write_whole
from pipeline.run import Opened
from segmentation.dataset import DatasetSpec
from segmentation.metrics import EMPTY_RULE, dice, nan_deviation, nan_mean
from segmentation.predict import labels_at
from segmentation.prepare import Case, Prepared, read_case
from segmentation.surface import surface_scores
from segmentation.volume import canonical_shape, from_canonical

GROUPS = ("all", "large", "small")
METRICS = ("dice", "nsd", "hd95_mm", "assd_mm")
Scores = dict[str, dict[str, float]]  # organ -> metric -> value


@dataclass(frozen=True)
class Evaluation:
    """Scores of one predictor on one part of a data set.

    Attributes:
        tolerance_mm: of NSD.
        cases: by case, organ and metric; NaN where an organ is not scored.
        groups: organ names of `all`, `large` and `small`.
    """

    data_set: str
    protocol: str
    part: str
    checkpoint: str
    step: int
    predictor: str
    tolerance_mm: float
    cases: dict[str, Scores]
    groups: dict[str, tuple[str, ...]]

    def organ(self, name: str, metric: str) -> tuple[float, float]:
        """Mean and standard deviation of an organ over the cases that score it."""
        values = [scores[name][metric] for scores in self.cases.values()]
        return nan_mean(values), nan_deviation(values)

    def group(self, name: str, metric: str) -> tuple[float, float]:
        """Mean and standard deviation over cases of the mean over a group's scored organs."""
        values = [
            nan_mean([scores[organ][metric] for organ in self.groups[name]])
            for scores in self.cases.values()
        ]
        return nan_mean(values), nan_deviation(values)

    def missed(self, name: str) -> int:
        """In how many cases an organ is only in the truth or only in the prediction."""
        found = [scores[name] for scores in self.cases.values()]
        return sum(score["dice"] == 0 and math.isnan(score["hd95_mm"]) for score in found)


def evaluate(
    opened: Opened,
    prepared: Prepared,
    part: str,
    tick: Callable[[str], None],
    *,
    tolerance_mm: float = 1.0,
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
    if opened.spec.digest != prepared.spec.digest:
        raise ValueError(
            f"{opened.checkpoint} was trained on {_preparation(opened.spec)}; "
            f"{prepared.root} holds {_preparation(prepared.spec)}"
        )
    names: Sequence[str] = getattr(prepared.split, part)
    if not names:
        raise ValueError(f"{prepared.root}: the part {part!r} has no case")
    cases = {}
    for name in names:
        cases[name] = _score(opened, prepared, name, tolerance_mm)
        tick(name)
    return Evaluation(
        data_set=prepared.spec.name,
        protocol=prepared.spec.protocol,
        part=part,
        checkpoint=opened.checkpoint.name,
        step=opened.step,
        predictor=opened.predictor,
        tolerance_mm=tolerance_mm,
        cases=cases,
        groups=organ_groups(prepared.spec),
    )


def _preparation(spec: DatasetSpec) -> str:
    low, high = spec.window_hu
    grid = spec.grid.spacing_mm or spec.grid.shape
    return f"{spec.name}, protocol {spec.protocol}, window {low:g} to {high:g} HU, grid {grid}"


def _score(opened: Opened, prepared: Prepared, name: str, tolerance_mm: float) -> Scores:
    case = read_case(prepared.file(name))
    truth = case.source_label
    if truth is None:
        raise ValueError(f"{prepared.file(name)}: case {name} has no label to compare with")
    labels = _segmented(opened, case)
    classes = prepared.spec.classes
    spacing = np.linalg.norm(case.source_affine[:3, :3], axis=0)
    spacing_mm = float(spacing[0]), float(spacing[1]), float(spacing[2])
    overlap = dice(labels, truth, classes)
    scores = {}
    for index, organ in enumerate(classes[1:], start=1):
        surface = surface_scores(
            labels == index, truth == index, spacing_mm, tolerance_mm=tolerance_mm
        )
        scores[organ] = {"dice": overlap[organ], **surface._asdict()}
    return scores


def _segmented(opened: Opened, case: Case) -> NDArray[np.uint8]:
    """The run's labels of a prepared case on its scan's own grid."""
    found = opened.classify(torch.from_numpy(case.image).float())
    shape = canonical_shape(case.source_affine, case.source_shape)
    labels = from_canonical(labels_at(found, shape), case.source_affine, case.source_shape)
    return labels.astype(np.uint8)


def organ_groups(spec: DatasetSpec) -> dict[str, tuple[str, ...]]:
    """Names of all, the large and the small organs."""
    return {
        group: tuple(organ.name for organ in spec.by_label if group in ("all", organ.size))
        for group in GROUPS
    }


def table_of(columns: Mapping[str, Evaluation]) -> Table:
    """A terminal table: a row per organ and group; all metrics of the first column, Dice of all."""
    first = next(iter(columns.values()))
    count = len(first.cases)
    title = f"{first.part}: mean ± deviation over {count} cases, {first.protocol}"
    table = Table(
        title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )  # fits 80 columns
    table.add_column("organ", no_wrap=True)
    headings = [f"Dice %\n{name}" for name in columns]
    headings[1:1] = [f"NSD %\nat {first.tolerance_mm:g} mm", "HD95\nmm", "ASSD\nmm", "miss\ned"]
    for heading in headings:
        table.add_column(heading, justify="right")
    for organ in first.groups["all"]:
        table.add_row(organ, *_cells(columns, organ, first.missed(organ)))
    table.add_section()
    for group in GROUPS:
        if first.groups[group]:
            missed = sum(first.missed(organ) for organ in first.groups[group])
            table.add_row(f"mean of {group}", *_cells(columns, group, missed), style="bold")
    return table


def _cells(columns: Mapping[str, Evaluation], row: str, missed: int) -> list[str]:
    def summary(evaluation: Evaluation, metric: str) -> tuple[float, float]:
        known = evaluation.group if row in GROUPS else evaluation.organ
        return known(row, metric)

    def cell(mean: float, deviation: float, factor: float) -> str:
        return "-" if math.isnan(mean) else f"{factor * mean:.1f}±{factor * deviation:.1f}"

    first, *others = columns.values()
    whole = [cell(*summary(first, metric), 100) for metric in ("dice", "nsd")]
    distances = [cell(*summary(first, metric), 1) for metric in ("hd95_mm", "assd_mm")]
    rest = [cell(*summary(other, "dice"), 100) for other in others]
    return [*whole, *distances, str(missed), *rest]


def write_results(evaluation: Evaluation, stem: Path) -> tuple[Path, Path]:
    """`stem`.json with everything and `stem`.csv with a row per case and organ.

    Dice and NSD are shares in [0, 1], distances are mm; an empty cell was not scored.
    """
    organs = evaluation.groups["all"]

    def summary(known: Callable[[str, str], tuple[float, float]], name: str) -> dict[str, Any]:
        pairs = {metric: known(name, metric) for metric in METRICS}
        return {metric: {"mean": m, "deviation": d} for metric, (m, d) in pairs.items()}

    content = {
        **asdict(evaluation),
        "empty_masks": EMPTY_RULE,
        "organs": {
            name: {**summary(evaluation.organ, name), "missed": evaluation.missed(name)}
            for name in organs
        },
        "means": {name: summary(evaluation.group, name) for name in GROUPS},
    }
    text = json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n"
    files = stem.with_suffix(".json"), stem.with_suffix(".csv")
    write_whole(files[0], text)
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["case", "organ", *METRICS])
    for case, scores in evaluation.cases.items():
        for name in organs:
            writer.writerow([case, name, *(_number(scores[name][m]) for m in METRICS)])
    write_whole(files[1], rows.getvalue())
    return files


def _number(value: float) -> str:
    return "" if value != value else f"{value:.6f}"


def without_nan(content: Any) -> Any:
    """NaN as null: JSON knows no NaN."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and content != content else content
