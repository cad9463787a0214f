"""Scores in the terminal: one run with all its measures, others beside it with their Dice."""

import math
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.scoring.evaluation import GROUPS, Evaluation, comparable
from segmentation.evaluation.rules import named


def table_of(columns: Mapping[str, Evaluation]) -> Group:
    """A row per organ and group; all metrics of the first column, Dice of all.

    Raises:
        ValueError: results that were not measured alike.
    """
    first, *others = columns.values()
    for other in others:
        comparable(first, other)
    scan = first.rules == "scan"
    headings = [metric.heading for metric in first.metrics]
    headings[0] += f"\n{next(iter(columns))}"
    if scan:
        headings[1] += f"\nat {first.tolerance_mm:g} mm"
        headings.append("missed")
    headings += [f"Dice %\n{name}" for name in list(columns)[1:]]
    rows = {}
    for row in rows_of(first):
        cells = [_cell(first, row, metric.key, metric.share) for metric in first.metrics]
        if scan:
            missed = sum(first.missed(organ) for organ in first.groups.get(row, (row,)))
            cells.append(str(missed))
        rows[row] = [*cells, *(_cell(other, row, "dice", True) for other in others)]
    return framed(first, f"mean ± deviation over {len(first.cases)} cases", headings, rows)


def framed(
    evaluation: Evaluation, what: str, headings: Sequence[str], rows: Mapping[str, Sequence[str]]
) -> Group:
    """A table of organs that fits 80 columns, between how its scores came to be and the rules."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("organ", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    for row, cells in rows.items():
        if row == GROUPS[0]:
            table.add_section()
        group = row in GROUPS
        table.add_row(f"mean of {row}" if group else row, *cells, style="bold" if group else "")
    split = "" if evaluation.split is None else f", split {evaluation.split}"
    above = [
        f"{evaluation.part}: {what}",
        f"protocol {evaluation.protocol}{split}; metric rules {evaluation.rules}",
    ]
    facts = named(evaluation.rules).facts
    below = [facts[key] for key in ("empty_masks", "not_computed") if key in facts]
    return Group(*map(Text, above), table, *map(Text, below))


def rows_of(evaluation: Evaluation) -> tuple[str, ...]:
    """The rows of a table: organs, then the groups that have one."""
    return (*evaluation.groups["all"], *(group for group in GROUPS if evaluation.groups[group]))


def _cell(evaluation: Evaluation, row: str, metric: str, share: bool) -> str:
    known = evaluation.group if row in GROUPS else evaluation.organ
    mean, deviation = known(row, metric)
    factor = 100 if share else 1
    if math.isnan(mean):
        return "-"
    if math.isnan(deviation):  # a single case
        return f"{factor * mean:.1f}"
    spread = factor * deviation
    digits = 0 if spread >= 9.95 else 1  # a second digit of a wide spread says nothing
    return f"{factor * mean:.1f}±{spread:.{digits}f}"
