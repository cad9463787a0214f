"""The results of a study: finished cells from the store, as CSV, JSON, Markdown and LaTeX."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from knowledge.common.files import read_text, without_nan, write_whole
from pipeline.experiments.planning import Plan, spent
from pipeline.experiments.results.analysis import (
    ArmSummary,
    Difference,
    Run,
    summarize,
    variance_components,
)
from pipeline.experiments.stages import CellStages, Stage
from pipeline.experiments.store import Store
from pipeline.scoring.evaluation import GROUPS, Evaluation
from pipeline.scoring.results import evaluation_name, read_evaluation


@dataclass(frozen=True)
class StudyResults:
    """Everything the tables show.

    Attributes:
        rows: organs by row: groups first, then single organs.
        missing: cells without scores, by name, and why.
        factor: of scores for a reader: 100 for shares, 1 for distances.
        left_out: cells scored by another protocol than the first one.
    """

    arms: list[ArmSummary]
    runs: list[Run]
    rows: dict[str, tuple[str, ...]]
    missing: dict[str, str]
    components: dict[str, float]
    metric: str
    protocol: str
    factor: float
    left_out: list[str] = field(default_factory=list)


def collect(plan: Plan, store: Store) -> StudyResults | None:
    """The results of all finished cells of one protocol; None if no cell is finished.

    Raises:
        ValueError: the rules of the study do not compute its metric.
    """
    chosen = plan.study.file.statistics
    evaluations: dict[int, Evaluation] = {}
    missing: dict[str, str] = {}
    for place, cell in enumerate(plan.cells):
        if store.state(cell.evaluate) != "done":
            missing[cell.cell.name] = _reason(cell, store)
            continue
        name = f"{evaluation_name(chosen.part, chosen.rules)}.json"
        evaluations[place] = read_evaluation(store.product(cell.evaluate) / name)
    if not evaluations:
        return None
    first = next(iter(evaluations.values()))
    metric = next((each for each in first.metrics if each.key == chosen.metric), None)
    if metric is None:
        known = ", ".join(each.key for each in first.metrics)
        raise ValueError(
            f"{plan.study.path}: statistics.metric: rules {chosen.rules} have no "
            f"{chosen.metric!r}; there is {known}"
        )
    same = {p: e for p, e in evaluations.items() if _alike(e, first)}
    # Cells that differ by what their stages do not read, such as the draw of a control that draws
    # nothing, are one training and count once.
    distinct = {(plan.cells[p].cell.arm, plan.cells[p].train.key): p for p in reversed(same)}
    places = sorted(distinct.values())
    runs = [_run(plan.cells[place], same[place], metric.key, store) for place in places]
    rows = {group: first.groups[group] for group in GROUPS if first.groups[group]}
    rows |= {organ: (organ,) for organ in first.groups["all"]}
    factor = 100.0 if metric.share else 1.0
    return StudyResults(
        arms=summarize(runs, rows, plan.study.baseline, chosen.margin / factor),
        runs=runs,
        rows=rows,
        missing=missing,
        components=variance_components(runs, rows[chosen.endpoint]),
        metric=metric.key,
        protocol=first.protocol,
        factor=factor,
        left_out=[plan.cells[place].cell.name for place in evaluations if place not in same],
    )


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
    scores = {
        case: {organ: values[metric] for organ, values in organs.items()}
        for case, organs in evaluation.cases.items()
    }
    record = store.record(cell.train)
    described = _content(store, cell.describe)
    return Run(
        arm=cell.cell.arm,
        replicate=tuple(int(cell.cell.settings.get(key, 0)) for key in ("draw", "seed")),
        factors=cell.cell.factors,
        scores=scores,
        minutes=record.seconds / 60 if record else math.nan,
        cost_usd=float(described.get("cost_usd") or 0.0),
        supported=_supported(_content(store, cell.check)),
    )


def _content(store: Store, stage: Stage | None) -> dict[str, Any]:
    if stage is None or store.state(stage) != "done":
        return {}
    content = json.loads(read_text(store.product(stage)))
    return content if isinstance(content, dict) else {}


def _supported(report: dict[str, Any]) -> float | None:
    share = report.get("supported_share")
    return float(share) if isinstance(share, int | float) else None


def write_results(results: StudyResults, plan: Plan, store: Store, out: Path) -> list[Path]:
    """`runs.csv`, `arms.csv`, `study.md`, `study.tex` and `study.json` in a folder."""
    texts = {
        "runs.csv": _runs_csv(results),
        "arms.csv": _arms_csv(results),
        "study.md": markdown(results, plan, store),
        "study.tex": latex(results, plan),
        "study.json": _as_json(results, plan),
    }
    for name, text in texts.items():
        write_whole(out / name, text)
    return [out / name for name in texts]


def _runs_csv(results: StudyResults) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(dict.fromkeys(name for run in results.runs for name in run.factors))
    writer.writerow(["arm", *names, "draw", "seed", *results.rows, "minutes"])
    for run in results.runs:
        scores = [_cell(run.mean(organs)) for organs in results.rows.values()]
        factors = [run.factors.get(name, "") for name in names]
        writer.writerow([run.arm, *factors, *run.replicate, *scores, _cell(run.minutes)])
    return text.getvalue()


def _arms_csv(results: StudyResults) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["arm", "row", "runs", "mean", "deviation", "difference", "low", "high", "p",
         "p_adjusted", "p_equivalent", "pairs"]
    )  # fmt: skip
    for arm in results.arms:
        for row in results.rows:
            cells = [_cell(arm.mean[row]), _cell(arm.deviation[row])]
            gap = arm.difference[row] if arm.difference else None
            cells += [""] * 7 if gap is None else _gap_cells(gap)
            writer.writerow([arm.arm, row, arm.runs, *cells])
    return text.getvalue()


def _gap_cells(gap: Difference) -> list[str]:
    numbers = (gap.mean, gap.low, gap.high, gap.p, gap.p_adjusted, gap.p_equivalent)
    return [*map(_cell, numbers), str(gap.pairs)]


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _as_json(results: StudyResults, plan: Plan) -> str:
    content = {
        "title": plan.study.file.title,
        "question": plan.study.file.question,
        "study_digest": plan.study.digest,
        "statistics": plan.study.file.statistics.model_dump(mode="json"),
        "baseline": plan.study.baseline,
        "protocol": results.protocol,
        "metric": results.metric,
        "arms": [asdict(arm) for arm in results.arms],
        "variance_components": results.components,
        "missing": results.missing,
        "left_out": results.left_out,
    }
    return json.dumps(without_nan(content), indent=1, ensure_ascii=False) + "\n"


HEADINGS = ("arm", "runs", "all", "large", "small", "difference", "95 % interval", "p adj.",
            "p equiv.", "lost")  # fmt: skip


def table_rows(results: StudyResults, endpoint: str) -> list[list[str]]:
    """The rows of the main table for a reader, scores in percent where they are shares."""
    rows = []
    for arm in results.arms:
        gap = arm.difference[endpoint] if arm.difference else None
        rows.append(
            [
                arm.arm,
                str(arm.runs),
                *(_spread(arm, group, results.factor) for group in GROUPS),
                *_gap_words(gap, results.factor),
                str(arm.lost),
            ]
        )
    return rows


def _spread(arm: ArmSummary, row: str, factor: float) -> str:
    mean, deviation = arm.mean.get(row, math.nan), arm.deviation.get(row, math.nan)
    if math.isnan(mean):
        return "-"
    spread = "" if math.isnan(deviation) else f" ± {factor * deviation:.1f}"
    return f"{factor * mean:.1f}{spread}"


def _gap_words(gap: Difference | None, factor: float) -> list[str]:
    if gap is None:
        return ["", "", "", ""]
    interval = (
        "-" if math.isnan(gap.low) else f"{factor * gap.low:+.1f} to {factor * gap.high:+.1f}"
    )
    mean = "-" if math.isnan(gap.mean) else f"{factor * gap.mean:+.1f}"
    return [mean, interval, _p(gap.p_adjusted), _p(gap.p_equivalent)]


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def notes(results: StudyResults, plan: Plan, store: Store) -> list[str]:
    """What the numbers rest on, and what is missing."""
    chosen = plan.study.file.statistics
    unit = "percent" if results.factor == 100 else "the metric's unit"
    tokens, cost = spent(plan, store)
    lines = [
        f"{results.metric} in {unit}, {chosen.part} cases, rules {chosen.rules}, protocol "
        f"{results.protocol.partition(',')[0]}; mean ± standard deviation over runs "
        "(draw × seed).",
        f"Difference: arm minus baseline ({plan.study.baseline}) of the endpoint "
        f"({chosen.endpoint} organs), paired by draw and seed; interval and p by Student's t over "
        f"pairs, p adjusted by Holm over arms; p equiv.: two one-sided tests against ± "
        f"{chosen.margin:g}.",
        "Lost: organs with a mean below 1 percent, summed over runs.",
    ]
    if results.components:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in results.components.items())
        lines.append(f"Share of the variance of the endpoint: {shares}.")
    if tokens:
        lines.append(f"Language models: {tokens} tokens, {cost:.2f} USD.")
    lines += [f"Missing: {name}: {why}." for name, why in results.missing.items()]
    lines += [f"Left out, another protocol: {name}." for name in results.left_out]
    return lines


def markdown(results: StudyResults, plan: Plan, store: Store) -> str:
    """The main table, the table of organs and the notes."""
    file, endpoint = plan.study.file, plan.study.file.statistics.endpoint
    lines = [f"# {file.title}", ""]
    lines += [file.question, ""] if file.question else []
    lines += _markdown_table(HEADINGS, table_rows(results, endpoint))
    organs = [row for row in results.rows if row not in GROUPS]
    lines += ["", *_markdown_table(("organ", *(arm.arm for arm in results.arms)), [
        [organ, *(_spread(arm, organ, results.factor) for arm in results.arms)] for organ in organs
    ])]  # fmt: skip
    lines += ["", *(f"- {line}" for line in notes(results, plan, store))]
    lines += ["", f"Study digest: `{plan.study.digest}`"]
    return "\n".join(lines) + "\n"


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    head = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return head + ["| " + " | ".join(row) + " |" for row in rows]


_TEX = str.maketrans({"%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "±": r"$\pm$", "<": "$<$"})


def latex(results: StudyResults, plan: Plan) -> str:
    """The main table for a paper, with booktabs."""
    rows = table_rows(results, plan.study.file.statistics.endpoint)
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{l" + "r" * (len(HEADINGS) - 1) + "}",
        r"\toprule",
        " & ".join(heading.translate(_TEX) for heading in HEADINGS) + r" \\",
        r"\midrule",
        *(" & ".join(cell.translate(_TEX) for cell in row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"
