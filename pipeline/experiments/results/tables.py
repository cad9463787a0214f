"""A study in the terminal: its plan, one live view of running stages, its table."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.live import Live
from rich.table import Table

from pipeline.experiments.engines.workers import Outcome
from pipeline.experiments.planning import Plan
from pipeline.experiments.results.banks import BankRow, bank_labels, bank_table
from pipeline.experiments.results.study_results import ScoreTable, StudyResults
from pipeline.experiments.results.writing import HEADINGS, notes, table_rows
from pipeline.experiments.stages import Stage
from pipeline.experiments.store import Store
from pipeline.texts.tables import plain

_NARROW = ("arm", "runs", "all", "small", "difference", "95 % interval", "p adj.")


# Columns beside the names of the measures that fit 80 characters.
_BANKS_PER_TABLE = 4


def show_study(results: StudyResults, plan: Plan, store: Store) -> None:
    """Print the tables of scores and of texts in 80 columns, then the notes."""
    console = Console()
    if results.scores is not None:
        console.print(_score_table(results.scores, plan))
    elif results.banks:
        console.print(plan.study.file.title)
        for table in _bank_tables(results.banks):
            console.print(table)
    for line in notes(results, plan, store):
        console.print(plain(line), highlight=False, soft_wrap=True)


def _score_table(scores: ScoreTable, plan: Plan) -> Table:
    file = plan.study.file
    table = Table(title=file.title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    places = [HEADINGS.index(name) for name in _NARROW]
    for name in _NARROW:
        first = name == "arm"
        justify: JustifyMethod = "left" if first else "right"
        table.add_column(name, justify=justify, no_wrap=not first, overflow="fold")
    for row in table_rows(scores, file.statistics.endpoint):
        table.add_row(*(row[place] for place in places))
    return table


def _bank_tables(rows: list[BankRow]) -> Iterator[Table]:
    """A row per measure and a column per bank, in tables of 80 characters."""
    labels = bank_labels(rows)
    for start in range(0, len(rows), _BANKS_PER_TABLE):
        end = start + _BANKS_PER_TABLE
        table = Table("measure")
        for label in labels[start:end]:
            table.add_column(plain(label), overflow="fold")
        for words in bank_table(rows[start:end]):
            table.add_row(*map(plain, words))
        yield table


class StudyView:
    """Counts stages and shows running ones; one line per finished stage without a terminal."""

    def __init__(self, plan: Plan, console: Console, quiet: bool) -> None:
        self.console, self.quiet = console, quiet
        self.total, self.finished, self.failed = len(plan.pending()), 0, 0
        self.running: dict[str, tuple[Stage, float]] = {}

    def started(self, stage: Stage) -> None:
        """A stage begins."""
        self.running[stage.key] = (stage, time.monotonic())

    def ended(self, stage: Stage, outcome: Outcome) -> None:
        """A stage is done, failed or was interrupted."""
        self.running.pop(stage.key, None)
        self.finished += outcome.code == 0
        self.failed += outcome.code != 0
        if not self.console.is_terminal and not self.quiet:
            state = "done" if outcome.code == 0 else f"failed: {outcome.error}"
            count = f"{self.finished + self.failed}/{self.total}"
            self.console.print(
                f"{count} {stage.label}: {state}, {outcome.seconds:.1f} s", highlight=False
            )

    def reused(self, stage: Stage) -> None:
        """Another process has finished the stage."""
        self.running.pop(stage.key, None)
        self.finished += 1

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 2))
        failed = f", {self.failed} failed" if self.failed else ""
        table.add_row(f"{self.finished} of {self.total} stages done{failed}", "")
        for stage, begin in list(self.running.values()):
            table.add_row(f"  {stage.label}", f"{time.monotonic() - begin:.0f} s")
        return table


@contextmanager
def watching_study(plan: Plan, *, quiet: bool) -> Iterator[StudyView]:
    """A view of a running study on stderr, live where that is a terminal."""
    console = Console(file=sys.stderr)
    view = StudyView(plan, console, quiet)
    if quiet or not console.is_terminal or not view.total:
        yield view
        return
    with Live(view, console=console, refresh_per_second=2, transient=True):
        yield view
