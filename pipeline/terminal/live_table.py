"""A run in the terminal while it trains: one live table, or plain lines where there is none."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.terminal.run_status import RunStatus, clock, memory, percent

_QUIET_SECONDS = 30  # between two plain lines about losses
_AROUND_ORGANS = 8  # lines of the live table that are not organs
_BLOCKS = "▁▂▃▄▅▆▇█"
_TREND = 12  # validations that a trend shows


class Watcher:
    """Follows a run; `report` takes its records, `tick` the cases of a validation."""

    def __init__(self, steps: int, console: Console) -> None:
        self.console = console
        self.standing = RunStatus(steps)
        self._begin = time.monotonic()
        self._told = -math.inf
        self._validating = ""

    def recall(self, record: Mapping[str, Any]) -> None:
        """Take in a record of an earlier session, which that one has told of."""
        self.standing.recall(record)

    def report(self, record: dict[str, Any]) -> None:
        """Take in a record of the log, and print what should stay in the scrollback."""
        self.standing.see(record)
        self._validating = ""
        if "labeled_voxels" in record:
            self.console.print(_parts(record))
            self.console.print(voxel_table(record["labeled_voxels"]))
        elif "validation" in record:
            self.console.print(self._validation_line(), highlight=False)
        elif not self.console.is_terminal:
            self._plain_line()
        for warning in record.get("warnings", ()):
            message = f"warning: step {record['step']}: {warning}"
            self.console.print(Text(message, style="yellow"))

    def tick(self, case: str, done: int, total: int) -> None:
        """A validation begins with another case."""
        self._validating = f"validating {case}, {done + 1} of {total}"

    def _plain_line(self) -> None:
        known, now = self.standing, time.monotonic()
        if now - self._told < _QUIET_SECONDS and known.step < known.steps:
            return
        self._told = now
        parts = [f"step {known.step}/{known.steps}", f"loss {known.loss:.4g}", *self._facts()]
        self.console.print(", ".join(parts), highlight=False)

    def _facts(self) -> list[str]:
        known = self.standing
        facts = [f"rate {known.rate:.3g}"]
        if known.seconds_per_step is not None:
            facts += [f"{known.seconds_per_step:.2g} s/step", f"{known.time_left} left"]
        if known.peak_memory_mib is not None:
            peak = memory(known.peak_memory_mib)
            facts.append(f"{known.memory_of} peak {peak}".strip())
        return facts

    def _validation_line(self) -> str:
        step, means = self.standing.means[-1]
        scores = ", ".join(f"{name} {percent(mean)}" for name, mean in means.items())
        best_step, best = self.standing.best()
        best_told = f"best {percent(best)} at step {best_step}"
        return f"step {step}: validation Dice, %: {scores} ({best_told})"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The live table at this moment."""
        known = self.standing
        elapsed = clock(time.monotonic() - self._begin)
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=known.steps, completed=known.step, width=20)
        share = f"{100 * known.step // known.steps} %"
        left = "-" if known.time_left == "-" else known.time_left
        head.add_row(f"step {known.step} of {known.steps}", bar, share, elapsed, f"{left} left")
        sides = Table.grid(padding=(0, 3))
        tables = [_terms(known)] if known.terms else []
        if known.means:
            rows = max((options.height or console.height) - _AROUND_ORGANS, 3)
            tables.append(_organs(known, rows, trend=not options.ascii_only))
        sides.add_row(*tables)
        facts = [] if math.isnan(known.rate) else self._facts()[:1] + self._facts()[-1:]
        if known.warnings:
            facts.append(f"{known.warnings} warning{'s' * (known.warnings > 1)}")
        if self._validating:
            facts.append(self._validating)
        yield Group(head, sides, Text(" · ".join(facts), style="dim"))


@contextmanager
def watching(steps: int) -> Iterator[Watcher]:
    """A watcher of a run of so many steps on stdout; a live table if that is a terminal."""
    watcher = Watcher(steps, Console())
    if not watcher.console.is_terminal:
        yield watcher
        return
    with Live(watcher, console=watcher.console, refresh_per_second=4):
        yield watcher


def voxel_table(voxels: Mapping[str, int]) -> Table:
    """Voxels per class in the labeled cases, and their share of all labeled voxels."""
    table = Table("class", box=SIMPLE_HEAD)
    table.add_column("labeled voxels", justify="right")
    table.add_column("share, %", justify="right")
    total = sum(voxels.values())
    for name, count in voxels.items():
        style = None if count else "bold red"
        table.add_row(name, f"{count:,}", f"{100 * count / total:.3g}", style=style)
    return table


def _parts(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {part}" for part, count in record["cases"].items()) + " cases"


def _terms(known: RunStatus) -> Table:
    table = Table("loss", box=SIMPLE_HEAD)
    table.add_column("", justify="right")
    for name, value in known.terms.items():
        table.add_row(name, f"{value:.4f}")
    table.add_row("sum", f"{known.loss:.4f}", style="bold")
    return table


def _organs(known: RunStatus, rows: int, *, trend: bool) -> Table:
    """Dice of the first predictor; the lowest organs alone where not all find room."""
    table = Table(f"Dice, %: {known.first_predictor}", box=SIMPLE_HEAD)
    for column in ("last", "best"):
        table.add_column(column, justify="right")
    table.add_column("trend" if trend else "")
    means = [means[known.first_predictor] for _, means in known.means]
    organs = list(known.history.items())
    if len(organs) > rows:
        organs = sorted(organs, key=lambda item: _rank(item[1][-1]))[: rows - 1]
    for name, scores in [("mean", means), *organs]:
        best = max(scores, key=_rank)
        shown = sparkline(scores[-_TREND:]) if trend else ""
        style = "bold" if name == "mean" else "yellow" if scores[-1] == 0 else None
        table.add_row(name, percent(scores[-1]), percent(best), shown, style=style)
    if len(organs) < len(known.history):
        more = len(known.history) - len(organs)
        table.add_row(f"{more} organs with more", "", "", "", style="dim")
    return table


def _rank(score: float) -> float:
    return -1.0 if math.isnan(score) else score


def sparkline(scores: Iterable[float]) -> str:
    """Scores in [0, 1] as bars of eight heights; a space where nothing was scored."""
    top = len(_BLOCKS) - 1
    return "".join(
        " " if math.isnan(score) else _BLOCKS[min(int(score * len(_BLOCKS)), top)]
        for score in scores
    )
