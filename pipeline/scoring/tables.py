"""Tables of scores, comparisons and text sensitivity in the terminal."""

import math
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from pipeline.results.scores import GROUPS, Evaluation, Sensitivity, comparable, rows_of
from pipeline.scoring.comparison import PairedDifference
from pipeline.scoring.published import PublishedTable, own_dice, published_dice
from pipeline.scoring.score_run import ScoredRun
from pipeline.scoring.seeds import Scored
from segmentation.evaluation.rules import named


def score_table(columns: Mapping[str, Evaluation]) -> Group:
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
    evaluation: Evaluation, caption: str, headings: Sequence[str], rows: Mapping[str, Sequence[str]]
) -> Group:
    """A table of organs in 80 columns, with a caption and the facts of the metric rules."""
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
        f"{evaluation.part}: {caption}",
        f"protocol {evaluation.protocol}{split}; metric rules {evaluation.rules}",
    ]
    facts = named(evaluation.rules).facts
    below = [facts[key] for key in ("empty_masks", "not_computed") if key in facts]
    if evaluation.note:
        below.append(evaluation.note)
    return Group(*map(Text, above), table, *map(Text, below))


def _cell(evaluation: Evaluation, row: str, metric: str, share: bool) -> str:
    known = evaluation.group if row in GROUPS else evaluation.organ
    mean, deviation = known(row, metric)
    factor = 100 if share else 1
    if math.isnan(mean):
        return "-"
    if math.isnan(deviation):  # a single case
        return f"{factor * mean:.1f}"
    spread = factor * deviation
    digits = 0 if spread >= 9.95 else 1  # a second digit of a wide spread has no meaning
    return f"{factor * mean:.1f}±{spread:.{digits}f}"


def comparison_table(
    one: Scored, other: Scored, metric: str, rows: Sequence[PairedDifference]
) -> Table:
    """The comparison for a terminal of 80 columns; Dice and NSD in percent, distances in mm."""
    share = next(each.share for each in one.evaluation.metrics if each.key == metric)
    factor = 100 if share else 1
    unit = "%" if share else metric.rpartition("_")[2]
    table = Table(
        title=f"{metric}, {unit}: A is {one.name}, B is {other.name}",
        caption=_caption(one, other, rows),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("organ", no_wrap=True)
    for heading in ("A", "B", "B - A", "95 % interval", "p", "p adj.", "cases"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if row.row == GROUPS[0]:
            table.add_section()
        means = [_shown(factor * value) for value in (row.first, row.second)]
        spread = f"{factor * row.low:+.1f} to {factor * row.high:+.1f}"
        table.add_row(
            f"mean of {row.row}" if row.row in GROUPS else row.row,
            *means,
            _shown(factor * row.difference, "+"),
            "-" if math.isnan(row.low) else spread,
            _p(row.p),
            _p(row.p_adjusted),
            str(row.cases),
            style="bold" if row.row in GROUPS else "",
        )
    return table


def _shown(value: float, sign: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{sign}.1f}"


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _caption(one: Scored, other: Scored, rows: Sequence[PairedDifference]) -> str:
    """Cases, seeds and tests of the comparison, and its limits."""
    cases = len(one.evaluation.cases)
    notes = [
        f"{one.evaluation.part}, {one.evaluation.protocol}, {cases} cases, "
        f"seeds {one.seeds} and {other.seeds}. Interval: of the mean, Student's t over cases, not "
        "seeds. p: Wilcoxon signed-rank, of symmetry about 0 and not of the mean; adj.: Holm over "
        "organs."
    ]
    splits = one.evaluation.split, other.evaluation.split
    if splits[0] != splits[1]:
        notes.append(f"Trained on different splits: {splits[0]} and {splits[1]}.")
    for scored in (one, other):
        if scored.evaluation.note:
            notes.append(f"{scored.name}: {scored.evaluation.note}.")
    if cases < 6:
        notes.append(f"With {cases} cases no p falls below {2 ** (1 - cases):g}.")
    unpaired = sum(row.unpaired for row in rows if row.row not in GROUPS)
    if unpaired:
        notes.append(f"Scored in one run alone and left out: {unpaired}.")
    return " ".join(notes)


def beside_table(evaluation: Evaluation, setting: PublishedTable, methods: Sequence[str]) -> Group:
    """A terminal table: Dice of the run, of published methods, and the gap to the last of them."""
    headings = ["this run", *methods, f"run -\n{methods[-1]}"]
    rows = {}
    for row in rows_of(evaluation):
        ours = 100 * own_dice(evaluation, row)
        theirs = [100 * published_dice(setting, method, row) for method in methods]
        rows[row] = [*map(_shown, (ours, *theirs)), _shown(ours - theirs[-1], "+")]
    heading = f"Dice in % over {len(evaluation.cases)} cases, with published numbers"
    return framed(evaluation, heading, headings, rows)


def show_scores(scored: ScoredRun, *, stderr: bool) -> None:
    """Print the scores of a run and, if there are any, published numbers with their notes."""
    console = Console(stderr=stderr)
    console.print(score_table(scored.columns))
    trained = scored.columns.get("trained")  # masks of others have no such column
    if trained is not None and trained.text_sensitivity:
        console.print(sensitivity_table(trained.text_sensitivity))
    if scored.published is not None:
        console.print(beside_table(scored.columns["trained"], *scored.published))
        for note in scored.notes:
            console.print(f"- {note}", markup=False, highlight=False)


def sensitivity_table(figures: Mapping[str, Sensitivity]) -> Table:
    """A row per organ: Dice with the trained text, and its loss with other texts."""
    table = Table(box=SIMPLE_HEAD, title="Dice in percent, and its loss with other texts")
    table.add_column("organ")
    table.add_column("own", justify="right")
    for name in figures:
        table.add_column(name, justify="right")
    first = next(iter(figures.values()))
    for organ, dice in first.dice.items():
        lost = [_percent(-each.dice_lost[organ]) for each in figures.values()]
        table.add_row(organ, _percent(dice, sign=False), *lost)
    table.add_section()
    changed = [f"{100 * each.changed:.1f} %" for each in figures.values()]
    table.add_row("voxels changed", "", *changed)
    return table


def _percent(share: float, *, sign: bool = True) -> str:
    if math.isnan(share):
        return "-"
    value = round(100 * share, 1) or 0.0  # never -0.0
    return f"{value:+.1f}" if sign and value else f"{value:.1f}"
