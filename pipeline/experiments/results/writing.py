"""Files of a study's results: CSV, JSON, Markdown and LaTeX."""

import csv
import io
import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from knowledge.common.files import parse_json, read_text, without_nan, write_whole
from knowledge.common.text import one_line
from pipeline.experiments.estimates import spent
from pipeline.experiments.planning import Plan
from pipeline.experiments.results.analysis import ArmSummary, Difference
from pipeline.experiments.results.banks import bank_labels, bank_table, banks_csv
from pipeline.experiments.results.study_results import ScoreTable, StudyResults
from pipeline.experiments.store import Store
from pipeline.experiments.study import Study
from pipeline.files import shipped
from pipeline.results.scores import GROUPS

RESULTS = "study.json"


def write_results(results: StudyResults, plan: Plan, store: Store, out: Path) -> list[Path]:
    """`study.md`, `study.json`; `banks.csv` of texts; `runs.csv`, `arms.csv`, `study.tex` of
    scores, in a folder.

    Raises:
        FileExistsError: the folder holds the results of another study.
    """
    require_same_study(plan.study, out)
    content = _as_json(results, plan, _source(plan.study, out))
    texts = {"study.md": markdown(results, plan, store), RESULTS: content}
    if results.banks:
        texts["banks.csv"] = banks_csv(results.banks)
    if results.scores is not None:
        texts["runs.csv"] = _runs_csv(results.scores)
        texts["arms.csv"] = _arms_csv(results.scores)
        texts["study.tex"] = latex(results.scores, plan)
    for name, text in texts.items():
        write_whole(out / name, text)
    return [out / name for name in texts]


def require_same_study(study: Study, out: Path) -> None:
    """Refuse a folder with the results of another study file.

    An edited file replaces its own results. Those of versions that did not note their file are
    recognized by digest or title.

    Raises:
        FileExistsError: names the other file.
        ValueError: `study.json` in the folder is damaged.
    """
    path = out / RESULTS
    if not path.is_file():
        return
    earlier = parse_json(read_text(path), path)
    known = earlier if isinstance(earlier, dict) else {}
    if "file" in known:
        same = known["file"] == _source(study, out)
    else:
        same = known.get("study_digest") == study.digest or known.get("title") == study.file.title
    if not same:
        other = one_line(str(known.get("file") or known.get("title") or "another file"), 100)
        raise FileExistsError(
            f"-o {out} holds the results of another study, {other}; give another folder"
        )


