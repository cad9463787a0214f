"""Collect the results of a study: scores of finished cells and measures of their banks."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knowledge.common.files import read_text
from knowledge.common.suggest import unknown
from pipeline.experiments.planning import Plan
from pipeline.experiments.results.analysis import (
    ArmSummary,
    Run,
    summarize,
    variance_components,
)
from pipeline.experiments.results.banks import BankRow, bank_rows
from pipeline.experiments.stages import CellStages, Stage
from pipeline.experiments.store import Store
from pipeline.results.result_files import evaluation_files, read_evaluation
from pipeline.results.scores import GROUPS, Evaluation


@dataclass(frozen=True)
class ScoreTable:
    """The scores of all finished cells of one protocol.

    Attributes:
        rows: organs by row: groups first, then single organs.
        factor: of scores for a reader: 100 for shares, 1 for distances.
        left_out: cells scored by another protocol than the first one.
    """

    arms: list[ArmSummary]
    runs: list[Run]
    rows: dict[str, tuple[str, ...]]
    components: dict[str, float]
    metric: str
    protocol: str
    factor: float
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class StudyResults:
    """The results of a study for its tables.

    Attributes:
        scores: None if no cell is finished, or nothing is trained.
        missing: reasons by name, for cells without scores, or without a bank in a study of texts.
    """

    banks: list[BankRow]
    scores: ScoreTable | None
    missing: dict[str, str]


def collect(plan: Plan, store: Store) -> StudyResults:
    """The results of all finished cells.

    Raises:
        ValueError: the rules of the study do not compute its metric, or a damaged file.
    """
    evaluations: dict[int, Evaluation] = {}
    missing: dict[str, str] = {}
    for place, cell in enumerate(plan.cells):
        end = cell.evaluate or cell.bank
        if isinstance(end, Stage) and store.state(end) != "done":
            missing[cell.cell.name] = _reason(cell, store)
        elif cell.evaluate is not None:
            evaluations[place] = read_evaluation(_score_file(store.product(cell.evaluate)))
    scores = _score_table(plan, evaluations, store) if evaluations else None
    return StudyResults(bank_rows(plan, store), scores, missing)


def _score_table(plan: Plan, evaluations: dict[int, Evaluation], store: Store) -> ScoreTable:
    chosen = plan.study.file.statistics
    first = next(iter(evaluations.values()))
    metric = next((each for each in first.metrics if each.key == chosen.metric), None)
    if metric is None:
        known = [each.key for each in first.metrics]
        message = unknown("metric", chosen.metric, known, f"by the rules {chosen.rules}")
        raise ValueError(f"{plan.study.path}: statistics.metric: {message}")
    same = {p: e for p, e in evaluations.items() if _alike(e, first)}
    # Cells that differ only in settings that no stage reads, such as the draw of a control without
    # random numbers, share one training and count once.
    distinct = {(plan.cells[p].cell.arm, _key(plan.cells[p].train)): p for p in reversed(same)}
    places = sorted(distinct.values())
    runs = [_run(plan.cells[place], same[place], metric.key, store) for place in places]
    rows = {group: first.groups[group] for group in GROUPS if first.groups[group]}
    rows |= {organ: (organ,) for organ in first.groups["all"]}
    factor = 100.0 if metric.share else 1.0
    return ScoreTable(
        arms=summarize(runs, rows, plan.study.baseline, chosen.margin / factor),
        runs=runs,
        rows=rows,
        components=variance_components(runs, rows[chosen.endpoint]),
        metric=metric.key,
        protocol=first.protocol,
        factor=factor,
        left_out=[plan.cells[place].cell.name for place in evaluations if place not in same],
    )


def _key(stage: Stage | None) -> str:
    return stage.key if stage else ""


def _alike(one: Evaluation, other: Evaluation) -> bool:
    """Whether two evaluations may stand in one table; splits differ between draws."""
    facts = ("data_set", "part", "rules", "tolerance_mm", "groups")
    grid = one.protocol.partition(",")[0] == other.protocol.partition(",")[0]
    return grid and all(getattr(one, name) == getattr(other, name) for name in facts)


def _reason(cell: CellStages, store: Store) -> str:
    for stage in cell.all():
        record = store.record(stage)
        if record is not None and record.status != "done":
            return f"{stage.label}: {record.error or record.status}"
    return "not run yet"


def _run(cell: CellStages, evaluation: Evaluation, metric: str, store: Store) -> Run:
    record = store.record(cell.train) if cell.train else None
    described = _content(store, cell.describe)
    return Run(
        arm=cell.cell.arm,
        replicate=tuple(int(cell.cell.settings.get(key, 0)) for key in ("draw", "seed")),
        factors=cell.cell.factors,
        scores=_scores(evaluation, metric),
        minutes=record.seconds / 60 if record else math.nan,
        folder=str(store.product(cell.train)) if cell.train else "",
        cost_usd=float(described.get("cost_usd") or 0.0),
        supported=_supported(_content(store, cell.check)),
        untrained=_untrained(cell, metric, store),
    )


def _scores(evaluation: Evaluation, metric: str) -> dict[str, dict[str, float]]:
    return {
        case: {organ: values[metric] for organ, values in organs.items()}
        for case, organs in evaluation.cases.items()
    }


def _score_file(folder: Path, *, untrained: bool = False) -> Path:
    """The scores in the output folder of `tak evaluate`, by whatever rules."""
    files = evaluation_files(folder, untrained=untrained)
    if len(files) != 1:
        raise ValueError(f"{folder}: expected one file of scores, got {len(files)}")
    return files[0]


def _untrained(cell: CellStages, metric: str, store: Store) -> float | None:
    """The mean of the network before its first step, if the stage scored it."""
    if cell.evaluate is None or not cell.evaluate.facts.get("untrained"):
        return None
    scores = _score_file(store.product(cell.evaluate), untrained=True)
    return read_evaluation(scores).group("all", metric)[0]


def _content(store: Store, stage: Stage | None) -> dict[str, Any]:
    if stage is None or store.state(stage) != "done":
        return {}
    content = json.loads(read_text(store.product(stage)))
    return content if isinstance(content, dict) else {}


def _supported(report: dict[str, Any]) -> float | None:
    share = report.get("supported_share")
    return float(share) if isinstance(share, int | float) else None
