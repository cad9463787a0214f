"""Progress of a training run: a live table in terminals, plain lines elsewhere."""

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
_AROUND_ORGANS = 8  # lines of the live table without organs
_BLOCKS = "▁▂▃▄▅▆▇█"
_TREND = 12  # validations that a trend shows


class Watcher:
    """Follows a run; `report` takes its records, `tick` the cases of a validation."""

    def __init__(self, steps: int, console: Console) -> None:
        self.console = console
        self.status = RunStatus(steps)
        self._begin = time.monotonic()
        self._printed_at = -math.inf
        self._validating = ""

    def recall(self, record: Mapping[str, Any]) -> None:
        """Add a record of an earlier session, without printing it."""
        self.status.recall(record)

    def report(self, record: dict[str, Any]) -> None:
        """Add a record of the log, and print lines that stay in the scrollback."""
        self.status.add(record)
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
        """A validation begins its next case."""
        self._validating = f"validating {case}, {done + 1} of {total}"

    def _plain_line(self) -> None:
        status, now = self.status, time.monotonic()
        if now - self._printed_at < _QUIET_SECONDS and status.step < status.steps:
            return
        self._printed_at = now
        parts = [f"step {status.step}/{status.steps}", f"loss {status.loss:.4g}", *self._facts()]
        self.console.print(", ".join(parts), highlight=False)

    def _facts(self) -> list[str]:
        status = self.status
        facts = [f"rate {status.rate:.3g}"]
        if status.seconds_per_step is not None:
            facts += [f"{status.seconds_per_step:.2g} s/step", f"{status.time_left} left"]
        if status.peak_memory_mib is not None:
            peak = memory(status.peak_memory_mib)
            facts.append(f"{status.memory_of} peak {peak}".strip())
        return facts

    def _validation_line(self) -> str:
        step, means = self.status.means[-1]
        scores = ", ".join(f"{name} {percent(mean)}" for name, mean in means.items())
        best_step, best = self.status.best()
        best_line = f"best {percent(best)} at step {best_step}"
        return f"step {step}: validation Dice, %: {scores} ({best_line})"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The live table at this moment."""
        status = self.status
        elapsed = clock(time.monotonic() - self._begin)
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=status.steps, completed=status.step, width=20)
        share = f"{100 * status.step // status.steps} %"
        left = "-" if status.time_left == "-" else status.time_left
        head.add_row(f"step {status.step} of {status.steps}", bar, share, elapsed, f"{left} left")
        sides = Table.grid(padding=(0, 3))
        tables = [_terms(status)] if status.terms else []
        if status.means:
            rows = max((options.height or console.height) - _AROUND_ORGANS, 3)
            tables.append(_organs(status, rows, trend=not options.ascii_only))
        sides.add_row(*tables)
        facts = [] if math.isnan(status.rate) else self._facts()[:1] + self._facts()[-1:]
        if status.warnings:
            facts.append(f"{status.warnings} warning{'s' * (status.warnings > 1)}")
        if self._validating:
            facts.append(self._validating)
        yield Group(head, sides, Text(" · ".join(facts), style="dim"))


@contextmanager
def watching(steps: int) -> Iterator[Watcher]:
    """A watcher of a run of `steps` steps on stdout; a live table if that is a terminal."""
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


def _terms(status: RunStatus) -> Table:
    table = Table("loss", box=SIMPLE_HEAD)
    table.add_column("", justify="right")
    for name, value in status.terms.items():
        table.add_row(name, f"{value:.4f}")
    table.add_row("sum", f"{status.loss:.4f}", style="bold")
    return table


def _organs(status: RunStatus, rows: int, *, trend: bool) -> Table:
    """Dice of the first predictor; only the lowest organs if there is no room for all."""
    table = Table(f"Dice, %: {status.first_predictor}", box=SIMPLE_HEAD)
    for column in ("last", "best"):
        table.add_column(column, justify="right")
    table.add_column("trend" if trend else "")
    means = [means[status.first_predictor] for _, means in status.means]
    organs = list(status.history.items())
    if len(organs) > rows:
        organs = sorted(organs, key=lambda item: _rank(item[1][-1]))[: rows - 1]
    for name, scores in [("mean", means), *organs]:
        best = max(scores, key=_rank)
        shown = sparkline(scores[-_TREND:]) if trend else ""
        style = "bold" if name == "mean" else "yellow" if scores[-1] == 0 else None
        table.add_row(name, percent(scores[-1]), percent(best), shown, style=style)
    if len(organs) < len(status.history):
        more = len(status.history) - len(organs)
        table.add_row(f"{more} organs with more", "", "", "", style="dim")
    return table


def _rank(score: float) -> float:
    return -1.0 if math.isnan(score) else score


def sparkline(scores: Iterable[float]) -> str:
    """Scores in [0, 1] as bars of eight heights; a space for NaN."""
    top = len(_BLOCKS) - 1
    return "".join(
        " " if math.isnan(score) else _BLOCKS[min(int(score * len(_BLOCKS)), top)]
        for score in scores
    )
