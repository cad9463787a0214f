"""A study in the terminal: its plan, and one live view of all running stages."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from pipeline.experiments.run_study import Plan
    from pipeline.experiments.stages import Stage
    from pipeline.experiments.workers import Outcome


def plan_lines(plan: "Plan") -> list[str]:
    """The plan of a study for a terminal of 80 columns."""
    file = plan.study.file
    lines = [f"{file.title}: {len(plan.study.arms)} arms, {len(plan.cells)} cells", ""]
    lines.append(f"{'stage':<10}{'all':>7}{'done':>7}{'failed':>8}{'to run':>8}")
    for kind, every, done, failed in plan.counts():
        lines.append(f"{kind:<10}{every:>7}{done:>7}{failed:>8}{every - done:>8}")
    lines += ["", _time(plan)]
    limits = file.limits
    if limits.max_tokens or limits.max_cost is not None:
        tokens = "no limit" if limits.max_tokens is None else f"{limits.max_tokens} tokens"
        cost = "no limit" if limits.max_cost is None else f"{limits.max_cost:.2f} USD"
        lines.append(f"limits of the whole study: {tokens}, {cost}")
    return lines


def _time(plan: "Plan") -> str:
    trainings = plan.pending("train")
    if not trainings:
        return "no training to run"
    steps = sum(stage.steps for stage in trainings)
    head = f"{len(trainings)} trainings, {steps} steps"
    if plan.seconds is None:
        return f"{head}; their time is known once one of their kind has run"
    more = f", without {plan.unmeasured} of a kind that was not measured" if plan.unmeasured else ""
    return f"{head}, about {_span(plan.seconds)} on one job{more}"


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"


class StudyView:
    """Counts stages and shows those that run; one line per finished stage without a terminal."""

    def __init__(self, plan: "Plan", console: Console, quiet: bool) -> None:
        self.console, self.quiet = console, quiet
        self.total, self.finished, self.failed = len(plan.pending()), 0, 0
        self.running: dict[str, tuple[Stage, float]] = {}

    def started(self, stage: "Stage") -> None:
        """A stage begins."""
        self.running[stage.key] = (stage, time.monotonic())

    def ended(self, stage: "Stage", outcome: "Outcome") -> None:
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

    def reused(self, stage: "Stage") -> None:
        """Another process made the stage meanwhile."""
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
def watching_study(plan: "Plan", *, quiet: bool) -> Iterator[StudyView]:
    """A view of a running study on stderr, live where that is a terminal."""
    console = Console(file=sys.stderr)
    view = StudyView(plan, console, quiet)
    if quiet or not console.is_terminal or not view.total:
        yield view
        return
    with Live(view, console=console, refresh_per_second=2, transient=True):
        yield view
