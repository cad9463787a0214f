"""Content of the page of a study, as plain values."""

import math
from typing import Any

from pipeline.experiments.planning import Plan
from pipeline.experiments.results.banks import bank_labels, bank_table
from pipeline.experiments.results.study_results import ScoreTable, StudyResults
from pipeline.experiments.results.writing import HEADINGS, notes, organ_rows, table_rows
from pipeline.experiments.store import Store


def page_content(results: StudyResults, plan: Plan, store: Store) -> dict[str, Any]:
    """Tables, differences and notes of a study; empty where there are no scores or no banks."""
    file, scores, banks = plan.study.file, results.scores, results.banks
    return {
        "title": file.title,
        "question": file.question,
        "notes": [*notes(results, plan, store), f"Study digest: {plan.study.digest}"],
        "bank_headings": ("measure", *bank_labels(banks)) if banks else (),
        "bank_rows": bank_table(banks) if banks else [],
        "baseline": plan.study.baseline,
        "margin": file.statistics.margin,
        **(_no_scores() if scores is None else _of_scores(scores, file.statistics.endpoint)),
    }


def _no_scores() -> dict[str, Any]:
    names = ("headings", "rows", "organ_headings", "organ_rows", "components", "differences")
    return {name: [] for name in names}


def _of_scores(scores: ScoreTable, endpoint: str) -> dict[str, Any]:
    return {
        "headings": HEADINGS,
        "rows": table_rows(scores, endpoint),
        "organ_headings": ("organ", *(arm.arm for arm in scores.arms)),
        "organ_rows": organ_rows(scores),
        "components": list(scores.components.items()),
        "differences": [
            (arm.arm, *(_shown(scores.factor * value) for value in (gap.mean, gap.low, gap.high)))
            for arm in scores.arms
            if arm.difference and (gap := arm.difference.get(endpoint))
        ],
    }


def _shown(value: float) -> float | None:
    return None if math.isnan(value) else value