def _source(study: Study, out: Path) -> str:
    """The study's file as seen from the folder of its results, or the name of a shipped study."""
    path = study.path.resolve()
    if path.parent == shipped.reference("studies").resolve():
        return f"shipped: {path.stem}"
    try:
        return Path(os.path.relpath(path, out.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return path.name


def _runs_csv(results: ScoreTable) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(dict.fromkeys(name for run in results.runs for name in run.factors))
    last = ("minutes", "untrained", "folder")
    writer.writerow(["arm", *names, "draw", "seed", *results.rows, *last])
    for run in results.runs:
        first = [run.arm, *(run.factors.get(name, "") for name in names), *run.replicate]
        scores = [_cell(run.mean(organs)) for organs in results.rows.values()]
        untrained = "" if run.untrained is None else _cell(run.untrained)
        writer.writerow([*first, *scores, _cell(run.minutes), untrained, run.folder])
    return text.getvalue()


def _arms_csv(results: ScoreTable) -> str:
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


def _as_json(results: StudyResults, plan: Plan, source: str) -> str:
    content: dict[str, object] = {
        "title": plan.study.file.title,
        "question": plan.study.file.question,
        "file": source,
        "study_digest": plan.study.digest,
        "missing": results.missing,
        "banks": [asdict(row) for row in results.banks],
    }
    scores = results.scores
    if scores is not None:
        content |= {
            "statistics": plan.study.file.statistics.model_dump(mode="json"),
            "baseline": plan.study.baseline,
            "protocol": scores.protocol,
            "metric": scores.metric,
            "factor": scores.factor,
            "arms": [asdict(arm) for arm in scores.arms],
            "variance_components": scores.components,
            "left_out": scores.left_out,
        }
    return json.dumps(without_nan(content), indent=1, ensure_ascii=False) + "\n"


HEADINGS = ("arm", "runs", "all", "large", "small", "difference", "95 % interval", "p adj.",
            "p equiv.", "lost")  # fmt: skip


def table_rows(results: ScoreTable, endpoint: str) -> list[list[str]]:
    """The rows of the main table for display; shares in percent."""
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
    """Notes on statistics, cost and missing cells."""
    lines = [] if results.scores is None else _score_notes(results.scores, plan)
    tokens, cost = spent(plan.stages, store)
    if tokens:
        lines.append(f"Language models: {tokens} tokens, {cost:.2f} USD.")
    return lines + _missing(results, plan)


def _missing(results: StudyResults, plan: Plan) -> list[str]:
    """A line per cell without results; one per arm for several of an arm with the same reason."""
    cells = [each.cell for each in plan.cells]
    counts = Counter((cell.arm, results.missing.get(cell.name)) for cell in cells)
    runs = Counter(cell.arm for cell in cells)
    lines: dict[str, None] = {}
    for cell in cells:
        if (why := results.missing.get(cell.name)) is not None:
            several = counts[cell.arm, why]
            what = cell.name if several == 1 else f"{cell.arm}: {several} of {runs[cell.arm]} runs"
            lines[f"Missing: {what}: {why}."] = None
    return list(lines)


def _score_notes(scores: ScoreTable, plan: Plan) -> list[str]:
    chosen = plan.study.file.statistics
    unit = "percent" if scores.factor == 100 else "the metric's unit"
    lines = [
        f"{scores.metric} in {unit}, {chosen.part} cases, rules {chosen.rules}, protocol "
        f"{scores.protocol.partition(',')[0]}; mean ± standard deviation over runs (draw × seed).",
        f"Difference: arm minus baseline ({plan.study.baseline}) of the endpoint "
        f"({chosen.endpoint} organs), paired by draw and seed; interval and p by Student's t over "
        f"pairs, p adjusted by Holm over arms; p equiv.: two one-sided tests against ± "
        f"{chosen.margin:g}.",
        "Lost: organs with a mean below 1 percent, summed over runs.",
    ]
    untrained = [run.untrained for run in scores.runs if run.untrained is not None]
    if untrained:
        most = scores.factor * max(untrained)
        lines.append(f"Before the first step no run is better than {most:.1f} over all organs.")
    if scores.components:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in scores.components.items())
        lines.append(f"Share of the variance of the endpoint: {shares}.")
    return lines + [f"Left out, another protocol: {name}." for name in scores.left_out]


def markdown(results: StudyResults, plan: Plan, store: Store) -> str:
    """The main table, the table of organs, the banks and the notes."""
    file, scores = plan.study.file, results.scores
    lines = [f"# {file.title}", ""]
    lines += [file.question, ""] if file.question else []
    if scores is not None:
        lines += [*_markdown_table(HEADINGS, table_rows(scores, file.statistics.endpoint)), ""]
        lines += _markdown_table(("organ", *(arm.arm for arm in scores.arms)), organ_rows(scores))
        lines.append("")
    if results.banks:
        headings = ("texts", *bank_labels(results.banks))
        lines += [*_markdown_table(headings, bank_table(results.banks)), ""]
    lines += [f"- {line}" for line in notes(results, plan, store)]
    lines += ["", f"Study digest: `{plan.study.digest}`"]
    return "\n".join(lines) + "\n"


def organ_rows(scores: ScoreTable) -> list[list[str]]:
    """A row per organ and a column per arm, for display."""
    organs = [row for row in scores.rows if row not in GROUPS]
    return [
        [organ, *(_spread(arm, organ, scores.factor) for arm in scores.arms)] for organ in organs
    ]


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    head = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return head + ["| " + " | ".join(row) + " |" for row in rows]


_TEX = str.maketrans({"%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "±": r"$\pm$", "<": "$<$"})


def latex(results: ScoreTable, plan: Plan) -> str:
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
